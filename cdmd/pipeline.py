"""The way of a batch, step by step: journal, extensions, identity and profile, one transaction of the store.

This page names the steps in order; each is a room of its own. What happens to an event before it is durable is the intake's.
"""

from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, TypeVar

import anyio
import anyio.abc
import msgspec
import structlog

from cdmd.batches.credit import CREDIT, Credit
from cdmd.batches.deciding import Decision, Fate, poisoned
from cdmd.batches.extending import Batch, Extending
from cdmd.batches.freshness import Freshness
from cdmd.batches.pacing import Pace
from cdmd.batches.preparing import Preparation, Prepared, prepare, prepared, together, work_of
from cdmd.batches.rules import Digester, PipelineSettings, Rules
from cdmd.batches.tail import Tail
from cdmd.contracts import Clock, Journal, Remap, Screen, Store
from cdmd.deliveries.subscribing import Subscriptions
from cdmd.errors import CdmdError
from cdmd.extensions import Extensions
from cdmd.identity.identifiers import Kinds
from cdmd.models import Changes, Count, Entry, Parked, Seq, to_micros
from cdmd.profiles.audiences import Audiences

__all__ = ["Freshness", "Pipeline", "PipelineSettings", "PipelineStatistics", "Tail"]

_LONGEST_PAUSE: Final = 5.0
_FLOOR: Final = 0.025
_PATIENT: Final = 2
_T = TypeVar("_T")


class PipelineStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """Figures for ``status``: entries not applied, batches in the window, calls left behind or resumed, and what is wrong."""

    backlog: int
    window: int
    parked_running: int
    failure: str | None


class Pipeline:
    """Takes what the journal holds through all steps into the store, in order, until cancelled.

    ``pull`` names the connectors whose freshness is measured from effective time; ``applied`` is told each new position.
    """

    def __init__(  # noqa: PLR0913 - the rooms it joins, each by its name
        self,
        journal: Journal,
        store: Store,
        extensions: Extensions,
        *,
        kinds: Kinds,
        audiences: Audiences,
        digester: Digester,
        remap: Remap,
        clock: Clock,
        screen: Screen | None = None,
        known_only: frozenset[str] = frozenset(),
        reconciled: Mapping[str, str] = {},
        pull: frozenset[str] = frozenset(),
        settings: PipelineSettings | None = None,
        tail: Tail | None = None,
        applied: Callable[[Seq], None] = lambda position: None,
    ) -> None:
        self._journal, self._store, self._extensions, self._clock, self._pull = journal, store, extensions, clock, pull
        self._settings = settings or PipelineSettings()
        self._rules = Rules(
            journal_id=journal.id,
            kinds=kinds,
            audiences=audiences,
            digester=digester,
            known_only=known_only,
            reconciled=reconciled,
            screen=screen,
            parked_max=self._settings.parked_max,
            parked_keep=round(self._settings.parked_keep * 1_000_000),
        )
        self._extending = Extending(extensions, store, digester=digester, remap=remap, clock=clock, screen=screen)
        self._extending.on_return = self._notify
        self._credit = Credit(head=journal.head, position=store.position)
        self._window: deque[Batch] = deque()
        self._read_upto = store.position
        self._parked = 0
        self._changed = anyio.Event()
        self._pace = Pace(clock, lambda: self._changed.wait())  # noqa: PLW0108 - another event each time
        self._woken = anyio.Event()
        self._applied = applied
        self.tail = tail or Tail()
        self.freshness = Freshness()
        self.failure: str | None = None
        self._log = structlog.get_logger("cdmd.pipeline")

    async def run(self, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Read ahead, call extensions, apply in order, and bring parked events back: side by side, until cancelled."""
        self._read_upto = self._store.position
        await self._count_parked()
        async with self._extensions, anyio.create_task_group() as tasks:
            tasks.start_soon(self._read_ahead)
            tasks.start_soon(self._bring_back)
            task_status.started()
            await self._apply_in_order()

    async def _read_ahead(self) -> None:
        """Step 1: the next entries of the journal become a batch of the window, and its extension calls start."""
        while True:
            await self._trying(lambda: self._journal.wait(self._read_upto))
            arrived = self._clock.monotonic()
            while self._waiting(self._settings.window * self._settings.batch):
                await self._changed.wait()
            limit = self._batch_limit()
            journaled = await self._trying(lambda limit=limit: self._journal.read(self._read_upto, limit=limit))  # type: ignore[misc]
            if not journaled:
                continue
            now = self._clock.monotonic()
            batch = Batch(journaled, release=max(arrived + self._settings.patience - _FLOOR, now + _FLOOR))
            self._read_upto = batch.position
            await self._extending.begin(batch)
            if batch.finished.is_set():
                # Made ready while the store still writes what came before: it shall not wait for that.
                batch.ready = await prepared(self._rules, batch.work())
            self._window.append(batch)
            self._notify()
            await self._pace.breathe()

    def _waiting(self, events: int) -> bool:
        return sum([len(batch.passages) for batch in self._window]) >= events

    async def _apply_in_order(self) -> None:
        """Steps 2 to 5: when a batch is ready or its time is up, decide about it and write it, with what came back."""
        while True:
            while not (self._window or self._extending.returned):
                await self._changed.wait()
            await self._pace.rest(lambda: self._waiting(self._settings.batch))
            batches = await self._ready()
            passages = [passage for batch in batches for passage in self._extending.release(batch)]
            returned = self._extending.take_returned()
            passages += returned
            parts = [batch.ready or await prepared(self._rules, batch.work()) for batch in batches]
            parts += [await prepared(self._rules, [passage.item() for passage in returned])] if returned else []
            self._pace.begin()
            await self._write(together(self._rules, parts), position=batches[-1].position if batches else None)
            self._pace.end()
            for _ in batches:
                self._window.popleft()
            self._extending.applied(passages)
            self._notify()
            if any(passage.resumed for passage in passages):
                self._woken.set()

    async def _ready(self) -> list[Batch]:
        """The next batches that are ready together; the first is waited for until its time is up."""
        if not self._window:
            return []
        first = self._window[0]
        with anyio.move_on_after(max(0.0, first.release - self._clock.monotonic())):
            await first.finished.wait()
        ready, size = [first], len(first.passages)
        for batch in list(self._window)[1:]:
            size += len(batch.passages)
            if size > self._settings.batch or not batch.finished.is_set():
                break
            ready.append(batch)
        return ready

    async def _bring_back(self) -> None:
        """Parked events that are due go through their extensions again and return as part of a later batch."""
        while True:
            due = await self._trying(self._due)
            fresh = self._extending.admitted(due, share=self._settings.resuming)
            if fresh:
                await self._count_parked()
                await self._extending.resume(fresh)
                continue
            self._woken = anyio.Event()
            with anyio.move_on_after(self._settings.look):
                await self._woken.wait()

    async def _due(self) -> list[Parked]:
        """What is due, also by a clock that was set back meanwhile: nothing is really held for longer than ``parked_keep``."""
        now, limit, without = to_micros(self._clock.now()), self._settings.resuming, list(self._extending.running)
        due = await self._store.due(now, limit=limit, without=without)
        earliest = None if due else await self._store.next_due()
        if earliest is None or earliest <= now + self._rules.parked_keep:
            return due
        return await self._store.due(earliest, limit=limit, without=without)

    async def _write(self, ready: Preparation, *, position: Seq | None) -> None:
        """Decide and write in one transaction, over and over until it is durable. Nothing is ever skipped.

        One event that cannot be processed is looked for by halves and becomes a dead letter, so that it stops nobody else.
        """
        attempt = 0
        while True:
            decision = Decision(ready, position=position, parked=self._parked, now=to_micros(self._clock.now()))
            try:
                changes = await self._store.apply(decision.wanted, decision)
            except CdmdError as error:
                fault: Exception = error
            except Exception as error:  # noqa: BLE001 - a fault in one event must not stop all others for ever
                fault = error
                if (decision.broke is not None or attempt >= _PATIENT) and await self._set_apart(
                    ready.items, error, position=position
                ):
                    return
            else:
                self.failure = None
                self._account(changes, decision.fates)
                if position is not None:
                    self._moved(position, ready.items)
                return
            self.failure = f"the store cannot take events: {type(fault).__name__}"
            self._log.error("store_apply_failed", error=type(fault).__name__, attempt=attempt, events=len(ready.items))
            await self._clock.sleep(min(_LONGEST_PAUSE, 0.05 * 2 ** min(attempt, 10)))
            attempt += 1
            if position is not None and self._store.position >= position:
                # The transaction was told to have failed and had not.
                await self._count_parked()
                self._moved(position, ready.items)
                return

    async def _set_apart(self, items: Sequence[Prepared], error: Exception, *, position: Seq | None) -> bool:
        """Write the two halves by themselves; the last one left becomes a dead letter. False when there is nothing to try."""
        if len(items) == 1:
            item, original = items[0].item, items[0].original
            condemned = poisoned(item, error)
            if condemned == item:
                return False
            self._log.error("event_poisoned", seq=item.seq, connector=original.connector, error=type(error).__name__)
            await self._write(prepare(self._rules, [(condemned, original)]), position=position)
            return True
        middle = len(items) // 2
        fresh = [one.item.seq for one in items[:middle] if not one.item.resumed]
        await self._write(prepare(self._rules, work_of(items[:middle])), position=fresh[-1] if fresh else None)
        await self._write(prepare(self._rules, work_of(items[middle:])), position=position)
        return True

    def _moved(self, position: Seq, items: Sequence[Prepared]) -> None:
        done = [(one.item.seq, one.original.connector) for one in items if not one.item.resumed]
        self._credit.applied(position, done)
        self._applied(position)

    def _account(self, changes: Changes, fates: Sequence[Fate]) -> None:
        """After the transaction: figures, freshness, and whoever watches."""
        self._parked += sum(number for (_, counter), number in changes.counts.items() if counter == Count.PARKED)
        applied = [fate for fate in fates if fate.stage == "applied"]
        connectors = [fate.item.entry.event.connector for fate in applied]
        since = [fate.at if one in self._pull else fate.received for one, fate in zip(connectors, applied, strict=True)]
        self.freshness.seen(zip(connectors, since, strict=True), self._clock.now())
        if self.tail.watched:
            self._show(fates)

    def _show(self, fates: Sequence[Fate]) -> None:
        for stage, item, detail, *_ in fates:
            event = item.entry.event
            for visit in item.trace:
                self.tail.publish("extended", event, f"{visit.extension}: {visit.outcome}")
            if stage is not None:
                self.tail.publish(stage, event, detail)

    def journaled(self, first: Seq, entries: Sequence[Entry]) -> None:
        """The intake says what is durable now; ``first`` is the first entry's sequence number."""
        self._credit.journaled(first, entries)
        if self.tail.watched:
            for entry in entries:
                self.tail.publish("accepted", entry.event, entry.fault.code if entry.fault else "")

    def backlog(self, connector: str) -> int:
        """How many of the connector's events are durable and not applied; never too few."""
        return self._credit.backlog(connector)

    async def wait_for_credit(self, connector: str, limit: int = CREDIT) -> None:
        """Return once fewer than ``limit`` of the connector's events are durable and not applied."""
        await self._credit.wait(connector, limit=limit)

    async def drain(self, seconds: float) -> bool:
        """Wait until all that is journaled now is applied or parked, at most ``seconds``; whether it is."""
        goal = self._journal.head
        with anyio.move_on_after(seconds):
            while self._store.position < goal:
                await self._changed.wait()
        return self._store.position >= goal

    def configure(
        self,
        *,
        kinds: Kinds,
        audiences: Audiences,
        known_only: frozenset[str],
        reconciled: Mapping[str, str] = {},
        pull: frozenset[str] = frozenset(),
        subscriptions: Subscriptions | None = None,
    ) -> None:
        """What a reload changed; it counts from the next batch."""
        self._pull = pull
        told = {"reconciled": reconciled, "subscriptions": subscriptions}
        self._rules = msgspec.structs.replace(self._rules, kinds=kinds, audiences=audiences, known_only=known_only, **told)

    def statistics(self) -> PipelineStatistics:
        """Figures for ``status``."""
        return PipelineStatistics(
            backlog=self._journal.head - self._store.position,
            window=len(self._window),
            parked_running=len(self._extending.running),
            failure=self.failure,
        )

    def _batch_limit(self) -> int:
        """Small batches while somebody's event may stand right behind; large ones when only a backlog is worked off."""
        behind = self._journal.head - self._read_upto
        far = behind > self._settings.window * self._settings.batch
        return self._settings.backlog_batch if far else self._settings.batch

    async def _count_parked(self) -> None:
        totals = await self._trying(self._store.counts)
        self._parked = sum(number for (_, counter), number in totals.items() if counter == Count.PARKED)

    async def _trying(self, ask: Callable[[], Awaitable[_T]]) -> _T:
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

    def _notify(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()
