"""The running daemon: ``run`` puts the parts together, starts them, and stops them in reverse.

Each module is one part that only exists because the others are running: connectors that are live, the timers, what ``status``
shows, what the control socket may do.
"""

from cdmd.daemon.assembly import run
from cdmd.daemon.given import Given
from cdmd.daemon.running import Running

__all__ = ["Given", "Running", "run"]
