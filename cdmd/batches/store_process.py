"""What the store's own process runs: it decides about batches and writes them, next to its database.

``Own`` in the daemon names this module. It ends when it is told to, or when the daemon is gone; signals for both of them are
the daemon's to follow.
"""

import os
import socket
from functools import partial

from cdmd.batches.crossing import Decisions
from cdmd.store.beginning import begin
from cdmd.store.served import Served


def main(link: int) -> None:
    """Serve the daemon at the other end of the descriptor ``link``."""
    begin("store")
    with socket.socket(fileno=link) as daemon:
        # Whatever is under way when the daemon is gone: nobody is there to hear of it, and SQLite takes it back.
        Served(daemon, Decisions(), partial(os._exit, 0)).run()
