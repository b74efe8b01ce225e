"""Several daemons apply one journal side by side: whose the lanes are, who may write, and that it comes to the same."""

import itertools
import random
import threading
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import psycopg
import pytest
from typing_extensions import override

from cdmd.batches.deciding import Decision
from cdmd.batches.preparing import prepare
from cdmd.batches.rules import Rules
from cdmd.config.schema import IdentifierSettings, IdentitySettings, IndicatorSettings
from cdmd.contracts import Audit, Errand
from cdmd.errors import CdmdError, Damaged, NotDurable
from cdmd.identity.identifiers import Kinds
from cdmd.models import Apply, Changes, Entry, Event, Item, Known, Micros, Seq, Wanted, to_micros
from cdmd.profiles.audiences import Audiences
from cdmd.profiles.projection import Projection
from cdmd.store.keys import Digester
from cdmd.store.opening import Server as Store
from cdmd.store.opening import not_lost
from cdmd.store.postgres.feeds import PostgresFeeds
from cdmd.store.postgres.nodes import _WRITING, Nodes
from cdmd.store.postgres.shared import SharedStore, SharedTables
from cdmd.store.postgres.store import PostgresStore
from cdmd.store.stored import StoredStore
from cdmd.store.tables import Row
from cdmd.testing import ManualClock
from tests.store.postgres import Database, Server

pytestmark = [pytest.mark.anyio]
DIGESTER = Digester(bytes(32))
RULES = Rules(
    journal_id="journal",
    kinds=Kinds(IdentitySettings(identifiers={kind: IdentifierSettings(priority=1, limit=500) for kind in ("a", "b", "c")})),
    audiences=Audiences({}, Projection({"orders": IndicatorSettings(on=("order",))})),
    digester=DIGESTER,
)
LANES = 4
_TENURES = itertools.count(1)


@asynccontextmanager
async def node(
    database: Database,
    name: str,
    *,
    leads: bool = False,
    lanes: int = LANES,
    seconds: float = 10.0,
    roles: str = "process",
    settings: str = "",
    head: int = 0,
) -> AsyncIterator[SharedStore]:
    store = SharedStore.open_among(
        database.url,
        clock=ManualClock(),
        journal_id="journal",
        digest=DIGESTER.occurrence,
        nodes=Nodes(name, [roles], tenure=next(_TENURES) if leads else None, seconds=seconds, settings=settings),
        lanes=lanes,
        head=Seq(head),
    )
    async with store as opened:
        yield opened


def order(number: int, identifiers: Mapping[str, str], *, id: str = "") -> Event:
    now = ManualClock().now()
    return Event(id=id or f"e{number}", source="shop", type="order", received=now, identifiers=dict(identifiers))


def decision(work: Sequence[tuple[int, Event]], position: int) -> Decision:
    now = to_micros(ManualClock().now())
    items = [(Item(seq=Seq(seq), entry=Entry(event), outcome=Apply()), event) for seq, event in work]
    return Decision(prepare(RULES, items), position=Seq(position), parked=0, now=Micros(now))


async def give(store: SharedStore | PostgresStore, *work: tuple[int, Event], position: int = 0) -> None:
    made = decision(work, position or work[-1][0])
    await store.apply(made.wanted, made)


async def run(database: Database, sql: str) -> list[tuple[Any, ...]]:
    return await anyio.to_thread.run_sync(database.run, sql)


# ---- whose the lanes are ------------------------------------------------------------------------------------------


async def test_lanes_are_spread_evenly_and_move_when_a_node_comes_and_goes(database: Database) -> None:
    async with node(database, "a", leads=True) as a:
        assert sorted(await a.balance()) == [0, 1, 2, 3]
        async with node(database, "b") as b, node(database, "c") as c:
            assert await a.look()
            mine = {name: list(await one.balance()) for name, one in (("a", a), ("b", b), ("c", c))}
            assert sorted(map(len, mine.values())) == [1, 1, 2]
            assert sorted(lane for lanes in mine.values() for lane in lanes) == [0, 1, 2, 3]
            assert {one.name: list(one.lanes) for one in await a.nodes()} == mine
            assert not any([await one.look() for one in (a, b, c)])
        assert await a.look()
        assert sorted(await a.balance()) == [0, 1, 2, 3]


@asynccontextmanager
async def standing_still(
    database: Database, *statements: str, called: str = "cdmd", then: bytes | None = b"SELECT 1"
) -> AsyncIterator[None]:
    """Somebody who was stopped while a statement was on its way, or nothing but its announcement (None), with these locks."""
    with closing(psycopg.connect(database.url, autocommit=True, application_name=called)) as still:
        for one in ("BEGIN", *statements):
            still.execute(one.encode())
        still.pgconn.enter_pipeline_mode()
        if then is not None:
            still.pgconn.send_query_params(then, None)
        still.pgconn.send_flush_request()
        still.pgconn.flush()
        yield


@pytest.mark.parametrize("then", [b"SELECT 1", None], ids=["amid a statement", "before one"])
@pytest.mark.parametrize(
    "locks", [f"SELECT pg_advisory_xact_lock_shared({_WRITING})", "SELECT FROM nodes WHERE name = 'b' FOR UPDATE"]
)
async def test_a_node_that_stands_still_in_the_midst_of_a_statement_keeps_nobody_from_its_lanes(
    database: Database, locks: str, then: bytes | None
) -> None:
    async with node(database, "a", leads=True, seconds=1.0) as a, node(database, "b", seconds=2.0) as b:
        while len(await b.balance()) != 2:
            await a.balance()
        async with standing_still(database, locks, then=then):
            with anyio.fail_after(60):
                while True:
                    if await a.look() and len(await a.balance()) == 4:
                        break
                    await anyio.sleep(0.05)


async def test_nor_from_beginning_where_there_is_nobody_else_left(database: Database) -> None:
    async with node(database, "a", leads=True):
        pass
    async with standing_still(database, f"SELECT pg_advisory_xact_lock_shared({_WRITING})"):
        await run(database, "SELECT pg_sleep(1.1)")
        with anyio.fail_after(8):
            async with node(database, "b", leads=True, seconds=1.0) as b:
                assert len(await b.balance()) == LANES


async def test_who_waited_in_vain_for_one_that_was_ended_meanwhile_begins_all_the_same(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    balance, tries = SharedStore.balance, list[str]()

    async def waits(self: SharedStore) -> Mapping[int, Seq]:
        tries.append(self.name)
        if len(tries) == 1:
            raise NotDurable("canceling statement due to lock timeout")
        return await balance(self)

    monkeypatch.setattr(SharedStore, "balance", waits)
    async with node(database, "a", leads=True):
        assert tries == ["a", "a"]


async def test_what_else_the_same_user_runs_may_stand_still(database: Database) -> None:
    """As a backup does whose pipe is slow."""
    locks = "SELECT pg_advisory_xact_lock_shared(1)"
    async with standing_still(database, locks, called="pg_dump"), standing_still(database, locks):
        await run(database, "SELECT pg_sleep(1.1)")
        async with node(database, "a", leads=True, seconds=1.0):
            still = "SELECT application_name FROM pg_stat_activity WHERE wait_event_type = 'Client' AND state = 'active'"
            assert await run(database, f"{still} AND datname = current_database()") == [("pg_dump",)]


@pytest.mark.parametrize(
    "locks",
    [
        "INSERT INTO feed_holders (connector, token, fence) VALUES ('supplier', 0, 5)",
        "LOCK TABLE feed_holders IN SHARE MODE",
    ],
)
async def test_whoever_stands_still_with_what_another_one_waits_for_is_ended(
    database: Database, tmp_path: Path, locks: str
) -> None:
    """The tables of a connector that went to another node; and what only looks, and holds up who has to write all the same."""
    async with (
        node(database, "a", leads=True, seconds=1.0) as a,
        PostgresFeeds.open(database.url, tenure=None, file=tmp_path / "none") as feeds,
        standing_still(database, locks),
        anyio.create_task_group() as tasks,
    ):

        async def look() -> None:
            while True:
                await a.look()
                await anyio.sleep(0.05)

        tasks.start_soon(look)
        with anyio.fail_after(60):
            await feeds.fenced(6).hold(["supplier"])
        tasks.cancel_scope.cancel()


async def test_a_node_without_the_role_has_no_lanes(database: Database) -> None:
    async with node(database, "a", leads=True, roles="ingest") as a, node(database, "b") as b:
        assert (list(await a.balance()), len(await b.balance())) == ([], LANES)


async def test_the_lanes_of_a_node_that_rests_are_applied_by_the_others_until_it_works_again(database: Database) -> None:
    async with node(database, "a", leads=True) as a, node(database, "b") as b:
        assert await a.look()
        assert (len(await a.balance()), len(await b.balance())) == (2, 2)
        b.rests(resting=True)
        assert await b.look()
        assert (await b.balance(), await a.look(), len(await a.balance())) == ({}, True, 4)
        assert [row.roles for row in await a.nodes()] == [["process"], []]
        assert not await b.look()
        b.rests(resting=False)
        await b.look()
        assert await a.look()
        assert (len(await a.balance()), len(await b.balance())) == (2, 2)


async def test_a_lane_goes_on_where_it_was_left(database: Database) -> None:
    async with node(database, "a", leads=True) as a:
        await give(a, (1, order(1, {"a": "x"})), position=5)
        async with node(database, "b") as b:
            await a.balance()
            lanes = await b.balance()
            assert set(lanes.values()) == {5}
            await give(b, (7, order(7, {"a": "y"})))
            assert await b.reached() == dict.fromkeys(range(4), 5) | dict.fromkeys(lanes, 7)
            assert (await a.sync(), a.position, b.own) == (5, 5, 7)


async def test_another_number_of_lanes_is_refused_until_all_have_come_equally_far(database: Database) -> None:
    async with node(database, "a", leads=True) as a, node(database, "b") as b:
        await a.balance()
        await b.balance()
        await give(b, (3, order(3, {"a": "x"})))
        with pytest.raises(CdmdError, match="stop all nodes"):
            async with node(database, "c", leads=True, lanes=8):
                pass
        with pytest.raises(CdmdError, match=r"says 8, and the store is divided into 4 lanes: .* leads first, or write 4 here"):
            async with node(database, "c", lanes=8):
                pass
    for lanes in (8, 1):
        with pytest.raises(CdmdError, match=f"4 lanes, and journal.partitions says {lanes}: it can be divided anew"):
            async with node(database, "a", leads=True, lanes=lanes):
                pass
    async with node(database, "a", leads=True) as a:
        await give(a, (4, order(4, {"a": "y"})))
    async with node(database, "a", leads=True, lanes=6) as a:
        assert await a.balance() == dict.fromkeys(range(6), 4)
    async with PostgresStore.open(database.url, clock=ManualClock(), journal_id="journal", digest=DIGESTER.occurrence) as alone:
        assert alone.position == 4
        await give(alone, (5, order(5, {"a": "z"})))
        assert (await alone.totals()).profiles == 3


async def test_of_several_that_find_an_empty_store_one_makes_what_there_has_to_be(server: Server) -> None:
    def store(url: str, number: int) -> SharedStore:
        among = Nodes(str(number), ["process"], tenure=number)
        clock, digests = ManualClock(), DIGESTER.occurrence
        return SharedStore(url, None, clock=clock, journal_id="journal", digests=digests, nodes=among, lanes=LANES)

    def opened(url: str, number: int) -> None:
        at_once.wait(20)
        store(url, number)._open_tables().close()

    for _ in range(5):
        database, at_once = server.database(), threading.Barrier(3)
        async with anyio.create_task_group() as tasks:
            for number in range(3):
                tasks.start_soon(anyio.to_thread.run_sync, opened, database.url, number)
        assert await run(database, "SELECT count(*) FROM positions WHERE lane >= 0") == [(LANES,)]


async def test_one_that_was_alone_writes_nothing_once_the_store_is_divided(database: Database) -> None:
    async with PostgresStore.open(database.url, clock=ManualClock(), journal_id="journal", digest=DIGESTER.occurrence) as alone:
        await give(alone, (1, order(1, {"a": "x"})))
        follower = SharedStore(
            database.url,
            None,
            clock=ManualClock(),
            journal_id="journal",
            digests=DIGESTER.occurrence,
            nodes=Nodes("b", ["process"]),
            lanes=LANES,
        )
        with pytest.raises(NotDurable, match="start the node that leads"):
            await anyio.to_thread.run_sync(follower._open_tables)
        await give(alone, (2, order(2, {"a": "x"})))
        async with node(database, "a", leads=True) as a:
            assert await a.reached() == dict.fromkeys(range(LANES), 2)
            for attempt in (give(alone, (3, order(3, {"a": "y"}))), alone.note("x", "y")):
                with pytest.raises(NotDurable, match="taken the store over"):
                    await attempt
            assert (await a.reached(), await a.noted("x")) == (dict.fromkeys(range(LANES), 2), None)


async def test_what_arrived_before_there_were_lanes_is_applied_before_anybody_has_another_one(database: Database) -> None:
    async with PostgresStore.open(database.url, clock=ManualClock(), journal_id="journal", digest=DIGESTER.occurrence) as alone:
        await give(alone, (1, order(1, {"a": "x"})), position=2)
    async with node(database, "a", leads=True, head=10) as a, node(database, "b", head=11) as b:
        assert (await a.balance(), await b.balance()) == ({0: 2}, {})
        assert (a.undivided, await a.look(), await b.look()) == (10, False, False)
        await give(a, (9, order(9, {"a": "x"})))
        assert not await b.look()
        await give(a, (10, order(10, {"a": "x"})))
        assert (await a.look(), await b.look()) == (True, True)
        assert sorted(map(len, (await a.balance(), await b.balance()))) == [LANES // 2] * 2
        assert b.undivided == 10


# ---- who may write ------------------------------------------------------------------------------------------------


async def test_a_node_that_was_silent_for_too_long_writes_nothing_and_begins_again(database: Database) -> None:
    async with node(database, "late", leads=True) as late, node(database, "b") as b:
        await run(database, "UPDATE nodes SET until = now() - interval '1s' WHERE name = 'late'")
        assert await b.look()
        assert len(await b.balance()) == LANES
        for attempt in (
            lambda: give(late, (1, order(1, {"a": "x"}))),
            lambda: late.note("x", "y"),
            lambda: late.expire(dead_before=Micros(0), seen_before=Micros(0)),
        ):
            with pytest.raises(NotDurable, match="others do its work"):
                await attempt()
        assert (await b.totals()).events == 0
        assert await late.look()
        await late.balance()
        await late.note("x", "y")
        assert await b.noted("x") == "y"


async def test_one_in_the_middle_of_a_transaction_is_not_taken_for_gone(database: Database) -> None:
    async with node(database, "a", leads=True) as a, node(database, "b") as b:
        a._nodes._seconds = 0.01
        inside, go_on = threading.Event(), threading.Event()
        made = decision([(1, order(1, {"a": "x"}))], 1)

        def decide(known: Known) -> Changes:
            inside.set()
            assert go_on.wait(60)
            return made(known)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(a.apply, made.wanted, decide)
            assert await anyio.to_thread.run_sync(inside.wait, 60)
            await b.look()
            assert [one.name for one in await b.nodes()] == ["a", "b"]
            go_on.set()
        assert (await b.totals()).events == 1


async def test_what_is_no_batch_waits_for_the_batches_under_way(database: Database) -> None:
    async with node(database, "a", leads=True) as a, node(database, "b") as b:
        inside, go_on, ended = threading.Event(), threading.Event(), list[str]()
        made = decision([(1, order(1, {"a": "x"}))], 1)

        def decide(known: Known) -> Changes:
            inside.set()
            assert go_on.wait(60)
            return made(known)

        async def batch() -> None:
            await b.apply(made.wanted, decide)
            ended.append("batch")

        async def other() -> None:
            await a.expire(dead_before=Micros(0), seen_before=Micros(0))
            ended.append("other")

        await b.balance()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(batch)
            assert await anyio.to_thread.run_sync(inside.wait, 60)
            tasks.start_soon(other)
            waits = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
            await anyio.to_thread.run_sync(database.wait, waits)
            assert ended == []
            go_on.set()
        assert sorted(ended) == ["batch", "other"]


async def test_lanes_that_were_given_up_are_not_written(database: Database) -> None:
    async with node(database, "a", leads=True) as a:
        await run(database, "UPDATE positions SET node = 99 WHERE lane = 2")
        with pytest.raises(NotDurable, match="not this node's lanes"):
            await give(a, (1, order(1, {"a": "x"})))
        assert ((await a.totals()).events, await a.look()) == (0, True)


async def test_what_is_no_batch_is_written_by_the_one_that_leads(database: Database) -> None:
    async with node(database, "a", leads=True) as a, node(database, "b") as b:
        with pytest.raises(NotDurable, match="node to write that leads"):
            await b.note("x", "y")
        await a.note("x", "y")
        async with node(database, "c", leads=True):
            with pytest.raises(NotDurable, match="node to write that leads"):
                await a.note("x", "z")
        assert await b.noted("x") == "y"


async def test_batches_wait_while_another_list_of_suppressed_people_is_in_force(database: Database) -> None:
    async with node(database, "a", leads=True) as a, node(database, "b") as b:
        await b.balance()
        b.goes_by("")
        await a.note("suppressions", "1")
        with pytest.raises(NotDurable, match="it is read again"):
            await give(b, (1, order(1, {"a": "x"})))
        b.goes_by("1")
        await give(b, (1, order(1, {"a": "x"})))


async def test_a_node_with_other_settings_than_the_one_that_leads_applies_nothing_until_it_has_the_same(
    database: Database,
) -> None:
    async with node(database, "a", leads=True, settings="new") as a, node(database, "b", settings="old") as b:
        await a.note("settings", "old")
        assert (len(await a.balance()), len(await b.balance())) == (0, LANES)
        await a.note("settings", "new")
        with pytest.raises(NotDurable, match="applies nothing with its own"):
            await give(b, (1, order(1, {"a": "x"})))
        assert {one.name: one.alike for one in await b.nodes()} == {"a": True, "b": False}
        assert await b.look()
        assert (len(await b.balance()), len(await a.balance())) == (0, LANES)
        await give(a, (1, order(1, {"a": "x"})))
        b.settled("new")
        await b.look()
        assert await a.look()
        await a.balance()
        assert len(await b.balance()) == LANES // 2
        await give(b, (2, order(2, {"a": "y"})))
        assert (await b.totals()).events == 2


async def test_what_a_node_says_of_itself_goes_with_it_and_one_that_is_lost_is_remembered(database: Database) -> None:
    async with node(database, "a", leads=True) as a:
        async with node(database, "b") as b, node(database, "c") as c:
            await b.report("well")
            await c.report("first")
            await c.report("second")
            found = {one.name: one for one in await a.nodes()}
            assert {name: one.report for name, one in found.items()} == {"a": "", "b": "well", "c": "second"}
            assert all(0 <= one.silent < 10 and not one.lost for one in found.values())
            await run(database, "UPDATE nodes SET until = now() - interval '20s' WHERE name = 'b'")
            await a.look()
            lost = next(one for one in await a.nodes() if one.name == "b")
            assert (lost.lost, lost.lanes, lost.report, lost.silent > 29) == (True, [], "", True)
            assert b.name == "b"
            for name in ("b", "nobody"):
                assert await anyio.to_thread.run_sync(not_lost, Store(database.url, None, name=name)) is None
            assert [one.name for one in await a.nodes()] == ["a", "c"], "who stands by is not lost"
            await b.report("too late")
            await b.balance()
            assert [(one.name, one.lost, one.report) for one in await a.nodes()][1] == ("b", False, "")
        assert [one.name for one in await a.nodes()] == ["a"], "who says that it stops is not lost"
        assert await run(database, "SELECT count(*) FROM reports") == [(0,)]


async def test_every_node_keeps_a_row_of_what_was_done_there(database: Database) -> None:
    async with node(database, "a", leads=True), node(database, "b") as b:
        await b.audit(
            Audit(time=Micros(1), uid=0, user="root", role="admin", command="log-level", arguments="{}", outcome="done")
        )
        assert [row.command for row in await b.audits(limit=5)] == ["log-level"]
        await run(database, "DELETE FROM nodes WHERE name = 'b'")
        with pytest.raises(NotDurable, match="others do its work"):
            await b.note("x", "y")


async def test_what_one_node_asks_another_one_is_taken_once_and_answered(database: Database) -> None:
    async with node(database, "a", leads=True) as a, node(database, "b") as b:
        first, second = await b.errands.ask(None, b"to who leads"), await a.errands.ask("b", b"to b")
        assert first is not None
        assert second is not None
        assert await b.errands.ask("nobody", b"x") is None
        assert (await a.errands.waiting(), await b.errands.waiting()) == (True, True)
        assert (await a.errands.take(), await a.errands.take(), await a.errands.waiting()) == (
            [(first, b"to who leads")],
            [],
            False,
        )
        assert await b.errands.look(first) == Errand(answer=None, begun=True, there=True)
        assert not await b.errands.withdraw(first), "somebody does it"
        await a.errands.answer(first, b"done")
        assert await b.errands.look(first) == Errand(answer=b"done", begun=True, there=True)
        await b.errands.forget(first)
        assert await b.errands.look(first) is None
        assert await a.errands.withdraw(second)
        assert await b.errands.take() == []
        late = await a.errands.ask("b", b"to one that is lost")
        assert late is not None
        await run(database, "UPDATE nodes SET until = now() - interval '1s' WHERE name = 'b'")
        await a.look()
        assert (await a.errands.look(late), await a.errands.ask("b", b"x")) == (
            Errand(answer=None, begun=False, there=False),
            None,
        )


async def test_a_node_that_was_buried_while_it_joined_is_not_lost(database: Database) -> None:
    async with node(database, "a", leads=True) as a:
        await run(database, "INSERT INTO lost_nodes (name, roles, seen) VALUES ('a', 'process', now())")
        assert [(one.name, one.lost) for one in await a.nodes()] == [("a", False)]
        await a.look()
        assert await run(database, "SELECT count(*) FROM lost_nodes") == [(0,)]


async def test_a_commit_whose_answer_was_lost_is_noticed(database: Database) -> None:
    async with node(database, "a", leads=True) as a:
        await give(a, (1, order(1, {"a": "x"})))
        await run(database, "UPDATE nodes SET version = version + 1")
        await run(database, "UPDATE positions SET seq = 2 WHERE lane >= 0")
        with pytest.raises(NotDurable, match="after all"):
            await give(a, (2, order(2, {"a": "y"})))
        assert a.own == 2
        await give(a, (3, order(3, {"a": "y"})))


async def test_with_what_the_one_that_leads_writes_next_all_know_which_list_is_in_force(database: Database) -> None:
    async with node(database, "a", leads=True) as a, node(database, "b") as b:
        versions = ["1"]
        a.tells(lambda: versions[-1])
        await a.note("x", "y")
        first = await b.noted("suppressions")
        b.goes_by(first)
        await b.balance()
        await give(b, (1, order(1, {"a": "x"})))
        versions.append("2")
        await a.forgetting.hide([("a", "x")])
        with pytest.raises(NotDurable, match="it is read again"):
            await give(b, (2, order(2, {"a": "x"})))


async def test_one_that_led_before_does_not_lead_again_behind_another(database: Database) -> None:
    async with node(database, "a", leads=True) as a, node(database, "b", leads=True) as b:
        await run(database, "DELETE FROM nodes WHERE name = 'a'")
        assert await a.look()
        with pytest.raises(NotDurable, match="another node leads by now"):
            await a.balance()
        await b.note("x", "y")


async def test_one_that_led_before_applies_nothing_with_the_list_that_was_its_own(database: Database) -> None:
    async with node(database, "a", leads=True) as a:
        await give(a, (1, order(1, {"a": "x"})))
        async with node(database, "b", leads=True) as b:
            await b.forgetting.hide([("a", "x")])
            with pytest.raises(NotDurable, match="another node leads by now"):
                await give(a, (2, order(2, {"a": "x"})))
            assert (await b.totals()).events == 1


async def test_after_a_broken_connection_it_goes_on_where_it_was_and_notices_a_server_that_went_back(
    database: Database,
) -> None:
    async with node(database, "a", leads=True) as a:
        await give(a, (1, order(1, {"a": "x"})))
        await run(database, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'cdmd'")
        with pytest.raises(NotDurable):
            await give(a, (2, order(2, {"a": "y"})))
        await give(a, (2, order(2, {"a": "y"})))
        assert a.own == 2
        await run(database, "UPDATE nodes SET version = version - 1")
        with pytest.raises(Damaged, match="went back"):
            await give(a, (3, order(3, {"a": "z"})))


async def test_one_batch_that_only_moves_on_and_what_has_no_position_beside_it(database: Database) -> None:
    async with node(database, "a", leads=True) as a:
        made = decision([], 5)
        await a.apply(made.wanted, made)
        await a.apply(Wanted((), ()), lambda known: Changes())
        assert (a.own, await a.sync()) == (5, 5)


# ---- what several come to -----------------------------------------------------------------------------------------

_DEADLOCKS = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"


def history(seed: int, events: int) -> list[tuple[int, Event]]:
    """Few people who are met by other identifiers every time, so that many become one in many places; some events twice."""
    draw = random.Random(seed)
    made: list[tuple[int, Event]] = []
    for number in range(1, events + 1):
        if made and draw.random() < 0.1:
            made.append((number, draw.choice(made)[1]))
        else:
            held = {kind: f"{draw.randrange(12)}" for kind in draw.sample("abc", draw.choice([1, 1, 2]))}
            made.append((number, order(number, held)))
    return made


async def look(store: PostgresStore) -> list[tuple[Any, ...]]:
    """Who there is: whose the identifiers are, and what is counted; not by which number, and who was there first."""
    found = []
    rows = await store.membership.profiles(after=0, limit=1000)  # type: ignore[arg-type]
    for _, state in rows:
        if state.merged_into is None:
            found.append((sorted((one.kind, one.value) for one in state.identifiers), repr(state.indicators)))
    return sorted(found)


def _late(made: Decision, known: Known, pauses: float) -> Changes:
    """Others go on while this one decides."""
    threading.Event().wait(pauses)
    return made(known)


_MET = 30
"""After so many events most identifiers were met, so that it is people whom the nodes meet each other at."""


@pytest.mark.parametrize("seed", range(2))
async def test_side_by_side_they_come_to_the_same_as_one_alone(server: Server, seed: int) -> None:
    work = history(seed, 90)
    one, several = server.database(), server.database()
    before = await run(one, _DEADLOCKS)
    async with node(one, "a", leads=True) as alone:
        await give(alone, *work)
        expected, totals = await look(alone), await alone.totals()
    async with AsyncExitStack() as stack:
        nodes = [await stack.enter_async_context(node(several, name, leads=name == "a")) for name in "abc"]

        async def goes(store: SharedStore, part: int) -> None:
            draw = random.Random(seed + part)
            mine = [one for one in work[_MET:] if one[0] % len(nodes) == part]
            for start in range(0, len(mine), 4):
                made = decision(mine[start : start + 4], mine[-1][0])
                pauses = draw.choice([0.0, 0.01])
                await store.apply(made.wanted, lambda known, made=made, pauses=pauses: _late(made, known, pauses))  # type: ignore[misc]

        for store in nodes:
            await store.balance()
        await give(nodes[0], *work[:_MET])
        async with anyio.create_task_group() as tasks:
            for part, store in enumerate(nodes):
                tasks.start_soon(goes, store, part)
        assert await look(nodes[0]) == expected
        found = await nodes[0].totals()
        assert (found.events, found.activities) == (totals.events, totals.activities)
        assert await nodes[0].verify() == []
    assert await run(one, _DEADLOCKS) == before


class _Backwards(SharedTables):
    """A mutant: people are locked in the wrong order."""

    @override
    def rows_in(self, name: str, values: Sequence[Any], *, before: Sequence[Any] = ()) -> list[Row]:
        for one in sorted(values, reverse=True) if name == "lanes.people" else ():
            super().rows_in(name, [one])
        return super().rows_in(name, values, before=before)


@pytest.mark.parametrize("backwards", [False, True])
async def test_two_that_need_the_same_people_wait_for_each_other_in_one_order_only(
    database: Database, monkeypatch: pytest.MonkeyPatch, backwards: bool
) -> None:
    """One that locks them the other way round is found out: the server has to end somebody, who begins once more."""
    begun, apply = list[Any](), StoredStore._apply

    def counted(*said: Any) -> Changes:
        begun.append(said)
        return apply(*said)

    async with node(database, "a", leads=True) as a, node(database, "b") as b:
        await b.balance()
        await give(a, (1, order(1, {"a": "x"})), (2, order(2, {"b": "y"})))
        if backwards:
            await b._writer.run(lambda tables: setattr(tables, "__class__", _Backwards))
        monkeypatch.setattr(StoredStore, "_apply", counted)
        waits = "SELECT 1 FROM pg_locks WHERE NOT granted AND locktype IN ('tuple', 'transactionid') HAVING count(*) = {}"
        with closing(psycopg.connect(database.url)) as first:
            first.execute("SELECT FROM profiles WHERE id = (SELECT min(id) FROM profiles) FOR UPDATE")
            async with anyio.create_task_group() as tasks:
                for number, store in ((3, a), (4, b)):
                    tasks.start_soon(give, store, (number, order(number, {"a": "x", "b": "y"})))
                    await anyio.to_thread.run_sync(database.wait, waits.format(number - 2))
                first.rollback()
        assert (len(begun) > 2) == backwards
        assert (await a.totals()).events == 4


async def test_who_was_merged_twice_since_it_was_looked_up_is_found_all_the_same(database: Database) -> None:
    async with node(database, "a", leads=True) as a:
        for number, held in enumerate(({"a": "1"}, {"b": "2"}, {"c": "3"}, {"b": "2", "c": "3"}, {"a": "1", "b": "2"}), 1):
            await give(a, (number, order(number, held)))
        ((first, second, third),) = await run(database, "SELECT min(id), min(id) + 1, min(id) + 2 FROM profiles")
        # As they were when somebody else read whose they are, before both merges.
        await run(database, f"UPDATE identifiers SET profile = {second} WHERE value = '2'")
        await run(database, f"UPDATE identifiers SET profile = {third} WHERE value = '3'")
        await give(a, (6, order(6, {"b": "2", "c": "3"})))
        assert await run(database, "SELECT profile FROM activities WHERE seq = 6") == [(first,)]


async def test_the_same_occurrence_in_two_lanes_has_one_effect(database: Database) -> None:
    async with node(database, "a", leads=True) as a, node(database, "b") as b:
        await a.balance()
        await b.balance()
        async with anyio.create_task_group() as tasks:
            for store, seq in ((a, 1), (b, 2)):
                tasks.start_soon(give, store, (seq, order(seq, {"a": f"{seq}"}, id="same")))
        assert ((await a.totals()).events, (await a.counts())["shop", "repeats"]) == (1, 1)
