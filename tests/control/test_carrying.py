"""A node that does not lead has others do what is theirs: once, as who asked, and it says so where that cannot be."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from cdmd.contracts import Errand, Errands
from cdmd.control.actors import Actor, Role
from cdmd.control.asking import body
from cdmd.control.carrying import (
    About,
    Carried,
    Carrier,
    Doing,
    about,
    about_connector,
    about_target,
    belongs_elsewhere,
    request_of,
)
from cdmd.control.handlers import STREAMS, TABLE
from cdmd.control.server import doing
from cdmd.control.targets import Replay
from cdmd.errors import CdmdError, NotDurable
from cdmd.kit.sealing import Seal
from cdmd.testing import ManualClock
from tests.control.doubles import MemoryRuntime

pytestmark = pytest.mark.anyio
SEAL = Seal(bytes(32))
ADMIN = Actor(uid=0, user="root", role=Role.ADMIN)


class Table(Errands):
    """Errands in memory, all for one node."""

    def __init__(self, *, there: bool = True) -> None:
        self.rows: dict[int, tuple[bytes, bool, bytes | None]] = {}
        self.there, self.fails = there, 0
        self.to: list[str | None] = []

    async def ask(self, node: str | None, asked: bytes) -> int | None:
        self.to.append(node)
        if not self.there:
            return None
        self.rows[len(self.to)] = (asked, False, None)
        return len(self.to)

    async def look(self, number: int) -> Errand | None:
        row = self.rows.get(number)
        return None if row is None else Errand(answer=row[2], begun=row[1], there=self.there)

    async def withdraw(self, number: int) -> bool:
        if number not in self.rows or self.rows[number][1]:
            return False
        del self.rows[number]
        return True

    async def forget(self, number: int) -> None:
        self.rows.pop(number, None)

    async def waiting(self) -> bool:
        return any(not begun for _, begun, _ in self.rows.values())

    async def take(self) -> list[tuple[int, bytes]]:
        found = [(number, asked) for number, (asked, begun, _) in self.rows.items() if not begun]
        self.rows |= {number: (asked, True, None) for number, asked in found}
        return found

    async def answer(self, number: int, answer: bytes) -> None:
        if self.fails:
            self.fails -= 1
            raise NotDurable("no server answers")
        self.rows[number] = (self.rows[number][0], True, answer)


def carried(method: str, path: str, *, body: bytes = b"", **places: str) -> Carried:
    return Carried(method=method, path=path, places=places, query="limit=3", body=body, actor=ADMIN)


@asynccontextmanager
async def asking(table: Table, said: Carried, *, to: str | None = None) -> AsyncIterator[list[Any]]:
    """Somebody asks beside the block; the list has what came of it."""
    came: list[Any] = []

    async def ask() -> None:
        try:
            came.append(await Carrier(table, SEAL, clock=clock).carry(request_of(said), said.path, ADMIN, to=to))
        except CdmdError as error:
            came.append(error)

    clock = ManualClock()
    came_with: Any = came
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        yield came_with
        for _ in range(400):
            clock.advance(0.1)
            await anyio.wait_all_tasks_blocked()
            if came:
                break


def test_what_is_changed_is_for_the_node_that_leads_but_for_what_each_has_for_itself() -> None:
    gone = {path for method, path, _ in TABLE if belongs_elsewhere(method, path)}
    assert gone > {"/v1/erasures", "/v1/connectors/{name}/pause", "/v1/deliveries/replay", "/v1/shelves/{kind}", "/v1/verify"}
    assert not gone & {"/v1/reload", "/v1/log-level", "/v1/backup", "/v1/status", "/v1/profile", "/v1/audit", "/v1/metrics"}
    assert not [path for path, _ in STREAMS if belongs_elsewhere("GET", path)]
    assert [path for path in sorted(gone) if about_connector(path)] == [
        f"/v1/connectors/{{name}}/{command}" for command in ("pause", "poll", "resume")
    ]


async def test_what_another_node_does_is_done_there_as_who_asked_and_answered_as_it_was(tmp_path: Path) -> None:
    table, runtime = Table(), MemoryRuntime(tmp_path)
    there = Doing(table, SEAL, doing(runtime), clock=ManualClock())
    for said, status in (
        (carried("POST", "/v1/connectors/{name}/pause", name="shop"), 200),
        (carried("POST", "/v1/connectors/{name}/pause", name="none"), 404),
        (carried("POST", "/v1/log-level", body=b'{"level": "debug"}'), 200),
        (carried("POST", "/v1/log-level", body=b"{"), 400),
        (carried("POST", "/v1/of-the-next-version"), 404),
    ):
        async with asking(table, said, to="n2") as came:
            assert b"root" not in str(table.rows).encode()
            for number, sealed in await table.take():
                await there.do(number, sealed)
        assert (came[0].status_code, table.to[-1], table.rows) == (status, "n2", {})
    assert [row.outcome for row in await runtime.store.audits(limit=9)][-1] == "done"
    assert {row.user for row in await runtime.store.audits(limit=9)} == {"root"}


async def test_where_nobody_does_it_that_is_said_and_nothing_is_done_later() -> None:
    said = carried("POST", "/v1/verify")
    async with asking(Table(there=False), said) as came:
        pass
    assert str(came[0]).startswith("no node leads now")
    async with asking(Table(there=False), said, to="n9") as came:
        pass
    assert str(came[0]).startswith("the node n9 is not there")
    async with asking(silent := Table(), said) as came:
        pass
    assert ("nothing was done" in str(came[0]), silent.rows) == (True, {})
    async with asking(lost := Table(), said) as came:
        await lost.take()
        lost.there = False
    assert ("whether it was done" in str(came[0]), lost.rows) == (True, {})


async def test_what_no_node_sealed_is_not_done(tmp_path: Path) -> None:
    table, runtime = Table(), MemoryRuntime(tmp_path)
    there = Doing(table, SEAL, doing(runtime), clock=ManualClock())
    for sealed in (Seal(b"x" * 32).close(b"{}", "asked"), SEAL.close(b"no request", "asked"), b""):
        number = await table.ask(None, sealed)
        assert number is not None
        await there.do(number, sealed)
    assert (table.rows, runtime.done, await runtime.store.audits(limit=9)) == ({}, [], [])


async def test_an_answer_that_cannot_be_left_is_left_again(tmp_path: Path) -> None:
    table, clock = Table(), ManualClock()
    there = Doing(table, SEAL, doing(MemoryRuntime(tmp_path)), clock=clock)
    async with asking(table, carried("GET", "/v1/erasures")) as came:
        ((number, sealed),) = await table.take()
        table.fails = 2
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(there.do, number, sealed)
            for _ in range(2):
                await anyio.wait_all_tasks_blocked()
                clock.advance(2)
    assert came[0].status_code == 200
    table.fails = 9
    async with asking(table, carried("GET", "/v1/erasures")):
        ((number, sealed),) = await table.take()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_in_vain, there, number, sealed)
            for _ in range(5):
                await anyio.wait_all_tasks_blocked()
                clock.advance(2)
        table.there = False


async def _in_vain(there: Doing, number: int, sealed: bytes) -> None:
    with pytest.raises(NotDurable):
        await there.do(number, sealed)


async def test_what_the_body_names_is_for_the_node_that_has_it_and_the_body_goes_along() -> None:
    replay = carried("POST", "/v1/deliveries/replay", body=b'{"target": "shop", "since": "2026-11-23T10:00:00Z"}')
    request = request_of(replay)
    assert await about(request, replay.path) == About(target="shop")
    assert (await body(request, Replay)).target == "shop", "it is read once more"
    told, path = b'{"names": ["a.csv"], "connector": "crm"}', "/v1/shelves/{kind}/{command}"
    for said, found in ((told, "crm"), (b'{"names": ["a.csv"]}', None)):
        request = request_of(carried("POST", path, body=said, kind="files", command="retry"))
        assert await about(request, path) == About(connector=found, shelf="files")
    for nonsense in (b"{", b"[]", b""):
        assert await about(request_of(carried("POST", path, body=nonsense, kind="files")), path) == About()
    pause = request_of(carried("POST", "/v1/connectors/{name}/pause", name="crm"))
    assert await about(pause, "/v1/connectors/{name}/pause") == About(connector="crm")


def test_what_is_about_a_target_is_for_the_node_that_sends_to_it() -> None:
    paths = {path for method, path, _ in TABLE if method == "POST" and path.startswith("/v1/targets/")}
    assert {path for path in paths if not about_target(path)} == {"/v1/targets/{name}/forget"}
    assert all(belongs_elsewhere("POST", path) for path in paths)
