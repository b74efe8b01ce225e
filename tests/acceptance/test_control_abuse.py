"""The real control socket in bad hands: garbage, tails that nobody reads, a thousand clients, strangers, reloads at once."""

import json
import os
import random
import signal
import socket
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from cdmd.errors import CdmdError
from cdmd.testing import DaemonProcess

pytestmark = [pytest.mark.acceptance]

SHOP = '[connectors.shop]\ntype = "webhook"\nverify = "none"\n'
TAIL = b"GET /v1/tail HTTP/1.1\r\nhost: x\r\n\r\n"
STATUS = b"GET /v1/status HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
STRANGER = """
import socket, sys
one = socket.socket(socket.AF_UNIX)
try:
    one.connect(sys.argv[1])
except PermissionError:
    sys.exit(print("kept out"))
one.sendall(bytes.fromhex(sys.argv[2]))
while said := one.recv(65536):
    sys.stdout.buffer.write(said)
"""
GARBAGE = (
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
    b"GET " + b"/" * 100_000 + b" HTTP/1.1\r\n\r\n",
    b"GET /v1/status HTTP/1.1\r\n" + b"x: " + b"y" * 200_000 + b"\r\n\r\n",
    b"".join(b"h%d: x\r\n" % n for n in range(5000)),
    b"POST /v1/reload HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999\r\n\r\n" + bytes(1000),
    b"POST /v1/log-level HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n{}",
    b"POST /v1/log-level HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffff\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\0" * 4096,
    b"[" * 50_000,
)


def connected(daemon: DaemonProcess) -> socket.socket:
    found = socket.socket(socket.AF_UNIX)
    found.settimeout(10)
    found.connect(str(daemon.socket))
    return found


def answer(daemon: DaemonProcess, request: bytes = STATUS) -> tuple[bytes, bytes]:
    """The status line and the body."""
    with connected(daemon) as one:
        one.sendall(request)
        said = b""
        while more := one.recv(65_536):
            said += more
    head, _, body = said.partition(b"\r\n\r\n")
    return head.partition(b"\r\n")[0], body


def resident(daemon: DaemonProcess) -> int:
    """MiB that the process holds."""
    assert daemon.process is not None
    status = Path(f"/proc/{daemon.process.pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) >> 10


def is_well(daemon: DaemonProcess) -> None:
    began = time.monotonic()
    status = json.loads(answer(daemon)[1])
    assert status["state"] == "running", status["warnings"]
    assert time.monotonic() - began < 20
    daemon.send("/hooks/shop", {"id": f"well-{time.monotonic_ns()}", "type": "seen"})


def test_garbage_is_refused_and_nothing_else_happens(tmp_path: Path) -> None:
    with DaemonProcess(tmp_path, SHOP) as daemon:
        draw = random.Random(8)
        for one in (*GARBAGE, *(draw.randbytes(draw.randrange(1, 5000)) for _ in range(200))):
            with connected(daemon) as client:
                try:
                    client.sendall(one)
                    client.shutdown(socket.SHUT_WR)
                    said = client.recv(100)
                except (BrokenPipeError, ConnectionResetError):
                    continue  # it was told before it had said all
                assert not said or said.startswith((b"HTTP/1.1 4", b"HTTP/1.1 5")), said
                assert not said.startswith(b"HTTP/1.1 500"), one[:80]
        is_well(daemon)
        assert resident(daemon) < 300
        assert "control_request_failed" not in daemon.log_file.read_text()


def test_tails_that_nobody_reads_hold_nobody_up_and_take_no_memory(tmp_path: Path) -> None:
    """Seen to fail when a tail's buffer had no bound: nothing was ever lost, and all of it kept."""
    with DaemonProcess(tmp_path, SHOP) as daemon, ExitStack() as stack:
        tails = [stack.enter_context(connected(daemon)) for _ in range(20)]
        for one in tails:
            one.sendall(TAIL)
            assert one.recv(15) == b"HTTP/1.1 200 OK"
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda n: daemon.send("/hooks/shop", seen(n)), range(1000)))
            daemon.settle()
            before = resident(daemon)  # what it holds of the newest ones, and its caches, are full
            list(pool.map(lambda n: daemon.send("/hooks/shop", seen(n)), range(1000, 3000)))
        daemon.settle()
        assert resident(daemon) - before < 30
        is_well(daemon)
        (row,) = daemon.ask("status")["connectors"]
        assert row["applied"] == 3001
        # Who reads at last is told how much passed meanwhile.
        tails[0].settimeout(5)
        said = b""
        while b'"lost":' not in said or not _lost(said):
            said += tails[0].recv(1 << 20)
        assert _lost(said) > 0


def seen(number: int) -> dict[str, object]:
    return {"id": f"e{number}", "type": "seen", "data": {"x": "y" * 5000}}


def _lost(said: bytes) -> int:
    lines = [line for line in said.split(b"\n") if line.startswith(b'{"') and line.rstrip().endswith(b"}")]
    return sum(json.loads(line).get("lost", 0) for line in lines)


def test_a_thousand_clients_at_once_are_answered_or_told_to_come_later(tmp_path: Path) -> None:
    with DaemonProcess(tmp_path, SHOP) as daemon, ExitStack() as stack:
        idle = [stack.enter_context(connected(daemon)) for _ in range(1000)]
        began = time.monotonic()
        with ThreadPoolExecutor(50) as pool:
            answers = list(pool.map(lambda _: answer(daemon)[0], range(300)))
        assert set(answers) == {b"HTTP/1.1 200 OK"}
        assert time.monotonic() - began < 30
        for one in idle:
            one.sendall(STATUS)
        heads = {one.recv(15) for one in idle}
        assert heads == {b"HTTP/1.1 200 OK"}
        is_well(daemon)
    assert "Traceback" not in daemon.log_file.read_text()


def as_nobody(daemon: DaemonProcess, request: bytes) -> tuple[bytes, bytes]:
    done = subprocess.run(
        ["/usr/bin/python3", "-c", STRANGER, str(daemon.socket), request.hex()],
        user="nobody", group="nogroup", extra_groups=[], capture_output=True, check=True, timeout=60, cwd="/",
    )  # fmt: skip
    head, _, body = done.stdout.partition(b"\r\n\r\n")
    return head.partition(b"\n")[0].strip(), body


def post(path: bytes, body: bytes = b"{}") -> bytes:
    return b"POST %b HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%b" % (path, len(body), body)


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming somebody else needs root")
def test_a_stranger_is_kept_out_by_the_socket_and_refused_behind_it() -> None:
    # Not pytest's folder: every other run on this machine makes that one private again.
    with TemporaryDirectory() as folder, DaemonProcess(Path(folder), SHOP) as daemon:
        daemon.folder.chmod(0o711)
        assert as_nobody(daemon, STATUS)[0] == b"kept out"
        daemon.socket.chmod(0o666)
        tail = TAIL.replace(b"host: x", b"host: x\r\nconnection: close")
        for request in (STATUS, post(b"/v1/reload"), post(b"/v1/connectors/shop/pause"), tail):
            head, body = as_nobody(daemon, request)
            assert head.endswith(b"403 Forbidden"), head
            assert b'"code":"not-permitted"' in body
        assert [row["state"] for row in daemon.ask("connectors")] == ["running"]
        rows = daemon.ask("audit")
        assert {row["command"] for row in rows if row["outcome"] != "done"} >= {"reload", "pause"}, rows


def test_reloads_over_each_other_end_with_what_the_file_says_last(tmp_path: Path) -> None:
    with DaemonProcess(tmp_path, SHOP) as daemon:

        def reload(number: int) -> int:
            assert daemon.process is not None
            if number % 3 == 0:
                daemon.process.send_signal(signal.SIGHUP)
            return daemon.cdmctl("reload", check=False).returncode

        stop = threading.Event()
        sent: list[int] = []

        def sending() -> None:
            while not stop.is_set():
                try:
                    daemon.send("/hooks/shop", {"id": f"e{len(sent)}", "type": "seen"})
                except CdmdError as error:
                    if "503" not in str(error):  # a slow machine: it is sent again
                        raise
                else:
                    sent.append(1)

        sender = threading.Thread(target=sending)
        sender.start()
        try:
            with ThreadPoolExecutor(6) as pool:
                running = []
                for number in range(18):
                    extra = "".join(f'[connectors.c{n}]\ntype = "webhook"\nverify = "none"\n' for n in range(number % 5))
                    daemon.configure(SHOP + extra + ("oops = 1\n" if number % 4 == 3 else ""))
                    running.append(pool.submit(reload, number))
                codes = {one.result() for one in running}
            assert codes <= {0, 6}, codes
            daemon.configure(SHOP + '[connectors.last]\ntype = "webhook"\nverify = "none"\n')
            assert daemon.cdmctl("reload").returncode == 0
        finally:
            stop.set()
            sender.join()
        assert {row["name"] for row in daemon.ask("connectors")} == {"shop", "last"}
        daemon.send("/hooks/last", {"id": "1", "type": "seen"})
        daemon.settle()
        row = next(one for one in daemon.ask("connectors") if one["name"] == "shop")
        assert row["applied"] == len(sent)
