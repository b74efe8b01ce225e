"""What a connector is, by what it can do, and what formats and shelves it brings along."""

import builtins
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Protocol, runtime_checkable

import msgspec

from cdmd.contracts.sources import Source
from cdmd.models import (
    Answer,
    Emission,
    Request,
    Route,
    Row,
)


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
        file. Raises ``FormatFault`` where the file as a whole cannot be read (a header without a wanted column, a cut end);
        ``SourceUnavailable``, MemoryError or an OSError with its number where that is not the file's fault: it is read again.
        """
        ...


@runtime_checkable
class Examining(Protocol):
    """A format that can tell which records are sound without making anything of them: every file is looked through first."""

    def examined(self, stream: BinaryIO) -> Iterator[Row]:
        """As ``Format.rows``, but what ``value`` a sound record has is not said."""
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
class ErasingConnector(Protocol):
    """A connector that keeps something of people beside its events: the keys of a register's rows, say, or names of files."""

    async def erase(self, values: Collection[str], source: Source) -> int:
        """Remove what it keeps of the person whose identifiers these are, as they came and normalised; how many rows went.

        No event comes of it. Called beside ``run``, also while that rests or fails; returns once it is durable. What lies there
        again later is new to it: keeping that out is not its affair. Raises ``NotDurable`` and ``Damaged``.
        """
        ...


@runtime_checkable
class SamplingConnector(Protocol):
    """A pull connector that can be tried: ``cdmd try`` asks it for its first records."""

    async def sample(self, source: Source, tell: Callable[[str], None], *, given: Path | None = None) -> None:
        """Emit what it would bring in first, or what the file ``given`` holds, and change nothing at the other side.

        What is emitted is mapped and shown, not kept; what is returned is not looked at. ``tell`` takes sentences about what it
        found. ``emit`` ends it (by an exception) when enough was seen.
        """
        ...


# ---- extensions ----------------------------------------------------------------------------------------------------
