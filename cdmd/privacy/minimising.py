"""What arrived and was not kept: counted by connector and field, without any value. Pure.

A field that no template of the ``event`` table reads is not kept. Names that are no plain words may be values that a sender
used as a key, and are shown as ``*``. Not here: which records are looked at (the intake's, a few).
"""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final, TypeAlias

from cdmd.contracts import EventSettings
from cdmd.kit.templates import Expression, Template

MOST_FIELDS: Final = 200
"""Different fields that are counted for a connector; the rest together is ``OTHER``."""

OTHER: Final = "(other)"
_PLAIN_WORD: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,39}")
_DEEPEST: Final = 8

Path: TypeAlias = tuple[str, ...]
Reads: TypeAlias = frozenset[Path]


def reads(settings: EventSettings) -> Reads | None:
    """The fields that the templates read; None where a record is kept whole, or read in a way that names no field."""
    tables = (settings.identifiers, settings.traits, settings.data)
    if "*" in tables:
        return None
    texts = [settings.id, settings.type, settings.time]
    texts += [text for table in tables if isinstance(table, dict) for text in table.values()]
    found: set[Path] = set()
    for text in texts:
        for part in () if text is None else Template.parse(text).parts:
            if isinstance(part, Expression):
                found |= {_names(part.steps)} if part.steps is not None else {(root,) for root in part.roots}
    return None if {(), ("@",)} & found else frozenset(found)


def dropped(value: Any, read: Reads) -> list[str]:
    """The fields of a record that are not read."""
    return [".".join(map(_shown, path)) for path in _leaves(value, ()) if not any(path[: len(one)] == one for one in read)]


class Minimised:
    """What was counted of one connector: ``records`` looked at, and in how many of them each field was not kept."""

    def __init__(self) -> None:
        self.records = 0
        self.fields: Counter[str] = Counter()

    def add(self, fields: list[str]) -> None:
        """One record more."""
        self.records += 1
        for name in dict.fromkeys(fields):
            known = name in self.fields or len(self.fields) < MOST_FIELDS
            self.fields[name if known else OTHER] += 1


def _names(steps: Any) -> Path:
    """The names at the beginning of a plain path, up to a place in a list."""
    found: list[str] = []
    for step in steps:
        if not isinstance(step, str):
            break
        found.append(step)
    return tuple(found)


def _leaves(value: Any, path: Path) -> Iterator[Path]:
    """Every field that holds no other ones; what lies too deep counts as one."""
    if isinstance(value, dict) and value and len(path) < _DEEPEST:
        for name, inner in value.items():
            yield from _leaves(inner, (*path, str(name)))
    elif path:
        yield path


def _shown(name: str) -> str:
    return name if _PLAIN_WORD.fullmatch(name) else "*"
