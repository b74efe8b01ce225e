"""The journal on three servers that are one cluster: whichever is killed, what was acknowledged stays."""

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

import anyio
import anyio.to_thread
import pytest

from cdmd.cluster.connection import Access
from cdmd.cluster.journal import JetStreamJournal
from cdmd.cluster.place import Place
from cdmd.errors import CdmdError, NotDurable
from cdmd.kit.clock import SystemClock
from cdmd.models import Seq
from tests.cluster.servers import NatsServer, clustered, needed
from tests.sizes import size
from tests.store.samples import append_of

pytestmark = [needed, pytest.mark.anyio, pytest.mark.slow, pytest.mark.timeout(400)]
_IDS = itertools.count()
LEADERS = size("CDMD_LEADERS", short=1, long=10)
T = TypeVar("T")


async def eventually(ask: Callable[[], Awaitable[T | None]]) -> T:
    """What is answered once the servers answer, and that is something: how long they take to agree is theirs."""
    with anyio.fail_after(90):
        while True:
            with suppress(CdmdError):
                if found := await ask():
                    return found
            await anyio.sleep(0.05)


@asynccontextmanager
async def opened(servers: Mapping[str, NatsServer], home: Path, **options: float) -> AsyncIterator[JetStreamJournal]:
    """Once the cluster has found itself."""
    place = Place(access=Access(servers=tuple(one.url for one in servers.values())), replicas=3)
    opening = partial(JetStreamJournal.open, clock=SystemClock(), mark_path=home / "mark", new_id=lambda: f"w{next(_IDS)}")
    with anyio.fail_after(60):
        while True:
            try:
                manager = opening(place, **options)
                journal = await manager.__aenter__()
                break
            except CdmdError:
                await anyio.sleep(0.2)
    try:
        yield journal
    finally:
        await manager.__aexit__(None, None, None)


async def further(acknowledged: list[int], count: int) -> None:
    """Wait until so many more are."""
    goal = len(acknowledged) + count
    with anyio.fail_after(60):
        while len(acknowledged) < goal:  # noqa: ASYNC110 - another task gets there
            await anyio.sleep(0.01)


async def leader(journal: JetStreamJournal) -> str:
    async def look() -> str:
        return (await journal._streams.entries.info()).cluster.leader

    return await eventually(look)


async def whole(journal: JetStreamJournal) -> None:
    """Until every copy has everything."""

    async def look() -> bool:
        shown = await journal.statistics()
        return len(shown.copies) == 2 and all(one.current for one in shown.copies)

    await eventually(look)


async def late(journal: JetStreamJournal, name: str) -> bool:
    """Whether that server is the only one that is behind. A leader that started after it was killed knows no name of it."""
    shown = await journal.statistics()
    behind = [one.server for one in shown.copies if not one.current]
    return len(behind) == 1 and behind[0].startswith((name, "Server name unknown"))


async def test_what_was_acknowledged_stays_when_the_leader_is_killed_again_and_again(tmp_path: Path) -> None:
    acknowledged, refused = list[int](), list[str]()

    async def write(journal: JetStreamJournal) -> None:
        for number in itertools.count(1):
            try:
                await journal.append([append_of(number, state={b"row": b"%d" % number}, counts={"accepted": 1})])
            except NotDurable as error:
                refused.append(str(error))
                await anyio.sleep(0.02)
            else:
                acknowledged.append(number)

    with clustered(tmp_path) as servers:
        async with opened(servers, tmp_path, patience=5.0) as journal, anyio.create_task_group() as tasks:
            tasks.start_soon(write, journal)
            for _ in range(LEADERS):
                await further(acknowledged, 100)
                await whole(journal)
                killed = servers[await leader(journal)]
                killed.kill()
                await further(acknowledged, 50)
                await anyio.to_thread.run_sync(killed.start)
            await whole(journal)
            tasks.cancel_scope.cancel()
        async with opened(servers, tmp_path) as journal:
            found = [one.entry.event.data["total"] for one in await journal.read(Seq(0), limit=1_000_000)]
            assert [number for number in found if number in set(acknowledged)] == acknowledged
            assert len(set(found)) == len(found), "what was acknowledged is there once"
            assert await journal.counts() == {("shop", "accepted"): len(found)}
            assert int((await journal.get("shop", [b"row"]))[b"row"]) >= acknowledged[-1]
            assert await journal.verify() == []


async def test_without_a_majority_nothing_is_acknowledged_and_it_goes_on_with_one(tmp_path: Path) -> None:
    with clustered(tmp_path) as servers:
        async with opened(servers, tmp_path, patience=5.0) as journal:
            await whole(journal)
            await journal.append([append_of(1)])
            for name in ("n1", "n2"):
                servers[name].kill()
            with pytest.raises(NotDurable):
                await journal.append([append_of(2)])
            shown = await journal.statistics()
            assert shown.failure
            await anyio.to_thread.run_sync(servers["n1"].start)
            await eventually(lambda: journal.append([append_of(3)]))
            found = [one.entry.event.data["total"] for one in await eventually(lambda: journal.read(Seq(0), limit=99))]
            told_to_have_failed = (2, 3)  # and may be there all the same
            assert list(dict.fromkeys(found)) in ([1, 3], [1, *told_to_have_failed])
            assert found.count(1) == 1
            await eventually(lambda: late(journal, "n2"))
