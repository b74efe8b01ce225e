"""``emit`` returns when records and state are durable together, counts everything, and never counts twice."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import anyio
import anyio.lowlevel
import msgspec
import pytest

from cdmd.batches.moments import effective_time
from cdmd.config.schema import ConnectorFrame, EventSettings
from cdmd.contracts import Append
from cdmd.errors import Followed, NotDurable, Overloaded
from cdmd.intake.courtesy import Courtesy
from cdmd.intake.door import Door
from cdmd.intake.mapping import Mapper
from cdmd.intake.queue import JournalQueue
from cdmd.intake.recent import Flight, Recent, name_of
from cdmd.intake.shared import Intake
from cdmd.intake.source import IntakeSource
from cdmd.intake.tally import Tally
from cdmd.models import Accepted, Answer, Count, Emission, Entry, Event, Filtered, Record, Rejected, Seq, Verdict, to_micros
from cdmd.testing.tables import MemoryFeeds
from tests.intake.doubles import Digests, ManualClock, MemoryJournal, NamedBudgets, Screened

pytestmark = pytest.mark.anyio
MAPPING = EventSettings(id="{id}", type="{type}", identifiers={"email": "{email}"}, data={"n": "{n}"})


class Taking(IntakeSource):
    """Emits as the edge does it: what needs only a commit is taken without a task."""

    async def emit(
        self, records: Sequence[Record], *, state: Mapping[bytes, bytes | None] = MappingProxyType({})
    ) -> list[Verdict]:
        if not self._push:
            return await super().emit(records, state=state)
        one = Sending(records, state)
        return await (super().emit(records, state=state) if self.take([one]) else one.outcome)


class Sending:
    """Something to emit, and what it is told."""

    def __init__(self, records: Sequence[Record], state: Mapping[bytes, bytes | None] = MappingProxyType({})) -> None:
        self.wanted = Emission(records=records, answer=lambda verdicts: Answer(), state=state)
        self.outcome: asyncio.Future[list[Verdict]] = asyncio.get_running_loop().create_future()

    def settle(self, verdicts: list[Verdict] | None, error: Overloaded | None) -> None:
        if not self.outcome.done():
            self.outcome.set_exception(error) if error is not None else self.outcome.set_result(verdicts or [])


WAY: dict[str, type[IntakeSource]] = {"source": IntakeSource}


@pytest.fixture(autouse=True, params=[IntakeSource, Taking], ids=["emitted", "taken"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways in: what they promise is the same."""
    monkeypatch.setitem(WAY, "source", request.param)


@dataclass
class World:
    journal: MemoryJournal
    intake: Intake
    screen: Screened
    known: set[tuple[str, str]] = field(default_factory=set)
    told: list[tuple[int, list[str]]] = field(default_factory=list)
    credit: anyio.Event | None = None

    def source(self, name: str = "shop", *, push: bool = True, raw: bool = True, **frame: Any) -> IntakeSource:
        mapper = Mapper(name, ConnectorFrame(type="webhook", event=MAPPING, **frame), raw=raw)
        return WAY["source"](name, intake=self.intake, mapper=mapper, http=None, push=push)  # type: ignore[arg-type]

    def counts(self, name: str = "shop") -> dict[str, int]:
        names = (Count.RECEIVED, Count.ACCEPTED, Count.FILTERED, Count.REFUSED, Count.REPEATS, Count.SUPPRESSED)
        found = {one: self.intake.tally.of(name, one) for one in names}
        assert found[Count.RECEIVED] == found[Count.ACCEPTED] + found[Count.FILTERED] + found[Count.REFUSED]
        return {one: count for one, count in found.items() if count}


@asynccontextmanager
async def world(
    *, max_events: int = 1000, max_bytes: int = 2**20, guarded: frozenset[str] = frozenset()
) -> AsyncIterator[World]:
    journal = MemoryJournal()
    tally = Tally({})

    async def recount() -> None:
        if tally.uncertain:
            tally.reload(await journal.counts())

    blocked: list[str] = []
    queue = JournalQueue(
        journal,
        max_events=max_events,
        max_bytes=max_bytes,
        blocked=lambda: blocked[0] if blocked else None,
        committed=recount,
        alone=lambda: tally.uncertain,
    )
    made: list[World] = []

    async def ask(pairs: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
        return made[0].known & set(pairs)

    async def credit(_: str, limit: int = 0) -> None:
        if made[0].credit is not None:
            await made[0].credit.wait()

    def journaled(first: Seq, entries: Sequence[Entry]) -> None:
        made[0].told.append((first, [entry.event.id for entry in entries]))
        door.journaled(first, entries)

    door = Door(usable=lambda identifiers: sorted(identifiers.items()), ask=ask, guarded=guarded)
    screen, clock = Screened(), ManualClock()
    intake = Intake(
        journal=journal, feeds=MemoryFeeds(), queue=queue, tally=tally, recent=Recent(size=100), door=door, screen=screen,
        digests=Digests(), clock=clock, journaled=journaled, credit=credit, budgets=NamedBudgets(),
        courtesy=Courtesy(clock, credit),
    )  # fmt: skip
    made.append(World(journal, intake, screen))
    async with anyio.create_task_group() as group:
        await group.start(queue.run)
        try:
            yield made[0]
        finally:
            if journal.gate is not None:
                journal.gate.set()
            group.cancel_scope.cancel()


def record(id: str | None = "1", *, n: int = 1, type: str = "order.paid", email: str = "joe@example.com") -> Record:
    value = {"id": id, "type": type, "email": email, "n": n}
    return Record(value=value, received=ManualClock().now(), fallback_id="f")


async def test_a_source_has_tables_and_secrets_of_its_own() -> None:
    async with world() as w:
        source = w.source()
        writer = await source.table("register").write()
        await writer.put([b"a"])
        await source.emit([], state=await writer.finish())
        assert await w.source().table("register").get([0]) == [b"a"]
        assert source.secret("rows") != w.source("other").secret("rows")


async def test_what_is_accepted_is_in_the_journal_with_its_state() -> None:
    async with world() as w:
        verdicts = await w.source().emit([record("1"), record("2")], state={b"cursor": b"2"})
        assert verdicts == [Accepted("1"), Accepted("2")]
        assert [entry.event.id for entry in w.journal.entries] == ["1", "2"]
        assert await w.source().get([b"cursor", b"other"]) == {b"cursor": b"2"}
        assert [pair async for pair in w.source().scan(b"c")] == [(b"cursor", b"2")]
        assert w.told == [(1, ["1", "2"])]
        assert w.counts() == {Count.RECEIVED: 2, Count.ACCEPTED: 2}
        assert w.journal.counted == {("shop", Count.RECEIVED): 2, ("shop", Count.ACCEPTED): 2}


async def test_what_is_accepted_says_which_lane_it_is_in() -> None:
    async with world() as w:
        w.intake = msgspec.structs.replace(w.intake, partition=lambda event: int(event.id))
        await w.source().emit([record("1"), record("2")])
        assert [(entry.event.id, entry.part) for entry in w.journal.entries] == [("1", 1), ("2", 2)]


async def test_what_is_of_one_lane_goes_to_the_journal_together_in_the_order_in_which_it_came() -> None:
    async with world() as w:
        w.intake = msgspec.structs.replace(w.intake, partition=lambda event: int(event.id), lanes=3)
        verdicts = await w.source().emit([record(str(n)) for n in range(1, 8)])
        assert verdicts == [Accepted(str(n)) for n in range(1, 8)]
        in_lanes = ["3", "6", "1", "4", "7", "2", "5"]
        assert [entry.event.id for entry in w.journal.entries] == in_lanes
        assert w.told == [(1, in_lanes)], "what is told of numbers is told in the journal's order"


async def test_of_events_of_one_moment_in_one_request_that_of_the_later_lane_counts_as_the_later_one() -> None:
    """Whichever stands first in it, and also where both are of one person: of equal times the greater number is the later."""
    for order in (("1", "2"), ("2", "1")):
        async with world() as w:
            w.intake = msgspec.structs.replace(w.intake, partition=lambda event: int(event.id), lanes=3)
            await w.source().emit([record(one) for one in order])
            events = [entry.event for entry in w.journal.entries]
            assert [event.id for event in events] == ["1", "2"]
            assert events[0].identifiers == events[1].identifiers
            assert len({effective_time(event, to_micros(event.received)) for event in events}) == 1


async def test_nothing_is_answered_before_the_commit_is_done() -> None:
    async with world() as w, anyio.create_task_group() as group:
        w.journal.gate = anyio.Event()
        answered: list[object] = []

        async def emit() -> None:
            answered.extend(await w.source().emit([record()]))

        group.start_soon(emit)
        await w.journal.began.wait()
        await anyio.wait_all_tasks_blocked()
        assert answered == []
        w.journal.gate.set()
    assert answered == [Accepted("1")]


async def test_what_is_filtered_never_reaches_the_journal() -> None:
    async with world() as w:
        assert await w.source(accept=("refund.*",)).emit([record()]) == [Filtered("accept")]
        assert w.journal.entries == []
        assert w.counts() == {Count.RECEIVED: 1, Count.FILTERED: 1}
        assert w.intake.tally.unwritten() == ["shop"]


async def test_an_unmappable_record_is_rejected_and_journaled_as_it_is() -> None:
    async with world() as w:
        verdicts = await w.source().emit([record(None), record("2")])
        assert isinstance(verdicts[0], Rejected)
        assert verdicts[0].code == "null"
        assert verdicts[1] == Accepted("2")
        assert [entry.fault is None for entry in w.journal.entries] == [False, True]
        assert w.counts() == {Count.RECEIVED: 2, Count.ACCEPTED: 2}


async def test_a_repeat_is_accepted_without_a_second_entry() -> None:
    async with world() as w:
        await w.source().emit([record("1"), record("1")])
        assert await w.source().emit([record("1")]) == [Accepted("1")]
        assert len(w.journal.entries) == 1
        assert w.counts() == {Count.RECEIVED: 3, Count.ACCEPTED: 3, Count.REPEATS: 2}


async def test_what_is_brought_only_once_is_not_remembered_and_a_repeat_is_the_stores_to_find() -> None:
    async with world() as w:
        source, once = w.source(push=False), msgspec.structs.replace(record("2"), once=True)
        for one in (record("1"), once, once, record("1")):
            assert await source.emit([one]) == [Accepted(one.value["id"])]
        assert [entry.event.id for entry in w.journal.entries] == ["1", "2", "2"]
        assert w.counts() == {Count.RECEIVED: 4, Count.ACCEPTED: 4, Count.REPEATS: 1}


async def test_a_repeat_whose_time_was_adjusted_otherwise_is_a_repeat_all_the_same() -> None:
    async with world() as w:
        for adjusted, entries in ((True, 1), (False, 3)):
            for second in range(2):
                time = f"2026-11-23T10:00:0{second}Z"
                one = msgspec.structs.replace(record(f"{adjusted}"), time=time, adjusted=adjusted)
                assert await w.source().emit([one]) == [Accepted(f"{adjusted}")]
            assert len(w.journal.entries) == entries


async def test_the_same_id_with_other_content_goes_on_to_the_store() -> None:
    async with world() as w:
        await w.source().emit([record("1", n=1), record("1", n=2)])
        await w.source().emit([record("1", n=3)])
        assert len(w.journal.entries) == 3


async def test_a_repeat_of_one_in_flight_waits_and_shares_its_fate() -> None:
    async with world() as w, anyio.create_task_group() as group:
        w.journal.gate = anyio.Event()
        answers: list[object] = []

        async def emit() -> None:
            answers.extend(await w.source().emit([record()]))

        group.start_soon(emit)
        await w.journal.began.wait()
        group.start_soon(emit)
        await anyio.wait_all_tasks_blocked()
        assert answers == []
        w.journal.gate.set()
    assert answers == [Accepted("1"), Accepted("1")]
    assert len(w.journal.entries) == 1
    assert w.counts() == {Count.RECEIVED: 2, Count.ACCEPTED: 2, Count.REPEATS: 1}


async def test_a_repeat_of_one_whose_commit_fails_fails_too() -> None:
    async with world() as w, anyio.create_task_group() as group:
        w.journal.gate = anyio.Event()
        w.journal.failing = True
        failures: list[NotDurable] = []

        async def emit() -> None:
            with pytest.raises(NotDurable) as caught:
                await w.source().emit([record()])
            failures.append(caught.value)

        group.start_soon(emit)
        await w.journal.began.wait()
        group.start_soon(emit)
        await anyio.wait_all_tasks_blocked()
        w.journal.gate.set()
    assert [failure.retry_after for failure in failures] == [7, 7]
    assert w.counts() == {Count.RECEIVED: 2, Count.REFUSED: 2}
    assert len(w.intake.recent) == 0


async def test_an_id_is_remembered_only_after_its_commit() -> None:
    async with world() as w:
        w.journal.failing = True
        with pytest.raises(NotDurable):
            await w.source().emit([record()])
        w.journal.failing = False
        assert await w.source().emit([record()]) == [Accepted("1")]
        assert len(w.journal.entries) == 1
        assert w.counts() == {Count.RECEIVED: 2, Count.REFUSED: 1, Count.ACCEPTED: 1}


async def test_entries_of_a_failed_commit_that_are_there_after_all_are_counted_once() -> None:
    async with world() as w:
        w.journal.failing = w.journal.keep_when_failing = True
        with pytest.raises(NotDurable):
            await w.source().emit([record("1")])
        w.journal.failing = False
        await w.source().emit([record("2")])
        assert len(w.journal.entries) == 2
        assert w.counts() == {Count.RECEIVED: 3, Count.REFUSED: 1, Count.ACCEPTED: 2}


async def test_a_caller_that_is_cancelled_does_not_undo_its_commit() -> None:
    async with world() as w:
        w.journal.gate = anyio.Event()
        async with anyio.create_task_group() as group:
            group.start_soon(w.source().emit, [record()])
            await w.journal.began.wait()
            group.cancel_scope.cancel()
        w.journal.gate.set()
        await w.intake.queue.flush()
        assert w.counts() == {Count.RECEIVED: 1, Count.ACCEPTED: 1}
        assert w.told == [(1, ["1"])]
        w.journal.gate = None
        await w.source().emit([record()])
        assert len(w.journal.entries) == 1


@pytest.mark.parametrize(("live", "least", "most"), [(False, 4, 12), (True, 22, 40)])
async def test_many_records_at_once_leave_the_others_their_turn_and_more_of_them_while_events_arrive(
    live: bool, least: int, most: int
) -> None:
    turns = 0

    async def take_turns() -> None:
        nonlocal turns
        while True:
            await anyio.lowlevel.checkpoint()
            turns += 1

    async with world() as one, anyio.create_task_group() as group:
        if live:
            await arriving(one)
        one.journal.gate = anyio.Event()
        group.start_soon(take_turns)
        group.start_soon(one.source(push=False).emit, [record(str(number)) for number in range(450)])
        await anyio.lowlevel.checkpoint()
        while not one.intake.queue.statistics().events:
            await anyio.lowlevel.checkpoint()
        assert least <= turns <= most
        one.journal.gate.set()
        group.cancel_scope.cancel()


async def arriving(w: World) -> None:
    """Events arrive one by one, and it was noticed."""
    clock = w.intake.clock
    assert isinstance(clock, ManualClock)
    for number in range(20):
        await w.source("other").emit([record(str(number))])
    w.intake.courtesy.journaled(w.journal.entries)
    clock.time += timedelta(seconds=1)
    clock.released.set()


@pytest.mark.parametrize(("push", "count", "waits"), [(False, 100, True), (False, 99, False), (True, 100, False)])
async def test_while_events_arrive_bulk_waits_until_what_it_brought_is_applied(push: bool, count: int, waits: bool) -> None:
    async with world() as w:
        await arriving(w)
        asked: list[int] = []

        async def credit(_: str, limit: int = 0) -> None:
            asked.append(limit)

        w.intake.courtesy._credit = credit
        await w.source(push=push).emit([record(str(number)) for number in range(1000, 1000 + count)])
        assert asked == ([1] if waits else [])


async def test_a_caller_that_is_cancelled_between_its_records_leaves_nothing_and_nobody_waiting() -> None:
    async with world() as one:
        outcomes: list[Any] = []

        async def repeat() -> None:
            try:
                outcomes.append(await one.source(push=False).emit([record("0")]))
            except Overloaded as error:
                outcomes.append(str(error))

        async with anyio.create_task_group() as group, anyio.create_task_group() as cancelled:
            cancelled.start_soon(one.source(push=False).emit, [record(str(number)) for number in range(450)])
            while name_of("shop", "0") not in one.intake.recent._flying:
                await anyio.lowlevel.checkpoint()
            group.start_soon(repeat)
            await anyio.lowlevel.checkpoint()
            cancelled.cancel_scope.cancel()
        assert outcomes == ["given up before it was whole"]
        assert one.journal.head == 0
        assert one.intake.recent._flying == {}
        assert await one.source(push=False).emit([record("0")]) == [Accepted("0")]
        assert one.counts() == {Count.RECEIVED: 2, Count.ACCEPTED: 1, Count.REFUSED: 1}


@pytest.mark.parametrize("way", [IntakeSource], indirect=True)
async def test_a_caller_that_is_cancelled_while_its_commit_fails_leaves_nothing_counted() -> None:
    async with world() as w:
        w.journal.gate, w.journal.failing = anyio.Event(), True
        async with anyio.create_task_group() as group:
            group.start_soon(w.source().emit, [record()])
            await w.journal.began.wait()
            group.cancel_scope.cancel()
        w.journal.gate.set()
        await w.intake.queue.flush()
        assert w.counts() == {}


async def test_a_full_queue_refuses_a_push_after_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdmd.intake.way_in.PUSH_PATIENCE", 0.01)
    async with world(max_events=4) as w, anyio.create_task_group() as group:
        w.journal.gate = anyio.Event()
        group.start_soon(w.source("shop").emit, [record("1"), record("2")])
        group.start_soon(w.source("crm").emit, [record("3"), record("4")])
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(Overloaded):
            await w.source("other").emit([record("5")])
        assert w.counts("other") == {Count.RECEIVED: 1, Count.REFUSED: 1}
        assert w.intake.tally.refusals("other") == {"Overloaded": 1}
        w.journal.gate.set()


async def test_one_connector_never_takes_more_than_half_of_the_places() -> None:
    async with world(max_events=4) as w, anyio.create_task_group() as group:
        w.journal.gate = anyio.Event()
        flood = w.source("flood", push=False)
        for n in range(5):
            group.start_soon(flood.emit, [record(f"f{n}")])
        await w.journal.began.wait()
        await anyio.wait_all_tasks_blocked()
        assert w.intake.queue.statistics().events == 2
        group.start_soon(w.source("shop").emit, [record("1")])
        await anyio.wait_all_tasks_blocked()
        assert w.intake.queue.statistics().events == 3
        w.journal.gate.set()
    assert len(w.journal.entries) == 6


async def test_the_queue_is_bounded_in_bytes() -> None:
    async with world(max_bytes=300) as w, anyio.create_task_group() as group:
        w.journal.gate = anyio.Event()
        for name in ("a", "b", "c"):
            group.start_soon(w.source(name, push=False).emit, [record("1")])
        await w.journal.began.wait()
        await anyio.wait_all_tasks_blocked()
        statistics = w.intake.queue.statistics()
        assert statistics.bytes <= statistics.max_bytes == 300
        assert statistics.events < 3
        w.journal.gate.set()
    assert len(w.journal.entries) == 3


async def test_connectors_take_turns_in_a_commit() -> None:
    async with world() as w, anyio.create_task_group() as group:
        w.journal.gate = anyio.Event()
        group.start_soon(w.source("first").emit, [record("0")])
        await w.journal.began.wait()
        for n in range(3):
            group.start_soon(w.source("flood", push=False).emit, [record(f"f{n}")])
        group.start_soon(w.source("shop").emit, [record("s")])
        await anyio.wait_all_tasks_blocked()
        w.journal.gate.set()
    assert [append.connector for append in w.journal.commits[1]] == ["flood", "shop", "flood", "flood"]


async def test_a_caller_that_gives_up_waiting_for_a_place_leaves_no_trace() -> None:
    async with world(max_events=2) as w, anyio.create_task_group() as group:
        w.journal.gate = anyio.Event()
        group.start_soon(w.source("a", push=False).emit, [record("1"), record("2")])
        await w.journal.began.wait()
        async with anyio.create_task_group() as impatient:
            impatient.start_soon(w.source("b", push=False).emit, [record("3")])
            await anyio.wait_all_tasks_blocked()
            impatient.cancel_scope.cancel()
        assert w.counts("b") == {}
        w.journal.gate.set()


class EagerJournal(MemoryJournal):
    """Knows when a commit was begun, however late it is awaited."""

    def __init__(self) -> None:
        super().__init__()
        self.begun: list[int] = []

    def append(self, appends: Sequence[Append]) -> Coroutine[Any, Any, Seq]:
        self.begun.append(len(appends))
        return super().append(appends)


async def _nothing() -> None:
    """After a commit."""


def queue_before(journal: MemoryJournal) -> JournalQueue:
    return JournalQueue(journal, max_events=99, max_bytes=2**20, blocked=lambda: None, committed=_nothing, alone=lambda: False)


async def submit(queue: JournalQueue, settled: list[Seq | None], connector: str = "shop") -> None:
    append = Append(
        connector=connector,
        entries=[Entry(Event(id="1", source=connector, type="x", received=ManualClock().now()))],
        encoded=[b"1"],
    )
    await queue.submit(append, patience=1, settle=lambda first, error: settled.append(first))


async def test_after_a_rest_the_first_append_is_begun_before_the_others_have_come() -> None:
    journal, settled = EagerJournal(), []
    queue = queue_before(journal)
    async with anyio.create_task_group() as group:
        await group.start(queue.run)
        await anyio.wait_all_tasks_blocked()
        async with anyio.create_task_group() as senders:
            for _ in range(3):
                senders.start_soon(submit, queue, settled)
        group.cancel_scope.cancel()
    assert journal.begun == [1, 2]
    assert settled == [1, 2, 3]


async def test_a_commit_that_has_begun_is_finished_when_the_committer_is_cancelled() -> None:
    journal, settled = EagerJournal(), []
    queue = queue_before(journal)
    async with anyio.create_task_group() as senders, anyio.create_task_group() as group:
        await group.start(queue.run)
        await anyio.wait_all_tasks_blocked()
        journal.gate = anyio.Event()
        senders.start_soon(submit, queue, settled)
        await anyio.lowlevel.checkpoint()
        assert journal.begun == [1]
        group.cancel_scope.cancel()
        journal.gate.set()
    assert settled == [1]


async def test_one_whose_token_is_too_small_is_refused_alone_in_a_commit_of_several() -> None:
    """What others of the same commit wait for is durable; and a second one that is overtaken meanwhile is refused, too."""
    tokens = {"old": 2}

    class Guarded(MemoryJournal):
        async def append(self, appends: Sequence[Append]) -> Seq:
            error = Followed(tokens.copy())
            tokens["late"] = 2
            if any(error.refuses(one.connector, one.fence) for one in appends):
                raise error
            return await super().append(appends)

    journal, outcomes = Guarded(), dict[str, object]()
    queue = queue_before(journal)

    async def submit_one(connector: str, fence: int) -> None:
        entry = Entry(Event(id=connector, source=connector, type="x", received=ManualClock().now()))
        append = Append(connector=connector, entries=[entry], encoded=[b"1"], fence=fence)
        try:
            outcomes[connector] = await queue.submit(append, patience=1, settle=lambda first, error: None)
        except NotDurable as error:
            outcomes[connector] = type(error)

    async with anyio.create_task_group() as group:
        async with anyio.create_task_group() as senders:
            for connector, fence in (("shop", 0), ("old", 1), ("late", 1), ("crm", 7)):
                senders.start_soon(submit_one, connector, fence)
            await anyio.wait_all_tasks_blocked()
            await group.start(queue.run)
        await submit_one("old", 1)
        await submit_one("shop", 0)
        group.cancel_scope.cancel()
    assert outcomes == {"shop": 3, "old": Followed, "late": Followed, "crm": 2}
    assert queue.statistics().events == 0


async def test_below_the_disk_reserve_nothing_is_acknowledged() -> None:
    journal = MemoryJournal()

    async def committed() -> None:
        raise AssertionError("nothing may be committed")

    queue = JournalQueue(
        journal,
        max_events=9,
        max_bytes=999,
        blocked=lambda: "the disk is nearly full",
        committed=committed,
        alone=lambda: False,
    )
    settled: list[object] = []
    with pytest.raises(NotDurable, match="nearly full"):
        await queue.submit(Append(connector="shop"), patience=1, settle=lambda first, error: settled.append((first, error)))
    assert len(settled) == 1


async def test_pull_waits_for_credit() -> None:
    async with world() as w, anyio.create_task_group() as group:
        w.credit = anyio.Event()
        group.start_soon(w.source(push=False).emit, [record()])
        await anyio.wait_all_tasks_blocked()
        assert w.journal.entries == []
        w.credit.set()
    assert len(w.journal.entries) == 1


async def test_only_known_people_pass_where_only_they_are_kept() -> None:
    async with world(guarded=frozenset({"guarded"})) as w:
        guarded = w.source("guarded", known_only=True)
        stranger = [record("1", email="who@example.com"), record("2", type="x"), record(None)]
        verdicts = await guarded.emit(stranger)
        assert verdicts[:2] == [Filtered("unknown"), Filtered("unknown")]
        assert isinstance(verdicts[2], Rejected)
        assert w.journal.entries[0].raw == b""
        w.known.add(("email", "who@example.com"))
        assert (await guarded.emit(stranger))[0] == Accepted("1")


async def test_somebody_journaled_but_not_yet_applied_is_known_at_the_door() -> None:
    async with world(guarded=frozenset({"guarded"})) as w:
        await w.source("shop").emit([record("1", email="new@example.com"), record(None)])
        guarded = w.source("guarded", known_only=True)
        assert await guarded.emit([record("2", email="new@example.com")]) == [Accepted("2")]
        w.intake.door.applied(Seq(2))
        assert await guarded.emit([record("3", email="new@example.com")]) == [Filtered("unknown")]


async def test_refusals_are_counted_under_their_reason() -> None:
    async with world() as w:
        w.source().refuse(2, "signature")
        assert w.counts() == {Count.RECEIVED: 2, Count.REFUSED: 2}
        await w.source().emit([record()])
        assert w.journal.counted["shop", Count.REFUSED] == 2


async def test_one_that_is_unwell_has_not_looked() -> None:
    """Seen to fail when idling counted as a look: a source that refuses us would have been fresh for ever."""
    async with world() as w:
        source, clock = w.source(push=False), w.intake.clock
        assert isinstance(clock, ManualClock)

        async def look() -> datetime | None:
            clock.time += timedelta(minutes=1)
            source.poke()
            await source.idle(clock.now() + timedelta(hours=1), "the next look")
            return source.looked

        looked = await look()
        assert looked == clock.now()
        source.unwell("401: the token is refused")
        assert await look() == looked
        source.unwell(None)
        assert await look() == clock.now()


async def test_a_connector_idles_until_its_time_or_until_it_is_poked() -> None:
    async with world() as w, anyio.create_task_group() as group:
        source = w.source(push=False)
        clock = w.intake.clock
        assert isinstance(clock, ManualClock)
        assert source.name == "shop"
        assert source.http is None
        group.start_soon(source.idle, clock.now() + timedelta(seconds=60), "next look at 10:01")
        await clock.sleeping.wait()
        assert clock.slept == [60.0]
        assert source.waiting_for == "next look at 10:01"
        source.poke()
        await anyio.wait_all_tasks_blocked()
        assert source.waiting_for is None
        source.poke()  # while it is at work: seen to be lost
        await source.idle(clock.now() + timedelta(seconds=60), "the next look")
        clock.released.set()
        await source.idle(clock.now() - timedelta(seconds=1), "overdue")
        assert source.waiting_for is None


async def test_ids_older_than_the_memory_are_forgotten_there() -> None:
    recent, later = Recent(size=4), Flight()
    for n in range(5):
        name, flight = name_of("s", str(n)), Flight()
        assert recent.depart(name, n, flight) is False
        assert recent.depart(name, n, later) is flight
        recent.land([(name, n)], flight, Seq(n))
    assert len(recent) <= 4
    assert recent.depart(name_of("s", "0"), 0, later) is False
    assert recent.depart(name_of("s", "4"), 4, later) is True
    assert recent.depart(name_of("s", "4"), 5, later) is False
    assert recent.depart(name_of("s4", ""), 4, later) is False


async def test_many_that_land_together_are_no_more_than_the_memory_holds() -> None:
    recent, flight = Recent(size=4), Flight()
    names = [name_of("s", str(n)) for n in range(9)]
    for n, name in enumerate(names):
        recent.depart(name, n, flight)
    recent.land(list(zip(names, range(9), strict=True)), flight, Seq(1))
    assert len(recent) <= 4
    assert [recent.depart(name, n, Flight()) for n, name in enumerate(names)] == [False] * 6 + [True] * 3


async def test_an_id_under_way_with_other_content_stays_the_first_ones() -> None:
    recent, name, first, second, later = Recent(size=4), name_of("s", "1"), Flight(), Flight(), Flight()
    assert recent.depart(name, 1, first) is False
    assert recent.depart(name, 2, second) is False
    assert recent.depart(name, 1, later) is first
    assert recent.depart(name, 2, later) is False
    recent.crash([(name, 2)], second, NotDurable("full"))
    assert recent.depart(name, 1, later) is first
    assert recent.depart(name, 3, first) is False
    assert (recent.depart(name, 1, later), recent.depart(name, 3, later)) == (False, first)


async def test_an_id_that_named_its_occurrence_briefly_is_on_its_way_again() -> None:
    recent, name, flight = Recent(size=4), name_of("s", "1"), Flight()
    recent.depart(name, 1, flight, brief=True)
    recent.land([(name, 1)], flight, Seq(1))
    assert recent.depart(name, 1, flight, brief=True) is False
    assert recent.depart(name, 1, Flight(), brief=True) is flight


async def test_appends_without_records_may_share_a_commit() -> None:
    async with world() as w, anyio.create_task_group() as group:
        w.journal.gate = anyio.Event()
        group.start_soon(w.source("first").emit, [record("0")])
        await w.journal.began.wait()
        group.start_soon(w.source("shop", push=False).emit, [record("1")])
        for n in range(3):
            group.start_soon(partial(w.source("shop", push=False).emit, [], state={b"cursor": str(n).encode()}))
        await anyio.wait_all_tasks_blocked()
        w.journal.gate.set()
    assert len(w.journal.commits[1]) == 4
    assert w.journal.state["shop", b"cursor"] == b"2"
    assert w.intake.queue.statistics().events == 0


async def test_somebody_applied_while_the_store_is_asked_about_others_is_no_stranger() -> None:
    async with world(guarded=frozenset({"guarded"})) as w:
        await w.source("shop").emit([record("1", email="new@example.com")])
        door = w.intake.door

        async def ask(pairs: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
            door.applied(Seq(1))
            return set()

        door._ask = ask
        events = [record("2", email="new@example.com"), record("3", email="who@example.com")]
        verdicts = await w.source("guarded", known_only=True).emit(events)
        assert verdicts == [Accepted("2"), Filtered("unknown")]


async def test_somebody_named_twice_stays_pending_until_the_last_is_applied() -> None:
    async with world(guarded=frozenset({"guarded"})) as w:
        await w.source("shop").emit([record("1", email="new@example.com"), record("2", email="new@example.com")])
        w.intake.door.applied(Seq(1))
        guarded = w.source("guarded", known_only=True)
        assert await guarded.emit([record("3", email="new@example.com")]) == [Accepted("3")]


async def test_the_door_asks_nothing_of_a_connector_that_takes_everybody() -> None:
    async with world(guarded=frozenset({"guarded"})) as w:
        assert await w.intake.door.unknown("shop", [w.journal.entries[0].event] if w.journal.entries else []) == set()


async def test_a_commit_is_bounded_and_the_rest_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdmd.intake.queue.COMMIT_EVENTS", 1)
    async with world() as w, anyio.create_task_group() as group:
        w.journal.gate = anyio.Event()
        group.start_soon(w.source("first").emit, [record("0")])
        await w.journal.began.wait()
        for n in range(3):
            group.start_soon(w.source("flood", push=False).emit, [record(f"f{n}")])
        await anyio.wait_all_tasks_blocked()
        w.journal.gate.set()
    assert [len(commit) for commit in w.journal.commits] == [1, 1, 1, 1]


async def test_counts_that_cannot_be_read_after_a_failed_commit_do_not_end_the_committing() -> None:
    async with world() as w:
        w.journal.failing = w.journal.keep_when_failing = True
        with pytest.raises(NotDurable):
            await w.source().emit([record("1")])
        w.journal.failing, w.journal.unreadable = False, True
        assert await w.source().emit([record("2")]) == [Accepted("2")]
        assert await w.source().emit([record("3")]) == [Accepted("3")]
        w.journal.unreadable = False
        await w.source().emit([record("4")])
        assert w.counts() == {Count.RECEIVED: 5, Count.REFUSED: 1, Count.ACCEPTED: 4}


@pytest.mark.parametrize("state", [{"key": b"1"}, {b"key": "1"}, {b"key": 2**70}])
async def test_state_that_no_journal_keeps_is_refused_before_it_is_in_anybodys_commit(state: Any) -> None:
    async with world() as w:
        with pytest.raises(TypeError, match="bytes"):
            await w.source().emit([record()], state=state)
        assert w.journal.commits == []


@pytest.mark.parametrize("received", ["2026-11-24T12:00:00Z", 5, None, datetime(2026, 11, 24)])  # noqa: DTZ001 - the fault
async def test_a_receipt_that_is_no_moment_is_refused_before_it_is_journaled(received: Any) -> None:
    async with world() as w:
        with pytest.raises(TypeError, match="received"):
            await w.source().emit([Record(value={}, received=received, fallback_id="f")])
        assert w.journal.commits == []


async def test_large_state_takes_its_place_in_the_queue_too() -> None:
    async with world(max_bytes=100) as w, anyio.create_task_group() as group:
        w.journal.gate = anyio.Event()
        group.start_soon(partial(w.source().emit, [record()], state={b"ledger": b"x" * 500}))
        await w.journal.began.wait()
        assert w.intake.queue.statistics().bytes > 500
        w.journal.gate.set()


async def test_an_id_that_names_only_briefly_is_the_stores_to_judge() -> None:
    async with world() as w:
        mapper = Mapper("shop", ConnectorFrame(type="webhook"), raw=True)
        source = IntakeSource("shop", intake=w.intake, mapper=mapper, http=None, push=True)  # type: ignore[arg-type]
        same = Record(value=1, received=ManualClock().now(), fallback_id="digest", brief=True)
        for _ in range(2):
            assert await source.emit([same]) == [Accepted("digest")]
        assert len(w.journal.entries) == 2
        assert w.counts() == {Count.RECEIVED: 2, Count.ACCEPTED: 2}


async def test_a_budget_is_asked_for_in_the_connectors_name() -> None:
    async with world() as w:
        source = w.source()
        assert source.budget("https://crm.example:443", "key", []) == ("shop", "https://crm.example:443", "key", ())


async def test_a_connector_that_says_it_is_unwell_shows_no_life_until_it_says_that_is_over() -> None:
    async with world() as w:
        lives: list[str | None] = []
        source = IntakeSource(
            "shop", intake=w.intake, mapper=Mapper("shop", ConnectorFrame(type="t"), raw=True), http=None, push=False,
            alive=lambda: lives.append("alive"), troubled=lives.append,
        )  # type: ignore[arg-type]  # fmt: skip
        await source.emit([record()])
        source.unwell("no credential")
        source.unwell("no credential")
        await source.emit([record("2")])
        source.unwell(None)
        await source.emit([record("3")])
        assert lives == ["alive", "no credential", None, "alive"]


async def test_a_connector_is_told_what_senders_write_before_its_path() -> None:
    async with world() as w:
        w.intake = msgspec.structs.replace(w.intake, public_url="https://in.example")
        assert w.source().public_url == "https://in.example"


class Opening:
    """A client that opens connections: what it was asked for is its answer."""

    async def connect(self, host: str, port: int, *, timeout: float) -> Any:
        return (host, port, timeout)


async def test_a_source_lends_a_folder_its_room_connections_and_a_place_to_say_what_it_does(tmp_path: Path) -> None:
    async with world() as daemon:
        intake = msgspec.structs.replace(daemon.intake, scratch=tmp_path, room=lambda: 17)
        mapper = Mapper("sup", ConnectorFrame(type="sftp"), raw=True)
        http: Any = Opening()
        source = IntakeSource("sup", intake=intake, mapper=mapper, http=http, push=False, freshness=60.0)
        assert (source.freshness, source.scratch, source.room()) == (60.0, tmp_path / "sup", 17)
        assert await source.connect("sftp.example", 22, timeout=5) == ("sftp.example", 22, 5)
        source.working("a\x1b[2J.csv: fetching")
        assert source.working_on == r"a\x1b[2J.csv: fetching"
        source.working(None)
        assert source.working_on is None


@pytest.mark.parametrize("way", [Taking], indirect=True)
async def test_what_comes_while_a_commit_runs_is_one_append_of_the_next() -> None:
    async with world() as w, anyio.create_task_group() as group:
        source = w.source()
        w.journal.gate = anyio.Event()
        group.start_soon(source.emit, [record("0")])
        await w.journal.began.wait()
        for n in range(1, 6):
            group.start_soon(partial(source.emit, [record(str(n)), record(str(n))], state={b"%d" % n: b"x"}))
        group.start_soon(w.source("other").emit, [record("9")])
        await anyio.wait_all_tasks_blocked()
        assert w.intake.queue.statistics().events == 7
        w.journal.gate.set()
    assert [[append.connector for append in commit] for commit in w.journal.commits] == [["shop"], ["shop", "other"]]
    assert [entry.event.id for entry in w.journal.commits[1][0].entries] == ["1", "2", "3", "4", "5"]
    assert len(w.journal.state) == 5
    assert w.counts() == {Count.RECEIVED: 11, Count.ACCEPTED: 11, Count.REPEATS: 5}
    assert w.intake.queue.statistics().events == 0


@pytest.mark.parametrize("way", [Taking], indirect=True)
async def test_a_request_that_has_to_wait_leaves_nothing_of_itself_to_those_that_it_was_gathered_with() -> None:
    async with world(max_events=3) as w, anyio.create_task_group() as group:
        source, outcomes = w.source(), list[object]()
        w.journal.gate = anyio.Event()
        group.start_soon(source.emit, [record("0")])
        await w.journal.began.wait()

        async def emit(*records: Record) -> None:
            outcomes.append(await source.emit(list(records)))

        w.intake.queue._max_events = 6
        group.start_soon(emit, record("1"))
        await anyio.wait_all_tasks_blocked()
        group.start_soon(emit, record("2"), record("0"))  # the second is in the commit that runs
        group.start_soon(emit, record("3"), record("4"), record("5"))  # three more have no place
        await anyio.wait_all_tasks_blocked()
        assert w.intake.queue.statistics().events == 3
        w.journal.gate.set()
    assert len(outcomes) == 3
    assert sorted(entry.event.id for entry in w.journal.entries) == ["0", "1", "2", "3", "4", "5"]
    assert w.counts() == {Count.RECEIVED: 7, Count.ACCEPTED: 7, Count.REPEATS: 1}


@pytest.mark.parametrize("way", [Taking], indirect=True)
async def test_a_large_gathering_is_closed_and_another_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdmd.intake.parcels._PARCEL_EVENTS", 2)
    async with world() as w, anyio.create_task_group() as group:
        source = w.source()
        w.journal.gate = anyio.Event()
        group.start_soon(source.emit, [record("0")])
        await w.journal.began.wait()
        for n in range(1, 6):
            group.start_soon(source.emit, [record(str(n))])
        await anyio.wait_all_tasks_blocked()
        w.journal.gate.set()
    assert [[len(append.entries) for append in commit] for commit in w.journal.commits] == [[1], [2, 2, 1]]
    assert w.counts() == {Count.RECEIVED: 6, Count.ACCEPTED: 6}


async def test_a_mapping_that_breaks_harms_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    async with world() as w, anyio.create_task_group() as group:
        source = w.source()

        def broken(name: str, id: str) -> Any:
            if id == "bad":
                raise ValueError(id)
            return name_of(name, id)

        monkeypatch.setattr("cdmd.intake.way_in.name_of", broken)
        w.journal.gate = anyio.Event()
        group.start_soon(source.emit, [record("0")])
        await w.journal.began.wait()
        group.start_soon(source.emit, [record("1")])
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(ValueError, match="bad"):
            await source.emit([record("2"), record("bad")])
        w.journal.gate.set()
        assert await source.emit([record("2")]) == [Accepted("2")], "what was left of the other is not under way"
    assert [entry.event.id for entry in w.journal.entries] == ["0", "1", "2"]
    assert w.counts() == {Count.RECEIVED: 3, Count.ACCEPTED: 3}


async def test_all_who_bring_what_is_being_committed_share_its_fate() -> None:
    async with world() as w, anyio.create_task_group() as group:
        source, outcomes = w.source(), list[list[Verdict]]()

        async def emit() -> None:
            outcomes.append(await source.emit([record("1")]))

        w.journal.gate = anyio.Event()
        group.start_soon(emit)
        await w.journal.began.wait()
        for _ in range(3):
            group.start_soon(emit)
        await anyio.wait_all_tasks_blocked()
        assert outcomes == []
        w.journal.gate.set()
    assert outcomes == [[Accepted("1")]] * 4
    assert [entry.event.id for entry in w.journal.entries] == ["1"]
    assert w.counts() == {Count.RECEIVED: 4, Count.ACCEPTED: 4, Count.REPEATS: 3}


async def test_nothing_of_somebody_suppressed_reaches_the_journal_and_the_sender_is_not_told() -> None:
    async with world() as w:
        w.screen.suppress("joe@example.com")
        verdicts = await w.source().emit([record("1"), record("2", email="ann@example.com")])
        assert verdicts == [Accepted("1"), Accepted("2")]
        assert [entry.event.id for entry in w.journal.entries] == ["2"]
        assert await w.source().emit([record("3")]) == [Accepted("3")]
        assert await w.source(push=False).emit([record("4")]) == [Filtered("suppressed")], "one that fetches remembers nothing"
        assert w.counts() == {Count.RECEIVED: 4, Count.ACCEPTED: 4, Count.SUPPRESSED: 3}


async def test_what_is_not_wanted_is_filtered_whoever_it_is_about() -> None:
    async with world() as w:
        w.screen.suppress("joe@example.com")
        assert await w.source(accept=("refund.*",)).emit([record()]) == [Filtered("accept")]


async def test_who_is_suppressed_while_an_event_waits_for_its_commit_leaves_only_its_place() -> None:
    async with world() as w, anyio.create_task_group() as group:
        w.screen.suppress("nobody@example.com")
        w.journal.gate = anyio.Event()

        async def emit(id: str, email: str) -> None:
            assert await w.source().emit([record(id, email=email)]) == [Accepted(id)]

        group.start_soon(emit, "1", "ann@example.com")
        await w.journal.began.wait()
        group.start_soon(emit, "2", "joe@example.com")
        group.start_soon(emit, "3", "ann@example.com")
        await anyio.wait_all_tasks_blocked()
        w.screen.suppress("joe@example.com")
        w.journal.gate.set()
    kept = sorted((entry.event.id, entry.fault.code if entry.fault else "") for entry in w.journal.entries)
    assert kept == [("", "erased"), ("1", ""), ("3", "")]
    assert "joe@example.com" not in str(w.journal.commits)
    encoded = b"".join(body for commit in w.journal.commits for append in commit for body in append.encoded)
    assert b"joe@" not in encoded
    assert b"ann@" in encoded


async def test_nothing_is_acknowledged_while_the_suppression_list_cannot_be_read() -> None:
    async with world() as w:
        w.screen.suppress("joe@example.com")
        w.screen.unread = True
        with pytest.raises(Overloaded):
            await w.source().emit([record()])
        with pytest.raises(Overloaded):
            await w.source(push=False).emit([record()])


@pytest.mark.parametrize("way", [IntakeSource], indirect=True)
async def test_what_arrives_together_is_one_append_and_each_gets_its_own_verdicts() -> None:
    async with world() as w:
        several = [Sending([record(str(n)) for n in range(first, first + 2)], {b"%d" % first: b"x"}) for first in (1, 3, 3)]
        assert w.source().take(several) == ()
        assert [await one.outcome for one in several] == [[Accepted("1"), Accepted("2")]] + [[Accepted("3"), Accepted("4")]] * 2
        assert [len(commit) for commit in w.journal.commits] == [1]
        assert w.counts() == {Count.RECEIVED: 6, Count.ACCEPTED: 6, Count.REPEATS: 2}
        assert w.journal.state == {("shop", b"1"): b"x", ("shop", b"3"): b"x"}
        assert w.intake.queue.statistics().bytes == w.intake.queue.statistics().events == 0


@pytest.mark.parametrize("way", [IntakeSource], indirect=True)
async def test_of_those_that_arrive_together_only_what_has_to_wait_is_handed_back() -> None:
    async with world(max_events=4) as w:
        source, w.journal.gate = w.source(), anyio.Event()
        first = Sending([record("1")])
        assert source.take([first]) == ()
        await w.journal.began.wait()
        repeat, fits, does_not = (
            Sending([record("2"), record("1")]),
            Sending([record("3")]),
            Sending([record("4")], {b"k": b""}),
        )
        assert list(source.take([repeat, fits, does_not])) == [repeat, does_not]
        statistics = w.intake.queue.statistics()
        assert statistics.events == 2
        w.journal.gate.set()
        assert await first.outcome + await fits.outcome == [Accepted("1"), Accepted("3")]
        assert [entry.event.id for entry in w.journal.entries] == ["1", "3"]
        assert await source.emit(repeat.wanted.records) == [Accepted("2"), Accepted("1")]
        assert w.counts() == {Count.RECEIVED: 4, Count.ACCEPTED: 4, Count.REPEATS: 1}
        assert w.intake.queue.statistics().bytes == 0


@pytest.mark.parametrize("way", [IntakeSource], indirect=True)
async def test_those_that_arrive_together_are_parted_where_they_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdmd.intake.parcels._PARCEL_EVENTS", 2)
    async with world() as w:
        source, w.journal.gate = w.source(), anyio.Event()
        several = [Sending([record(str(n))]) for n in range(5)]
        assert source.take(several) == ()
        w.journal.gate.set()
        assert [await one.outcome for one in several] == [[Accepted(str(n))] for n in range(5)]
        assert [len(append.entries) for commit in w.journal.commits for append in commit] == [2, 2, 1]


@pytest.mark.parametrize("way", [IntakeSource], indirect=True)
async def test_a_fault_among_those_that_arrive_together_leaves_nothing_of_any_of_them() -> None:
    async with world() as w:
        bad = Sending([msgspec.structs.replace(record("2"), received=None)])
        with pytest.raises(TypeError):
            w.source().take([Sending([record("1")]), bad])
        await w.intake.queue.flush()
        assert w.journal.entries == []
        assert len(w.intake.recent) == 0


async def test_the_next_commit_is_under_way_before_anybody_hears_of_the_last() -> None:
    journal = EagerJournal()
    journal.gate = anyio.Event()
    queue, heard = queue_before(journal), list[int]()

    def settle(first: Seq | None, error: Overloaded | None) -> None:
        heard.append(len(journal.begun))

    async def emit(settle: Any) -> None:
        append = Append(connector="shop", entries=[Entry(Event(id="1", source="shop", type="x", received=ManualClock().now()))])
        await queue.submit(append, patience=None, settle=settle)

    async with anyio.create_task_group() as group:
        await group.start(queue.run)
        async with anyio.create_task_group() as senders:
            senders.start_soon(emit, settle)
            await anyio.wait_all_tasks_blocked()
            senders.start_soon(emit, settle)
            await anyio.wait_all_tasks_blocked()
            journal.gate.set()
        group.cancel_scope.cancel()
    assert heard == [2, 2]


async def test_after_a_failed_commit_what_the_journal_holds_is_asked_for_before_the_next_however_much_is_queued() -> None:
    async with world() as w:
        order = list[str]()

        def append(appends: Sequence[Append]) -> Coroutine[Any, Any, Seq]:
            order.append("append")
            return MemoryJournal.append(w.journal, appends)

        async def counts() -> dict[tuple[str, str], int]:
            order.append("counts")
            return dict(w.journal.counted)

        w.journal.failing = w.journal.keep_when_failing = True
        with pytest.raises(NotDurable):
            await w.source().emit([record("1")])
        w.journal.failing, w.journal.gate = False, anyio.Event()
        w.journal.append, w.journal.counts = append, counts  # type: ignore[method-assign]
        async with anyio.create_task_group() as group:
            for n in range(2, 5):
                group.start_soon(w.source().emit, [record(str(n))])
                await anyio.wait_all_tasks_blocked()
            w.journal.gate.set()
        assert order == ["append", "counts", "append"]
        assert w.counts() == {Count.RECEIVED: 5, Count.REFUSED: 1, Count.ACCEPTED: 4}


async def test_a_source_that_was_closed_takes_nothing_either_way() -> None:
    async with world() as w:
        source, one = w.source(), Sending([record("1")])
        source.closed = True
        assert source.take([one]) == [one]
        with pytest.raises(Overloaded, match="stopped"):
            await source.emit(one.wanted.records)
        assert w.journal.entries == []


@pytest.mark.parametrize("way", [IntakeSource], indirect=True)
async def test_one_of_several_that_cannot_be_screened_leaves_nothing_of_any_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    async with world() as w:
        w.screen.suppress("joe@example.com")
        screened = w.screen.screened

        def unread_for_the_second(entry: Entry) -> Entry | None:
            w.screen.unread = entry.event.id == "2"
            return screened(entry)

        monkeypatch.setattr(w.screen, "screened", unread_for_the_second)
        source, first, second = w.source(), *(Sending([record(str(n), email="ann@example.com")]) for n in (1, 2))
        with pytest.raises(Overloaded):
            source.take([first, second])
        assert source.take([first]) == ()
        assert await first.outcome == [Accepted("1")]
        assert [entry.event.id for entry in w.journal.entries] == ["1"]
        assert w.counts() == {Count.RECEIVED: 1, Count.ACCEPTED: 1}


async def test_what_is_fetched_says_whose_it_is_and_is_not_taken_of_one_that_may_not_any_more() -> None:
    async with world() as w:
        source = w.source(push=False)
        source.fence = 7
        assert source.fence == 7
        await source.emit([record("1")])
        assert [one.fence for one in w.journal.commits[-1]] == [7]
        source.may = lambda: False
        with pytest.raises(Overloaded, match="was stopped"):
            await source.emit([record("2")])
        assert len(w.journal.entries) == 1


async def test_one_that_may_not_look_any_more_when_it_wakes_waits_for_its_end() -> None:
    async with world() as w:
        source, clock, may = w.source(push=False), w.intake.clock, [False, False, True]
        source.may = lambda: may.pop(0)
        assert isinstance(clock, ManualClock)
        clock.released.set()
        await source.idle(clock.now() - timedelta(seconds=1), "overdue")
        assert (may, clock.slept) == ([], [0.0, 0.5, 0.5])
