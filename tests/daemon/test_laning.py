"""One of several nodes keeps its part, and goes by the list of suppressed people that is in force."""

from types import SimpleNamespace
from typing import Any, NamedTuple

import anyio
import pytest

from cdmd.batches.sharing import Share
from cdmd.config.schema import IdentitySettings
from cdmd.daemon.laning import Laning, laning_of
from cdmd.daemon.privacy import UNTOLD
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
        self.own, self.undivided = Seq(7), Seq(2)
        self.errands: Any = None
        self.name, self.said, self.digest, self.resting = "n1", list[str](), "", list[bool]()

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

    async def report(self, said: str) -> None:
        self.said.append(said)

    def rests(self, *, resting: bool) -> None:
        self.resting.append(resting)

    def settled(self, settings: str) -> None:
        self.digest = settings

    def tells(self, suppressions: Any) -> None:
        self.told = suppressions

    def goes_by(self, suppressions: str | None) -> None:
        self.by.append(suppressions or "")

    async def note(self, name: str, value: str) -> None:
        self.notes[name] = value

    async def noted(self, name: str) -> str | None:
        return self.notes.get(name)


class Readable:
    """A journal that there is a way to, or not."""

    readable = True

    async def read_lanes(self, *_: Any, **__: Any) -> None:
        """Nothing."""


class Named(NamedTuple):
    name: str


class Dispatched(list[Any]):
    """Targets that are live."""

    refreshed = 0

    def refresh(self) -> None:
        self.refreshed += 1


def daemon(store: Any, *, leads: bool = True, clock: Any = None) -> Any:
    async def load() -> None:
        store.happened.append("read")

    async def everywhere() -> None:
        store.happened.append("everywhere")

    return SimpleNamespace(
        given=SimpleNamespace(leads=leads),
        kinds=Kinds(IdentitySettings()),
        clock=clock or HandClock(),
        store=store,
        journal=Readable(),
        digester=Digester(bytes(32)),
        privacy=SimpleNamespace(suppressions=SimpleNamespace(version=4), listed=SimpleNamespace(load=load)),
        config=SimpleNamespace(
            journal=SimpleNamespace(partitions=4), connectors={}, effective={"identity": {"blocked": ["x"]}}
        ),
        plugins=SimpleNamespace(rows=lambda: [SimpleNamespace(name="warranty", version="1.0", state="enabled")]),
        pipeline=SimpleNamespace(everywhere=everywhere),
        outbound=SimpleNamespace(dispatcher=Dispatched([SimpleNamespace(built=SimpleNamespace(config=Named("crm")))])),
    )


def test_a_daemon_that_is_alone_has_no_part() -> None:
    assert laning_of(daemon(SimpleNamespace())) is None
    assert isinstance(laning_of(daemon(Together())), Laning)


async def test_the_one_that_leads_says_which_list_is_in_force_and_sends_what_others_bring_about() -> None:
    store = Together()
    whole = daemon(store)
    laning = Laning(whole, store)
    assert (laning.resumes, laning.own, store.told()) == (True, 7, "4")
    assert await laning.agreed() == Share({1: Seq(3)}, 4, Seq(2))
    told = {"settings": store.digest, "settings in detail": store.notes["settings in detail"]}
    assert store.notes == {"suppressions told": "4", **told}
    whole.config.journal.partitions = 8
    assert (await laning.agreed()).number == 4, "the configuration was read anew, and the store is still divided into 4"
    whole.privacy.suppressions.version = 5
    store.changes = [False, True]
    await laning.changed()
    assert store.notes == {"suppressions told": "5", **told}
    assert (store.happened, store.by) == (["everywhere", "sent ['crm']"], [])


async def test_one_that_only_applies_reads_the_list_when_another_one_is_in_force() -> None:
    store = Together()
    laning = Laning(daemon(store, leads=False), store)
    assert (laning.resumes, store.told) == (False, None)
    await laning.agreed()
    store.changes = [False, False, True]
    await laning.changed()
    assert (store.by, store.happened) == ([""], ["read", *["everywhere", "sent ['crm']"] * 2])
    store.notes["suppressions"] = "9"
    await laning.agreed()
    assert (store.by, store.happened[-1]) == (["", "9"], "read")


async def test_what_was_read_ahead_of_deliveries_is_read_again_when_another_node_removed_some() -> None:
    store = Together()
    whole = daemon(store, leads=False)
    laning, dispatcher = Laning(whole, store), whole.outbound.dispatcher
    await laning.agreed()
    assert dispatcher.refreshed == 0
    store.notes[UNTOLD], store.changes = "a", [False, False, True]
    await laning.changed()
    assert dispatcher.refreshed == 1
    store.notes[UNTOLD] = "b"
    await laning.agreed()
    assert dispatcher.refreshed == 2


async def test_a_node_without_a_way_to_the_journal_leaves_its_lanes_to_the_others_after_a_while() -> None:
    store = Together()
    whole = daemon(store, leads=False, clock=ManualClock())
    laning = Laning(whole, store)
    for seconds, readable in ((0, True), (30, True), (1, False), (8, False), (1, False), (1, True), (9, False)):
        whole.clock.advance(seconds)
        whole.journal.readable = readable
        await laning.agreed()
    assert store.resting == [False, False, False, False, True, False, False]


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


@pytest.mark.parametrize("told", ["reloaded", "refused"])
async def test_whose_its_part_is_is_looked_at_at_once_when_that_may_have_changed(told: str) -> None:
    store = Together()
    whole = daemon(store, leads=False, clock=ManualClock())
    laning = Laning(whole, store)
    store.changes = [False, True]
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(laning.changed)
            await anyio.wait_all_tasks_blocked()
            if told == "reloaded":
                await laning.configure(whole.config)
            else:
                laning.refused()
    assert store.changes == [], "and no time has passed"


async def test_settings_that_are_not_those_of_the_node_that_leads_are_named_until_they_are_the_same() -> None:
    store = Together()
    leads, helps = daemon(store), daemon(store, leads=False)
    helps.config.effective = {"identity": {"blocked": ["x", "y"]}, "indicators": {"hours": {"window": "1d"}}}
    helps.config.effective["plugins"] = {"warranty": {"url": "https://a.example", "token": "env:TOKEN"}}
    first, second = Laning(leads, store), Laning(helps, store)
    await second.agreed()
    assert second.problem is None, "nobody has said yet what is in force"
    await first.agreed()
    await second.agreed()
    assert second.problem == (
        "this node applies nothing, because its settings are not those of the node that leads: identity.blocked, "
        "indicators.hours.window, plugins.warranty.url; make them the same and reload"
    )
    await second.configure(leads.config)
    assert store.digest == store.notes["settings"]
    await second.agreed()
    assert (second.problem, first.problem) == (None, None)


async def test_who_leads_says_which_settings_are_in_force_before_it_uses_them() -> None:
    store = Together()
    whole = daemon(store, clock=ManualClock())
    laning = Laning(whole, store)
    await laning.agreed()
    before = store.notes["settings"]
    whole.config.effective = {"identity": {"blocked": []}}
    await laning.configure(whole.config)
    assert store.notes["settings"] == store.digest != before
    store.fails, store.changes = 0, [True]

    async def fails(name: str, value: str) -> None:
        raise NotDurable("no server answers")

    told, store.note = store.note, fails  # type: ignore[method-assign]
    whole.config.effective = {}
    await laning.configure(whole.config)
    assert laning.problem == "this node may lose its lanes: no server answers"
    store.note = told  # type: ignore[method-assign]
    await laning.agreed()
    assert (store.notes["settings"], laning.problem) == (store.digest, None)
