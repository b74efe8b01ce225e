"""ULIDs: 26 characters that sort by time. Format: https://github.com/ulid/spec. Pure; what they are made of is handed in."""

from struct import Struct
from typing import Final

_CROCKFORD: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS: Final = [first + second for first in _CROCKFORD for second in _CROCKFORD]
"""Two characters for each ten bits: fewer steps than one character for each five."""

_REST: Final = Struct(">QH").unpack
_LAST_MILLISECOND: Final = 2**48 - 1
TIME_CHARACTERS: Final = 10
"""So many characters at its beginning say the time, and nothing else."""


def ulid(micros: int, rest: bytes) -> str:
    """The ULID (Crockford's base 32) of a moment in microseconds and 10 other bytes.

    The moment counts in milliseconds, held within 1970 and what 48 bits can say.
    """
    return beginning(micros) + ending(rest)


def beginning(micros: int) -> str:
    """The characters of a ULID that say its time."""
    time, pairs = min(max(micros // 1000, 0), _LAST_MILLISECOND), _PAIRS
    return (
        f"{pairs[time >> 40]}{pairs[time >> 30 & 1023]}{pairs[time >> 20 & 1023]}{pairs[time >> 10 & 1023]}{pairs[time & 1023]}"
    )


def ending(rest: bytes) -> str:
    """Those of its other 10 bytes: step by step they cost three times as much."""
    (high, low), pairs = _REST(rest), _PAIRS
    return (
        f"{pairs[high >> 54]}{pairs[high >> 44 & 1023]}{pairs[high >> 34 & 1023]}{pairs[high >> 24 & 1023]}"
        f"{pairs[high >> 14 & 1023]}{pairs[high >> 4 & 1023]}{pairs[(high & 15) << 6 | low >> 10]}{pairs[low & 1023]}"
    )
