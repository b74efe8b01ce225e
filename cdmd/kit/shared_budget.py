"""One budget, shared by all that ask one host with one credential: waiting for a turn, and what a restart has to know.

Requests are let go out of small leases that are kept before they are used: after a restart all of a lease counts as sent, so
that no limit is ever exceeded because somebody forgot. Not here: what a budget allows (``budget``), who is next (``turns``).
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Final, Protocol, TypeVar

import anyio
import msgspec

from cdmd.errors import Overloaded
from cdmd.kit.budget import MARGIN, Budget
from cdmd.kit.grants import Claim, Shares
from cdmd.kit.quantities import Rate
from cdmd.kit.turns import Ticket, Turns

NOTIFIED: Final = 0
"""The priority of what somebody waits for: a fetch that a notification asked for."""

SCHEDULED: Final = 10
"""The priority of what is looked up on a schedule: polls and their pages."""

_MOST_MARKS: Final = 64
_PART: Final = 20
_SLACK: Final = 2.0
_SECOND: Final = 1_000_000


class Time(Protocol):
    """The part of ``contracts.Clock`` that a budget needs."""

    def now(self) -> datetime:
        """The wall clock."""
        ...

    def monotonic(self) -> float:
        """Seconds that only grow."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after ``seconds``."""
        ...


class Answered(Protocol):
    """The part of ``contracts.HttpAnswer`` that a budget reads."""

    @property
    def status_code(self) -> int:
        """The HTTP status."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """The answer's headers; names compare without case."""
        ...


AnswerT = TypeVar("AnswerT", bound=Answered)


class Saved(msgspec.Struct, array_like=True, frozen=True):
    """What outlives the process, in microseconds of the wall clock: (until, requests) oldest first, a block, the share."""

    marks: list[tuple[int, int]] = []
    blocked_until: int = 0
    blocked_for: str = ""
    share: float = 1.0


class SharedBudget:
    """One host's and credential's budget. ``keep`` makes bytes durable that a later process hands in as ``saved``."""

    def __init__(
        self,
        limits: Sequence[Rate] = (),
        *,
        clock: Time,
        chance: Callable[[], float],
        keep: Callable[[bytes], Awaitable[object]] | None = None,
        saved: bytes | None = None,
        most_flying: int = 4,
    ) -> None:
        self._clock, self._chance, self._keep = clock, chance, keep
        self._marks: list[tuple[float, int]] = []
        self._leased, self._leased_until = 0, float("-inf")
        self._turns, self._leasing = Turns(), anyio.Lock()
        self._bells: dict[int, anyio.Event] = {}
        self._shares = Shares()
        self._budget = Budget((), most_flying=most_flying)
        if saved is not None:
            self._restore(msgspec.msgpack.decode(saved, type=Saved))
        self.configure(limits)

    def restore(self, saved: bytes) -> None:
        """Count what another process kept since this one last did."""
        self._restore(msgspec.msgpack.decode(saved, type=Saved))
        limits = self._budget.limits
        self._budget.configure(())  # so that windows are made anew, of what is known now
        self.configure(limits)

    def configure(self, limits: Sequence[Rate]) -> None:
        """Obey these limits from now on; what was sent before counts for new ones, too."""
        self._budget.configure(limits, self._marks)
        self._leased = 0
        self._wake()

    @property
    def limits(self) -> tuple[Rate, ...]:
        """What is obeyed."""
        return self._budget.limits

    @property
    def waiting(self) -> int:
        """How many wait for a turn."""
        return len(self._turns)

    def plan(self, asker: str, claim: Claim) -> float:
        """How many looks per second ``asker`` may plan with, beside all others that plan and those that do not."""
        now = self._clock.monotonic()
        return self._shares.ask(asker, claim, allowed=self._budget.sustained(now), now=now)

    def next_at(self) -> tuple[float | None, str]:
        """Monotonic seconds of the next turn (None: once an answer came), and why it has to wait, in words for ``status``."""
        now = self._clock.monotonic()
        return self._budget.next_at(now), self._budget.why(now)

    @asynccontextmanager
    async def turn(self, asker: str, *, priority: int = SCHEDULED) -> "AsyncIterator[Turn]":
        """Wait for a place and hold it: for one request through ``Turn.send``, or for none, which costs nothing.

        ``asker`` names who shares fairly with the others of its priority: a connector, or one of its streams.
        """
        await self._admit(asker, priority)
        turn = Turn(self)
        try:
            yield turn
        finally:
            if not turn.used:
                self._budget.withdraw()
                self._leased += 1
                self._wake()

    async def send(self, call: Callable[[], Awaitable[AnswerT]], *, free: Collection[int] = ()) -> AnswerT:
        """For ``Turn``: make the request, learn from its answer."""
        try:
            answer = await call()
        except Exception:
            await self._learn(None, {})
            raise
        except BaseException:
            self._budget.abandoned(self._clock.monotonic())
            self._wake()
            raise
        await self._learn(answer.status_code, answer.headers, free=answer.status_code in free)
        return answer

    async def _admit(self, asker: str, priority: int) -> None:
        ticket = self._turns.join(asker, priority)
        try:
            while True:
                bell = self._bells[ticket.number] = anyio.Event()
                at = self._ready_at(ticket)
                if at is not None and at <= self._clock.monotonic():
                    if await self._let_go(ticket):
                        return
                    continue
                await self._wait(bell, at)
        finally:
            del self._bells[ticket.number]
            self._turns.leave(ticket)
            self._wake()

    def _ready_at(self, ticket: Ticket) -> float | None:
        """When to look again; None while others, or an answer, come first."""
        return self._budget.next_at(self._clock.monotonic()) if self._turns.first() is ticket else None

    async def _let_go(self, ticket: Ticket) -> bool:
        """Begin, or lease first and look again: nothing is awaited between looking and beginning."""
        now = self._clock.monotonic()
        if self._keep is not None and self._budget.limits and (self._leased < 1 or now > self._leased_until):
            await self._lease()
            return False
        self._leased -= 1
        self._turns.take(ticket)
        self._budget.begin(now)
        self._shares.made(ticket.asker, now)
        return True

    async def _lease(self) -> None:
        async with self._leasing:
            now, limits = self._clock.monotonic(), self._budget.limits
            if self._leased >= 1 and now <= self._leased_until:
                return
            count = max(1, min(limit.count for limit in limits) // _PART)
            until = now + min(limit.per for limit in limits) / _PART
            self._mark(until + _SLACK, count + self._budget.flying, since=now - max(limit.per for limit in limits))
            if await self._save():
                self._leased, self._leased_until = count, until

    def _mark(self, until: float, count: int, *, since: float) -> None:
        """What is too old goes; of more than 64 marks the two nearest become one that counts as late as the later one."""
        self._marks = [one for one in self._marks if one[0] > since] + [(until, count)]
        if len(self._marks) > _MOST_MARKS:
            gaps = [later[0] - one[0] for one, later in zip(self._marks, self._marks[1:], strict=False)]
            place = gaps.index(min(gaps))
            (_, first), (latest, second) = self._marks[place : place + 2]
            self._marks[place : place + 2] = [(latest, first + second)]

    async def _learn(self, status: int | None, headers: Mapping[str, str], *, free: bool = False) -> None:
        now, wall = self._clock.monotonic(), self._clock.now().timestamp()
        changed = self._budget.answered(now, status, headers, wall=wall, chance=self._chance(), free=free)
        self._wake()
        if changed and self._keep is not None:
            await self._save()

    async def _save(self) -> bool:
        """Whether it is durable now; what the disk refuses is tried again after a while, by whoever needs it."""
        assert self._keep is not None  # noqa: S101 - asked only where something can be kept
        now, wall, budget = self._clock.monotonic(), self._clock.now().timestamp(), self._budget
        marks = [(round((wall + until - now) * _SECOND), count) for until, count in self._marks]
        blocked = round((wall + budget.blocked_until - now) * _SECOND) if budget.blocked_until > now else 0
        try:
            await self._keep(msgspec.msgpack.encode(Saved(marks, blocked, budget.blocked_for, budget.share(now))))
        except Overloaded as error:
            self._budget.block(now + error.retry_after, "the disk cannot keep what was sent")
            return False
        return True

    def _restore(self, saved: Saved) -> None:
        """A clock that was set back makes nobody wait longer than if all had been sent just now."""
        now, wall = self._clock.monotonic(), self._clock.now().timestamp()
        self._marks = [(min(now + _SLACK, now + until / _SECOND - wall), count) for until, count in saved.marks]
        if saved.blocked_until:
            self._budget.block(min(now + 86_400.0, now + saved.blocked_until / _SECOND - wall), saved.blocked_for)
        self._budget.slow_down(now, saved.share)

    def _wake(self) -> None:
        """Something moved: whoever is next looks again. The others wait for their turn, however many they are."""
        first = self._turns.first()
        if first is not None:
            self._bells[first.number].set()

    async def _wait(self, bell: anyio.Event, at: float | None) -> None:
        """Return when the bell rings, or at that moment."""
        if at is None:
            await bell.wait()
            return
        async with anyio.create_task_group() as group:

            async def sleep() -> None:
                await self._clock.sleep(max(MARGIN, at - self._clock.monotonic()))
                group.cancel_scope.cancel()

            group.start_soon(sleep)
            await bell.wait()
            group.cancel_scope.cancel()


class Turn:
    """A place in the budget, for one request."""

    def __init__(self, budget: SharedBudget) -> None:
        self._budget = budget
        self.used = False

    async def send(self, call: Callable[[], Awaitable[AnswerT]], *, free: Collection[int] = ()) -> AnswerT:
        """Make the one request of this turn: what ``call`` gives, or raises. The budget learns from it.

        Answers of the statuses ``free`` do not count.
        """
        if self.used:
            raise RuntimeError("a turn is for one request")
        self.used = True
        return await self._budget.send(call, free=free)
