"""The official tracking libraries, unchanged, through everything that networks, servers and power switches do to them."""

import os
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from cdmd.testing import DaemonProcess
from tests.acceptance.tracking import LIBRARIES, Library, Mischief, node_modules
from tests.acceptance.trial import check_sums, checkout, control, hits, settled

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
