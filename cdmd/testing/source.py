"""A ``Source`` without a daemon: it maps what a connector emits exactly as the daemon would, and keeps it in memory."""

import hashlib
import random
import shutil
import socket
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from cdmd.config.schema import ConnectorFrame
from cdmd.contracts import Budget, Clock, Http, PullConnector, StreamFrame
from cdmd.errors import AddressRefused
from cdmd.intake.mapping import Mapper
from cdmd.intake.source import check
from cdmd.intake.tables import SourceTable
from cdmd.kit.clock import SystemClock
from cdmd.kit.egress import GuardedHttp
from cdmd.kit.quantities import Rate
from cdmd.kit.shared_budget import SharedBudget
from cdmd.models import Accepted, Event, Fault, Filtered, Record, Rejected, Verdict
from cdmd.testing.clock import ManualClock
from cdmd.testing.tables import MemoryFeeds


class _Over(Exception):
    """Raised where a connector would rest once too often."""


class RecordingSource:
    """Collects ``events``, ``faults`` (with the record's place) and ``filtered`` reasons; ``state`` is what was stored.

    ``frame`` is the connector's mapping as configured, ``streams`` what its streams have of their own; ``http`` the client the
    connector may use (a guarded one that reaches nothing by default), ``public_url`` what senders write before the path.
    ``worked_on`` is what it said it did, ``rested`` the reasons of its rests, ``stopped`` whether somebody had enough before
    its end. A pull connector is run by ``run``.
    """

    def __init__(
        self,
        name: str = "test",
        *,
        frame: ConnectorFrame | None = None,
        http: Http | None = None,
        clock: Clock | None = None,
        public_url: str | None = None,
        scratch: Path | None = None,
        streams: Mapping[str, StreamFrame] = {},
    ) -> None:
        self._name, self._clock, self.public_url = name, clock or SystemClock(), public_url
        self._http = http
        self._mapper = Mapper(name, frame or ConnectorFrame(type="test"), raw=True, streams=streams)
        self._fresh = frame.freshness.seconds if frame is not None and frame.freshness is not None else None
        self.events: list[Event] = []
        self.faults: list[tuple[int, Fault]] = []
        self.filtered: list[str] = []
        self.refused: Counter[str] = Counter()
        self.state: dict[bytes, bytes] = {}
        self.worked_on: list[str] = []
        self.rested: list[str] = []
        self._rests: int | None = None
        self.stopped = False
        self._scratch = scratch or Path(tempfile.gettempdir())
        self.feeds = MemoryFeeds()
        self.trouble: str | None = None
        self._seen = 0
        self._budgets: dict[tuple[str, str], SharedBudget] = {}

    @property
    def name(self) -> str:
        """The connector's name."""
        return self._name

    @property
    def http(self) -> Http:
        """The client that was handed in. Raises ``AddressRefused`` where there is none."""
        if self._http is None:
            raise AddressRefused("this source was made without an HTTP client")
        return self._http

    @property
    def clock(self) -> Clock:
        """The clock that was handed in."""
        return self._clock

    @property
    def freshness(self) -> float | None:
        """As the frame says."""
        return self._fresh

    async def emit(self, records: Sequence[Record], *, state: Mapping[bytes, bytes | None] = {}) -> list[Verdict]:
        """Map and keep; never waits. Raises TypeError for what no daemon takes: a record without a zone in its time, say."""
        check(records, state)
        verdicts = [self._take(record) for record in records]
        for key, value in state.items():
            self.state.pop(key, None)
            if value is not None:
                self.state[key] = value
        return verdicts

    def refuse(self, count: int, reason: str) -> None:
        """Count a refusal."""
        self.refused[reason] += count

    async def get(self, keys: Iterable[bytes]) -> dict[bytes, bytes]:
        """What was stored at ``keys``."""
        return {key: self.state[key] for key in keys if key in self.state}

    async def scan(self, prefix: bytes) -> AsyncIterator[tuple[bytes, bytes]]:
        """What was stored under ``prefix``, in key order."""
        for key in sorted(self.state):
            if key.startswith(prefix):
                yield key, self.state[key]

    def table(self, name: str) -> SourceTable:
        """A table in memory."""
        return SourceTable(self._name, name, state=self.get, feeds=self.feeds)

    def secret(self, purpose: str) -> bytes:
        """Always the same for that purpose; a secret it is not."""
        return hashlib.blake2b(purpose.encode(), digest_size=32).digest()

    async def idle(self, until: datetime, reason: str) -> None:
        """Sleep on the clock; within ``run`` a clock that is moved by hand moves on by itself."""
        self.rested.append(reason)
        pause = max(0.0, (until - self._clock.now()).total_seconds())
        if self._rests is None:
            await self._clock.sleep(pause)
            return
        if len(self.rested) >= self._rests:
            raise _Over
        if isinstance(self._clock, ManualClock):
            self._clock.advance(pause)
        else:
            await self._clock.sleep(pause)

    async def run(self, connector: PullConnector, *, rests: int = 1) -> None:
        """Let it work until it rests (``idle``) for the ``rests``-th time, or returns; then again, with what it kept."""
        self._rests = len(self.rested) + rests
        try:
            with suppress(_Over):
                await connector.run(self)
        finally:
            self._rests = None

    def working(self, on: str | None) -> None:
        """Remembered as ``worked_on``."""
        if on is not None:
            self.worked_on.append(on)

    async def connect(self, host: str, port: int, *, timeout: float) -> socket.socket:
        """A connection by the client that was handed in. Raises ``AddressRefused`` where there is none."""
        if not isinstance(self._http, GuardedHttp):
            raise AddressRefused("this source was made without a guarded client")
        return await self._http.connect(host, port, timeout=timeout)

    @property
    def scratch(self) -> Path:
        """The folder that was handed in, else the system's for temporary files."""
        return self._scratch

    def room(self) -> int:
        """As much as there is."""
        return shutil.disk_usage(self._scratch).free

    def unwell(self, why: str | None) -> None:
        """Keep what the connector says of itself in ``trouble``."""
        self.trouble = why

    def budget(self, origin: str, credential: str, limits: Sequence[Rate]) -> Budget:
        """A budget of its own, in memory; the same one for the same origin and credential."""
        budgets = self._budgets.setdefault((origin, credential), SharedBudget(clock=self._clock, chance=random.random))
        budgets.configure(limits)
        return budgets

    def _take(self, record: Record) -> Verdict:
        self._seen += 1
        decided = self._mapper.decide(record)
        if isinstance(decided, Filtered):
            self.filtered.append(decided.reason)
            return decided
        entry, _ = self._mapper.encode(decided)
        if entry.fault is not None:
            self.faults.append((self._seen, entry.fault))
            return Rejected(entry.fault.code, entry.fault.message)
        self.events.append(entry.event)
        return Accepted(entry.event.id)
