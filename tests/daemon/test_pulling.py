"""Connectors that nodes divide among themselves: which run here, with which token, and what is said of the others."""

from collections.abc import Collection, Sequence
from contextlib import nullcontext
from copy import copy
from pathlib import Path
from typing import Any

import pytest

from cdmd.config.roles import INGEST
from cdmd.config.together import grouped
from cdmd.contracts import PULL, Append, Holder
from cdmd.control.protocol import ConnectorRow
from cdmd.daemon.gate import Plan
from cdmd.daemon.gathering import Gathered, Report
from cdmd.daemon.parts import Parts
from cdmd.daemon.running import Running
from cdmd.errors import BadArguments, Followed, NotDurable, Overloaded
from cdmd.testing.tables import MemoryFeeds
from tests.daemon.dividing import Divided, divided
from tests.daemon.doubles import Fetcher, World, record, until

pytestmark = pytest.mark.anyio

CRM = '[connectors.crm]\ntype = "fetcher"\n'
SHOP = '[connectors.shop]\ntype = "told"\n'


async def begun(parts: Parts) -> None:
    """What the daemon does where nodes divide: nothing runs that is not this one's part."""
    assert parts.dividing is not None
    parts.connectors.pulling = parts.dividing.fetches
    await parts.connectors.renew([live.config.name for live in parts.connectors])


async def test_a_connector_runs_where_it_is_had_and_goes_on_from_what_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    duties = Divided()
    divided(monkeypatch, duties)
    async with World(tmp_path, CRM + SHOP).parts() as parts:
        await begun(parts)
        dividing = parts.dividing
        assert dividing is not None
        pulling, runs = dividing.pulling, Fetcher.made["crm"].runs
        assert (list(pulling.names), list(pulling.here), runs) == (["crm"], [], 0)
        assert parts.supervisor.state("shop").state == "running", "what is told comes to the node that leads"
        duties.tokens[PULL, "crm"] = 6
        await dividing.look(PULL, pulling)
        await until(parts, "crm", "running")
        first = Fetcher.made["crm"]
        await first.bring()
        assert parts.connectors.get("crm").source.fence == 7
        assert await parts.journal.get("crm", [b"cursor"]) == {b"cursor": b"1"}
        old = parts.connectors.get("crm").source
        duties.has(PULL, "crm", "b")
        with pytest.raises(Overloaded):  # before anybody noticed
            await old.emit([record("late")])
        await dividing.look(PULL, pulling)
        assert (list(pulling.here), parts.connectors.get("crm").source.may()) == ([], True)
        assert old.closed
        duties.has(PULL, "crm", None)
        await dividing.look(PULL, pulling)
        await until(parts, "crm", "running")
        assert Fetcher.made["crm"] is not first, "nothing that an earlier life knew is believed"
        await Fetcher.made["crm"].bring()
        assert await parts.journal.get("crm", [b"cursor"]) == {b"cursor": b"2"}


async def test_commands_for_a_connector_of_another_node_name_that_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    duties = Divided()
    divided(monkeypatch, duties)
    async with World(tmp_path, CRM + SHOP).parts() as parts:
        await begun(parts)
        dividing, live = parts.dividing, parts.connectors
        assert dividing is not None
        with pytest.raises(BadArguments, match="crm is fetched by no node now: start one with the role pull"):
            await live.poll("crm")
        duties.has(PULL, "crm", "n2")
        await dividing.look(PULL, dividing.pulling)
        for refused in (live.pause("crm"), live.resume("crm"), live.poll("crm")):
            with pytest.raises(BadArguments, match="crm is fetched by the node n2: give the command there"):
                await refused
        assert dividing.fetches.node_of(live.get("crm")) == "n2"
        assert [row.name for row in (await Running(parts).status()).connectors] == ["shop"], "of the others their nodes tell"
        dividing.fetches._leads = False
        with pytest.raises(BadArguments, match="shop belongs to the node that leads"):
            live.here("shop")


async def test_who_had_a_connector_before_writes_no_table_of_it_once_another_node_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    duties, happened = Divided(), list[str]()
    divided(monkeypatch, duties)

    class Tables(MemoryFeeds):
        fence = 0

        def fenced(self, fence: int) -> "Tables":
            other = copy(self)
            other.fence = fence
            return other

        async def hold(self, connectors: Collection[str]) -> None:
            happened.append(f"hold {sorted(connectors)} {self.fence}")

        async def begin(self, connector: str, table: str, *, keep: int | None) -> int:
            happened.append(f"begin {connector} {self.fence}")
            return await super().begin(connector, table, keep=keep)

        async def rename(self, connector: str, name: str) -> None:
            happened.append(f"rename {connector} {name} {self.fence}")

    monkeypatch.setattr("cdmd.store.opening._feeds", lambda *_: nullcontext(Tables()))
    async with World(tmp_path, CRM + 'was = ["old"]\n').parts() as parts:
        append = parts.journal.append

        async def appended(appends: Any) -> Any:
            happened.extend(f"append {one.connector} {one.fence}" for one in appends if one.fence)
            return await append(appends)

        monkeypatch.setattr(parts.journal, "append", appended)
        assert parts.dividing is not None
        await append([Append(connector="old", state={b"cursor": b"5"})])
        happened.clear()
        await begun(parts)
        assert happened == [], "what is another node's is not renamed here either"
        duties.tokens[PULL, "crm"] = 6
        await parts.dividing.look(PULL, parts.dividing.pulling)
        await parts.connectors.get("crm").source.table("register").write()
        assert happened == [
            "hold ['crm'] 7",
            "append crm 7",
            "rename old crm 7",
            "append crm 7",
            "append old 7",
            "begin crm 7",
        ]
        assert await parts.journal.get("crm", [b"cursor"]) == {b"cursor": b"5"}


async def test_one_that_could_not_be_begun_at_the_last_step_is_begun_by_a_later_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    divided(monkeypatch, Divided())
    async with World(tmp_path, CRM).parts() as parts:
        await begun(parts)
        dividing, renew = parts.dividing, parts.connectors.renew
        assert dividing is not None

        async def once(_: Any) -> None:
            monkeypatch.setattr(parts.connectors, "renew", renew)
            raise NotDurable("the node that leads does not answer")

        monkeypatch.setattr(parts.connectors, "renew", once)
        await dividing.look(PULL, dividing.pulling)
        assert list(dividing.pulling.here) == []
        dividing._failed.clear()  # as when its time has come
        await dividing.look(PULL, dividing.pulling)
        await until(parts, "crm", "running")


async def test_one_that_was_paused_elsewhere_stays_paused_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    duties = Divided()
    divided(monkeypatch, duties)
    async with World(tmp_path, CRM).parts() as parts:
        await begun(parts)
        assert parts.dividing is not None
        await parts.dividing.look(PULL, parts.dividing.pulling)
        await parts.connectors.pause("crm")
        await parts.dividing.pulling.end("crm")
        parts.connectors._kept._paused = frozenset()  # as a node that had not heard of it
        await parts.dividing.pulling.begin("crm", 9)
        assert parts.supervisor.state("crm").state in {"starting", "paused"}
        await until(parts, "crm", "paused")


async def test_a_group_that_became_another_one_is_ended_and_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    duties = Divided()
    divided(monkeypatch, duties)
    together = False
    monkeypatch.setattr(
        "cdmd.daemon.pulling.grouped",
        lambda configs: grouped(configs, hosts=lambda settings: {"one" if together else id(settings)}),
    )
    async with World(tmp_path, CRM + CRM.replace("crm", "ask")).parts() as parts:
        await begun(parts)
        dividing = parts.dividing
        assert dividing is not None
        duties.has(PULL, "ask", "b")
        await dividing.look(PULL, dividing.pulling)
        await until(parts, "crm", "running")
        old = parts.connectors.get("crm").source
        together, dividing.pulling._known_of = True, None
        (name,) = dividing.pulling.names
        duties.has(PULL, name, "b")
        await dividing.look(PULL, dividing.pulling)
        assert old.closed, "it fetched on beside the node that has the group now"
        assert duties.rows[PULL, "crm"] == Holder(None), "with an old token nothing of it would ever be taken again"
        duties.has(PULL, name, None)
        await dividing.look(PULL, dividing.pulling)
        assert [parts.connectors.get(one).source.fence for one in ("ask", "crm")] == [duties.tokens[PULL, name]] * 2


async def test_a_connector_that_left_the_configuration_while_it_was_taken_is_not_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    duties = Divided()
    divided(monkeypatch, duties)
    async with World(tmp_path, CRM + SHOP).parts() as parts:
        await begun(parts)
        dividing, take = parts.dividing, duties.take
        assert dividing is not None

        async def late(kind: str, name: str) -> int | None:
            token = await take(kind, name)
            await parts.connectors.carry_out(Plan({}, {}, ["crm"]))
            return token

        duties.take = late  # type: ignore[method-assign]
        await dividing.look(PULL, dividing.pulling)
        assert (list(dividing.pulling.here), duties.rows[PULL, "crm"].node) == ([], "a")
        await dividing.look(PULL, dividing.pulling)
        assert duties.rows[PULL, "crm"].node is None


async def test_who_looks_while_connectors_are_exchanged_finds_them_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    duties = Divided()
    divided(monkeypatch, duties)
    async with World(tmp_path, CRM).parts() as parts:
        await begun(parts)
        assert parts.dividing is not None
        pulling = parts.dividing.pulling
        await parts.dividing.look(PULL, pulling)
        async with parts.connectors.changing.change():
            parts.connectors._live.clear()
            assert list(pulling.names) == ["crm"]
        assert list(pulling.names) == []


async def test_one_of_whom_something_was_refused_is_let_go_and_goes_on_with_a_greater_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    duties = Divided()
    divided(monkeypatch, duties)
    async with World(tmp_path, CRM).parts() as parts:
        await begun(parts)
        dividing, append = parts.dividing, parts.journal.append
        assert dividing is not None
        await dividing.look(PULL, dividing.pulling)
        await until(parts, "crm", "running")

        async def guarded(appends: Sequence[Append]) -> Any:
            if any(one.fence == 1 for one in appends):
                raise Followed({"crm": 2})
            return await append(appends)

        monkeypatch.setattr(parts.journal, "append", guarded)
        with pytest.raises(Followed):
            await Fetcher.made["crm"].bring()
        assert list(dividing.pulling.followed) == ["crm"]
        await dividing.look(PULL, dividing.pulling)
        await until(parts, "crm", "running")
        await Fetcher.made["crm"].bring()
        assert (parts.connectors.get("crm").source.fence, list(dividing.pulling.followed)) == (2, [])


async def test_what_asks_a_host_that_is_asked_because_of_what_is_sent_goes_with_that_to_who_leads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One budget of requests for both: two nodes would each have a whole one."""
    duties = Divided()
    divided(monkeypatch, duties)
    hosts = {"crm": {"h"}, "shop": {"h"}, "ask": {"other"}}
    config = CRM + SHOP + CRM.replace("crm", "ask")
    async with World(tmp_path, config).parts() as parts:
        by = {id(live.config.settings): hosts[live.config.name] for live in parts.connectors}
        monkeypatch.setattr(
            "cdmd.daemon.pulling.grouped", lambda configs: grouped(configs, hosts=lambda settings: by[id(settings)])
        )
        await begun(parts)
        dividing, live = parts.dividing, parts.connectors.get
        assert dividing is not None
        assert (list(dividing.pulling.names), list(dividing.led.names)) == (["ask"], ["crm"])
        await dividing.look(PULL, dividing.pulling)
        assert not dividing.fetches.works_here(live("crm"))
        duties.has(INGEST, "crm", "b")
        await dividing.look(INGEST, dividing.led)
        assert (dividing.fetches.node_of(live("crm")), dividing.fetches.node_of(live("shop"))) == ("b", None)
        duties.has(INGEST, "crm", None)
        await dividing.look(INGEST, dividing.led)
        await until(parts, "crm", "running")
        assert dividing.fetches.works_here(live("crm"))
        await Fetcher.made["crm"].bring()


async def test_nothing_is_forgotten_of_a_connector_that_another_node_still_fetches_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that has not heard yet that it left the configuration would go on from a position that is gone, and keep it again."""
    runs = [ConnectorRow(name="crm", type="fetcher", state="running")]

    async def gathered(_: Parts) -> Gathered:
        return Gathered("a", reports={"b": Report(state="running", uptime=1, connectors=runs)})

    monkeypatch.setattr("cdmd.daemon.errands.gather", gathered)
    async with World(tmp_path, SHOP).parts() as parts:
        await parts.journal.append([Append(connector="crm", state={b"cursor": b"1"})])
        with pytest.raises(BadArguments, match="crm is still fetched by the node b"):
            await Running(parts).forget("crm")
        runs.clear()
        assert await Running(parts).forget("crm") == 1
