"""What goes out of the real daemon: through kills none is lost and repeats carry the same id; a receiver of others takes it."""

import base64
import hmac
import json
import shutil
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from cdmd.testing import DaemonProcess
from tests.peers.serving import serving

pytestmark = [pytest.mark.acceptance, pytest.mark.slow]

KEY = b"k" * 32
SECRET = "whsec_" + base64.b64encode(KEY).decode()
SHOP = '[connectors.shop]\ntype = "webhook"\nverify = "none"\n'
EVENTS, KILLS = 120, 3


def target(url: str, *more: str) -> str:
    lines = "\n".join(more)
    return f'[targets.crm]\ntype = "webhook"\nurl = "{url}"\nsecret = "{SECRET}"\nevents = ["order.*"]\n{lines}\n'


class Receiver:
    """Takes what is signed, slowly enough to be in the midst of it when the daemon is killed."""

    def __init__(self) -> None:
        self.got: list[tuple[str, str]] = []
        self.refused = 0
        self.ill = False

    @contextmanager
    def served(self) -> Iterator[str]:
        receiver, never = self, threading.Event()

        class Hook(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                signed = f"{self.headers['webhook-id']}.{self.headers['webhook-timestamp']}.".encode() + body
                expected = base64.b64encode(hmac.digest(KEY, signed, "sha256")).decode()
                good = self.headers["webhook-signature"] == f"v1,{expected}"
                receiver.refused += not good
                if not receiver.ill:
                    receiver.got.append((self.headers["webhook-id"], json.loads(body)["data"]["event"]["id"]))
                never.wait(0.003)
                self.send_response(503 if receiver.ill else 204 if good else 401)
                self.end_headers()

        with serving(Hook) as url:
            yield f"{url}/hook"


def pending(daemon: DaemonProcess) -> int:
    return int(daemon.ask("status")["totals"]["deliveries_pending"])


def until(holds: Any, *, seconds: float = 40.0) -> None:
    """Looked at every few milliseconds."""
    ends, never = time.monotonic() + seconds, threading.Event()
    while not holds():
        if time.monotonic() > ends:
            raise TimeoutError
        never.wait(0.02)


def test_killed_in_the_midst_of_deliveries_none_is_lost_and_repeats_carry_the_same_id(tmp_path: Path) -> None:
    receiver = Receiver()
    with receiver.served() as url:
        daemon = DaemonProcess(tmp_path, SHOP + target(url, "concurrency = 2"))
        with daemon:
            for number in range(EVENTS):
                daemon.send(
                    "/hooks/shop", {"id": f"e{number}", "type": "order.paid", "identifiers": {"email": f"u{number}@x.se"}}
                )
                if number % (EVENTS // KILLS) == EVENTS // KILLS // 2:
                    seen = len(receiver.got)
                    until(lambda seen=seen: len(receiver.got) > seen or pending(daemon) == 0)  # type: ignore[misc]
                    daemon.kill()
                    daemon.start()
            daemon.settle()
            until(lambda: pending(daemon) == 0)
            assert daemon.ask("verify")["problems"] == []
    assert receiver.refused == 0
    assert {event for _, event in receiver.got} == {f"e{number}" for number in range(EVENTS)}
    ids = Counter(receiver.got)
    assert len({delivery for delivery, _ in ids}) == len({event for _, event in ids}) == len(ids)


def test_what_waits_for_a_dead_endpoint_is_bounded_and_shown_and_all_of_it_can_be_told_later(tmp_path: Path) -> None:
    receiver, room = Receiver(), 30
    with receiver.served() as url:
        dead = target("http://127.0.0.1:9/x", f"max_waiting = {room}").replace("targets.crm", "targets.dead")
        daemon = DaemonProcess(tmp_path, SHOP + target(url, "concurrency = 8") + dead)
        with daemon:

            def row() -> dict[str, Any]:
                found: dict[str, Any] = next(row for row in daemon.ask("targets") if row["name"] == "dead")
                return found

            for number in range(3 * room):
                daemon.send("/hooks/shop", {"id": f"e{number}", "type": "order.paid"})
            until(lambda: len({event for _, event in receiver.got}) == 3 * room)
            daemon.settle()
            assert (row()["waiting"], row()["dropped"], row()["failed"]) == (room, 2 * room, 0)
            assert row()["full_since"] is not None
            shown = daemon.cdmctl("metrics").stdout
            assert f'cdmd_deliveries_pending{{target="dead"}} {room}.0' in shown
            assert f'cdmd_deliveries_total{{result="dropped",target="dead"}} {2 * room}.0' in shown
            assert "no room since" in daemon.cdmctl("targets").stdout
            alive = target(url, f"max_waiting = {room}").replace("targets.crm", "targets.dead")
            daemon.configure(SHOP + target(url, "concurrency = 8") + alive)
            daemon.cdmctl("reload")
            daemon.cdmctl("deliveries", "retry", "--target", "dead", "--yes")
            until(lambda: row()["delivered"] == room)
            daemon.cdmctl("deliveries", "replay", "dead", "--since", "1h", "--yes")
            until(lambda: row()["delivered"] == room + 3 * room)
    told = Counter(event for _, event in receiver.got)
    assert min(told.values()) >= 2, "everybody was told of everything"
    assert receiver.refused == 0


def test_a_receiver_of_others_verifies_and_a_dead_one_beside_it_delays_nothing(tmp_path: Path) -> None:
    """adnanh's webhook checks a shared secret in a header and runs a command with the payload."""
    if (program := shutil.which("webhook")) is None:
        pytest.skip("adnanh's webhook is not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    kept = tmp_path / "received"
    script = tmp_path / "keep.sh"
    script.write_text(f'#!/bin/sh\nprintf "%s\\n" "$1" >> {kept}\n')
    script.chmod(0o700)
    rule = {"match": {"type": "value", "value": "Bearer t0ken", "parameter": {"source": "header", "name": "Authorization"}}}
    argument = {"source": "payload", "name": "data.event.id"}
    hook = {"id": "cdmd", "execute-command": str(script), "pass-arguments-to-command": [argument], "trigger-rule": rule}
    hook |= {"include-command-output-in-response": True, "trigger-rule-mismatch-http-response-code": 403}
    (tmp_path / "hooks.json").write_text(json.dumps([hook]))
    command = [program, "-hooks", str(tmp_path / "hooks.json"), "-ip", "127.0.0.1", "-port", str(port)]
    (tmp_path / "daemon").mkdir()
    more = 'auth = { type = "bearer", token = "t0ken" }'
    dead = target("http://127.0.0.1:9/x").replace("targets.crm", "targets.dead")
    wrong = target(f"http://127.0.0.1:{port}/hooks/cdmd").replace("targets.crm", "targets.wrong")
    text = SHOP + target(f"http://127.0.0.1:{port}/hooks/cdmd", more) + dead + wrong
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            with DaemonProcess(tmp_path / "daemon", text) as daemon:
                for number in range(5):
                    daemon.send("/hooks/shop", {"id": f"e{number}", "type": "order.paid"})

                def rows() -> dict[str, Any]:
                    return {row["name"]: row for row in daemon.ask("targets")}

                until(lambda: rows()["crm"]["delivered"] == 5)
                until(lambda: rows()["wrong"]["attempts"] > 0 and rows()["dead"]["attempts"] > 0)
                assert sorted(kept.read_text().split()) == [f"e{number}" for number in range(5)]
                assert rows()["wrong"]["reason"] == "it answers with status 403"
                assert rows()["dead"]["reason"] == "127.0.0.1 cannot be reached: Connection refused"
                assert (rows()["dead"]["waiting"], rows()["crm"]["waiting"]) == (5, 0)
                steps = [step["step"] for step in daemon.ask("events", "show", "e0")["traces"][0]["steps"]]
                assert {"stored", "delivered", "queued"} <= set(steps)
        finally:
            process.terminate()
