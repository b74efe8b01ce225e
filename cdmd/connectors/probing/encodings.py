"""Which encoding a text without a byte order mark seems to have. Pure."""

import codecs
from typing import Final

MARKS: Final = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)
_LEGACY: Final = ("cp1252", "cp850", "mac_roman", "latin-1")
"""What old systems of Western Europe write, the likeliest first. Others must be said by somebody who knows."""

_LETTERS: Final = frozenset("åäöéèüßøæçñáíóúàëãõÅÄÖÉÜØÆ")
_ENOUGH: Final = 5_000
_MANY: Final = 0.2
_UNCUT: Final = 4


def encoding_of(head: bytes) -> tuple[str, str | None]:
    """The encoding of a text that begins so, and what is not sure about it."""
    if head.startswith(MARKS):
        return "utf-8", None  # the mark is read wherever one is; nothing has to be said
    if head[1::2].count(0) > len(head) * _MANY:
        return "utf-16-le", None
    if head[::2].count(0) > len(head) * _MANY:
        return "utf-16-be", None
    if _decodes(head):
        return "utf-8", None
    scores = {name: _score(head, name) for name in _LEGACY}
    best = max(scores, key=lambda name: scores[name])
    return best, f"the encoding is told by how its letters look ({best}): see whether names are written right"


def _decodes(head: bytes) -> bool:
    try:
        head.decode()
    except UnicodeDecodeError as error:
        return error.start >= len(head) - _UNCUT and error.reason == "unexpected end of data"
    return True


def _score(head: bytes, name: str) -> float:
    """How much of what is not ASCII are letters where letters are in words; -1 where it cannot be read so."""
    try:
        text = head.decode(name)
    except UnicodeDecodeError:
        return -1.0
    places = [place for place, sign in enumerate(text) if not sign.isascii()][:_ENOUGH]
    return sum(_likelihood(text[max(0, place - 1) : place], text[place]) for place in places) / len(places)


def _likelihood(before: str, sign: str) -> float:
    if not sign.isalpha() or (sign.isupper() and before.islower()):
        return 0.0
    return 1.0 if sign in _LETTERS else 0.5
