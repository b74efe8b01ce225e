"""ULIDs: 26 characters that sort by time. Format: https://github.com/ulid/spec. Pure; what they are made of is handed in."""

from typing import Final

_CROCKFORD: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS: Final = [first + second for first in _CROCKFORD for second in _CROCKFORD]
"""Two characters for each ten bits: fewer steps than one character for each five."""

_SHIFTS: Final = range(120, -1, -10)
_LAST_MILLISECOND: Final = 2**48 - 1
TIME_CHARACTERS: Final = 10
"""So many characters at its beginning say the time, and nothing else."""


def ulid(micros: int, rest: bytes) -> str:
    """The ULID (Crockford's base 32) of a moment in microseconds and 10 other bytes.

    The moment counts in milliseconds, held within 1970 and what 48 bits can say.
    """
    milliseconds = min(max(micros // 1000, 0), _LAST_MILLISECOND)
    number = milliseconds << 80 | int.from_bytes(rest)
    return "".join([_PAIRS[number >> shift & 1023] for shift in _SHIFTS])
