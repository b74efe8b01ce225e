"""The running daemon: ``run`` puts the parts together, starts them, and stops them in reverse.

Each module is one part that only exists because the others are running: connectors that are live, the timers, what ``status``
shows, what the control socket may do.
"""

from cdmd.daemon.assembly import Running, run

__all__ = ["Running", "run"]
