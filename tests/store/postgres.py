"""A real PostgreSQL for the tests: a server of their own on a socket of its own, a database for each test."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Any, NamedTuple

import psycopg
import pytest

_PLACES = [*sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]
_UNPRIVILEGED = "postgres"
_NUMBERS = count(1)
_START = 30.0
_PAUSE = Event()
_CARELESS = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off", "wal_writer_delay": "10s"}
"""Of what is answered it keeps only what it is told to keep; no machine loses its power here, only processes are killed."""


class Database(NamedTuple):
    """An empty one: where it is."""

    url: str

    def run(self, sql: str, *said: Any) -> list[tuple[Any, ...]]:
        """Beside whoever uses it."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute("SET synchronous_commit = on")
            cursor = connection.execute(sql.encode(), said or None)
            return cursor.fetchall() if cursor.description else []

    def wait(self, sql: str) -> None:
        """Until it finds something; the test's own deadline ends it otherwise."""
        while not self.run(sql):
            self.run("SELECT pg_sleep(0.01)")


class Server:
    """A server in ``folder``. It never runs as root, so root's tests start it as the user that Debian's package made."""

    def __init__(self, folder: Path, binaries: Path, *, listens: str = "", trusts: str = "", preloads: str = "") -> None:
        self._data, self._socket, self._binaries = folder / "data", folder / "s", binaries
        self._as = (
            ["setpriv", f"--reuid={_UNPRIVILEGED}", f"--regid={_UNPRIVILEGED}", "--clear-groups"] if os.getuid() == 0 else []
        )
        self._settings = {
            "listen_addresses": listens,
            "unix_socket_directories": str(self._socket),
            "max_connections": "50",
            "shared_buffers": "64MB",
            "shared_preload_libraries": preloads,
            **_CARELESS,
        }
        self._trusts = trusts
        self._process: subprocess.Popen[bytes] | None = None

    def make(self) -> None:
        """A new cluster."""
        self._socket.mkdir()
        self._data.mkdir(mode=0o700)
        if self._as:
            user = pwd.getpwnam(_UNPRIVILEGED)
            for path in (self._data.parent, self._data, self._socket):
                os.chown(path, user.pw_uid, user.pw_gid)
        made = [*self._as, self._binaries / "initdb", "-D", self._data, "-U", "cdmd", "-A", "trust", "-E", "UTF8", "--locale=C"]
        subprocess.run([*made, "--no-sync"], check=True, capture_output=True, cwd="/")
        if self._trusts:
            with (self._data / "pg_hba.conf").open("a") as allowed:
                allowed.write(f"host all all {self._trusts} trust\n")

    def start(self) -> None:
        """Return when it answers."""
        said = [f"--{name}={value}" for name, value in self._settings.items()]
        command = [*self._as, self._binaries / "postgres", "-D", self._data, *said]
        ready = [self._binaries / "pg_isready", "-q", "-h", self._socket, "-t", "5"]
        until = monotonic() + _START
        while monotonic() < until:
            if self._process is None or self._process.poll() is not None:
                # Again, too: it refuses to start while something of a killed one is still at work.
                self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/")
            if subprocess.run(ready).returncode == 0:
                return
            _PAUSE.wait(0.05)
        pytest.fail("PostgreSQL does not start")

    def freeze(self) -> None:
        """All of it stands still, as a machine that is out of breath: whoever asks gets no answer, and no refusal."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """It goes on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        assert self._process is not None
        pid = self._process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        os.kill(pid, number)
        for child in map(int, children):
            with suppress(ProcessLookupError):  # who served a connection may have ended meanwhile
                os.kill(child, number)

    def kill(self) -> None:
        """Its first process, hard; the others notice and end by themselves."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        subprocess.run(
            ["sh", "-c", f"while fuser -s {self._data / 'postmaster.pid'}; do sleep 0.05; done"], capture_output=True
        )

    def stop(self) -> None:
        """In order."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait()

    def database(self) -> Database:
        """A new one, empty: a schema, because that is made at once."""
        url, name = f"postgresql://cdmd@/postgres?host={self._socket}", f"store{next(_NUMBERS)}"
        Database(url).run(f"CREATE SCHEMA {name}")
        return Database(f"{url}&options=-csearch_path%3D{name}")


@contextmanager
def running(*, listens: str = "", trusts: str = "", preloads: str = "") -> Iterator[Server]:
    """A server while this lasts: on its socket, and on an address for a network that it trusts; with libraries of its own."""
    if not _PLACES:
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    # Not in pytest's folder: only root may look into that one, and the way to a socket has to be short.
    folder = Path(tempfile.mkdtemp(prefix="cdmd-pg-"))
    server = Server(folder, _PLACES[0], listens=listens, trusts=trusts, preloads=preloads)
    try:
        server.make()
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """One for the tests of a process. Who kills it starts it again."""
    with running() as one:
        yield one


@pytest.fixture
def database(server: Server) -> Database:
    """A new one in it."""
    return server.database()
