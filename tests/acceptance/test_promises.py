"""The promises of the README that only a whole daemon can keep: P4, P6, P7, P9 and P10.

P1 and P3 need kills, power cuts and full disks, which have files of their own; P2 is tried with real input.
"""

import base64
import contextlib
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from cdmd.testing import DaemonProcess
from tests.acceptance.trial import (
    JSON,
    MIB,
    Reply,
    Sender,
    check_sums,
    control,
    github,
    hits,
    install,
    post,
    rows,
    rss,
    settled,
    status,
    until,
)

pytestmark = [pytest.mark.acceptance]


def _send(daemon: DaemonProcess, type: str, *, id: str | None = None, to: str = "inbox", **data: Any) -> Reply:
    """One event of that type in the shape of an event."""
    event = {"type": type, "data": data, **({"id": id} if id else {})}
    return post(f"{daemon.url}/hooks/{to}", json.dumps(event).encode())


def _show(daemon: DaemonProcess, id: str) -> dict[str, Any]:
    """The trace of the one event of that id."""
    (trace,) = control(daemon).get("/v1/event", {"id": id, "reveal": True})["traces"]
    return trace


def _plugin(daemon: DaemonProcess) -> str:
    """What the status says is wrong with the plugin."""
    return next(one["error"] for one in status(daemon)["plugins"] if one["name"] == "trial") or ""


# ---- P4: a bad supplier or plugin never stops or starves another ---------------------------------------------------

NEIGHBOURS = """
[connectors.inbox]
type = "webhook"
verify = "none"
[connectors.other]
type = "webhook"
verify = "none"
[connectors.failing]
type = "trial-push"
"""
BAD_SUPPLIERS = "".join(
    f'[connectors.{behaviour}]\ntype = "trial"\nbehaviour = "{behaviour}"\n'
    for behaviour in ("dies", "hangs", "floods", "returns", "exits")
)


@pytest.fixture(scope="module")
def neighbours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonProcess]:
    folder = tmp_path_factory.mktemp("neighbours")
    with DaemonProcess(folder, NEIGHBOURS, environment=install(folder / "plugins")) as daemon:
        yield daemon


def _serves(daemon: DaemonProcess, *, seconds: float) -> None:
    """An innocent event is answered and applied in that time."""
    named, began = f"innocent-{time.monotonic_ns()}", time.monotonic()
    assert _send(daemon, "innocent", id=named, to="other").status == 200
    assert time.monotonic() - began < 20

    def applied() -> bool:
        return bool(control(daemon).get("/v1/event", {"id": named})["traces"][0]["state"] == "applied")

    until(applied, seconds=seconds, what="applying a neighbour's event")


def test_bad_suppliers_are_named_and_their_neighbours_go_on(tmp_path: Path) -> None:
    with DaemonProcess(tmp_path, NEIGHBOURS + BAD_SUPPLIERS, environment=install(tmp_path / "plugins")) as daemon:

        def named() -> bool:
            found = rows(daemon)
            return all(found[name]["error"] for name in ("dies", "returns", "exits")) and found["floods"]["applied"] > 5000

        until(named, seconds=60, what="naming those that end")
        for _ in range(5):
            _serves(daemon, seconds=60)
        found = rows(daemon)
        assert {found[name]["state"] for name in ("inbox", "other")} == {"running"}
        assert "RuntimeError" in found["dies"]["error"]
        assert "own words" not in json.dumps(found)
        assert found["floods"]["backlog"] <= 5000 + 500, "its credit"
        assert status(daemon)["state"] == "degraded"
        for row in found.values():
            check_sums(row)
        daemon.cdmctl("pause", "floods")
        daemon.cdmctl("pause", "hangs")
        settled(daemon)
        _serves(daemon, seconds=60)
        assert daemon.stop() == 0


def test_a_push_connector_that_fails_is_degraded_alone(neighbours: DaemonProcess) -> None:
    assert post(f"{neighbours.url}/trial/failing", b"{}").status == 500
    row = rows(neighbours)["failing"]
    assert row["state"] == "degraded"
    assert "ValueError" in row["error"]
    _serves(neighbours, seconds=60)
    check_sums(rows(neighbours)["failing"])


@pytest.mark.parametrize(
    ("type", "reason"),
    [("hang", "no answer"), ("stick", "no answer"), ("die", "ValueError"), ("exit", "SystemExit"), ("flood", "bytes")],
)
def test_an_extension_that_misbehaves_costs_only_itself(neighbours: DaemonProcess, type: str, reason: str) -> None:
    for number in range(20):
        assert _send(neighbours, f"trial.{type}", id=f"{type}-{number}", n=number).status == 200
    _serves(neighbours, seconds=60)
    until(lambda: reason in _plugin(neighbours), what="naming it")
    settled(neighbours)
    extended = next(step for step in _show(neighbours, f"{type}-0")["steps"] if step["step"] == "extended")
    assert reason in extended["text"]
    # on_failure is store, so they are kept without it; who waited too long for a turn was parked and comes back.
    until(lambda: _show(neighbours, f"{type}-19")["state"] == "applied", seconds=60, what="keeping the last one")


def test_an_extension_that_blocks_the_loop_is_named_while_it_still_blocks(neighbours: DaemonProcess) -> None:
    assert _send(neighbours, "trial.block", id="blocked").status == 200

    def line(event: str) -> dict[str, Any] | None:
        lines = [json.loads(text) for text in neighbours.log_file.read_text().splitlines() if text.startswith("{")]
        return next((one for one in lines if one["event"] == event), None)

    found = until(lambda: line("loop_blocked"), what="a line in the log")
    assert (found["extension"], found["file"].partition(":")[0]) == ("trial.block", "cdmd_trial.py")
    until(lambda: "trial.block: blocked the event loop" in _plugin(neighbours), what="naming it")
    freed = until(lambda: line("loop_free_again"), what="a line about the end of it")
    assert _moment(freed) > _moment(found)
    _serves(neighbours, seconds=60)


def _moment(line: Mapping[str, Any]) -> datetime:
    return datetime.fromisoformat(line["ts"])


# ---- P6: no secret and no personal data in anything that is logged or shown to readers ------------------------------

SECRETS = {name: f"canary{name}5ecret" for name in ("ENVIRONMENT", "LITERAL", "PLUGIN", "BASIC", "FILE")}
PERSONAL = {name: f"canary{name}p3rsonal" for name in ("header", "query", "body", "key", "number", "mail", "type", "broken")}
SECRETIVE = f"""
[daemon]
state_dir = "STATE"
log_level = "debug"
[connectors.inbox]
type = "webhook"
verify = "none"
[connectors.code]
type = "webhook"
verify = "github"
secrets = ["env:ENVIRONMENT"]
[connectors.literal]
type = "webhook"
verify = "bearer"
secrets = ["{SECRETS["LITERAL"]}", "file:secret-file"]
[connectors.user]
type = "webhook"
verify = "basic"
secrets = ["env:BASIC"]
[connectors.mapped]
type = "webhook"
verify = "none"
where = "event.data.total > 0"
[connectors.mapped.event]
type = "{{type}}"
identifiers = {{ email = "{{mail}}" }}
data = {{ total = "{{to_number(total)}}", seen = "{{_request.headers.x_canary}}{{_request.query.q}}" }}
[connectors.failing]
type = "trial-push"
[plugins.trial]
token = "env:PLUGIN"
"""


def test_no_secret_and_nobodys_data_is_in_what_the_daemon_writes_or_shows_to_readers(tmp_path: Path) -> None:
    (tmp_path / "secret-file").write_text(SECRETS["FILE"])
    environment = {**install(tmp_path / "plugins"), **{name: SECRETS[name] for name in ("ENVIRONMENT", "PLUGIN")}}
    environment["BASIC"] = f"user:{SECRETS['BASIC']}"
    config = SECRETIVE.replace("STATE", str(tmp_path / "state"))
    daemon = DaemonProcess(tmp_path, config, environment=environment)
    with daemon, _everything(daemon) as shown:
        _provoke(daemon)
        settled(daemon)
        for command in ("status", "connectors", "plugins", "metrics", "audit", "dead-letters", "version"):
            shown[command] = daemon.cdmctl(command).stdout
        shown["config show"] = daemon.cdmctl("config", "show", "--json").stdout
        shown["events show"] = daemon.cdmctl("events", "show", "known-1", "--json").stdout
        number = control(daemon).get("/v1/dead-letters")[0]["seq"]
        shown["dead-letters show"] = daemon.cdmctl("dead-letters", "show", str(number), "--json").stdout
        daemon.configure(config + '[connectors.broken]\ntype = "webhook"\nverify = "none"\nwhere = "1 +"\n')
        shown["a refused reload"] = daemon.cdmctl("reload", check=False).stderr
        assert "broken" in shown["a refused reload"]
        shown["check"] = _check(daemon)
        assert daemon.process is not None
        daemon.process.send_signal(signal.SIGTERM)
        assert daemon.process.stdout is not None
        shown["stdout"] = daemon.process.stdout.read()
        daemon.stop()
    shown["log"] = daemon.log_file.read_text()
    assert '"level":"debug"' in shown["log"] or '"level":"info"' in shown["log"]
    assert "library_log" in shown["log"], "the plugin's own line came, without its text"
    for needle in (*SECRETS.values(), *PERSONAL.values(), "5ecret", "p3rsonal"):
        assert [place for place, text in shown.items() if needle in text] == []
    for secret in SECRETS.values():
        assert not hits(secret, [daemon.state_dir])


@contextlib.contextmanager
def _everything(daemon: DaemonProcess) -> Iterator[dict[str, str]]:
    """What is shown, collected by the caller; and the redacted tail of all that happens meanwhile."""
    shown: dict[str, str] = {}
    lines: list[str] = []
    listens = threading.Event()

    def read() -> None:
        for line in control(daemon).stream("/v1/tail"):
            lines.append(json.dumps(line))
            listens.set()

    reading = threading.Thread(target=read, daemon=True)
    reading.start()
    until(lambda: _send(daemon, "hello", n=time.monotonic_ns()) and listens.is_set(), what="the tail")
    yield shown
    reading.join(10)
    shown["tail"] = "\n".join(lines)
    assert "trial.die" in shown["tail"]


def _provoke(daemon: DaemonProcess) -> None:
    """Everything that could make the daemon talk: every kind of refusal, of failure and of success."""
    personal, url = PERSONAL, daemon.url
    headers = {**JSON, "x-canary": personal["header"], "cookie": personal["header"], "user-agent": personal["header"]}
    query = f"?q={personal['query']}"
    body = json.dumps({personal["key"]: 1, "type": "x", "mail": personal["mail"], "text": personal["body"]}).encode()
    broken = b'{"type":"' + personal["broken"].encode()

    def post_all(path: str, sent: bytes, more: Mapping[str, str] = {}) -> int:
        return post(f"{url}{path}{query}", sent, {**headers, **more}).status

    assert post_all("/hooks/inbox", body) == 200
    assert post_all("/hooks/inbox", broken) == 400
    assert post_all("/hooks/inbox", b'{"a":"\\ud800' + personal["body"].encode() + b'"}') == 400
    assert post_all(f"/hooks/{personal['body']}", body) == 404
    assert post_all("/hooks/inbox", body, {"content-type": f"text/{personal['header']}"}) == 415
    assert post_all("/hooks/inbox", body, {"content-encoding": personal["header"]}) == 415
    assert post_all("/hooks/inbox", body + b" " * 2 * MIB) == 413
    assert post(f"{url}/hooks/inbox{query}", body, headers, method="PUT").status == 405
    for path in ("/hooks/code", "/hooks/literal", "/hooks/user"):
        assert post_all(path, body, {"authorization": f"Bearer {personal['header']}"}) == 401
    assert post_all("/hooks/code", body, github(SECRETS["ENVIRONMENT"], body, event="ping", delivery="d-1")) == 200
    assert post_all("/hooks/code", broken, github(SECRETS["ENVIRONMENT"], broken, event="ping", delivery="d-2")) == 400
    for secret in (SECRETS["LITERAL"], SECRETS["FILE"]):
        assert post_all("/hooks/literal", body, {"authorization": f"Bearer {secret}"}) == 200
    password = base64.b64encode(f"user:{SECRETS['BASIC']}".encode()).decode()
    assert post_all("/hooks/user", body, {"authorization": f"Basic {password}"}) == 200
    assert post_all("/trial/failing", body) == 500
    for total in ("12", personal["number"], [personal["number"]], None):
        sent = {"type": "order", "mail": personal["mail"], "total": total}
        assert post_all("/hooks/mapped", json.dumps(sent).encode()) == 200
    assert post_all("/hooks/mapped", json.dumps({"type": personal["type"] * 30, "total": 1}).encode()) == 200
    for kind in ("die", "exit", "hang", "flood", "fetch", "go", "reject", "later"):
        event = {"id": f"known-{kind}", "type": f"trial.{kind}", "identifiers": {"email": personal["mail"]}}
        sent = {**event, "data": {"text": personal["body"], "url": f"http://{personal['body']}.example/"}}
        assert post_all("/hooks/inbox", json.dumps(sent).encode()) == 200
    known = {"id": "known-1", "type": "known", "identifiers": {"email": personal["mail"]}, "data": {"text": personal["body"]}}
    assert post_all("/hooks/inbox", json.dumps(known).encode()) == 200


def _check(daemon: DaemonProcess) -> str:
    command = [sys.executable, "-m", "cdmd", "check", "--config", str(daemon.config_file)]
    done = subprocess.run(command, capture_output=True, text=True, env=daemon.environment, timeout=60)
    assert "literal secret" in done.stdout + done.stderr or done.returncode == 6
    return done.stdout + done.stderr


# ---- P7: data never makes cdmd connect to an address that was not configured ----------------------------------------


class _Listener:
    """A server that nobody may reach: it counts who connects."""

    def __init__(self, family: socket.AddressFamily = socket.AF_INET) -> None:
        self._socket = socket.create_server(("127.0.0.1" if family == socket.AF_INET else "::1", 0), family=family)
        self.port = self._socket.getsockname()[1]

    def callers(self) -> int:
        """How many connected so far."""
        self._socket.setblocking(False)
        count = 0
        with contextlib.suppress(BlockingIOError):
            while True:
                self._socket.accept()[0].close()
                count += 1
        return count

    def close(self) -> None:
        self._socket.close()


@contextlib.contextmanager
def _redirecting(target: str) -> Iterator[int]:
    """A configured service that sends everybody elsewhere; yields its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(302)
            self.send_header("location", target)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server, ThreadPoolExecutor(1) as thread:
        thread.submit(server.serve_forever, 0.05)
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()


def test_an_address_that_came_in_the_data_is_never_connected_to(tmp_path: Path) -> None:
    with contextlib.closing(_Listener()) as canary, _redirecting(f"http://127.0.0.1:{canary.port}/") as configured:
        config = NEIGHBOURS + f'[plugins.trial]\nurl = "http://127.0.0.1:{configured}/api"\n'
        with DaemonProcess(tmp_path, config, environment=install(tmp_path / "plugins")) as daemon:
            hosts = ("127.0.0.1", "localhost", "127.1", "0.0.0.0", "[::ffff:127.0.0.1]", "2130706433", "127.0.0.1.", "0x7f.1")
            urls = [f"http://{host}:{canary.port}/" for host in hosts]
            urls += [
                f"http://127.0.0.1:{configured}@127.0.0.1:{canary.port}/",
                f"http://127.0.0.1:{canary.port}#@127.0.0.1:{configured}/",
                f"https://127.0.0.1:{canary.port}/",
                "http://169.254.169.254/latest/meta-data/",
                "file:///etc/passwd",
                "gopher://127.0.0.1/",
                "",
            ]
            for place, url in enumerate(urls):
                assert _send(daemon, "trial.fetch", id=f"fetch-{place}", url=url).status == 200
            good = f"http://127.0.0.1:{configured}/api"
            assert _send(daemon, "trial.fetch", id="good", url=good).status == 200
            assert _send(daemon, "trial.go", id="uncaught", url=urls[0]).status == 200
            settled(daemon)
            assert canary.callers() == 0
            refused = {url: _show(daemon, f"fetch-{place}")["event"]["data"].get("refused") for place, url in enumerate(urls)}
            assert refused == dict.fromkeys(urls, "AddressRefused")
            shown = _show(daemon, "good")
            assert shown["event"]["data"].get("status") == 302, "a redirect is an answer, and no way"
            uncaught = _show(daemon, "uncaught")
            assert uncaught["state"] == "dead-letter"
            assert "AddressRefused" in uncaught["summary"]


# ---- P9: nothing is dropped in silence -----------------------------------------------------------------------------

COUNTED = """
[connectors.inbox]
type = "webhook"
verify = "none"
[connectors.orders]
type = "webhook"
verify = "bearer"
secrets = ["env:TOKEN"]
records = "{orders[*]}"
accept = ["order.*"]
where = "event.data.total > 10.0"
[connectors.orders.event]
id = "{id}"
type = "{type}"
data = { total = "{to_number(total)}" }
[connectors.known]
type = "webhook"
verify = "none"
known_only = true
[connectors.known.event]
identifiers = { email = "{email}" }
"""


def _traffic(daemon: DaemonProcess, turn: int) -> None:
    """One round of everything that can become of a record; the same again in part with every round."""
    bearer = {**JSON, "authorization": "Bearer a-token"}
    with Sender(daemon.url) as sender:
        for number in range(6):
            order = {"id": f"{turn}-{number}", "type": "order.paid", "total": 20}
            orders = [order, order, {**order, "id": f"{turn}-{number}-small", "total": 5}, {**order, "type": "other"}]
            orders += [{**order, "id": None}, {**order, "total": "much"}, {**order, "id": "the same for ever"}]
            assert sender.send("/hooks/orders", json.dumps({"orders": orders}).encode(), bearer).status == 200
        assert sender.send("/hooks/orders", b"{}", JSON).status == 401
        assert sender.send("/hooks/orders", b"{", bearer).status == 400
        assert sender.send("/hooks/orders", b"{}", bearer).status == 400
        assert sender.send("/hooks/orders", b"x" * 2 * MIB, bearer).status == 413
        assert sender.send("/hooks/orders", b"", method="GET").status == 405
        for kind in ("drop", "reject", "later", "die", "plain"):
            for named in (f"{kind}-{turn}", f"{kind}-always"):
                body = json.dumps({"id": named, "type": f"trial.{kind}", "data": {"n": 1}}).encode()
                assert sender.send("/hooks/inbox", body).status == 200
        assert sender.send("/hooks/known", b'{"email":"nobody@example.com"}').status == 200


def _expected(rounds: int) -> dict[str, dict[str, int]]:
    """What ``_traffic`` amounts to after so many rounds."""
    posts, orders = 6 * rounds, 7 * 6 * rounds
    dead = 2 * posts
    return {
        "orders": {
            "received": orders + 5 * rounds, "refused": 5 * rounds,
            "accepted": orders - 2 * posts, "filtered_at_door": 2 * posts,
            "applied": posts + 1, "repeats": posts + posts - 1, "dead_letters": dead, "filtered": 2 * posts, "parked": 0,
        },
        "inbox": {
            "received": 10 * rounds, "refused": 0, "accepted": 10 * rounds, "filtered_at_door": 0, "applied": 2 * (rounds + 1),
            "repeats": 5 * (rounds - 1), "dead_letters": rounds + 1, "filtered": rounds + 1, "parked": rounds + 1,
        },
        "known": {"received": rounds, "refused": 0, "accepted": 0, "filtered_at_door": rounds, "filtered": rounds},
    }  # fmt: skip


def test_the_sums_hold_at_every_moment_and_over_restarts(tmp_path: Path) -> None:
    environment = {**install(tmp_path / "plugins"), "TOKEN": "a-token"}
    with DaemonProcess(tmp_path, COUNTED, environment=environment) as daemon:
        for turn in range(1, 4):
            assert _watched(daemon, turn) > 3
            found = settled(daemon)
            for name, expected in _expected(turn).items():
                assert {key: found[name][key] for key in expected} == expected, (name, turn)
            _check_totals(daemon)
            if turn == 1:
                assert daemon.stop() == 0
                daemon.start()
                assert {name: _kept(row) for name, row in settled(daemon).items()} == {n: _kept(r) for n, r in found.items()}
        daemon.kill()
        daemon.start()
        for name, row in settled(daemon).items():
            check_sums(row)
            unjournaled = {"received", "refused", "filtered", "filtered_at_door", "accepted", "repeats", "duplicates"}
            before, after = _kept(found[name]), _kept(row)
            assert {key: after[key] for key in after.keys() - unjournaled} == {
                key: before[key] for key in after.keys() - unjournaled
            }
        _watched(daemon, 4)
        for row in settled(daemon).values():
            check_sums(row)
        _check_totals(daemon)


def _watched(daemon: DaemonProcess, turn: int) -> int:
    """Send a round and look at the sums all the while; how many looks were taken."""
    looks = 0
    with ThreadPoolExecutor(1) as other:
        sending = other.submit(_traffic, daemon, turn)
        while not sending.done() or looks < 5:
            for row in status(daemon)["connectors"]:
                check_sums(row)
            looks += 1
        sending.result()
    return looks


def _check_totals(daemon: DaemonProcess) -> None:
    whole = status(daemon)
    found, totals = whole["connectors"], whole["totals"]
    assert totals["events"] == totals["activities"] == sum(row["applied"] for row in found)
    assert totals["dead_letters"] == sum(row["dead_letters"] for row in found) == len(control(daemon).get("/v1/dead-letters"))
    assert whole["store"]["parked"] == sum(row["parked"] for row in found)


def _kept(row: Mapping[str, Any]) -> dict[str, int]:
    return {name: value for name, value in row.items() if isinstance(value, int)}


# ---- P10: memory is bounded by configuration -----------------------------------------------------------------------

SMALL = """
[queue]
max_events = 200
max_bytes = "256KiB"
[parked]
max_events = 500
[connectors.inbox]
type = "webhook"
verify = "none"
[connectors.other]
type = "webhook"
verify = "none"
"""


def test_a_flood_into_a_slow_extension_and_a_small_queue_takes_no_memory(tmp_path: Path) -> None:
    with DaemonProcess(tmp_path, SMALL, environment=install(tmp_path / "plugins")) as daemon:
        for number in range(50):
            _send(daemon, "warm", n=number)
        settled(daemon)
        before, count, senders = rss(daemon), 3000, 32

        def flood(first: int) -> list[int]:
            found = []
            with Sender(daemon.url) as sender:
                for number in range(first, count, senders):
                    event = {"id": f"slow-{number}", "type": "trial.slow", "data": {"text": "x" * 4096}}
                    found.append(sender.send("/hooks/inbox", json.dumps(event).encode()).status)
            return found

        with ThreadPoolExecutor(senders) as pool:
            flooding = [pool.submit(flood, first) for first in range(senders)]
            looks = 0
            while not all(one.done() for one in flooding):
                whole = status(daemon)
                assert whole["queue"]["events"] <= whole["queue"]["max_events"] == 200
                assert whole["queue"]["bytes"] <= whole["queue"]["max_bytes"] == 256 * 1024
                assert whole["store"]["parked"] <= 500
                looks += 1
            answers = [answer for one in flooding for answer in one.result()]
        assert looks > 3
        assert set(answers) <= {200, 503}
        _serves(daemon, seconds=60)
        row = settled(daemon, seconds=60)["inbox"]
        check_sums(row)
        assert row["parked"] + row["dead_letters"] == answers.count(200)
        assert row["parked"] <= 500
        assert {one["code"] for one in control(daemon).get("/v1/dead-letters", {"limit": 4000})} == {"parked_full"}
        # SQLite's page caches and the journal's tail fill up to their own bounds meanwhile.
        assert rss(daemon) - before < 128 * MIB
