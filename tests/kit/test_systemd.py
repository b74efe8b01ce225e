import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from cdmd.kit import systemd
from cdmd.kit.systemd import Systemd

PID = os.getpid()


@pytest.fixture
def manager(tmp_path: Path):
    """The service manager's end of the notification socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.settimeout(2)
        end.bind(str(tmp_path / "n"))
        yield end


@pytest.mark.parametrize(
    ("tell", "message"),
    [
        (lambda s: s.ready("2 running\nand more"), "READY=1\nSTATUS=2 running and more"),
        (lambda s: s.ready(), "READY=1"),
        (lambda s: s.reloading(monotonic=12.5), "RELOADING=1\nMONOTONIC_USEC=12500000"),
        (lambda s: s.stopping("draining"), "STOPPING=1\nSTATUS=draining"),
        (lambda s: s.status("well"), "STATUS=well"),
        (lambda s: s.watchdog(), "WATCHDOG=1"),
        (lambda s: s.extend_timeout(1.5), "EXTEND_TIMEOUT_USEC=1500000"),
    ],
)
def test_notifications_arrive_as_systemd_reads_them(
    manager: socket.socket, tell: Callable[[Systemd], bool], message: str
) -> None:
    assert tell(Systemd({"NOTIFY_SOCKET": manager.getsockname()}, pid=PID))
    assert manager.recv(4096).decode() == message


def test_an_abstract_notification_socket_is_reached() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.settimeout(2)
        end.bind(f"\0cdmd-test-{PID}")
        assert Systemd({"NOTIFY_SOCKET": f"@cdmd-test-{PID}"}, pid=PID).watchdog()
        assert end.recv(100) == b"WATCHDOG=1"


@pytest.mark.parametrize("environ", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "/no/such"}, {"NOTIFY_SOCKET": "vsock:2:1"}])
def test_without_systemd_nothing_is_told_and_nothing_raised(environ: dict[str, str]) -> None:
    assert not Systemd(environ, pid=PID).ready()
    assert not Systemd(environ, pid=PID).status("")


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(PID)}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_the_watchdog_is_due_twice_as_often_as_systemd_looks_and_only_for_this_process(
    environ: dict[str, str], seconds: float | None
) -> None:
    assert Systemd(environ, pid=PID).watchdog_seconds() == seconds


def test_the_credentials_directory_is_absolute_or_absent() -> None:
    assert Systemd({"CREDENTIALS_DIRECTORY": "/run/c"}, pid=PID).credentials == Path("/run/c")
    assert Systemd({"CREDENTIALS_DIRECTORY": "c"}, pid=PID).credentials is None
    assert Systemd({}, pid=PID).credentials is None


def test_sockets_come_by_name_also_several_of_one_name_and_no_sockets_are_left_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first = max(os.open("/dev/null", os.O_RDONLY), 200)
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    os.dup2(listeners[0].fileno(), first)
    with (tmp_path / "kept").open("w") as kept:
        os.dup2(kept.fileno(), first + 1)
    os.dup2(listeners[1].fileno(), first + 2)
    monkeypatch.setattr(systemd, "_FIRST_FD", first)
    environ = {"LISTEN_PID": str(PID), "LISTEN_FDS": "4", "LISTEN_FDNAMES": "http:kept:http"}
    found = Systemd(environ, pid=PID).sockets()
    assert [s.getsockname() for s in found["http"]] == [s.getsockname() for s in listeners]
    assert list(found) == ["http"]
    assert not any(os.get_inheritable(s.fileno()) for s in found["http"])
    for each in (*found["http"], *listeners):
        each.close()
    os.close(first + 1)


@pytest.mark.parametrize(
    "environ", [{}, {"LISTEN_FDS": "1"}, {"LISTEN_PID": "1", "LISTEN_FDS": "1"}, {"LISTEN_PID": str(PID), "LISTEN_FDS": "x"}]
)
def test_sockets_meant_for_another_process_are_not_taken(environ: dict[str, str]) -> None:
    assert Systemd(environ, pid=PID).sockets() == {}
