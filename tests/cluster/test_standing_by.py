"""A node that waits for its turn to lead, on real servers: what is sent to it is stored by whoever does, then by itself."""

import asyncio
import json
import os
import shutil
import signal
import socket
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import anyio
import httpx
import pytest

from cdmd.cluster.connection import Access, Link
from cdmd.cluster.forwarding import _ENCODE, _Part, hand_on, subject_of
from cdmd.cluster.handing import HandingOn
from cdmd.cluster.leading import LeadingJournal
from cdmd.cluster.place import Place
from cdmd.kit.exchanges import Exchange, Handler
from cdmd.kit.listener import listen
from cdmd.kit.serving import bind
from cdmd.testing import DaemonProcess
from tests.cluster.servers import NatsServer, eventually, free_port, needed
from tests.cluster.test_daemon_on_jetstream import HURRIED, ROOT, acknowledged, configuration, further, sending, status
from tests.store.postgres import Server
from tests.store.samples import HandClock

pytestmark = [needed, pytest.mark.timeout(300)]


class Echo(Handler):
    """Tells what came, a moment later; and other things where they are asked for."""

    def __init__(self) -> None:
        self.wrong: list[bytes] = []

    def begin(self, exchange: Exchange) -> None:
        exchange.held = b""
        if exchange.path == b"/refused":
            exchange.answer(413, [("connection", "close")], b"too large")
        if exchange.path == b"/fails":
            raise KeyError("joe@example.com")

    def piece(self, exchange: Exchange, data: bytes) -> None:
        self.wrong += [exchange.path] if exchange.answered else []
        exchange.held += data

    def complete(self, exchange: Exchange) -> None:
        said = [exchange.method, exchange.target.decode(), len(exchange.held), exchange.peer, dict(exchange.headers)["x-one"]]
        asyncio.get_running_loop().call_later(0.01, exchange.answer, 202, [("x-two", "2")], json.dumps(said).encode())

    def left(self, exchange: Exchange) -> None:
        raise AssertionError("whoever leads has all of it")


@asynccontextmanager
async def standing(place: Place, *, most: int = 2**24, asked: list[bytes] | None = None) -> AsyncIterator[httpx.AsyncClient]:
    """A node that stands by, and its client."""
    bound, stop = bind("127.0.0.1:0"), anyio.Event()
    url = f"http://127.0.0.1:{bound.getsockname()[1]}"
    async with Link.open(place.access, name="cdmd test") as link, anyio.create_task_group() as tasks:

        async def send(request: bytes) -> bytes:
            if asked is not None:
                asked.append(request)
            return await hand_on(link, place.name, request)

        handler = HandingOn(send, largest=2**24, most=most)
        await tasks.start(lambda task_status: listen(handler, [bound], stop=stop, task_status=task_status))
        async with httpx.AsyncClient(base_url=url, headers={"x-one": "1"}, trust_env=False) as client:
            yield client
        assert handler._bytes == 0
        stop.set()


@pytest.mark.anyio
async def test_a_request_goes_whole_to_the_node_that_leads_and_its_answer_comes_back(nats: NatsServer, tmp_path: Path) -> None:
    place = Place(access=Access(servers=(nats.url,)), name="standing")
    async with standing(place) as client:
        away = await client.post("/hooks/a", content=b"x")
        assert (away.status_code, away.headers["retry-after"]) == (503, "1"), "nobody leads"
        opened = LeadingJournal.open(place, clock=HandClock(), mark_path=tmp_path / "mark", new_id=lambda: "w")
        async with opened as journal, anyio.create_task_group() as tasks:
            echo = Echo()
            tasks.start_soon(journal.answer, journal.append, echo)
            with anyio.fail_after(30):
                while (found := await client.post("/hooks/a?b=c", content=b"x")).status_code == 503:
                    pass
            assert (found.status_code, found.headers["x-two"]) == (202, "2")
            assert found.json() == ["POST", "/hooks/a?b=c", 1, "127.0.0.1", "1"]
            assert (await client.get("/readyz")).json()[:3] == ["GET", "/readyz", 0]
            async with anyio.create_task_group() as several:

                async def large(number: int) -> None:
                    answer = await client.post(f"/{number}", content=bytes(1_000_000 + number))
                    assert answer.json()[1:3] == [f"/{number}", 1_000_000 + number]

                for number in range(5):
                    several.start_soon(large, number)
            refused = await client.post("/refused", content=b"x")
            assert (refused.status_code, refused.text) == (413, "too large")
            assert (await client.post("/fails", content=b"x")).status_code == 500
            async with Link.open(place.access, name="cdmd test") as link:
                half = _Part("somebody", 0, 1, 2, b"x", sent=True)
                assert b"retry-after" in await link.request(subject_of(place.name), _ENCODE(half))
            assert echo.wrong == []
            tasks.cancel_scope.cancel()


@pytest.mark.anyio
async def test_more_than_can_be_held_is_to_be_sent_again(nats: NatsServer) -> None:
    place = Place(access=Access(servers=(nats.url,)), name="narrow")
    asked = list[bytes]()
    async with standing(place, most=1_000, asked=asked) as client:
        found = await client.post("/hooks/a", content=bytes(100_000))
        assert (found.status_code, found.headers["connection"], asked) == (503, "close", [])


@pytest.mark.slow
def test_what_is_sent_to_either_of_two_is_stored_and_the_second_takes_the_place_of_the_first(
    tmp_path: Path, nats: NatsServer, server: Server
) -> None:
    database, port = server.database(), free_port()
    told = configuration(nats.url, name=f"by{os.getpid()}", partitions=2) + f"[store]\nurl = {json.dumps(database.url)}\n"
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    first = DaemonProcess(tmp_path / "first", told, plugins=HURRIED, paths=[ROOT], patience=90)
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.bind(str(tmp_path / "notify"))
    manager.settimeout(60)
    second = DaemonProcess(
        tmp_path / "second",
        f'{told}[http]\nlisten = ["127.0.0.1:{port}"]\n',
        plugins=HURRIED,
        paths=[ROOT],
        patience=250,
        environment={"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "2000000"},
    )
    second.url = f"http://127.0.0.1:{port}"
    starts = threading.Thread(target=second.start)

    def ready() -> bool:
        try:
            with urlopen(f"{second.url}/readyz", timeout=5) as answer:
                return bool(answer.status == 200)
        except (OSError, HTTPError):
            return False

    with manager, first:
        shutil.copytree(first.state_dir / "keys", second.state_dir / "keys")
        second.state_dir.chmod(0o700)
        starts.start()
        try:
            assert manager.recv(100) == b"READY=1\nSTATUS=stands by", "whoever starts it waits no longer"
            assert manager.recv(100) == b"WATCHDOG=1"
            eventually(ready)
            with sending(first, 1) as here, sending(second, 2) as there:
                for senders in (here, there):
                    further(senders, 20)
                assert first.process is not None
                os.kill(first.process.pid, signal.SIGSTOP)
                further(there, 20)
                os.kill(first.process.pid, signal.SIGCONT)
                assert first.process.wait(60), "it is started again, and stands by"
            starts.join(60)
            assert "another node leads by now: start this one again" in first.log_file.read_text()
            eventually(lambda: status(second)["journal"]["backlog"] == 0)
            ((events,),) = database.run("SELECT value FROM totals WHERE name = 'events'")
            sent = acknowledged([*here, *there])
            assert len(sent) <= events <= len(sent) + 3
        finally:
            second.kill()
            starts.join(60)
            sys.stdout.writelines(f"--- {one.folder.name}\n{one.log_file.read_text()}\n" for one in (first, second))
