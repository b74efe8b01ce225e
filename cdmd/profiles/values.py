"""What of an event's values can be counted with: numbers, short texts, and digests of any JSON. Pure.

A number is a JSON number or text that reads as one; integers beyond 2**53 are rounded to a double.
"""

import json
import math
import re
from hashlib import blake2b
from typing import Any, Final

GREATEST: Final = 1e200
"""Beyond it nothing is a measurement; below it no sum of any number of events overflows."""

LONGEST_TEXT: Final = 1000
"""The most characters of a text that ``first`` and ``last`` keep."""

_NUMBER: Final = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?")
_MOST_DIGITS: Final = 400
_INT64: Final = 2**63
_PADDED: Final = re.compile(r"[+-]?0[0-9].*", re.DOTALL)


def number(value: Any) -> float | None:
    """``value`` as a double, when it is a number or text that reads as one (decimal point, optional exponent); else None."""
    if type(value) is float:  # as most are, or are by the time that they are read
        return value + 0.0 if -GREATEST <= value <= GREATEST else None
    if isinstance(value, str):
        text = value.strip()
        if len(text) > _MOST_DIGITS or _NUMBER.fullmatch(text) is None:
            return None
        value = float(text)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value + 0.0 if -GREATEST <= value <= GREATEST else None  # and -0.0 is 0.0, so that neither is the lesser


def scalar(value: Any) -> Any:
    """What ``first`` and ``last`` keep: a boolean, a number, or a short text; None for anything else."""
    plain = _plain(value)
    if isinstance(plain, str):
        return plain if len(plain) <= LONGEST_TEXT else None
    if isinstance(plain, bool) or (isinstance(plain, int) and -_INT64 <= plain < _INT64):
        return plain
    return number(plain)


def _plain(value: Any) -> Any:
    """Text that reads as a number as that number; padded text ("0042") is a name for something and stays as it is."""
    if not isinstance(value, str) or _PADDED.fullmatch(value) is not None:
        return value
    amount = number(value)
    if amount is None:
        return value
    text = value.strip()
    return int(text) if text.lstrip("+-").isdigit() else amount


def digest_of(value: Any) -> int | None:
    """64 bits that name the value, whatever process computes them; equal numbers are equal. None for what is no JSON."""
    plain = _plain(value)
    if isinstance(plain, float):
        if not math.isfinite(plain):
            return None
        plain = int(plain) if plain.is_integer() else plain
    try:
        return int.from_bytes(blake2b(canonical(plain), digest_size=8).digest())
    except (ValueError, TypeError, RecursionError):
        return None


def canonical(value: Any) -> bytes:
    """The one JSON text of a value. Raises ValueError, TypeError and RecursionError on what is no JSON."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def short_digest(value: Any) -> int:
    """32 bits that name settings, the same in every process."""
    return int.from_bytes(blake2b(canonical(value), digest_size=4).digest())
