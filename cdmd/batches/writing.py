"""A batch is decided and written, over and over until it is durable, and what it did is accounted for. Nothing is ever skipped.

Several may be under way, each after the one before it (``Turn``). Not here: what is decided, and which batch comes when.
"""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeVar

import anyio.lowlevel
import structlog

from cdmd.batches.credit import Credit
from cdmd.batches.deciding import Decision, Fate, poisoned
from cdmd.batches.extending import Batch, Passage
from cdmd.batches.freshness import Freshness
from cdmd.batches.preparing import Preparation, Prepared, prepare, work_of
from cdmd.batches.rules import Rules
from cdmd.batches.sharing import Shares
from cdmd.batches.tail import Tail
from cdmd.contracts import Clock, Store, Witness
from cdmd.errors import CdmdError, NotOurs
from cdmd.models import FAILED, Changes, Count, Micros, Seq, to_micros

_LONGEST_PAUSE: Final = 5.0
_PATIENT: Final = 2
_AT_ONCE: Final = 100
_HANDED_OVER: Final = 8
"""Attempts, some eleven seconds, within which it is known whose lanes they are: what is refused longer than that is a fault."""
_T = TypeVar("_T")


class Turn:
    """A batch on its way into the store, and the one ``before`` it that still is.

    ``done``: it is accounted for. ``failed``: it did not go at once, so that what is behind it has to wait for it.
    """

    __slots__ = ("batches", "before", "done", "failed", "passages", "ready")

    def __init__(
        self, batches: Sequence[Batch], passages: list[Passage], ready: Preparation, before: "Turn | None" = None
    ) -> None:
        self.batches, self.passages, self.ready, self.before = batches, passages, ready, before
        self.done, self.failed = anyio.Event(), False

    @property
    def position(self) -> Seq | None:
        """The journal position that is done with it."""
        return self.batches[-1].position if self.batches else None

    async def after_the_one_before(self) -> None:
        """Wait for the turn before this one."""
        if self.before is not None:
            await self.before.done.wait()
            self.before = None

    async def let_go(self) -> None:
        """Give back what it held, a little at a time: that of thousands of events takes the loop ten milliseconds.

        It is done, and nobody looks at its events again.
        """
        going: list[list[Any]] = [self.passages, self.ready.items]
        for batch in self.batches:
            batch.ready = None
            batch.passages.clear()
            going.append(batch.journaled)
        for held in going:
            while held:
                del held[-_AT_ONCE:]
                await anyio.lowlevel.checkpoint()


class Writing:
    """Writes turns. ``rules`` and ``pull`` are today's; ``parked`` is how many events wait, ``failure`` what is wrong.

    With ``shares`` others write, too: up to where all is applied is told otherwise then.
    """

    def __init__(
        self,
        store: Store,
        rules: Rules,
        *,
        clock: Clock,
        pull: frozenset[str],
        credit: Credit,
        tail: Tail,
        applied: Callable[[Seq], None],
        witness: Witness | None = None,
    ) -> None:
        self._witness = witness
        self.shares: Shares | None = None
        self._store, self.rules, self._clock, self.pull = store, rules, clock, pull
        self._credit, self._tail, self._applied = credit, tail, applied
        self.freshness = Freshness()
        self.parked = 0
        self.failure: str | None = None
        self._log = structlog.get_logger("cdmd.pipeline")

    async def write(self, turn: Turn) -> None:
        """Decide and write in one transaction, over and over until it is durable; return in the order of the turns."""
        if turn.before is not None and turn.before.failed:
            turn.failed = True
            await turn.after_the_one_before()
        await self._write(turn.ready, position=turn.position, turn=turn)

    async def _write(self, ready: Preparation, *, position: Seq | None, turn: Turn) -> None:
        """An event that cannot be processed is looked for by halves and becomes a dead letter, so that it stops nobody else."""
        attempt = 0
        while True:
            decision = Decision(ready, position=position, parked=self.parked, now=to_micros(self._clock.now()))
            try:
                changes = await self._store.apply(decision.wanted, decision)
            except CdmdError as error:
                fault: Exception = error
            except Exception as error:  # noqa: BLE001 - a fault in one event must not stop all others for ever
                fault = error
            else:
                await turn.after_the_one_before()
                self.failure = None
                self._account(changes, decision.fates)
                if position is not None:
                    self._moved(position, ready.items)
                return
            turn.failed = True
            await turn.after_the_one_before()
            given_up = not isinstance(fault, CdmdError) and (decision.broke is not None or attempt >= _PATIENT)
            if given_up and await self._set_apart(ready.items, fault, position=position, turn=turn):
                return
            self._failed(fault, attempt=attempt, events=len(ready.items))
            await self._clock.sleep(min(_LONGEST_PAUSE, 0.05 * 2 ** min(attempt, 10)))
            attempt += 1
            if position is not None and self._reached >= position:
                # The transaction was told to have failed and had not.
                self.failure = None
                await self.count_parked()
                self._moved(position, ready.items)
                return

    def _failed(self, fault: Exception, *, attempt: int, events: int) -> None:
        """Say why a batch was not written; that its lanes are another node's by now is no fault."""
        name = type(fault).__name__
        if isinstance(fault, NotOurs) and self.shares is not None and attempt < _HANDED_OVER:
            self._log.info("store_apply_refused", error=name, attempt=attempt, events=events)
            self.shares.refused()
            return
        self.failure = f"the store cannot take events: {name}"
        self._log.error("store_apply_failed", error=name, attempt=attempt, events=events)

    async def _set_apart(self, items: Sequence[Prepared], error: Exception, *, position: Seq | None, turn: Turn) -> bool:
        """Write the two halves by themselves; the last one left becomes a dead letter. False when there is nothing to try."""
        if len(items) == 1:
            item, original = items[0].item, items[0].original
            condemned = poisoned(item, error)
            if condemned == item:
                return False
            self._log.error("event_poisoned", seq=item.seq, connector=original.connector, error=type(error).__name__)
            await self._write(prepare(self.rules, [(condemned, original)]), position=position, turn=turn)
            return True
        middle = len(items) // 2
        fresh = [one.item.seq for one in items[:middle] if not one.item.resumed]
        await self._write(prepare(self.rules, work_of(items[:middle])), position=fresh[-1] if fresh else None, turn=turn)
        await self._write(prepare(self.rules, work_of(items[middle:])), position=position, turn=turn)
        return True

    @property
    def _reached(self) -> Seq:
        """Up to where the store has what is written here."""
        return self._store.position if self.shares is None else self.shares.own

    def everywhere(self) -> None:
        """Everything up to the store's position is applied, whoever did it."""
        self._credit.everywhere(self._store.position)
        self._applied(self._store.position)

    def _moved(self, position: Seq, items: Sequence[Prepared]) -> None:
        if self.shares is not None:
            return
        done = [(one.item.seq, one.original.source) for one in items if not one.item.resumed]
        self._credit.applied(position, done)
        self._applied(position)

    def _account(self, changes: Changes, fates: Sequence[Fate]) -> None:
        """After the transaction: figures, freshness, and whoever watches."""
        self.parked += sum(number for (_, counter), number in changes.counts.items() if counter == Count.PARKED)
        by_source, happened = defaultdict[str, list[Fate]](list), defaultdict[str, list[Micros]](list)
        for fate in fates:
            if fate.stage == "applied":
                by_source[fate.item.entry.event.source].append(fate)
        for source, applied in by_source.items():
            connector = source.partition(".")[0]
            pulled = connector in self.pull
            happened[connector] += [one.at if pulled else one.received for one in applied]
        self.freshness.seen(happened, self._clock.now())
        if self._tail.watched:
            self._show(fates)
        if self._witness is not None:
            for fate in fates:
                if fate.stage is not None:
                    self._witness.passed(fate.item, fate.stage)

    def _show(self, fates: Sequence[Fate]) -> None:
        for fate in fates:
            stage, item, detail = fate.stage, fate.item, fate.detail
            event = item.entry.event
            for visit in item.trace[len(item.trace) - len(item.began) :]:  # earlier ones were shown when they were made
                called = "failed" if visit.outcome.startswith(FAILED) else "extended"
                self._tail.publish(called, event, f"{visit.extension}: {visit.outcome}")
            if stage is not None:
                self._tail.publish(stage, event, detail)

    async def count_parked(self) -> None:
        """Ask the store how many events wait."""
        totals = await self.trying(self._store.counts)
        self.parked = sum(number for (_, counter), number in totals.items() if counter == Count.PARKED)

    async def trying(self, ask: Callable[[], Awaitable[_T]]) -> _T:
        """What ``ask`` brings, asked again with a pause for as long as the databases cannot answer."""
        pause, said = 0.05, None
        while True:
            try:
                answer = await ask()
            except CdmdError as error:
                said = self.failure = f"cannot read: {type(error).__name__}"
                self._log.error("pipeline_read_failed", error=type(error).__name__)
            else:
                if self.failure == said:
                    self.failure = None
                return answer
            await self._clock.sleep(pause)
            pause = min(_LONGEST_PAUSE, pause * 2)
