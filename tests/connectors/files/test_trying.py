"""``cdmd try`` of files: what would come in is shown, and nothing is changed or remembered anywhere."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.peers.sshd import Sshd

CONFIG = """
{place}
format = {{ type = "csv" }}
files = ["*.csv"]
after = "delete"
{more}
[connectors.sup.event]
type = "customer.seen"
identifiers = {{ email = "{{email}}" }}
data = {{ line = "{{_file.line}}" }}
"""


class Tried(NamedTuple):
    status: int
    emails: list[str]
    said: str


def local(area: Path) -> str:
    return f'[connectors.sup]\ntype = "folder"\npath = "{area}"'


def tried(folder: Path, place: str, *arguments: str, more: str = "", **environment: str) -> Tried:
    (folder / "cdmd.toml").write_text(CONFIG.format(place=place, more=more))
    command = [sys.executable, "-m", "cdmd", "try", "sup", "--config", str(folder / "cdmd.toml"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env={**os.environ, **environment})
    emails = [json.loads(line)["identifiers"]["email"] for line in done.stdout.splitlines()]
    return Tried(done.returncode, emails, done.stderr)


@pytest.fixture
def area(tmp_path: Path) -> Path:
    found = tmp_path / "in"
    found.mkdir()
    (found / "a.csv").write_text("email,n\n" + "".join(f"u{number}@example.com,{number}\n" for number in range(2500)))
    (found / "other.txt").write_text("no")
    os.utime(found / "a.csv", (1000, 1000))
    (found / "b.csv").write_text("email,n\njoe@example.com,1\n")
    return found


def test_the_file_that_would_be_read_first_is_shown_and_stays(tmp_path: Path, area: Path) -> None:
    done = tried(tmp_path, local(area), "--limit", "2")
    assert (done.status, done.emails) == (0, ["u0@example.com", "u1@example.com"])
    assert "2 files match (a.csv, b.csv)" in done.said
    assert "there are more events" in done.said
    assert sorted(path.name for path in area.iterdir()) == ["a.csv", "b.csv", "other.txt"]


def test_a_file_that_is_dated_ahead_of_our_clock_is_said(tmp_path: Path, area: Path) -> None:
    os.utime(area / "b.csv", (2**33, 2**33))
    assert " days ahead of our clock: one of the two clocks is wrong" in tried(tmp_path, local(area), "--limit", "1").said


def test_a_file_that_is_handed_over_needs_no_marker_and_no_place(tmp_path: Path, area: Path) -> None:
    place = local(tmp_path / "nowhere")
    done = tried(tmp_path, place, "--input", str(area / "b.csv"), more='marker = "{name}.done"')
    assert (done.status, done.emails) == (0, ["joe@example.com"])
    assert "give a file with --input" in tried(tmp_path, place, "--input", "-").said


def test_what_would_stop_the_file_is_said(tmp_path: Path, area: Path) -> None:
    (area / "c.csv").write_text("email,n\n" + "too,many,fields\n" * 30)
    done = tried(tmp_path, local(area), "--input", str(area / "c.csv"))
    assert done.emails == []
    assert "c.csv would be quarantined: 30 of 30 records cannot be read" in done.said


def test_an_area_shows_its_key_before_it_is_pinned_and_its_files_after(tmp_path: Path, area: Path, server: Sshd) -> None:
    done = tried(tmp_path, server.connector(area, pinned=False), **server.environment)
    assert (done.status, done.emails) == (1, [])
    assert f'write host_key = "{server.fingerprint}" into connectors.sup' in done.said
    done = tried(tmp_path, server.connector(area), "--limit", "1", **server.environment)
    assert (done.status, done.emails) == (0, ["u0@example.com"])
    assert f"127.0.0.1 shows the pinned host key: ssh-ed25519 {server.fingerprint}" in done.said
    assert len(list(area.iterdir())) == 3
