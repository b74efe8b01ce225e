"""Files over sftp: streaming against OpenSSH's own client, far away against asyncssh's default, and listing many files.

Run: python -m tests.bench.sftp [--long] [--folder FOLDER]. Needs sshd and the sftp client (openssh-server, openssh-client).
"""

import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import anyio
import asyncssh

from cdmd.connectors.files.sftp import SftpArea
from cdmd.connectors.files.spool import Spool
from tests.bench.figures import Report, options, working_folder
from tests.connectors.files.reaching import reaching, sftp
from tests.peers.proxy import proxy
from tests.peers.sshd import MISSING, Sshd, sshd

CIPHER = "aes128-gcm@openssh.com"
MIB = 2**20
_60_MB = 60e6 / MIB
FEW_MS = 0.025
"""Seconds one way: 50 ms there and back."""


async def ours(server: Sshd, folder: Path, name: str, *, spooled: Path | None = None) -> float:
    """Seconds that our reader takes for the file, connected already."""
    watcher = sftp(server, folder)
    area = watcher.area(reaching(watcher))
    try:
        await area.client()
        spool = None if spooled is None else await Spool.create(spooled)
        began = time.perf_counter()
        await _read(area, name.encode(), _drop if spool is None else spool.write)
        taken = time.perf_counter() - began
        if spool is not None:
            spool.close()
        return taken
    finally:
        await area.close()


async def _read(area: SftpArea, path: bytes, sink: Callable[[bytes], Awaitable[None]]) -> None:
    async with area.opened(path) as file:
        await file.copy(0, (await file.version()).size, sink)


async def _drop(chunk: bytes) -> None:
    pass


async def default(server: Sshd, file: Path, target: Path) -> float:
    """Seconds that asyncssh's ``get`` takes as it comes, with the same cipher, connected already."""
    key = asyncssh.import_private_key(server.private_key)
    options_ = {"known_hosts": None, "config": None, "client_keys": [key], "encryption_algs": [CIPHER]}
    async with (
        asyncssh.connect("127.0.0.1", server.port, username=server.username, **options_) as connection,
        connection.start_sftp_client() as client,
    ):
        began = time.perf_counter()
        await client.get(str(file), str(target))
        return time.perf_counter() - began


def openssh(server: Sshd, key: Path, file: Path, target: Path) -> float:
    """Seconds of the whole command, the login among them: what it takes for a file of one byte is taken off by the caller."""
    command = [
        "sftp", "-q", "-P", str(server.port), "-i", str(key), "-o", "StrictHostKeyChecking=no", "-o",
        "UserKnownHostsFile=/dev/null", "-o", "IdentitiesOnly=yes", "-o", f"Ciphers={CIPHER}", "-F", "/dev/null",
        f"{server.username}@127.0.0.1:{file}", str(target),
    ]  # fmt: skip
    began = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - began


def stream(report: Report, server: Sshd, folder: Path, mib: int) -> None:
    """On loopback, in turns, so that a loaded machine is loaded for both."""
    file, one, key = folder / "big", folder / "one", folder.parent / "sshd" / "user"
    file.write_bytes(os.urandom(MIB) * mib)
    one.write_bytes(b"x")
    mine, theirs, kept = [], [], []
    used = [0.0, 0.0]
    for _ in range(5):
        began = time.process_time()
        mine.append(mib / anyio.run(ours, server, folder, "big"))
        used[0] += time.process_time() - began
        before = _children()
        login = openssh(server, key, one, folder / "got")
        theirs.append(mib / (openssh(server, key, file, folder / "got") - login))
        used[1] += _children() - before
        kept.append(mib / anyio.run(_spooled, server, folder))
    ratios = [one / other for one, other in zip(mine, theirs, strict=True)]
    report.note(f"ours {_shown(mine)} MiB/s; OpenSSH's sftp {_shown(theirs)} MiB/s, its login taken off")
    report.line("streaming over loopback / OpenSSH's sftp, same cipher", statistics.median(ratios), "x", at_least=0.9)
    report.line("the same in CPU time of the client, theirs / ours", used[1] / used[0], "x", at_least=0.9)
    report.note(f"digested, encrypted and on the disk: {_shown(kept)} MiB/s")


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


async def _spooled(server: Sshd, folder: Path) -> float:
    return await ours(server, folder, "big", spooled=folder / "spool")


def far(report: Report, server: Sshd, folder: Path, mib: int) -> None:
    """50 ms away, by a proxy that holds everything back."""
    file = folder / "far"
    file.write_bytes(os.urandom(MIB) * mib)
    ratios = []
    for _ in range(3):
        with proxy(server.port, delay=FEW_MS) as away:
            there = server._replace(port=away.port)
            mine = anyio.run(ours, there, folder, "far")
            theirs = anyio.run(default, there, file, folder / "got")
        report.note(f"ours {mib / mine:.1f} MiB/s; asyncssh's get {mib / theirs:.1f} MiB/s")
        ratios.append(theirs / mine)
    report.line("50 ms away / asyncssh's default", statistics.median(ratios), "x", at_least=2.0)


def listing(report: Report, server: Sshd, folder: Path, count: int) -> None:
    """All names of a folder, in a process of its own, whose memory is looked at."""
    many = folder / "many"
    many.mkdir()
    for number in range(count):
        (many / f"customers_2026-11-24_{number:06}.csv").touch()
    command = [sys.executable, "-m", "tests.bench.sftp_listing", str(server.port), server.username, server.fingerprint]
    key = server.private_key.decode()
    done = subprocess.run([*command, str(many)], check=True, capture_output=True, text=True, input=key)
    found, seconds, used, before, memory = done.stdout.split()
    assert int(found) == count
    report.line(f"listing {count:,} files", float(seconds), "s", at_most=4.0)
    report.line("memory of the process that does it, at its highest", float(memory), "MiB", at_most=_60_MB)
    report.note(
        f"of which it had {float(before):.1f} MiB before it began to list; it took {float(used):.2f} s of its processor"
    )


def _shown(rates: Sequence[float]) -> str:
    return f"{statistics.median(rates):.0f} ({min(rates):.0f} to {max(rates):.0f})"


def main(arguments: list[str] | None = None) -> int:
    """Print the table; returns how many figures are beyond their budget."""
    given = options("sftp", long_help="1 GiB instead of 128 MiB").parse_args(arguments)
    report = Report("Files over sftp")
    if MISSING is not None:
        report.note(f"left out: {MISSING}")
        return 0
    with working_folder(given.folder) as folder, sshd(folder / "sshd") as server:
        area = folder / "area"
        area.mkdir()
        stream(report, server, area, 1024 if given.long else 128)
        far(report, server, area, 96 if given.long else 48)
        listing(report, server, area, 100_000)
    return report.beyond


if __name__ == "__main__":
    raise SystemExit(main())
