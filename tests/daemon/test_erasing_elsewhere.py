"""What a connector keeps of somebody who is erased goes where it is fetched for, with that node's token, and nowhere else."""

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar

import anyio
import pytest

from cdmd.contracts import PULL
from cdmd.control.carrying import Answer, Carried, Carrier, Doing
from cdmd.daemon.erasing_elsewhere import Elsewhere, erasing
from cdmd.daemon.parts import Parts
from cdmd.errors import NotDurable
from cdmd.intake.source import IntakeSource
from tests.control.test_carrying import ADMIN, SEAL, Table
from tests.daemon.dividing import Divided, divided
from tests.daemon.doubles import Fetcher, World, hooks
from tests.daemon.test_pulling import begun

pytestmark = pytest.mark.anyio
JOE = ("email", "joe@example.com")


class Keeping(Fetcher):
    """It keeps something of people beside its events. ``asked``: who was asked, whether for Joe, with which token."""

    type: ClassVar[str] = "keeping"
    asked: ClassVar[list[Any]] = []
    fails = False

    async def erase(self, values: Collection[str], source: IntakeSource) -> int:
        Keeping.asked.append((self, "joe@example.com" in values, source.fence))
        if self.fails:
            raise KeyError("joe@example.com")
        await source.emit([], state={b"cursor": None})
        return 3


CONNECTORS = '[connectors.crm]\ntype = "keeping"\n[connectors.plain]\ntype = "fetcher"\n'


async def plain(said: Carried) -> Answer:
    return Answer(status=404, media_type="", body=said.path.encode())


@asynccontextmanager
async def node(folder: Path, monkeypatch: pytest.MonkeyPatch, duties: Divided) -> AsyncIterator[Parts]:
    divided(monkeypatch, duties)
    async with World(folder, CONNECTORS, extra={"keeping": hooks(cdmd_connectors=lambda: [Keeping])}).parts() as parts:
        await begun(parts)
        assert parts.dividing is not None
        await parts.dividing.look(PULL, parts.dividing.pulling)
        yield parts


async def answering(table: Table, holder: Parts) -> None:
    """What ``do_errands`` does on the node that fetches."""
    does = Doing(table, SEAL, erasing(holder, plain), clock=holder.clock)
    while True:
        for number, sealed in await table.take():
            await does.do(number, sealed)
        await anyio.sleep(0.01)


async def test_the_node_that_fetches_takes_it_away_with_its_token_and_the_one_that_erases_counts_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Keeping.asked.clear()
    table, elsewhere, mine = Table(), Divided("n1"), Divided("n2")
    elsewhere.has(PULL, "crm", "n2")
    mine.tokens[PULL, "crm"] = 6
    (tmp_path / "n1").mkdir()
    (tmp_path / "n2").mkdir()
    async with node(tmp_path / "n1", monkeypatch, elsewhere) as leads, node(tmp_path / "n2", monkeypatch, mine) as fetches:
        leads.privacy.away = Elsewhere(leads, Carrier(table, SEAL, clock=leads.clock))
        live = fetches.connectors.get("crm")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(answering, table, fetches)
            one = await leads.privacy.erasures.ask(JOE, leads.kinds, by="root")
            with anyio.fail_after(30):
                while one.id in leads.privacy.erasures.pending:  # noqa: ASYNC110 - another task's doing
                    await anyio.sleep(0.01)
            tasks.cancel_scope.cancel()
        (report,) = [row async for row in leads.privacy.erasures.reports()]
        assert (Keeping.asked, table.to) == ([(live.connector, True, 7)], ["n2"])
        assert (report.counts["connectors' rows"], report.left) == (3, [])


async def test_where_no_node_takes_it_away_that_is_said_and_it_is_asked_for_once_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    duties, table = Divided("n1"), Table()
    duties.has(PULL, "crm", "n2")
    async with node(tmp_path, monkeypatch, duties) as parts, anyio.create_task_group() as tasks:
        tasks.start_soon(answering, table, parts)
        dividing, live = parts.dividing, parts.connectors.get("crm")
        assert dividing is not None
        away = Elsewhere(parts, Carrier(table, SEAL, clock=parts.clock))
        with pytest.raises(NotDurable, match="the node n2: crm is fetched by the node n2"):  # this one plays it, and has it not
            await away.erase(live, ["joe@example.com"])
        duties.has(PULL, "crm", None)
        duties.count = 0
        await dividing.look(PULL, dividing.pulling)
        with pytest.raises(NotDurable, match="crm is fetched by no node now"):
            await away.erase(live, ["joe@example.com"])
        duties.has(PULL, "crm", "n1")
        duties.count = 1
        await dividing.look(PULL, dividing.pulling)
        duties.has(PULL, "plain", "n1")
        await dividing.look(PULL, dividing.pulling)
        assert await away.erase(parts.connectors.get("plain"), ["joe@example.com"]) == 0, "it keeps nothing of anybody"
        monkeypatch.setattr(Keeping, "fails", True)
        said = await away.erase(live, ["joe@example.com"])
        assert ("KeyError" in str(said), "joe" in str(said)) == (True, False)
        said_else = Carried(method="POST", path="/v1/verify", places={}, query="", body=b"", actor=ADMIN)
        assert (await Carrier(table, SEAL, clock=parts.clock).ask(said_else, to=None)).status == 404
        tasks.cancel_scope.cancel()
