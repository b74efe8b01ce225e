"""A journal in memory that can be made slow or failing, and what else an intake needs."""

import hashlib
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import msgspec

from cdmd.contracts import Append, JournalStatistics
from cdmd.errors import NotDurable, Overloaded
from cdmd.models import Digest, Entry, Event, Journaled, Micros, Seq


class MemoryJournal:
    """The promise of ``Journal`` without a disk: ``gate`` holds commits back, ``failing`` refuses them."""

    id = "memory"

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.state: dict[tuple[str, bytes], bytes] = {}
        self.counted: Counter[tuple[str, str]] = Counter()
        self.commits: list[list[Append]] = []
        self.failing = False
        self.keep_when_failing = False
        self.unreadable = False
        self.gate: anyio.Event | None = None
        self.began = anyio.Event()

    @property
    def head(self) -> Seq:
        return Seq(len(self.entries))

    async def append(self, appends: Sequence[Append]) -> Seq:
        self.began.set()
        if self.gate is not None:
            await self.gate.wait()
        first = Seq(len(self.entries) + 1)
        if not self.failing or self.keep_when_failing:
            self.commits.append(list(appends))
            for append in appends:
                self.entries += append.entries
                self.counted.update({(append.connector, name): count for name, count in append.counts.items()})
                for key, value in append.state.items():
                    self.state.pop((append.connector, key), None)
                    if value is not None:
                        self.state[append.connector, key] = value
        if self.failing:
            raise NotDurable("the disk is full", retry_after=7)
        return first

    async def read(self, after: Seq, *, limit: int) -> list[Journaled]:
        return [Journaled(Seq(seq), self.entries[seq - 1]) for seq in range(after + 1, len(self.entries) + 1)][:limit]

    async def wait(self, after: Seq) -> None:
        raise AssertionError("not needed here")

    async def get(self, connector: str, keys: Iterable[bytes]) -> dict[bytes, bytes]:
        return {key: self.state[connector, key] for key in keys if (connector, key) in self.state}

    async def scan(self, connector: str, prefix: bytes) -> AsyncIterator[tuple[bytes, bytes]]:
        for (owner, key), value in sorted(self.state.items()):
            if owner == connector and key.startswith(prefix):
                yield key, value

    async def counts(self) -> dict[tuple[str, str], int]:
        if self.unreadable:
            raise NotDurable("the journal cannot be read now")
        return dict(self.counted)

    async def forget(self, connector: str) -> int:
        raise AssertionError("not needed here")

    async def prune(self, *, before: Micros, upto: Seq) -> int:
        raise AssertionError("not needed here")

    async def verify(self) -> list[str]:
        return []

    async def backup(self, target: Path) -> None:
        raise AssertionError("not needed here")

    async def statistics(self) -> JournalStatistics:
        return JournalStatistics(first=Seq(1), head=self.head, bytes=0)


class Digests:
    """Digests without a key."""

    def occurrence(self, source: str, id: str) -> Digest:
        return Digest(hashlib.blake2b(f"{len(source)}:{source}{id}".encode(), digest_size=16).digest())

    def secret(self, connector: str, purpose: str) -> bytes:
        return hashlib.blake2b(f"{connector}/{purpose}".encode(), digest_size=32).digest()

    def content(self, event: Event) -> int:
        said: Any = (event.type, event.time, event.identifiers, event.traits, event.data)
        return int.from_bytes(hashlib.blake2b(repr(said).encode(), digest_size=7).digest())


class Screened:
    """A suppression list that knows e-mail addresses; events that name another customer number first go on without."""

    def __init__(self) -> None:
        self.version = 0
        self.emails: set[str] = set()
        self.unread = False

    def suppress(self, *emails: str) -> None:
        self.version += 1
        self.emails |= set(emails)

    def screened(self, entry: Entry) -> Entry | None:
        if self.unread:
            raise Overloaded("not read yet", retry_after=5)
        identifiers = entry.event.identifiers
        if identifiers.get("email") not in self.emails:
            return entry
        if len(identifiers) == 1:
            return None
        rest = {kind: value for kind, value in identifiers.items() if kind != "email"}
        return msgspec.structs.replace(entry, event=msgspec.structs.replace(entry.event, identifiers=rest))


class NamedBudgets:
    """Budgets that only remember who asked for them."""

    def of(self, connector: str, origin: str, credential: str, limits: Sequence[Any]) -> Any:
        return (connector, origin, credential, tuple(limits))


class ManualClock:
    """Time that stands still until it is moved; ``sleep`` returns when it has been moved far enough."""

    def __init__(self) -> None:
        self.time = datetime(2026, 11, 23, 10, tzinfo=UTC)
        self.slept: list[float] = []
        self.sleeping = anyio.Event()
        self.released = anyio.Event()

    def now(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        return self.time.timestamp()

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.sleeping.set()
        await self.released.wait()
