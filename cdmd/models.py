"""The nouns of cdmd as frozen structs: what arrives, what is kept, and the verdicts about it.

For: every floor above; nothing here reads, writes or decides. What comes by the thousand is hidden from the garbage collector
(``gc=False``): it is decoded or computed, so it refers to itself nowhere and counting references frees it. Times that leave the
process are aware datetimes in UTC, times that are compared or stored are ``Micros``.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from hashlib import blake2b
from typing import Any, Final, NewType, TypeAlias

import msgspec

from cdmd.kit.conditions import Failures
from cdmd.kit.secret import Secret

Micros = NewType("Micros", int)
"""Microseconds since 1970-01-01T00:00:00Z."""

Seq = NewType("Seq", int)
"""A journal sequence number: 1 for the first entry ever, never used twice."""

ProfileKey = NewType("ProfileKey", int)
"""A profile's number inside the store; it never leaves the daemon."""

Digest = NewType("Digest", bytes)
"""A keyed 128-bit digest (16 bytes) of (source, id)."""

BRIEFLY: Final = 72 * 3600 * 1_000_000
"""Microseconds for which a digest of what was sent names one occurrence: after it, the same again is another one."""

LANE: Final = 0
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def to_micros(moment: datetime) -> Micros:
    """The aware datetime ``moment`` as microseconds since the epoch."""
    return Micros((moment - EPOCH) // _MICROSECOND)


def from_micros(value: int) -> datetime:
    """Microseconds since the epoch as an aware datetime in UTC."""
    return EPOCH + timedelta(microseconds=value)


def show_time(moment: datetime) -> str:
    """RFC 3339 in UTC with as many decimals as are needed: none, three or six."""
    moment = moment.astimezone(UTC)
    if moment.microsecond == 0:
        return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
    style = "milliseconds" if moment.microsecond % 1000 == 0 else "microseconds"
    return moment.replace(tzinfo=None).isoformat(timespec=style) + "Z"


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

    def enriched(self, **data: Any) -> "Event":
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
    ``time`` was brought to our clock, so that two deliveries of one occurrence may differ in it.
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


class Entry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What one journal sequence number holds: an event, or a record that could not be mapped.

    With a ``fault``, ``event`` carries what is known (its ``id`` and ``type`` may be empty) and ``raw`` the record as JSON
    (empty where nothing of it may be kept). ``brief``: see ``Record``; the event's id names it for ``BRIEFLY`` only.
    ``adjusted``: see ``Record``.
    """

    event: Event
    fault: Fault | None = None
    raw: bytes = b""
    brief: bool = False
    adjusted: bool = False

    def content(self, event: Event) -> Event:
        """What another delivery of the same occurrence says, too: ``event``, without its time where that was adjusted."""
        return msgspec.structs.replace(event, time=None) if self.adjusted else event

    @property
    def occurrence(self) -> tuple[str, str] | None:
        """(source, id) of what it is one occurrence of; None where nothing names it.

        What could not be mapped is named by what was kept of it: the id its sender's scheme said may be another event's.
        """
        if self.fault is None:
            return (self.event.source, self.event.id) if self.event.id else None
        return (f"{self.event.source}.\0", blake2b(self.raw, digest_size=16).hexdigest()) if self.raw else None


class Journaled(msgspec.Struct, frozen=True, gc=False):
    """An entry at its place in the journal."""

    seq: Seq
    entry: Entry


class Extended(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One extension's visit to an event: who, how long (seconds), what became of it, which data keys it added."""

    extension: str
    seconds: float
    outcome: str
    added: Sequence[str] = ()


class Apply(msgspec.Struct, frozen=True, gc=False):
    """The event goes on to identity and profile."""


class Hold(msgspec.Struct, frozen=True):
    """The event waits in ``parked`` for an extension until ``due``; ``attempts`` counts the calls that failed."""

    extension: str
    due: Micros
    attempts: int
    reason: str


class Discard(msgspec.Struct, frozen=True):
    """An extension does not want the event: it is counted as filtered."""

    reason: str


class Bury(msgspec.Struct, frozen=True):
    """The event becomes a dead letter."""

    fault: Fault


Outcome: TypeAlias = Apply | Hold | Discard | Bury


class Item(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One event on its way into the store: fresh from the journal, or back from ``parked`` (``resumed``).

    ``parked_since`` is when it was first parked. ``entry.event`` is already extended where extensions answered in time.
    ``retry`` marks a revived dead letter that was retried ``attempts`` times before. ``digest``: its occurrence's, if computed.
    """

    seq: Seq
    entry: Entry
    outcome: Outcome
    trace: Sequence[Extended] = ()
    resumed: bool = False
    parked_since: Micros | None = None
    retry: bool = False
    attempts: int = 0
    digest: Digest | None = None


class SeenVerdict(IntEnum):
    """What became of an event that was seen: kept with its digest for as long as it must be recognised."""

    APPLIED = 1
    FILTERED = 2
    DEAD = 3
    PARKED = 4
    SUPPRESSED = 5


class Seen(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A remembered occurrence: its sequence number, verdict, and a 64-bit digest of its content."""

    seq: Seq
    verdict: int
    content: int


class IdentifierState(msgspec.Struct, array_like=True, gc=False):
    """One identifier of a profile (times in microseconds). A ``derived`` one never arrived: it is a digest of one that did."""

    kind: str
    value: str
    first_seen: int
    last_seen: int
    source: str
    derived: bool = False


class TraitState(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A trait's value as of an effective time, and who said so (if that is known); None means removed as of then."""

    value: Any
    time: int
    seq: int
    source: str = ""


class IndicatorState(msgspec.Struct, array_like=True, gc=False):
    """What an activity indicator has accumulated (see ``cdmd.profiles.indicators``); ``parts`` by the bucket of its window."""

    definition: int
    count: int = 0
    total: float = 0.0
    least: float | None = None
    greatest: float | None = None
    first: TraitState | None = None
    last: TraitState | None = None
    values: list[int] = []
    rest: list[float] = []
    squares: list[float] = []
    parts: "dict[int, IndicatorState]" = {}


class ProfileState(msgspec.Struct, array_like=True, gc=False):
    """A profile as one packed row of the store. ``members`` are the profiles merged into it, ``merged_into`` its winner.

    ``audiences``: since when it is in each; ``judged``: as of when that was decided; ``due``: when the clock may change it.
    """

    public: str
    created: int
    updated: int
    identifiers: list[IdentifierState] = []
    traits: dict[str, TraitState] = {}
    indicators: dict[str, IndicatorState] = {}
    members: list[int] = []
    merged_into: int | None = None
    audiences: dict[str, int] = {}
    judged: int = 0
    due: int | None = None


class Merge(msgspec.Struct, frozen=True, kw_only=True):
    """Why two profiles became one: the event, the identifiers that joined them, and the loser as it was."""

    seq: Seq
    time: Micros
    winner: ProfileKey
    loser: ProfileKey
    identifiers: Sequence[tuple[str, str]]
    rule: str
    before: ProfileState


class Activity(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What is kept of an applied event; ``profile`` is None where nobody could be named. ``time`` is the effective time."""

    seq: Seq
    profile: ProfileKey | None
    time: Micros
    event: Event
    rule: str
    trace: Sequence[Extended] = ()
    clock_ahead: bool = False


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """An event or record set aside with its reason. ``stage`` is ``map`` or ``extend``; ``attempts`` counts the retries."""

    seq: Seq
    entry: Entry
    fault: Fault
    stage: str
    since: Micros
    attempts: int = 0


class Parked(msgspec.Struct, frozen=True, kw_only=True):
    """An event that waits for an extension. ``due`` and ``since`` in microseconds; ``retry`` marks a revived dead letter.

    ``trace`` is each extension's latest visit so far.
    """

    seq: Seq
    entry: Entry
    extension: str
    attempts: int
    due: Micros
    since: Micros
    reason: str
    retry: bool = False
    trace: Sequence[Extended] = ()


class Notice(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A profile entered an audience, or left it; ``id`` is computed, ``reason`` holds no personal data."""

    id: str
    audience: str
    profile: ProfileKey
    public: str
    entered: bool
    at: Micros
    reason: str


class Known(msgspec.Struct, frozen=True):
    """What the store holds about a batch, looked up at once before anything is decided.

    ``parked``: which of those asked for are parked now (None: nobody looked). ``newest``: each profile's newest activity.
    """

    seen: dict[Digest, Seen]
    owners: dict[tuple[str, str], ProfileKey]
    profiles: dict[ProfileKey, ProfileState]
    next_profile: ProfileKey
    parked: AbstractSet[Seq] | None = None
    newest: Mapping[ProfileKey, Seq] = {}


class Wanted(msgspec.Struct, frozen=True):
    """What ``Store.apply`` must look up for a batch: digests, normalised identifiers as (kind, value), and parked events.

    ``profiles`` are looked up by their keys as they are, merged ones too.
    """

    digests: Sequence[Digest]
    identifiers: Sequence[tuple[str, str]]
    parked: Sequence[Seq] = ()
    profiles: Sequence[ProfileKey] = ()


class Changes(msgspec.Struct, kw_only=True):
    """What a decided batch writes, in one transaction that also moves the position to ``position``.

    ``profiles`` holds new and changed rows; ``owners`` new or moved identifiers; ``unparked`` the rows whose effects are here;
    ``counts`` adds to (connector, counter). ``swayed``: extensions have a say in it or in what waits, so it may be other when
    applied again. ``due``: what it was before, where it is another one; ``notices`` in their order, ``failures`` by audience.
    """

    position: Seq | None = None
    seen: dict[Digest, Seen] = {}
    profiles: dict[ProfileKey, ProfileState] = {}
    owners: dict[tuple[str, str], ProfileKey] = {}
    merges: list[Merge] = []
    activities: list[Activity] = []
    dead: list[DeadLetter] = []
    parked: list[Parked] = []
    unparked: list[Seq] = []
    counts: dict[tuple[str, str], int] = {}
    swayed: bool = False
    due: dict[ProfileKey, int | None] = {}
    notices: list[Notice] = []
    failures: dict[str, Failures] = {}


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """An HTTP request as a push connector sees it: limits are already checked, the body is read and decompressed.

    ``headers`` are (lower-case name, value) in order of arrival; ``body`` is the raw bytes as sent unless they were compressed;
    ``peer`` is the sender's address (behind trusted proxies what they say), ``target`` path and query exactly as they were
    sent, ``certificate`` the names in the client's verified certificate.
    """

    method: str
    path: str
    query: str
    headers: Sequence[tuple[str, str]]
    body: bytes
    peer: str
    received: datetime
    target: str = ""
    certificate: Sequence[str] = ()

    def header(self, name: str) -> str | None:
        """The first header of that lower-case ``name``, or None."""
        return next((value for key, value in self.headers if key == name), None)


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """An HTTP answer: status, body bytes and headers (names in lower case)."""

    status: int = 200
    body: bytes = b""
    headers: Sequence[tuple[str, str]] = ()


class Emission(msgspec.Struct, frozen=True, kw_only=True):
    """What a push connector wants on the disk before it answers: records and its own state, durable together.

    ``answer`` is called with a verdict for each record once they are.
    """

    records: Sequence[Record]
    answer: Callable[[Sequence[Verdict]], Answer]
    state: Mapping[bytes, bytes | None] = {}


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """A path (exact) that a push connector answers, its methods, and how large a body (bytes) it takes.

    ``shared``: other connectors may answer the same path with the same methods; each is asked whether it ``recognises`` a
    request. With ``secrets`` one more segment follows the path, and it must be one of them. Web pages of ``origins`` may read
    what the daemon itself answers here (413, 503); their browsers' questions (OPTIONS) reach a paused connector, too.
    """

    path: str
    methods: Sequence[str] = ("POST",)
    max_body: int | None = None
    shared: bool = False
    secrets: Sequence[Secret] = ()
    origins: Collection[str] = ()


_ENTRY_ENCODER = msgspec.msgpack.Encoder()
_ENTRY_DECODER = msgspec.msgpack.Decoder(Entry)


def encode_entry(entry: Entry) -> bytes:
    """The entry as MessagePack, as the journal, ``parked`` and the dead letters keep it."""
    return _ENTRY_ENCODER.encode(entry)


def decode_entry(encoded: bytes) -> Entry:
    """The entry that ``encode_entry`` wrote. Raises msgspec.DecodeError or msgspec.ValidationError on anything else."""
    return _ENTRY_DECODER.decode(encoded)


class Count:
    """The counters of a connector. The door's are kept with the journal, the applied side's with the store.

    received = refused + filtered (door) + accepted; accepted = applied + repeats (both) + filtered (store) + suppressed + dead
    + parked + backlog. ``dead`` and ``parked`` are current numbers, all others only grow.
    """

    RECEIVED: Final = "received"
    REFUSED: Final = "refused"
    FILTERED: Final = "filtered"
    ACCEPTED: Final = "accepted"
    REPEATS: Final = "repeats"
    APPLIED: Final = "applied"
    SUPPRESSED: Final = "suppressed"
    DEAD: Final = "dead"
    PARKED: Final = "parked"
    UNATTRIBUTED: Final = "unattributed"
    KEPT_APART: Final = "kept_apart"
    ID_CONFLICTS: Final = "id_conflicts"
    IGNORED_TRAITS: Final = "ignored_traits"
    SKIPPED_VALUES: Final = "skipped_values"
    CLOCK_AHEAD: Final = "clock_ahead"
    MISSED: Final = "missed"
