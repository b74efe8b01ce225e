"""What suppliers do to files, with the real daemon and the real sshd: what is bad is shown with its reason."""

import gzip
import io
import os
import subprocess
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cdmd.testing import DaemonProcess
from tests.acceptance.test_files import row_of, rows, wait
from tests.peers.proxy import proxy
from tests.peers.sshd import MISSING, Sshd, sshd
from tests.sizes import size

MANY = size("CDMD_FILES", short=30_000, long=100_000)

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.timeout(180),
    pytest.mark.skipif(MISSING is not None, reason=str(MISSING)),
]
PLACE = """
every = "1s"
stable_for = "{stable}"
files = {files}
format = {form}
{more}
[connectors.{name}.event]
type = "customer.delivered"
identifiers = {{ email = "{{email}}" }}
data = {{ n = "{{n}}" }}
"""
CSV = '{ type = "csv" }'
LAUGHS = '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]><x><row><email>&b;</email></row></x>'


def place(server: Sshd, area: Path, *, name: str = "sup", port: int | None = None, **given: str) -> str:
    standing = {"stable": "0s", "files": '["*"]', "form": CSV, "more": ""}
    return server.connector(area, name=name, port=port) + PLACE.format(name=name, **standing | given)


def daemon(folder: Path, server: Sshd, config: str) -> DaemonProcess:
    return DaemonProcess(folder, config, environment=server.environment)


def files_of(one: DaemonProcess, name: str = "sup") -> dict[str, Any]:
    found = one.control.get("/v1/shelves/files", {"connector": name, "limit": 1000})
    return {row["name"]: row for row in found}


def zipped(name: str, content: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return file.getvalue()


def resident(one: DaemonProcess) -> int:
    assert one.process is not None
    (line,) = [line for line in Path(f"/proc/{one.process.pid}/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024


def test_each_bad_file_is_shown_with_its_reason_and_every_good_one_is_read(tmp_path: Path) -> None:
    area, good = tmp_path / "in", rows(0, 3).encode()
    area.mkdir()
    named = {"line\nbreak": 1, "\x1b[31mred": 2, "x" * 255: 3, " .. ": 4, "å": 5}
    for name, number in named.items():
        (area / name).write_text(rows(100 * number, 2))
    bad: dict[str, tuple[bytes, str]] = {
        "nested.zip": (zipped("inner.zip", zipped("a.csv", good)), "only one level is unpacked"),
        "bomb.gz": (gzip.compress(b"email,n\n" + bytes(64 * 2**20)), "times"),
        "cut.gz": (gzip.compress(rows(0, 5000).encode())[:-20], "ends"),
        "garbage": (bytes(range(256)) * 40, "cannot be read"),
        "ragged": (b"email,n\n" + b"only one field\n" * 20, "20 of 20 records cannot be read"),
    }
    for name, (content, _) in bad.items():
        (area / name).write_bytes(content)
    (area / "empty").touch()
    (area / "header").write_text("email,n\n")
    (area / "link").symlink_to("/etc/passwd")
    (area / "loop").symlink_to(area)
    os.mkfifo(area / "pipe")
    (area / "good").write_bytes(good)
    (area / "laughs.xml").write_text(LAUGHS)
    with sshd(tmp_path / "sshd") as server:
        config = place(server, area, more='exclude = ["*.xml"]')
        config += place(server, area, name="xml", files='["*.xml"]', form='{ type = "xml", record = "row" }')
        with daemon(tmp_path, server, config) as one:
            expected = len(bad) + len(named) + 6
            over = {"done", "quarantined", "blocked"}
            wait(lambda: sum(row["state"] in over for row in files_of(one).values()) == expected)
            wait(lambda: files_of(one, "xml").get("laughs.xml", {}).get("state") == "quarantined")
            found = files_of(one)
            for name, (_, reason) in bad.items():
                assert (found[name]["state"], reason in found[name]["reason"]) == ("quarantined", True), found[name]
            assert "document type declaration" in files_of(one, "xml")["laughs.xml"]["reason"]
            assert {name: found[name]["state"] for name in ("empty", "header", "good")} == dict.fromkeys(
                ("empty", "header", "good"), "done"
            )
            assert {found[name]["reason"] for name in ("link", "loop")} == {"it is a link, and links are not followed"}
            assert (found["pipe"]["state"], found["pipe"]["reason"]) == ("blocked", "it is no plain file")
            assert {found[name]["state"] for name in ("line\\x0abreak", "\\x1b[31mred", "x" * 255, " .. ", "å")} == {"done"}
            one.settle()
            status = one.control.get("/v1/status")
            assert {row["name"]: row["state"] for row in status["connectors"]} == {"sup": "running", "xml": "running"}
            assert row_of(one)["applied"] == 3 + 2 * len(named)
            assert "\x1b" not in one.cdmctl("files").stdout
            assert b"\x1b" not in one.log_file.read_bytes()
            assert b"root:" not in one.log_file.read_bytes()


def test_a_directory_of_very_many_files_is_listed_in_time_and_in_bounded_memory(tmp_path: Path) -> None:
    area = tmp_path / "in"
    area.mkdir()
    (area / "few.csv").write_text(rows(0, 3))
    with sshd(tmp_path / "sshd") as server:
        config = place(server, area, files='["few*"]') + place(server, area, name="many", files='["n*"]', stable="1h")
        with daemon(tmp_path, server, config) as one:
            wait(lambda: files_of(one).get("few.csv", {}).get("state") == "done")
            before = resident(one)
            for number in range(MANY):
                os.close(os.open(f"{area}/n{number:06}.csv", os.O_CREAT | os.O_WRONLY, 0o644))
            (area / "few2.csv").write_text(rows(10, 3))
            wait(lambda: files_of(one).get("few2.csv", {}).get("state") == "done", seconds=90)
            wait(lambda: "settling" in (row_of_many(one)["detail"] or ""), seconds=90)
            assert len(one.control.get("/v1/shelves/files", {"connector": "many", "limit": 10_000})) == 10_000
            assert len(files_of(one)) == 2
            assert resident(one) - before < 60 * 2**20
            assert row_of_many(one)["state"] == "running"


def row_of_many(one: DaemonProcess) -> dict[str, Any]:
    found: dict[str, Any] = next(row for row in one.control.get("/v1/status")["connectors"] if row["name"] == "many")
    return found


def test_a_growing_a_shrinking_and_a_replaced_file_are_read_once_they_are_left_alone(tmp_path: Path) -> None:
    area, pause = tmp_path / "in", threading.Event()
    area.mkdir()
    with sshd(tmp_path / "sshd") as server, daemon(tmp_path, server, place(server, area, stable="5s")) as one:
        with (area / "grows").open("w") as file:
            file.write("email,n\n")
            for number in range(6):  # each time it stays as it is for longer than a look takes, and not as long as it has to
                file.write(f"u{number}@example.com,{number}\n")
                file.flush()
                (area / "shrinks").write_text(rows(100, 26 - number))
                (area / "new").write_text(rows(200, 3) if number % 2 else rows(300, 3))
                (area / "new").replace(area / "replaced")
                pause.wait(2.5)
                states = {row["state"] for row in files_of(one).values()}
                assert states <= {"seen", "settling"}, "nothing is whole while it changes"
        wait(lambda: [row["state"] for row in files_of(one).values()] == ["done"] * 3)
        one.settle()
        found = files_of(one)
        assert {name: found[name]["accepted"] for name in found} == {"grows": 6, "shrinks": 21, "replaced": 3}
        assert row_of(one)["applied"] == 6 + 21 + 3


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 48 MiB, where a tmpfs can be mounted."""
    found = tmp_path / "disk"
    found.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "cdmd-test", str(found)], capture_output=True, check=False)
    if made.returncode:
        pytest.skip("mounting a tmpfs needs root")
    yield found
    subprocess.run(["umount", "-l", str(found)], capture_output=True, check=False)


def test_a_disk_that_fills_while_a_file_is_fetched_is_said_and_the_file_is_read_when_there_is_room(
    tmp_path: Path, small_disk: Path
) -> None:
    area = tmp_path / "in"
    area.mkdir()
    (area / "big.csv").write_text("email,n\n" + "".join(f"u{number % 50}@example.com,{'x' * 4000}\n" for number in range(4000)))
    with sshd(tmp_path / "sshd") as server, proxy(server.port, rate=6_000_000) as line:
        config = f'[daemon]\nstate_dir = "{small_disk}/state"\n[journal]\nreserve = "1MiB"\n'
        config += place(server, area, port=line.port).replace('data = { n = "{n}" }', "")
        with daemon(tmp_path, server, config) as one:
            wait(lambda: "fetching" in (row_of(one)["detail"] or ""))
            filler = small_disk / "filler"
            fill(filler)
            wait(lambda: "the disk is full" in str(row_of(one)["error"]))
            assert row_of(one)["applied"] == 0
            filler.unlink()
            line.rate = None
            assert one.cdmctl("resume", "sup").returncode == 0
            wait(lambda: row_of(one)["applied"] == 4000)
            assert files_of(one)["big.csv"]["state"] in {"parsing", "done"}


def fill(file: Path) -> None:
    handle = os.open(file, os.O_CREAT | os.O_WRONLY, 0o600)
    for step in (2**20, 4096):
        try:
            while True:
                os.write(handle, bytes(step))
        except OSError:
            continue
    os.close(handle)
