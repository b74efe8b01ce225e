"""The edge of the control socket: requests that are wrong, streams, and what is answered when nothing fits."""

import json
import socket
import stat
import threading
from pathlib import Path

import pytest

from cdmd.control.client import Client
from cdmd.control.problems import codes, error_of, problem_of
from cdmd.errors import BadArguments, CdmdError, ConfigInvalid, NotFound, Paused
from tests.control.doubles import Daemon, MemoryRuntime, event, lines, raw_get, serving


def test_the_socket_is_for_its_owner_and_group(daemon: Daemon) -> None:
    assert stat.S_IMODE(daemon.path.stat().st_mode) == 0o660


@pytest.mark.parametrize("target", ["/", "/v2/status", "/v1/nothing", "/v1/dead-letters/x", "/v1/dead-letters/-1"])
def test_an_unknown_path_is_a_problem_document(daemon: Daemon, target: str) -> None:
    status, headers, body = raw_get(daemon.path, target)
    assert (status, headers["content-type"]) == (404, "application/problem+json")
    assert json.loads(body)["code"] == "not-found"


def test_a_method_that_a_path_does_not_take_is_a_problem_document(daemon: Daemon) -> None:
    status, headers, body = raw_get(daemon.path, "/v1/status", method="DELETE")
    assert (status, headers["content-type"]) == (405, "application/problem+json")
    assert json.loads(body)["status"] == 405


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b'{"seqs":"x"}',
        b'{"everything":true}',
        b"\xff",
        b'{"seqs":' + b"[" * 50_000,
        b'{"code":"' + b"x" * 70_000 + b'"}',
        b'{"seqs":[' + b"9" * 5000 + b"]}",
    ],
)
def test_a_body_that_is_not_understood_is_refused_and_does_nothing(daemon: Daemon, body: bytes) -> None:
    status, _, answer = raw_get(daemon.path, "/v1/dead-letters/discard", method="POST", body=body)
    assert (status, json.loads(answer)["code"]) == (400, "bad-arguments")
    assert daemon.runtime.store.rows == []


@pytest.mark.parametrize("path", ["", "x", "/a\\u0000", "/tmp/" + "a" * 5000])
def test_a_backup_that_can_have_no_such_name_is_refused(daemon: Daemon, path: str) -> None:
    body = b'{"path":"%s"}' % path.encode()
    assert raw_get(daemon.path, "/v1/backup", method="POST", body=body)[0] == 400


@pytest.mark.parametrize("query", ["limit=x", "limit=-1", "limit=%D9%A3", "limit=" + "9" * 40])
def test_a_number_that_is_none_is_refused(daemon: Daemon, query: str) -> None:
    assert raw_get(daemon.path, f"/v1/audit?{query}")[0] == 400


def test_a_query_without_what_it_needs_is_refused(daemon: Daemon) -> None:
    with pytest.raises(BadArguments, match="needs id"):
        daemon.client().get("/v1/event")


def test_a_stream_says_that_it_lives_while_nothing_happens_and_ends_when_the_client_leaves(
    runtime: MemoryRuntime, tmp_path: Path
) -> None:
    runtime.items, runtime.endless = lines([event()]), True
    with serving(Daemon(runtime, tmp_path / "s"), heartbeat=0.02) as daemon, socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5)
        connection.connect(str(daemon.path))
        connection.sendall(b"GET /v1/tail HTTP/1.1\r\nhost: d\r\n\r\n")
        received = b""
        while b'{"type":"heartbeat"}' not in received:
            received += connection.recv(65536)
        assert runtime.wanted is not None
        while received.count(b'{"type":"heartbeat"}') < 3:
            received += connection.recv(65536)
        assert received.count(b'"stage":"stored"') == 1
        assert b"application/jsonl" in received
        connection.close()
        assert runtime.tail_closed.wait(60)


def test_a_stream_ends_when_the_daemon_has_no_more_to_say(daemon: Daemon) -> None:
    daemon.runtime.items = lines([event("a"), event("b")])
    assert [line["event"]["id"] for line in daemon.client().stream("/v1/tail")] == ["a", "b"]
    assert daemon.runtime.tail_closed.is_set()


def test_a_client_that_stops_reading_a_stream_holds_nobody_else_up(daemon: Daemon) -> None:
    daemon.runtime.items = lines([event(str(number), data={"x": "y" * 1000}) for number in range(5000)])
    stream = daemon.client().stream("/v1/tail")
    assert next(stream)["event"]["id"] == "0"
    assert daemon.client().get("/v1/status")["state"] == "running"
    stream.close()
    assert daemon.runtime.tail_closed.wait(60)


def test_many_clients_are_answered_at_once(daemon: Daemon) -> None:
    client, answers = daemon.client(), []
    threads = [threading.Thread(target=lambda: answers.append(client.get("/v1/status")["state"])) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert answers == ["running"] * 20


def test_every_error_crosses_the_socket_under_a_stable_code() -> None:
    assert [code for code, _, _ in codes()] == [
        *("bad-arguments", "not-permitted", "not-found", "config-invalid", "paused", "not-durable", "overloaded", "damaged"),
        *("in-use", "schema-unknown", "address-refused", "failed"),
    ]
    for error in (NotFound("a"), ConfigInvalid(["b", "c"]), Paused("d", retry_after=60), CdmdError("e")):
        back = error_of(problem_of(error))
        assert (type(back), str(back)) == (type(error), str(error))


def test_a_problem_of_a_newer_daemon_is_still_an_error() -> None:
    assert str(error_of({"code": "new", "detail": "x"})) == "x"
    assert str(error_of({"title": "y"})) == "y"
    assert str(error_of({})) == "the daemon refused"
    assert error_of({"code": "config-invalid", "detail": "z"}).args == ("z",)


def test_what_the_peer_protocol_tells_is_what_decides(daemon: Daemon) -> None:
    daemon.peer = (1, 0, 0, ())
    assert Client([str(daemon.path)]).post("/v1/connectors/shop/pause")["done"] == "paused"
    assert daemon.audits() == [("root", "pause", "done")]
