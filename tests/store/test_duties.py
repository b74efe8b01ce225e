"""What one node at a time does: how it is spread, who may write of it, and what becomes of one that wakes up late."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from cdmd.contracts import DELIVER, PULL, Duties, Holder, Part
from cdmd.errors import NotDurable
from cdmd.models import Outgoing, TargetNote
from cdmd.store.postgres.duties import NodeDuties
from cdmd.store.postgres.nodes import Nodes
from cdmd.store.postgres.shared import SharedStore
from cdmd.testing import ManualClock
from tests.store.contract_outbox import delivery, ended
from tests.store.contract_store import NOW
from tests.store.postgres import Database
from tests.store.test_lanes import DIGESTER, run

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]
NAMES = ("crm", "erp", "shop", "web")


@asynccontextmanager
async def node(
    database: Database, name: str, *, leads: bool = False, roles: str = "pull deliver", clock: ManualClock | None = None
) -> AsyncIterator[SharedStore]:
    store = SharedStore.open_among(
        database.url,
        clock=clock or ManualClock(),
        journal_id="journal",
        digest=DIGESTER.occurrence,
        nodes=Nodes(name, roles.split(), tenure=1 if leads else None),
        lanes=2,
    )
    async with store as opened:
        yield opened


async def settle_down(*nodes: SharedStore, kind: str = PULL) -> list[Part]:
    """What each has when all gave up what is too much and took what is free."""
    for one in nodes:
        part = await one.part(kind, NAMES)
        await one.let_go(kind, part.surplus)
    for one in nodes:
        for name in (await one.part(kind, NAMES)).free:
            assert await one.take(kind, name)
    return [await one.part(kind, NAMES) for one in nodes]


async def forget(database: Database, name: str) -> None:
    """As if nothing had been heard of the node for too long."""
    await run(database, f"UPDATE nodes SET until = clock_timestamp() - interval '1 second' WHERE name = '{name}'")


async def test_duties_are_spread_evenly_over_the_nodes_that_have_the_role_and_move_when_one_leaves(database: Database) -> None:
    async with node(database, "a", leads=True) as a:
        (alone,) = await settle_down(a)
        assert (sorted(alone.mine), alone.surplus, alone.free) == (sorted(NAMES), [], [])
        async with node(database, "b") as b, node(database, "c", roles="process") as c:
            parts = await settle_down(a, b, c)
            assert [len(one.mine) for one in parts] == [2, 2, 0]
            assert sorted([*parts[0].mine, *parts[1].mine]) == sorted(NAMES)
            assert {one.node for one in parts[2].holders.values()} == {"a", "b"}
            assert parts[2].free == []
        (again,) = await settle_down(a)
        assert sorted(again.mine) == sorted(NAMES)
        moved = set(parts[1].mine)
        assert {name for name in NAMES if again.mine[name] > alone.mine[name]} == moved  # a greater token for a new holder


async def test_a_node_that_rests_fetches_nothing_and_goes_on_to_send(database: Database) -> None:
    async with node(database, "a", leads=True) as a, node(database, "b") as b:
        b.rests(resting=True)
        await b.look()
        assert [len(one.mine) for one in await settle_down(a, b)] == [4, 0]
        assert [len(one.mine) for one in await settle_down(a, b, kind=DELIVER)] == [2, 2]
        b.rests(resting=False)
        await b.look()
        assert [len(one.mine) for one in await settle_down(a, b)] == [2, 2]


async def test_of_two_that_take_the_same_only_one_has_it(database: Database) -> None:
    async with node(database, "a", leads=True) as a, node(database, "b") as b:
        free = [(await one.part(PULL, ["crm"])).free for one in (a, b)]
        assert free == [["crm"], []]
        assert await a.take(PULL, "crm")
        assert await b.take(PULL, "crm") is None
        assert (a.holds(PULL, "crm"), b.holds(PULL, "crm"), a.holds(DELIVER, "crm")) == (True, False, False)


async def test_a_node_that_was_not_heard_of_for_too_long_has_nothing_and_takes_nothing(database: Database) -> None:
    async with node(database, "a", leads=True) as a, node(database, "b") as b:
        had = await a.take(PULL, (await a.part(PULL, ["crm"])).free[0])
        await forget(database, "a")
        assert (await b.part(PULL, ["crm"])).free == ["crm"]
        assert (await b.take(PULL, "crm") or 0) > (had or 0)
        with pytest.raises(NotDurable, match="nothing was heard of this node"):
            await a.take(PULL, "crm")
        await a.balance()  # it is there again, as another one
        assert not a.holds(PULL, "crm")
        assert (await a.part(PULL, ["crm"])).mine == {}
        await a.say(PULL, "crm", "all is well")
        assert (await a.part(PULL, ["crm"])).holders == {"crm": Holder("b")}
        await b.say(PULL, "crm", "it looks")
        assert (await a.part(PULL, ["crm"])).holders == {"crm": Holder("b", "it looks")}


async def test_a_node_knows_by_its_own_clock_that_its_time_is_over(database: Database) -> None:
    clock = ManualClock()
    async with node(database, "a", leads=True, clock=clock) as a:
        await a.take(PULL, (await a.part(PULL, ["crm"])).free[0])
        clock.advance(8.9)
        assert a.holds(PULL, "crm")
        clock.advance(0.2)
        assert not a.holds(PULL, "crm")
        await a.look()
        assert a.holds(PULL, "crm")
        await a.let_go(PULL, ["crm"])
        assert not a.holds(PULL, "crm")


async def test_a_node_that_is_told_that_it_is_no_more_has_nothing_any_more(database: Database) -> None:
    async with node(database, "a", leads=True) as a, node(database, "b") as b:
        await a.take(PULL, (await a.part(PULL, ["crm"])).free[0])
        await forget(database, "a")
        assert (await b.part(PULL, ["crm"])).free == ["crm"]
        assert await a.look(), "it has to begin again"
        assert not a.holds(PULL, "crm"), "asking was not being heard of"


async def test_of_deliveries_only_the_node_that_sends_to_their_target_notes_anything(database: Database) -> None:
    """One that slept has sent them too, perhaps: what it says of them is left out, and that of its other targets is written."""
    async with node(database, "a", leads=True) as a, node(database, "b") as b:
        await a.outbox.put(Outgoing(deliveries=[delivery(1), delivery(2, target="erp")]), now=NOW)
        for one, name in ((a, "crm"), (b, "erp")):
            assert (await one.part(DELIVER, ["crm", "erp"])).free[0] == name
            assert await one.take(DELIVER, name)

        async def waiting(name: str) -> list[Any]:
            return await a.outbox.ready(name, NOW, limit=10)

        both = [*await waiting("crm"), *await waiting("erp")]
        await b.outbox.settle([ended(one) for one in both])
        assert (len(await waiting("crm")), len(await waiting("erp"))) == (1, 0)
        await b.note("target erp: place", "5", target="erp")
        await b.outbox.note("erp", TargetNote(state="failing"))
        for refused in (b.note("target crm: place", "5", target="crm"), b.outbox.note("crm", TargetNote())):
            with pytest.raises(NotDurable, match="another node sends"):
                await refused
        with pytest.raises(NotDurable, match="the node to write that leads"):
            await b.note("anything", "else")
        assert (await a.noted("target erp: place"), await a.noted("target crm: place")) == ("5", None)
        assert list(await a.outbox.notes()) == ["erp"]


def test_a_store_that_several_share_fulfils_the_contract() -> None:
    assert issubclass(SharedStore, Duties)
    assert NodeDuties(Nodes("a", []), steady=lambda: 0.0).holds(PULL, "crm") is False
