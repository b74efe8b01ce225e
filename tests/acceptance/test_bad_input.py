"""What strangers send that is no event: a clear 4xx, the same answer for every signature fault, and nobody else notices."""

import contextlib
import gzip
import json
import resource
import select
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import anyio
import anyio.abc
import pytest
from standardwebhooks import Webhook

from cdmd.testing import DaemonProcess
from tests.acceptance.trial import (
    JSON,
    MIB,
    Sender,
    check_sums,
    checkout,
    connect,
    exchange,
    github,
    post,
    receive,
    rows,
    rss,
    settled,
    status,
    status_of,
    until,
    without_date,
)

pytestmark = [pytest.mark.acceptance]

SECRET = "a secret of GitHub's kind"
STANDARD = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
SLOW_SECONDS = 4
SLOW_CONNECTIONS = 1000
GROWTH = 64 * MIB
CONFIG = f"""
[http]
listen = ["127.0.0.1:0"]
header_timeout = "{SLOW_SECONDS}s"
body_timeout = "{SLOW_SECONDS}s"

[connectors.open]
type = "webhook"
verify = "none"
[connectors.open.event]
data = "*"

[connectors.code]
type = "webhook"
verify = "github"
secrets = ["env:CODE"]

[connectors.billing]
type = "webhook"
verify = "standard-webhooks"
secrets = ["env:BILLING"]
"""


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonProcess]:
    """One daemon for all of it; whatever it was sent, it must end well, without a fault, and small."""
    environment = {**checkout(), "CODE": SECRET, "BILLING": STANDARD}
    with DaemonProcess(tmp_path_factory.mktemp("bad"), CONFIG, environment=environment) as running:
        with Sender(running.url) as sender:
            for number in range(50):
                sender.send("/hooks/open", b'{"warm":%d}' % number)
        settled(running)
        before = rss(running)
        yield running
        settled(running)
        assert rss(running) - before < GROWTH
        whole = status(running)
        assert (whole["state"], whole["warnings"]) == ("running", [])
        for row in whole["connectors"]:
            check_sums(row)
            assert row["error"] is None
        assert '"level":"error"' not in running.log_file.read_text()
        assert running.stop() == 0


@pytest.fixture(autouse=True)
def _the_daemon_stays_small_and_others_are_served(daemon: DaemonProcess) -> Iterator[None]:
    before = rss(daemon)
    yield
    assert rss(daemon) - before < GROWTH
    assert post(f"{daemon.url}/hooks/open", b'{"after":true}').status == 200


BROKEN = {
    "nothing": b"",
    "half": b'{"a":[1,2',
    "two documents": b"{}{}",
    "single quotes": b"{'a':1}",
    "trailing comma": b'{"a":1,}',
    "nested 100,000 deep": b"[" * 100_000 + b"]" * 100_000,
    "objects nested 100,000 deep": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "nested 100,000 deep without an end": b"[" * 100_000,
    "NaN": b'{"a":NaN}',
    "Infinity": b'{"a":-Infinity}',
    "a number of 5,000 digits": b'{"a":' + b"9" * 5000 + b"}",
    "an exponent of 5,000 digits": b'{"a":1e' + b"9" * 5000 + b"}",
    "a lone high surrogate": b'{"a":"\\ud800"}',
    "a lone low surrogate": b'{"a":"\\udc00 "}',
    "a surrogate as a key": b'{"\\udfff":1}',
    "a surrogate in bytes": b'{"a":"\xed\xa0\x80"}',
    "not UTF-8": b'{"a":"\xff\xfe"}',
    "UTF-16": '{"a":1}'.encode("utf-16"),
    "NUL bytes": b"\0" * 100,
    "a NUL byte in a string": b'{"a":"\0"}',
}


@pytest.mark.parametrize("body", BROKEN.values(), ids=BROKEN)
def test_a_body_that_is_no_json_is_refused_with_its_reason(daemon: DaemonProcess, body: bytes) -> None:
    before = rows(daemon)["open"]
    reply = post(f"{daemon.url}/hooks/open", body)
    told = json.loads(reply.body)
    assert reply.status == 400
    assert told["code"] in {"invalid_json", "invalid_utf8", "too_deep", "number_out_of_range"}
    assert told["message"]
    after = rows(daemon)["open"]
    assert (after["refused"] - before["refused"], after["accepted"] - before["accepted"]) == (1, 0)


STRANGE = {
    "an escaped NUL": b'{"a":"x\\u0000y"}',
    "an emoji": '{"a":"📺"}'.encode(),
    "only a number": b"17",
    "null": b"null",
    "an empty key": b'{"":""}',
    "the same key twice": b'{"a":1,"a":2}',
    "a large number": b'{"a":18446744073709551615}',
    "a small fraction": b'{"a":1e-400}',
    "99 levels": b"[" * 99 + b"]" * 99,
}


@pytest.mark.parametrize("body", STRANGE.values(), ids=STRANGE)
def test_json_that_is_only_strange_is_taken_or_set_aside_and_never_a_fault(daemon: DaemonProcess, body: bytes) -> None:
    reply = post(f"{daemon.url}/hooks/open", body)
    answer = json.loads(reply.body)
    assert reply.status == 200
    assert answer["accepted"] + len(answer.get("rejected", [])) == 1
    settled(daemon)


def test_other_content_types_are_told_apart(daemon: DaemonProcess) -> None:
    assert post(f"{daemon.url}/hooks/open", b"<a/>", {"content-type": "text/xml"}).status == 415
    form = {"content-type": "application/x-www-form-urlencoded"}
    assert post(f"{daemon.url}/hooks/open", b"a=%FF", form).status == 400
    assert post(f"{daemon.url}/hooks/open", b"&".join(b"a=1" for _ in range(2000)), form).status == 400


# ---- size ----------------------------------------------------------------------------------------------------------


def test_a_body_of_100_mb_is_refused_before_a_byte_of_it_is_sent(daemon: DaemonProcess) -> None:
    head = b"POST /hooks/open HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 104857600\r\n"
    for expecting in (b"", b"expect: 100-continue\r\n"):
        with connect(daemon.url) as peer:
            peer.sendall(head + expecting + b"\r\n")
            answer = receive(peer)
        assert answer.startswith(b"HTTP/1.1 413 "), "and no 100 Continue before it"
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["code"] == "too_large"


def test_a_body_of_100_mb_in_pieces_is_refused_soon_after_the_limit(daemon: DaemonProcess) -> None:
    head = b"POST /hooks/open HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
    piece = b"10000\r\n" + b" " * 65536 + b"\r\n"
    taken, answer = _push(daemon, head, piece, most=100 * MIB)
    assert status_of(answer) == 413
    assert taken < 12 * MIB, "one MiB is read; the rest is what the kernel's two buffers hold"


def _push(daemon: DaemonProcess, head: bytes, piece: bytes, *, most: int) -> tuple[int, bytes]:
    """Send ``head``, then ``piece`` over and over until an answer comes; how many bytes went, and the answer."""
    taken = 0
    with connect(daemon.url) as peer, contextlib.suppress(ConnectionResetError, BrokenPipeError):
        peer.sendall(head)
        while taken < most:
            readable, _, _ = select.select([peer], [], [], 0)
            if readable:
                return taken, peer.recv(65536)
            taken += peer.send(piece)
    return taken, b"none 0"


def test_a_gzip_bomb_is_refused_and_what_is_only_packed_is_taken(daemon: DaemonProcess) -> None:
    packed = {**JSON, "content-encoding": "gzip"}
    url = f"{daemon.url}/hooks/open"
    assert post(url, gzip.compress(b'{"packed":"well"}'), packed).body == b'{"accepted":1,"filtered":0}'
    bomb = gzip.compress(b" " * 200 * MIB, compresslevel=9)
    assert len(bomb) < MIB
    assert post(url, bomb, packed).status == 413
    for broken in (b"not gzip", bomb[: len(bomb) // 1000], gzip.compress(b"{}")[:-4], gzip.compress(b"{}") + b"more"):
        assert post(url, broken, packed).status == 400
    assert post(url, b"{}", {**JSON, "content-encoding": "br"}).status == 415


def test_headers_without_end_are_refused(daemon: DaemonProcess) -> None:
    line = b"POST /hooks/open HTTP/1.1\r\nhost: x\r\n"
    for head, piece in ((line, b"x-more: and more\r\n"), (line + b"x-long: ", b"y" * 4096), (b"GET /", b"a" * 4096)):
        taken, answer = _push(daemon, head, piece, most=100 * MIB)
        assert status_of(answer) == 431
        assert taken < 12 * MIB
    many = b"".join(b"x-%d: 1\r\n" % number for number in range(500))
    assert status_of(exchange(daemon.url, line + many + b"content-length: 2\r\n\r\n{}")) == 431


# ---- signatures ----------------------------------------------------------------------------------------------------


def _raw(path: str, headers: dict[str, str], body: bytes, *, extra: str = "") -> bytes:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items()) + extra
    return f"POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{lines}content-length: {len(body)}\r\n\r\n".encode() + body


def _standard(body: bytes, *, at: datetime, id: str = "msg_1", secret: str = STANDARD) -> dict[str, str]:
    return {
        **JSON,
        "webhook-id": id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Webhook(secret).sign(id, at, body.decode()),
    }


def test_every_fault_of_a_signature_gets_the_same_answer_to_the_byte(daemon: DaemonProcess) -> None:
    body, now = b'{"type":"a"}', datetime.now(UTC)
    good = github(SECRET, body, event="ping", delivery="d-1")
    signature = good["x-hub-signature-256"]
    bare = {name: value for name, value in good.items() if name != "x-hub-signature-256"}

    def code(value: str | None, *, sent: bytes = body, extra: str = "") -> bytes:
        return _raw("/hooks/code", bare if value is None else {**bare, "x-hub-signature-256": value}, sent, extra=extra)

    well = _standard(body, at=now)

    def billing(headers: dict[str, str], *, sent: bytes = body) -> bytes:
        return _raw("/hooks/billing", headers, sent)

    faults = {
        "stripped": code(None),
        "empty": code(""),
        "wrong": code("sha256=" + "0" * 64),
        "of another secret": code(github("guess", body, event="ping", delivery="d-1")["x-hub-signature-256"]),
        "truncated": code(signature[:-2]),
        "longer": code(signature + "00"),
        "another algorithm": code("sha1=" + signature[7:47]),
        "no hex": code("sha256=" + "z" * 64),
        "twice": code(signature, extra=f"x-hub-signature-256: {signature}\r\n"),
        "not ASCII": code("sha256=\xe9"),
        "very many": code(",".join([signature] * 200)),
        "another body": code(signature, sent=b'{"type":"b"}'),
        "broken json unsigned": code("sha256=" + "0" * 64, sent=b"{"),
        "replayed later": billing(_standard(body, at=now - timedelta(minutes=6))),
        "from the future": billing(_standard(body, at=now + timedelta(minutes=6))),
        "replayed under another id": billing({**well, "webhook-id": "msg_2"}),
        "replayed with a new time": billing({**well, "webhook-timestamp": str(int(now.timestamp()) + 1)}),
        "no time": billing({name: value for name, value in well.items() if name != "webhook-timestamp"}),
        "no number": billing({**well, "webhook-timestamp": "9" * 400}),
        "truncated base64": billing({**well, "webhook-signature": well["webhook-signature"][:-3]}),
        "only the version": billing({**well, "webhook-signature": "v1,"}),
    }
    before = rows(daemon)
    answers = {name: without_date(exchange(daemon.url, raw)) for name, raw in faults.items()}
    assert set(answers.values()) == {b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"}, answers
    assert status_of(exchange(daemon.url, _raw("/hooks/code", good, body))) == 200
    assert status_of(exchange(daemon.url, billing(well))) == 200
    after = rows(daemon)
    refused = sum(after[name]["refused"] - before[name]["refused"] for name in ("code", "billing"))
    accepted = sum(after[name]["accepted"] - before[name]["accepted"] for name in ("code", "billing"))
    assert (refused, accepted) == (len(faults), 2)


def test_a_replay_within_the_time_window_has_no_second_effect(daemon: DaemonProcess) -> None:
    body = b'{"type":"a"}'
    raw = _raw("/hooks/billing", _standard(body, at=datetime.now(UTC), id="msg_replayed"), body)
    before = settled(daemon)["billing"]
    assert [status_of(exchange(daemon.url, raw)) for _ in range(5)] == [200] * 5
    after = settled(daemon)["billing"]
    assert (after["applied"] - before["applied"], after["repeats"] - before["repeats"]) == (1, 4)


# ---- paths, methods, protocols -------------------------------------------------------------------------------------


def test_unknown_paths_all_look_the_same(daemon: DaemonProcess) -> None:
    paths = ["/", "/hooks", "/hooks/", "/hooks/none", "/hooks/open/", "/hooks/OPEN", "/hooks/../hooks/open", "//hooks/open",
             "/hooks/%6fpen", "/v1/status", "/metrics", "/hooks/open%00", "/" + "a" * 5000]  # fmt: skip
    answers = {without_date(exchange(daemon.url, _raw(path, {}, b""))) for path in paths}
    assert answers == {b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"}


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"])
def test_other_methods_are_told_which_one_there_is(daemon: DaemonProcess, method: str) -> None:
    reply = post(f"{daemon.url}/hooks/open", b"", method=method)
    assert (reply.status, reply.headers["allow"], reply.body) == (405, "POST", b"")
    assert post(f"{daemon.url}/hooks/none", b"", method=method).status == 404


NO_HTTP = {
    "noise": bytes(range(256)) * 4,
    "an unknown method": b"FROB /hooks/open HTTP/1.1\r\nhost: x\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "TLS": bytes.fromhex("16030100a5010000a10303") + b"\0" * 200,
    "two lengths": b"POST /hooks/open HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}",
    "a length and chunks": b"POST /hooks/open HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n{}",
    "a negative length": b"POST /hooks/open HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n{}",
    "a huge length": b"POST /hooks/open HTTP/1.1\r\nhost: x\r\ncontent-length: " + b"9" * 40 + b"\r\n\r\n{}",
    "a broken chunk": b"POST /hooks/open HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
    "a NUL in a header": b"POST /hooks/open HTTP/1.1\r\nhost: x\r\nx: a\0b\r\ncontent-length: 2\r\n\r\n{}",
    "a folded header": b"POST /hooks/open HTTP/1.1\r\nhost: x\r\n x: a\r\ncontent-length: 2\r\n\r\n{}",
}


@pytest.mark.parametrize("raw", NO_HTTP.values(), ids=NO_HTTP)
def test_what_is_no_http_is_refused(daemon: DaemonProcess, raw: bytes) -> None:
    answer = exchange(daemon.url, raw, leave=True)
    assert answer == b"" or 400 <= status_of(answer) < 500


def test_a_sender_that_leaves_in_the_middle_is_forgotten(daemon: DaemonProcess) -> None:
    before = rows(daemon)["open"]
    for _ in range(20):
        with connect(daemon.url) as peer:
            peer.sendall(b'POST /hooks/open HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{"half":')
    until(lambda: rows(daemon)["open"]["refused"] == before["refused"] + 20, what="counting those who left")
    assert rows(daemon)["open"]["accepted"] == before["accepted"]


# ---- a thousand slow connections -----------------------------------------------------------------------------------


def _slow_connections() -> int:
    """As many as a thousand where the limit on open files allows it here and in the daemon; some are left for the others."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return min(SLOW_CONNECTIONS, soft - 200)


@pytest.mark.alone
def test_a_thousand_slow_connections_hold_up_nobody_and_are_let_go(daemon: DaemonProcess) -> None:
    count = _slow_connections()
    assert count >= 100, "the limit on open files is too low to try anything"
    before = rss(daemon)
    answers, waits = anyio.run(_hold_and_send, daemon, count)
    assert rss(daemon) - before < GROWTH
    assert len(waits) == 100
    assert max(waits) < 2.0
    assert [status_of(one) for one in answers] == [408] * count


async def _hold_and_send(daemon: DaemonProcess, count: int) -> tuple[list[bytes], list[float]]:
    """Hold ``count`` connections that never finish their request, send whole ones meanwhile, hear what the slow ones get."""
    answers: list[bytes] = []
    waits: list[float] = []
    all_open, opened = anyio.Event(), 0
    host, port = daemon.url.removeprefix("http://").split(":")

    async def slow(number: int) -> None:
        nonlocal opened
        half = (
            b"POST /hoo",
            b"POST /hooks/open HTTP/1.1\r\nx: y\r\n",
            b'POST /hooks/open HTTP/1.1\r\ncontent-length: 9\r\n\r\n{"a',
        )
        async with await anyio.connect_tcp(host, int(port)) as peer:
            await peer.send(half[number % 3])
            opened += 1
            if opened == count:
                all_open.set()
            answers.append(await _heard(peer))

    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            for number in range(count):
                tasks.start_soon(slow, number)
            await all_open.wait()
            held = time.monotonic()
            waits += await anyio.to_thread.run_sync(_send_whole, daemon, 100)
            assert time.monotonic() - held < SLOW_SECONDS, "they were sent while the slow ones were held"
    return answers, waits


async def _heard(peer: anyio.abc.SocketStream) -> bytes:
    answer = b""
    with contextlib.suppress(anyio.EndOfStream, anyio.BrokenResourceError):
        while True:
            answer += await peer.receive()
    return answer


def _send_whole(daemon: DaemonProcess, count: int) -> list[float]:
    """Seconds that each of ``count`` whole requests took; half of them on connections of their own."""
    waits = []
    with Sender(daemon.url) as sender:
        for number in range(count):
            body, began = b'{"whole":%d}' % number, time.monotonic()
            reply = sender.send("/hooks/open", body) if number % 2 else post(f"{daemon.url}/hooks/open", body)
            assert reply.status == 200
            waits.append(time.monotonic() - began)
    return waits


def test_a_byte_now_and_then_does_not_keep_a_connection(daemon: DaemonProcess) -> None:
    never, began = threading.Event(), time.monotonic()
    with connect(daemon.url) as peer:
        peer.sendall(b"POST /hooks/open HTTP/1.1\r\n")
        while time.monotonic() - began < 3 * SLOW_SECONDS:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                peer.send(b"x")
            if select.select([peer], [], [], 0)[0]:
                break
            never.wait(0.2)
        assert peer.recv(100).startswith(b"HTTP/1.1 408 ")
    assert time.monotonic() - began < 2 * SLOW_SECONDS


# ---- records that cannot be mapped ---------------------------------------------------------------------------------

MAPPED = """
[connectors.shop]
type = "webhook"
verify = "none"
records = "{orders[*]}"
[connectors.shop.event]
id = "{id}"
type = "order.paid"
identifiers = {email = "{email}"}
data = {total = "TOTAL"}
"""
WRONG, MENDED = MAPPED.replace("TOTAL", "{sum(total)}"), MAPPED.replace("TOTAL", "{to_number(total)}")


def test_a_record_that_cannot_be_mapped_waits_as_a_dead_letter_until_the_mapping_is_mended(tmp_path, daemon) -> None:
    orders = [{"id": f"o-{number}", "email": "joe@example.com", "total": "99.5"} for number in range(3)]
    orders.append({"id": None, "email": "joe@example.com", "total": [1]})
    with DaemonProcess(tmp_path, WRONG, environment=checkout()) as shop:
        answer = json.loads(post(f"{shop.url}/hooks/shop", json.dumps({"orders": orders}).encode()).body)
        assert (answer["accepted"], [one["index"] for one in answer["rejected"]]) == (0, [0, 1, 2, 3])
        settled(shop)
        letters = shop.ask("dead-letters", "list", "--connector", "shop")
        assert [(one["expression"], one["path"], one["kind"]) for one in letters] == [
            ("sum(total)", "data.total", "string")
        ] * 3 + [("{id}", "id", "null")]
        assert all(one["expression"] in one["message"] for one in letters[:3])
        first = letters[0]["seq"]
        hidden = shop.ask("dead-letters", "show", str(first))
        assert hidden["raw"] is None
        assert "joe@" not in json.dumps(hidden)
        shown = shop.ask("dead-letters", "show", str(first), "--reveal")
        assert shown["raw"]["value"] == orders[0]

        shop.cdmctl("dead-letters", "retry", str(first))
        again = until(lambda: [one for one in shop.ask("dead-letters") if one["attempts"] == 1], what="its coming back")
        assert [one["seq"] for one in again] == [first], "with the same mapping it comes back"

        shop.configure(MENDED)
        assert shop.cdmctl("reload").returncode == 0
        shop.cdmctl("dead-letters", "retry", "--connector", "shop", "--code", letters[0]["code"], "--yes")
        until(lambda: rows(shop)["shop"]["applied"] == 3, what="the retry")
        profile = shop.ask("profile", "show", "email:joe@example.com")
        assert {(row["id"], row["data"]["total"]) for row in profile["activities"]} == {(f"o-{one}", 99.5) for one in range(3)}

        (left,) = shop.ask("dead-letters", "list")
        assert left["path"] == "id"
        assert shop.cdmctl("dead-letters", "discard", str(left["seq"]), check=False).returncode == 2, "nobody confirmed it"
        assert shop.ask("dead-letters", "discard", str(left["seq"]), "--yes")["count"] == 1
        assert shop.ask("dead-letters", "list") == []
        assert shop.cdmctl("dead-letters", "show", str(left["seq"]), check=False).returncode == 4
        row = settled(shop)["shop"]
        check_sums(row)
        assert (row["accepted"], row["applied"], row["dead_letters"], row["filtered"]) == (4, 3, 0, 1)
