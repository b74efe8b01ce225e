"""A journal on a real nats-server as a daemon sees it that applies what another one writes."""

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from cdmd.cluster.beside import Beside
from cdmd.cluster.commits import Commits, Frame
from cdmd.cluster.connection import Access
from cdmd.cluster.entries import Piece, encode_piece
from cdmd.cluster.following import FollowedJournal
from cdmd.cluster.journal import JetStreamJournal
from cdmd.cluster.place import Place
from cdmd.contracts import Append, Holding
from cdmd.errors import Damaged, NotDurable
from cdmd.models import Micros, Seq, encode_entry, tombstone
from cdmd.store.blocks import pack
from tests.cluster.servers import NatsServer, needed
from tests.store.contract_journal import erasing
from tests.store.samples import HandClock, append_of, entry

pytestmark = [needed, pytest.mark.anyio]
_NAMES = itertools.count()


@pytest.fixture
def place(nats: NatsServer) -> Place:
    return Place(access=Access(servers=(nats.url,)), name=f"followed{next(_NAMES)}")


@asynccontextmanager
async def writing(place: Place, folder: Path) -> AsyncIterator[JetStreamJournal]:
    opened = JetStreamJournal.open(place, clock=HandClock(), mark_path=folder / "mark", new_id=lambda: f"w{next(_NAMES)}")
    async with opened as journal:
        yield journal


async def test_it_brings_what_another_one_writes_before_and_after_it_was_opened(place: Place, tmp_path: Path) -> None:
    async with writing(place, tmp_path) as journal:
        await journal.append([append_of(1, 2)])
        await journal.settled()
        await journal.append([append_of(3)])
        async with FollowedJournal.open(place, clock=HandClock()) as followed:
            assert (followed.id, followed.head, followed.failure) == (journal.id, 3, None)
            assert [(one.seq, one.entry) for one in await followed.read(Seq(0), limit=9)] == [(n, entry(n)) for n in (1, 2, 3)]
            assert await followed.read(Seq(3), limit=9) == []
            await journal.append([append_of(*range(4, 10))])
            await followed.wait(Seq(8))
            assert [one.seq for one in await followed.read(Seq(3), limit=4)] == [4, 5, 6, 7]
            figures = await followed.statistics()
            assert (figures.first, figures.head, figures.failure) == (1, 9, None)


async def test_what_the_door_counted_is_known_with_what_it_came_with(place: Place, tmp_path: Path) -> None:
    async with writing(place, tmp_path) as journal, FollowedJournal.open(place, clock=HandClock()) as followed:
        for number in range(1, 4):
            one = append_of(number)
            await journal.append([Append(connector="shop", entries=one.entries, counts={"accepted": number})])
        await followed.wait(Seq(2))
        assert await followed.counts() == {("shop", "accepted"): 6}
        await journal.settled()  # the counts are in the checkpoint now
        assert await followed.counts() == {("shop", "accepted"): 6}
        await journal.append([Append(connector="shop", counts={"refused": 2})])
        await journal.append([Append(connector="shop", entries=append_of(4).entries, counts={"accepted": 4})])
        await followed.wait(Seq(3))
        assert await followed.counts() == {("shop", "accepted"): 10, ("shop", "refused"): 2}


async def test_what_was_counted_with_an_entry_is_read_once(place: Place, tmp_path: Path) -> None:
    """Each node asks every other second, and there may be thousands of messages since the last checkpoint."""
    async with writing(place, tmp_path) as journal, FollowedJournal.open(place, clock=HandClock()) as followed:
        looked, ask = list[int](), followed._entries.at

        async def at(seq: int) -> Any:
            looked.append(seq)
            return await ask(seq)

        async def put(number: int) -> None:
            await journal.append([Append(connector="shop", entries=append_of(number).entries, counts={"accepted": 1})])
            await followed.wait(Seq(number - 1))

        followed._entries.at = at  # type: ignore[method-assign]
        for number in range(1, 6):
            await put(number)
        assert await followed.counts() == {("shop", "accepted"): 5}
        looked.clear()
        assert (await followed.counts(), looked) == ({("shop", "accepted"): 5}, [])
        await put(6)
        assert (await followed.counts(), looked) == ({("shop", "accepted"): 6}, [journal._lane.end])
        await put(7)
        assert await journal.prune(before=Micros(2**62), upto=Seq(7)) == 7
        await put(8)
        assert await followed.counts() == {("shop", "accepted"): 8}, "also of what is gone before it was read here"


async def test_state_is_what_it_is_at_that_moment(place: Place, tmp_path: Path) -> None:
    async with writing(place, tmp_path) as journal, FollowedJournal.open(place, clock=HandClock()) as followed:
        for value in (b"1", b"2"):
            await journal.append([append_of(int(value), state={b"a": value, b"ab": b"x"}, counts={"received": 1})])
            assert await followed.get("shop", [b"a", b"z"]) == {b"a": value}
            await journal.settled()
            assert await followed.get("shop", [b"a"]) == {b"a": value}
        assert [row async for row in followed.scan("shop", b"a")] == [(b"a", b"2"), (b"ab", b"x")]
        assert (await followed.owners(), await followed.counts()) == (["shop"], {("shop", "received"): 2})


async def test_what_a_checkpoint_wipes_while_state_is_read_is_not_missed(place: Place, tmp_path: Path) -> None:
    """Neither at once nor later, when changes behind the wiped ones have been read."""
    async with writing(place, tmp_path) as journal, FollowedJournal.open(place, clock=HandClock()) as followed:

        async def put(value: bytes, key: bytes = b"a") -> None:
            await journal.append([Append(connector="shop", state={key: value}, counts={"refused": 1})])

        def between(step: Any, *, name: str) -> None:
            """Once, right before the next time that this is asked."""
            stream = followed._streams.changes if name == "following" else followed._streams.kept
            ask = getattr(stream, name)

            async def asked(*said: Any) -> Any:
                setattr(stream, name, ask)
                await step()
                return await ask(*said)

            setattr(stream, name, asked)

        async def another(value: bytes) -> None:
            await put(value)
            await journal.settled()

        await put(b"1")
        between(lambda: another(b"2"), name="following")
        assert await followed.get("shop", [b"a"]) == {b"a": b"2"}
        assert await followed.get("shop", [b"a"]) == {b"a": b"2"}
        between(lambda: another(b"3"), name="following")
        assert await followed.get("shop", [b"a"]) == {b"a": b"3"}
        between(lambda: another(b"4"), name="last")
        assert await followed.get("shop", [b"a"]) == {b"a": b"4"}
        await put(b"x", b"b")
        assert await followed.get("shop", [b"a"]) == {b"a": b"4"}
        between(lambda: another(b"5"), name="following")
        assert (await followed.counts())["shop", "refused"] == 6


async def test_one_that_was_followed_by_another_one_takes_nothing_back_when_it_is_stopped(place: Place, tmp_path: Path) -> None:
    """What it knew last would stand in place of what is there by now, where the changes are wiped already."""
    for name in ("old", "new", "later"):
        (tmp_path / name).mkdir()
    async with writing(place, tmp_path / "old") as old:
        await old.append([Append(connector="shop", state={b"a": b"1"}, counts={"refused": 1})])
        async with writing(place, tmp_path / "new") as new:
            await new.append([Append(connector="shop", state={b"a": b"2"}, counts={"refused": 1})])
            await new.settled()
            with pytest.raises(NotDurable, match="another daemon has opened the journal"):
                await old.settled()
    async with writing(place, tmp_path / "later") as journal:
        assert await journal.get("shop", [b"a"]) == {b"a": b"2"}
        assert await journal.counts() == {("shop", "refused"): 2}


def stands_still(
    monkeypatch: pytest.MonkeyPatch, place: Place, folder: Path, meanwhile: Callable[[JetStreamJournal], Awaitable[None]]
) -> None:
    """Whoever asks next whether it is the one that writes stands still behind the answer, and another one opens the journal."""
    asked, sure = list[Commits](), Commits.sure

    async def and_stands_still(commits: Commits) -> None:
        asked.append(commits)
        await sure(commits)
        if len(asked) == 1:
            async with writing(place, folder) as new:
                await meanwhile(new)

    monkeypatch.setattr(Commits, "sure", and_stands_still)


@pytest.mark.parametrize(
    ("before", "by_old", "by_new"),
    [
        ({b"a": b"1"}, {b"a": b"2"}, {b"a": b"3"}),
        ({b"a": b"1"}, {b"a": b"2"}, {b"a": None}),
        ({}, {b"a": b"2"}, {b"a": b"3"}),
        ({}, {b"a": b"2"}, {b"a": None}),
        ({b"a": b"1"}, {b"a": None}, {b"a": b"3"}),
        ({b"a": b"1"}, {b"a": b"2" * 2_500_000}, {b"a": b"3" * 2_500_000}),
        ({}, {}, {b"a": b"3"}),
    ],
)
async def test_nor_when_it_stood_still_between_asking_who_writes_and_writing(
    place: Place,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    before: Mapping[bytes, bytes | None],
    by_old: Mapping[bytes, bytes | None],
    by_new: Mapping[bytes, bytes | None],
) -> None:
    for name in ("old", "new", "later"):
        (tmp_path / name).mkdir()

    async def meanwhile(new: JetStreamJournal) -> None:
        await new.append([Append(connector="shop", state=by_new, counts={"refused": 1})])

    async with writing(place, tmp_path / "old") as old:
        await old.append([Append(connector="shop", state=before, counts={"refused": 1})])
        await old.settled()
        await old.append([Append(connector="shop", state=by_old, counts={"refused": 1})])
        stands_still(monkeypatch, place, tmp_path / "new", meanwhile)
        with pytest.raises(NotDurable, match="another daemon"):
            await old.settled()
    async with writing(place, tmp_path / "later") as journal:
        kept = {key: value for key, value in by_new.items() if value is not None}
        assert await journal.get("shop", [b"a"]) == kept
        assert await journal.counts() == {("shop", "refused"): 3}


async def test_what_is_brought_into_the_bucket_while_another_one_opens_the_journal_is_not_missed(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither counts that came with no entry nor state, whose changes are wiped before they are read."""
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
    async with writing(place, tmp_path / "old") as old:
        await old.append([Append(connector="shop", state={b"a": b"1", b"b": b"1"}, counts={"refused": 1})])
        load, loaded = Beside.load, list[Beside]()

        async def and_meanwhile(beside: Beside) -> Any:
            found = await load(beside)
            loaded.append(beside)
            if len(loaded) == 1:
                await old.append([Append(connector="shop", state={b"a": b"2", b"b": None}, counts={"refused": 2})])
                await old.settled()
            return found

        monkeypatch.setattr(Beside, "load", and_meanwhile)
        async with writing(place, tmp_path / "new") as new:
            assert await new.get("shop", [b"a", b"b"]) == {b"a": b"2"}
            assert await new.counts() == {("shop", "refused"): 3}
            assert await new.append([append_of(1)]) == 1


async def test_nor_where_all_that_the_other_one_wrote_is_pruned(place: Place, tmp_path: Path) -> None:
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
    async with writing(place, tmp_path / "old") as old:
        await old.append([append_of(1, state={b"a": b"1"})])
        async with writing(place, tmp_path / "new") as new:
            await new.append([append_of(2, state={b"a": b"2"})])
            assert await new.prune(before=Micros(2**60), upto=Seq(2)) == 2
            with pytest.raises(NotDurable, match="another daemon has opened the journal"):
                await old.settled()
            assert await new.settled()
            assert await new.get("shop", [b"a"]) == {b"a": b"2"}


async def test_nor_of_entries_that_were_erased(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not where it stood still in the midst of erasing fewer of them."""
    for name in ("old", "new", "later"):
        (tmp_path / name).mkdir()

    async def meanwhile(new: JetStreamJournal) -> None:
        assert await new.revise(erasing(1, 2), holding=Holding(None), after=Seq(0)) == (2, 2)

    async with writing(place, tmp_path / "old") as old:
        await old.append([append_of(1, 2)])
        stands_still(monkeypatch, place, tmp_path / "new", meanwhile)
        with pytest.raises(NotDurable, match="another daemon"):
            await old.revise(erasing(1), holding=Holding(None), after=Seq(0))
    async with writing(place, tmp_path / "later") as journal:
        assert [one.entry for one in await journal.read(Seq(0), limit=9)] == [tombstone(entry(n)) for n in (1, 2)]


async def test_half_a_commit_is_never_read(place: Place, tmp_path: Path) -> None:
    async with writing(place, tmp_path) as journal, FollowedJournal.open(place, clock=HandClock()) as followed:
        await journal.append([append_of(1)])
        put, parts = journal._lane._put, list[int]()

        async def breaks(body: bytes, *, ends: bool, part: int, **more: Any) -> bool:
            parts.append(part)
            if ends:
                raise NotDurable("the way is cut")
            return await put(body, ends=ends, part=part, **more)

        journal._lane._put = breaks  # type: ignore[method-assign]
        large = [Append(connector="shop", entries=[entry(n)], encoded=[b"\xc0" * 700_000]) for n in (2, 3)]
        with pytest.raises(NotDurable, match="cut"):
            await journal.append(large)
        assert len(parts) > 1
        async with FollowedJournal.open(place, clock=HandClock()) as later:
            assert later.head == 1
        journal._lane._put = put  # type: ignore[method-assign]
        await journal.append([append_of(2)])
        await followed.wait(Seq(1))
        assert [(one.seq, one.entry) for one in await followed.read(Seq(1), limit=9)] == [(2, entry(2))]


async def test_that_nobody_tells_of_the_journal_is_said(place: Place, tmp_path: Path) -> None:
    clock = HandClock()
    async with writing(place, tmp_path) as journal, FollowedJournal.open(place, clock=clock) as followed:
        assert followed.failure is None
        await clock.sleep(30)
        assert followed.failure == "no node that leads was heard of for 30 s"
        await journal.append([append_of(1)])
        await followed.wait(Seq(0))
        assert followed.failure is None


async def test_where_nobody_wrote_yet_it_says_so(place: Place) -> None:
    with pytest.raises(NotDurable, match="no journal yet"):
        async with FollowedJournal.open(place, clock=HandClock()):
            pass


async def test_it_writes_nothing(place: Place, tmp_path: Path) -> None:
    async with writing(place, tmp_path), FollowedJournal.open(place, clock=HandClock()) as followed:
        await followed.check(Seq(0))
        await followed.write_mark()
        for attempt in (
            lambda: followed.append([append_of(1)]),
            lambda: followed.forget("shop"),
            lambda: followed.prune(before=Micros(0), upto=Seq(0)),
            lambda: followed.revise(lambda some: {}, holding=Holding(None), after=Seq(0)),
            followed.settled,
            lambda: followed.backup(tmp_path / "x"),
            followed.verify,
        ):
            with pytest.raises(NotDurable, match="node that leads"):
                await attempt()
        with pytest.raises(NotDurable, match="node that leads"):
            followed.unpruned()


async def test_where_the_entries_begin_is_told(place: Place, tmp_path: Path) -> None:
    async with writing(place, tmp_path) as journal, FollowedJournal.open(place, clock=HandClock()) as followed:
        for number in (1, 2):
            await journal.append([append_of(number)])
        await followed.wait(Seq(1))
        assert await journal.prune(before=Micros(2**62), upto=Seq(1)) == 1
        with anyio.fail_after(30):
            while (await followed.statistics()).first != 2:  # noqa: ASYNC110 - another connection's doing
                await anyio.sleep(0.01)
        assert [one.seq for one in await followed.read(Seq(1), limit=9)] == [2]


def piece(*numbers: int) -> Piece:
    encoded = [encode_entry(entry(n)) for n in numbers]
    return Piece(*pack(Seq(numbers[0]), encoded, written=Micros(0)))


async def test_what_arrives_when_its_commit_was_given_up_is_taken_by_nobody(place: Place, tmp_path: Path) -> None:
    async with writing(place, tmp_path) as journal, FollowedJournal.open(place, clock=HandClock()) as followed:
        await journal.append([append_of(1)])
        stream, put = journal._streams.entries, journal._lane._put
        late = dict[str, Any]()

        async def lost(body: bytes, *, ends: bool, part: int, **more: Any) -> bool:
            if not part:
                return await put(body, ends=ends, part=part, **more)
            late.update(payload=msgspec.msgpack.encode(Frame(journal._lane._writer, part, ends, body)))
            late.update(headers={"Nats-Expected-Last-Sequence": str(journal._lane._written)})
            raise NotDurable("the way is cut")

        journal._lane._put = lost  # type: ignore[method-assign]
        large = [Append(connector="shop", entries=[entry(n)], encoded=[b"\xc0" * 700_000]) for n in (2, 3)]
        with pytest.raises(NotDurable, match="cut"):
            await journal.append(large)
        journal._lane._put = put  # type: ignore[method-assign]
        erase, arrived = stream.erase, list[int | None]()

        async def arriving(seq: int) -> None:
            arrived.append(await stream.publish(stream.subject, **late))
            async with FollowedJournal.open(place, clock=HandClock()) as later:
                assert later.head == 1
            await erase(seq)

        journal._lane._stream.erase = arriving  # type: ignore[method-assign]
        assert await journal.append([append_of(2)]) == 2
        assert arrived == [None]
        await followed.wait(Seq(1))
        assert [(one.seq, one.entry) for one in await followed.read(Seq(0), limit=9)] == [(1, entry(1)), (2, entry(2))]


async def test_what_was_missing_of_a_commit_and_comes_after_all_makes_it_whole(place: Place, tmp_path: Path) -> None:
    async with writing(place, tmp_path) as journal:
        lane, asked = journal._lane, journal._streams.entries.info
        first = msgspec.msgpack.encode(Frame(lane._writer, 0, False, encode_piece(piece(1))))
        second = msgspec.msgpack.encode(Frame(lane._writer, 1, True, encode_piece(piece(2))))
        await lane._stream.publish(lane._stream.subject, first, headers={})

        async def told_before() -> Any:
            found = await asked()
            lane._stream.info = asked  # type: ignore[method-assign]
            await lane._stream.publish(lane._stream.subject, second, headers={})
            return found

        lane._stream.info = told_before  # type: ignore[method-assign]
        lane._uncertain = True
        assert await journal.append([append_of(3)]) == 3
        assert [one.entry for one in await journal.read(Seq(0), limit=9)] == [entry(1), entry(2), entry(3)]


async def test_one_that_was_away_while_entries_were_pruned_goes_on_behind_them(place: Place, tmp_path: Path) -> None:
    async with writing(place, tmp_path) as journal:
        for number in (1, 2, 3):
            await journal.append([append_of(number)])
        assert await journal.prune(before=Micros(2**62), upto=Seq(2)) == 2
        async with FollowedJournal.open(place, clock=HandClock()) as followed:
            assert followed.head == 3
            assert [one.seq for one in await followed.read(Seq(2), limit=9)] == [3]


@pytest.mark.parametrize("how", ["no piece", "another sum", "once more"])
async def test_what_is_damaged_is_said_at_every_look(place: Place, tmp_path: Path, how: str) -> None:
    bad = {
        "no piece": b"junk",
        "another sum": encode_piece(msgspec.structs.replace(piece(3), checksum=bytes(16))),
        "once more": encode_piece(piece(1, 2, 3)),
    }
    async with writing(place, tmp_path) as journal:
        await journal._lane.write([encode_piece(piece(1))])
        await journal._lane.write([encode_piece(piece(2)), bad[how]])
        for _ in range(2):
            with pytest.raises(Damaged, match=r"message 4 of|entries 3 to 3 do not|entry 1 follows on entry 2"):
                async with FollowedJournal.open(place, clock=HandClock()) as followed:
                    await followed.read(Seq(0), limit=9)
