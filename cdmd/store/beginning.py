"""How a process of the store's own begins. Not here: what it does then."""

import gc
import os
import signal
import sys
from functools import partial
from types import TracebackType
from typing import Final

from cdmd.kit.frames import sentence
from cdmd.kit.memory import share_arenas

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_COLLECT_AFTER: Final = (500_000, 20, 50)


def begin(what: str) -> None:
    """Signals for it and the daemon are the daemon's to follow; what it says of a fault holds no data."""
    sys.excepthook = partial(_say, what)
    for one in _SIGNALS:
        signal.signal(one, signal.SIG_IGN)
    os.umask(0o077)
    share_arenas()
    gc.freeze()
    gc.set_threshold(*_COLLECT_AFTER)


def _say(what: str, _: type[BaseException], error: BaseException, __: TracebackType | None) -> None:
    """Its class and its place only: the text may hold data."""
    sys.stderr.write(f"the {what}'s own process ended by a fault of its own: {sentence(error)}\n")
