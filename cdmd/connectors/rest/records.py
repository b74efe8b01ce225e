"""Records of a page on their way in: which of them are new, what names them, and what has to be kept to know them again.

A record of a stream with a ``key`` is new where its content differs from the last one of that key (a row of the state each);
any other where it was not in the last look's edge: what every look brings again because it begins a little before its end.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import anyio.lowlevel
import msgspec

from cdmd.connectors.rest.positions import Place, Positions, Value, less
from cdmd.connectors.rest.settings import StreamSettings
from cdmd.contracts import Source
from cdmd.errors import TemplateFault
from cdmd.kit.coercions import as_text
from cdmd.kit.templates import Template
from cdmd.models import Fault, Record, Row, to_micros

MOST_EDGE: Final = 2_000
"""Records of the edge that are known again by their content; beyond, only their ids tell."""

_CANONICAL: Final = msgspec.json.Encoder(order="sorted").encode
_PART: Final = 200
_NOTHING: Final[Mapping[str, Any]] = {}


class Fresh(NamedTuple):
    """A record that is new, and the state that goes with it."""

    record: Record
    state: dict[bytes, bytes | None]


class Intake:
    """Sorts the records of one stream, page by page."""

    def __init__(self, name: str, settings: StreamSettings, positions: Positions | None) -> None:
        self._name, self._settings, self._positions = name, settings, positions
        self._key = None if settings.key is None else Template.parse(settings.key)
        self._contents = b"rest/" + name.encode() + b"/content/"
        self._stamp = 0

    def digest(self, source: Source, value: Any) -> bytes:
        """16 bytes that name a record's content, without the fields that are ignored; nobody else can make them."""
        if self._settings.ignore and isinstance(value, dict):
            value = {name: one for name, one in value.items() if name not in self._settings.ignore}
        return _digest(source, _CANONICAL(value))

    async def fresh(
        self, values: Sequence[Any], edge: "Edge", source: Source, *, parent: Mapping[str, Any] = _NOTHING
    ) -> list[Fresh]:
        """What is new among a page's records, part by part: others get their turn in between. ``edge`` learns of all."""
        found: list[Fresh] = []
        written: dict[bytes, bytes | None] = {}
        for start in range(0, len(values), _PART):
            wanted = [value for value in values[start : start + _PART] if edge.wants(self._at(value))]
            for one in await self._part(wanted, edge, source, parent, written):
                found.append(one)
                written |= one.state
            await anyio.lowlevel.checkpoint()
        return found

    async def _part(
        self,
        values: Sequence[Any],
        edge: "Edge",
        source: Source,
        parent: Mapping[str, Any],
        written: Mapping[bytes, bytes | None],
    ) -> list[Fresh]:
        digests = [self.digest(source, value) for value in values]
        for value, digest in zip(values, digests, strict=True):
            edge.add(self._at(value), digest)
        if self._key is not None:
            return await self._changed(values, digests, source, parent, written)
        new = [(value, digest) for value, digest in zip(values, digests, strict=True) if edge.is_new(digest)]
        return [Fresh(self._record(value, digest.hex(), source, parent, brief=True), {}) for value, digest in new]

    def _at(self, value: Any) -> Value | None:
        return None if self._positions is None else self._positions.of(value)

    async def _changed(
        self,
        values: Sequence[Any],
        digests: Sequence[bytes],
        source: Source,
        parent: Mapping[str, Any],
        written: Mapping[bytes, bytes | None],
    ) -> list[Fresh]:
        assert self._key is not None  # noqa: S101 - asked only where there is one
        named = [_text(self._key, value) for value in values]
        rows = [self._contents + _digest(source, _CANONICAL([parent, name])) for name in named]
        kept: dict[bytes, bytes | None] = {**await source.get(rows), **written}
        fresh: list[Fresh] = []
        for value, digest, name, row in zip(values, digests, named, rows, strict=True):
            if name is None:
                fault = Fault("no_key", f"there is no text at {self._key.text} that says what the record is about")
                fresh.append(Fresh(self._record(value, digest.hex(), source, parent, brief=True, fault=fault), {}))
            elif kept.get(row) != digest:
                kept[row] = digest
                record = self._record(value, f"{name}:{self._next(source)}", source, parent)
                fresh.append(Fresh(record, {row: digest}))
        return fresh

    def unreadable(self, rows: Sequence[Row], source: Source) -> list[Fresh]:
        """What could not be read of a page in another format than JSON: dead letters."""
        records = [
            Record(
                value=row.raw.decode("utf-8", "replace"),
                received=source.clock.now(),
                fallback_id=_digest(source, row.raw).hex(),
                stream=self._name,
                brief=True,
                fault=row.fault,
            )
            for row in rows
        ]
        return [Fresh(record, {}) for record in records]

    def _next(self, source: Source) -> int:
        """Now in microseconds, greater than every one before."""
        self._stamp = max(to_micros(source.clock.now()), self._stamp + 1)
        return self._stamp

    def _record(
        self,
        value: Any,
        name: str,
        source: Source,
        parent: Mapping[str, Any],
        *,
        brief: bool = False,
        fault: Fault | None = None,
    ) -> Record:
        return Record(
            value=value,
            received=source.clock.now(),
            fallback_id=name,
            stream=self._name,
            brief=brief,
            fault=fault,
            beside={"_parent": dict(parent)} if parent else {},
        )


class Edge:
    """What a walk met so far, and what the one before it did. Memory is bounded.

    ``floor``: the source was not asked for what is new only, so that what stands before this is known. ``falling`` and
    ``rising`` say in which orders records came, ``least`` the smallest position of them.
    """

    def __init__(self, place: Place, *, floor: Value | None = None) -> None:
        self._met: list[tuple[Value, bytes]] = list(place.edge)
        self._known = {digest for _, digest in place.edge}
        self._page: list[Value] = []
        self._floor = floor
        self._last: Value | None = None
        self.count = self.positioned = 0
        self.least: Value | None = None
        self.falling = self.rising = False

    def wants(self, position: Value | None) -> bool:
        """Whether such a record may be new; one that is too old for that counts as met."""
        if position is None or self._floor is None or not less(position, self._floor):
            return True
        self.count += 1
        self.positioned += 1
        self._order(position)
        return False

    def is_new(self, digest: bytes) -> bool:
        """Whether this content was neither in the edge nor before in this walk."""
        if digest in self._known:
            return False
        if len(self._known) < 2 * MOST_EDGE:
            self._known.add(digest)
        return True

    def add(self, position: Value | None, digest: bytes) -> None:
        """One more record, in the order in which they came."""
        self.count += 1
        if position is None:
            return
        self.positioned += 1
        self._met.append((position, digest))
        self._page.append(position)
        self._order(position)
        if len(self._met) > 2 * MOST_EDGE:
            self._met = _latest(self._met)

    def _order(self, position: Value) -> None:
        if self._last is not None:
            self.falling = self.falling or less(position, self._last)
            self.rising = self.rising or less(self._last, position)
        self._last = position
        if self.least is None or less(position, self.least):
            self.least = position

    def met(self) -> list[Value]:
        """The positions met since the last time."""
        self._page, page = [], self._page
        return page

    def kept(self, since: Value | None) -> tuple[tuple[Value, bytes], ...]:
        """What a look that begins at ``since`` brings again."""
        met = dict.fromkeys(one for one in self._met if since is None or not less(one[0], since))
        return tuple(_latest(list(met)))


def _latest(met: list[tuple[Value, bytes]]) -> list[tuple[Value, bytes]]:
    return sorted(met, key=lambda one: (isinstance(one[0], str), one[0]), reverse=True)[:MOST_EDGE]


def _text(template: Template, value: Any) -> str | None:
    try:
        found = template.render(value, {})
        return None if found is None else as_text(found) or None
    except TemplateFault:
        return None


def _digest(source: Source, content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=16, key=source.secret("rest")).digest()
