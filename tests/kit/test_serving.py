import logging
import os
import signal
import socket
import ssl
import stat
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from structlog.testing import capture_logs

from cdmd.kit.bounded_http import PEER, BoundedProtocol, Limits
from cdmd.kit.listener import listen
from cdmd.kit.secret import Secret
from cdmd.kit.serving import bind, serve, tls_context
from tests.kit.asgi import Asgi
from tests.kit.wire import head, read_answer, read_to_end

pytestmark = pytest.mark.anyio


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    """Both event loops: the daemon runs on uvloop where it can."""
    return "asyncio", {"use_uvloop": request.param}


@pytest.fixture(autouse=True, params=["serve", "listen"])
def server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both servers: what they promise on the wire is the same."""
    monkeypatch.setitem(CHOSEN, "server", request.param)
    return request.param


only_serve = pytest.mark.parametrize("server", ["serve"], indirect=True)
CHOSEN = {"server": "serve"}


async def echo(scope: Any, receive: Callable, send: Callable) -> None:
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message["body"]
        if not message["more_body"]:
            break
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def served(app=echo, *, limits: Limits | None = None, address: str = "127.0.0.1:0", **options) -> AsyncIterator[Any]:
    bound = await anyio.to_thread.run_sync(bind, address)
    name = bound.getsockname()
    run = partial(serve, app) if CHOSEN["server"] == "serve" else partial(listen, Asgi(app))
    async with anyio.create_task_group() as group:
        await group.start(lambda task_status: run([bound], limits=limits, task_status=task_status, **options))
        yield name
        group.cancel_scope.cancel()


async def connect(name: Any) -> anyio.abc.SocketStream:
    return await (anyio.connect_unix(name) if isinstance(name, str) else anyio.connect_tcp(*name[:2]))


async def test_a_request_is_answered_with_a_date_and_without_naming_the_server() -> None:
    async with served() as (host, port), httpx.AsyncClient() as client:
        answer = await client.post(f"http://{host}:{port}/", content=b"hello")
        assert answer.content == b"hello"
        assert "date" in answer.headers
        assert "server" not in answer.headers


async def test_ipv6_and_unix_sockets_are_bound_by_their_address(tmp_path: Path) -> None:
    for address in ("[::1]:0", str(tmp_path / "sock")):
        async with served(address=address) as name, await connect(name) as stream:
            await stream.send(head("POST", "/", [("content-length", "2")]) + b"hi")
            assert (await read_answer(stream))[2] == b"hi"


@only_serve
def test_a_unix_socket_is_for_its_owner_and_group_and_replaces_a_dead_one(tmp_path: Path) -> None:
    path = tmp_path / "sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with bind(str(path)) as bound:
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        bound.listen()
        with pytest.raises(OSError, match=f"cannot listen on {path}"):
            bind(str(path))


@only_serve
def test_a_file_that_is_no_socket_is_never_removed(tmp_path: Path) -> None:
    path = tmp_path / "notes"
    path.write_text("mine")
    with pytest.raises(OSError, match="cannot listen on"):
        bind(str(path))
    assert path.read_text() == "mine"


@only_serve
def test_inherited_sockets_are_found_by_name() -> None:
    with socket.socket() as held:
        assert bind("fd:http", inherited={"http": held}) is held
        with pytest.raises(ValueError, match="fd:other"):
            bind("fd:other", inherited={"http": held})


@only_serve
@pytest.mark.parametrize(
    "address", ["", "8787", ":8787", "::1:8787", "localhost", "h:99999", "h:-1", "[::1]", "[h:1", "h:\u0661"]
)
def test_what_is_no_address_is_refused_with_the_forms_there_are(address: str) -> None:
    with pytest.raises(ValueError, match="HOST:PORT"):
        bind(address)


@only_serve
def test_an_address_in_use_is_named() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        address = f"127.0.0.1:{held.getsockname()[1]}"
        with pytest.raises(OSError, match=f"cannot listen on {address}"):
            bind(address)


@only_serve
async def test_the_peer_of_a_unix_socket_is_known_by_the_kernels_word(tmp_path: Path) -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope.get("extensions", {}).get(PEER))
        await echo(scope, receive, send)

    for address in (str(tmp_path / "sock"), "127.0.0.1:0"):
        async with served(app, address=address) as name, await connect(name) as stream:
            for _ in range(2):
                await stream.send(head("GET", "/"))
                assert (await read_answer(stream))[0] == 200
    assert seen[0] == seen[1] == (os.getpid(), os.getuid(), os.getgid(), tuple(os.getgroups()))
    assert seen[2:] == [None, None]


@pytest.mark.parametrize(
    "long",
    [
        head("GET", "/" + "x" * 5000),
        head("GET", "/", [("x-long", "y" * 5000)]),
        head("GET", "/", [(f"x-{index}", "1") for index in range(40)]),
        b"GET / HTTP/1.1\r\nx-endless: " + b"y" * 9000,
        b"GET /" + b"x" * 9000,
    ],
    ids=["url", "header", "count", "endless header", "endless url"],
)
async def test_headers_without_end_are_cut_off(long: bytes) -> None:
    async with served(limits=Limits(header_bytes=4096, header_count=30)) as name, await connect(name) as stream:
        for start in range(0, len(long), 1000):
            await stream.send(long[start : start + 1000])
            if start > 4096:
                break
        assert (await read_to_end(stream)).startswith(b"HTTP/1.1 431 ")


async def test_many_small_header_pieces_count_together() -> None:
    async with served(limits=Limits(header_bytes=2000)) as name, await connect(name) as stream:
        with pytest.raises(anyio.BrokenResourceError):  # noqa: PT012 - which send fails is the network's
            await stream.send(b"GET / HTTP/1.1\r\n")
            while True:
                await stream.send(b"x-a: 1\r\n" * 20)
                await anyio.lowlevel.checkpoint()


async def test_headers_within_the_limits_pass_in_any_pieces() -> None:
    async with served(limits=Limits(header_bytes=4096, header_count=30)) as name, await connect(name) as stream:
        for _ in range(3):
            for byte in head("POST", "/", [("x", "y" * 1000), ("content-length", "1")]) + b"z":
                await stream.send(bytes([byte]))
            assert (await read_answer(stream))[2] == b"z"


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"", b""),
        (b"\r\n", b""),
        (b"GET / HT", b"HTTP/1.1 408 "),
        (b"GET / HTTP/1.1\r\nhost: x\r\n", b"HTTP/1.1 408 "),
        (head("POST", "/", [("content-length", "10")]) + b"half", b"HTTP/1.1 408 "),
        (head("POST", "/", [("transfer-encoding", "chunked")]) + b"5\r\nhel", b"HTTP/1.1 408 "),
    ],
    ids=["silent", "newline", "request line", "headers", "body", "chunk"],
)
async def test_who_is_too_slow_is_let_go(sent: bytes, status: bytes) -> None:
    async with served(limits=Limits(header_seconds=0.1, body_seconds=0.1)) as name, await connect(name) as stream:
        if sent:
            await stream.send(sent)
        answer = await read_to_end(stream)
        assert answer.startswith(status)
        assert bool(answer) == bool(status)


async def test_a_byte_now_and_then_does_not_push_the_deadline_away() -> None:
    async with served(limits=Limits(header_seconds=0.3)) as name, await connect(name) as stream:

        async def drip() -> None:
            with pytest.raises(anyio.BrokenResourceError):  # noqa: PT012 - which send fails is the network's
                await stream.send(b"GET / HTTP/1.1\r\nx: ")
                while True:
                    await stream.send(b"y")
                    await anyio.sleep(0.02)

        with anyio.fail_after(30):
            await drip()


async def test_stray_newlines_do_not_keep_an_idle_connection() -> None:
    async with served(limits=Limits(header_seconds=0.1, keep_alive_seconds=60)) as name, await connect(name) as stream:
        await stream.send(head("GET", "/"))
        assert (await read_answer(stream))[0] == 200
        await stream.send(b"\r\n")
        assert await read_to_end(stream) == b""


async def test_an_idle_connection_is_closed_after_its_keep_alive() -> None:
    async with served(limits=Limits(keep_alive_seconds=0)) as name, await connect(name) as stream:
        await stream.send(head("GET", "/"))
        assert (await read_answer(stream))[0] == 200
        assert await read_to_end(stream) == b""


async def test_a_slow_body_after_an_early_answer_ends_in_silence() -> None:
    async def early(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 404, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body"})

    async with served(early, limits=Limits(body_seconds=0.1)) as name, await connect(name) as stream:
        await stream.send(head("POST", "/", [("content-length", "10")]))
        assert (await read_answer(stream))[0] == 404
        assert await read_to_end(stream) == b""


async def test_an_early_answer_is_not_destroyed_by_what_the_client_still_sends() -> None:
    answered = anyio.Event()

    async def early(_scope: Any, _receive: Any, send: Any) -> None:
        headers = [(b"content-length", b"3"), (b"connection", b"close")]
        await send({"type": "http.response.start", "status": 413, "headers": headers})
        await send({"type": "http.response.body", "body": b"big"})
        answered.set()

    async with served(early) as name, await connect(name) as stream:
        await stream.send(head("POST", "/", [("content-length", "900000")]))
        await answered.wait()
        for _ in range(8):
            await stream.send(b"x" * 50_000)
            await anyio.lowlevel.checkpoint()
        assert (await read_to_end(stream)).endswith(b"\r\n\r\nbig")


async def test_one_connection_too_many_is_told_at_once() -> None:
    async with served(limits=Limits(connections=2)) as name, await connect(name) as first, await connect(name) as second:
        for stream in (first, second):
            await stream.send(head("GET", "/"))
            assert (await read_answer(stream))[0] == 200
        async with await connect(name) as third:
            assert (await read_to_end(third)).startswith(b"HTTP/1.1 503 ")
        await second.aclose()
        await first.send(head("GET", "/"))
        assert (await read_answer(first))[0] == 200


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/9.9\r\n\r\n",
        b"CONNECT host:443 HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nhost: x\r\n\r\n",
        b"POST / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        b"POST / HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"GET / HTTP/1.1\r\nbad header: x\r\n\r\n",
    ],
)
async def test_what_is_no_http_is_400_and_closed(garbage: bytes) -> None:
    async with served() as name, await connect(name) as stream:
        await stream.send(garbage)
        assert (await read_to_end(stream)).startswith(b"HTTP/1.1 400 ")


async def test_pipelined_requests_are_answered_in_order() -> None:
    async with served() as name, await connect(name) as stream:
        await stream.send(b"".join(head("POST", "/", [("content-length", "1")]) + b"%d" % index for index in range(5)))
        received = b""
        with anyio.fail_after(30):
            while received.count(b"HTTP/1.1 200") < 5 or not received.endswith(b"4"):
                received += await stream.receive()
        assert [part[-1:] for part in received.split(b"HTTP/1.1 200 OK")[1:]] == [b"%d" % index for index in range(5)]


async def test_garbage_behind_a_request_in_flight_is_never_taken_for_its_answer() -> None:
    release = anyio.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await release.wait()
        await echo(scope, receive, send)

    async with served(slow) as name, await connect(name) as stream:
        await stream.send(head("GET", "/") + b"\x00\x01 garbage\r\n\r\n")
        assert await read_to_end(stream) == b""
        release.set()


async def test_an_upgrade_is_not_taken() -> None:
    async with served() as name, await connect(name) as stream:
        await stream.send(head("GET", "/", [("connection", "upgrade"), ("upgrade", "websocket")]))
        assert (await read_answer(stream))[0] == 200


async def test_hundreds_of_slow_connections_do_not_keep_a_good_client_from_its_answers() -> None:
    async with served(limits=Limits(connections=400)) as name, anyio.create_task_group() as group:
        for index in range(300):
            slow = await connect(name)
            await slow.send(b"POST / HTTP/1.1\r\nx: y" if index % 2 else head("POST", "/", [("content-length", "9")]) + b"1")
            group.start_soon(_hold, slow)
        async with await connect(name) as good:
            for index in range(200):
                await good.send(head("POST", "/", [("content-length", "3")]) + b"%03d" % index)
                assert (await read_answer(good))[2] == b"%03d" % index
        group.cancel_scope.cancel()


async def _hold(stream: anyio.abc.SocketStream) -> None:
    async with stream:
        await anyio.sleep_forever()


async def test_stopping_lets_a_request_finish_and_closes_idle_connections() -> None:
    entered, release, stop = anyio.Event(), anyio.Event(), anyio.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        entered.set()
        await release.wait()
        await echo(scope, receive, send)

    async with served(slow, stop=stop) as name, await connect(name) as idle, await connect(name) as busy:
        await busy.send(head("POST", "/", [("content-length", "2")]) + b"ok")
        await entered.wait()
        stop.set()
        assert await read_to_end(idle) == b""
        with pytest.raises(OSError):  # noqa: PT011 - whichever way it is refused
            await connect(name)
        release.set()
        assert (await read_to_end(busy)).endswith(b"ok")


async def test_a_request_that_never_ends_is_cut_off_at_the_deadline() -> None:
    entered = anyio.Event()
    ended: list[str] = []

    async def stuck(_scope: Any, _receive: Any, _send: Any) -> None:
        entered.set()
        try:
            await anyio.sleep_forever()
        finally:
            ended.append("cancelled")

    async with served(stuck, limits=Limits(stop_seconds=0.05)) as name:
        stream = await connect(name)
        await stream.send(head("GET", "/"))
        await entered.wait()
    assert ended == ["cancelled"]
    await stream.aclose()


async def test_signal_handlers_are_left_alone() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    async with served():
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


async def test_what_an_application_raises_is_logged_by_its_type_only(caplog: pytest.LogCaptureFixture) -> None:
    async def broken(_scope: Any, _receive: Any, _send: Any) -> None:
        raise ValueError("joe@example.com")

    with caplog.at_level(logging.DEBUG), capture_logs() as lines:
        async with served(broken) as name, await connect(name) as stream:
            await stream.send(head("GET", "/"))
            assert (await read_answer(stream))[0] == 500
    said = f"{caplog.text} {lines}"
    assert "ValueError" in said
    assert "joe@example.com" not in said


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes]:
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        (
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost"
            f" -addext subjectAltName=DNS:localhost,IP:127.0.0.1 -keyout {folder}/key -out {folder}/cert"
        ).split(),
        check=True,
        capture_output=True,
    )
    return (folder / "cert").read_bytes(), (folder / "key").read_bytes()


async def test_tls_with_a_key_that_never_touches_a_disk(certificate: tuple[bytes, bytes]) -> None:
    chain, key = certificate
    context = await anyio.to_thread.run_sync(tls_context, chain, Secret(key, reference="credential:key"))
    trust = ssl.create_default_context(cadata=chain.decode())
    async with served(tls=context) as (host, port), httpx.AsyncClient(verify=trust) as client:
        assert (await client.post(f"https://{host}:{port}/", content=b"hi")).content == b"hi"


@only_serve
def test_a_certificate_without_its_key_is_refused(certificate: tuple[bytes, bytes]) -> None:
    with pytest.raises(ssl.SSLError):
        tls_context(certificate[0], Secret(b"no key", reference="credential:key"))


@only_serve
async def test_the_private_parts_of_uvicorn_that_are_used_are_still_there() -> None:
    """What ``bounded_http`` overrides or reads: a new uvicorn that lacks one fails here, with its name."""
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
    from uvicorn.server import ServerState

    for name in (
        "connection_made", "connection_lost", "data_received", "send_400_response", "on_message_begin", "on_url", "on_header",
        "on_headers_complete", "on_message_complete", "shutdown",
        "_unset_keepalive_if_required", "_unsupported_upgrade_warning",
    ):  # fmt: skip
        assert callable(getattr(HttpToolsProtocol, name)), name
    assert {"connections", "tasks", "default_headers"} <= set(vars(ServerState()))
    made: list[BoundedProtocol] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        made.append(receive.__self__.on_response.__self__)
        await echo(scope, receive, send)

    async with served(app) as name, await connect(name) as stream:
        await stream.send(head("GET", "/"))
        await read_answer(stream)
    protocol = made[0]
    assert {"cycle", "scope", "headers", "pipeline", "transport", "connections", "logger", "access_log", "loop"} <= set(
        vars(protocol)
    )
    assert "timeout_keep_alive_task" in vars(protocol)
    assert isinstance(protocol.cycle, RequestResponseCycle)
    assert {"response_complete", "response_started", "disconnected", "message_event"} <= set(vars(protocol.cycle))
