"""What a real nats-server denies, drops or counts anew, without a daemon."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from cdmd_nats import NatsConnector, NatsTarget, connector
from cdmd_nats.settings import NatsSettings, NatsTargetSettings, Server
from nats.aio.client import Client

import cdmd
from cdmd.testing import RecordingOutlet, RecordingSource, extension_context
from tests.server import MISSING, asked, serving

pytestmark = [pytest.mark.timeout(60), pytest.mark.skipif(MISSING is not None, reason=str(MISSING))]
DENYING = """authorization { users = [{
  user: cdmd, password: pw,
  permissions: { publish: { deny: ["out.no"] }, subscribe: { deny: ["live.*"] } }
}] }
"""
LOGIN = {"username": "cdmd", "password": cdmd.Secret(b"pw", reference="env:PW")}


def servers(port: int) -> tuple[Server, ...]:
    return (Server(host="127.0.0.1", port=port),)


def brought(port: int, settings: NatsSettings, *, until: Callable[[RecordingSource], bool], **named: Any) -> RecordingSource:
    """What a connector brings until it is enough."""

    async def run() -> RecordingSource:
        async with extension_context({"host": "127.0.0.1", "port": port}) as context:
            source: RecordingSource = named.get("kind", RecordingSource)("nats", http=context.http)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(NatsConnector("nats", settings).run, source)
                if beside := named.get("beside"):
                    tasks.start_soon(beside, source)
                with anyio.fail_after(30):
                    while not until(source):  # noqa: ASYNC110 - a real server is waited for
                        await anyio.sleep(0.01)
                tasks.cancel_scope.cancel()
            return source

    return anyio.run(run)


def verdicts(port: int, settings: NatsTargetSettings, *types: str) -> list[Any]:
    async def run() -> list[Any]:
        async with extension_context({"host": "127.0.0.1", "port": port}) as context:
            outlet = RecordingOutlet("nats", client=context.http)
            target = NatsTarget("nats", settings)
            return list(await target.deliver([outlet.add(one) for one in types], outlet))

    return anyio.run(run)


def test_a_type_that_makes_no_subject_is_set_aside_and_the_others_go(tmp_path: Path) -> None:
    with serving(tmp_path) as port:
        settings = NatsTargetSettings(servers=servers(port), subject="out.{type}", jetstream=False)
        bad = ["a..b", "a.", "", "x.*", "x.>", "order paid", "x\r\nPUB out.y 1\r\nz"]
        found = verdicts(port, settings, *bad, "ok", "ö")
    assert [type(one) for one in found] == [cdmd.Never] * len(bad) + [cdmd.Delivered] * 2


@pytest.mark.parametrize("jetstream", [False, True])
def test_what_may_not_be_published_is_not_delivered(tmp_path: Path, jetstream: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdmd_nats.target._PATIENCE", 1.0)
    config = tmp_path / "nats.conf"
    config.write_text(DENYING)

    async def stream(client: Client) -> None:
        await client.jetstream().add_stream(name="OUT", subjects=["out.>"])

    with serving(tmp_path, "-c", str(config)) as port:
        asked(port, stream, user="cdmd", password="pw")
        settings = NatsTargetSettings(servers=servers(port), subject="out.{type}", jetstream=jetstream, **LOGIN)
        denied, taken = verdicts(port, settings, "no", "ok")
    assert taken == cdmd.Delivered()
    assert denied == cdmd.Later(reason="NATS does not let this login publish to out.{type} (permissions)", holds=True)


def test_a_subscription_that_is_denied_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connector, "_WAIT", 0.2)
    config = tmp_path / "nats.conf"
    config.write_text(DENYING)
    with serving(tmp_path, "-c", str(config)) as port, pytest.raises(ExceptionGroup) as ended:
        brought(port, NatsSettings(servers=servers(port), subjects=("live.*",), **LOGIN), until=lambda _: False)
    (fault,) = ended.value.exceptions
    assert isinstance(fault, cdmd.SourceBlocked)
    assert "permissions" in str(fault)


def test_a_stream_that_may_not_be_asked_for_its_messages_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connector, "_WAIT", 0.5)
    config = tmp_path / "nats.conf"
    config.write_text(DENYING.replace("out.no", "$JS.API.CONSUMER.MSG.NEXT.>"))

    async def stream(client: Client) -> None:
        await client.jetstream().add_stream(name="ORDERS", subjects=["orders.*"])

    with serving(tmp_path, "-c", str(config)) as port:
        asked(port, stream, user="cdmd", password="pw")
        settings = NatsSettings(servers=servers(port), subjects=("orders.*",), stream="ORDERS", **LOGIN)
        with pytest.raises(ExceptionGroup) as ended:
            brought(port, settings, until=lambda _: False)
    (fault,) = ended.value.exceptions
    assert isinstance(fault, cdmd.SourceBlocked)
    assert "permissions" in str(fault)


def test_what_comes_faster_than_it_is_stored_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connector, "_HELD", 10_000)
    monkeypatch.setattr(connector, "_AHEAD", 1)

    class Slow(RecordingSource):
        async def emit(self, *_: Any, **__: Any) -> list[Any]:
            await anyio.sleep_forever()
            return []

    async def publish(source: RecordingSource) -> None:
        while not source.worked_on:  # noqa: ASYNC110 - as above
            await anyio.sleep(0.01)
        while not source.refused:
            await anyio.to_thread.run_sync(asked, port, many)

    async def many(client: Client) -> None:
        for _ in range(100):
            await client.publish("live.a", b"x" * 1000)
        await client.flush()

    with serving(tmp_path) as port:
        source = brought(
            port,
            NatsSettings(servers=servers(port), subjects=("live.*",), batch=1),
            until=lambda source: source.refused["faster_than_stored"] > 10,
            kind=Slow,
            beside=publish,
        )
    assert set(source.refused) == {"faster_than_stored"}


def test_a_stream_that_is_made_anew_counts_from_one_and_brings_other_records(tmp_path: Path) -> None:
    def made(port: int) -> RecordingSource:
        async def work(client: Client) -> None:
            stream = client.jetstream()
            await stream.add_stream(name="ORDERS", subjects=["orders.*"])
            await stream.publish("orders.a", b"{}")

        asked(port, work)
        settings = NatsSettings(servers=servers(port), subjects=("orders.*",), stream="ORDERS")
        return brought(port, settings, until=lambda source: bool(source.events))

    async def remove(client: Client) -> None:
        await client.jetstream().delete_stream("ORDERS")

    with serving(tmp_path) as port:
        first = made(port)
        asked(port, remove)
        second = made(port)
    names = [source.events[0].id for source in (first, second)]
    assert names[0].startswith("ORDERS:1:")
    assert len(set(names)) == 2
