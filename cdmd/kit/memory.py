"""How the process's memory is shared out by the C library (glibc), where it has these knobs. Not Python's own objects."""

import ctypes
from contextlib import suppress
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
