"""What stands in a batch file: a row for each member, or for each thing that happened. Pure."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from cdmd.errors import ValueRefused
from cdmd.kit.templates import Template
from cdmd.targets.seen import viewed

MOST_COLUMNS: Final = 1_000
"""More columns than that are not meant: names of entries may come from data."""
_LARGE: Final = 2**63
"""What no column of whole numbers can hold."""


def flat(row: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Entries of objects as columns of their own, named by their path (``traits.city``)."""
    found: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, dict):
            found |= flat(value, f"{before}{name}.")
        else:
            found[before + name] = value
    return found


class Columns:
    """Makes rows of what is to be told: by the configured templates, else as it is. ``tabular``: for a csv or parquet file."""

    def __init__(self, templates: Mapping[str, str], *, tabular: bool) -> None:
        self._templates = {name: Template.parse(text) for name, text in templates.items()}
        self._tabular = tabular

    def row(self, told: Mapping[str, Any]) -> dict[str, Any]:
        """One row. Raises TemplateFault."""
        if self._templates:
            seen = viewed(told)
            return {name: template.render(seen, {}) for name, template in self._templates.items()}
        return flat(viewed(told)) if self._tabular else dict(told)


class Layout:
    """The columns of a table and their types, learned from its rows; ``named`` where they are configured."""

    def __init__(self, named: Sequence[str] | None) -> None:
        self.types: dict[str, set[type]] = {name: set() for name in named or ()}

    def learn(self, row: Mapping[str, Any]) -> None:
        """Take the row's columns in. Raises ``ValueRefused`` where there are too many."""
        for name, value in row.items():
            types = self.types.get(name)
            if types is None:
                if len(self.types) >= MOST_COLUMNS:
                    raise ValueRefused(f"its rows have more than {MOST_COLUMNS} different entries: configure `columns`")
                types = self.types[name] = set()
            if value is not None:
                types.add(str if isinstance(value, int) and abs(value) >= _LARGE else type(value))

    def kind(self, name: str) -> type:
        """What all values of the column can be written as: bool, int, float or str."""
        types = self.types[name]
        if types <= {int}:
            return int if types else str
        if types <= {int, float}:
            return float
        return bool if types == {bool} else str


def cell(value: Any) -> str:
    """A value as text: nothing for null, JSON for what is no text."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def encoded(row: Mapping[str, Any]) -> bytes:
    """The same bytes for the same row."""
    return msgspec.json.encode(row, order="sorted")
