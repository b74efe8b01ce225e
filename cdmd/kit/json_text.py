"""JSON from strangers: strict, bounded, and such that nothing decoded here breaks a later step.

What comes out holds no lone surrogate, no NaN or infinity, no integer beyond 64 bits and no nesting beyond ``max_depth``, so it
can be written as MessagePack, as JSON and as SQLite text. Of duplicate keys the last one wins. NUL inside a string is kept, a
UTF-8 byte order mark is skipped. Not for: documents of our own (``msgspec.json`` suffices) or streams.
"""

import re
from math import isfinite
from typing import Any, Final

import msgspec

_BOM: Final = b"\xef\xbb\xbf"
_LIKE: Final = bytes.maketrans(b"123456789[", b"0" * 9 + b"{")
"""Every digit is a nought, and what opens a container a brace: so one look each finds long numbers and counts containers."""

_LONG_NUMBER: Final = b"0" * 19
_PERHAPS_ENDLESS: Final = re.compile(rb"\xcb[\x7f\xff][\xf0-\xff]").search
"""Finds every NaN and infinity in MessagePack, and now and then what is none."""

_LEAST: Final = -(2**63)
_GREATEST: Final = 2**64 - 1
_DECODE: Final = msgspec.json.Decoder().decode


class NotJson(ValueError):
    """The text is not JSON that can be taken. ``code`` is a fixed word, ``message`` a sentence that quotes none of it."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


def decode_json(body: bytes, *, max_depth: int = 100, wide: bool = False) -> Any:
    """The value that ``body`` (UTF-8) spells; raises ``NotJson``.

    Codes: ``invalid_json``, ``invalid_utf8``, ``too_deep`` (more than ``max_depth`` nested arrays and objects),
    ``number_out_of_range`` (with ``wide`` only for what Python's own numbers cannot hold, and integers of thousands of digits).
    """
    try:
        value = _DECODE(body[3:] if body.startswith(_BOM) else body)
    except RecursionError:
        raise _too_deep(max_depth) from None
    except msgspec.ValidationError:
        raise NotJson("number_out_of_range", "a number is too large to be kept exactly") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as fault:
        raise _malformed(fault, empty=not body.strip()) from None
    like = body.translate(_LIKE)
    long = like.find(_LONG_NUMBER) >= 0  # "in" asks for a buffer and takes half as long again
    if long or like.count(b"{") > max_depth:
        inspect(value, max_depth=max_depth, wide=wide or not long)
    return value


def _malformed(fault: Exception, *, empty: bool) -> NotJson:
    """What is wrong, by the decoder's own words: newer releases of msgspec call bytes that are no UTF-8 a DecodeError."""
    reason = str(fault)
    if isinstance(fault, UnicodeDecodeError) or "UTF-8" in reason:
        return NotJson("invalid_utf8", "the text is not UTF-8")
    if empty:
        return NotJson("invalid_json", "there is nothing where JSON should be")
    cut = "JSON is malformed: it ends too early, or within a surrogate pair"
    return NotJson("invalid_json", cut if "truncated" in reason else reason)


def inspect(root: Any, *, max_depth: int = 100, wide: bool = False) -> None:
    """Raise ``NotJson`` for what is nested too deep, or, unless ``wide``, an integer beyond 64 bits: exact, level by level.

    For what was decoded otherwise; here it is only called where a cheap count cannot rule the faults out.
    """
    level, depth = [root], 0
    while level:
        for value in () if wide else level:
            if type(value) is int and not _LEAST <= value <= _GREATEST:
                raise NotJson("number_out_of_range", "an integer does not fit into 64 bits; send it as text")
        containers = [value for value in level if type(value) is dict or type(value) is list]
        depth += 1
        if containers and depth > max_depth:
            raise _too_deep(max_depth)
        level = [item for held in containers for item in (held.values() if type(held) is dict else held)]


def _too_deep(max_depth: int) -> NotJson:
    return NotJson("too_deep", f"arrays and objects are nested more than {max_depth} deep")


def check_finite(packed: bytes, *values: Any) -> None:
    """Raise OverflowError for NaN or an infinity within ``values``: JSON has neither, so they would become null.

    ``packed`` is MessagePack that they are in: it tells without a walk that there is none, but for one time in very many.
    """
    level = [] if _PERHAPS_ENDLESS(packed) is None else list(values)
    while level:
        if not all(isfinite(value) for value in level if type(value) is float):
            raise OverflowError("a number is not finite")
        held = [value for value in level if isinstance(value, dict | list | tuple)]
        level = [item for one in held for item in (one.values() if isinstance(one, dict) else one)]
