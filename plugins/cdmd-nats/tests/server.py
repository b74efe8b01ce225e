"""A real nats-server on loopback, with JetStream, started for a test and ended by its process id."""

import asyncio
import shutil
import socket
import subprocess
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import nats
from nats.aio.client import Client

PROGRAM = shutil.which("nats-server") or "/usr/sbin/nats-server"
MISSING = None if Path(PROGRAM).exists() else "nats-server is not installed (apt-get install nats-server)"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


@contextmanager
def serving(folder: Path, *options: str, port: int | None = None) -> Iterator[int]:
    """Its port."""
    port = port or free_port()
    command = [PROGRAM, "-js", "-a", "127.0.0.1", "-p", str(port), "-sd", str(folder / "nats"), *options]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        eventually(lambda: reachable(port))
        yield port
    finally:
        process.kill()
        process.wait(60)


def reachable(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 1) as found:
            return bool(found.recv(5))
    except OSError:
        return False


def asked(port: int, work: Callable[[Client], Awaitable[Any]], **login: Any) -> Any:
    """What ``work`` does with a client of its own."""

    async def run() -> Any:
        client = await nats.connect(f"nats://127.0.0.1:{port}", **login)
        try:
            return await work(client)
        finally:
            await client.close()

    return asyncio.run(run())


def eventually(look: Callable[[], Any], *, seconds: float = 60.0) -> Any:
    """What ``look`` finds once it finds something."""
    until, pause = monotonic() + seconds, threading.Event()
    while not (found := look()):
        assert monotonic() < until, "it did not happen in time"
        pause.wait(0.05)
    return found
