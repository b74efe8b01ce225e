"""One declared stream, compiled: its way from page to page, its requests, what answers mean, its positions, its children."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

from cdmd.connectors.rest.answering import Answering
from cdmd.connectors.rest.asking import Asking, joined
from cdmd.connectors.rest.exporting import Export
from cdmd.connectors.rest.paging import Way
from cdmd.connectors.rest.positions import Place, Positions
from cdmd.connectors.rest.records import Intake
from cdmd.connectors.rest.settings import RestSettings, SinglePage, StreamSettings
from cdmd.contracts import StreamFrame
from cdmd.errors import TemplateFault
from cdmd.kit.coercions import as_time
from cdmd.kit.filling import texts
from cdmd.kit.templates import Template
from cdmd.kit.urls import UrlTemplate

DIGEST: Final = 16
"""Bytes that name a parent's record in a row of ``Stream.due``."""

_PLACE: Final = msgspec.msgpack.Decoder(Place)
_GENERATION: Final = 4


class Stream:
    """See above. Raises ValueError for what ``checking`` would have refused."""

    def __init__(self, name: str, settings: StreamSettings, connector: RestSettings) -> None:
        self.name, self.settings = name, settings
        errors = settings.errors or connector.errors
        origin = UrlTemplate.parse(joined(connector.base_url, settings.path)).origin
        self.positions = None if settings.since is None else Positions(settings.since)
        self.way = Way(settings.page or connector.page or SinglePage(), origin=origin)
        self.asking = Asking(connector, settings, self.way)
        self.answering = Answering(settings, errors, max_body=connector.max_body.bytes)
        self.export = None if settings.export is None else Export(settings.export, connector, errors, self.asking)
        self.intake = Intake(name, settings, self.positions)
        self.tries = errors.tries
        self.children: list[Child] = []
        self.under_way: dict[bytes, int] = {}  # parents' records that are being asked about, with the generation that follows
        self._time = None if settings.event is None or settings.event.time is None else Template.parse(settings.event.time)

    @property
    def frame(self) -> StreamFrame:
        """What the daemon has to know of it."""
        freshness = self.settings.freshness
        return StreamFrame(event=self.settings.event, freshness=None if freshness is None else freshness.seconds)

    @property
    def key(self) -> bytes:
        """Where its place stands in the connector's state."""
        return b"rest/" + self.name.encode() + b"/place"

    @property
    def due(self) -> bytes:
        """Where the parents' records stand about which it still has to ask."""
        return b"rest/" + self.name.encode() + b"/due/"

    def mark(self, digest: bytes) -> bytes:
        """The row for a parent's record that is new: another one than those that an answer under way is going to remove."""
        generation = self.under_way.get(digest)
        return self.due + digest + (b"" if generation is None else generation.to_bytes(_GENERATION, "big"))

    def marked(self, row: bytes) -> tuple[bytes, int]:
        """Digest and generation of a row of ``due``."""
        named = row[len(self.due) :]
        return named[:DIGEST], int.from_bytes(named[DIGEST:], "big")

    @property
    def pace(self) -> bytes:
        """Where what its looks are planned by stands."""
        return b"rest/" + self.name.encode() + b"/pace/"

    @property
    def job(self) -> bytes:
        """Where the export that is waited for stands."""
        return b"rest/" + self.name.encode() + b"/export"

    @property
    def asks_since(self) -> bool:
        """Whether the source is asked for what is new only."""
        since = self.settings.since
        return since is not None and (since.param is not None or "since" in roots(self.settings))

    def time(self, record: Any) -> datetime | None:
        """When the record's event happened, where it says so."""
        if self._time is None:
            return None
        try:
            return as_time(self._time.render(record, {}))
        except (TemplateFault, ValueError):
            return None

    def read(self, kept: bytes | None) -> Place:
        """The place that ``written`` made, as far as it still means something."""
        place = Place() if kept is None else _PLACE.decode(kept)
        return place if self.positions is None else self.positions.valid(place)

    @staticmethod
    def written(place: Place) -> bytes:
        """The place as it stands in the state."""
        return msgspec.msgpack.encode(place)


class Child:
    """A stream that asks about every new record of this one: what of the record it has to know."""

    def __init__(self, stream: Stream, fields: Mapping[str, str]) -> None:
        self.stream = stream
        self._fields = {name: Template.parse(text) for name, text in fields.items()}

    def fields(self, record: Any) -> dict[str, Any] | None:
        """The record's fields that the child's request names; None where one of them is missing."""
        try:
            found = {name: template.render(record, {}) for name, template in self._fields.items()}
        except TemplateFault:
            return None
        return None if None in found.values() else found


def streams(connector: RestSettings) -> dict[str, Stream]:
    """Every stream of a connector, children known to their parents. Raises ValueError."""
    found = {name: Stream(name, settings, connector) for name, settings in connector.streams.items()}
    for name, settings in connector.streams.items():
        if settings.parent is not None:
            found[settings.parent.stream].children.append(Child(found[name], settings.parent.fields))
    return found


def roots(settings: StreamSettings) -> frozenset[str]:
    """The names that the stream's request reads. Raises ValueError for a template that is none."""
    read = [settings.path, *texts(settings.params), *settings.headers.values(), *texts(settings.body)]
    return frozenset().union(*(Template.parse(text).roots for text in read))
