"""How much memory a process has, and how it is shared out by the C library (glibc), where it has these knobs.

Not here: Python's own objects.
"""

import ctypes
import os
from contextlib import suppress
from pathlib import Path
from typing import Final

_M_ARENA_MAX: Final = -8
_ARENAS: Final = 2


def share_arenas() -> None:
    """Let all threads take memory from the same few arenas; to be called before there are any.

    Each thread would have one of its own, and what a thread frees is no use to another: most of our threads work in turn, on
    batches of the same size (tests/bench/bulk.py).
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, _ARENAS)


def give_back() -> None:
    """Return to the system what is free: after much was held, and before much is held elsewhere. It takes milliseconds."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def resident(pid: int | None = None) -> int | None:
    """The memory that a process has (this one, by default), in bytes; None where it is gone. Reads a file; blocks briefly."""
    try:
        return int(Path(f"/proc/{pid or 'self'}/statm").read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        return None
