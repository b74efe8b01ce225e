"""What nodes say of themselves, put together: on any of them the status of all."""

from types import SimpleNamespace
from typing import Any

import anyio
import msgspec
import pytest

from cdmd.contracts import Lanes, Node
from cdmd.control.privacy_shapes import ErasuresRow
from cdmd.control.protocol import ConnectorRow
from cdmd.daemon.gathering import Gathered, Report, gather, keep_reporting
from cdmd.errors import NotDurable
from cdmd.models import Seq
from cdmd.testing import ManualClock
from tests.daemon.test_laning import Together

pytestmark = pytest.mark.anyio
CRM = ConnectorRow(name="crm", type="rest", state="running", freshness_seconds=2.0, received=1, detail="the next look")


def said(*, connectors: tuple[ConnectorRow, ...] = (), warnings: tuple[str, ...] = (), **freshness: float) -> str:
    erasures = ErasuresRow(pending=len(connectors), progress=None)
    report = Report(
        state="running", uptime=5.0, warnings=warnings, connectors=connectors, freshness=freshness, erasures=erasures
    )
    return msgspec.json.encode(report).decode()


def node(name: str, *, lanes: tuple[int, ...] = (), leads: bool = False, **more: Any) -> Node:
    return Node(name=name, roles=["process"], lanes=lanes, leads=leads, **more)


class Several(Together):
    def __init__(self, *nodes: Node) -> None:
        super().__init__()
        self.there = list(nodes)

    async def nodes(self) -> list[Any]:
        return list(self.there)

    async def reached(self) -> dict[int, Seq]:
        return {0: Seq(3), 1: Seq(9)}


def parts(store: Any, *names: str) -> Any:
    connectors = {name: SimpleNamespace(frame=SimpleNamespace(type="rest")) for name in names}
    tally = SimpleNamespace(of=lambda name, counter: {("crm", "received"): 7, ("crm", "accepted"): 6}.get((name, counter), 0))
    return SimpleNamespace(store=store, config=SimpleNamespace(connectors=connectors), tally=tally, clock=ManualClock())


async def test_any_node_shows_all_of_them_and_who_was_lost() -> None:
    n1 = node("n1", lanes=(0,), leads=True, report=said(connectors=(CRM,), crm=4.5), silent=0.2)
    n2 = node("n2", lanes=(1,), report=said(warnings=("the disk is full",), crm=6.0, shop=1.0), silent=1.0, alike=False)
    store = Several(n1, n2, node("n3", lost=True, silent=40.0), node("n4", lost=True, silent=100_000.0))
    assert isinstance(store, Lanes)
    found = await gather(parts(store))
    first, second, third, _ = found.rows(Seq(10))
    assert (first.lanes, first.leads, first.connectors, first.freshness_seconds, first.state) == (
        {0: 7},
        True,
        1,
        4.5,
        "running",
    )
    assert (second.lanes, second.alike, second.silent_seconds, second.freshness_seconds) == ({1: 1}, False, 1.0, 6.0)
    assert (third.lost, third.version, third.lanes) == (True, None, {})
    assert found.warnings() == [
        "n2: the disk is full",
        "nothing was heard of the node n3 for 40 seconds: others do its work; start it again",
    ]
    assert (found.late("crm"), found.late("none")) == (6.0, None)
    assert found.erasures() == ErasuresRow(pending=1, progress=None)
    assert Gathered().erasures() is None


async def test_a_connector_that_runs_elsewhere_is_shown_with_the_sums_that_all_share() -> None:
    store = Several(node("n2", report=said(connectors=(CRM,), crm=6.0)), node("n5", report="not what this version says"))
    found = await gather(whole := parts(store, "crm", "shop", "here"))
    applied = {("crm", "applied"): 4}
    rows = {row.name: row for row in found.elsewhere(whole, ["here"], applied)}
    assert rows.keys() == {"crm", "shop"}
    crm, shop = rows["crm"], rows["shop"]
    assert (crm.state, crm.detail, crm.freshness_seconds) == ("running", "the next look", 6.0)
    assert (crm.received, crm.accepted, crm.applied, crm.backlog) == (7, 6, 4, 2)
    assert (shop.type, shop.state, shop.detail, shop.freshness_seconds) == (
        "rest",
        "unknown",
        "no node says that it runs it",
        None,
    )


async def test_a_daemon_that_is_alone_gathers_nothing() -> None:
    found = await gather(parts(SimpleNamespace()))
    assert (found, found.rows(Seq(1)), found.warnings()) == (Gathered(), [], [])


async def test_a_node_says_how_it_is_again_and_again_also_after_it_could_not() -> None:
    store, clock, made = Several(), ManualClock(), list[int]()

    async def report() -> Report:
        made.append(len(made))
        if len(made) in {2, 3}:
            raise NotDurable("no server answers")
        return Report(state="running", uptime=float(len(made)))

    whole = SimpleNamespace(clock=clock)
    async with anyio.create_task_group() as tasks:
        await tasks.start(keep_reporting, whole, store, report)
        for _ in range(3):
            await anyio.wait_all_tasks_blocked()
            clock.advance(2)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    assert [msgspec.json.decode(text, type=Report).uptime for text in store.said] == [1.0, 4.0]


async def test_a_report_that_waited_long_for_a_server_is_soon_followed_by_one_that_says_how_it_is_now() -> None:
    store, clock, made = Several(), ManualClock(), list[int]()

    async def report() -> Report:
        made.append(len(made))
        if len(made) == 1:
            clock.advance(5)
        return Report(state="running", uptime=0.0, warnings=["the store cannot be read"] if len(made) == 1 else [])

    whole = SimpleNamespace(clock=clock)
    async with anyio.create_task_group() as tasks:
        await tasks.start(keep_reporting, whole, store, report)
        await anyio.wait_all_tasks_blocked()
        clock.advance(10)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    assert [msgspec.json.decode(text, type=Report).warnings for text in store.said] == [["the store cannot be read"], []]
