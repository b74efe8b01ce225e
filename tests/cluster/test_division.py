"""A journal on a real nats-server whose entries are divided into lanes, a message for each of a commit."""

import itertools
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cdmd.cluster.beside import Beside, Checkpoint
from cdmd.cluster.bulk import look
from cdmd.cluster.commits import read_frame
from cdmd.cluster.connection import Access
from cdmd.cluster.entries import decode_piece
from cdmd.cluster.journal import JetStreamJournal
from cdmd.cluster.place import Place
from cdmd.cluster.stream import Stream
from cdmd.contracts import Append, Holding
from cdmd.errors import NotDurable
from cdmd.models import Entry, Seq, tombstone
from tests.cluster.divided import append_of, of_part, writing
from tests.cluster.servers import NatsServer, needed
from tests.store.contract_journal import erasing
from tests.store.samples import event

pytestmark = [needed, pytest.mark.anyio]
_NAMES = itertools.count()


@pytest.fixture
def place(nats: NatsServer) -> Place:
    return Place(access=Access(servers=(nats.url,)), name=f"divided{next(_NAMES)}", lanes=3)


async def messages(journal: JetStreamJournal) -> list[tuple[int, str, int, int, int]]:
    """Of each that says something: its number, subject, first and last entry, and which one it names in front of it."""
    stream, found, at = journal._streams.entries, list[tuple[int, str, int, int, int]](), 0
    while (one := await stream.following(at + 1)) is not None:
        at, frame = one.seq, read_frame(one.data, "")
        if frame.body:
            piece = decode_piece(frame.body, "")
            found.append((at, one.subject.removeprefix(f"{stream.subject}."), piece.first, piece.last, piece.before))
    return found


async def test_each_lane_has_a_subject_and_its_messages_name_the_one_before(place: Place, tmp_path: Path) -> None:
    async with writing(place, tmp_path) as journal:
        assert await journal.append([append_of(3, 3, 1), append_of(1, 5, first=4)]) == 1
    async with writing(place, tmp_path) as journal:
        assert await journal.append([append_of(4, 0, first=6)]) == 6
        assert await messages(journal) == [
            (2, "3.0", 1, 2, 0),
            (3, "3.1", 3, 4, 0),
            (4, "3.2", 5, 5, 0),
            (6, "3.1", 6, 6, 3),
            (7, "3.0", 7, 7, 2),
        ]
        found = [(one.seq, one.entry.event.id, one.entry.part) for one in await journal.read(Seq(0), limit=99)]
        assert found == [(n, f"evt-{n}", part) for n, part in enumerate((3, 3, 1, 1, 5, 4, 0), 1)]


async def test_what_was_killed_before_a_checkpoint_goes_on_in_each_lane(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        async with writing(place, tmp_path) as journal:
            await journal.append([append_of(0, 1)])
            await journal.append([append_of(1, 2, first=3)])

            async def gone(*_args: Any, **_options: Any) -> None:
                raise NotDurable("the process is gone")

            patched.setattr(Stream, "replace", gone)
    async with writing(place, tmp_path) as journal:
        await journal.append([append_of(0, 1, 2, first=5)])
        assert [one[-1] for one in (await messages(journal))[-3:]] == [2, 4, 5]


async def test_what_was_not_divided_or_otherwise_is_read_on_and_lanes_begin_anew(place: Place, tmp_path: Path) -> None:
    for number, lanes in enumerate((1, 3, 2, 1, 3)):
        async with writing(msgspec.structs.replace(place, lanes=lanes), tmp_path) as journal:
            before = journal.head
            assert await journal.append([append_of(0, 1, 2, first=before + 1)]) == before + 1
            assert journal._division.number == lanes
            assert journal._division.since == (journal.head if lanes == 1 else before)
            found = [one.entry.event.id for one in await journal.read(Seq(0), limit=99)]
            assert found == [f"evt-{n}" for n in range(1, 3 * number + 4)]
            assert await journal.verify() == []


class OfOneLane(msgspec.Struct):
    """A checkpoint as a version has it that knows of no lanes: it reads what it knows of, and goes on there."""

    journal_id: str
    entries: int = 0
    changes: int = 0
    head: Seq = Seq(0)


async def test_a_version_that_knows_of_no_lanes_goes_on_only_where_there_are_none(place: Place, tmp_path: Path) -> None:
    """Not with a head that lanes went beyond: it would give numbers twice. From the opening on, so also after a kill."""
    goes_on_at = list[Seq | None]()

    async def note(journal: JetStreamJournal) -> None:
        kept = await journal._streams.kept.last(journal._streams.bucket.checkpoint)
        assert kept is not None
        try:
            goes_on_at.append(msgspec.json.decode(kept.data, type=OfOneLane).head)
        except msgspec.DecodeError:
            goes_on_at.append(None)

    for lanes in (1, 3, 1):
        async with writing(msgspec.structs.replace(place, lanes=lanes), tmp_path) as journal:
            await note(journal)
            await journal.append([append_of(0, 1, 2, first=journal.head + 1)])
            await journal.settled()
            await note(journal)
        seen = await look(place)
        assert seen is not None
        assert seen.head == journal.head
    assert goes_on_at == [0, 3, None, None, None, 9]


async def test_a_commit_that_ends_between_its_lanes_is_not_there_and_its_numbers_are_given_anew(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the same writer, and by the one behind it: the state never says more than is there."""
    say = Stream.say
    for sent in (0, 1, 2):
        async with writing(place, tmp_path) as journal:
            head, left = journal.head, [sent]
            with monkeypatch.context() as patched:

                async def cut(self: Stream, *said: Any, left: list[int] = left, **more: Any) -> None:
                    left[0] -= 1
                    if left[0] < 0:
                        raise NotDurable("the way is cut")
                    await say(self, *said, **more)

                patched.setattr(Stream, "say", cut)
                with pytest.raises(NotDurable, match="cut"):
                    await journal.append([append_of(0, 1, 2, 0, first=90, state={b"n": b"torn"}, counts={"accepted": 4})])
            assert journal.head == head
            if sent % 2:
                await journal.append(
                    [append_of(2, 1, first=head + 1, state={b"n": b"%d" % (head + 2)}, counts={"accepted": 2})]
                )
        async with writing(place, tmp_path) as journal:
            assert journal.head == head + 2 * (sent % 2)
            found = await journal.read(Seq(0), limit=99)
            assert [one.entry.event.id for one in found] == [f"evt-{n}" for n in range(1, journal.head + 1)]
            assert await journal.counts() == ({("shop", "accepted"): journal.head} if journal.head else {})
            assert await journal.get("shop", [b"n"]) == ({b"n": b"%d" % journal.head} if journal.head else {})
            assert await journal.verify() == []


async def test_what_arrives_late_of_a_commit_that_was_given_up_is_not_taken_for_the_next_ones(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its first message comes right before the next commit's, which then goes by the number, but not by the name before it."""
    async with writing(place, tmp_path) as journal:
        await journal.append([append_of(0)])
        stream, say, kept = journal._streams.entries, Stream.say, list[tuple[Any, Any]]()

        async def lost(_: Stream, *said: Any, **more: Any) -> None:
            kept.append((said, more))
            raise NotDurable("the way is cut")

        with monkeypatch.context() as patched:
            patched.setattr(Stream, "say", lost)
            with pytest.raises(NotDurable, match="cut"):
                await journal.append([append_of(0, 1, 2, first=90)])
        await journal._lane.settle()

        async def after_the_late_one(self: Stream, *said: Any, **more: Any) -> None:
            if kept:
                late, headers = kept.pop()
                assert await stream.publish(*late, **headers) is not None
            await say(self, *said, **more)

        monkeypatch.setattr(Stream, "say", after_the_late_one)
        assert await journal.append([append_of(0, 1, 2, first=2)]) == 2
        assert not kept
        assert [one.entry.event.id for one in await journal.read(Seq(0), limit=9)] == [f"evt-{n}" for n in range(1, 5)]
        assert await journal.verify() == []


async def test_what_is_read_again_after_a_kill_is_bounded_in_messages_however_many_a_commit_has(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cdmd.cluster.journal._CHECKPOINT_MESSAGES", 5)
    async with writing(place, tmp_path) as journal:
        left = list[int]()
        for _ in range(4):
            await journal.append([append_of(0, 1, 2)])
            await journal.write_mark()
            left.append(journal._beside.messages)
        assert left == [3, 0, 3, 0]


async def test_why_a_full_stream_takes_nothing_is_said(place: Place, tmp_path: Path) -> None:
    async with writing(msgspec.structs.replace(place, max_bytes=30_000), tmp_path) as journal:
        await journal.append([append_of(*range(20))])
        with pytest.raises(NotDurable, match="maximum bytes exceeded"):
            await journal.append([append_of(*range(200), first=21)])
        assert await journal.verify() == []


async def test_what_is_exchanged_stays_in_its_lane(place: Place, tmp_path: Path) -> None:
    async with writing(place, tmp_path) as journal:
        await journal.append([append_of(0, 0, 1, 2)])
        await journal.append([append_of(0, first=5)])
        assert await journal.revise(erasing(2), holding=Holding(None), after=Seq(0)) == (5, 1)
        found = [one.entry for one in await journal.read(Seq(0), limit=9)]
        assert found == [of_part(1, 0), tombstone(of_part(2, 0)), of_part(3, 1), of_part(4, 2), of_part(5, 0)]
        one = await journal._entries.at(2)
        assert one is not None
        assert (one.piece.lanes, one.piece.lane, one.piece.before) == (3, 0, 0)


@pytest.mark.parametrize("commits", [1, 2])
async def test_who_leads_next_after_an_exchange_has_the_other_lanes_of_that_commit(
    place: Place, tmp_path: Path, commits: int
) -> None:
    """Also where the one that exchanged it was gone right after that."""
    (there := tmp_path / "there").mkdir()
    async with writing(place, tmp_path) as journal:
        for n in range(commits):
            await journal.append([append_of(0, 1, 2, first=3 * n + 1)])
        assert await journal.revise(erasing(2), holding=Holding(None), after=Seq(0)) == (3 * commits, 1)
        expected = await journal.read(Seq(0), limit=9)
        async with writing(place, there) as successor:
            assert await successor.read(Seq(0), limit=9) == expected
            assert await successor.append([append_of(1, first=9)]) == journal.head + 1
            assert await successor.verify() == []


@pytest.mark.parametrize("commits", [1, 2])
async def test_what_is_exchanged_while_another_one_opens_it_is_not_taken_for_torn(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, commits: int
) -> None:
    """As one does that stood still in the midst of an erasure, and goes on between two steps of the one that leads next."""
    (there := tmp_path / "there").mkdir()
    load, exchanged = Beside.load, list[tuple[Seq, int]]()
    async with writing(place, tmp_path) as journal:
        for n in range(commits):
            await journal.append([append_of(0, 1, 2, first=3 * n + 1)])

        async def loaded(self: Beside) -> Checkpoint | None:
            found = await load(self)
            if not exchanged:
                exchanged.append(await journal.revise(erasing(2), holding=Holding(None), after=Seq(0)))
            return found

        monkeypatch.setattr(Beside, "load", loaded)
        async with writing(place, there) as successor:
            assert exchanged == [(3 * commits, 1)]
            found = await successor.read(Seq(0), limit=9)
            assert [one.seq for one in found] == list(range(1, 3 * commits + 1))
            assert found == await journal.read(Seq(0), limit=9)
            assert await successor.append([append_of(1, first=9)]) == 3 * commits + 1
            assert await successor.verify() == []


async def test_one_lane_after_the_other_is_cut_at_what_a_message_can_hold(place: Place, tmp_path: Path) -> None:
    large = [Entry(event(n, traits={"text": "y" * 700_000}), part=n // 3) for n in range(1, 7)]
    async with writing(place, tmp_path) as journal:
        huge = Entry(event(7, traits={"text": "y" * 2_500_000}), part=1)
        await journal.append([Append(connector="shop", entries=[*large, huge]), append_of(1, first=8)])
        assert [one.entry.event.id for one in await journal.read(Seq(0), limit=9)] == [f"evt-{n}" for n in range(1, 9)]
        lanes = dict[int, int]()
        async for found in journal._entries.behind(Seq(0), end=journal._lane.end):
            assert found.piece.before == lanes.get(found.piece.lane, 0)
            lanes[found.piece.lane] = found.at
        assert tuple(lanes[n] for n in range(3)) == journal._division.ends
    async with writing(place, tmp_path) as journal:
        assert await journal.verify() == []
