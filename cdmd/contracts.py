"""The Protocols that join the rooms: what a plugin fulfils, and what a floor needs from above it.

Not here: any implementation. A connector meets the daemon only through its ``Source``; the journal and the store are
replaceable behind ``Journal`` and ``Store`` (their contract test-suites are ``tests/store/contract_*.py``).
"""

import builtins
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Protocol, TypeAlias, TypeVar, runtime_checkable

import msgspec

from cdmd.kit.quantities import Rate
from cdmd.models import (
    Activity,
    Answer,
    Changes,
    DeadLetter,
    Digest,
    Emission,
    Entry,
    Event,
    Fault,
    Journaled,
    Known,
    Merge,
    Micros,
    Parked,
    ProfileKey,
    ProfileState,
    Record,
    Request,
    Route,
    Row,
    Seen,
    Seq,
    Verdict,
    Wanted,
)


class Clock(Protocol):
    """Time, handed in."""

    def now(self) -> datetime:
        """The wall clock in UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds that only grow; for deadlines and durations."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after ``seconds``."""
        ...


class HttpAnswer(Protocol):
    """What a guarded HTTP request brings back (``httpx.Response`` fulfils it)."""

    @property
    def status_code(self) -> int:
        """The HTTP status."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """The answer's headers; names compare without case."""
        ...

    @property
    def content(self) -> bytes:
        """The decoded body, bounded by the client's limit."""
        ...

    @property
    def text(self) -> str:
        """The body as text."""
        ...

    def json(self) -> Any:
        """The body decoded as JSON; raises ValueError when it is not JSON."""
        ...

    def raise_for_status(self) -> Any:
        """Raise when the status is 4xx or 5xx."""
        ...


class Http(Protocol):
    """A guarded HTTP client: it reaches only hosts that the configuration names, bounded in time and size.

    Raises ``cdmd.errors.AddressRefused`` before connecting anywhere else. Redirects are not followed.
    """

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        json: Any = None,
        content: bytes | None = None,
        timeout: float | None = None,
    ) -> HttpAnswer:
        """Send one request; ``timeout`` in seconds bounds all of it."""
        ...

    async def get(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> HttpAnswer:
        """``request("GET", ...)``."""
        ...

    async def post(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        json: Any = None,
        content: bytes | None = None,
        timeout: float | None = None,
    ) -> HttpAnswer:
        """``request("POST", ...)``."""
        ...


HttpAnswerT = TypeVar("HttpAnswerT", bound=HttpAnswer)


class Turn(Protocol):
    """A place in a host's budget, for one request."""

    async def send(self, call: Callable[[], Awaitable[HttpAnswerT]]) -> HttpAnswerT:
        """Make the request: what ``call`` gives, or raises. The budget learns from its status and headers."""
        ...


class Budget(Protocol):
    """The requests that one host allows one credential: shared by every connector, stream, page and fetch."""

    def turn(self, asker: str, *, priority: int) -> AbstractAsyncContextManager[Turn]:
        """Wait for a place and hold it. One that sends nothing costs nothing.

        Askers of one priority take turns; a smaller ``priority`` comes first (``kit.shared_budget.NOTIFIED``, ``SCHEDULED``).
        """
        ...

    def next_at(self) -> tuple[float | None, str]:
        """Monotonic seconds of the next place (None: once an answer came), and why it has to wait, in words for ``status``."""
        ...


# ---- connectors ----------------------------------------------------------------------------------------------------


class BulkWriter(Protocol):
    """A new generation of a ``BulkTable`` on its way."""

    async def put(self, blocks: Sequence[bytes]) -> None:
        """Write blocks behind those already written. Raises ``NotDurable``."""
        ...

    async def finish(self) -> Mapping[bytes, bytes]:
        """Make it durable; the state with which an ``emit`` makes it current. Raises ``NotDurable``."""
        ...


class BulkTable(Protocol):
    """A big table of a connector: numbered blocks of bytes beside the journal, written as whole generations.

    A new generation is current from the ``emit`` on that its state (``BulkWriter.finish``) was handed to, together with the
    records of that ``emit``; until then, and after any crash before, the old one is. At most one is written at a time. What a
    block holds is the connector's; up to a few hundred KiB suit.
    """

    async def size(self) -> int | None:
        """How many blocks the current generation has; None where there never was one. Raises ``Damaged``."""
        ...

    async def get(self, numbers: Sequence[int]) -> list[bytes]:
        """These blocks (0 for the first) of the current generation. Raises ``Damaged`` and ``NotDurable``."""
        ...

    def blocks(self) -> AsyncIterator[bytes]:
        """All blocks of the current generation in order."""
        ...

    async def write(self) -> BulkWriter:
        """Begin a new generation; what an interrupted one left is removed, and so is what is no longer current."""
        ...

    async def tidy(self) -> None:
        """Remove what is not current at once (the next ``write`` would). Raises ``NotDurable``."""
        ...


class Source(Protocol):
    """All that a connector sees of the daemon."""

    @property
    def name(self) -> str:
        """The connector's name in the configuration."""
        ...

    @property
    def public_url(self) -> str | None:
        """What senders write before the path (``http.public_url``, without a slash at its end); None where nobody said."""
        ...

    @property
    def http(self) -> Http:
        """The guarded client for this connector's configured hosts."""
        ...

    @property
    def clock(self) -> Clock:
        """The daemon's clock."""
        ...

    @property
    def freshness(self) -> float | None:
        """Seconds within which what happens there should be known here, as configured; None where nobody says."""
        ...

    async def emit(self, records: Sequence[Record], *, state: Mapping[bytes, bytes | None] = {}) -> list[Verdict]:
        """Map, filter and journal ``records`` together with ``state`` (None removes a key).

        Returns when both are durable, one verdict for each record. Raises ``Overloaded`` when there is no place within a
        second (push connectors) and ``NotDurable`` when the disk cannot take it: then nothing is acknowledged.
        """
        ...

    def refuse(self, count: int, reason: str) -> None:
        """Count ``count`` records that were refused before mapping, under a fixed ``reason`` word."""
        ...

    async def get(self, keys: Iterable[bytes]) -> dict[bytes, bytes]:
        """The connector's own state at ``keys``; absent keys are left out."""
        ...

    def scan(self, prefix: bytes) -> AsyncIterator[tuple[bytes, bytes]]:
        """The connector's own state under ``prefix``, in key order."""
        ...

    def table(self, name: str) -> BulkTable:
        """A big table of this connector's; ``name`` has letters, digits, ``_`` and ``-`` only."""
        ...

    def secret(self, purpose: str) -> bytes:
        """32 bytes that nobody outside this daemon has, always the same for this connector and purpose, to key digests with."""
        ...

    async def idle(self, until: datetime, reason: str) -> None:
        """Sleep until then; the reason is shown in ``status``, and ``cdmctl poll`` wakes it."""
        ...

    def working(self, on: str | None) -> None:
        """Say what it does now, in words that ``status`` shows to everybody; None when that is over."""
        ...

    async def connect(self, host: str, port: int, *, timeout: float) -> socket.socket:
        """A connection to a host that the connector's settings name, for protocols other than HTTP; ``timeout`` in seconds.

        Raises ``AddressRefused`` before connecting anywhere else, ``RequestFailed`` where nobody can be reached.
        """
        ...

    @property
    def scratch(self) -> Path:
        """A private folder (0700) for what is needed only for a while; emptied when the daemon starts. Make it before use."""
        ...

    def room(self) -> int:
        """How many bytes may be written to ``scratch`` now without touching the reserve that the journal needs."""
        ...

    def unwell(self, why: str | None) -> None:
        """Say that the connector cannot do its work although it runs, in words that ``status`` shows to everybody.

        It is ``degraded`` until it says None.
        """
        ...

    def budget(self, origin: str, credential: str, limits: Sequence[Rate]) -> Budget:
        """The budget of this origin and credential, shared with all connectors that name both; every one's limits hold.

        ``credential`` may hold secrets: only a keyed digest of it is kept. What was sent counts over restarts.
        """
        ...


@runtime_checkable
class Connector(Protocol):
    """What every connector type is: a name, a settings struct, and a constructor that takes both.

    A pull connector also has ``async run(source)``; a push connector has ``routes`` and ``answer``. One that is told and then
    fetches has both; where only some of its configurations fetch, it says so by a property ``fetches``.
    """

    Settings: ClassVar[builtins.type[msgspec.Struct]]
    type: ClassVar[str]

    def __init__(self, name: str, settings: Any) -> None:
        """Build it from checked settings; raise ``ConfigInvalid`` for what a struct cannot express. No I/O here."""
        ...


@runtime_checkable
class PullConnector(Protocol):
    """A connector that fetches: an independent task for as long as the daemon runs.

    It is handed a source of its own: what it emits waits for credit, as long as that takes.
    """

    async def run(self, source: Source) -> None:
        """Bring records in until cancelled. Returning early counts as a failure."""
        ...


@runtime_checkable
class PushConnector(Protocol):
    """A connector that is told: the daemon owns the listeners and hands it the requests for its routes."""

    @property
    def routes(self) -> Sequence[Route]:
        """The exact paths it answers."""
        ...

    async def answer(self, request: Request, source: Source) -> Answer:
        """Verify, decode and emit. ``Overloaded`` may pass through: the daemon answers 503 with Retry-After."""
        ...


@runtime_checkable
class DecidingConnector(PushConnector, Protocol):
    """A push connector that knows at once what a request is worth, so that no task has to run for each.

    Optional, and open to every connector: ``answer`` goes on serving whatever ``decide`` leaves to it.
    """

    def decide(self, request: Request, source: Source) -> Answer | Emission | None:
        """The answer, or what has to be durable before there is one; None where it takes waiting: then ``answer`` is asked.

        Synchronous and quick: of ``source`` only what does not wait (``refuse``, ``name``, ``clock``). The daemon emits what
        is returned as ``Source.emit`` would, answers 503 where it cannot be taken, else what the emission's ``answer`` makes
        of the verdicts, after they are durable.
        """
        ...


@runtime_checkable
class SharingConnector(PushConnector, Protocol):
    """A push connector that shares paths with others (``Route.shared``)."""

    def recognises(self, request: Request) -> bool:
        """Whether the request is this connector's; quick and without I/O. Where nobody's it is, the first one refuses it."""
        ...


@runtime_checkable
class NotifiedConnector(Protocol):
    """A push connector whose requests only name what is to be fetched: ``cdmd try`` shows what that would be."""

    def would_fetch(self) -> Sequence[Mapping[str, str]]:
        """The requests that its notifications so far lead to, as JSON objects without any credential."""
        ...


@runtime_checkable
class RetryingConnector(Protocol):
    """A connector that itself retries some of its dead letters: what it could not fetch, say."""

    @property
    def retries(self) -> Collection[str]:
        """Their fault codes."""
        ...

    async def take_back(self, values: Sequence[Any], source: Source) -> Sequence[bool]:
        """Take up records (the ``value`` of each) again; which of them were, once that is durable: those are dead no more."""
        ...


# ---- formats of files ----------------------------------------------------------------------------------------------


class Format(Protocol):
    """What every file format is: a name, a settings struct (its keys are checked like a connector's), and ``rows``."""

    name: ClassVar[str]
    Settings: ClassVar[type[msgspec.Struct]]

    def __init__(self, settings: Any) -> None:
        """Build it from checked settings; raise ``ConfigInvalid`` for what a struct cannot express. No I/O here."""
        ...

    def rows(self, stream: BinaryIO) -> Iterator[Row]:
        """The records of a whole, unpacked file, read as they are asked for; it blocks: for a worker thread.

        A record that cannot be read is a row with a fault, and the rest goes on. Memory is bounded by the settings, not by the
        file. Raises ``FormatFault`` where the file as a whole cannot be read (a header without a wanted column, a cut end).
        """
        ...


class ChosenFormat(msgspec.Struct, frozen=True):
    """A format with its settings, as a connector's settings hold it: annotate a field with it, and read it with ``make``.

    ``format = { type = "csv", delimiter = ";" }`` in the configuration is looked up among all formats, ours and those of
    plugins, and checked with that format's ``Settings``; so a connector needs to know no format.
    """

    format: type[Format]
    settings: Any

    def make(self) -> Format:
        """The format, ready to read files. Raises ``ConfigInvalid``: call it where the connector is made."""
        return self.format(self.settings)


class Shelf(msgspec.Struct, frozen=True, kw_only=True):
    """What a connector shows of itself over the control socket: rows of one ``kind``, and the commands about them.

    ``cdmctl`` and the control API know no kind: whatever connector offers ``files`` is listed by ``/v1/shelves/files``.
    """

    kind: str
    commands: Sequence[str] = ()


@runtime_checkable
class ShowingConnector(Protocol):
    """A connector that has something to show: files, held runs, whatever it names.

    ``rows`` and ``command`` are called beside ``run``, also while it rests or fails. Rows are JSON objects with at least
    ``name`` and ``state``; they never hold personal data of customers.
    """

    @property
    def shelves(self) -> Sequence[Shelf]:
        """Everything it shows."""
        ...

    async def rows(self, kind: str, source: Source, *, state: str | None, limit: int) -> Sequence[Mapping[str, Any]]:
        """At most ``limit`` rows, only those in ``state`` where one is named; what needs a look comes first."""
        ...

    async def command(self, kind: str, command: str, source: Source, *, names: Sequence[str]) -> int:
        """Do it to the rows of these names; returns to how many. Raises ``NotFound`` and ``BadArguments``."""
        ...


@runtime_checkable
class SamplingConnector(Protocol):
    """A pull connector that can be tried: ``cdmd try`` asks it for its first records."""

    async def sample(self, source: Source, tell: Callable[[str], None], *, given: Path | None = None) -> None:
        """Bring in what it would bring in first, or the file ``given``, and change nothing at the other side.

        ``tell`` takes sentences about what it found. ``emit`` ends it (by an exception) when enough was seen.
        """
        ...


# ---- extensions ----------------------------------------------------------------------------------------------------


class Context(Protocol):
    """What an extension is handed beside the event."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """The plugin's own table of the configuration, secrets resolved."""
        ...

    @property
    def http(self) -> Http:
        """The guarded client; it reaches the hosts named in the plugin's own settings."""
        ...

    @property
    def now(self) -> datetime:
        """The daemon's wall clock in UTC."""
        ...


ExtensionFunction: TypeAlias = Callable[[Event, Context], Awaitable[Event | None] | Event | None]


class Extension(msgspec.Struct, frozen=True, kw_only=True):
    """A registered extension (``cdmd.extension`` makes it): which types, how long (seconds), what on failure."""

    name: str
    on: Sequence[str]
    function: Any
    timeout: float = 5.0
    on_failure: str = "hold"


# ---- journal and store ---------------------------------------------------------------------------------------------


class Append(msgspec.Struct, frozen=True, kw_only=True):
    """What one ``emit`` journals: entries with their encoding, the connector's state, and what its door counted."""

    connector: str
    entries: Sequence[Entry] = ()
    encoded: Sequence[bytes] = ()
    state: Mapping[bytes, bytes | None] = {}
    counts: Mapping[str, int] = {}


class JournalStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """Figures for ``status``: first and last sequence kept, bytes on disk, and whether appends work (else why not)."""

    first: Seq
    head: Seq
    bytes: int
    failure: str | None = None


class Journal(Protocol):
    """An append-only log with the connectors' own state beside it.

    Promise: after ``append`` returned, entries and state survive a kill and a power cut. After any crash the state is never
    ahead of its entries. Sequence numbers are consecutive and never used twice.
    """

    @property
    def id(self) -> str:
        """The journal's identity, kept in both databases: a store belongs to one journal."""
        ...

    @property
    def head(self) -> Seq:
        """The last durable sequence number; 0 before the first."""
        ...

    async def append(self, appends: Sequence[Append]) -> Seq:
        """Make all of it durable at once; returns the first sequence number given (they follow in order).

        Raises ``NotDurable``; then nothing of it counts. After a failed sync, it verifies and repairs before the next append.
        """
        ...

    async def read(self, after: Seq, *, limit: int) -> list[Journaled]:
        """Up to ``limit`` entries after ``after`` in order; empty when there are none. Raises ``Damaged``."""
        ...

    async def wait(self, after: Seq) -> None:
        """Return once ``head`` is greater than ``after``."""
        ...

    async def get(self, connector: str, keys: Iterable[bytes]) -> dict[bytes, bytes]:
        """The connector's state at those keys."""
        ...

    def scan(self, connector: str, prefix: bytes) -> AsyncIterator[tuple[bytes, bytes]]:
        """The connector's state under ``prefix`` in key order."""
        ...

    async def counts(self) -> dict[tuple[str, str], int]:
        """The door's persisted counters by (connector, counter)."""
        ...

    async def forget(self, connector: str) -> int:
        """Drop a connector's state; returns how many keys went."""
        ...

    async def prune(self, *, before: Micros, upto: Seq) -> int:
        """Remove entries written before ``before`` and not after ``upto``; returns how many."""
        ...

    async def verify(self) -> list[str]:
        """Every damage found, one sentence each; empty when whole."""
        ...

    async def backup(self, target: Path) -> None:
        """A consistent copy at ``target``, taken while it runs."""
        ...

    async def statistics(self) -> JournalStatistics:
        """Figures for ``status``."""
        ...


class Feeds(Protocol):
    """Where big tables of connectors lie (see ``BulkTable``): generations of numbered blocks, each known by its number.

    Promise: what ``finish`` returned for survives a kill and a power cut. A generation's number is never given twice.
    """

    async def begin(self, connector: str, table: str, *, keep: int | None) -> int:
        """The number of a new generation; all others of the table but ``keep`` are removed. Raises ``NotDurable``."""
        ...

    async def tidy(self, connector: str, table: str, *, keep: int | None) -> None:
        """Remove all generations of the table but ``keep``. Raises ``NotDurable``."""
        ...

    async def put(self, generation: int, first: int, blocks: Sequence[bytes]) -> None:
        """Write blocks from number ``first`` on. Raises ``NotDurable``."""
        ...

    async def finish(self, generation: int) -> int:
        """Make it durable as it is; returns how many blocks it has. Raises ``NotDurable``."""
        ...

    async def size(self, generation: int) -> int | None:
        """How many blocks a finished generation has; None where there is no such."""
        ...

    async def get(self, generation: int, numbers: Sequence[int]) -> list[bytes]:
        """These blocks of a finished generation. Raises ``Damaged`` where one is missing or not as it was written."""
        ...

    async def rename(self, connector: str, name: str) -> None:
        """The connector is called ``name`` now."""
        ...

    async def forget(self, connector: str) -> int:
        """Drop a connector's tables; returns how many generations went."""
        ...

    async def verify(self) -> list[str]:
        """Every damage found, one sentence each; empty when whole."""
        ...


class DeadLetterFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which dead letters: by connector, type glob, fault code, sequence numbers; all of them where nothing is said."""

    connector: str | None = None
    type: str | None = None
    code: str | None = None
    seqs: Sequence[Seq] | None = None
    limit: int = 1000


class StoreTotals(msgspec.Struct, frozen=True, kw_only=True):
    """Sums for ``status``."""

    events: int
    profiles: int
    activities: int
    dead_letters: int
    parked: int
    bytes: int
    parked_bytes: int


class Audit(msgspec.Struct, frozen=True, kw_only=True):
    """Who did what over the control socket, and what became of it."""

    time: Micros
    uid: int
    user: str
    role: str
    command: str
    arguments: str
    outcome: str


class Trace(msgspec.Struct, frozen=True, kw_only=True):
    """What the store knows of one occurrence: exactly one of ``activity``, ``dead`` and ``parked``, or none (filtered)."""

    source: str
    seen: Seen
    activity: Activity | None = None
    dead: DeadLetter | None = None
    parked: Parked | None = None
    public: str | None = None


class ProfileFound(msgspec.Struct, frozen=True, kw_only=True):
    """A profile with its newest activities (newest first) and the merges that made it."""

    key: ProfileKey
    state: ProfileState
    activities: Sequence[Activity]
    merges: Sequence[Merge]


Decide: TypeAlias = Callable[[Known], Changes]


class Store(Protocol):
    """Profiles, activities and all that a batch changes, in one transaction with the journal position.

    Promise: a batch is applied whole or not at all, together with its position. What a power cut takes back is applied
    again from the journal.
    """

    async def apply(self, wanted: Wanted, decide: Decide) -> Changes:
        """Look ``wanted`` up, call the pure ``decide``, write its changes in one transaction; returns them."""
        ...

    @property
    def position(self) -> Seq:
        """Up to which journal sequence number everything is applied, filtered, dead-lettered or parked."""
        ...

    async def sync(self) -> Seq:
        """Force what is applied onto the disk; returns the position that is now safe there (``synced``)."""
        ...

    async def seen(self, digests: Sequence[Digest]) -> dict[Digest, Seen]:
        """Which of these occurrences are remembered."""
        ...

    async def known(self, identifiers: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
        """Which of these normalised identifiers belong to a profile."""
        ...

    async def due(self, now: Micros, *, limit: int, without: Collection[Seq] = ()) -> list[Parked]:
        """Parked events whose time has come, but for ``without``: the oldest due of each extension in turn.

        There may be more even where fewer than ``limit`` come (large ones).
        """
        ...

    async def next_due(self) -> Micros | None:
        """When the next parked event is due."""
        ...

    async def parked(self, *, limit: int) -> list[Parked]:
        """Parked events in order of sequence."""
        ...

    async def profile(self, kind: str, value: str, *, activities: int) -> ProfileFound | None:
        """The profile that owns this normalised identifier."""
        ...

    async def trace(self, id: str, *, source: str | None = None) -> list[Trace]:  # noqa: A002 - the field's own name
        """What became of the occurrence(s) of that id, over all sources unless one is named."""
        ...

    async def dead_letters(self, which: DeadLetterFilter) -> list[DeadLetter]:
        """Dead letters in order of sequence."""
        ...

    async def revive(self, which: DeadLetterFilter, *, now: Micros) -> int:
        """Turn dead letters into parked events that are due now; returns how many."""
        ...

    async def discard(self, which: DeadLetterFilter, *, now: Micros) -> int:
        """Remove dead letters for good (they count as filtered); returns how many."""
        ...

    async def expire(self, *, dead_before: Micros, seen_before: Micros) -> int:
        """Discard dead letters older than ``dead_before`` and digests older than ``seen_before``; returns how many rows."""
        ...

    async def counts(self) -> dict[tuple[str, str], int]:
        """The applied side's persisted counters by (connector, counter)."""
        ...

    async def totals(self) -> StoreTotals:
        """Sums for ``status``."""
        ...

    async def audit(self, row: Audit) -> None:
        """Keep one audit row."""
        ...

    async def audits(self, *, limit: int) -> list[Audit]:
        """The newest audit rows, newest first."""
        ...

    async def verify(self) -> list[str]:
        """Every damage found, one sentence each; empty when whole."""
        ...

    async def backup(self, target: Path) -> None:
        """A consistent copy at ``target``, taken while it runs."""
        ...


class Remap(Protocol):
    """Maps a dead letter's raw record again with today's configuration (handed to the pipeline)."""

    def __call__(self, entry: Entry) -> Event | Fault | None:
        """The event, the fault that remains, or None where it is filtered now."""
        ...
