"""One of several nodes keeps its part, and goes by the list of suppressed people that is in force."""

from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from cdmd.batches.sharing import Share
from cdmd.config.schema import IdentitySettings
from cdmd.daemon.laning import Laning, laning_of
from cdmd.errors import NotDurable
from cdmd.identity.identifiers import Kinds
from cdmd.models import Seq
from cdmd.store.keys import Digester
from cdmd.testing import ManualClock
from tests.store.samples import HandClock

pytestmark = pytest.mark.anyio


class Together:
    """A store of several, and what is done about it."""

    def __init__(self) -> None:
        self.notes: dict[str, str] = {}
        self.fails = 0
        self.changes: list[bool] = []
        self.told: Any = None
        self.by: list[str] = []
        self.outbox = SimpleNamespace(written=lambda names: self.happened.append(f"sent {sorted(names)}"))
        self.happened: list[str] = []
        self.own = Seq(7)

    async def look(self) -> bool:
        if self.fails:
            self.fails -= 1
            raise NotDurable("no server answers")
        return self.changes.pop(0)

    async def balance(self) -> dict[int, Seq]:
        if self.fails:
            self.fails -= 1
            raise NotDurable("no server answers")
        return {1: Seq(3)}

    async def nodes(self) -> list[Any]:
        return []

    async def reached(self) -> dict[int, Seq]:
        return {}

    def tells(self, suppressions: Any) -> None:
        self.told = suppressions

    def goes_by(self, suppressions: str | None) -> None:
        self.by.append(suppressions or "")

    async def note(self, name: str, value: str) -> None:
        self.notes[name] = value

    async def noted(self, name: str) -> str | None:
        return self.notes.get(name)


def daemon(store: Any, *, applies_only: bool = False, clock: Any = None) -> Any:
    async def load() -> None:
        store.happened.append("read")

    async def everywhere() -> None:
        store.happened.append("everywhere")

    return SimpleNamespace(
        given=SimpleNamespace(applies_only=applies_only),
        kinds=Kinds(IdentitySettings()),
        clock=clock or HandClock(),
        store=store,
        digester=Digester(bytes(32)),
        privacy=SimpleNamespace(suppressions=SimpleNamespace(version=4), listed=SimpleNamespace(load=load)),
        config=SimpleNamespace(journal=SimpleNamespace(partitions=4)),
        pipeline=SimpleNamespace(everywhere=everywhere),
        outbound=SimpleNamespace(dispatcher=[SimpleNamespace(built=SimpleNamespace(config=SimpleNamespace(name="crm")))]),
    )


def test_a_daemon_that_is_alone_has_no_part() -> None:
    assert laning_of(daemon(SimpleNamespace())) is None
    assert isinstance(laning_of(daemon(Together())), Laning)


async def test_the_one_that_leads_says_which_list_is_in_force_and_sends_what_others_bring_about() -> None:
    store = Together()
    whole = daemon(store)
    laning = Laning(whole, store)
    assert (laning.resumes, laning.own, store.told()) == (True, 7, "4")
    assert await laning.agreed() == Share({1: Seq(3)}, 4)
    assert store.notes == {"suppressions told": "4"}
    whole.config.journal.partitions = 8
    assert (await laning.agreed()).number == 4, "the configuration was read anew, and the store is still divided into 4"
    whole.privacy.suppressions.version = 5
    store.changes = [False, True]
    await laning.changed()
    assert store.notes == {"suppressions told": "5"}
    assert (store.happened, store.by) == (["everywhere", "sent ['crm']"], [])


async def test_one_that_only_applies_reads_the_list_when_another_one_is_in_force() -> None:
    store = Together()
    laning = Laning(daemon(store, applies_only=True), store)
    assert (laning.resumes, store.told) == (False, None)
    await laning.agreed()
    store.changes = [False, False, True]
    await laning.changed()
    assert (store.by, store.happened) == ([""], ["read", "everywhere", "everywhere"])
    store.notes["suppressions"] = "9"
    await laning.agreed()
    assert (store.by, store.happened[-1]) == (["", "9"], "read")


async def test_while_no_server_answers_it_says_so_and_goes_on_by_itself() -> None:
    store = Together()
    whole = daemon(store, clock=ManualClock())
    laning = Laning(whole, store)
    store.fails = 2
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(laning.agreed)
        await anyio.wait_all_tasks_blocked()
        assert laning.problem == "this node may lose its lanes: no server answers"
        for _ in range(2):
            whole.clock.advance(1)
            await anyio.wait_all_tasks_blocked()
    assert laning.problem is None
    store.fails, store.changes = 1, [True]
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(laning.changed)
        await anyio.wait_all_tasks_blocked()
        assert laning.problem is not None
        whole.clock.advance(1)
