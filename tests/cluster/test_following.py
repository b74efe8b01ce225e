"""A journal on a real nats-server as a daemon sees it that applies what another one writes."""

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from cdmd.cluster.connection import Access
from cdmd.cluster.following import FollowedJournal
from cdmd.cluster.journal import JetStreamJournal
from cdmd.cluster.place import Place
from cdmd.contracts import Append, Holding
from cdmd.errors import NotDurable
from cdmd.models import Micros, Seq
from tests.cluster.servers import NatsServer, needed
from tests.store.samples import HandClock, append_of, entry

pytestmark = [needed, pytest.mark.anyio, pytest.mark.timeout(60)]
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


async def test_state_is_what_it_is_at_that_moment(place: Place, tmp_path: Path) -> None:
    async with writing(place, tmp_path) as journal, FollowedJournal.open(place, clock=HandClock()) as followed:
        for value in (b"1", b"2"):
            await journal.append([append_of(int(value), state={b"a": value, b"ab": b"x"}, counts={"received": 1})])
            assert await followed.get("shop", [b"a", b"z"]) == {b"a": value}
            await journal.settled()
            assert await followed.get("shop", [b"a"]) == {b"a": value}
        assert [row async for row in followed.scan("shop", b"a")] == [(b"a", b"2"), (b"ab", b"x")]
        assert (await followed.owners(), await followed.counts()) == (["shop"], {("shop", "received"): 2})


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


async def test_where_the_entries_begin_is_looked_at_again(place: Place, tmp_path: Path) -> None:
    clock = HandClock()
    async with writing(place, tmp_path) as journal, FollowedJournal.open(place, clock=clock) as followed:
        for number in (1, 2):
            await journal.append([append_of(number)])
        await followed.wait(Seq(1))
        assert await journal.prune(before=Micros(2**62), upto=Seq(1)) == 1
        await clock.sleep(60)
        while (await followed.statistics()).first != 2:  # noqa: ASYNC110 - another connection's doing
            await anyio.sleep(0.01)
        assert [one.seq for one in await followed.read(Seq(1), limit=9)] == [2]
