"""What the acceptance tests share: senders as the real ones send, the trial plugin installed, and looks at the real daemon."""

import hashlib
import hmac
import http.client
import os
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeVar
from urllib.parse import urlsplit

from cdmd.control.client import Client
from cdmd.testing import DaemonProcess

ROOT = Path(__file__).parents[2]
JSON = {"content-type": "application/json"}
MIB = 2**20
_T = TypeVar("_T")


class Reply(NamedTuple):
    """An HTTP answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Sender:
    """A sender with one connection that it keeps."""

    def __init__(self, url: str, *, timeout: float = 15.0) -> None:
        parts = urlsplit(url)
        self._connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def send(self, path: str, body: bytes, headers: Mapping[str, str] = JSON, *, method: str = "POST") -> Reply:
        """One request; connects again where the last answer closed the connection."""
        self._connection.request(method, path, body=body, headers=dict(headers))
        reply = self._connection.getresponse()
        named = {name.lower(): value for name, value in reply.getheaders()}
        return Reply(reply.status, named, reply.read())


def post(url: str, body: bytes, headers: Mapping[str, str] = JSON, *, method: str = "POST") -> Reply:
    """One request on a connection of its own; ``url`` is a whole one."""
    parts = urlsplit(url)
    with Sender(url) as sender:
        return sender.send(parts.path + (f"?{parts.query}" if parts.query else ""), body, headers, method=method)


def connect(url: str, *, timeout: float = 10.0) -> socket.socket:
    """A bare connection to the daemon's listener."""
    parts = urlsplit(url)
    return socket.create_connection((parts.hostname, parts.port), timeout=timeout)


def exchange(url: str, raw: bytes, *, leave: bool = False) -> bytes:
    """Send bytes as they are and return all that comes back until the daemon closes; ``leave`` says that no more will come."""
    with connect(url) as peer:
        peer.sendall(raw)
        if leave:
            peer.shutdown(socket.SHUT_WR)
        return receive(peer)


def receive(peer: socket.socket) -> bytes:
    """All that still comes."""
    taken = b""
    try:
        while part := peer.recv(65536):
            taken += part
    except ConnectionResetError:
        pass
    return taken


def without_date(answer: bytes) -> bytes:
    """A raw answer but for its date line."""
    return b"\r\n".join(line for line in answer.split(b"\r\n") if not line.lower().startswith(b"date:"))


def status_of(answer: bytes) -> int:
    """The status of a raw answer."""
    return int(answer.split(b" ", 2)[1])


def github(secret: str, body: bytes, *, event: str, delivery: str) -> dict[str, str]:
    """The headers that GitHub sends."""
    digest = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return {
        **JSON,
        "user-agent": "GitHub-Hookshot/044aadd",
        "x-github-delivery": delivery,
        "x-github-event": event,
        "x-github-hook-id": "292430182",
        "x-hub-signature-256": f"sha256={digest}",
    }


def install(folder: Path) -> dict[str, str]:
    """Install the trial plugin into ``folder``; returns the environment in which a daemon finds it (and this checkout)."""
    information = folder / "cdmd_trial-1.0.dist-info"
    information.mkdir(parents=True)
    shutil.copy(Path(__file__).with_name("trial_plugin.py"), folder / "cdmd_trial.py")
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: cdmd-trial\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text("[cdmd]\ntrial = cdmd_trial\n")
    return {"PYTHONPATH": os.pathsep.join([str(folder), *checkout().values()])}


def checkout() -> dict[str, str]:
    """The environment in which a process imports cdmd from this checkout, whatever its folder is."""
    return {"PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))}


def until(look: Callable[[], _T], *, seconds: float = 60.0, what: str = "it") -> _T:
    """The first true answer of ``look``: another process can only be asked again. Fails after ``seconds``."""
    never, deadline = threading.Event(), time.monotonic() + seconds
    while not (found := look()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not happen within {seconds:g} s")
        never.wait(0.02)
    return found


def control(daemon: DaemonProcess) -> Client:
    """The daemon's control socket."""
    return Client([str(daemon.socket)])


def status(daemon: DaemonProcess) -> dict[str, Any]:
    """``cdmctl status --json`` without starting a process for it."""
    return control(daemon).get("/v1/status")


def rows(daemon: DaemonProcess) -> dict[str, dict[str, Any]]:
    """The connectors' rows of the status by name."""
    return {row["name"]: row for row in status(daemon)["connectors"]}


def settled(daemon: DaemonProcess, *, seconds: float = 60.0) -> dict[str, dict[str, Any]]:
    """The connectors' rows once everything acknowledged is applied, set aside or parked."""

    def look() -> dict[str, dict[str, Any]] | None:
        found = status(daemon)
        quiet = not found["journal"]["backlog"] and not any(row["backlog"] for row in found["connectors"])
        return {row["name"]: row for row in found["connectors"]} if quiet else None

    return until(look, seconds=seconds, what="working off the backlog")


def rss(daemon: DaemonProcess) -> int:
    """Bytes of the daemon in memory."""
    assert daemon.process is not None
    lines = Path(f"/proc/{daemon.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))


def hits(needle: str | bytes, places: Iterable[Path]) -> list[str]:
    """The files below ``places`` that hold the bytes anywhere."""
    wanted = needle if isinstance(needle, bytes) else needle.encode()
    files = [file for place in places for file in ([place] if place.is_file() else place.rglob("*")) if file.is_file()]
    return [file.name for file in files if wanted in file.read_bytes()]


def check_sums(row: Mapping[str, Any]) -> None:
    """Promise P9 for one connector."""
    at_door = row["filtered_at_door"]
    settled_ones = ("applied", "repeats", "suppressed", "dead_letters", "parked", "backlog")
    assert row["received"] == row["refused"] + at_door + row["accepted"], row
    assert row["accepted"] == sum(row[name] for name in settled_ones) + row["filtered"] - at_door, row
    assert all(row[name] >= 0 for name in (*settled_ones, "refused", "filtered_at_door")), row
