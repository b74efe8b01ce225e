"""A node that waits for its turn to lead, as its process and systemd see it."""

import gc
import socket
from collections.abc import Iterator
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import httpx
import pytest
from structlog.testing import capture_logs

from cdmd.daemon.listening import address
from cdmd.daemon.standing_by import StandingBy
from cdmd.kit.exchanges import Exchange, Handler
from tests.daemon.doubles import World

pytestmark = pytest.mark.anyio
APPLICATION = '[connectors.app]\ntype = "application"\nwrite_keys = ["0123456789abcdef"]\nmax_body = "3MiB"\n'


class Well(Handler):
    """Takes everything."""

    made_for = 0

    def __call__(self, *, largest: int) -> Handler:
        self.made_for = largest
        return self

    def begin(self, exchange: Exchange) -> None:
        exchange.answer(200)

    piece: Any = None
    complete: Any = None
    left: Any = None


@pytest.fixture
def not_collecting() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("not_collecting")
async def test_it_is_ready_while_it_stands_by_watched_until_it_leads_and_looks_for_garbage(tmp_path: Path) -> None:
    world = World(tmp_path, APPLICATION)
    given = await anyio.to_thread.run_sync(world.given)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.setblocking(False)
        world.environment |= {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "40000"}

        async def told(message: bytes) -> None:
            with anyio.fail_after(30):
                while True:
                    await anyio.wait_readable(systemd)
                    if systemd.recv(100) == message:
                        return

        handler = Well()
        async with AsyncExitStack() as stack, anyio.create_task_group() as tasks:
            standing = StandingBy(given, {}, stack, tasks)
            async with standing.answering(handler):
                await told(b"READY=1\nSTATUS=stands by")
                await told(b"WATCHDOG=1")
                assert gc.isenabled()
                assert handler.made_for == 3 * 2**20
                assert standing.public is not None
                async with httpx.AsyncClient(trust_env=False) as client:
                    assert (await client.get(f"http://{address(standing.public[0])}/")).status_code == 200
            assert not gc.isenabled(), "what is made on the way to lead stays"
            await told(b"WATCHDOG=1")
            await told(b"WATCHDOG=1")
            world.clock.shift = timedelta(seconds=119)
            await told(b"WATCHDOG=1")
            world.clock.shift = timedelta(seconds=121)
            tasks.cancel_scope.deadline = anyio.current_time() + 10
        assert not tasks.cancel_scope.cancelled_caught, "what tells systemd then is what leads"


async def test_what_says_that_it_is_well_ends_with_the_daemon(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.environment |= {"WATCHDOG_USEC": "600000000"}
    given = await anyio.to_thread.run_sync(world.given)
    async with anyio.create_task_group() as tasks, AsyncExitStack() as stack:
        tasks.cancel_scope.deadline = anyio.current_time() + 30
        async with StandingBy(given, {}, stack, tasks).answering(Well()):
            await anyio.wait_all_tasks_blocked()
    assert not tasks.cancel_scope.cancelled_caught


async def test_while_it_stands_by_it_is_made_known_again_and_again_and_told_of_once_that_it_cannot_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cdmd.daemon.standing_by._KNOWN", 0.001)
    given = await anyio.to_thread.run_sync(World(tmp_path).given)
    answers, asked = iter([None, "connection refused", "connection refused", None]), list[str | None]()

    def trouble() -> str | None:
        asked.append(next(answers, None))
        return asked[-1]

    with capture_logs() as lines:
        async with anyio.create_task_group() as tasks, AsyncExitStack() as stack:
            tasks.cancel_scope.deadline = anyio.current_time() + 30
            async with StandingBy(given, {}, stack, tasks).answering(Well(), trouble=trouble):
                while len(asked) < 4:  # noqa: ASYNC110 - a thread's doing
                    await anyio.sleep(0.005)
    assert [line["error"] for line in lines if line["event"] == "store_not_reached"] == ["connection refused"]
