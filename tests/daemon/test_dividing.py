"""A node's part of what one node at a time does: taken, given up, lost, and what is shown of it."""

from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from cdmd.contracts import DELIVER, Holder
from cdmd.daemon.dividing import Dividing, dividing_of
from cdmd.testing import ManualClock
from tests.daemon.dividing import Divided, Done

pytestmark = pytest.mark.anyio


def dividing(duties: Divided, **more: Any) -> Dividing:
    whole = SimpleNamespace(
        given=SimpleNamespace(roles=("deliver",), leads=True),
        connectors=[],
        clock=ManualClock(),
        state="running",
        store=duties,
        **more,
    )
    made = dividing_of(whole)  # type: ignore[arg-type]
    assert made is not None
    return made


async def test_what_is_free_is_taken_and_what_is_too_much_is_ended_before_others_may_have_it() -> None:
    duties, work = Divided(), Done("crm", "erp")
    node = dividing(duties)
    await node.look(DELIVER, work)
    assert work.happened == ["begin crm 1", "begin erp 1"]
    assert duties.rows[DELIVER, "crm"] == Holder("a", "crm goes well")
    duties.count = 2

    async def let_go(kind: str, names: Any) -> None:
        work.happened.append(f"let go {names}")
        await Divided.let_go(duties, kind, names)

    duties.let_go = let_go  # type: ignore[method-assign]
    await node.look(DELIVER, work)
    assert work.happened[2:] == ["end erp", "let go ['erp']"]
    duties.has(DELIVER, "erp", "b")
    await node.look(DELIVER, work)
    assert (list(work.here), work.holders["erp"]) == (["crm"], Holder("b"))


async def test_what_another_node_has_by_now_is_ended_and_what_came_back_goes_on_with_a_new_token() -> None:
    duties, work = Divided(), Done("crm")
    node = dividing(duties)
    await node.look(DELIVER, work)
    duties.has(DELIVER, "crm", "b")
    await node.look(DELIVER, work)
    assert work.here == {}
    duties.has(DELIVER, "crm", None)
    await node.look(DELIVER, work)
    assert work.happened == ["begin crm 1", "end crm", "begin crm 4"]


async def test_of_two_that_are_equally_quick_the_slower_one_begins_nothing() -> None:
    duties, work = Divided(), Done("crm")
    part = duties.part

    async def late(kind: str, names: Any) -> Any:
        found = await part(kind, names)
        duties.has(DELIVER, "crm", "b")
        return found

    duties.part = late  # type: ignore[method-assign]
    await dividing(duties).look(DELIVER, work)
    assert work.happened == []


async def test_what_there_is_no_more_is_ended_and_let_go() -> None:
    duties, work = Divided(), Done("crm", "erp")
    node = dividing(duties)
    await node.look(DELIVER, work)
    work.names = {"erp"}
    await node.look(DELIVER, work)
    assert (work.happened[-1], duties.rows[DELIVER, "crm"]) == ("end crm", Holder(None))
    work.names = {"crm", "erp"}
    await node.look(DELIVER, work)
    assert work.happened[-1] == "begin crm 2", "with a greater token than any that another node had meanwhile"


async def test_what_could_not_be_begun_keeps_nobody_waiting_and_is_begun_by_a_later_look() -> None:
    duties, work = Divided(), Done("crm", "erp")
    node = dividing(duties)
    clock: Any = node._whole.clock
    work.refuses = {"crm"}
    for tries in range(1, 4):
        await node.look(DELIVER, work)
        await node.look(DELIVER, work)
        assert work.happened == ["begin erp 1"]
        assert node.problem == "this node cannot begin with crm yet: the node that leads does not answer"
        assert node._failed[DELIVER, "crm"].times == tries, "a second look comes too early"
        clock.advance(60)
    work.refuses.clear()
    await node.look(DELIVER, work)
    assert (work.happened, node.problem) == (["begin erp 1", "begin crm 1"], None)
    work.names = {"erp"}
    await node.look(DELIVER, work)
    assert node._failed == {}


async def test_one_whose_token_another_node_has_overtaken_is_let_go_and_begun_with_a_greater_one() -> None:
    """As when two nodes grouped connectors in different ways: whoever has the row would be refused for ever."""
    duties, work = Divided(), Done("crm")
    node = dividing(duties)
    await node.look(DELIVER, work)
    work.followed.add("crm")
    await node.look(DELIVER, work)
    assert work.happened == ["begin crm 1", "end crm", "begin crm 2"]
    await work.end("crm")
    work.least = 3
    await node.look(DELIVER, work)
    assert (work.here, duties.rows[DELIVER, "crm"]) == ({}, Holder(None)), "it may be another node's"
    node._whole.clock.advance(60)  # type: ignore[attr-defined]
    await node.look(DELIVER, work)
    assert work.here == {"crm": 3}


async def test_nothing_is_said_any_more_of_the_last_one_once_there_is_no_such() -> None:
    duties, work = Divided(), Done("crm")
    node = dividing(duties)
    work.least = 3
    for _ in range(2):
        await node.look(DELIVER, work)
        assert str(node.problem).startswith("this node cannot begin with crm yet")
    work.names = set()
    await node.look(DELIVER, work)
    assert node.problem is None


async def test_while_nobody_can_be_asked_it_goes_on_until_others_may_have_it() -> None:
    duties, work = Divided(), Done("crm")
    node = dividing(duties)
    await node.look(DELIVER, work)
    duties.fails = True
    await node.look(DELIVER, work)
    assert list(work.here) == ["crm"]
    assert node.problem is not None
    duties.over = True
    await node.look(DELIVER, work)
    assert list(work.here) == []


async def test_while_the_daemon_stops_nothing_is_let_go_to_others_that_may_still_be_under_way() -> None:
    duties, work = Divided(), Done("crm", "erp")
    node = dividing(duties)
    await node.look(DELIVER, work)
    work.stopping, duties.count = True, 2
    await node.look(DELIVER, work)
    work.followed.add("crm")
    await node.look(DELIVER, work)
    work.followed.clear()
    work.names.clear()
    await node.look(DELIVER, work)
    assert {name: one.node for (_, name), one in duties.rows.items()} == {"crm": "a", "erp": "a"}
    duties.fails = duties.over = True
    await node.look(DELIVER, work)
    assert work.here == {"crm": 1, "erp": 1}


async def test_it_looks_again_and_again_but_not_while_the_daemon_starts_or_stops() -> None:
    duties, work = Divided(), Done("crm")
    node = dividing(duties, outbound=work)
    whole: Any = node._whole
    whole.state = "starting"
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(node.run)
        await anyio.wait_all_tasks_blocked()
        assert work.happened == []
        whole.state = "running"
        whole.clock.advance(1)
        await anyio.wait_all_tasks_blocked()
        assert work.happened == ["begin crm 1"]
        tasks.cancel_scope.cancel()


def test_a_daemon_that_is_alone_divides_nothing() -> None:
    assert dividing_of(SimpleNamespace(store=object())) is None  # type: ignore[arg-type]
