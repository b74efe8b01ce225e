"""``cdmctl console``: who gets in, under which name, and that what is passed on is the daemon's answer and nothing else."""

import http.client
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from cdmd.cli.loopback import NOBODY, Loopback, owner
from cdmd.control.client import Client
from tests.cli.calling import Cdmctl
from tests.control.doubles import Daemon

TICKET = "ticket-of-the-test"


@pytest.fixture
def loopback(daemon: Daemon) -> Iterator[Loopback]:
    yield from _serving(daemon.client(), users={os.getuid()})


def _serving(asked: Client, users: set[int]) -> Iterator[Loopback]:
    with Loopback(asked, port=0, ticket=TICKET, users=users) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join(60)


def ask(server: Loopback, path: str, *, method: str = "GET", body: bytes | None = None, **headers: str) -> Any:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)) as connection:
        connection.request(method, path, body=body, headers=named)
        with connection.getresponse() as answer:
            answer.text = answer.read().decode()  # type: ignore[attr-defined]
            return answer


def enter(server: Loopback) -> str:
    answer = ask(server, f"/?ticket={TICKET}")
    assert answer.status == 303
    return str(answer.headers["set-cookie"].partition(";")[0])


def test_the_printed_address_is_exchanged_for_a_cookie_once(loopback: Loopback) -> None:
    answer = ask(loopback, f"/?ticket={TICKET}")
    assert (answer.status, answer.headers["location"]) == (303, "/console/")
    assert "HttpOnly; SameSite=Strict" in answer.headers["set-cookie"]
    cookie = answer.headers["set-cookie"].partition(";")[0]
    assert TICKET not in cookie
    again = ask(loopback, f"/?ticket={TICKET}")
    assert again.status == 403
    assert "It works once" in again.text
    assert ask(loopback, f"/?ticket={TICKET}", cookie=cookie).status == 303
    page = ask(loopback, "/console/", cookie=cookie)
    assert page.status == 200
    assert "It flows" in page.text
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]


@pytest.mark.parametrize("cookie", ["", "cdmd_console_1=x", "a;;=\x01", "x" * 4000])
def test_nobody_without_the_cookie_sees_a_page(loopback: Loopback, cookie: str) -> None:
    enter(loopback)
    for path in ("/console/", "/console/overview.json", "/console/static/x/console.js", "/v1/status", "/?ticket=guess", "/"):
        answer = ask(loopback, path, cookie=cookie)
        assert answer.status == 403, path
        assert "It flows" not in answer.text


def test_a_wrong_guess_does_not_use_the_ticket_up(loopback: Loopback) -> None:
    assert ask(loopback, "/?ticket=guess").status == 403
    enter(loopback)


@pytest.mark.parametrize("host", ["attacker.example", "attacker.example:80", "192.0.2.1"])
def test_a_name_that_was_rebound_to_loopback_is_refused(loopback: Loopback, host: str) -> None:
    cookie = enter(loopback)
    assert ask(loopback, "/console/", cookie=cookie, host=host).status == 403
    assert ask(loopback, "/console/do", method="POST", body=b"x=y", cookie=cookie, host=host).status == 403


def test_a_rebound_name_does_not_use_the_ticket_up(loopback: Loopback) -> None:
    assert ask(loopback, f"/?ticket={TICKET}", host="attacker.example").status == 403
    enter(loopback)


def test_only_the_console_is_passed_on(loopback: Loopback) -> None:
    cookie = enter(loopback)
    assert ask(loopback, "/v1/status", cookie=cookie).status == 404
    assert ask(loopback, "/v1/connectors/shop/pause", method="POST", body=b"{}", cookie=cookie).status == 404


def test_a_form_of_another_origin_does_nothing(loopback: Loopback, daemon: Daemon) -> None:
    cookie = enter(loopback)
    answer = ask(loopback, "/console/do", method="POST", body=b"do=pause&name=shop", cookie=cookie, origin="http://a.example")
    assert answer.status == 403
    assert daemon.runtime.states == {"shop": "running"}


def test_a_form_that_is_too_large_is_refused(loopback: Loopback) -> None:
    cookie = enter(loopback)
    assert ask(loopback, "/console/do", method="POST", body=b"x" * 70_000, cookie=cookie).status == 413


def test_another_users_connection_is_not_answered(daemon: Daemon) -> None:
    for server in _serving(daemon.client(), users={os.getuid() + 1}):
        with pytest.raises((http.client.HTTPException, OSError)):
            ask(server, f"/?ticket={TICKET}")


def test_the_kernel_tells_whose_a_connection_is(loopback: Loopback) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", loopback.port, timeout=5)
    connection.connect()
    assert owner(connection.sock.getsockname()[1], loopback.port) == os.getuid()
    assert owner(1, loopback.port) == NOBODY, "it lists connections, and that one is not among them"
    connection.close()


def test_a_connection_that_the_kernel_lists_nowhere_is_not_answered(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    for server in _serving(daemon.client(), users={os.getuid()}):
        monkeypatch.setattr("cdmd.cli.loopback._CONNECTIONS", (("/proc/net/tcp6", "0" * 32),))
        with pytest.raises((http.client.HTTPException, OSError)):
            ask(server, f"/?ticket={TICKET}")
        monkeypatch.setattr("cdmd.cli.loopback._CONNECTIONS", (("/nowhere", "0" * 32),))
        assert ask(server, f"/?ticket={TICKET}").status == 303, "where nothing is listed, the ticket has to do"


def test_the_kernel_also_tells_of_a_socket_of_ipv6(loopback: Loopback) -> None:
    with socket.socket(socket.AF_INET6) as caller:
        caller.connect(("::ffff:127.0.0.1", loopback.port))
        assert owner(caller.getsockname()[1], loopback.port) == os.getuid()


@pytest.mark.parametrize("answer", [b"transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n", b"content-length: 10\r\n\r\nhello"])
def test_what_is_cut_off_looks_cut_off(tmp_path: Path, answer: bytes) -> None:
    def begin() -> None:
        caller, _ = listening.accept()
        with caller:
            caller.recv(65_536)
            caller.sendall(b"HTTP/1.1 200 OK\r\n" + answer)

    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "s"))
        listening.listen()
        threading.Thread(target=begin, daemon=True).start()
        for server in _serving(Client([str(tmp_path / "s")]), users={os.getuid()}):
            cookie = enter(server)
            with pytest.raises(http.client.IncompleteRead) as cut:
                ask(server, "/console/", cookie=cookie)
            assert cut.value.partial == b"hello"


def test_a_daemon_that_is_away_is_said_on_a_page(loopback: Loopback, daemon: Daemon) -> None:
    cookie = enter(loopback)
    daemon.path.unlink()
    answer = ask(loopback, "/console/", cookie=cookie)
    assert answer.status == 502
    assert "Load this page again once it runs" in answer.text


def test_who_may_see_nothing_gets_no_console(cdmctl: Cdmctl) -> None:
    ended = cdmctl("console", role="stranger")
    assert ended.status == 5
    assert "control.readers" in ended.err
