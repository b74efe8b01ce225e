"""The way of a batch, step by step: journal, extensions, identity and profile, one transaction of the store.

This page names the steps in order; each is a room of its own. What happens to an event before it is durable is the intake's.
"""

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Final

import anyio
import anyio.abc
import msgspec

from cdmd.batches.credit import CREDIT, Credit
from cdmd.batches.extending import Batch, Extending, joined
from cdmd.batches.freshness import Freshness
from cdmd.batches.pacing import Pace, Standing, Turns
from cdmd.batches.preparing import Preparation, prepared, together
from cdmd.batches.rules import Digester, PipelineSettings, PipelineStatistics, Rules
from cdmd.batches.sharing import Share, Shares, stretch
from cdmd.batches.tail import Tail
from cdmd.batches.writing import Turn, Writing
from cdmd.contracts import Clock, Journal, Remap, Screen, Store, Witness
from cdmd.deliveries.subscribing import Subscriptions
from cdmd.extensions import Extensions
from cdmd.identity.identifiers import Kinds
from cdmd.models import Entry, Parked, Seq, to_micros
from cdmd.profiles.audiences import Audiences

__all__ = ["Freshness", "Pipeline", "PipelineSettings", "PipelineStatistics", "Tail"]

_FLOOR: Final = 0.025
_MOMENT: Final = 0.005
ABREAST: Final = 3
"""Batches under way into the store at once: one is written, one decided, one looked up."""


class Pipeline:
    """Takes what the journal holds through all steps into the store, in order, until cancelled.

    ``pull`` names the connectors whose freshness is measured from effective time; ``applied`` is told each new position,
    ``lengthen`` whether threads may keep the interpreter for long now (``pacing.Turns``); ``witness`` hears of each step.
    ``used`` is the processor's time that went by (seconds), also for whoever else writes the store. ``shares`` says which
    part of the journal is this daemon's, where others apply the rest.
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
        lengthen: Callable[[bool], None] = lambda long: None,
        witness: Witness | None = None,
        used: Callable[[], float] = time.process_time,
        shares: Shares | None = None,
    ) -> None:
        self._witness, self._shares = witness, shares
        self._share: Share | None = None
        self._journal, self._store, self._extensions, self._clock = journal, store, extensions, clock
        self._settings = settings or PipelineSettings()
        rules = Rules(
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
        self._credit = Credit(head=journal.head, position=store.position, shared=shares is not None)
        self._window: deque[Batch] = deque()
        self._read_upto = store.position
        self._live_upto = Seq(0)  # the last that arrived and was no bulk
        self._begun = 0  # how many of them are under way into the store, from the first
        self._under_way: list[Turn] = []
        self._changed = anyio.Event()
        self._pace = Pace(clock, lambda: self._changed.wait(), used=used)  # noqa: PLW0108 - another event each time
        self._turns = Turns(clock, lengthen)
        self._standing = Standing(clock)
        self._woken = anyio.Event()
        self.tail = tail = tail or Tail()
        self._writing = Writing(
            store, rules, clock=clock, pull=pull, credit=self._credit, tail=tail, applied=applied, witness=witness
        )
        self._writing.shares = shares

    async def run(self, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Read ahead, call extensions, apply in order, and bring parked events back: side by side, anew with each share."""
        async with self._extensions:
            while True:
                self._share = None if self._shares is None else await self._shares.agreed()
                self._read_upto, self._begun = self._store.position if self._share is None else self._share.begins, 0
                self._window.clear()
                self._under_way.clear()
                self._extending.forget()
                await self._writing.count_parked()
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._read_ahead)
                    if self._shares is None or self._shares.resumes:
                        tasks.start_soon(self._bring_back)
                    tasks.start_soon(self._apply_in_order)
                    task_status.started()
                    task_status = anyio.TASK_STATUS_IGNORED
                    await (anyio.sleep_forever() if self._shares is None else self._shares.changed())
                    tasks.cancel_scope.cancel()
                self._writing.failure = None  # what could not be written is for whoever has it now

    async def _read_ahead(self) -> None:
        """Step 1: the next entries of the journal become a batch of the window, and its extension calls start."""
        async with anyio.create_task_group() as tasks:
            await self._read_on(tasks)

    async def _read_on(self, tasks: anyio.abc.TaskGroup) -> None:
        while self._share is None or self._share.lanes:
            await self._writing.trying(lambda: self._journal.wait(self._read_upto))
            stood = self._standing.seconds
            while self._waiting(self._settings.window * self._settings.batch):
                await self._changed.wait()
            far = self._far_behind()
            self._turns.reads(far=far)
            limit = self._settings.backlog_batch if far else self._settings.batch
            journaled, position = await stretch(self._journal, self._share, self._read_upto, limit, self._writing.trying)
            if position == self._read_upto:
                continue
            self._read_upto = position
            batch = Batch(journaled, position=position)
            await self._extending.begin(batch)
            # Patience begins with the calls: what the store took before them is none of it, what others' calls took is.
            left = self._settings.patience - (self._standing.seconds - stood)
            batch.release = self._clock.monotonic() + max(left - _FLOOR, _FLOOR)
            # Made ready while the store still writes what came before: it shall not wait for that.
            if batch.finished.is_set():
                await batch.make_ready(self._writing.rules)
            elif len(batch.journaled) >= self._settings.batch // 2:
                tasks.start_soon(self._make_ready, batch)
            self._window.append(batch)
            self._notify()
            await self._pace.breathe()

    async def _make_ready(self, batch: Batch) -> None:
        await batch.make_ready(self._writing.rules)
        self._notify()

    def _waiting(self, events: int) -> bool:
        return sum([len(batch.journaled) for batch in self._window]) >= events

    async def _apply_in_order(self) -> None:
        """Steps 2 to 5: when a batch is ready or its time is up, decide about it and write it, with what came back.

        Of a backlog the next batch is decided while the one before it is written.
        """
        async with anyio.create_task_group() as tasks:
            while True:
                while not self._may_begin():
                    await self._changed.wait()
                turn = await self._turn(beside=bool(self._under_way))
                if not self._under_way:
                    self._pace.begin()
                self._under_way.append(turn)
                self._begun += len(turn.batches)
                if self._is_large(turn.ready):
                    tasks.start_soon(self._carry, turn, tasks)
                else:
                    await self._carry(turn, tasks)

    def _may_begin(self) -> bool:
        """Whether a batch waits that may go now: by itself, or beside one where neither waits for an extension, or did."""
        following = self._window[self._begun] if self._begun < len(self._window) else None
        if not self._under_way:
            return following is not None or bool(self._extending.returned)
        if following is None or following.ready is None or self._extending.returned or len(self._under_way) >= ABREAST:
            return False
        return self._is_large(following.ready) and self._is_large(self._under_way[-1].ready)

    def _is_large(self, ready: Preparation) -> bool:
        return ready.plain and len(ready.items) >= self._settings.batch // (2 if self._settings.apart else 1)

    async def _turn(self, *, beside: bool) -> Turn:
        """The next batch, or all that are ready together with what came back."""
        if beside:
            batches = [self._window[self._begun]]
        else:
            await self._pace.rest(lambda: self._waiting(self._settings.batch))
            await self._read_up()
            batches = await self._ready()
        passages = [passage for batch in batches for passage in self._extending.release(batch)]
        returned = self._extending.take_returned()
        parts = [await batch.take(self._writing.rules) for batch in batches]
        parts += [await prepared(self._writing.rules, [one.item() for one in returned])] if returned else []
        before = self._under_way[-1] if beside else None
        return Turn(batches, [*passages, *returned], together(self._writing.rules, parts), before)

    async def _read_up(self) -> None:
        """What was durable when the writer had rested goes with this turn, where reading it takes but a moment."""
        goal = self._journal.head
        with anyio.move_on_after(_MOMENT):
            while self._window and self._window[-1].position < goal and not self._waiting(self._settings.batch):
                await self._changed.wait()

    async def _carry(self, turn: Turn, tasks: anyio.abc.TaskGroup) -> None:
        """Bring one turn to its end."""
        await self._writing.write(turn)
        self._under_way.remove(turn)
        for _ in turn.batches:
            self._window.popleft()
            self._begun -= 1
        if not self._under_way:
            self._pace.end()
        self._extending.applied(turn.passages)
        turn.done.set()
        self._notify()
        if any(passage.resumed for passage in turn.passages):
            self._woken.set()
        tasks.start_soon(turn.let_go)

    async def _ready(self) -> list[Batch]:
        """The next batches that are ready together; the first is waited for until its time is up.

        More than ``batch`` only while nothing but bulk waits: what is live is to be seen soon.
        """
        if not self._window:
            return []
        first = self._window[0]
        with self._standing.still(), anyio.move_on_after(max(0.0, first.release - self._clock.monotonic())):
            await first.finished.wait()
        bulk = self._live_upto <= self._store.position
        return joined(self._window, self._settings.backlog_batch if bulk else self._settings.batch)

    async def _bring_back(self) -> None:
        """Parked events that are due go through their extensions again and return as part of a later batch."""
        while True:
            due = await self._writing.trying(self._due)
            fresh = self._extending.admitted(due, share=self._settings.resuming)
            if fresh:
                await self._writing.count_parked()
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
        if earliest is None or earliest <= now + self._writing.rules.parked_keep:
            return due
        return await self._store.due(earliest, limit=limit, without=without)

    def journaled(self, first: Seq, entries: Sequence[Entry], *, live: bool = True) -> None:
        """The intake says what is durable now; ``first`` is the first entry's sequence number. Bulk is not ``live``."""
        self._turns.arrived()
        if live:
            self._live_upto = Seq(first + len(entries) - 1)
        self._credit.journaled(first, entries)
        if self._witness is not None:
            self._witness.journaled(first, entries)
        if self.tail.watched:
            for entry in entries:
                self.tail.publish("accepted", entry.event, entry.fault.code if entry.fault else "")

    async def everywhere(self) -> None:
        """What was applied, by whomever, may be more than before."""
        self._writing.everywhere()
        self._notify()
        await self._writing.count_parked()

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
        self._writing.pull = pull
        told = {"reconciled": reconciled, "subscriptions": subscriptions}
        rules = self._writing.rules
        self._writing.rules = msgspec.structs.replace(rules, kinds=kinds, audiences=audiences, known_only=known_only, **told)

    @property
    def freshness(self) -> Freshness:
        """How late events become visible."""
        return self._writing.freshness

    @property
    def oldest(self) -> datetime | None:
        """When the first of those that are read and not applied was received; None where there is none."""
        return next((one.entry.event.received for batch in self._window for one in batch.journaled), None)

    @property
    def failure(self) -> str | None:
        """What is wrong now, in words for the administrator."""
        return self._writing.failure

    def statistics(self) -> PipelineStatistics:
        """Figures for ``status``."""
        return PipelineStatistics(
            backlog=self._journal.head - self._store.position,
            window=len(self._window),
            parked_running=len(self._extending.running),
            failure=self.failure,
        )

    def _far_behind(self) -> bool:
        """Small batches while somebody's event may stand right behind; large ones when only a backlog is worked off."""
        return self._journal.head - self._read_upto > self._settings.window * self._settings.batch

    def _notify(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()
