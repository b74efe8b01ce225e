"""Sends to one target: takes what is due, within its rate and its state, hands it over and says what became of it.

Nothing is shared with other targets but the writer: one that is dead holds a few deliveries and nothing else. Not here: what is
sent (``telling``), what an answer means (the target's own), when it is tried again (``retrying``, ``endpoints``).
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

import anyio
import structlog

from cdmd.config.outbound import TargetFrame
from cdmd.contracts import Clock, DeliveringTarget, Outbox, Outlet
from cdmd.deliveries import endpoints
from cdmd.deliveries.retrying import settled, sound
from cdmd.deliveries.settling import Settling
from cdmd.errors import CdmdError
from cdmd.kit.detached import within
from cdmd.kit.frames import sentence
from cdmd.kit.ratelimit import FULL, Allowance, take
from cdmd.kit.ratelimit import Later as NotYet
from cdmd.models import Delivery, DeliveryVerdict, Later, Micros, Settled, TargetNote, to_micros

_FETCH: Final = 128
_UNSETTLED: Final = 512
_LOOK: Final = 30.0
_SOON: Final = 0.5
_QUIET: Final = 0.05
_GRACE: Final = 1.0


class Sender:
    """For a target that is handed its deliveries. ``note`` is how its endpoint is; ``changed`` hears of each change of it.

    ``may`` says whether it is still this node that sends, where several could.
    """

    def __init__(
        self,
        frame: TargetFrame,
        target: DeliveringTarget,
        outlet: Outlet,
        *,
        outbox: Outbox,
        settling: Settling,
        note: Callable[[], TargetNote],
        changed: Callable[[TargetNote], None],
        chance: Callable[[], float],
    ) -> None:
        self.may: Callable[[], bool] = lambda: True
        self._frame, self._target, self._outlet, self._outbox, self._settling = frame, target, outlet, outbox, settling
        self._clock: Clock = outlet.clock
        self._note, self._note_changed, self._chance = note, changed, chance
        self._buffer: deque[Delivery] = deque()
        self._taken: set[int] = set()
        self._refreshed = 0
        self._flying: set[int] = set()
        self._taking = anyio.Lock()
        self._woken = anyio.Event()
        self._bucket = FULL
        self._allowance = None if frame.rate is None else Allowance.quota(frame.rate)
        self._waits = [one.seconds for one in frame.retry]
        self._log: Any = structlog.get_logger()

    async def run(self) -> None:
        """Until cancelled. What was on its way when it ended before is read again."""
        self._taken -= self._flying
        self._flying.clear()
        self.refresh()
        async with anyio.create_task_group() as tasks:
            for _ in range(1 if self._frame.order == "strict" else self._frame.concurrency):
                tasks.start_soon(self._work)

    def wake(self) -> None:
        """There may be something to do."""
        self._woken.set()
        self._woken = anyio.Event()

    def noted(self, results: Sequence[Settled]) -> None:
        """What became of these is written."""
        full = len(self._taken) >= _UNSETTLED
        self._taken.difference_update([one.delivery.n for one in results])
        # Else nothing has become due by it: a look would find nothing.
        if full or any(one.due is not None or one.delivery.lane is not None for one in results):
            self.wake()

    def refresh(self) -> None:
        """What was read ahead may be no more: read it again."""
        self._refreshed += 1
        self._taken.difference_update(one.n for one in self._buffer)
        self._buffer.clear()
        self.wake()

    async def _work(self) -> None:
        while True:
            batch = await self._next()
            await self._send(batch)
            self._flying.difference_update(one.n for one in batch)
            if endpoints.probing(self._note()):
                self.wake()

    # ---- taking ------------------------------------------------------------------------------------------------------

    async def _next(self) -> list[Delivery]:
        """The next ones that may go now."""
        async with self._taking:
            while True:
                await self._until_allowed()
                if not self.may():
                    self.refresh()
                    await self._clock.sleep(_SOON)
                    continue
                if not self._buffer:
                    await self._fetch()
                    continue
                if (pause := self._pace()) > 0.0:
                    await _within(self._woken, pause)
                    continue
                batch = [self._buffer.popleft() for _ in range(min(self._target.batch, len(self._buffer)))]
                self._flying.update(one.n for one in batch)
                return batch

    async def _until_allowed(self) -> None:
        while True:
            note, woken = self._note(), self._woken
            pause = endpoints.wait(note, self._now())
            if pause == 0 and not (endpoints.probing(note) and self._flying):
                return
            with anyio.move_on_after(_LOOK if pause is None or pause == 0 else pause / 1_000_000):
                await woken.wait()

    def _pace(self) -> float:
        """Seconds until the rate allows the next batch; 0: it does now, and that is counted."""
        if self._allowance is None:
            return 0.0
        cost = min(self._target.batch, len(self._buffer))
        verdict = take(self._allowance, self._bucket, self._clock.monotonic(), cost=cost)
        if isinstance(verdict, NotYet):
            return verdict.seconds
        self._bucket = verdict.state
        return 0.0

    async def _fetch(self) -> None:
        """Read what is due, or wait until there may be something."""
        woken, asked, name, refreshed = self._woken, self._now(), self._outlet.name, self._refreshed
        try:
            if len(self._taken) < _UNSETTLED and (found := await self._due(name, asked)):
                if refreshed != self._refreshed:
                    return  # what was found may be no more
                self._buffer.extend(found)
                self._taken.update(one.n for one in found)
                return
            # Under load something is written again at once: what is due after that is asked when it is not.
            if await _within(woken, _QUIET):
                return
            due = await self._outbox.next_due(name)
        except CdmdError as error:
            self._log.warning("deliveries_not_read", target=name, error=error)
            await self._clock.sleep(_SOON)
            return
        await _within(woken, _pause(due, asked, self._now()))

    async def _due(self, name: str, now: Micros) -> list[Delivery]:
        if self._frame.order != "strict":
            return await self._outbox.ready(name, now, limit=_FETCH, without=self._taken)
        first = await self._outbox.ready(name, now, limit=1, without=self._taken)
        if not first or first[0].lane is None:
            return first
        return await self._outbox.lane(name, first[0].lane, limit=_FETCH, after=first[0].n - 1)

    # ---- handing over ------------------------------------------------------------------------------------------------

    async def _send(self, batch: list[Delivery]) -> None:
        began = self._clock.monotonic()
        verdicts = await self.verdicts(batch)
        seconds, now = self._clock.monotonic() - began, self._now()
        for verdict in dict.fromkeys(verdicts):  # several that came with one request say it once
            self._judge(verdict, now)
        results = [
            settled(
                one,
                verdict,
                waits=self._waits,
                now=now,
                seconds=seconds,
                chance=self._chance(),
                bodies=self._frame.keep_bodies,
            )
            for one, verdict in zip(batch, verdicts, strict=True)
        ]
        if self._frame.order == "strict" and any(one.due is not None for one in results):
            self.refresh()
        self._settling.put(results)

    async def verdicts(self, batch: list[Delivery]) -> Sequence[DeliveryVerdict]:
        """What the target says of each; foreign code, whose faults end here."""
        said: list[Sequence[DeliveryVerdict]] = []

        async def hand_over() -> None:
            said.append(await self._target.deliver(batch, self._outlet))

        limit = self._frame.timeout.seconds
        ended = await within(hand_over, seconds=limit + _GRACE, name=f"delivery to {self._outlet.name}")
        if isinstance(ended, TimeoutError):
            return [Later(reason=f"it took longer than {limit:g} seconds", holds=True)] * len(batch)
        found = _verdicts(said[0], len(batch)) if ended is None and said else None
        if found is None:
            why = sentence(ended) if ended is not None else "it does not give one sound verdict for each delivery"
            self._log.error("target_fault", target=self._outlet.name, error=why)
            return [Later(reason=f"the target's own code failed: {why}")] * len(batch)
        return found

    def _judge(self, verdict: DeliveryVerdict, now: Micros) -> None:
        before = self._note()
        after = endpoints.judged(before, verdict, now, chance=self._chance())
        if after != before:
            self._note_changed(after)

    def _now(self) -> Micros:
        return to_micros(self._clock.now())


async def _within(woken: anyio.Event, seconds: float) -> bool:
    """Whether it is woken within that time."""
    with anyio.move_on_after(seconds):
        await woken.wait()
        return True
    return False


def _pause(due: Micros | None, asked: Micros, now: Micros) -> float:
    """Seconds until it is to be looked again, where nothing that was due when ``asked`` was found."""
    if due is None:
        return _LOOK
    if due <= asked:  # it is on its way, and what becomes of it wakes whoever waits
        return _SOON
    return min(_LOOK, max(0, due - now) / 1_000_000)


def _verdicts(said: object, count: int) -> list[DeliveryVerdict] | None:
    found = [verdict for one in said if (verdict := sound(one)) is not None] if isinstance(said, list | tuple) else []
    return found if isinstance(said, list | tuple) and len(said) == len(found) == count else None
