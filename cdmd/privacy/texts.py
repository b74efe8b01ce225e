"""The texts in a value, however deep: where nobody knows which field names a person, any of them may. Pure.

A number may be what became of a text that reads as one: a phone number without its plus sign, say.
"""

from collections.abc import Callable, Iterator
from typing import Any, Final, TypeAlias

import msgspec

SHORTEST: Final = 5
"""Texts of fewer characters say nothing about who somebody is where any field might hold them."""

Says: TypeAlias = Callable[[str], bool]
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


def texts_in(record: Any) -> Iterator[str]:
    """Every text and number in a value, names of fields too."""
    waiting = [record]
    while waiting:
        match waiting.pop():
            case dict() as fields:
                waiting += [*fields, *fields.values()]
            case list() as items:
                waiting += items
            case str() as text:
                yield text
            case bool() | None:
                pass
            case number:
                yield from (str(number), f"+{number}")
