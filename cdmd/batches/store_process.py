"""What the store's own process runs: it decides about batches and writes them, next to its database.

``Own`` in the daemon names this module. It ends when it is told to, or when the daemon is gone; signals for both of them are
the daemon's to follow.
"""

import gc
import os
import signal
import socket
import sys
from functools import partial
from types import TracebackType
from typing import Final

from cdmd.batches.crossing import Decisions
from cdmd.kit.frames import sentence
from cdmd.kit.memory import share_arenas
from cdmd.store.served import Served

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_COLLECT_AFTER: Final = (500_000, 20, 50)


def main(link: int) -> None:
    """Serve the daemon at the other end of the descriptor ``link``."""
    sys.excepthook = _say
    for one in _SIGNALS:
        signal.signal(one, signal.SIG_IGN)
    os.umask(0o077)
    share_arenas()
    gc.freeze()
    gc.set_threshold(*_COLLECT_AFTER)
    with socket.socket(fileno=link) as daemon:
        # Whatever is under way when the daemon is gone: nobody is there to hear of it, and SQLite takes it back.
        Served(daemon, Decisions(), partial(os._exit, 0)).run()


def _say(_: type[BaseException], error: BaseException, __: TracebackType | None) -> None:
    """Its class and its place only: the text may hold data."""
    sys.stderr.write(f"the store's own process ended by a fault of its own: {sentence(error)}\n")
