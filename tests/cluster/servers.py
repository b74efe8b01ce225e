"""Real nats-servers on loopback, with JetStream, started for a test and ended by their process ids."""

import os
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

PROGRAM = shutil.which("nats-server", path="/usr/sbin:/usr/bin:/usr/local/bin") or shutil.which("nats-server") or ""
needed = pytest.mark.skipif(not PROGRAM, reason="nats-server is not installed (apt-get install nats-server)")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def eventually(look: Callable[[], Any], holds: Callable[[Any], bool] = bool, *, seconds: float = 120.0) -> Any:
    """What ``look`` finds once it finds something, or what ``holds``; where time runs out, what it found at last is told.

    A look asks a daemon or connects to a database: what takes long is looked at less often.
    """
    until, rest, pause = monotonic() + seconds, 0.02, threading.Event()
    while not holds(found := look()):
        if monotonic() > until:
            raise TimeoutError(f"it did not happen in {seconds:g} s: the last look found {found!r}")
        pause.wait(rest)
        rest = min(0.2, rest * 1.2)
    return found


class NatsServer:
    """One server, that may be killed and started again over what it kept."""

    def __init__(self, folder: Path, *options: str, config: str = "") -> None:
        self.port, self._folder = free_port(), folder
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "nats.conf").write_text(config)
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self, *, wait: bool = True) -> None:
        folder = self._folder
        command = [
            PROGRAM,
            "-c",
            f"{folder}/nats.conf",
            "-a",
            "127.0.0.1",
            "-p",
            str(self.port),
            "-js",
            "-sd",
            f"{folder}/kept",
        ]
        with (folder / "log").open("ab") as log:
            self._process = subprocess.Popen([*command, *self._options], stdout=log, stderr=log)
        if wait:
            eventually(self.answers)

    def answers(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as found:
            return bool(found.recv(5))
        return False

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(60)
            self._process = None

    def pause(self) -> None:
        """Stop it where it is; its connections stay."""
        os.kill(self.pid, signal.SIGSTOP)
        eventually(lambda: Path(f"/proc/{self.pid}/stat").read_text().rpartition(") ")[2].startswith("T"))

    def go_on(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def holds(self, text: bytes) -> bool:
        """Whether those bytes are in any file that it keeps, letter case aside."""
        return any(text.lower() in file.read_bytes().lower() for file in (self._folder / "kept").rglob("*") if file.is_file())


@contextmanager
def serving(folder: Path, *options: str, config: str = "") -> Iterator[NatsServer]:
    server = NatsServer(folder, *options, config=config)
    server.start()
    try:
        yield server
    finally:
        server.kill()


@contextmanager
def clustered(folder: Path) -> Iterator[dict[str, NatsServer]]:
    """Three servers by name that are one cluster."""
    ports = {name: free_port() for name in ("n1", "n2", "n3")}
    routes = ", ".join(f"nats://127.0.0.1:{port}" for port in ports.values())
    servers = {}
    for name, port in ports.items():
        cluster = f"name: c, listen: 127.0.0.1:{port}, routes: [{routes}], no_advertise: true"
        servers[name] = NatsServer(folder / name, config=f"server_name: {name}\ncluster {{ {cluster} }}")
    try:
        for server in servers.values():
            server.start(wait=False)
        for server in servers.values():
            eventually(server.answers)
        yield servers
    finally:
        for server in servers.values():
            server.kill()
