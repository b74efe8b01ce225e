"""Lanes of a journal on a real nats-server, each read without the others."""

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from cdmd.cluster import lanes
from cdmd.cluster.commits import Frame
from cdmd.cluster.connection import Access, Heard
from cdmd.cluster.following import FollowedJournal
from cdmd.cluster.journal import JetStreamJournal
from cdmd.cluster.lanes import Got, Lane, forget_others
from cdmd.cluster.leading import LeadingJournal
from cdmd.cluster.place import Place
from cdmd.cluster.stream import Stream
from cdmd.contracts import Append, Holding
from cdmd.errors import CdmdError, Damaged, NotDurable
from cdmd.models import Entry, Micros, Seq, tombstone
from cdmd.store.blocks import Block
from tests.cluster.divided import append_of, of_part, writing
from tests.cluster.servers import NatsServer, eventually, needed, serving
from tests.store.contract_journal import erasing
from tests.store.killing import run_and_kill
from tests.store.samples import HandClock, event

pytestmark = [needed, pytest.mark.anyio, pytest.mark.timeout(120)]
_NAMES = itertools.count()
ALL = frozenset((0, 1, 2))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "_QUIET", 0.05)


@pytest.fixture
def place(nats: NatsServer) -> Place:
    return Place(access=Access(servers=(nats.url,)), name=f"lanes{next(_NAMES)}", lanes=3)


@asynccontextmanager
async def both(place: Place, folder: Path) -> AsyncIterator[tuple[JetStreamJournal, FollowedJournal]]:
    async with writing(place, folder) as journal, FollowedJournal.open(place, clock=HandClock()) as followed:
        yield journal, followed


async def read(followed: FollowedJournal, wanted: frozenset[int], after: int, *, upto: int, limit: int = 99) -> list[int]:
    """The numbers that come of those lanes until all up to ``upto`` is read."""
    found, at = list[int](), Seq(after)
    with anyio.fail_after(60):
        while at < upto:
            await followed.wait(at)
            told = await followed.read_lanes(wanted, 3, at, limit=limit)
            assert told is not None
            entries, at = told
            assert all(one.entry.event.id == f"evt-{one.seq}" for one in entries)
            assert all(one.seq <= at for one in entries)
            found += [one.seq for one in entries]
    return found


async def consumer(journal: JetStreamJournal, lane: int) -> Any:
    return msgspec.json.decode(await journal._link.ask(f"CONSUMER.INFO.{journal._streams.entries.name}.lane-3-{lane}"))


async def test_a_lane_comes_in_order_through_its_own_consumer_and_the_others_stay_where_they_are(
    place: Place, tmp_path: Path
) -> None:
    async with both(place, tmp_path) as (journal, followed):
        await journal.append([append_of(0, 0, 1, 2)])
        assert await read(followed, frozenset((0, 2)), 0, upto=4) == [1, 2, 4]
        await journal.append([append_of(1, 1, first=5)])
        assert await read(followed, frozenset((0, 2)), 4, upto=6) == [], "what is others' is behind it, too"
        await journal.append([append_of(2, 0, 1, 0, first=7)])
        assert await read(followed, frozenset((0, 2)), 6, upto=10) == [7, 8, 10]
        for lane, came in ((0, 3), (2, 2)):
            told = await consumer(journal, lane)
            assert told["config"]["filter_subject"] == f"{place.name}.entries.3.{lane}"
            assert (told["delivered"]["consumer_seq"], told["num_pending"]) == (came, 0)
        with pytest.raises(CdmdError, match="not found"):
            await consumer(journal, 1)


async def test_another_one_goes_on_from_where_the_store_has_come_to(place: Place, tmp_path: Path) -> None:
    async with writing(place, tmp_path) as journal:
        for n in range(20):
            await journal.append([append_of(n, n + 1, first=2 * n + 1)])
        async with FollowedJournal.open(place, clock=HandClock()) as followed:
            assert await read(followed, ALL, 0, upto=40) == list(range(1, 41))
        async with FollowedJournal.open(place, clock=HandClock()) as followed:
            found = await read(followed, frozenset((0,)), 17, upto=40)
            assert found == [seq for seq in range(18, 41) if ((seq - 1) // 2 + (seq - 1) % 2) % 3 == 0]


async def test_what_is_far_behind_is_read_by_and_by(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "_BATCH", 8)
    async with both(place, tmp_path) as (journal, followed):
        for n in range(60):
            await journal.append([append_of(0, 1, first=2 * n + 1)])
        assert await read(followed, frozenset((1,)), 0, upto=120, limit=5) == list(range(2, 121, 2))
        assert len(followed._reader._lanes[1].came) == 0
        told = await followed.read_lanes(ALL, 3, Seq(0), limit=5)
        with anyio.move_on_after(0.3):
            await anyio.sleep_forever()
        assert told is not None
        assert max(len(one.came) for one in followed._reader._lanes.values()) <= 3 * 8 + 8, "a bounded number is held"
        assert await read(followed, ALL, told[1], upto=120, limit=5) == list(range(told[1] + 1, 121))


async def test_of_large_entries_a_bounded_number_of_bytes_is_held_and_handed_out(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes, "_BYTES", 2**19)
    size, count = 100_000, 40
    async with both(place, tmp_path) as (journal, followed):
        large = [Entry(event(n, traits={"text": "x" * size}), part=0) for n in range(1, count + 1)]
        for entry in large:
            await journal.append([Append(connector="shop", entries=[entry])])
        await followed.wait(Seq(count - 1))
        told = await followed.read_lanes(ALL, 3, Seq(0), limit=1)
        assert told is not None
        assert len(told[0]) == 1
        with anyio.move_on_after(0.2):
            await anyio.sleep_forever()
        at, most = told[1], 2**19 // 3 + 2 * journal._link.max_payload
        while at < count:
            held = [sum(len(one.block.body) for one in lane.came) for lane in followed._reader._lanes.values()]
            assert max(held) <= most
            told = await followed.read_lanes(ALL, 3, at, limit=count)
            assert told is not None
            assert [one.seq for one in told[0]] == list(range(at + 1, told[1] + 1))
            assert 1 <= len(told[0]) <= 2**19 // size
            at = told[1]


async def test_what_is_larger_than_all_that_is_held_is_handed_out_too(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where one commit has more of a lane than that, and is sure only as a whole."""
    monkeypatch.setattr(lanes, "_BYTES", 1_000)
    monkeypatch.setattr(lanes, "_BATCH", 4)
    monkeypatch.setattr(lanes, "_QUIET", 10.0)  # nothing of it is fetched
    async with both(place, tmp_path) as (journal, followed):
        large = [Entry(event(n, traits={"text": "x" * 300_000}), part=n % 2) for n in range(1, 41)]
        await journal.append([Append(connector="shop", entries=large)])
        await journal.append([append_of(0, first=41)])
        with anyio.fail_after(8):
            assert await read(followed, ALL, 0, upto=41) == list(range(1, 42))


async def test_of_what_is_far_behind_as_much_is_handed_out_as_is_wanted(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that a batch is as large as where one node reads it all: each takes statements, however little is in it."""
    monkeypatch.setattr(lanes, "_MOMENT", 0.5)
    async with both(place, tmp_path) as (journal, followed):
        for n in range(100):
            await journal.append([append_of(0, 1, 2, first=3 * n + 1)])
        await followed.wait(Seq(299))
        counts, at = list[int](), Seq(0)
        while at < 300:
            told = await followed.read_lanes(frozenset((0, 2)), 3, at, limit=80)
            assert told is not None
            counts.append(len(told[0]))
            at = told[1]
        assert counts == [80, 80, 40]


async def test_what_was_not_divided_is_read_whole(place: Place, tmp_path: Path) -> None:
    async with writing(msgspec.structs.replace(place, lanes=1), tmp_path) as journal:
        await journal.append([append_of(0, 1)])
    async with both(place, tmp_path) as (journal, followed):
        await journal.append([append_of(2, first=3)])
        await followed.wait(Seq(2))
        assert await followed.read_lanes(frozenset((0,)), 3, Seq(0), limit=9) is None
        assert await followed.read_lanes(frozenset((0,)), 4, Seq(2), limit=9) is None
        assert await followed.read_lanes(frozenset((0,)), 3, Seq(2), limit=9) == ([], 3)
    async with both(msgspec.structs.replace(place, lanes=2), tmp_path) as (journal, followed):
        await journal.append([append_of(0, first=4)])
        await followed.wait(Seq(3))
        assert await followed.read_lanes(frozenset((0,)), 3, Seq(2), limit=9) is None


async def cut_off(journal: JetStreamJournal, monkeypatch: pytest.MonkeyPatch, *, sent: int, parts: tuple[int, ...]) -> None:
    """A commit that ends after so many of its messages, which are there."""
    say, left = Stream.say, [sent]

    async def cut(self: Stream, *said: Any, **more: Any) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise NotDurable("the way is cut")
        await say(self, *said, **more)

    with monkeypatch.context() as patched:
        patched.setattr(Stream, "say", cut)
        with pytest.raises(NotDurable, match="cut"):
            await journal.append([append_of(*parts, first=90)])


async def test_nothing_of_a_commit_that_was_given_up_is_handed_out(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where two of its messages follow on each other in a lane that had been read to its end."""
    async with both(place, tmp_path) as (journal, followed):
        await journal.append([append_of(0, 1)])
        assert await read(followed, ALL, 0, upto=2) == [1, 2]
        await cut_off(journal, monkeypatch, sent=3, parts=(0, 1, 0, 2, 1))
        lane = followed._reader._lanes[0]
        with anyio.fail_after(60):
            while len(lane.came) < 2:  # noqa: ASYNC110 - what another connection brings
                await anyio.sleep(0.01)
        await journal.append([append_of(2, first=3)])
        assert await read(followed, ALL, 2, upto=3) == [3]
        assert len(lane.came) == 2
        await journal.append([append_of(0, 1, first=4)])
        assert await read(followed, ALL, 3, upto=5) == [4, 5]


async def test_what_is_exchanged_before_it_is_read_is_read_as_what_it_is_now(place: Place, tmp_path: Path) -> None:
    """In the middle of a lane, and at its end."""
    async with both(place, tmp_path) as (journal, followed):
        for n in range(1, 5):
            await journal.append([append_of(0, first=n)])
        for n in (2, 3, 4):
            assert await journal.revise(erasing(n), holding=Holding(None), after=Seq(0)) == (4, 1)
        await followed.wait(Seq(3))
        found, upto = list[Any](), Seq(0)
        while upto < 4:
            told = await followed.read_lanes(ALL, 3, upto, limit=9)
            assert told is not None
            found, upto = [*found, *(one.entry for one in told[0])], told[1]
        assert found == [of_part(1, 0), *(tombstone(of_part(n, 0)) for n in (2, 3, 4))]


async def test_what_somebody_else_takes_of_a_consumer_is_fetched_in_order(place: Place, tmp_path: Path) -> None:
    async with both(place, tmp_path) as (journal, followed):
        await journal.append([append_of(0)])
        assert await read(followed, ALL, 0, upto=1) == [1]
        for lane in (0, 1):
            followed._reader._lanes[lane].asked = 99  # nothing more is asked for, and what is on its way is taken
            await journal._link.ask(f"CONSUMER.DELETE.{journal._streams.entries.name}.lane-3-{lane}")
        for n in range(2, 6):
            await journal.append([append_of(0, 1, 2, first=3 * n - 4)])
        assert await read(followed, ALL, 1, upto=13) == list(range(2, 14))
        lane = followed._reader._lanes[0]
        await journal.append([append_of(0, first=14), append_of(0, first=15)])
        lane.bring = lambda *_: None  # type: ignore[method-assign]
        assert await read(followed, ALL, 13, upto=15) == [14, 15]


async def test_what_does_not_come_is_fetched_however_much_is_written_meanwhile(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each commit wakes whoever waits, also for another one's lane: that is not what it waits for."""
    monkeypatch.setattr(lanes, "_QUIET", 0.2)
    async with both(place, tmp_path) as (journal, followed), anyio.create_task_group() as tasks:
        await journal.append([append_of(0, 1, 2)])
        assert await read(followed, ALL, 0, upto=3) == [1, 2, 3]
        for lane in (0, 1):
            await journal._link.ask(f"CONSUMER.DELETE.{journal._streams.entries.name}.lane-3-{lane}")

        async def write() -> None:
            while True:
                await journal.append([append_of(0, 1, 2, first=journal.head + 1)])
                await anyio.sleep(0.01)

        tasks.start_soon(write)
        with anyio.fail_after(20):
            upto = Seq(3)
            while upto < 60:
                await followed.wait(upto)
                told = await followed.read_lanes(ALL, 3, upto, limit=99)
                assert told is not None
                upto = told[1]
        tasks.cancel_scope.cancel()


async def test_servers_that_are_killed_and_begin_again_bring_the_rest(tmp_path: Path) -> None:
    with serving(tmp_path / "server") as server:
        place = Place(access=Access(servers=(server.url,)), name="a", lanes=3)
        async with both(place, tmp_path) as (journal, followed):
            await journal.append([append_of(0, 1, 2)])
            assert await read(followed, ALL, 0, upto=3) == [1, 2, 3]
            await anyio.to_thread.run_sync(server.kill)
            await anyio.to_thread.run_sync(server.start)
            with anyio.fail_after(60):
                while True:
                    try:
                        await journal.append([append_of(0, 1, 2, first=4)])
                        break
                    except NotDurable:
                        await anyio.sleep(0.05)
            await anyio.to_thread.run_sync(eventually, lambda: followed.failure is None)
            await journal._tell()
            with anyio.fail_after(60):
                while True:
                    try:
                        assert await read(followed, ALL, 3, upto=6) == [4, 5, 6]
                        break
                    except NotDurable:
                        await anyio.sleep(0.05)


async def test_whoever_reads_lanes_has_of_a_writer_that_is_killed_what_the_next_one_finds(
    nats: NatsServer, place: Place, tmp_path: Path
) -> None:
    """In between the messages of a commit, too: what was not whole is nobody's, and its numbers are given anew."""
    async with writing(place, tmp_path):
        pass
    found, at = dict[int, Any](), Seq(0)
    async with FollowedJournal.open(place, clock=HandClock()) as followed, anyio.create_task_group() as tasks:

        async def reads() -> None:
            nonlocal at
            while True:
                await followed.wait(at)
                told = await followed.read_lanes(ALL, 3, at, limit=50)
                assert told is not None
                entries, at = told
                assert not found.keys() & {one.seq for one in entries}
                found.update({one.seq: one.entry for one in entries})

        tasks.start_soon(reads)
        for kill_after in (3, 8, 20):
            await run_and_kill(_CHILD, nats.url, place.name, tmp_path, lines=kill_after)
            async with writing(place, tmp_path) as journal:
                await journal.append([append_of(0, 1, 2, first=10**6)])
                with anyio.fail_after(60):
                    while at < journal.head:  # noqa: ASYNC110 - another task gets there
                        await anyio.sleep(0.01)
                whole = {one.seq: one.entry for one in await journal.read(Seq(0), limit=10**6)}
                assert found == whole
        tasks.cancel_scope.cancel()


_CHILD = """
import sys, uuid
from pathlib import Path
import anyio
from tests.cluster.divided import append_of, writing
from cdmd.cluster.connection import Access
from cdmd.cluster.place import Place

async def main():
    place = Place(access=Access(servers=(sys.argv[1],)), name=sys.argv[2], lanes=3)
    async with writing(place, Path(sys.argv[3]), writer=uuid.uuid4().hex) as journal:
        while True:
            await journal.append([append_of(*range(journal.head % 7, journal.head % 7 + 9), first=journal.head + 1)])
            print(journal.head, flush=True)

anyio.run(main)
"""


async def test_what_no_message_can_hold_comes_whole(place: Place, tmp_path: Path) -> None:
    huge = Entry(event(2, traits={"text": "y" * 2_500_000}), part=1)
    async with both(place, tmp_path) as (journal, followed):
        await journal.append([append_of(1), Append(connector="shop", entries=[huge]), append_of(0, 1, first=3)])
        assert await read(followed, ALL, 0, upto=4) == [1, 2, 3, 4]
        for lane in followed._reader._lanes.values():
            lane.bring = lambda *_: None  # type: ignore[method-assign]
        huge = msgspec.structs.replace(huge, event=msgspec.structs.replace(huge.event, id="evt-5"))
        await journal.append([Append(connector="shop", entries=[huge]), append_of(1, 0, first=6)])
        assert await read(followed, ALL, 4, upto=7) == [5, 6, 7], "also where none of it is brought"


async def test_a_message_that_is_missing_or_no_piece_is_said_at_every_look(place: Place, tmp_path: Path) -> None:
    async with both(place, tmp_path) as (journal, followed):
        for n in (1, 2, 3):
            await journal.append([append_of(0, first=n)])
        await followed.wait(Seq(2))
        await journal._streams.entries.erase(journal._division.ends[0] - 1)
        for _ in range(2):
            with pytest.raises(Damaged, match=r"message \d of .* is missing"):
                await read(followed, ALL, 0, upto=3)
        await journal._lane.write([b"junk"], subjects=[f"{place.name}.entries.3.1"])
        await journal._lane.settle()
        for _ in range(2):
            with pytest.raises(Damaged, match=r"message \d of .* is not one of|is missing"):
                await read(followed, frozenset((0, 1)), 0, upto=99)


async def test_what_is_pruned_is_not_missed(place: Place, tmp_path: Path) -> None:
    async with both(place, tmp_path) as (journal, followed):
        for n in (1, 2, 3):
            await journal.append([append_of(0, first=n)])
        assert await journal.prune(before=Micros(2**62), upto=Seq(2)) == 2
        await followed.wait(Seq(2))
        assert await read(followed, ALL, 2, upto=3) == [3]


async def test_who_leads_has_consumers_only_while_it_reads_through_them(place: Place, tmp_path: Path) -> None:
    opened = LeadingJournal.open(place, clock=HandClock(), mark_path=tmp_path / "mark", new_id=lambda: f"w{next(_NAMES)}")
    async with opened as journal:
        for n in range(1, 7):
            await journal.append([append_of(n % 3, first=n)])
        async with FollowedJournal.open(place, clock=HandClock()) as lost:
            await read(lost, frozenset((1,)), 0, upto=6)
        assert await consumer(journal, 1)
        for _ in range(2):
            assert await journal.read_lanes(frozenset((1,)), 3, Seq(0), limit=9) is not None
            with pytest.raises(CdmdError, match="not found"):
                await consumer(journal, 1)
        journal._tail.clear()
        told = await journal.read_lanes(frozenset((1,)), 3, Seq(0), limit=9)
        assert told is not None
        assert ([one.seq for one in told[0]], told[1]) == ([1, 4], 6)
        assert (await consumer(journal, 1))["num_pending"] == 0
        await journal.append([append_of(0, 1, first=7)])
        told = await journal.read_lanes(frozenset((1,)), 3, Seq(6), limit=9)
        assert told is not None
        assert ([one.seq for one in told[0]], told[1]) == ([7, 8], 8), "what is in memory is read whole"
        assert journal._reader._stop is None, "and nothing is held that came before"
        with pytest.raises(CdmdError, match="not found"):
            await consumer(journal, 1)


@pytest.mark.parametrize("domain", ["", "hub.ACCOUNT."])
def test_the_number_of_a_message_is_read_in_both_forms(domain: str) -> None:
    reply = f"$JS.ACK.{domain}a_entries.lane-3-1.1.77.3.1796081849118963487.5" + (".x" if domain else "")
    assert Heard("a.entries.3.1", reply, b"").seq == 77


async def test_consumers_of_lanes_that_there_are_no_more_are_removed(place: Place, tmp_path: Path) -> None:
    async with both(place, tmp_path) as (journal, followed):
        await journal.append([append_of(0)])
        await read(followed, ALL, 0, upto=1)
        stream = journal._streams.entries
        await forget_others(stream, 3)
        await consumer(journal, 0)
        await forget_others(stream, 5)
        with pytest.raises(CdmdError, match="not found"):
            await consumer(journal, 0)


# ---- what is sure, without a server -------------------------------------------------------------------------------------


def got(at: int, before: int, *, commit: int | None = None) -> Got:
    return Got(at, at if commit is None else commit, before, Block(Seq(at), Seq(at), Micros(0), b"", b""))


def lane_of(*some: Got, base: int = 0) -> Lane:
    lane = Lane(0, "x.3.0", base=base)
    for one in some:
        lane.put(one)
    return lane


@pytest.mark.parametrize(
    ("some", "ends", "sure"),
    [
        ([], 0, (0, True)),
        ([], 5, (0, False)),
        ([got(5, 0)], 5, (1, True)),
        ([got(5, 0)], 0, (0, True)),  # not told of, or of a commit that was given up
        ([got(5, 0)], 9, (0, False)),
        ([got(5, 0), got(7, 5)], 9, (1, False)),
        ([got(5, 0), got(7, 5, commit=5)], 9, (0, False)),
        ([got(5, 0), got(7, 5), got(8, 7, commit=7)], 9, (1, False)),
        ([got(5, 0), got(7, 0)], 7, (1, True)),  # the first one was given up
        ([got(5, 0), got(6, 5), got(7, 0)], 7, (1, True)),
        ([got(5, 0), got(7, 5)], 5, (1, True)),
    ],
)
def test_what_follows_or_is_told_to_be_the_end_makes_sure(some: list[Got], ends: int, sure: tuple[int, bool]) -> None:
    assert lane_of(*some).sure(ends) == sure


def test_what_is_not_known_to_be_whole_is_gone_on_with_however_much_it_is() -> None:
    block = Block(Seq(1), Seq(1), Micros(0), b"", b"12345")
    first, more, other = Got(5, 5, 0, block), Got(6, 5, 5, block), Got(7, 7, 6, block)
    assert not lane_of().full(0)
    assert not lane_of(first, more).full(9)
    assert lane_of(first, more, other).full(14)
    assert not lane_of(first, more, other).full(15)


def test_what_comes_twice_or_too_late_is_no_news() -> None:
    lane = lane_of(got(5, 3), got(7, 5), got(5, 3), got(2, 0), base=3)
    assert [one.at for one in lane.came] == [5, 7]
    lane.fill([got(6, 5)], got(9, 7))
    assert [one.at for one in lane.came] == [5, 7]


def test_what_goes_on_with_something_that_did_not_come_is_left_to_be_fetched() -> None:
    lane = lane_of()
    lane.bring(3, Frame("w", 1, ends=False, body=b"x", of=1, more=True), "there")
    assert lane.came == []
