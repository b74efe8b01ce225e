"""Runs what a plugin does while it is taken in, its import and its hooks, in a thread of its own and for a limited time.

A thread, because what raises ``SystemExit`` or ``KeyboardInterrupt`` there ends nothing but the call, a real Ctrl-C still ends
the process, and one that never comes back can be left behind. Not for: calls within the event loop.
"""

import threading
from collections.abc import Callable
from typing import TypeVar

from cdmd.errors import PluginFault
from cdmd.plugins.brought import reason

T = TypeVar("T")


def apart(call: Callable[[], T], *, seconds: float, name: str) -> T:
    """What ``call`` returns; blocks for at most ``seconds``.

    Raises ``PluginFault`` with what may be said of anything that it raises, or of its not coming back.
    """
    returned: list[T] = []
    raised: list[BaseException] = []

    def work() -> None:
        try:
            returned.append(call())
        except BaseException as error:  # noqa: BLE001 - foreign code: whatever it raises is its plugin's row
            raised.append(error)

    thread = threading.Thread(target=work, name=name, daemon=True)
    thread.start()
    thread.join(seconds)
    if raised:
        raise PluginFault(reason(raised[0])) from raised[0]
    if not returned:
        raise PluginFault(f"it was not loaded within {seconds:g} s")
    return returned[0]
