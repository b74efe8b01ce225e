"""The journal, and the bulk tables beside it. Their contract test-suites are ``tests/store/contract_*.py``."""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Protocol, TypeAlias, runtime_checkable

import msgspec

from cdmd.contracts.forgetting import Holding
from cdmd.models import (
    Entry,
    Journaled,
    Micros,
    Seq,
)

Revise: TypeAlias = Callable[[Sequence[Journaled]], Mapping[Seq, Entry]]
"""Pure: which of some entries have to be others."""


class Append(msgspec.Struct, frozen=True, kw_only=True):
    """What one ``emit`` journals: entries with their encoding, the connector's state, and what its door counted.

    ``fence`` is the token of whoever fetches for the connector, where several nodes might (0: nobody else does).
    """

    connector: str
    entries: Sequence[Entry] = ()
    encoded: Sequence[bytes] = ()
    state: Mapping[bytes, bytes | None] = {}
    counts: Mapping[str, int] = {}
    fence: int = 0


Take: TypeAlias = Callable[[Sequence[Append]], Awaitable[Seq]]
"""Makes what another node brings durable, as ``Journal.append`` does."""


class JournalReplica(msgspec.Struct, frozen=True, kw_only=True):
    """A server that has the journal, besides the one that leads: ``lag`` counts what it has still to write."""

    server: str
    current: bool
    lag: int = 0


class JournalStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """Figures for ``status``: first and last sequence kept, bytes on disk, and whether appends work (else why not).

    Of a journal that lies on servers also which one is talked to (None: the journal lies here), and who else has it.
    ``process`` is the number of its own process, where one writes it.
    """

    first: Seq
    head: Seq
    bytes: int
    failure: str | None = None
    server: str | None = None
    copies: Sequence[JournalReplica] = ()
    process: int | None = None


class Journal(Protocol):
    """An append-only log with the connectors' own state beside it.

    Promise: after ``append`` returned, entries and state survive a kill of whoever keeps them, and a power cut as far as those
    are told to sync (SQLite always is). After any crash the state is never ahead of its entries, and what one ``append``
    changed of it is there together or not at all. Sequence numbers are consecutive and never used twice.
    """

    @property
    def id(self) -> str:
        """The journal's identity, kept in both databases: a store belongs to one journal."""
        ...

    @property
    def head(self) -> Seq:
        """The last durable sequence number; 0 before the first."""
        ...

    @property
    def failure(self) -> str | None:
        """Why the last write did not come about; None when it did."""
        ...

    async def append(self, appends: Sequence[Append]) -> Seq:
        """Make all of it durable at once; returns the first sequence number given (they follow in order).

        Raises ``NotDurable``; then nothing of it counts. After a failed sync, it verifies and repairs before the next append.
        Where several nodes may append, one with a smaller ``fence`` than there was before for its connector is refused: then
        it raises ``Followed``, with nothing written of the others either.
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

    async def owners(self) -> list[str]:
        """Whose state there is, connectors that are no longer configured among them."""
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

    async def revise(self, revise: Revise, *, holding: Holding, after: Seq) -> tuple[Seq, int]:
        """Look through some entries behind ``after`` and exchange those that ``revise`` (called in a thread) says.

        Entries that ``holding`` does not hold need not be shown to it. Returns the last entry that was looked at (``after``:
        there are no more) and how many were exchanged. Sequence and number stay; what an entry was is overwritten.
        """
        ...

    async def settled(self) -> bool:
        """Empty the write-ahead log, so that nothing exchanged or removed lies in it; False while somebody reads."""
        ...

    def unpruned(self) -> AbstractAsyncContextManager[None]:
        """Nothing is pruned or exchanged inside (a backup of store and journal must fit together)."""
        ...

    async def check(self, after: Seq) -> None:
        """Raise ``Damaged`` unless every entry after ``after`` is there and as it was written (for the start)."""
        ...

    async def verify(self) -> list[str]:
        """Every damage found, a sentence each behind whose it is (`journal: `); others may write meanwhile."""
        ...

    async def write_mark(self) -> None:
        """Write down, apart from the journal, how far it is known to reach. Raises ``NotDurable``."""
        ...

    async def backup(self, target: Path) -> None:
        """A consistent copy at ``target`` in SQLite's form, while it runs (inside ``unpruned`` where it may be pruned)."""
        ...

    async def statistics(self) -> JournalStatistics:
        """Figures for ``status``."""
        ...


@runtime_checkable
class Answering(Protocol):
    """A journal that one node writes for several (``Journal`` beside)."""

    async def answer(self, take: Take, public: Any = None) -> None:
        """Until cancelled: what other nodes append goes through ``take``, and to ``public`` what they are sent.

        That one is the handler of the public listeners (``cdmd.kit.exchanges.Handler``).
        """
        ...


@runtime_checkable
class Divided(Protocol):
    """A journal whose lanes can be read by themselves (``Journal`` beside). An entry's is its ``part`` modulo their number."""

    @property
    def readable(self) -> bool:
        """Whether there is any way now to where it lies."""
        ...

    async def read_lanes(
        self, lanes: Collection[int], number: int, after: Seq, *, limit: int
    ) -> tuple[list[Journaled], Seq] | None:
        """About ``limit`` entries of these of ``number`` lanes after ``after`` in order, and the entry up to which that is all.

        There may be entries of others among them. None where it has to be ``read`` whole: it was not divided so. Waits where
        what is in front of ``head`` is still on its way. Raises ``Damaged`` and ``NotDurable``.
        """
        ...


class Feeds(Protocol):
    """Where big tables of connectors lie (see ``BulkTable``): generations of numbered blocks, each known by its number.

    Promise: what ``finish`` returned for survives a kill and a power cut. A generation's number is never given twice.
    """

    def fenced(self, fence: int) -> "Feeds":
        """The same for who fetches with that token, and writes nothing any more once a greater one was held; 0: it has none."""
        ...

    async def hold(self, connectors: Collection[str]) -> None:
        """From here on whoever had a smaller token before writes no table of these. Raises ``NotDurable``."""
        ...

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

    async def settled(self) -> bool:
        """Empty the write-ahead log, so that nothing removed lies in it; False while somebody reads."""
        ...

    async def verify(self) -> list[str]:
        """Every damage found, a sentence each behind whose it is (`journal: `); others may write meanwhile."""
        ...
