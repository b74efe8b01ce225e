"""How the process ends for certain, also when foreign code does not."""

import os
import sys
import threading
from collections.abc import Callable


def leave_within(seconds: float, *, status: int, before: Callable[[], None], leave: Callable[[int], object] = os._exit) -> None:
    """End the process with ``status`` unless it has ended by itself ``seconds`` from now; ``before`` is called first.

    The event loop waits for every task and the interpreter for every thread: a connector that swallows its cancellation or a
    plugin's thread that hangs would hold the process for ever. To be called when all is closed.
    """

    def end() -> None:
        before()
        sys.stdout.flush()
        leave(status)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
