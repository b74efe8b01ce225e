"""Which node something is for, and that what is asked of this one is done while the others go on."""

from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from cdmd.control.carrying import Carrier
from cdmd.control.runtime import Place
from cdmd.daemon import errands
from cdmd.daemon.errands import carrier_of, do_errands, whose
from cdmd.errors import NotDurable
from cdmd.store.keys import Digester
from cdmd.testing import ManualClock
from tests.control.test_carrying import SEAL, Table
from tests.daemon.test_gathering import CRM, Several, node, said

pytestmark = pytest.mark.anyio


class Lives(list[Any]):
    """Connectors of one node."""

    away: str | None = None

    def works_here(self, live: Any) -> bool:
        return live.config.name != self.away


def parts(store: Any, *live: str, leads: bool = True) -> Any:
    connectors = Lives(SimpleNamespace(config=SimpleNamespace(name=name)) for name in live)
    laning = SimpleNamespace(resumes=leads)
    return SimpleNamespace(store=store, laning=laning, connectors=connectors, digester=Digester(bytes(32)), clock=ManualClock())


async def test_a_connector_is_for_the_node_that_runs_it_and_the_rest_for_the_one_that_leads() -> None:
    store = Several(node("n1", report=said()), node("n2", report=said(connectors=(CRM,))))
    follows, leads = parts(store, leads=False), parts(store, "shop")
    assert await whose(follows, None) == Place(here=False)
    assert await whose(leads, None) == await whose(leads, "shop") == await whose(leads, "nobody's") == Place(here=True)
    assert await whose(leads, "crm") == await whose(follows, "crm") == Place(here=False, node="n2")
    assert await whose(follows, "nobody's") == Place(here=False)
    assert await whose(parts(store, "shop", leads=False), "shop") == Place(here=True)
    divides = parts(store, "shop", "crm")
    divides.connectors.away = "crm"
    assert await whose(divides, "crm") == Place(here=False, node="n2"), "it is configured here, and runs there"
    alone = parts(SimpleNamespace())
    alone.laning = None
    assert (await whose(alone, None), carrier_of(alone)) == (Place(here=True), None)
    assert isinstance(carrier_of(leads), Carrier)


async def test_a_target_is_for_the_node_that_sends_to_it() -> None:
    follows, leads = parts(Several(), leads=False), parts(Several())
    for one in (follows, leads):
        one.outbound = SimpleNamespace(here={"mine"}, sender={"mine": "n1", "theirs": "n2"}.get)
        assert (await whose(one, None, target="mine")).here
        assert await whose(one, None, target="theirs") == Place(here=False, node="n2")
    assert (await whose(follows, None, target="nobody's"), await whose(leads, None, target="nobody's")) == (
        Place(here=False),
        Place(here=True),
    )


async def test_what_is_asked_is_done_again_and_again_and_a_store_that_is_away_stops_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store, done = Several(), list[int]()
    table = store.errands = Table()
    whole = parts(store)

    class Does:
        def __init__(self, *_: Any, clock: Any) -> None: ...

        async def do(self, number: int, sealed: bytes) -> None:
            done.append(number)
            if number == 1:
                raise NotDurable("no server answers")

    monkeypatch.setattr(errands, "Doing", Does)
    away: list[bool] = [False, True, False, False]
    waiting = table.waiting

    async def looked() -> bool:
        if away.pop(0):
            raise NotDurable("no server answers")
        return await waiting()

    table.waiting = looked  # type: ignore[method-assign]
    await table.ask(None, SEAL.close(b"", "asked"))
    async with anyio.create_task_group() as tasks:
        await tasks.start(do_errands, whole, table, SimpleNamespace())
        for _ in range(3):
            await anyio.wait_all_tasks_blocked()
            await table.ask(None, b"")
            whole.clock.advance(0.25)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    assert done == [1, 2, 3, 4]
