"""Globs over event types: ``*`` matches any characters, dots too; nothing else is special."""

from collections.abc import Iterable
from typing import Final

from typing_extensions import override

_CACHED: Final = 1024


class Globs:
    """Any of several globs. What was asked before is remembered, up to a bound."""

    __slots__ = ("_all", "_exact", "_seen", "_wild", "patterns")

    def __init__(self, patterns: Iterable[str] | str) -> None:
        self.patterns = (patterns,) if isinstance(patterns, str) else tuple(patterns)
        self._all = any(pattern and not pattern.strip("*") for pattern in self.patterns)
        self._exact = frozenset(pattern for pattern in self.patterns if "*" not in pattern)
        self._wild = [pattern.split("*") for pattern in self.patterns if "*" in pattern]
        self._seen: dict[str, bool] = {}

    def matches(self, type: str) -> bool:  # noqa: A002 - an event's own word
        """Whether any of the globs matches the whole of ``type``."""
        if self._all or type in self._exact:
            return True
        if not self._wild:
            return False
        known = self._seen.get(type)
        if known is None:
            known = any(_matches(pieces, type) for pieces in self._wild)
            if len(self._seen) >= _CACHED:  # types come from outside: never remember without end
                self._seen.clear()
            self._seen[type] = known
        return known

    @override
    def __repr__(self) -> str:
        return f"Globs({list(self.patterns)!r})"


def _matches(pieces: list[str], text: str) -> bool:
    """Whether the pieces stand in ``text`` in order, the first at its start and the last at its end; in linear time."""
    first, *middle, last = pieces
    if len(text) < len(first) + len(last) or not (text.startswith(first) and text.endswith(last)):
        return False
    at, end = len(first), len(text) - len(last)
    for piece in middle:
        found = text.find(piece, at, end)
        if found < 0:
            return False
        at = found + len(piece)
    return True
