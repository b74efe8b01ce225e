import os
import socket
from pathlib import Path

import pytest

from cdmd.control.client import Client
from cdmd.errors import CdmdError, NotPermitted, Unreachable
from tests.control.doubles import Daemon, answering


def test_an_absent_daemon_is_unreachable_and_says_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match=rf"{tmp_path}/a, {tmp_path}/b: start it with `cdmd run`"):
        Client([f"{tmp_path}/a", f"{tmp_path}/b"]).get("/v1/status")
    with pytest.raises(Unreachable, match="no place"):
        Client([]).get("/v1/status")


def test_a_socket_that_nobody_listens_on_is_unreachable(tmp_path: Path) -> None:
    path = tmp_path / "left-over"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    with pytest.raises(Unreachable):
        Client([str(path)]).get("/v1/status")


@pytest.mark.parametrize("path", ["x" * 300, "a\0b", ""])
def test_a_path_that_can_be_no_socket_is_unreachable(path: str) -> None:
    with pytest.raises(Unreachable):
        Client([path]).get("/v1/status")


def test_the_first_place_that_answers_is_asked(daemon: Daemon, tmp_path: Path) -> None:
    assert Client([f"{tmp_path}/none", str(daemon.path)]).get("/v1/status")["state"] == "running"


def test_what_does_not_speak_http_is_no_daemon(tmp_path: Path) -> None:
    with answering(tmp_path / "s", lambda connection: connection.sendall(b"220 mail\r\n")), pytest.raises(Unreachable):
        Client([str(tmp_path / "s")]).get("/v1/status")


def said(connection: socket.socket, answer: bytes) -> None:
    connection.recv(65536)
    connection.sendall(answer)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{", Unreachable),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n<html", CdmdError),
        (b"HTTP/1.1 502 Bad\r\ncontent-length: 0\r\n\r\n", CdmdError),
        (b"HTTP/1.1 200 OK\r\ncontent-length: -5\r\n\r\n{}   ", Unreachable),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2", Unreachable),
        (b"HTTP/1.1 2x0 OK\r\ncontent-length: 2\r\n\r\n{}", Unreachable),
        (b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 200 + b"\r\n{}", Unreachable),
        (b"HTTP/1.1 200 OK\r\na: " + b"b" * 100_000 + b"\r\n\r\n{}", Unreachable),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n", Unreachable),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\n{}\r\n0\r\n\r\n", Unreachable),
        (b"HTTP/1.1 204 No Content\r\n\r\n", CdmdError),
        ((b"HTTP/1.1 403 No\r\ncontent-type: application/problem+json\r\ncontent-length: 28\r\n\r\n"
         b'{"code":  "not-permitted"}  '), NotPermitted),
    ],
)  # fmt: skip
def test_an_answer_that_is_broken_or_refuses_is_an_error_of_ours(tmp_path: Path, answer: bytes, kind: type[CdmdError]) -> None:
    with answering(tmp_path / "s", lambda connection: said(connection, answer)), pytest.raises(CdmdError) as caught:
        Client([str(tmp_path / "s")]).get("/v1/status")
    assert type(caught.value) is kind


def test_a_daemon_that_does_not_answer_is_given_up(tmp_path: Path) -> None:
    gave_up = socket.socketpair()
    with answering(tmp_path / "s", lambda _: gave_up[0].recv(1)):
        with pytest.raises(Unreachable, match="does not answer"):
            Client([str(tmp_path / "s")], timeout=0.05).get("/v1/status")
        gave_up[1].close()
    gave_up[0].close()


def test_a_stream_that_breaks_off_is_unreachable(tmp_path: Path) -> None:
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    line = b'{"type":"heartbeat"}\n{"type":"event"}\n'
    answer = head + b"%x\r\n%b\r\n10\r\n{" % (len(line), line)
    with answering(tmp_path / "s", lambda connection: said(connection, answer)):
        stream = Client([str(tmp_path / "s")]).stream("/v1/tail")
        assert next(stream) == {"type": "event"}
        with pytest.raises(CdmdError):
            next(stream)


def test_a_stream_that_falls_silent_is_given_up(daemon: Daemon) -> None:
    daemon.runtime.endless = True
    with pytest.raises(Unreachable, match="fell silent"):
        next(Client([str(daemon.path)], stream_timeout=0.05).stream("/v1/tail"))


def test_a_stream_that_is_cut_off_is_unreachable(tmp_path: Path) -> None:
    answer = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    with answering(tmp_path / "s", lambda connection: said(connection, answer)), pytest.raises(Unreachable, match="went away"):
        list(Client([str(tmp_path / "s")]).stream("/v1/tail"))


def test_a_socket_that_is_not_for_this_user_is_not_permitted(daemon: Daemon, tmp_path: Path) -> None:
    daemon.path.chmod(0)
    was = os.geteuid()
    if was == 0:  # nothing is closed to root, so ask as somebody else for a moment
        os.seteuid(65534)
    try:
        with pytest.raises(NotPermitted, match="join the group that owns it"):
            Client([str(daemon.path)]).get("/v1/status")
    finally:
        os.seteuid(was)


def test_a_stream_that_is_refused_says_why(daemon: Daemon) -> None:
    with pytest.raises(NotPermitted):
        next(daemon.client("stranger").stream("/v1/tail"))


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n[1, 2]\n",
        b"HTTP/1.1 200\r\nTransfer-Encoding: Chunked\r\n\r\n3;a=b\r\n[1,\r\n003\r\n 2]\r\n0\r\ntrailer: x\r\n\r\n",
        b"HTTP/1.0 200 OK\r\n\r\n[1, 2]",
    ],
)
def test_an_answer_may_come_in_every_way_that_http_knows(tmp_path: Path, answer: bytes) -> None:
    with answering(tmp_path / "s", lambda connection: said(connection, answer)):
        assert Client([str(tmp_path / "s")]).get("/v1/status") == [1, 2]


def test_what_would_end_a_line_of_the_request_is_not_sent(tmp_path: Path) -> None:
    sent: list[bytes] = []
    for name, target, headers in (("a", "/v1/status HTTP/1.1\r\nx: y", {}), ("b", "/v1/status", {"accept": "a\nx: y"})):
        with (
            answering(tmp_path / name, lambda connection: sent.append(connection.recv(1))),
            pytest.raises(CdmdError),
            Client([str(tmp_path / name)]).raw("GET", target, body=None, headers=headers),
        ):
            pass
    assert sent == [b"", b""]
