"""The texts in a value, however deep: where nobody knows which field names a person, any of them may. Pure.

A number may be what became of a text that reads as one: a phone number without its plus sign, say. What can be nobody else's
wherever it stands (an address, a number in its international form, a digest) is blanked in other people's words as well.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, TypeAlias

import msgspec

SHORTEST: Final = 5
"""Texts of fewer characters say nothing about who somebody is where any field might hold them."""

BLANK: Final = "[erased]"
Says: TypeAlias = Callable[[str], bool]
Blanking: TypeAlias = Callable[[str], str]
# Bounded, and only where a word begins: a text of a megabyte takes no longer than its length. An apostrophe may stand within an
# address and not before it, where it quotes; of what stands behind one, a dash say, nothing is taken for a part of it.
_UNMISTAKABLE: Final = re.compile(
    r"(?<![\w.%+-])"
    r"(?:[\w.%+-][\w.%+'-]{0,63}@[\w-]{1,63}(?:\.[\w-]{0,62}[^\W_]){1,8}|\+\d{7,15}(?!\d)|[0-9a-f]{64}(?![0-9a-f]))",
    re.IGNORECASE,
)
_DIGEST: Final = 64
_FEW: Final = 20
"""So many are looked for one by one before the text is read word by word."""
_DEEPEST: Final = 100
"""What lies deeper goes or stays as a whole."""


def texts_of(raw: bytes) -> set[str]:
    """Every text and number in a record as JSON, however deep, names of fields too; none where it is no JSON."""
    try:
        record = msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError):
        return set()
    return {text for text in texts_in(record) if len(text.strip()) >= SHORTEST}


def without(value: Any, says: Says) -> Any:
    """The value without each text, number and field's name in it that ``says`` who somebody is; UNSET where it is one itself.

    The very value where there is none.
    """
    return _without(value, says, _DEEPEST) if any(map(says, texts_in(value))) else value


def _without(value: Any, says: Says, depth: int) -> Any:
    match value:
        case dict() | list() if not depth:
            return msgspec.UNSET if any(map(says, texts_in(value))) else value
        case dict() as fields:
            left = {name: _without(one, says, depth - 1) for name, one in fields.items() if not says(name)}
            return {name: one for name, one in left.items() if one is not msgspec.UNSET}
        case list() as items:
            return [one for each in items if (one := _without(each, says, depth - 1)) is not msgspec.UNSET]
        case _:
            return msgspec.UNSET if any(map(says, texts_in(value))) else value


def blanking(values: Iterable[str]) -> Blanking | None:
    """What blanks those of the values that are unmistakable wherever a text says them; None where none is."""
    wanted = {value.casefold() for value in values if _UNMISTAKABLE.fullmatch(value)}
    few = sorted(wanted) if len(wanted) <= _FEW else []

    def blank(text: str) -> str:
        if not ("@" in text or "+" in text or len(text) >= _DIGEST):
            return text
        folded = text.casefold()
        if few and all(one not in folded for one in few):
            return text
        return _UNMISTAKABLE.sub(lambda found: BLANK if found[0].casefold() in wanted else found[0], text)

    return blank if wanted else None


def blanked(value: Any, blank: Blanking) -> Any:
    """The value with its texts, names of fields too, as ``blank`` leaves them; the very value where that changes none."""
    return _blanked(value, blank, _DEEPEST) if any(blank(text) != text for text in _words_in(value)) else value


def _blanked(value: Any, blank: Blanking, depth: int) -> Any:
    match value:
        case str() as text:
            return blank(text)
        case dict() | list() if not depth:
            return BLANK if any(blank(text) != text for text in _words_in(value)) else value
        case dict() as fields:
            return {blank(name): _blanked(one, blank, depth - 1) for name, one in fields.items()}
        case list() as items:
            return [_blanked(one, blank, depth - 1) for one in items]
        case _:
            return value


def _words_in(record: Any) -> Iterator[str]:
    return (one for one in _leaves(record) if isinstance(one, str))


def blanked_raw(raw: bytes, blank: Blanking) -> bytes:
    """The same of a record as JSON; the very bytes where it is none, or that changes nothing."""
    try:
        record = msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError):
        return raw
    left = blanked(record, blank)
    return raw if left is record else msgspec.json.encode(left)


def texts_in(record: Any) -> Iterator[str]:
    """Every text and number in a value, names of fields too."""
    for one in _leaves(record):
        match one:
            case str() as text:
                yield text
            case bool() | None:
                pass
            case number:
                yield from (str(number), f"+{number}")


def _leaves(record: Any) -> Iterator[Any]:
    """All that holds nothing else, names of fields too."""
    waiting = [record]
    while waiting:
        match waiting.pop():
            case dict() as fields:
                waiting += [*fields, *fields.values()]
            case list() as items:
                waiting += items
            case one:
                yield one
