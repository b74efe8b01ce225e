"""Erased means unreadable on the NATS server, too: somebody known through every way in, searched for in every file of it."""

import json
from pathlib import Path

import pytest

from cdmd.testing import DaemonProcess
from tests.acceptance.test_erasure import CANARIES, CONFIG, KEY, MAIL, asked, left_in, meet, meet_again, sums
from tests.cluster.servers import NatsServer, eventually, needed, serving

pytestmark = [needed, pytest.mark.acceptance, pytest.mark.timeout(400)]
ROOT = Path(__file__).parents[2]


def test_whoever_is_erased_is_in_no_file_of_the_server_and_nothing_brings_them_back(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    with serving(tmp_path / "server") as server:
        config = f'[journal]\nreserve = "1MiB"\nurl = "{server.url}"\n' + CONFIG.replace("FOLDER", str(tmp_path))
        with DaemonProcess(
            tmp_path,
            config,
            environment={"WRITE_KEY": KEY},
            plugins={"erasing": "erasing_plugin"},
            paths=[ROOT / "tests/acceptance", ROOT],
            patience=60,
        ) as daemon:
            meet(daemon, tmp_path)
            eventually(lambda: "canary-joe" in left_on(server))
            report = json.loads(daemon.cdmctl("profile", "erase", f"email:{MAIL}", "--yes", "--json", check=False).stdout)
            assert report["state"] == "complete", report["left"]
            assert "canary" not in asked(daemon)
            assert daemon.ask("verify")["whole"] is True
            assert left_on(server) == ""
            assert left_in(tmp_path / "state") == {}
            meet_again(daemon)
            assert "canary" not in asked(daemon)
            sums(daemon)
            daemon.stop()
            assert left_on(server) == ""


def left_on(server: NatsServer) -> str:
    """The canaries in the server's files: as they are, and as the subjects of keys have them."""
    found = [one.decode() for one in CANARIES if server.holds(one)]
    return " ".join([*found, *(f"{one.decode()} as a key" for one in CANARIES if server.holds(one.hex().encode()))])
