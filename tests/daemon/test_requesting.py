"""Requests that arrive as events: whoever asks is erased or told, and only where the connector may ask."""

import json
import stat
from pathlib import Path

import anyio
import msgspec
import pytest

from cdmd.config.outbound import TargetConfig, TargetFrame
from cdmd.daemon.governing import Governing
from cdmd.daemon.parts import Parts
from cdmd.daemon.requesting import Requests
from cdmd.daemon.running import Running
from cdmd.deliveries.subscribing import Subscriptions
from cdmd.errors import NotDurable
from cdmd.kit.clock import SystemClock
from cdmd.models import Record
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
