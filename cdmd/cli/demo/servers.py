"""A nats-server and a PostgreSQL of the demo's own, on loopback and on a socket, in folders that go away.

PostgreSQL refuses to run as root: root starts it as the user that the system's package made for it.
"""

import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic
from typing import Any, Final, NamedTuple

from cdmd.errors import CdmdError, NotFound

_SECONDS: Final = 30.0
_PAUSE: Final = 0.02
_USER: Final = "postgres"
_PLACES: Final = "/usr/local/bin:/usr/bin:/usr/sbin:/usr/local/sbin:/usr/lib/postgresql/bin"
_MODULES: Final = ("nats", "psycopg")


class Programs(NamedTuple):
    """Where they are."""

    nats: str
    initdb: str
    postgres: str


def found_programs() -> Programs:
    """Raises ``NotFound``, which says what to install."""
    places = [os.environ.get("PATH", ""), _PLACES]
    places += [str(one) for one in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]
    path = os.pathsep.join(places)
    nats, initdb, postgres = (shutil.which(name, path=path) for name in ("nats-server", "initdb", "postgres"))
    lacking = [] if nats else ["nats-server (Debian: apt-get install nats-server)"]
    lacking += [] if initdb and postgres else ["PostgreSQL (Debian: apt-get install postgresql)"]
    if not all(importlib.util.find_spec(name) for name in _MODULES):
        lacking.append("the clients of both (pip install 'cdmd[cluster]')")
    if lacking or not (nats and initdb and postgres):
        raise NotFound(f"the demo of several nodes needs {' and '.join(lacking)}")
    return Programs(nats, initdb, postgres)


@contextmanager
def nats_server(program: str, folder: Path) -> Iterator[str]:
    """A server with JetStream while this lasts: its address."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    command = [program, "-a", "127.0.0.1", "-p", str(port), "-js", "-sd", str(folder / "nats")]
    with _running(command, folder / "nats.log", signal.SIGTERM) as process:
        _wait("nats-server", process, lambda: _answers(port), folder / "nats.log")
        yield f"nats://127.0.0.1:{port}"


@contextmanager
def postgres_server(programs: Programs) -> Iterator[str]:
    """A server that listens on a socket only while this lasts: the address of its database."""
    identity: dict[str, Any] = {}
    # Beside the demo's own folder: that is root's, where root runs the demo.
    with tempfile.TemporaryDirectory(prefix="cdmd-pg-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        if os.getuid() == 0:
            user = pwd.getpwnam(_USER)
            identity = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
            os.chown(folder, user.pw_uid, user.pw_gid)
        made = [
            programs.initdb,
            "-D",
            str(folder / "data"),
            "-U",
            "cdmd",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--locale=C",
            "--no-sync",
        ]
        done = subprocess.run(made, check=False, capture_output=True, text=True, cwd="/", **identity)  # noqa: S603 - as found
        if done.returncode:
            raise CdmdError(f"PostgreSQL makes no database: {done.stderr.strip()[-500:]}")
        command = [
            programs.postgres,
            "-D",
            str(folder / "data"),
            "-k",
            str(folder),
            "-c",
            "listen_addresses=",
            "-c",
            "fsync=off",
        ]
        log = folder / "log"
        with _running(command, log, signal.SIGINT, **identity) as process:
            _wait("PostgreSQL", process, lambda: "ready to accept connections" in log.read_text(), log)
            yield f"postgresql://cdmd@/postgres?host={folder}"


@contextmanager
def _running(command: list[str], log: Path, ending: signal.Signals, **more: Any) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("ab") as kept:
        process = subprocess.Popen(command, stdout=kept, stderr=kept, cwd="/", **more)  # noqa: S603 - as found
    try:
        yield process
    finally:
        process.send_signal(ending)
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(5)


def _answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1) as found:
        return bool(found.recv(4))
    return False


def _wait(name: str, process: subprocess.Popen[bytes], ready: Callable[[], bool], log: Path) -> None:
    until, pause = monotonic() + _SECONDS, threading.Event()
    while not ready():
        if process.poll() is not None or monotonic() > until:
            raise CdmdError(f"{name} does not start: {log.read_text()[-500:].strip()}")
        pause.wait(_PAUSE)
