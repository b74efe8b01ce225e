"""How far a stream was read: a position is the greatest value of ``since.field`` among what is stored. Pure.

Times are microseconds, numbers themselves, everything else is text in the order of its characters.
"""

import math
import re
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias

import msgspec

from cdmd.connectors.rest.settings import SinceSettings
from cdmd.errors import TemplateFault
from cdmd.kit.coercions import as_moment, as_time
from cdmd.kit.templates import Template
from cdmd.models import from_micros, show_time, to_micros

Value: TypeAlias = int | float | str
"""Microseconds, a number, or text: one kind for all positions of a stream."""

WORDS: Final = ("rfc3339", "unix", "unix_ms", "date", "number", "text")
AHEAD: Final = 300_000_000
"""Microseconds: a record that is later than this after its source's own clock moves no position."""

_SECOND: Final = 1_000_000
_DAY: Final = 86_400 * _SECOND
_GRAINS: Final = {"unix": _SECOND, "unix_ms": 1_000, "date": _DAY, "rfc3339": _SECOND}
_DIGITS: Final = re.compile(r"-?[0-9]{1,18}(\.[0-9]{1,18})?")
_SUBSECOND: Final = re.compile(r"%f")


class Positions:
    """The positions of one stream. Raises ValueError for an ``initial`` that is none."""

    def __init__(self, settings: SinceSettings) -> None:
        self._settings, self._format = settings, settings.format
        self._field = None if settings.field is None else Template.parse(settings.field)
        self.kind = settings.format if settings.format in {"number", "text"} else "time"
        self.timed = self.kind == "time"
        self._lookback = 0 if settings.lookback is None else settings.lookback.micros
        self.initial = None if settings.initial is None else self._read(settings.initial)

    def of(self, record: Any) -> Value | None:
        """Where the record stands; None where it does not say."""
        if self._field is None:
            return None
        try:
            value = self._field.render(record, {})
            return None if value is None else self._read(value)
        except (TemplateFault, ValueError):
            return None

    def parsed(self, text: str) -> Value:
        """The position that somebody wrote. Raises ValueError."""
        return self._read(text)

    def since(self, position: Value | None) -> Value | None:
        """Where a look begins that goes on at ``position``: the look-back is taken from it, never from ``initial``."""
        if position is None:
            return self.initial
        return position - self._lookback if self.timed and not isinstance(position, str) else position

    def valid(self, place: "Place") -> "Place":
        """The place, without positions of another kind: they mean nothing since the configuration was changed."""
        if place.kind in {"", self.kind}:
            return place
        return msgspec.structs.replace(place, position=None, edge=(), kind=self.kind)

    def edge(self, position: Value | None) -> Value | None:
        """From where on the next look brings again what is known: requests are rounded down."""
        since = None if position is None else self.since(position)
        if since is None or isinstance(since, str):
            return since
        back = 0 if self._settings.inclusive else 1
        return since - since % self._grain() - back * self._grain() if self.timed else since - back

    def written(self, value: Value | None) -> Any:
        """``value`` as a request says it. Rounded down, and a moment earlier where the source leaves that moment out."""
        if value is None or isinstance(value, str):
            return value
        if not self.timed:
            return value if self._settings.inclusive else value - 1
        micros = max(0, int(value) - (0 if self._settings.inclusive else self._grain()))
        return self._shown(micros)

    def advanced(self, position: Value | None, found: Value | None, *, now: int) -> Value | None:
        """The later one; never a time that is ahead of ``now``, the source's clock (microseconds)."""
        if found is None or (self.timed and not isinstance(found, str) and found > now + AHEAD):
            return position
        mixed = position is not None and isinstance(found, str) != isinstance(position, str)
        return found if position is None or mixed or less(position, found) else position

    def _grain(self) -> int:
        if "%" in self._format:
            return 1 if _SUBSECOND.search(self._format) else _SECOND if "%S" in self._format else _DAY
        return _GRAINS[self._format]

    def _read(self, value: Any) -> Value:
        """Raises ValueError and TemplateFault."""
        if self._format == "text":
            return value if isinstance(value, str) else str(value)
        if self._format == "number":
            return _number(value)
        return to_micros(self._moment(value))

    def _moment(self, value: Any) -> datetime:
        try:
            return as_moment(value) if self._format == "date" else as_time(value)
        except ValueError:
            if "%" not in self._format or not isinstance(value, str):
                raise
        moment = datetime.strptime(value, self._format)  # noqa: DTZ007 - the form may have no zone; then it is UTC
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)

    def _shown(self, micros: int) -> Any:
        match self._format:
            case "unix":
                return micros // _SECOND
            case "unix_ms":
                return micros // 1_000
            case "rfc3339":
                return show_time(from_micros(micros))
            case "date":
                return from_micros(micros).strftime("%Y-%m-%d")
            case pattern:
                return from_micros(micros).strftime(pattern)


def less(one: Value, other: Value) -> bool:
    """Whether ``one`` comes before ``other``; text and numbers cannot be compared."""
    if isinstance(one, str) or isinstance(other, str):
        return isinstance(one, str) and isinstance(other, str) and one < other
    return one < other


def _number(value: Any) -> int | float:
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        return float(value) if "." in value else int(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError("this is not a number")
    return value


class Place(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """All that is kept of a stream between looks.

    ``kept`` is a cursor or address that the source gave for the next look; ``etag``, ``modified`` and ``request`` are what a
    conditional request needs; ``edge`` are (position, digest) of what the next look brings again; ``full`` the page size that
    the source is known to give; ``kind`` the kind of its positions.
    """

    position: int | float | str | None = None
    kept: str | None = None
    etag: str = ""
    modified: str = ""
    request: bytes = b""
    edge: tuple[tuple[int | float | str, bytes], ...] = ()
    full: int = 0
    kind: str = ""


def shown(place: Place, positions: Positions | None) -> str:
    """The place in words, for ``cdmd try``."""
    if place.kept is not None:
        return f"the source's own cursor ({len(place.kept)} characters)"
    if place.position is None or positions is None:
        return "nothing (every look begins at the beginning)" if not place.etag and not place.modified else "the ETag"
    value = place.position
    return show_time(from_micros(int(value))) if positions.timed and not isinstance(value, str) else str(value)
