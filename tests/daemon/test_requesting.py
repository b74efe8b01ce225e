"""Requests that arrive as events: whoever asks is erased or told, and only where the connector may ask."""

import json
import stat
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import msgspec
import pytest

from cdmd.config.governing import PrivacySettings
from cdmd.config.outbound import TargetConfig, TargetFrame
from cdmd.contracts import ActivityPage, Holding
from cdmd.daemon.governing import Governing
from cdmd.daemon.parts import Parts
from cdmd.daemon.requesting import Requests, forget_exports
from cdmd.daemon.running import Running
from cdmd.deliveries.subscribing import Subscriptions
from cdmd.errors import NotDurable
from cdmd.kit.clock import SystemClock
from cdmd.models import Record, Seq
from cdmd.profiles.telling import ToldValues
from tests.daemon.doubles import World, applied, record

pytestmark = pytest.mark.anyio
JOE, ANN = ("email", "joe@example.com"), ("email", "ann@example.com")
CONFIG = """
[privacy]
requests_from = ["shop"]
[connectors.shop]
type = "told"
[connectors.app]
type = "told"
"""


def asking(parts: Parts) -> Requests:
    return parts.privacy.requests(Running(parts))


async def come(parts: Parts, *records: Record, connector: str = "shop") -> None:
    await parts.connectors.get(connector).source.emit(list(records))
    await applied(parts)


async def erased(parts: Parts) -> None:
    while parts.privacy.erasures.pending:
        await parts.privacy.removing.tried.wait()


def files(folder: Path) -> list[Path]:
    return sorted((folder / "state" / "exports").glob("*"))


async def test_who_asks_is_told_in_a_file_for_the_administrator_and_erased_with_it(tmp_path: Path) -> None:
    async with World(tmp_path, CONFIG).parts() as parts:
        requests = asking(parts)
        await come(parts, record("1"), record("2", type="privacy.access_requested"), record("3", email=ANN[1]))
        await requests.look()
        (file,) = await anyio.to_thread.run_sync(files, tmp_path)
        assert stat.S_IMODE((await anyio.Path(file).stat()).st_mode) == 0o600
        lines = [json.loads(line) for line in (await anyio.Path(file).read_text()).splitlines()]
        assert [line["type"] for line in lines if line["type"] in {"profile", "summary"}] == ["profile", "summary"]
        assert [row.command for row in await parts.store.audits(limit=9)] == ["profile export"]
        await requests.look()
        await come(parts, record("4", type="privacy.erasure_requested"))
        await requests.look()
        await erased(parts)
        assert await parts.store.profile(*JOE, activities=0) is None
        assert await parts.store.profile(*ANN, activities=0) is not None
        assert await anyio.to_thread.run_sync(files, tmp_path) == []
        (row,) = await Governing(parts).erasures()
        assert row.by == "event"


async def test_an_answer_that_cannot_be_removed_is_named_in_the_report_and_ends_nothing(tmp_path: Path) -> None:
    async with World(tmp_path, CONFIG).parts() as parts:
        await come(parts, record("1"))
        found = await parts.store.profile(*JOE, activities=0)
        assert found is not None
        stubborn = anyio.Path(tmp_path / "state" / "exports" / f"{found.state.public}-7.jsonl")
        await stubborn.mkdir(parents=True)
        await Governing(parts).erase(JOE, by="ada")
        await erased(parts)
        (row,) = await Governing(parts).erasures()
        assert (row.state, row.left) == ("partly complete", [f"{stubborn} cannot be removed (Is a directory): remove it"])


def test_answers_in_a_folder_that_cannot_be_looked_into_are_left_to_the_administrator(tmp_path: Path) -> None:
    assert forget_exports(tmp_path / "none", ["A"]) == (0, [])
    (tmp_path / "file").touch()
    (left,) = forget_exports(tmp_path / "file", ["A", "B"])[1]
    assert left.endswith("file cannot be looked into (Not a directory): remove from it what begins with A- or B-")


async def test_a_request_whose_type_is_no_ascii_is_answered(tmp_path: Path) -> None:
    async with World(tmp_path, CONFIG.replace("[privacy]", '[privacy]\nerasure_requests = ["Ärende.*"]')).parts() as parts:
        requests = asking(parts)
        await come(parts, record("1", type="Ärende.radera"))
        await requests.look()
        assert parts.privacy.erasures.pending


async def test_a_request_from_elsewhere_or_about_nobody_is_only_stored(tmp_path: Path) -> None:
    async with World(tmp_path, CONFIG).parts() as parts:
        requests = asking(parts)
        nobody = msgspec.structs.replace(record("2"), value={"id": "2", "type": "privacy.erasure_requested"})
        await come(parts, record("1", type="privacy.erasure_requested"), connector="app")
        await come(parts, nobody, record("3", type="order.paid", email=ANN[1]))
        await requests.look()
        assert not parts.privacy.erasures.pending
        assert await parts.store.profile(*JOE, activities=0) is not None
        asked = record("4", type="privacy.access_requested", email=ANN[1])
        await come(parts, asked)
        await Governing(parts).erase(ANN, by="ada")
        await erased(parts)
        await requests.look()
        assert await anyio.to_thread.run_sync(files, tmp_path) == [], "nobody of that name is known any more"


async def test_without_a_connector_that_may_ask_nothing_is_looked_at(tmp_path: Path) -> None:
    async with World(tmp_path, CONFIG.replace('["shop"]', "[]")).parts() as parts:
        await come(parts, record("1", type="privacy.erasure_requested"))
        await asking(parts).look()
        assert await parts.store.noted("requests") == "1"
        assert not parts.privacy.erasures.pending


async def test_what_fails_is_named_and_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(tmp_path, CONFIG)
    async with world.parts() as parts:
        requests, slept = asking(parts), list[float]()
        await come(parts, record("1", type="privacy.erasure_requested"))

        class Enough(Exception):
            pass

        class Once(SystemClock):
            async def sleep(self, seconds: float) -> None:
                slept.append(seconds)
                raise Enough

        monkeypatch.setattr(requests, "_clock", Once())

        async def fail(*_: object, **__: object) -> None:
            raise NotDurable("no disk")

        with monkeypatch.context() as patch:
            patch.setattr(parts.privacy.erasures, "ask", fail)
            with pytest.raises(Enough):
                await requests.run()
            assert requests.problem == "requests of customers are not answered: no disk"
        with pytest.raises(Enough):
            await requests.run()
        assert requests.problem is None
        assert slept == [5.0, 1.0]
        await erased(parts)
        assert await parts.store.profile(*JOE, activities=0) is None


async def test_targets_that_want_to_know_are_told_the_ids_of_those_who_were_erased(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with World(tmp_path, CONFIG).parts() as parts:
        target = TargetConfig(name="crm", frame=TargetFrame(type="any", events=("profile.erased",)), settings=None, file="f")
        wanted = Subscriptions([target], ToldValues(parts.audiences, {}), journal_id=parts.journal.id)
        monkeypatch.setattr(parts, "subscriptions", lambda: wanted)
        await come(parts, record("1"))
        found = await parts.store.profile(*JOE, activities=0)
        assert found is not None
        await Governing(parts).erase(JOE, by="ada")
        await erased(parts)
        assert [row.targets for row in await Governing(parts).erasures()] == [["crm"]]
        (waiting,) = await parts.store.outbox.listed(target=None, failed=None, limit=9)
        told = msgspec.json.decode(waiting.delivery.body)
        assert (told["type"], told["data"]) == ("profile.erased", {"profile": {"id": found.state.public}})
        await Governing(parts).erase(ANN, by="ada")
        await erased(parts)
        assert (await Governing(parts).erasures())[0].targets == [], "a stranger has no id"


class Stored:
    """A store of requests: which are applied, which are parked, and up to where all of it is applied."""

    def __init__(self) -> None:
        self.forgetting, self.notes = self, dict[str, str]()
        self.position, self.applied, self.parked = Seq(0), set[int](), set[int]()
        self.rows = 0

    async def noted(self, name: str) -> str | None:
        return self.notes.get(name)

    async def note(self, name: str, value: str) -> None:
        self.notes[name] = value

    async def waiting(self) -> set[int]:
        return set(self.parked)

    async def activities(self, holding: Holding, *, after: Seq, limit: int) -> ActivityPage:
        event = SimpleNamespace(connector="shop", type="privacy.access_requested")
        found: list[Any] = [SimpleNamespace(seq=seq, event=event) for seq in sorted(self.applied) if seq > after][:limit]
        self.rows += len(found)
        return ActivityPage([], found, found[-1].seq if found else None)


def asked_of(
    store: Any, answered: list[int], monkeypatch: pytest.MonkeyPatch, *, froms: tuple[str, ...] = ("shop",)
) -> Requests:
    async def answer(one: Any, *, erase: bool, tell: bool) -> None:
        answered.append(one.seq)

    nothing: Any = None
    made = Requests(
        store,
        nothing,
        settings=lambda: PrivacySettings(requests_from=froms),
        naming=nothing,
        export=nothing,
        folder=Path(),
        clock=SystemClock(),
    )
    monkeypatch.setattr(made, "_answer", answer)
    return made


async def test_what_a_lane_that_is_ahead_applied_does_not_hide_what_another_one_applies_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store, answered = Stored(), list[int]()
    requests = asked_of(store, answered, monkeypatch)
    store.position, store.applied = Seq(1), {1, 4}
    await requests.look()
    assert (answered, store.notes) == ([1], {"requests": "1"})
    store.position, store.applied = Seq(4), {1, 2, 3, 4}
    await requests.look()
    await requests.look()
    assert (answered, store.notes) == ([1, 2, 3, 4], {"requests": "4"})


async def test_a_request_that_was_parked_is_answered_once_when_it_is_applied_also_after_a_restart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store, answered = Stored(), list[int]()
    requests = asked_of(store, answered, monkeypatch)
    store.position, store.applied, store.parked = Seq(9), {1, 3, 4, 5, 7, 9}, {2, 6, 8}
    await requests.look()
    assert (answered, store.notes) == ([1, 3, 4, 5, 7, 9], {"requests": "1"})
    monkeypatch.setattr("cdmd.daemon.requesting._PAGE", 2)
    store.applied |= {6, 8, 10}
    store.position, store.parked = Seq(10), {2}
    await requests.look()
    assert answered[6:] == [6, 8, 10]
    answered.clear()
    store.rows, store.parked = 0, set()  # number 2 became a dead letter
    await requests.look()
    assert (answered, store.notes, store.rows) == ([], {"requests": "10"}, 2)
    store.parked, store.position = {11}, Seq(12)
    await requests.look()
    store.applied, store.parked = {11, 12}, set()
    await asked_of(store, answered, monkeypatch).look()
    assert answered == [11, 12]


async def test_where_nobody_may_ask_what_is_parked_keeps_nothing_back(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Stored()
    store.position, store.parked = Seq(5), {2}
    await asked_of(store, [], monkeypatch, froms=()).look()
    assert store.notes == {"requests": "5"}
