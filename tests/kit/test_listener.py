"""What the listener does beyond what both servers do (``test_serving.py``): calls instead of tasks, and its own bounds."""

import gc
import socket
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from structlog.testing import capture_logs

from cdmd.kit import connections
from cdmd.kit.bounded_http import Limits
from cdmd.kit.connections import Connection
from cdmd.kit.exchanges import Exchange, Shared
from cdmd.kit.listener import listen
from cdmd.kit.serving import bind
from tests.kit.wire import head, read_answer, read_to_end

pytestmark = pytest.mark.anyio


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    """Both event loops: the daemon runs on uvloop where it can."""
    return "asyncio", {"use_uvloop": request.param}


class Calls:
    """Keeps the bodies and answers with ``act``, by default with the body."""

    def __init__(self, act: Callable[[Exchange], None] | None = None) -> None:
        self.begun: list[Exchange] = []
        self.gone: list[Exchange] = []
        self._act = act or (lambda exchange: exchange.answer(200, (), bytes(exchange.held)))

    def begin(self, exchange: Exchange) -> None:
        self.begun.append(exchange)
        exchange.held = bytearray()

    def piece(self, exchange: Exchange, data: bytes) -> None:
        exchange.held += data

    def complete(self, exchange: Exchange) -> None:
        self._act(exchange)

    def left(self, exchange: Exchange) -> None:
        self.gone.append(exchange)


@asynccontextmanager
async def listening(handler: Any, limits: Limits | None = None, **options: Any) -> AsyncIterator[Any]:
    bound = await anyio.to_thread.run_sync(bind, "127.0.0.1:0")
    name = bound.getsockname()
    async with anyio.create_task_group() as group:
        await group.start(lambda task_status: listen(handler, [bound], limits=limits, task_status=task_status, **options))
        yield name
        group.cancel_scope.cancel()


async def until(holds: Callable[[], bool]) -> None:
    with anyio.fail_after(30):
        while not holds():  # noqa: ASYNC110 - what is looked at says nothing when it changes
            await anyio.sleep(0.001)


async def test_a_request_is_answered_while_it_arrives_and_the_connection_goes_on() -> None:
    calls = Calls()
    async with listening(calls) as name, await anyio.connect_tcp(*name) as stream:
        for body in (b"one", b"x" * 100_000, b""):
            await stream.send(head("POST", "/p?a=%20", [("X-Long", "y"), ("content-length", str(len(body)))]) + body)
            status, headers, read = await read_answer(stream)
            assert (status, read, "connection" in headers) == (200, body, False)
    first = calls.begun[0]
    assert (first.method, first.path, first.query, first.peer) == ("POST", b"/p", b"a=%20", "127.0.0.1")
    assert ("x-long", "y") in first.headers


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        ("http://elsewhere/p?a=1", b"/p", b"a=1"),
        ("/p?a=1#there", b"/p", b"a=1"),
        ("/p#there", b"/p", b""),
        ("http://elsewhere", b"/", b""),
    ],
)
async def test_a_target_in_another_form_has_a_path_too(target: str, path: bytes, query: bytes) -> None:
    calls = Calls()
    async with listening(calls) as name, await anyio.connect_tcp(*name) as stream:
        await stream.send(head("GET", target))
        assert (await read_answer(stream))[0] == 200
    assert (calls.begun[0].path, calls.begun[0].query) == (path, query)


@pytest.mark.parametrize("target", ["elsewhere:1", "/\x80?#", "http://"])
async def test_a_target_without_a_path_is_400(target: str) -> None:
    async with listening(Calls()) as name, await anyio.connect_tcp(*name) as stream:
        await stream.send(head("OPTIONS", target))
        assert (await read_to_end(stream)).startswith(b"HTTP/1.1 400 ")


async def test_what_has_no_body_has_none() -> None:
    def act(exchange: Exchange) -> None:
        exchange.answer(204 if exchange.method == "DELETE" else 299, [("x-a", "b")], b"body")

    async with listening(Calls(act)) as name, await anyio.connect_tcp(*name) as stream:
        await stream.send(head("HEAD", "/") + head("DELETE", "/") + head("GET", "/", [("connection", "close")]))
        received = await read_to_end(stream)
    first, second, third = received.split(b"HTTP/1.1 ")[1:]
    assert first.startswith(b"299 \r\nx-a: b\r\n")
    assert first.endswith(b"content-length: 4\r\n\r\n")
    assert second.startswith(b"204 No Content\r\n")
    assert b"content-length" not in second
    assert b"connection: close" in third
    assert third.endswith(b"\r\n\r\nbody")


@pytest.mark.parametrize("last", [b"GET / HTTP/1.0\r\n\r\n", head("GET", "/", [("connection", "close")])])
async def test_nothing_is_read_behind_the_last_request(last: bytes) -> None:
    calls = Calls()
    async with listening(calls) as name, await anyio.connect_tcp(*name) as stream:
        await stream.send(last + b"\x00garbage\r\n\r\n")
        assert b"connection: close" in await read_to_end(stream)
    async with listening(calls) as name, await anyio.connect_tcp(*name) as stream:
        await stream.send(last + head("GET", "/"))
        assert (await read_to_end(stream)).count(b"HTTP/1.1 200") == 1
    assert len(calls.begun) == 2
    assert calls.gone == []


async def test_what_a_handler_raises_is_one_500_that_is_logged_by_its_type_only() -> None:
    def broken(_exchange: Exchange) -> None:
        raise KeyError("joe@example.com")

    with capture_logs() as logs:
        async with listening(Calls(broken)) as name, await anyio.connect_tcp(*name) as stream:
            await stream.send(head("GET", "/"))
            assert (await read_to_end(stream)).startswith(b"HTTP/1.1 500 ")
    assert logs == [{"event": "request_failed", "error": "KeyError", "log_level": "error"}]


async def test_a_task_that_ends_without_an_answer_is_a_500() -> None:
    async def forgets() -> None:
        await anyio.lowlevel.checkpoint()

    with capture_logs() as logs:
        calls = Calls(lambda exchange: exchange.start(forgets))
        async with listening(calls) as name, await anyio.connect_tcp(*name) as stream:
            await stream.send(head("GET", "/"))
            assert (await read_answer(stream))[0] == 500
    assert [line["event"] for line in logs] == ["request_failed"]


async def test_an_answer_whose_headers_break_a_line_is_refused_and_may_be_given_anew() -> None:
    def act(exchange: Exchange) -> None:
        with pytest.raises(ValueError, match="line break"):
            exchange.answer(200, [("x-a", "b\r\nx-c: d")])
        exchange.answer(200, [("x-a", "b")])

    async with listening(Calls(act)) as name, await anyio.connect_tcp(*name) as stream:
        await stream.send(head("GET", "/"))
        assert (await read_answer(stream))[1]["x-a"] == "b"


async def test_an_answer_waits_for_those_in_front_of_it() -> None:
    calls = Calls(lambda _exchange: None)
    async with listening(calls) as name, await anyio.connect_tcp(*name) as stream:
        await stream.send(head("GET", "/1") + head("GET", "/2") + head("GET", "/3"))
        await until(lambda: len(calls.begun) == 3)
        for exchange in reversed(calls.begun):
            exchange.answer(200, (), exchange.path)
        received = b""
        with anyio.fail_after(30):
            while not received.endswith(b"/3"):
                received += await stream.receive()
        assert [part[-2:] for part in received.split(b"HTTP/1.1 ")[1:]] == [b"/1", b"/2", b"/3"]


@pytest.mark.parametrize("padding", [0, 600], ids=["small", "large"])
async def test_a_client_that_pipelines_is_read_no_further_than_it_is_answered(padding: int) -> None:
    calls, sent = Calls(lambda _exchange: None), 2000
    one = head("GET", "/", [("x-padding", "y" * padding)])
    async with listening(calls) as name, await anyio.connect_tcp(*name) as stream, anyio.create_task_group() as group:
        group.start_soon(stream.send, one * sent)
        await until(lambda: len(calls.begun) >= connections._MOST_OPEN)
        await anyio.sleep(0.05)
        assert len(calls.begun) <= connections._MOST_OPEN + connections._SLICE // len(one) + 1
        group.start_soon(answer_all, calls, sent)
        received = b""
        with anyio.fail_after(30):
            while received.count(b"HTTP/1.1 200") < sent:
                received += await stream.receive()
        assert len(calls.begun) == sent


async def answer_all(calls: Calls, count: int) -> None:
    answered = 0
    while answered < count:
        for exchange in calls.begun[answered:]:
            exchange.answer(200)
            answered += 1
        await anyio.sleep(0.001)


async def test_a_client_that_does_not_read_its_answers_is_not_read_and_let_go() -> None:
    calls = Calls(lambda exchange: exchange.answer(200, (), b"x" * 100_000))
    async with listening(calls, Limits(keep_alive_seconds=1, header_seconds=1)) as (host, port):
        with socket.create_connection((host, port)) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.setblocking(False)
            for _ in range(200):
                try:
                    client.send(head("GET", "/", [("x-padding", "y" * 4000)]))
                except BlockingIOError:
                    break
                await anyio.sleep(0.001)
            await anyio.sleep(0.1)
            assert len(calls.begun) < 150

            def reset() -> bool:
                try:
                    client.send(b"z")
                except BlockingIOError:
                    return False
                except OSError:
                    return True
                return False

            await until(reset)


async def test_a_client_that_has_said_all_still_gets_its_answer() -> None:
    calls = Calls(lambda _exchange: None)
    async with listening(calls) as name, await anyio.connect_tcp(*name) as stream:
        await stream.send(head("GET", "/"))
        await stream.send_eof()
        await until(lambda: len(calls.begun) == 1)
        await anyio.sleep(0.01)
        calls.begun[0].answer(200, (), b"late")
        assert (await read_to_end(stream)).endswith(b"late")


async def test_one_that_leaves_is_told_of_and_its_answer_goes_nowhere() -> None:
    calls = Calls(lambda _exchange: None)
    async with listening(calls) as name:
        async with await anyio.connect_tcp(*name) as stream:
            await stream.send(head("GET", "/") + head("POST", "/", [("content-length", "9")]) + b"half")
            await until(lambda: len(calls.begun) == 2)
        await until(lambda: len(calls.gone) == 2)
        assert [exchange.whole for exchange in calls.gone] == [True, False]
        assert calls.begun[0].gone
        calls.begun[0].answer(200)


async def test_what_stands_behind_a_body_in_chunks_is_no_header_of_the_request() -> None:
    calls = Calls()
    chunked = head("POST", "/", [("transfer-encoding", "chunked")])
    async with listening(calls) as name, await anyio.connect_tcp(*name) as stream:
        for byte in chunked + b"2;ext=1\r\nab\r\n1\r\nc\r\n0\r\nx-trailer: 1\r\n\r\n":
            await stream.send(bytes([byte]))
        assert (await read_answer(stream))[2] == b"abc"
        await stream.send(chunked + b"1\r\nd\r\n" * 3000 + b"0\r\n\r\n")
        assert (await read_answer(stream))[2] == b"d" * 3000
    assert [key for key, _ in calls.begun[0].headers] == ["host", "transfer-encoding"]


@pytest.mark.parametrize("endless", [b"1;" + b"x" * 9000, b"0\r\nx-trailer: " + b"y" * 9000, b"0\r\n" + b"x: y\r\n" * 200])
async def test_what_surrounds_a_body_has_an_end(endless: bytes) -> None:
    async with listening(Calls(), Limits(header_bytes=4096)) as name, await anyio.connect_tcp(*name) as stream:
        await stream.send(head("POST", "/", [("transfer-encoding", "chunked")]))
        for start in range(0, len(endless), 500):
            try:
                await stream.send(endless[start : start + 500])
            except anyio.BrokenResourceError:
                break
            await anyio.sleep(0.001)
        assert (await read_to_end(stream)).startswith(b"HTTP/1.1 431 ")


async def test_behind_an_upgrade_that_was_not_taken_comes_the_next_request() -> None:
    async with listening(Calls()) as name, await anyio.connect_tcp(*name) as stream:
        await stream.send(head("GET", "/", [("connection", "upgrade"), ("upgrade", "h2c")]) * 2 + head("GET", "/"))
        received = b""
        with anyio.fail_after(30):
            while received.count(b"HTTP/1.1 200") < 3:
                received += await stream.receive()


async def test_a_request_that_came_whole_while_stopping_is_answered_and_the_next_is_not_read() -> None:
    calls, stop = Calls(), anyio.Event()
    async with listening(calls, stop=stop) as name, await anyio.connect_tcp(*name) as stream:
        await stream.send(head("POST", "/", [("content-length", "4")]) + b"ab")
        await until(lambda: len(calls.begun) == 1)
        stop.set()
        await anyio.wait_all_tasks_blocked()
        await stream.send(b"cd" + head("GET", "/"))
        received = await read_to_end(stream)
        assert received.count(b"HTTP/1.1 ") == 1
        assert b"connection: close" in received
        assert received.endswith(b"abcd")


async def test_many_names_and_answers_are_not_remembered_for_ever() -> None:
    calls = Calls(lambda exchange: exchange.answer(200, [("x-a", exchange.headers[1][0])]))
    async with listening(calls) as name, await anyio.connect_tcp(*name) as stream:
        for number in range(600):
            await stream.send(head("GET", "/", [(f"X-{number}", "1")]))
            assert (await read_answer(stream))[1]["x-a"] == f"x-{number}"
        shared = calls.begun[0]._wire.shared
        assert len(shared.names) <= 512
        assert len(shared._heads) <= 512


async def test_a_connection_that_has_ended_leaves_nothing_to_the_garbage_collector(monkeypatch: pytest.MonkeyPatch) -> None:
    class Known(Connection):
        def connection_made(self, transport: Any) -> None:
            known.append(weakref.ref(self))
            super().connection_made(transport)

    known: list[weakref.ref[Connection]] = []
    monkeypatch.setattr("cdmd.kit.listener.Connection", Known)
    calls = Calls()
    gc.disable()
    try:
        async with listening(calls) as name:
            for sent in (head("GET", "/"), head("GET", "/", [("connection", "close")]), b"nonsense\r\n\r\n", b"POST / HTTP"):
                async with await anyio.connect_tcp(*name) as stream:
                    await stream.send(sent)
                    if sent.endswith(b"\r\n\r\n"):
                        await read_answer(stream)
            calls.begun.clear()
            calls.gone.clear()
            await until(lambda: len(known) == 4 and all(one() is None for one in known))
    finally:
        gc.enable()


class Hours:
    """The loop and the transport of one connection, in time that is moved by hand; ``closed`` is when it was closed."""

    def __init__(self) -> None:
        self.now, self.closed, self.written = 0.0, 0.0, b""
        self._timers: list[tuple[float, Callable[[], None]]] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, function: Callable[[], None]) -> "Hours":
        self._timers.append((when, function))
        return self

    def cancel(self) -> None:
        self._timers.clear()

    def advance(self, seconds: float) -> None:
        self.now += seconds
        due = [function for when, function in self._timers if when <= self.now]
        self._timers = [one for one in self._timers if one[0] > self.now]
        for function in due:
            function()

    def write(self, data: bytes) -> None:
        self.written += data

    def close(self) -> None:
        self.closed = self.closed or self.now

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.written += b"(end)"

    def get_extra_info(self, name: str) -> None:
        return None

    def is_closing(self) -> bool:
        return bool(self.closed)

    def get_write_buffer_size(self) -> int:
        return 0


@pytest.mark.parametrize(("pieces", "closed"), [(0, 1.0), (7, 4.5), (100, 10.0)])
def test_what_a_refused_client_goes_on_sending_is_discarded_at_most_for_as_long_as_a_body_may_take(
    monkeypatch: pytest.MonkeyPatch, pieces: int, closed: float
) -> None:
    """Closing on it would destroy the answer before a client that is slow with its body has read that."""

    class Refusing(Calls):
        def begin(self, exchange: Exchange) -> None:
            exchange.answer(413, (("connection", "close"),))

    hours = Hours()
    monkeypatch.setattr("asyncio.get_running_loop", lambda: hours)
    connection = Connection(Shared(Refusing(), Limits(body_seconds=10.0)), set(), encrypted=False)
    connection.connection_made(hours)
    connection.data_received(head("POST", "/", [("content-length", "1000000")]))
    assert hours.written.startswith(b"HTTP/1.1 413")
    assert hours.written.endswith(b"(end)")
    for _ in range(pieces):
        hours.advance(0.5)
        if not hours.closed:
            connection.data_received(b"x")
    hours.advance(1.0)
    assert hours.closed == closed
