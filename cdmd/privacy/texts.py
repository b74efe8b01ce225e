"""The texts in a record that could not be mapped: where nobody knows which field names a person, any of them may."""

from collections.abc import Iterator
from typing import Any, Final

import msgspec

SHORTEST: Final = 5
"""Texts of fewer characters say nothing about who somebody is where any field might hold them."""


def texts_of(raw: bytes) -> set[str]:
    """Every text and number in a record as JSON, however deep, names of fields too; none where it is no JSON."""
    try:
        record = msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError):
        return set()
    return {text for text in _texts(record) if len(text.strip()) >= SHORTEST}


def _texts(record: Any) -> Iterator[str]:
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
                yield str(number)
