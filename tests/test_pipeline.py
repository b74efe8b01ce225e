import gc
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

import anyio
import anyio.lowlevel
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from cdmd.batches.extending import Batch, Passage
from cdmd.batches.preparing import prepared
from cdmd.batches.sharing import Share
from cdmd.batches.writing import Turn
from cdmd.config.schema import IdentifierSettings, IdentitySettings, IndicatorSettings
from cdmd.control.protocol import STAGES
from cdmd.errors import Drop, NotDurable, NotOurs, Reject, RetryLater
from cdmd.extensions import Extensions, Limits, Registered, extension
from cdmd.extensions.dispatch import Visit
from cdmd.identity.identifiers import Kinds
from cdmd.models import Apply, Count, Entry, Event, Fault, Item, Journaled, SeenVerdict, Seq, to_micros, tombstone
from cdmd.pipeline import ABREAST, Pipeline, PipelineSettings, Tail
from cdmd.profiles.audiences import Audiences
from cdmd.profiles.projection import Projection
from tests.batches.doubles import START, Digests, ManualClock, MemoryJournal, MemoryStore, accounted, event

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def quiet() -> None:
    logging.getLogger().setLevel(logging.CRITICAL)


class Daemon:
    """The pipeline between a journal and a store that survive it."""

    def __init__(self, journal=None, store=None) -> None:
        self.journal, self.store, self.clock = journal or MemoryJournal(), store or MemoryStore(), ManualClock()
        self.remapped: Callable[[Entry], Event | Fault | None] = lambda entry: entry.fault
        self.tail = Tail()
        self.digests = Digests()
        self.lengthened: list[bool] = []
        self.used: Callable[[], float] = time.process_time

    @asynccontextmanager
    async def running(
        self, *extensions, limits=None, known_only=(), projection=None, audiences=None, screen=None, shares=None, **options
    ) -> AsyncIterator[Pipeline]:
        options.setdefault("look", 0.005)
        pipeline = Pipeline(
            self.journal,
            self.store,
            Extensions([Registered("p", one, object()) for one in extensions], clock=self.clock, limits=limits,
                       chance=lambda: 0.0),
            kinds=Kinds(IdentitySettings()),
            audiences=audiences or Audiences({}, projection or Projection({"paid": IndicatorSettings(on=("order.paid",))})),
            digester=self.digests,
            remap=lambda entry: self.remapped(entry),  # noqa: PLW0108 - a test changes it later
            clock=self.clock,
            screen=screen,
            known_only=frozenset(known_only),
            settings=PipelineSettings(**options),
            tail=self.tail,
            lengthen=self.lengthened.append,
            used=self.used,
            shares=shares,
        )  # fmt: skip
        with anyio.fail_after(30):
            async with anyio.create_task_group() as tasks:
                await tasks.start(lambda *, task_status: pipeline.run(task_status=task_status))
                yield pipeline
                tasks.cancel_scope.cancel()

    async def take(self, *entries, extensions=(), **options) -> None:
        """Journal these, run until all are accounted for, and stop."""
        self.journal.add(*entries)
        async with self.running(*extensions, **options):
            await self.store.until(lambda: self.store.position == self.journal.head)

    def verdict(self, id: str, source: str = "shop") -> SeenVerdict:
        return SeenVerdict(self.store.remembered[Digests().occurrence(source, id)].verdict)


def on(kind: str, function, **options):
    return extension(on=kind, **options)(function)


def raising(error):
    async def raises(event, context):
        raise error

    return raises


class HeldStore(MemoryStore):
    """Its transactions end when they are let go."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.go, self.begins = anyio.Event(), anyio.Event(), 0

    async def apply(self, wanted, decide):
        self.begun.set()
        self.begins += not self.go.is_set()
        await self.go.wait()
        return await super().apply(wanted, decide)


class Noting(Digests):
    """Remembers which occurrences it was asked for, in order."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def occurrence(self, source, id):
        self.asked.append(id)
        return super().occurrence(source, id)


class SlowStore(MemoryStore):
    """Its transactions take a second of the daemon's time."""

    clock: ManualClock

    async def apply(self, wanted, decide):
        changes = await super().apply(wanted, decide)
        self.clock.advance(1)
        return changes


# ---- what becomes of an event --------------------------------------------------------------------------------------


async def test_an_event_becomes_an_activity_of_a_profile_with_its_traits_and_indicators():
    daemon = Daemon()
    await daemon.take(event("1", traits={"first_name": "Joe"}), event("2", identifiers={"email": "JOE@example.com "}))
    (state,) = daemon.store.profiles.values()
    assert state.traits["first_name"].value == "Joe"
    assert state.indicators["paid"].count == 2
    assert [(one.profile, one.rule) for one in daemon.store.activities.values()] == [(1, "new"), (1, "matched email")]
    assert daemon.store.sums() == {Count.APPLIED: 2}


async def test_an_event_without_a_usable_identifier_is_kept_without_a_profile_and_counted():
    daemon = Daemon()
    await daemon.take(event(identifiers={"shoe_size": "43"}))
    assert daemon.store.activities[1].profile is None
    assert daemon.store.sums() == {Count.APPLIED: 1, Count.UNATTRIBUTED: 1}


async def test_a_repeat_has_no_second_effect_in_the_same_batch_or_a_later_one():
    daemon = Daemon()
    await daemon.take(event("1"), event("1"))
    await daemon.take(event("1"))
    assert list(daemon.store.activities) == [1]
    assert daemon.store.profiles[1].indicators["paid"].count == 1
    assert daemon.store.sums() == {Count.APPLIED: 1, Count.REPEATS: 2}


async def test_the_same_id_from_another_source_is_another_event():
    daemon = Daemon()
    await daemon.take(event("1"), event("1", source="crm.contacts"))
    assert len(daemon.store.activities) == 2
    assert daemon.store.sums("crm") == {Count.APPLIED: 1}


async def test_other_content_under_the_same_id_is_a_conflict():
    daemon = Daemon()
    await daemon.take(event("1", data={"total": 1}), event("1", data={"total": 2}))
    assert daemon.store.sums() == {Count.APPLIED: 1, Count.REPEATS: 1, Count.ID_CONFLICTS: 1}


async def test_a_time_that_was_adjusted_at_each_delivery_is_no_other_content():
    daemon, late = Daemon(), START - timedelta(seconds=3)
    await daemon.take(*(Entry(event("1", time=time), adjusted=True) for time in (START, late)))
    assert daemon.store.activities[1].event.time == START
    assert daemon.store.sums() == {Count.APPLIED: 1, Count.REPEATS: 1}


async def test_a_time_that_was_adjusted_is_no_other_content_of_what_an_extension_saw_either():
    async def more(event, context):
        return event.enriched(more=1)

    daemon = Daemon()
    deliveries = [Entry(event("1", time=START + timedelta(seconds=second)), adjusted=True) for second in (0, 7)]
    await daemon.take(*deliveries, extensions=[on("order.*", more)])
    assert daemon.store.sums() == {Count.APPLIED: 1, Count.REPEATS: 1}


def _brief(id: str, after: timedelta, **fields) -> Entry:
    return Entry(event(id, received=START + after, **fields), brief=True)


async def test_an_id_that_is_only_a_digest_of_what_was_sent_is_a_repeat_for_72_hours_and_then_another_event():
    soon, late, later = timedelta(hours=71), timedelta(hours=73), timedelta(hours=145)
    daemon = Daemon()
    await daemon.take(_brief("d", timedelta(0)), _brief("d", soon))
    await daemon.take(_brief("d", late), _brief("d", later - timedelta(hours=1)))
    assert list(daemon.store.activities) == [1, 3]
    assert daemon.store.sums() == {Count.APPLIED: 2, Count.REPEATS: 2}
    await daemon.take(_brief("d", later), _brief("d", later))
    assert list(daemon.store.activities) == [1, 3, 5]


async def test_what_counts_as_another_event_goes_through_its_extensions():
    async def extends(event, context):
        return event.enriched(done=True)

    daemon = Daemon()
    await daemon.take(_brief("d", timedelta(0)))
    await daemon.take(_brief("d", timedelta(hours=73)), extensions=[on("*", extends)])
    assert daemon.store.activities[2].event.data == {"done": True}


async def test_a_held_event_of_a_brief_id_keeps_its_moment():
    daemon = Daemon()
    await daemon.take(_brief("d", timedelta(0)), extensions=[on("*", raising(RetryLater(1)))])
    daemon.clock.advance(2)
    async with daemon.running():
        await daemon.store.until(lambda: daemon.store.activities)
    await daemon.take(_brief("d", timedelta(hours=71)), _brief("d", timedelta(hours=73)))
    assert list(daemon.store.activities) == [1, 3]


async def test_a_record_that_could_not_be_mapped_is_one_dead_letter_however_often_it_is_delivered():
    def unmapped(raw: bytes) -> Entry:
        return Entry(event("7", type=""), Fault("null", "x"), raw)

    daemon = Daemon()
    await daemon.take(unmapped(b"one"), unmapped(b"one"), event("7"), unmapped(b"two"), unmapped(b""), unmapped(b""))
    await daemon.take(unmapped(b"one"))
    assert list(daemon.store.dead) == [1, 4, 5, 6]
    assert daemon.store.sums() == {Count.APPLIED: 1, Count.DEAD: 4, Count.REPEATS: 2}


async def test_what_an_extension_added_makes_no_conflict_of_a_repeat():
    async def adds(event, context):
        return event.enriched(added=True)

    daemon = Daemon()
    await daemon.take(event("1"), extensions=[on("*", adds)])
    await daemon.take(event("1"), extensions=[on("*", adds)])
    assert daemon.store.sums() == {Count.APPLIED: 1, Count.REPEATS: 1}
    assert daemon.store.activities[1].event.data == {"added": True}


@pytest.mark.parametrize(
    ("time", "effective", "ahead"),
    [
        (None, START, False),
        (START - timedelta(days=1), START - timedelta(days=1), False),
        (START + timedelta(minutes=5), START + timedelta(minutes=5), False),
        (START + timedelta(minutes=5, microseconds=1), START, True),
    ],
)
async def test_a_time_more_than_five_minutes_ahead_counts_as_the_receipt(time, effective, ahead):
    daemon = Daemon()
    await daemon.take(event("1", time=time))
    activity = daemon.store.activities[1]
    assert (activity.time, activity.clock_ahead, activity.event.time) == (to_micros(effective), ahead, time)
    assert daemon.store.sums().get(Count.CLOCK_AHEAD, 0) == ahead


async def test_known_only_keeps_only_events_about_known_customers():
    daemon = Daemon()
    await daemon.take(
        event("1", source="panel", identifiers={"email": "ann@example.com"}),
        event("2", source="shop", identifiers={"email": "ann@example.com"}),
        event("3", source="panel", identifiers={"email": "ann@example.com"}),
        event("4", source="panel", identifiers={}),
        known_only=["panel"],
    )
    assert list(daemon.store.activities) == [2, 3]
    assert daemon.store.sums("panel") == {Count.APPLIED: 1, Count.FILTERED: 2}
    assert daemon.verdict("1", "panel") == SeenVerdict.FILTERED
    assert len(daemon.store.profiles) == 1


async def test_a_record_that_could_not_be_mapped_becomes_a_dead_letter():
    daemon = Daemon()
    fault = Fault("no_id", "event.id is null")
    await daemon.take(Entry(event("", type=""), fault, b"{}"), Entry(event("", type=""), fault, b"[]"))
    found = [(one.stage, one.fault, one.entry.raw) for one in daemon.store.dead.values()]
    assert found == [("map", fault, b"{}"), ("map", fault, b"[]")]
    assert daemon.store.sums() == {Count.DEAD: 2}


async def test_reject_makes_a_dead_letter_and_drop_filters():
    daemon = Daemon()
    rules = [on("bad", raising(Reject("no serial"))), on("spam", raising(Drop("spam")))]
    await daemon.take(event("1", type="bad"), event("2", type="spam"), extensions=rules)
    assert daemon.store.dead[1].stage == "extend"
    assert (daemon.verdict("1"), daemon.verdict("2")) == (SeenVerdict.DEAD, SeenVerdict.FILTERED)
    assert daemon.store.sums() == {Count.DEAD: 1, Count.FILTERED: 1}


# ---- extensions, parking -------------------------------------------------------------------------------------------


async def test_a_repeat_does_not_call_an_extension_again():
    called = []

    async def counts(event, context):
        called.append(event.id)

    daemon = Daemon()
    await daemon.take(event("1"), event("1"), extensions=[on("*", counts)])
    await daemon.take(event("1"), extensions=[on("*", counts)])
    assert called == ["1"]


async def test_if_repeats_cannot_be_looked_up_the_extension_is_called_and_the_store_decides():
    daemon = Daemon()
    await daemon.take(event("1"))
    daemon.store.seen_fails = True
    await daemon.take(event("1"), extensions=[on("*", raising(Drop("x")))])
    assert daemon.store.sums() == {Count.APPLIED: 1, Count.REPEATS: 1}


async def test_a_held_event_waits_in_parked_and_comes_back_when_it_is_due():
    open_again = False

    async def closed(event, context):
        if not open_again:
            raise RetryLater(60, "closed")
        return event.enriched(terms=2)

    daemon = Daemon()
    daemon.journal.add(event("1"))
    async with daemon.running(on("*", closed)):
        await daemon.store.until(lambda: daemon.store.waiting)
        assert daemon.store.position == 1
        assert daemon.verdict("1") == SeenVerdict.PARKED
        assert daemon.store.sums() == {Count.PARKED: 1}
        open_again = True
        daemon.clock.advance(61)
        await daemon.store.until(lambda: not daemon.store.waiting)
    assert daemon.store.activities[1].event.data == {"terms": 2}
    assert daemon.store.sums() == {Count.APPLIED: 1}
    assert daemon.verdict("1") == SeenVerdict.APPLIED


async def test_an_event_that_is_held_again_stays_parked_once_with_more_attempts():
    daemon = Daemon()
    daemon.journal.add(event("1"))
    async with daemon.running(on("*", raising(OSError()))):
        await daemon.store.until(lambda: daemon.store.waiting)
        daemon.clock.advance(5)
        await daemon.store.until(lambda: daemon.store.waiting[1].attempts == 2)
    assert daemon.store.sums() == {Count.PARKED: 1}
    assert daemon.store.waiting[1].since == to_micros(START)


async def test_no_event_waits_for_anothers_extension_which_runs_on_to_its_end():
    gate = anyio.Event()

    async def slow(event, context):
        await gate.wait()
        return event.enriched(slow=True)

    daemon = Daemon()
    daemon.journal.add(event("1", type="tv"), event("2"))
    async with daemon.running(on("tv", slow, timeout=10.0)) as pipeline:
        assert PipelineSettings().patience == 0.25, "as the plugins' guide says"
        await daemon.store.until(lambda: 2 in daemon.store.activities)
        assert list(daemon.store.waiting) == [1]
        assert pipeline.statistics().parked_running == 1
        assert daemon.store.waiting[1].due > to_micros(START + timedelta(seconds=10)), "not called twice meanwhile"
        gate.set()
        await daemon.store.until(lambda: 1 in daemon.store.activities)
        assert pipeline.statistics().parked_running == 0
    assert daemon.store.activities[1].event.data == {"slow": True}
    assert daemon.store.waiting == {}
    assert daemon.store.sums() == {Count.APPLIED: 2}


async def test_what_only_waits_for_its_turn_is_parked_and_called_later():
    gate, called = anyio.Event(), []

    async def slow(event, context):
        called.append(event.id)
        await gate.wait()

    daemon = Daemon()
    daemon.journal.add(*(event(str(number), type="tv") for number in range(6)))
    async with daemon.running(on("tv", slow, timeout=10.0), limits=Limits(calls=2), patience=0.05, look=9) as pipeline:
        await daemon.store.until(lambda: len(daemon.store.waiting) == 6)
        assert len(called) == 2
        assert pipeline.statistics().parked_running == 2
        gate.set()
        await daemon.store.until(lambda: not daemon.store.waiting)
    assert sorted(called) == ["0", "1", "2", "3", "4", "5"]
    assert daemon.store.sums() == {Count.APPLIED: 6}


async def test_an_event_is_not_parked_because_the_store_was_slow_before_its_extension_was_called():
    """Neither where repeats are looked up in it, nor where there is no room until it has written."""

    class Frozen(MemoryStore):
        async def seen(self, digests):
            daemon.clock.advance(60)
            return await super().seen(digests)

        async def apply(self, wanted, decide):
            daemon.clock.advance(60)
            return await super().apply(wanted, decide)

    async def several_steps(event, context):
        for _ in range(20):
            await anyio.lowlevel.checkpoint()

    daemon = Daemon(store=Frozen())
    rows = [event(str(number)) for number in range(20)]
    await daemon.take(*rows, extensions=[on("order.*", several_steps)], batch=2, backlog_batch=2, window=1, patience=30)
    assert daemon.store.sums() == {Count.APPLIED: 20}


async def test_an_event_behind_a_full_window_waits_for_others_extensions_no_longer_than_one_in_it():
    """What it waited in front of the window counts: here nearly all of the patience, which would last as long again."""

    async def slow(event, context):
        for _ in range(20):
            await anyio.lowlevel.checkpoint()
        daemon.clock.advance(299.9)

    async def never(event, context):
        await anyio.sleep_forever()

    daemon = Daemon()
    daemon.journal.add(event("1", type="film"), event("2", type="tv"))
    rules = [on("film", slow, timeout=900.0), on("tv", never, timeout=900.0)]
    async with daemon.running(*rules, batch=1, backlog_batch=1, window=1, patience=300):
        await daemon.store.until(lambda: 2 in daemon.store.waiting)
    assert list(daemon.store.activities) == [1]


async def test_no_event_that_extensions_saw_or_never_came_to_see_stays_in_memory_until_the_collector_looks():
    gate = anyio.Event()

    async def slow(event, context):
        await gate.wait()
        return event.enriched(slow=True)

    daemon = Daemon()
    daemon.journal.add(*(event(str(number), type="tv") for number in range(20)), event("21"))
    before = {id(one) for one in gc.get_objects() if isinstance(one, (Passage, Visit))}
    gc.disable()
    try:
        async with daemon.running(on("tv", slow, timeout=10.0), limits=Limits(calls=2)):
            await daemon.store.until(lambda: len(daemon.store.waiting) == 20)
            gate.set()
            daemon.clock.advance(60)
            await daemon.store.until(lambda: not daemon.store.waiting)
            for number in range(30, 33):  # the last batches are named by the tasks' frames
                daemon.journal.add(event(str(number)))
                await daemon.store.until(lambda: daemon.store.position == daemon.journal.head)
                await anyio.wait_all_tasks_blocked()
            left = [one for one in gc.get_objects() if isinstance(one, (Passage, Visit)) and id(one) not in before]
            assert len(left) <= 5, "the newest ones"
    finally:
        gc.enable()


async def test_the_store_is_told_of_every_batch_that_an_extension_has_a_say_in_or_may_still_have():
    async def thinks(event, context):
        return event.enriched(thought=True)

    daemon = Daemon()
    await daemon.take(event("1"), event("2", type="order.held"))
    assert not any(daemon.store.swayed)
    daemon.store.swayed.clear()
    await daemon.take(event("3", type="tv"), event("4"), extensions=[on("tv", thinks)])
    assert daemon.store.swayed == [True], "it answered"
    daemon.store.swayed.clear()
    await daemon.take(event("5", type="tv"), extensions=[on("tv", raising(RetryLater(60)))])
    await daemon.take(event("6"))
    assert daemon.store.swayed == [True, True], "it holds one, and another comes while that one waits"
    daemon.store.swayed.clear()
    daemon.clock.advance(61)
    async with daemon.running():
        await daemon.store.until(lambda: not daemon.store.waiting)
    await daemon.take(event("7"))
    assert daemon.store.swayed == [True, False], "it came back, and nothing waits any more"


async def test_after_a_restart_a_parked_event_is_called_again():
    async def hangs(event, context):
        await anyio.sleep_forever()

    async def answers(event, context):
        return event.enriched(answered=True)

    daemon = Daemon()
    daemon.journal.add(event("1"))
    async with daemon.running(on("*", hangs, name="e", timeout=10.0), patience=0.05):
        await daemon.store.until(lambda: daemon.store.waiting)
    daemon.clock.advance(60)
    async with daemon.running(on("*", answers, name="e")):
        await daemon.store.until(lambda: not daemon.store.waiting)
    assert daemon.store.activities[1].event.data == {"answered": True}
    assert daemon.store.sums() == {Count.APPLIED: 1}


async def test_a_repeat_of_a_parked_event_is_a_repeat():
    daemon = Daemon()
    await daemon.take(event("1"), extensions=[on("*", raising(RetryLater(60)))])
    await daemon.take(event("1"), extensions=[on("*", raising(RetryLater(60)))])
    assert daemon.store.sums() == {Count.PARKED: 1, Count.REPEATS: 1}


async def test_beyond_the_number_that_may_wait_events_become_dead_letters():
    daemon = Daemon()
    await daemon.take(*(event(str(n)) for n in range(5)), extensions=[on("*", raising(RetryLater(60)))], parked_max=3)
    assert daemon.store.sums() == {Count.PARKED: 3, Count.DEAD: 2}
    await daemon.take(event("6"), extensions=[on("*", raising(RetryLater(60)))], parked_max=3)
    assert daemon.store.sums() == {Count.PARKED: 3, Count.DEAD: 3}
    assert {letter.fault.code for letter in daemon.store.dead.values()} == {"parked_full"}


async def test_an_event_that_waited_too_long_becomes_a_dead_letter():
    daemon = Daemon()
    daemon.journal.add(event("1"))
    async with daemon.running(on("*", raising(RetryLater(10**9)))):
        await daemon.store.until(lambda: daemon.store.waiting)
        daemon.clock.advance(72 * 3600)
        await daemon.store.until(lambda: daemon.store.dead)
    assert daemon.store.dead[1].fault.code == "parked_too_long"
    assert daemon.store.sums() == {Count.DEAD: 1}
    assert daemon.store.waiting == {}


async def test_parked_events_come_back_with_bounded_concurrency():
    gate, running, most = anyio.Event(), 0, 0

    async def slow(event, context):
        nonlocal running, most
        running += 1
        most = max(most, running)
        await gate.wait()
        running -= 1

    daemon = Daemon()
    await daemon.take(*(event(str(n)) for n in range(10)), extensions=[on("*", raising(RetryLater(1)), name="e")])
    daemon.clock.advance(2)
    async with daemon.running(on("*", slow, name="e", timeout=10.0), resuming=4) as pipeline:
        with anyio.fail_after(30):
            while running < 4:
                await anyio.lowlevel.checkpoint()
        assert pipeline.statistics().parked_running == 4
        gate.set()
        await daemon.store.until(lambda: not daemon.store.waiting)
    assert most == 4
    assert daemon.store.sums() == {Count.APPLIED: 10}


# ---- dead letters tried again --------------------------------------------------------------------------------------


async def test_a_retried_record_is_mapped_again_and_goes_its_way():
    daemon = Daemon()
    await daemon.take(Entry(event("", type=""), Fault("no_id", "x"), b"raw"))
    daemon.remapped = lambda entry: event("7", data={"raw": entry.raw.decode()})
    async with daemon.running():
        daemon.store.revive(Seq(1), to_micros(START))
        await daemon.store.until(lambda: daemon.store.activities)
    assert daemon.store.activities[1].event.data == {"raw": "raw"}
    assert (daemon.store.sums(), daemon.store.dead, daemon.store.waiting) == ({Count.APPLIED: 1}, {}, {})
    assert daemon.verdict("7") == SeenVerdict.APPLIED


async def test_a_retried_record_that_still_cannot_be_mapped_is_dead_again_with_one_more_attempt():
    daemon = Daemon()
    await daemon.take(Entry(event("", type=""), Fault("no_id", "x"), b"raw"))
    daemon.remapped = lambda entry: Fault("no_type", "y")
    async with daemon.running():
        for attempts in (1, 2):
            daemon.store.revive(Seq(1), to_micros(START))
            await daemon.store.until(lambda: 1 in daemon.store.dead)
            letter = daemon.store.dead[1]
            assert (letter.fault.code, letter.attempts, letter.entry.raw) == ("no_type", attempts, b"raw")
    assert daemon.store.sums() == {Count.DEAD: 1}


async def test_a_retried_record_that_is_not_wanted_any_more_is_filtered():
    daemon = Daemon()
    await daemon.take(Entry(event("", type=""), Fault("no_id", "x"), b"raw"))
    daemon.remapped = lambda entry: None
    async with daemon.running():
        daemon.store.revive(Seq(1), to_micros(START))
        await daemon.store.until(lambda: daemon.store.sums() == {Count.FILTERED: 1})


async def test_a_retried_record_that_turns_out_to_be_there_already_is_a_repeat():
    daemon = Daemon()
    await daemon.take(Entry(event("", type=""), Fault("no_id", "x"), b"raw"), event("7"))
    daemon.remapped = lambda entry: event("7")
    async with daemon.running():
        daemon.store.revive(Seq(1), to_micros(START))
        await daemon.store.until(lambda: not daemon.store.waiting)
    assert daemon.store.sums() == {Count.APPLIED: 1, Count.REPEATS: 1}


async def test_a_retried_event_goes_through_its_extensions_again():
    daemon = Daemon()
    await daemon.take(event("1"), extensions=[on("*", raising(Reject("no contract")))])
    async with daemon.running(on("*", raising(Reject("still none")))):
        daemon.store.revive(Seq(1), to_micros(START))
        await daemon.store.until(lambda: 1 in daemon.store.dead)
    assert daemon.store.dead[1].attempts == 1
    async with daemon.running():
        daemon.store.revive(Seq(1), to_micros(START))
        await daemon.store.until(lambda: daemon.store.activities)
    assert daemon.store.sums() == {Count.APPLIED: 1}


async def test_a_parked_event_comes_back_although_the_clock_was_set_back():
    daemon = Daemon()
    await daemon.take(event("1"), extensions=[on("*", raising(RetryLater(60)))])
    daemon.clock.advance(-400 * 86_400)
    async with daemon.running():
        await daemon.store.until(lambda: daemon.store.activities)
    assert daemon.store.sums() == {Count.APPLIED: 1}


async def test_events_that_wait_for_a_slow_extension_leave_places_for_those_of_others():
    gate = anyio.Event()

    async def slow(event, context):
        await gate.wait()

    async def answers(event, context):
        return event.enriched(done=True)

    later = raising(RetryLater(1))
    daemon = Daemon()
    events = [event(str(n), type="slow") for n in range(20)] + [event(str(n), type="quick") for n in range(20, 30)]
    held = [on("slow", later, name="slow"), on("quick", later, name="quick")]
    await daemon.take(*events, extensions=held)
    daemon.clock.advance(5)
    extensions = (on("slow", slow, name="slow", timeout=10.0), on("quick", answers, name="quick"))
    async with daemon.running(*extensions, resuming=8) as pipeline:
        await daemon.store.until(lambda: len(daemon.store.activities) == 10)
        assert pipeline.statistics().parked_running == 8
        gate.set()
        await daemon.store.until(lambda: not daemon.store.waiting)
    assert daemon.store.sums() == {Count.APPLIED: 30}


async def test_a_record_that_breaks_its_mapping_when_retried_is_dead_again_and_stops_nobody():
    def breaks(entry):
        raise RecursionError

    daemon = Daemon()
    await daemon.take(Entry(event("", type=""), Fault("no_id", "x"), b"raw"))
    daemon.remapped = breaks
    async with daemon.running():
        daemon.store.revive(Seq(1), to_micros(START))
        await daemon.store.until(lambda: 1 in daemon.store.dead)
    assert daemon.store.dead[1].fault.message == "could not be mapped: RecursionError"
    assert daemon.store.sums() == {Count.DEAD: 1}


async def test_an_event_is_not_applied_without_its_extension_because_a_retried_one_of_the_same_id_is_being_called():
    gate, called = anyio.Event(), anyio.Event()

    async def slow_at_first(event, context):
        if not called.is_set():
            called.set()
            await gate.wait()
        return event.enriched(extended=True)

    daemon = Daemon()
    await daemon.take(Entry(event("", type=""), Fault("no_id", "x"), b"raw"))
    daemon.remapped = lambda entry: event("7", type="tv")
    async with daemon.running(on("tv", slow_at_first, timeout=10.0)):
        daemon.store.revive(Seq(1), to_micros(START))
        await called.wait()
        daemon.journal.add(event("7", type="tv"))
        await daemon.store.until(lambda: 2 in daemon.store.activities)
        gate.set()
        await daemon.store.until(lambda: not daemon.store.waiting)
    assert daemon.store.activities[2].event.data == {"extended": True}
    assert daemon.store.sums() == {Count.APPLIED: 1, Count.REPEATS: 1}


async def test_what_was_taken_out_of_parked_while_it_was_called_has_no_effect():
    gate, called = anyio.Event(), anyio.Event()

    async def slow(event, context):
        called.set()
        await gate.wait()

    daemon = Daemon()
    await daemon.take(event("1", type="tv"), extensions=[on("tv", raising(RetryLater(1)), name="e")])
    daemon.clock.advance(2)
    async with daemon.running(on("tv", slow, name="e", timeout=10.0)) as pipeline:
        await called.wait()
        daemon.store.waiting.clear()
        gate.set()
        with anyio.fail_after(30):
            while pipeline.statistics().parked_running:
                await anyio.lowlevel.checkpoint()
    assert daemon.store.activities == {}


async def test_a_parked_event_keeps_the_trace_of_its_earlier_visits_over_a_restart():
    async def looks_up(event, context):
        return event.enriched(terms=2)

    async def answers(event, context):
        return event.enriched(score=3)

    first = on("tv", looks_up, name="first")
    daemon = Daemon()
    await daemon.take(event("1", type="tv"), extensions=[first, on("tv", raising(RetryLater(1)), name="second")])
    assert [visit.extension for visit in daemon.store.waiting[1].trace] == ["p.first", "p.second"]
    for _ in range(3):
        daemon.clock.advance(2)
        async with daemon.running(first, on("tv", raising(RetryLater(1)), name="second")):
            due = daemon.store.waiting[1].due
            await daemon.store.until(lambda due=due: daemon.store.waiting[1].due != due)
    assert len(daemon.store.waiting[1].trace) == 2, "the latest visit of each: no trace grows with the attempts"
    daemon.clock.advance(2)
    async with daemon.running(first, on("tv", answers, name="second")):
        await daemon.store.until(lambda: daemon.store.activities)
    shown = [(visit.extension, visit.outcome) for visit in daemon.store.activities[1].trace]
    assert shown == [("p.first", "extended"), ("p.second", "later"), ("p.second", "extended")]


# ---- when something fails ------------------------------------------------------------------------------------------


async def test_what_is_dead_again_is_counted_once_although_its_transaction_was_told_to_have_failed():
    daemon = Daemon()
    await daemon.take(Entry(event("", type=""), Fault("no_id", "x"), b"raw"))
    daemon.remapped = lambda entry: Fault("no_type", "y")
    daemon.store.revive(Seq(1), to_micros(START))
    daemon.store.failing_after = [NotDurable("lost the answer")]
    async with daemon.running() as pipeline:
        await daemon.store.until(lambda: 1 in daemon.store.dead)
        with anyio.fail_after(30):
            while pipeline.statistics().parked_running or pipeline.failure:
                await anyio.lowlevel.checkpoint()
    assert daemon.store.sums() == {Count.DEAD: 1}
    assert daemon.store.dead[1].attempts == 1


async def test_credit_comes_back_although_the_transaction_was_told_to_have_failed():
    daemon = Daemon()
    daemon.store.failing_after = [NotDurable("lost the answer")]
    async with daemon.running() as pipeline:
        entries = [Entry(event(str(n), source="crm")) for n in range(3)]
        pipeline.journaled(daemon.journal.add(*entries), entries)
        await pipeline.wait_for_credit("crm", limit=1)
        assert pipeline.backlog("crm") == 0


async def test_what_a_profile_has_no_place_for_and_what_an_indicator_cannot_use_is_counted():
    hours = Projection({"hours": IndicatorSettings(on=("tv",), value="{data.hours}", compute="sum")})
    many = {f"trait-{n}": n for n in range(1_003)}
    some = {f"more-{n}": n for n in range(10)}
    daemon = Daemon()
    await daemon.take(
        event("1", type="tv", traits=many, data={"hours": "many"}),
        event("2", type="tv", traits=some, identifiers={"email": "ann@example.com"}, data={"hours": 2}),
        event("3", type="plain", identifiers={"email": "joe@example.com", "phone": "+46701234567"}),
        event("4", type="plain", identifiers={"email": "ann@example.com", "phone": "+46701234567"}),
        projection=hours,
    )
    assert len(daemon.store.activities) == 4
    assert daemon.store.sums() == {Count.APPLIED: 4, Count.IGNORED_TRAITS: 13, Count.SKIPPED_VALUES: 1}


async def test_an_event_whose_identifiers_are_not_one_persons_is_counted():
    daemon = Daemon()
    await daemon.take(
        event("1", identifiers={"user_id": "u1", "email": "jane@example.com"}),
        event("2", identifiers={"user_id": "u2", "email": "jane@example.com"}),
        event("3", identifiers={"user_id": "u2"}),
    )
    assert daemon.store.sums() == {Count.APPLIED: 3, Count.KEPT_APART: 1}


async def test_an_event_with_an_identifier_that_cannot_be_used_is_counted():
    daemon = Daemon()
    await daemon.take(
        event("1", identifiers={"user_id": "null", "email": "jane@example.com"}),
        event("2", identifiers={"phone": "0000", "loyalty": "any"}),
        event("3", identifiers={"email": "jane@example.com", "loyalty": "not configured"}),
    )
    assert daemon.store.sums() == {Count.APPLIED: 3, Count.UNUSABLE: 2, Count.UNATTRIBUTED: 1}


async def test_what_the_store_cannot_take_is_tried_again_and_nothing_is_skipped():
    daemon = Daemon()
    daemon.store.failing = [NotDurable("disk full")] * 3
    daemon.journal.add(event("1"), event("2"))
    states = []
    real_sleep = daemon.clock.sleep
    async with daemon.running() as pipeline:

        async def sleep(seconds):
            states.append(pipeline.failure)
            await real_sleep(seconds)

        daemon.clock.sleep = sleep
        await daemon.store.until(lambda: daemon.store.position == 2)
        await pipeline.drain(1)
        assert pipeline.failure is None
    assert states == ["the store cannot take events: NotDurable"] * 3
    assert daemon.clock.slept == sorted(daemon.clock.slept)
    assert daemon.store.sums() == {Count.APPLIED: 2}


async def test_a_transaction_that_was_told_to_have_failed_and_had_not_is_not_applied_twice():
    daemon = Daemon()
    daemon.store.failing_after = [NotDurable("lost the answer")]
    daemon.journal.add(event("1"))
    async with daemon.running() as pipeline:
        await pipeline.drain(30)
        assert pipeline.failure is None
    assert daemon.store.sizes == [1], "the transaction is not even tried again"
    await daemon.take(event("2"), extensions=[on("*", raising(RetryLater(1)), name="e")])
    daemon.clock.advance(10)
    daemon.store.failing_after = [NotDurable("lost the answer")]
    async with daemon.running() as pipeline:
        await daemon.store.until(lambda: not daemon.store.waiting)
        with anyio.fail_after(30):
            while pipeline.statistics().parked_running or pipeline.failure:
                await anyio.lowlevel.checkpoint()
    assert daemon.store.sums() == {Count.APPLIED: 2}


async def test_an_event_that_cannot_be_decided_becomes_a_dead_letter_and_stops_nobody():
    class Poisoned(Projection):
        def project(self, state, event, *, at, seq, now=None):
            if event.id == "5":
                raise ZeroDivisionError
            return super().project(state, event, at=at, seq=seq, now=now)

    daemon = Daemon()
    await daemon.take(*(event(str(n)) for n in range(10)), projection=Poisoned({}))
    assert [(one.seq, one.fault.code, one.fault.message) for one in daemon.store.dead.values()] == [
        (6, "internal", "could not be processed: ZeroDivisionError")
    ]
    assert daemon.store.sums() == {Count.APPLIED: 9, Count.DEAD: 1}
    assert daemon.store.position == 10


async def test_an_event_that_cannot_be_written_becomes_a_dead_letter_and_stops_nobody():
    daemon = Daemon()
    daemon.store.refuses = {"3"}
    await daemon.take(*(event(str(n)) for n in range(6)))
    assert [letter.fault.message for letter in daemon.store.dead.values()] == ["could not be processed: OverflowError"]
    assert daemon.store.sums() == {Count.APPLIED: 5, Count.DEAD: 1}


async def test_a_poisonous_event_that_comes_back_from_parked_becomes_a_dead_letter():
    class Poisoned(Projection):
        def project(self, state, event, *, at, seq, now=None):
            raise ZeroDivisionError

    daemon = Daemon()
    await daemon.take(event("1"), event("2"), extensions=[on("*", raising(RetryLater(1)), name="e")])
    daemon.clock.advance(2)
    async with daemon.running(projection=Poisoned({})):
        await daemon.store.until(lambda: not daemon.store.waiting)
    assert daemon.store.sums() == {Count.DEAD: 2}


async def test_a_journal_that_cannot_be_read_is_asked_again():
    daemon = Daemon()
    daemon.journal.failing = [NotDurable("not now")] * 2
    await daemon.take(event("1"))
    assert daemon.store.sums() == {Count.APPLIED: 1}


# ---- batches, credit, what is shown --------------------------------------------------------------------------------


async def test_batches_are_bounded_and_larger_when_only_a_backlog_is_worked_off():
    daemon = Daemon()
    await daemon.take(*(event(str(n), identifiers={}) for n in range(60)), batch=10, backlog_batch=25, window=2)
    assert daemon.journal.limits[0] == 25
    assert daemon.journal.limits[-1] == 10
    assert max(daemon.store.sizes) <= 25
    assert daemon.store.sums()[Count.APPLIED] == 60


async def test_events_are_applied_in_journal_order_although_later_calls_end_first():
    gate, order = anyio.Event(), []

    async def first_waits(event, context):
        if event.id == "0":
            await gate.wait()
        order.append(event.id)
        if event.id == "3":
            gate.set()

    daemon = Daemon()
    await daemon.take(*(event(str(n)) for n in range(4)), extensions=[on("*", first_waits, timeout=10.0)], batch=1)
    assert order == ["1", "2", "3", "0"]
    assert list(daemon.store.activities) == [1, 2, 3, 4]


async def test_a_connector_with_too_much_behind_waits_for_credit():
    daemon = Daemon()
    daemon.store.failing = [NotDurable("not yet")] * 5
    async with daemon.running() as pipeline:
        entries = [Entry(event(str(n), source="crm.contacts")) for n in range(3)]
        pipeline.journaled(daemon.journal.add(*entries), entries)
        assert (pipeline.backlog("crm"), pipeline.backlog("shop")) == (3, 0)
        await pipeline.wait_for_credit("shop", limit=3)
        await pipeline.wait_for_credit("crm", limit=3)
        assert pipeline.backlog("crm") == 0
        assert daemon.store.position == 3


async def test_what_an_earlier_run_left_behind_counts_against_credit():
    daemon = Daemon()
    daemon.journal.add(*(event(str(n)) for n in range(4)))
    async with daemon.running() as pipeline:
        await pipeline.wait_for_credit("crm", limit=1)
        assert pipeline.backlog("crm") == 0
    assert daemon.store.position == 4


async def test_drain_applies_what_is_journaled_as_far_as_time_allows():
    daemon = Daemon()
    daemon.journal.add(*(event(str(n)) for n in range(20)))
    async with daemon.running(batch=3) as pipeline:
        assert await pipeline.drain(5)
        assert daemon.store.position == 20
        assert pipeline.statistics().backlog == 0
        daemon.store.failing = [NotDurable("full")] * 100_000
        daemon.journal.add(event("last"))
        assert not await pipeline.drain(0.02)
        assert pipeline.statistics().backlog == 1


async def test_freshness_is_measured_from_receipt_and_from_effective_time_for_pull():
    daemon = Daemon()
    daemon.clock.advance(2)
    async with daemon.running() as pipeline:
        assert pipeline.freshness.seconds("shop", daemon.clock.now()) is None
        pipeline._writing.pull = frozenset({"crm"})
        daemon.journal.add(event("1"), event("2", source="crm", time=START - timedelta(seconds=98)))
        assert await pipeline.drain(5)
        await anyio.lowlevel.checkpoint()
        assert pipeline.freshness.seconds("shop", daemon.clock.now()) == pytest.approx(2, rel=0.2)
        assert pipeline.freshness.seconds("crm", daemon.clock.now()) == pytest.approx(100, rel=0.2)
        assert pipeline.freshness.last_event("shop") == daemon.clock.now()


async def test_tail_shows_every_stage():
    async def adds(event, context):
        return event.enriched(x=1)

    daemon = Daemon()
    rules = [on("order.*", adds), on("spam", raising(Drop("spam"))), on("bad", raising(Reject("r"))),
             on("held", raising(RetryLater(60)))]  # fmt: skip
    with daemon.tail.subscribe() as subscriber:
        async with daemon.running(*rules) as pipeline:
            kinds = ["order.paid", "order.paid", "spam", "bad", "held"]
            entries = [Entry(event("1" if kind == "order.paid" else kind, type=kind)) for kind in kinds]
            pipeline.journaled(daemon.journal.add(*entries), entries)
            await daemon.store.until(lambda: daemon.store.position == 5)
            stages = []
            async for passing in subscriber:
                stages.append(passing.stage)
                if len(stages) == 14:
                    break
    assert stages[:5] == ["accepted"] * 5
    assert sorted(stages[5:]) == sorted(["extended"] * 4 + ["applied", "repeated", "filtered", "dead", "parked"])


async def test_each_try_of_an_extension_is_shown_once_and_a_failed_one_as_that():
    failing = True

    async def asks(event, context):
        if failing:
            raise OSError
        return event.enriched(x=1)

    daemon, seen = Daemon(), []
    with daemon.tail.subscribe() as subscriber:
        async with daemon.running(on("tv", asks, name="e")):
            daemon.journal.add(event("1", type="tv"))
            await daemon.store.until(lambda: daemon.store.waiting)
            failing = False
            daemon.clock.advance(60)
            await daemon.store.until(lambda: daemon.store.activities)
            with anyio.fail_after(30):
                async for passing in subscriber:
                    seen.append(passing.stage)
                    if passing.stage == "applied":
                        break
    assert seen == ["failed", "parked", "extended", "applied"]
    assert set(seen) <= set(STAGES)


async def test_a_reload_counts_from_the_next_batch():
    daemon = Daemon()
    async with daemon.running() as pipeline:
        daemon.journal.add(event("1", identifiers={"email": "a@example.com"}))
        assert await pipeline.drain(5)
        pipeline.configure(
            kinds=Kinds(IdentitySettings()), audiences=Audiences({}, Projection({})), known_only=frozenset({"shop"})
        )
        daemon.journal.add(event("2", identifiers={"email": "b@example.com"}))
        assert await pipeline.drain(5)
    assert daemon.store.sums() == {Count.APPLIED: 1, Count.FILTERED: 1}


async def test_a_hostile_extension_never_stops_an_event_it_does_not_listen_to():
    async def swallows(event, context):
        while True:
            try:
                await anyio.sleep_forever()
            except BaseException as error:
                if isinstance(error, GeneratorExit):
                    raise

    daemon = Daemon()
    rules = [on("a", raising(SystemExit(1))), on("b", swallows, timeout=0.02), on("c", raising(KeyboardInterrupt()))]
    await daemon.take(*(event(f"{kind}{n}", type=kind) for n in range(3) for kind in "abcd"), extensions=rules)
    assert daemon.store.sums() == {Count.APPLIED: 3, Count.PARKED: 9}


# ---- P9 ------------------------------------------------------------------------------------------------------------

IDS = st.sampled_from(["1", "2", "3", "4", "5", "6"])
TYPES = st.sampled_from(["plain", "ok", "drop", "reject", "later", "fail", "unmappable", "moody"])


@given(
    runs=st.lists(st.tuples(st.lists(st.tuples(IDS, TYPES), max_size=12), st.integers(0, 4), st.booleans()), max_size=4),
    data=st.data(),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_journaled_entry_is_counted_exactly_once_over_restarts(runs, data):
    anyio.run(_p9, runs, data.draw(st.lists(st.booleans(), max_size=20)))


async def _p9(runs, moods) -> None:
    moods = list(moods)

    async def moody(event, context):
        await anyio.lowlevel.checkpoint()
        if moods and moods.pop():
            raise RetryLater(5)
        return event.enriched(done=True)

    rules = [on("drop", raising(Drop("d"))), on("reject", raising(Reject("r"))), on("later", raising(RetryLater(1000))),
             on("fail", raising(OSError())), on("moody", moody)]  # fmt: skip
    daemon = Daemon()
    daemon.remapped = lambda entry: None if entry.raw == b"1" else event(entry.raw.decode(), type="plain")
    for entries, stop_at, retry in runs:
        daemon.journal.add(
            *(
                Entry(event("", type=""), Fault("f", "m"), name.encode()) if kind == "unmappable" else event(name, type=kind)
                for name, kind in entries
            )
        )
        if retry:
            for seq in list(daemon.store.dead):
                daemon.store.revive(seq, to_micros(daemon.clock.now()))
        goal = max(daemon.store.position, daemon.journal.head - stop_at)
        async with daemon.running(*rules, batch=3):
            await daemon.store.until(lambda goal=goal: daemon.store.position >= goal)
            _check(daemon)
        _check(daemon)
        daemon.clock.advance(10)


def _check(daemon: Daemon) -> None:
    store = daemon.store
    assert accounted(store) == store.position
    assert sum(n for (_, name), n in store.counters.items() if name == Count.PARKED) == len(store.waiting)
    assert sum(n for (_, name), n in store.counters.items() if name == Count.DEAD) == len(store.dead)
    assert sum(n for (_, name), n in store.counters.items() if name == Count.APPLIED) == len(store.activities)
    assert len({one.event.id for one in store.activities.values()}) == len(store.activities)


# ---- under load ----------------------------------------------------------------------------------------------------


async def test_between_two_writes_the_store_rests_so_that_the_next_one_takes_more_at_once(monkeypatch):
    """Seen to fail where it does not rest: each is then written by itself."""
    monkeypatch.setattr("cdmd.batches.pacing._LONGEST_REST", 10.0)
    daemon = Daemon(store=SlowStore())
    daemon.store.clock, daemon.used = daemon.clock, daemon.clock.monotonic
    async with daemon.running(batch=3):
        daemon.journal.add(event("1"))
        await daemon.store.until(lambda: daemon.store.position == 1)
        for number in range(2, 5):
            daemon.journal.add(event(str(number)))
            for _ in range(20):
                await anyio.lowlevel.checkpoint()
        await daemon.store.until(lambda: daemon.store.position == 4)
    assert daemon.store.sizes == [1, 3]


class Screened:
    """Nothing is kept of whoever has one of these addresses; of those who have another identifier first, the rest is."""

    def __init__(self, *emails: str) -> None:
        self.emails, self.version = set(emails), len(emails)

    def screened(self, entry: Entry) -> Entry | None:
        identifiers = entry.event.identifiers
        if identifiers.get("email") not in self.emails:
            return entry
        rest = {kind: value for kind, value in identifiers.items() if kind != "email"}
        return msgspec.structs.replace(entry, event=msgspec.structs.replace(entry.event, identifiers=rest)) if rest else None


async def test_what_is_journaled_of_somebody_suppressed_is_counted_and_nothing_of_it_is_kept():
    daemon = Daemon()
    shared = event("2", identifiers={"user_id": "u1", "email": "joe@example.com"})
    entries = [
        Entry(event("1", identifiers={"email": "joe@example.com"})),
        Entry(shared),
        Entry(event("1", identifiers={"email": "joe@example.com"})),
    ]
    await daemon.take(*entries, screen=Screened("joe@example.com"))
    assert daemon.store.counters["shop", Count.SUPPRESSED] == 2
    assert accounted(daemon.store) == 3
    assert daemon.verdict("1") == SeenVerdict.SUPPRESSED
    (kept,) = daemon.store.activities.values()
    assert kept.event.identifiers == {"user_id": "u1"}
    assert "joe@" not in str((daemon.store.profiles, daemon.store.activities, daemon.store.owners))


async def test_what_is_left_of_an_erased_entry_is_counted_and_remembered_by_nothing():
    daemon = Daemon()
    await daemon.take(tombstone(Entry(event("1"))), Entry(event("2")))
    assert daemon.store.counters["shop", Count.SUPPRESSED] == 1
    assert accounted(daemon.store) == 2
    assert len(daemon.store.remembered) == 1


async def test_no_extension_sees_somebody_suppressed_not_even_one_who_waited_for_it():
    daemon, seen, screen = Daemon(), [], Screened("ann@example.com")

    async def look(event, context):
        seen.append(dict(event.identifiers))
        raise RetryLater(0.001)

    looking = on("order.*", look)
    joe = {"email": "joe@example.com"}
    await daemon.take(
        Entry(event("1", identifiers={"email": "ann@example.com"})), Entry(event("2", identifiers={"user_id": "u", **joe})),
        Entry(event("3", identifiers=joe)), extensions=[looking], screen=screen,
    )  # fmt: skip
    assert {"email": "ann@example.com"} not in seen
    assert len(daemon.store.waiting) == 2
    screen.emails.add("joe@example.com")
    seen.clear()
    daemon.clock.advance(60)
    async with daemon.running(looking, screen=screen):
        await daemon.store.until(lambda: len(daemon.store.waiting) == 1 and seen)
    assert {"user_id": "u"} in seen
    assert not any("email" in one for one in seen)
    assert daemon.store.counters["shop", Count.SUPPRESSED] == 2
    assert accounted(daemon.store) == 3


async def test_a_batch_is_made_ready_while_the_store_still_writes_the_one_before():
    daemon = Daemon(store=HeldStore())
    daemon.digests = Noting()
    async with daemon.running() as pipeline:
        daemon.journal.add(event("1"))
        await daemon.store.begun.wait()
        daemon.journal.add(event("2"))
        while pipeline.statistics().window < 2:
            await anyio.lowlevel.checkpoint()
        asked = list(daemon.digests.asked)
        daemon.store.go.set()
        assert await pipeline.drain(5)
    assert asked == daemon.digests.asked == ["1", "2"]


async def test_what_was_made_ready_before_a_reload_is_decided_by_the_rules_after_it():
    daemon = Daemon(store=HeldStore())
    async with daemon.running() as pipeline:
        daemon.journal.add(event("1", identifiers={"email": "a@example.com"}))
        await daemon.store.begun.wait()
        daemon.journal.add(event("2", identifiers={"email": "a@example.com"}))
        while pipeline.statistics().window < 2:
            await anyio.lowlevel.checkpoint()
        blocked = {"email": IdentifierSettings(priority=1, blocked=("a@example.com",))}
        kinds = Kinds(IdentitySettings(identifiers=blocked))
        pipeline.configure(kinds=kinds, audiences=Audiences({}, Projection({})), known_only=frozenset())
        daemon.store.go.set()
        assert await pipeline.drain(5)
    assert [one.rule for one in daemon.store.activities.values()] == ["new", "no usable identifier"]


class CountingStore(MemoryStore):
    """Knows how many batches there were, and how many under way at once."""

    def __init__(self) -> None:
        super().__init__()
        self.batches, self.at_once, self.takes = 0, 0, 30

    async def apply(self, wanted, decide):
        self.batches += 1
        self.at_once = max(self.at_once, sum(not one.ended.is_set() for one in self._calls) + 1)
        return await super().apply(wanted, decide)


async def test_of_a_backlog_the_next_batch_is_handed_over_while_the_one_before_is_written():
    daemon = Daemon(store=CountingStore())
    await daemon.take(*(event(str(number)) for number in range(20)), batch=2, backlog_batch=2)
    assert daemon.store.at_once == 3
    assert list(daemon.store.activities) == list(range(1, 21))


class HeldCountingStore(HeldStore, CountingStore):
    """Both."""


@pytest.mark.parametrize(
    ("apart", "live", "at_once", "sizes"),
    [(False, False, 1, [2, 5]), (False, True, 1, [2, 4, 1]), (True, False, 3, [2, 2, 2, 1])],
)
async def test_small_batches_wait_and_go_together_but_where_another_process_decides_beside_one_another(
    apart, live, at_once, sizes
):
    daemon = Daemon(store=HeldCountingStore())
    daemon.journal.add(event("0"), event("1"))
    async with daemon.running(batch=4, backlog_batch=6, apart=apart) as pipeline:
        await daemon.store.begun.wait()
        for count in (2, 2, 1):
            first = daemon.journal.add(*(event(str(daemon.journal.head + number)) for number in range(count)))
            pipeline.journaled(first, [Entry(event("0"))] * count, live=live)
            while pipeline._read_upto < daemon.journal.head:
                daemon.clock.advance(0.02)
                await anyio.lowlevel.checkpoint()
        daemon.store.go.set()
        await daemon.store.until(lambda: daemon.store.position == daemon.journal.head)
    assert daemon.store.sizes == sizes
    assert list(daemon.store.activities) == list(range(1, 8))
    assert daemon.store.begins == at_once


async def test_only_events_that_extensions_are_asked_about_are_followed_and_all_of_a_batch_stay_in_order():
    async def more(event, context):
        return event.enriched(more=True)

    daemon = Daemon()
    journaled = [Journaled(Seq(n), Entry(event(str(n), type="tv" if n == 2 else "seen"))) for n in (1, 2, 3)]
    async with daemon.running(on("tv", more)) as pipeline:
        batch = Batch(journaled, position=Seq(3))
        await pipeline._extending.begin(batch)
        await batch.finished.wait()
    assert list(batch.passages) == [2]
    assert [(item.seq, item.entry.event.data.get("more")) for item, _ in batch.work()] == [(1, None), (2, True), (3, None)]


async def test_what_was_applied_is_let_go_of_although_somebody_still_holds_the_turn():
    daemon = Daemon()
    async with daemon.running() as pipeline:
        work = [(Item(seq=Seq(1), entry=Entry(event("1")), outcome=Apply()), event("1"))]
        batch, ready = (
            Batch([Journaled(Seq(1), Entry(event("1")))], position=Seq(1)),
            await prepared(pipeline._writing.rules, work),
        )
        turn = Turn([batch], [Passage(Seq(1), Entry(event("1")))], ready)
        await turn.let_go()
    assert (batch.journaled, turn.passages, ready.items) == ([], [], [])


async def test_threads_keep_the_interpreter_for_long_while_a_backlog_is_worked_off_until_something_arrives():
    daemon = Daemon(store=HeldStore())
    daemon.journal.add(*(event(str(number)) for number in range(20)))
    async with daemon.running(batch=2, backlog_batch=2) as pipeline:
        await daemon.store.begun.wait()
        assert set(daemon.lengthened) == {True}
        pipeline.journaled(Seq(21), [Entry(event("new"))])
        assert daemon.lengthened[-1] is False
        daemon.store.go.set()
        await daemon.store.until(lambda: daemon.store.position == daemon.journal.head)
        assert daemon.lengthened.count(False) == 1


async def test_a_backlog_that_an_extension_sees_is_worked_off_so_too():
    async def more(event, context):
        await anyio.lowlevel.checkpoint()
        return event.enriched(more=1)

    daemon = Daemon(store=CountingStore())
    entries = [event(str(number)) for number in range(20)]
    await daemon.take(*entries, extensions=[on("order.*", more)], batch=2, backlog_batch=2)
    assert daemon.store.at_once > 1
    assert list(daemon.store.activities) == list(range(1, 21))
    assert all(one.event.data["more"] == 1 for one in daemon.store.activities.values())


def test_the_window_has_room_for_as_many_batches_of_a_backlog_as_may_be_under_way():
    """Another one is read for as long as those under way do not fill it."""
    usual = PipelineSettings()
    assert (ABREAST - 1) * usual.backlog_batch < usual.window * usual.batch


async def test_a_batch_in_which_somebody_waits_for_an_extension_goes_alone():
    daemon = Daemon(store=CountingStore())
    later = on("order.*", raising(RetryLater(1000)))
    await daemon.take(*(event(str(number)) for number in range(20)), extensions=[later], batch=2, backlog_batch=2)
    assert daemon.store.at_once == 1


@pytest.mark.parametrize("failing", ["failing", "failing_after"])
async def test_a_batch_that_fails_is_tried_again_before_those_behind_it_which_were_under_way(failing):
    daemon = Daemon()
    written = []
    daemon.journal.add(*(event(str(number)) for number in range(20)))
    write, daemon.store._write = daemon.store._write, lambda changes: (written.append(changes.position), write(changes))
    async with daemon.running(batch=2, backlog_batch=2):
        await daemon.store.until(lambda: daemon.store.position >= 4)
        getattr(daemon.store, failing).extend([NotDurable("the disk"), NotDurable("the disk")])
        await daemon.store.until(lambda: daemon.store.position == 20)
    assert written == sorted(written)
    assert list(daemon.store.activities) == list(range(1, 21))
    assert daemon.store.sums() == {Count.APPLIED: 20}


async def test_an_event_that_cannot_be_written_becomes_a_dead_letter_although_others_are_under_way():
    daemon = Daemon()
    daemon.store.refuses = {"7"}
    await daemon.take(*(event(str(number)) for number in range(20)), batch=4, backlog_batch=4)
    assert daemon.store.sums() == {Count.APPLIED: 19, Count.DEAD: 1}
    assert list(daemon.store.activities) == [seq for seq in range(1, 21) if seq != 8]


async def test_a_batch_is_not_even_handed_over_while_the_one_before_it_has_to_be_tried_again():
    daemon = Daemon(store=CountingStore())
    async with daemon.running() as pipeline:
        ready = await prepared(pipeline._writing.rules, [])
        failed = Turn([], [], ready)
        failed.failed = True
        behind = Turn([], [], ready, before=failed)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(pipeline._writing.write, behind)
            for _ in range(10):
                await anyio.lowlevel.checkpoint()
            assert (daemon.store.at_once, behind.failed) == (0, True)
            failed.done.set()
    assert daemon.store.at_once == 1


# ---- one of several -----------------------------------------------------------------------------------------------


class Parts:
    """Says whose lanes they are: ``moved`` once with each new answer."""

    def __init__(self, store: MemoryStore, *shares: Share, resumes: bool = False) -> None:
        self.store, self.resumes, self._shares = store, resumes, list(shares)
        self._moved = anyio.Event()

    @property
    def own(self) -> Seq:
        return self.store.position

    async def agreed(self) -> Share:
        return self._shares.pop(0)

    async def changed(self) -> None:
        await self._moved.wait()
        self._moved = anyio.Event()

    def move(self) -> None:
        self._moved.set()

    def refused(self) -> None:
        self.move()


def placed(number: int, part: int) -> Entry:
    return Entry(event(f"e{number}"), part=part)


async def test_what_is_another_nodes_by_now_is_no_failure_and_is_chosen_again_at_once() -> None:
    daemon = Daemon()
    daemon.journal.add(placed(1, 0), placed(2, 1))
    daemon.store.failing = [NotOurs("others have it")]
    parts = Parts(daemon.store, Share({0: Seq(0), 1: Seq(0)}, 2), Share({1: Seq(0)}, 2))
    with capture_logs() as told:
        async with daemon.running(shares=parts) as pipeline:
            await daemon.store.until(lambda: daemon.store.position == 2)
            assert pipeline.failure is None
    assert [(one["event"], one["log_level"]) for one in told if "apply" in one["event"]] == [("store_apply_refused", "info")]
    assert [one.event.id for one in daemon.store.activities.values()] == ["e2"]


async def test_what_is_refused_for_longer_than_a_hand_over_takes_is_a_failure() -> None:
    daemon, parts = Daemon(), Parts(MemoryStore(), Share({0: Seq(0)}, 2))
    parts.refused = lambda: None  # nobody sees another share
    daemon.journal.add(placed(1, 0))
    daemon.store.failing = [NotOurs("others have it")] * 100_000
    with capture_logs() as told:
        async with daemon.running(shares=parts) as pipeline:
            while pipeline.failure is None:
                await anyio.lowlevel.checkpoint()
    refused = [one for one in told if one["event"] == "store_apply_refused"]
    assert (len(refused), told[len(refused)]["event"]) == (8, "store_apply_failed")


async def test_of_several_it_applies_its_own_lanes_from_where_each_was_left_and_others_once_it_has_them() -> None:
    daemon = Daemon()
    daemon.journal.add(placed(1, 0), placed(2, 1), placed(3, 2), placed(4, 5))
    parts = Parts(daemon.store, Share({1: Seq(0)}, 4), Share({1: Seq(4), 2: Seq(1)}, 4))
    async with daemon.running(shares=parts):
        await daemon.store.until(lambda: daemon.store.position == 4)
        assert sorted(daemon.store.activities) == [2, 4]
        daemon.store.position = Seq(0)
        parts.move()
        await daemon.store.until(lambda: daemon.store.position == 4)
        assert sorted(daemon.store.activities) == [2, 3, 4]


async def test_without_a_lane_it_applies_nothing_until_it_has_one() -> None:
    daemon = Daemon()
    daemon.journal.add(placed(1, 0))
    parts = Parts(daemon.store, Share({}, 4), Share({0: Seq(0)}, 4))
    async with daemon.running(shares=parts):
        await anyio.wait_all_tasks_blocked()
        assert daemon.store.position == 0
        parts.move()
        await daemon.store.until(lambda: daemon.store.position == 1)


async def test_what_could_not_be_written_and_is_another_nodes_now_is_no_failure_of_this_one() -> None:
    daemon = Daemon()
    daemon.journal.add(placed(1, 0))
    daemon.store.failing = [NotDurable("no longer yours")] * 100_000
    parts = Parts(daemon.store, Share({0: Seq(0)}, 4), Share({}, 4))
    async with daemon.running(shares=parts) as pipeline:
        while pipeline.failure is None:
            await anyio.lowlevel.checkpoint()
        parts.move()
        while pipeline.failure is not None:
            await anyio.lowlevel.checkpoint()


async def test_a_connector_of_one_of_several_waits_until_all_have_applied_what_it_brought() -> None:
    daemon = Daemon()
    parts = Parts(daemon.store, Share({0: Seq(0)}, 2))
    async with daemon.running(shares=parts) as pipeline:
        entries = [placed(number, number % 2) for number in (1, 2, 3)]
        pipeline.journaled(Seq(1), entries[:2])
        pipeline.journaled(Seq(3), entries[2:])
        daemon.journal.add(*entries)
        await daemon.store.until(lambda: daemon.store.position == 3)
        assert pipeline.backlog("shop") == 3
        daemon.store.position = Seq(2)
        await pipeline.everywhere()
        assert pipeline.backlog("shop") == 1


async def test_a_batch_of_one_of_several_is_as_large_as_that_of_one_alone() -> None:
    daemon = Daemon(store=CountingStore())
    daemon.journal.add(*(placed(number, number % 4) for number in range(48)))
    parts = Parts(daemon.store, Share({1: Seq(0)}, 4))
    async with daemon.running(shares=parts, window=1, batch=1, backlog_batch=4):
        await daemon.store.until(lambda: daemon.store.position == 48)
    assert (len(daemon.store.activities), daemon.store.batches) == (12, 3), "sixteen are read for four of our own"
