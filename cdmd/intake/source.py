"""What a connector sees of the daemon: ``IntakeSource``, the one implementation of ``cdmd.contracts.Source``.

``emit``: map, accept, door, encode, queue, and return when it is durable. All counting of the door happens here.
"""

import socket
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Protocol

import anyio

from cdmd.contracts import Budget, Clock, Http
from cdmd.errors import Closed, Followed, Overloaded
from cdmd.intake.courtesy import BULK
from cdmd.intake.mapping import Mapper
from cdmd.intake.routes import E
from cdmd.intake.shared import Intake
from cdmd.intake.tables import SourceTable
from cdmd.intake.way_in import WayIn
from cdmd.kit.logs import escaped
from cdmd.kit.quantities import Rate
from cdmd.models import Record, Verdict

SAMPLED: Final = 128
"""Of so many requests or batches the first record of one is shown to ``Intake.observe``."""

_NOTHING: Final = object()
_MOMENT: Final = 0.5


class Guarded(Http, Protocol):
    """A guarded client that also opens plain connections (``cdmd.kit.egress.GuardedHttp`` fulfils it)."""

    async def connect(self, host: str, port: int, *, timeout: float) -> socket.socket:
        """See ``cdmd.contracts.Source.connect``."""
        ...


class IntakeSource:
    """One connector's way in. ``push`` sources wait a second for a place; pull sources wait for credit instead.

    ``alive`` is called whenever a pull connector shows that it does its work: it idles, or something it emitted is durable.
    A ``closed`` one takes nothing: a connector that did not stop when told must not write beside its successor; nor does one
    that ``may`` not, where another node may fetch by now. ``fence`` goes with what it appends; ``followed`` is one of which
    something was refused because a greater one had been there.
    ``working_on`` says what it does, ``waiting_for`` and ``next_look`` what it idles for and until when, ``looked`` when it
    last came that far without trouble; ``trouble`` is what the connector says of itself (``unwell``).
    """

    def __init__(
        self,
        name: str,
        *,
        intake: Intake,
        mapper: Mapper,
        http: Guarded,
        push: bool,
        alive: Callable[[], None] = lambda: None,
        troubled: Callable[[str | None], None] = lambda why: None,
        freshness: float | None = None,
    ) -> None:
        self._name, self._intake, self._http, self._push = name, intake, http, push
        self._calls = 0
        self._way = WayIn(name, intake=intake, mapper=mapper, push=push)
        self._alive, self._troubled, self._freshness, self.closed = alive, troubled, freshness, False
        self.may: Callable[[], bool] = lambda: True
        self.followed = False
        self.trouble: str | None = None
        self._wake = anyio.Event()
        self.waiting_for: str | None = None
        self.working_on: str | None = None
        self.next_look: datetime | None = None
        self.looked: datetime | None = None

    @property
    def name(self) -> str:
        """The connector's name."""
        return self._name

    @property
    def fence(self) -> int:
        """The token of this node's duty to fetch; 0 where there are no others."""
        return self._way.fence

    @fence.setter
    def fence(self, token: int) -> None:
        self._way.fence = token

    @property
    def public_url(self) -> str | None:
        """What senders write before the path."""
        return self._intake.public_url

    @property
    def http(self) -> Http:
        """The guarded client."""
        return self._http

    @property
    def clock(self) -> Clock:
        """The daemon's clock."""
        return self._intake.clock

    @property
    def freshness(self) -> float | None:
        """The configured objective in seconds."""
        return self._freshness

    async def emit(self, records: Sequence[Record], *, state: Mapping[bytes, bytes | None] = {}) -> list[Verdict]:
        """See ``cdmd.contracts.Source.emit``. Raises TypeError for what no journal could keep, before anything is queued."""
        check(records, state)
        self._sample(records)
        if not self._push:
            await self._intake.credit(self._name)
            if len(records) >= BULK:
                await self._intake.courtesy.give_way(self._name)
        return await self._emit(records, state)

    def take(self, several: Sequence[E]) -> Sequence[E]:
        """``emit`` for several without a task: each is told how it ended when that is known.

        Returned are those that have to be emitted instead, because it takes waiting for more than a commit: for a place, for
        the store, for another's commit. Raises what ``emit`` raises before anything is queued; then nothing of it is taken.
        """
        checked: object = _NOTHING  # what arrives together was received at one moment
        for one in several:
            wanted = one.wanted
            for record in wanted.records:
                if record.received is not checked:
                    checked = _moment(record)
            if wanted.state:
                _check_state(wanted.state)
        if self.closed or not self._push:
            return several
        left = self._way.take(several)
        self._sample(several[0].wanted.records, len(several) - len(left))
        return left

    def _sample(self, records: Sequence[Record], calls: int = 1) -> None:
        """Let one record of every so many calls be looked at: a little more for each would be felt (tests/bench/intake.py)."""
        if -self._calls % SAMPLED < calls and records:
            self._intake.observe(self._name, records[0])
        self._calls += calls

    async def _emit(self, records: Sequence[Record], state: Mapping[bytes, bytes | None]) -> list[Verdict]:
        if self.closed or not self.may():
            raise (Closed if self.closed else Overloaded)("this connector was stopped; what it still brings is not taken")
        try:
            verdicts = await self._way.emit(records, state)
        except Followed as error:
            self._refused(error)
            raise
        if not self._push:
            self._show_life()
        return verdicts

    def refuse(self, count: int, reason: str) -> None:
        """Count what was refused before mapping."""
        self._intake.tally.refused(self._name, count, reason)

    async def get(self, keys: Iterable[bytes]) -> dict[bytes, bytes]:
        """The connector's own state."""
        return await self._intake.journal.get(self._name, keys)

    def scan(self, prefix: bytes) -> AsyncIterator[tuple[bytes, bytes]]:
        """The connector's own state under a prefix."""
        return self._intake.journal.scan(self._name, prefix)

    def table(self, name: str) -> SourceTable:
        """A big table of its own. Raises ValueError for a name that is none."""
        feeds = self._intake.feeds.fenced(self.fence)
        return SourceTable(self._name, name, state=self.get, feeds=feeds, followed=self._refused)

    def secret(self, purpose: str) -> bytes:
        """A key of its own."""
        return self._intake.digests.secret(self._name, purpose)

    async def idle(self, until: datetime, reason: str) -> None:
        """Sleep until then, or until ``poke``: one that came while it was at work counts, too."""
        now = self.clock.now()
        if self.trouble is None:
            self.looked = now
        self.waiting_for, self.next_look = reason, until
        self._show_life()
        try:
            await self._sleep(max(0.0, (until - now).total_seconds()))
            while not self.may():  # another node goes on; whoever ends this one is on the way
                await self.clock.sleep(_MOMENT)
            self._wake = anyio.Event()
        finally:
            self.waiting_for = self.next_look = None

    def working(self, on: str | None) -> None:
        """What ``status`` shows while it does not idle."""
        self.working_on = None if on is None else escaped(on)

    async def connect(self, host: str, port: int, *, timeout: float) -> socket.socket:
        """A plain connection to a configured host."""
        return await self._http.connect(host, port, timeout=timeout)

    @property
    def scratch(self) -> Path:
        """The connector's own folder for what is needed only for a while."""
        return self._intake.scratch / self._name

    def room(self) -> int:
        """Bytes that may be written there now."""
        return self._intake.room()

    def unwell(self, why: str | None) -> None:
        """See ``cdmd.contracts.Source.unwell``."""
        if why != self.trouble:
            self.trouble = why
            self._troubled(why)

    def budget(self, origin: str, credential: str, limits: Sequence[Rate]) -> Budget:
        """See ``cdmd.contracts.Source.budget``."""
        return self._intake.budgets.of(self._name, origin, credential, limits)

    def _refused(self, error: Followed) -> None:
        self.followed = error.refuses(self._name, self.fence)

    def _show_life(self) -> None:
        if self.trouble is None:
            self._alive()

    async def _sleep(self, seconds: float) -> None:
        async with anyio.create_task_group() as group:

            async def sleep() -> None:
                await self.clock.sleep(seconds)
                self._wake.set()

            group.start_soon(sleep)
            await self._wake.wait()
            group.cancel_scope.cancel()

    def poke(self) -> None:
        """Wake an idling connector: look now."""
        self._wake.set()


def check(records: Sequence[Record], state: Mapping[Any, Any]) -> None:
    """A commit is shared: what would fail in it, or be unreadable after it, must not come from one connector to all."""
    _check_state(state)
    checked: object = _NOTHING  # what arrives together was received at one moment
    for record in records:
        if record.received is not checked:
            checked = _moment(record)


def _check_state(state: Mapping[Any, Any]) -> None:
    for key, value in state.items():
        if not isinstance(key, bytes) or not isinstance(value, bytes | None):
            raise TypeError("a connector's state maps bytes to bytes or None")


def _moment(record: Record) -> datetime:
    received: Any = record.received
    if not isinstance(received, datetime) or received.tzinfo is None:
        raise TypeError("a record's received is a datetime with a time zone")
    return received
