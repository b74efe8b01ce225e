"""The listener for metrics: off by default, exchanged by a reload, small."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import anyio
import httpx
import pytest

from cdmd.config.loading import load
from cdmd.daemon.scraping import Scraping
from cdmd.errors import CdmdError, ConfigInvalid
from tests.daemon.doubles import World
from tests.daemon.test_assembly import PUSH, daemon
from tests.store.samples import HandClock

pytestmark = pytest.mark.anyio


def free() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class Measure:
    """Says how often it was asked."""

    def __init__(self) -> None:
        self.times = 0

    async def __call__(self) -> bytes:
        self.times += 1
        await anyio.lowlevel.checkpoint()
        return b"cdmd_ready %d\n" % self.times


@asynccontextmanager
async def scraping(measure: Measure, clock: HandClock | None = None) -> AsyncIterator[Scraping]:
    found = Scraping(measure, clock=clock or HandClock())
    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            await tasks.start(found.run)
            yield found
            tasks.cancel_scope.cancel()


async def answer(where: object, path: str = "/metrics", method: str = "GET") -> httpx.Response:
    async with httpx.AsyncClient() as client:
        return await client.request(method, f"http://{where}{path}")


async def test_it_answers_one_path_and_takes_nothing() -> None:
    async with scraping(Measure()) as found:
        await found.configure("127.0.0.1:0")
        where = found.address
        good = await answer(where)
        assert (good.status_code, good.text) == (200, "cdmd_ready 1\n")
        assert good.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        head = await answer(where, method="HEAD")
        assert (head.status_code, head.headers["content-length"], head.content) == (200, "13", b"")
        assert (await answer(where, "/")).status_code == 404
        assert (await answer(where, "/v1/status")).status_code == 404
        refused = await answer(where, method="POST")
        assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD")


async def test_a_name_that_somebody_made_lead_here_is_refused() -> None:
    async def under(host: str) -> int:
        async with httpx.AsyncClient() as client:
            return (await client.get(f"http://{found.address}/metrics", headers={"host": host})).status_code

    async with scraping(Measure()) as found:
        await found.configure("localhost:0", ["Cdmd.example.com"])
        for host in ("localhost:9464", "10.0.0.7:9464", "[::1]:9464", "cdmd", "cdmd.example.com", "CDMD.example.com:9464"):
            assert await under(host) == 200, host
        for host in ("attacker.example", "localhost.attacker.example:9464", "10.0.0.7.attacker.example", "a@b"):
            assert await under(host) == 421, host
        await found.configure("localhost:0")
        assert await under("cdmd.example.com") == 421


async def test_however_often_it_is_asked_it_measures_once_a_second() -> None:
    measure, clock = Measure(), HandClock()
    async with scraping(measure, clock) as found:
        await found.configure("127.0.0.1:0")
        async with anyio.create_task_group() as tasks:
            for _ in range(10):
                tasks.start_soon(answer, found.address)
        assert measure.times == 1
        clock.moment += timedelta(seconds=1)
        await answer(found.address)
        assert measure.times == 2


async def test_more_than_a_few_connections_are_told_to_come_later() -> None:
    async with scraping(Measure()) as found:
        await found.configure("127.0.0.1:0")
        host, _, port = str(found.address).rpartition(":")
        held = [await anyio.connect_tcp(host, int(port)) for _ in range(20)]
        assert (await answer(found.address)).status_code == 503
        for one in held:
            await one.aclose()


async def test_an_address_that_is_taken_leaves_all_as_it_was() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.2", 0))
        taken.listen()
        port = taken.getsockname()[1]
        async with scraping(Measure()) as found:
            for before in (None, f"127.0.0.1:{free()}", f"127.0.0.1:{port}"):
                await found.configure(before)
                with pytest.raises(
                    CdmdError, match=r"metrics\.listen: cannot listen on 127\.0\.0\.2:\d+: Address already in use"
                ):
                    await found.configure(f"127.0.0.2:{port}")
                assert found.address == before
                assert before is None or (await answer(before)).status_code == 200


async def test_a_reload_turns_it_on_moves_it_and_turns_it_off(tmp_path: Path) -> None:
    world, first, second = World(tmp_path, PUSH), free(), free()
    places = (f"127.0.0.1:{first}", f"127.0.0.1:{second}", f"127.0.0.2:{second}")
    async with daemon(world) as running:
        before: str | None = None
        for place in (*places, None):
            world.configure(PUSH + (f'[metrics]\nlisten = "{place}"\n' if place else ""))
            assert (await running.control("POST", "/v1/reload"))["problems"] == []
            if place is not None:
                assert "cdmd_ready 1.0" in (await answer(place)).text
            if before is not None:
                with pytest.raises(httpx.ConnectError):
                    await answer(before)
            before = place


async def test_it_is_there_from_the_start_and_until_the_end(tmp_path: Path) -> None:
    place = f"127.0.0.1:{free()}"
    async with daemon(World(tmp_path, f'[metrics]\nlisten = "{place}"\n')):
        assert 'cdmd_connector_up{connector="shop"}' not in (await answer(place)).text
    with pytest.raises(httpx.ConnectError):
        await answer(place)


@pytest.mark.parametrize(
    ("listen", "said"),
    [
        ("9464", "is not an address"),
        ("fd:metrics", "is not an address: write HOST:PORT"),
        ("127.0.0.1:8787", "is where senders call"),
        ("127.0.0.1:99999", "a port is at most"),
    ],
)
def test_an_address_that_is_none_is_a_mistake(tmp_path: Path, listen: str, said: str) -> None:
    file = tmp_path / "cdmd.toml"
    file.write_text(f'[metrics]\nlisten = "{listen}"\n')
    with pytest.raises(ConfigInvalid, match=said):
        load(file, types={}, environment={}, randomness=bytes)
