"""The runbook of systemd/README.md, line by line: backups while the daemon runs, the machine gone, and everything back.

What is systemd's and root's (starting, becoming another user) is stood in for here; tests/boot runs the same lines as they are.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cdmd.testing import DaemonProcess

pytestmark = [pytest.mark.acceptance]

SECTION = (
    (Path(__file__).parents[2] / "systemd/README.md")
    .read_text()
    .partition("\n## Backups, and the way back\n")[2]
    .partition("\n## ")[0]
)
SHOP = '[connectors.shop]\ntype = "webhook"\nverify = "none"\n'


def blocks() -> list[str]:
    return re.findall(r"```sh\n(.*?)```", SECTION, re.DOTALL)


class Place:
    """The paths of the runbook below a folder, and commands that stand in for those of a whole machine."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state, self.etc, self.backup = folder / "lib", folder / "etc", folder / "backup"
        self.calls = folder / "calls"
        for one in (self.state, self.etc, self.backup, folder / "bin"):
            one.mkdir()
        self.state.chmod(0o700)
        python = sys.executable
        self._command("systemctl", f'echo "$@" >> {self.calls}')
        self._command("runuser", 'shift 3; exec "$@"')
        self._command("cdmd", f'exec {python} -m cdmd "$@"')
        self._command("cdmctl", f'exec {python} -m cdmd.cli.control_commands --socket {folder}/control.sock "$@"')
        real = shutil.which("install")
        self._command("install", f'set -- $(echo "$@" | sed "s/-o cdmd -g cdmd//"); exec {real} "$@"')

    def _command(self, name: str, text: str) -> None:
        file = self.folder / "bin" / name
        file.write_text(f"#!/bin/sh\n{text}\n")
        file.chmod(0o755)

    def run(self, block: str) -> str:
        for said, here in (("/var/lib/cdmd", self.state), ("/etc/cdmd", self.etc), ("/backup", self.backup)):
            block = re.sub(rf"(?<![\w/-]){said}", str(here), block)
        environment = {**os.environ, "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}"}
        done = subprocess.run(["sh", "-ec", block], capture_output=True, text=True, env=environment, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr


def daemon(place: Place) -> DaemonProcess:
    one = DaemonProcess(place.folder, f'[daemon]\nstate_dir = "{place.state}"\n{SHOP}')
    one.state_dir = place.state
    return one


def paid(id: str, who: str) -> dict[str, object]:
    return {"id": id, "type": "paid", "identifiers": {"email": f"{who}@example.com"}}


def test_after_the_machine_is_gone_the_runbook_brings_everything_back(tmp_path: Path) -> None:
    place = Place(tmp_path)
    (place.etc / "cdmd.toml").write_text("# mine\n")
    daily, back = blocks()
    before, after = back.partition("systemctl start")[0], "systemctl start" + back.partition("systemctl start")[2]
    with daemon(place) as one:
        for number in range(50):
            one.send("/hooks/shop", paid(f"e{number}", f"u{number % 10}"))
        one.settle()
        place.run(daily)
        assert sorted(os.listdir(place.backup)) == ["digest.key", "etc", "kept.tar", "suppressions.jsonl"]  # noqa: PTH208
        one.cdmctl("profile", "erase", "email:u3@example.com", "--yes", "--wait")
        place.run("cdmctl suppressions export > /backup/suppressions.jsonl\n")
    shutil.rmtree(place.state)
    shutil.rmtree(place.etc)
    place.state.mkdir(mode=0o700)
    place.etc.mkdir()
    with daemon(place):
        pass  # the package has started it once: it has a state and a key of its own
    said = place.run(before)
    assert "before the daemon listens: a suppression list of 2 digests" in said
    assert (place.etc / "cdmd.toml").read_text() == "# mine\n"
    assert sorted(path.name for path in place.state.iterdir() if path.suffix in {".tar", ".jsonl"}) == []
    with daemon(place) as one:
        assert '"running"' in place.run(after.replace("cdmctl status", "cdmctl status --json"))
        assert place.calls.read_text().split("\n")[0].startswith("stop cdmd.service")
        one.send("/hooks/shop", paid("e1", "u1"))
        one.send("/hooks/shop", paid("e3", "u3"))
        one.settle()
        status = one.ask("status")
        assert status["totals"]["profiles"] == 9
        assert status["connectors"][0]["repeats"] >= 1
        assert one.ask("verify") == {"whole": True, "problems": []}
        assert one.cdmctl("profile", "show", "email:u3@example.com", check=False).returncode == 4


def test_without_its_key_a_restored_state_says_so_and_makes_no_other(tmp_path: Path) -> None:
    """Seen to fail when a new key was made beside what the old one had written: the copy then had to displace it."""
    place = Place(tmp_path)
    daily, _ = blocks()
    with daemon(place) as one:
        one.send("/hooks/shop", paid("e1", "u1"))
        one.settle()
        place.run(daily)
    shutil.rmtree(place.state)
    place.state.mkdir(mode=0o700)
    said = place.run("cdmd restore /backup/kept.tar --state-dir /var/lib/cdmd\n")
    assert f"put your copy at {place.state}/keys/digest.key before the daemon starts" in said
    one = daemon(place)
    with pytest.raises(Exception, match=r"digest\.key is missing, and what is kept here was written with it: put your copy"):
        one.start()
    assert not (place.state / "keys/digest.key").exists()
    place.run("install -d -m 700 /var/lib/cdmd/keys\ninstall -m 600 /backup/digest.key /var/lib/cdmd/keys/digest.key\n")
    with one:
        one.send("/hooks/shop", paid("e1", "u1"))
        one.settle()
        assert one.ask("status")["totals"]["events"] == 1
