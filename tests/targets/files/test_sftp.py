"""Batch files in a real sftp area (OpenSSH), and in areas that refuse, break off or know less of the protocol."""

import hashlib
import ssl
import subprocess
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from cdmd.errors import ConfigInvalid
from cdmd.kit.addresses import hosts_in
from cdmd.kit.egress import GuardedHttp
from cdmd.kit.quantities import Duration
from cdmd.targets.files import SftpFileTarget
from cdmd.targets.files.settings import EncryptSettings, SftpTargetSettings
from cdmd.testing import RecordingOutlet
from tests.connectors.files.reaching import misbehaving, secret
from tests.peers.proxy import proxy
from tests.peers.sshd import Sshd
from tests.targets.outlet import delivery, member, outlet_in

pytestmark = pytest.mark.anyio
NAME = "t_20261124T023000Z"


@pytest.fixture
def area(tmp_path: Path) -> Path:
    folder = tmp_path / "area"
    folder.mkdir()
    return folder


def names(area: Path) -> list[str]:
    return sorted(path.name for path in area.iterdir())


def decrypted(home: Path, file: Path) -> bytes:
    command = ["gpg", "--batch", "--quiet", "--homedir", str(home), "--pinentry-mode", "loopback", "--passphrase", "sesam"]
    return subprocess.run([*command, "--decrypt", str(file)], check=True, capture_output=True).stdout


async def ran(server: Sshd, path: Path | str, outlet: RecordingOutlet, **keys: Any) -> RecordingOutlet:
    """Have it write its first file, and try again for as long as the outlet lasts."""
    standing: dict[str, Any] = {
        "host": "127.0.0.1", "port": server.port, "username": server.username, "private_key": secret(server.private_key),
        "host_key": server.fingerprint, "at": "02:30", "format": "jsonl",
    }  # fmt: skip
    given = {key: value for key, value in {**standing, **keys}.items() if value is not None}
    settings = SftpTargetSettings(path=str(path), **given)
    async with GuardedHttp(hosts=hosts_in(settings), tls=ssl.create_default_context()) as http:
        outlet.client = http
        await outlet.run(SftpFileTarget("t", settings))
    return outlet


def waiting(folder: Path, *, rows: int = 3, size: int = 10, hours: float = 14.51) -> RecordingOutlet:
    outlet = outlet_in(folder, until=timedelta(hours=hours))
    outlet.queue = [delivery(n, text=f"{n:09}" + "x" * size) for n in range(1, rows + 1)]
    return outlet


async def test_a_file_is_in_the_area_whole_with_its_manifest_and_nothing_else(server: Sshd, area: Path, tmp_path: Path) -> None:
    outlet = await ran(server, area, waiting(tmp_path, rows=9_000, size=1_000), manifest=True)
    assert names(area) == [f"{NAME}.jsonl", f"{NAME}.jsonl.manifest.json"]
    content = (area / f"{NAME}.jsonl").read_bytes()
    assert len(content) > 9_000_000
    assert hashlib.sha256(content).hexdigest() in (area / f"{NAME}.jsonl.manifest.json").read_text()
    assert len(outlet.settled) == 9_000
    assert outlet.problems == [None]


async def test_a_file_that_is_made_again_takes_the_place_of_the_first(server: Sshd, area: Path, tmp_path: Path) -> None:
    (area / f"{NAME}.jsonl").write_text("half of it")
    outlet = outlet_in(tmp_path)
    outlet.people = [member(1, "joe@example.com")]
    await ran(server, area, outlet, audience="vip")
    assert "joe@example.com" in (area / f"{NAME}.jsonl").read_text()


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({"host_key": "SHA256:" + "A" * 43}, "write host_key ="),
        ({"host_key": None}, "no host key is pinned for 127.0.0.1"),
        ({"username": "nobody_there"}, "does not let nobody_there in"),
        ({"path": "/no/such/folder"}, "there is no such folder"),
        ({"path": "/proc"}, "127.0.0.1"),
    ],
)
async def test_what_somebody_has_to_mend_is_said(
    server: Sshd, area: Path, tmp_path: Path, keys: dict[str, Any], problem: str
) -> None:
    path = keys.pop("path", area)
    outlet = await ran(server, path, waiting(tmp_path), **keys)
    assert outlet.problems[0] is not None
    assert outlet.problems[0].startswith(f"{NAME}.jsonl is not delivered: ")
    assert problem in outlet.problems[0]
    if "host_key" in keys:
        assert "targets.t and: cdmctl reload" in outlet.problems[0]
    assert len(outlet.queue) == 3


@pytest.mark.parametrize("fault", ["cut", "hang", "reset"])
async def test_a_connection_that_breaks_leaves_no_half_file_and_the_next_try_delivers_it(
    server: Sshd, area: Path, tmp_path: Path, fault: str
) -> None:
    outlet = waiting(tmp_path, rows=3_000, size=1_000)
    with proxy(server.port, fault=fault, after=4_200) as between:
        await ran(
            server, area, outlet, port=between.port, idle_timeout=Duration.parse("1s"), login_timeout=Duration.parse("2s")
        )
    assert outlet.problems[0] is not None
    assert outlet.problems[-1] is None
    assert names(area) == [f"{NAME}.jsonl"]
    assert len((area / f"{NAME}.jsonl").read_bytes().splitlines()) == 3_000


class Modest(asyncssh.SFTPServer):
    """Knows neither how to rename over a file nor how to keep one."""

    def posix_rename(self, oldpath: bytes, newpath: bytes) -> None:
        raise asyncssh.SFTPOpUnsupported("no")

    def fsync(self, file_obj: Any) -> None:
        raise asyncssh.SFTPOpUnsupported("no")


class Full(asyncssh.SFTPServer):
    """Has no room."""

    def write(self, file_obj: Any, offset: int, data: bytes) -> int:
        raise asyncssh.SFTPFailure("No space left on device")


class Liar(asyncssh.SFTPServer):
    """Takes less than it says."""

    def write(self, file_obj: Any, offset: int, data: bytes) -> int:
        super().write(file_obj, offset, data[:-1])  # type: ignore[misc]
        return len(data)


PASSWORD = {"private_key": None, "password": secret(b"open sesame")}


async def test_a_server_that_knows_less_is_served_too(area: Path, tmp_path: Path) -> None:
    (area / f"{NAME}.jsonl").write_text("the one before")
    async with misbehaving(Modest, area) as server:
        await ran(server, "/", waiting(tmp_path), **PASSWORD)
    assert names(area) == [f"{NAME}.jsonl"]
    assert len((area / f"{NAME}.jsonl").read_bytes().splitlines()) == 3


@pytest.mark.parametrize(("kind", "problem"), [(Full, "is its disk full?"), (Liar, "bytes of")])
async def test_a_server_that_does_not_take_all_of_it_has_no_file(
    area: Path, tmp_path: Path, kind: type[asyncssh.SFTPServer], problem: str
) -> None:
    async with misbehaving(kind, area) as server:
        outlet = await ran(server, "/", waiting(tmp_path), **PASSWORD)
    assert problem in (outlet.problems[0] or "")
    assert names(area) == [f".{NAME}.jsonl.part"]
    assert len(outlet.queue) == 3


async def test_a_file_is_encrypted_before_it_leaves(server: Sshd, area: Path, gpg_home: Path, tmp_path: Path) -> None:
    encrypt = EncryptSettings(home=str(gpg_home), recipients=("a@example.com",))
    await ran(server, area, waiting(tmp_path), encrypt=encrypt, format="csv", compress="gzip")
    file = area / f"{NAME}.csv.gz.pgp"
    assert b"000000001" not in file.read_bytes()
    assert decrypted(gpg_home, file)[:2] == b"\x1f\x8b"


@pytest.mark.parametrize(
    ("keys", "problem"),
    [({"recipients": ("b@example.com",)}, "the public key of every recipient"), ({"program": "no-gpg"}, "install GnuPG")],
)
async def test_what_cannot_be_encrypted_does_not_leave(
    server: Sshd, area: Path, gpg_home: Path, tmp_path: Path, keys: dict[str, Any], problem: str
) -> None:
    encrypt = EncryptSettings(**{"home": str(gpg_home), "recipients": ("a@example.com",), **keys})
    outlet = await ran(server, area, waiting(tmp_path), encrypt=encrypt)
    assert problem in (outlet.problems[0] or "")
    assert names(area) == []


async def test_a_login_that_is_none_is_a_mistake_or_said(server: Sshd, area: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match=r"targets.t.private_key: is missing"):
        await ran(server, area, waiting(tmp_path), private_key=None)
    outlet = await ran(server, area, waiting(tmp_path), private_key=secret(b"no key"))
    assert "targets.t.private_key: is no private key" in (outlet.problems[0] or "")
