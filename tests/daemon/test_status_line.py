import socket
from pathlib import Path

import anyio
import pytest

from cdmd.daemon import status_line as line_module
from cdmd.daemon.status_line import keep_status_line, status_line
from tests.daemon.doubles import World, until

pytestmark = pytest.mark.anyio

WELL = '[connectors.crm]\ntype = "fetcher"\n'
DYING = "".join(f'[connectors.dies{number}]\ntype = "fetcher"\nmode = "dies"\n' for number in range(7))


async def test_who_is_not_well_is_named_and_of_many_the_first(tmp_path: Path) -> None:
    world = World(tmp_path, WELL + DYING)
    async with world.parts() as parts:
        parts.state = "running"
        for number in range(7):
            await until(parts, f"dies{number}", "degraded")
        named = ", ".join(f"dies{number} degraded" for number in range(5))
        assert status_line(parts) == f"running, 8 connectors, {named}, and 2 more"


async def test_why_nothing_is_acknowledged_is_in_the_line(tmp_path: Path) -> None:
    async with World(tmp_path).parts() as parts:
        parts.state = "running"
        parts.disk.reserve = 1 << 62
        await parts.upkeep.look_at_disk()
        assert status_line(parts).startswith("running, 0 connectors; ")
        assert "reserve" in status_line(parts)


async def test_systemd_hears_of_every_change_once_and_of_nothing_after_the_stop_began(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line_module, "EVERY", 0.01)
    world = World(tmp_path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.setblocking(False)
        world.environment = {"NOTIFY_SOCKET": str(tmp_path / "notify")}
        async with world.parts() as parts, anyio.create_task_group() as tasks:
            parts.state = "running"
            with anyio.fail_after(30):
                await keep_for(parts, tasks, said="running")
            assert systemd.recv(100) == b"STATUS=running, 0 connectors"
            with pytest.raises(BlockingIOError):
                systemd.recv(100)


async def keep_for(parts: object, tasks: anyio.abc.TaskGroup, *, said: str) -> None:
    """Some looks, then the stop."""

    async def stop() -> None:
        await anyio.sleep(0.05)
        parts.state = "draining"  # type: ignore[attr-defined]

    tasks.start_soon(stop)
    await keep_status_line(parts, said)  # type: ignore[arg-type]
