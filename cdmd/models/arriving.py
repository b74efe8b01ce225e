"""What arrives, before and after mapping, and the verdicts about it."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, TypeAlias

import msgspec

from cdmd.kit.spans import SpanContext


class Event(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Something that happened, as it is known after mapping and minimising.

    ``(source, id)`` names one occurrence. ``time`` is what the source said, or None. ``identifiers`` maps a kind to its text.
    """

    id: str
    source: str
    type: str
    time: datetime | None = None
    received: datetime
    identifiers: dict[str, str] = {}
    traits: dict[str, Any] = {}
    data: dict[str, Any] = {}

    def enriched(self, /, **data: Any) -> "Event":
        """A copy whose ``data`` also carries the given entries."""
        return msgspec.structs.replace(self, data={**self.data, **data})

    @property
    def connector(self) -> str:
        """The connector's name: a source is the connector, or ``connector.stream``."""
        return self.source.partition(".")[0]


class Fault(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """Why a record or an event could not be taken: what, where, and on what kind of value. Holds no value itself."""

    code: str
    message: str
    expression: str | None = None
    path: str | None = None
    kind: str | None = None


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """What a connector itself knows of a record's event: a source that says by its own rules whose it is and what is told."""

    identifiers: dict[str, str] = {}
    traits: dict[str, Any] = {}
    data: dict[str, Any] = {}


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What a connector brings in, before mapping.

    ``value`` is the decoded source record (any JSON value); ``context`` is what templates see beside it (``_request``,
    ``_file``); ``id``, ``type`` and ``time`` are the defaults that the source's scheme knows (a delivery header, say);
    ``fallback_id`` names the record where neither the mapping nor the scheme does; ``brief`` says that it is only a digest of
    what was sent, which names an occurrence for ``BRIEFLY`` and no longer. ``received`` is the moment of arrival.
    ``parts`` hold where the ``event`` table says nothing; ``fault`` is why it cannot be taken, which no mapping changes; with
    ``final`` its connector has said all of the event, and the ``event`` table is not asked.
    ``beside`` are names that templates find among the record's own, though ``"*"`` keeps none of them. ``adjusted`` says that
    ``time`` was brought to our clock, so that two deliveries of one occurrence may differ in it. ``span`` is the trace that its
    sender says it is part of (``Request.span``). ``once``: where it was brought is kept with it (``emit``'s state), so that its
    connector brings it no second time, and nobody need remember it in case it does.
    """

    value: Any
    received: datetime
    fallback_id: str
    context: Mapping[str, Any] = {}
    id: str | None = None
    type: str | None = None
    time: Any = None
    stream: str | None = None
    brief: bool = False
    parts: Parts | None = None
    fault: Fault | None = None
    adjusted: bool = False
    beside: Mapping[str, Any] = {}
    final: bool = False
    span: SpanContext | None = None
    once: bool = False


class Row(msgspec.Struct, frozen=True, gc=False):
    """One record of a file: its decoded ``value``, or the ``fault`` for which it has none.

    ``number`` is the record's (1 for the first, headers not counted), the same whenever the file is read again; ``line`` the
    line it starts at (1-based) where the format has lines; ``raw`` what was read of a record that has a fault, or nothing.
    """

    number: int
    line: int | None
    value: dict[str, Any] | None
    fault: Fault | None = None
    raw: bytes = b""


class Accepted(msgspec.Struct, frozen=True):
    """The record is in the journal and synced (or is a repeat of one that is)."""

    id: str


class Filtered(msgspec.Struct, frozen=True):
    """The record is not wanted; nothing of it was kept."""

    reason: str


class Rejected(msgspec.Struct, frozen=True):
    """The record could not be taken; it is a dead letter (journaled and synced)."""

    code: str
    message: str


Verdict: TypeAlias = Accepted | Filtered | Rejected
