"""What maps a record, and connectors that bring several kinds of records: streams, each with a mapping of its own."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Literal, Protocol, runtime_checkable

import msgspec
from msgspec import Meta


class EventSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An ``event`` table: of a connector, or of one of its streams.

    One that stands in a connector type's own settings is checked like the one that every connector has.
    """

    id: Annotated[str | None, Meta(description="Names one occurrence, never an object.")] = None
    type: Annotated[str | None, Meta(description="The event's type.")] = None
    time: Annotated[str | None, Meta(description="When it happened: RFC 3339, Unix seconds or milliseconds, a date.")] = None
    identifiers: Annotated[dict[str, str] | None, Meta(description="Kinds and values that say whose event it is.")] = None
    traits: Annotated[
        dict[str, str] | Literal["*"] | None, Meta(description='What is known of the customer; "*" keeps the record.')
    ] = None
    data: Annotated[
        dict[str, str] | Literal["*"] | None, Meta(description='What is kept of the event; "*" keeps the record.')
    ] = None


class StreamFrame(msgspec.Struct, frozen=True, kw_only=True):
    """What the daemon has to know of one stream: its mapping (None: the connector's) and its objective in seconds."""

    event: EventSettings | None = None
    freshness: float | None = None


@runtime_checkable
class StreamingConnector(Protocol):
    """A connector of several streams: what it emits names its stream (``Record.stream``), and so does the event's source."""

    @property
    def streams(self) -> Mapping[str, StreamFrame]:
        """Every stream by its name."""
        ...


class StreamOutlook(msgspec.Struct, frozen=True, kw_only=True):
    """When a stream is looked at, and how that serves its objective ``freshness`` (seconds).

    ``measured``: within so many seconds 95 of 100 of what happened lately were brought. ``looked``: when the last whole look
    began, ``next``: the next one, ``why`` then. ``shortfall``: why the objective is not reached, and what is. For people.
    """

    name: str
    freshness: float | None = None
    measured: float | None = None
    looked: datetime | None = None
    next: datetime | None = None
    why: str | None = None
    shortfall: str | None = None


@runtime_checkable
class LookingConnector(Protocol):
    """A pull connector that can say when it looks next, and why then."""

    @property
    def outlook(self) -> Sequence[StreamOutlook]:
        """Every stream, by what is known now."""
        ...
