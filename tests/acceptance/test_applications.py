"""The official tracking libraries, unchanged, through everything that networks, servers and power switches do to them."""

import hmac
import json
import os
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from cdmd.testing import DaemonProcess
from tests.acceptance.tracking import LIBRARIES, Library, Mischief, node_modules
from tests.acceptance.trial import check_sums, checkout, control, hits, post, settled

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(120)]

KEY = "write-key-4c1d7e0a"
EVENTS = 240
CONFIG = """
[connectors.app]
type = "application"
write_keys = ["env:WRITE_KEY"]
quota = "5000/1s"
"""


def told(daemon: DaemonProcess, user: str) -> Any:
    """The customer with all that is kept of what happened."""
    return control(daemon).get("/v1/profile", {"identifier": f"user_id:{user}", "activities": 1000})


@pytest.mark.parametrize("library", LIBRARIES, ids=[one.package for one in LIBRARIES])
def test_every_event_of_an_official_library_is_there_exactly_once(
    library: Library, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    folder = tmp_path
    if library.script.endswith(".py"):
        pytest.importorskip(f"{library.package}.analytics", reason=f"the library {library.package} is not installed")
    else:
        folder = node_modules(request.config, tmp_path)
    with (
        DaemonProcess(tmp_path, CONFIG, environment={"WRITE_KEY": KEY, **checkout()}) as daemon,
        Mischief(daemon) as proxy,
    ):
        command = library.command(proxy.url, KEY, "u-1", events=EVENTS, folder=folder)
        done = subprocess.run(command, capture_output=True, text=True, timeout=100, env=dict(os.environ))
        assert done.returncode == 0, done.stderr[-2000:]
        assert proxy.requests > 8
        row = settled(daemon)["app"]
        customer = told(daemon, "u-1")
    orders = [one["data"]["number"] for one in customer["activities"] if one["type"] == "Order"]
    assert sorted(orders) == list(range(EVENTS))
    kinds = Counter(one["type"] for one in customer["activities"])
    assert kinds == {"Order": EVENTS, **dict.fromkeys(library.calls, 1)}
    check_sums(row)
    assert (row["applied"], row["dead_letters"], row["id_conflicts"]) == (EVENTS + len(library.calls), 0, 0)
    assert row["repeats"] >= 1, "what was delivered and not answered came again"
    known = {(one["kind"], one["value"]) for one in customer["identifiers"]}
    assert known == {("user_id", "u-1"), ("email", "u-1@example.com"), ("anonymous_id", "before")}
    assert customer["traits"] == {"email": "u-1@example.com"}
    group = next(one for one in customer["activities"] if one["type"] == "group")
    assert group["data"] == {"employees": None, "group_id": "acme"}
    assert not hits(KEY, [daemon.state_dir, daemon.log_file])


def test_a_quota_slows_a_library_down_and_loses_nothing(tmp_path: Path) -> None:
    pytest.importorskip("segment.analytics", reason="segment-analytics-python is not installed")
    config = CONFIG.replace("5000/1s", "60/1s")
    with DaemonProcess(tmp_path, config, environment={"WRITE_KEY": KEY, **checkout()}) as daemon:
        command = LIBRARIES[0].command(daemon.url, KEY, "u-1", events=150, folder=tmp_path)
        done = subprocess.run(command, capture_output=True, text=True, timeout=100, env=dict(os.environ))
        assert done.returncode == 0, done.stderr[-2000:]
        row = settled(daemon)["app"]
        orders = [one["data"]["number"] for one in told(daemon, "u-1")["activities"] if one["type"] == "Order"]
    assert sorted(orders) == list(range(150))
    check_sums(row)
    assert row["refused"] > 0, "the quota was met"
    assert (row["applied"], row["repeats"]) == (155, 0)


BAD = (
    {"type": "track", "event": "nobody's"},
    {"type": "track", "userId": "u-1"},
    {"type": "trak", "userId": "u-1", "messageId": "m-1"},
    {"type": "track", "userId": "u-1", "event": "x", "messageId": "m-2", "timestamp": "soon"},
    {"type": "track", "userId": "u-1", "event": "x", "properties": {"long": "x" * 40_000}, "writeKey": KEY},
    {"type": "track", "userId": "u-2", "event": "x", "context": {"userSignature": "f00d" * 16}},
)


def test_bad_calls_are_set_aside_once_however_often_they_come_and_good_ones_are_stored(tmp_path: Path) -> None:
    config = CONFIG + 'user_signature = "required"\nuser_secrets = ["env:USER_SECRET"]\n'
    signed = hmac.digest(b"signs-users", b"u-1", "sha256").hex()
    context = {"userSignature": signed}
    good = [{"type": "track", "userId": "u-1", "event": "good", "messageId": f"g-{n}", "context": context} for n in range(6)]
    bad = [{**one, "context": one.get("context", context)} for one in BAD]
    batch = [call for pair in zip(bad, good, strict=True) for call in pair]
    codes = ["no_user_anon_id", "no_event_name", "invalid_type", "not_a_time", "event_too_large", "user_signature_wrong"]
    with DaemonProcess(tmp_path, config, environment={"WRITE_KEY": KEY, "USER_SECRET": "signs-users", **checkout()}) as daemon:
        for second in range(3):
            body = {"batch": batch, "writeKey": KEY, "sentAt": f"2026-11-23T10:00:0{second}Z"}
            reply = post(f"{daemon.url}/v1/batch", json.dumps(body).encode(), {"content-type": "text/plain"})
            rejected = json.loads(reply.body)["rejected"]
            assert reply.status == 200
            assert [(one["index"], one["code"]) for one in rejected] == [(2 * n, code) for n, code in enumerate(codes)]
            row = settled(daemon)["app"]
            check_sums(row)
            assert (row["applied"], row["dead_letters"], row["id_conflicts"]) == (6, 6, 0)
        letters = daemon.ask("dead-letters", "list")
        assert sorted(one["code"] for one in letters) == sorted(codes)
        daemon.cdmctl("dead-letters", "retry", "--connector", "app", "--yes")
        daemon.settle(held=True)
        assert settled(daemon)["app"]["dead_letters"] == 6, "what the application refused stays refused"
        single = post(f"{daemon.url}/v1/track", json.dumps(BAD[0]).encode(), {"authorization": f"Bearer {KEY}"})
        assert (single.status, json.loads(single.body)["code"]) == (400, "no_user_anon_id")
        assert daemon.stop() == 0
    for secret in (KEY, "signs-users", signed, "f00d" * 16):
        assert not hits(secret, [daemon.state_dir, daemon.log_file])
