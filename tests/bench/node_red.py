"""The peer Node-RED: its HTTP in, a function that checks the signature, one that maps, its SQLite node (WAL, FULL), its answer.

It does for an event what the durable intake does, and commits each by itself. Its packages are fetched with npm once and kept
in the machine's temporary folder; where they cannot be had, ``installed`` says why. Loopback only.
"""

import json
import shutil
import socket
import sqlite3
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, Final, Self

from tests.bench.load import SECRET

_PACKAGES: Final = {"node-red": "4.1.15", "node-red-node-sqlite": "1.1.1"}
_INSTALL_SECONDS: Final = 300
_START_SECONDS: Final = 30
_SETTINGS: Final = """
module.exports = {
    uiHost: "127.0.0.1", uiPort: %d, httpAdminRoot: false, flowFile: "flows.json", credentialSecret: false,
    functionGlobalContext: { crypto: require("crypto") }, telemetry: { enabled: false, updateNotification: false },
    logging: { console: { level: "error" } },
}
"""
_CHECK: Final = """
const crypto = global.get("crypto"), said = msg.req.headers;
const signedAt = Number(said["webhook-timestamp"]);
const key = Buffer.from("%s", "base64");
const hmac = crypto.createHmac("sha256", key);
hmac.update(said["webhook-id"] + "." + said["webhook-timestamp"] + ".");
const right = hmac.update(msg.payload).digest();
const offered = (said["webhook-signature"] || "").split(" ").map(one => Buffer.from(one.split(",")[1] || "", "base64"));
const proved = offered.some(one => one.length === right.length && crypto.timingSafeEqual(one, right));
if (!proved || Math.abs(Date.now() / 1000 - signedAt) > 300) {
    msg.statusCode = 401;
    msg.payload = "";
    return [null, msg];
}
return [msg, null];
"""
_MAP: Final = """
const order = JSON.parse(msg.payload), customer = order.customer;
msg.params = {
    $id: order.id + ":" + order.status,
    $type: "order." + order.status,
    $time: new Date(order.created_at).getTime(),
    $identifiers: JSON.stringify({ email: customer.email, customer_no: customer.id }),
    $traits: JSON.stringify({ first_name: customer.first_name, city: customer.city }),
    $data: JSON.stringify({ total: order.total, currency: order.currency }),
};
return msg;
"""
_TABLE: Final = "CREATE TABLE events (id TEXT, type TEXT, time INTEGER, identifiers TEXT, traits TEXT, data TEXT)"
_INSERT: Final = "INSERT INTO events VALUES ($id, $type, $time, $identifiers, $traits, $data)"


class Missing(Exception):
    """Why there is no Node-RED here."""


def installed() -> Path:
    """A folder with the packages. Raises ``Missing``."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        raise Missing("npm is not installed, so Node-RED cannot be fetched")
    folder = Path(tempfile.gettempdir()) / "cdmd-bench-node-red"
    if all((folder / "node_modules" / name / "package.json").exists() for name in _PACKAGES):
        return folder
    folder.mkdir(exist_ok=True)
    command = ["npm", "install", "--no-save", "--no-audit", "--no-fund", "--prefix", str(folder)]
    wanted = [f"{name}@{version}" for name, version in _PACKAGES.items()]
    try:
        done = subprocess.run([*command, *wanted], capture_output=True, text=True, timeout=_INSTALL_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise Missing(f"npm took more than {_INSTALL_SECONDS} s to fetch Node-RED") from None
    if done.returncode:
        raise Missing(f"npm cannot fetch Node-RED: {done.stderr.strip().splitlines()[-1:]}")
    return folder


class NodeRed:
    """The process; a context manager that ends it. ``port`` is where it listens, ``stored()`` how many events it holds."""

    def __init__(self, packages: Path, folder: Path) -> None:
        self._packages, self._folder, self._database = packages, folder / "user", folder / "events.db"

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True)
        with sqlite3.connect(self._database) as made:
            made.execute("PRAGMA journal_mode = WAL")
            made.execute(_TABLE)
        made.close()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        (self._folder / "settings.js").write_text(_SETTINGS % self.port)
        (self._folder / "flows.json").write_text(json.dumps(_flow(self._database)))
        red = self._packages / "node_modules" / "node-red" / "red.js"
        command = ["node", str(red), "--userDir", str(self._folder), "--settings", str(self._folder / "settings.js")]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.pid = self._process.pid
        self._wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)

    def stored(self) -> int:
        """Events in its database."""
        with sqlite3.connect(self._database) as looking:
            ((count,),) = looking.execute("SELECT count(*) FROM events")
        looking.close()
        return int(count)

    def _wait(self) -> None:
        """Until its flow answers."""
        until = time.monotonic() + _START_SECONDS
        while time.monotonic() < until and self._process.poll() is None:
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=1) as asking:
                    asking.sendall(b"POST /hooks/shop HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
                    if not asking.recv(64).startswith(b"HTTP/1.1 404"):
                        return
            except OSError:
                pass
            time.sleep(0.1)
        self.__exit__()
        raise Missing("Node-RED does not start")


def _flow(database: Path) -> list[dict[str, Any]]:
    nodes: list[dict[str, Any]] = [
        {"id": "in", "type": "http in", "url": "/hooks/shop", "method": "post", "skipBodyParsing": True, "wires": [["check"]]},
        {"id": "check", "type": "function", "func": _CHECK % SECRET.removeprefix("whsec_"), "outputs": 2},
        {"id": "map", "type": "function", "func": _MAP, "outputs": 1, "wires": [["store"]]},
        {"id": "store", "type": "sqlite", "mydb": "database", "sqlquery": "prepared", "sql": _INSERT, "wires": [["out"]]},
        {"id": "out", "type": "http response", "wires": []},
    ]
    nodes[1]["wires"] = [["map"], ["out"]]
    return [
        {"id": "flow", "type": "tab", "label": "intake"},
        {"id": "database", "type": "sqlitedb", "db": str(database), "mode": "RWC"},
        *({"z": "flow", "name": "", "x": 0, "y": 0, **node} for node in nodes),
    ]
