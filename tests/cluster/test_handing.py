"""What a node that stands by is sent, handed on within one process: answered as where nobody hands it on, within bounds."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import anyio
import httpx
import pytest
from anyio.abc import SocketAttribute
from structlog.testing import capture_logs

from cdmd.cluster.handing import HandingOn, Serving
from cdmd.errors import NotDurable
from cdmd.kit.bounded_http import Limits
from cdmd.kit.exchanges import Exchange, Handler
from cdmd.kit.listener import listen
from cdmd.kit.serving import bind

pytestmark = pytest.mark.anyio
MOST = 1_000


@asynccontextmanager
async def listening(handler: Handler) -> AsyncIterator[httpx.AsyncClient]:
    bound, stop = bind("127.0.0.1:0"), anyio.Event()
    async with anyio.create_task_group() as tasks:
        await tasks.start(partial(listen, handler, [bound], stop=stop))
        base = f"http://127.0.0.1:{bound.getsockname()[1]}"
        async with httpx.AsyncClient(base_url=base, trust_env=False) as client:
            yield client
        stop.set()


def handing_on(send: Callable[[bytes], Awaitable[bytes]], **bounds: int) -> HandingOn:
    return HandingOn(send, **{"largest": 1_000, **bounds})


async def nobody(_: bytes) -> bytes:
    raise NotDurable("nobody leads")


class Odd(Handler):
    """Answers what it was made with; as the edge does, 500 where that cannot be sent."""

    def __init__(self, answer: tuple[Any, Any, Any]) -> None:
        self._answer = answer

    def begin(self, exchange: Exchange) -> None:
        """It waits for all of it."""

    def piece(self, exchange: Exchange, data: bytes) -> None:
        """What it is does not matter."""

    left: Any = None

    def complete(self, exchange: Exchange) -> None:
        try:
            exchange.answer(*self._answer)
        except (ValueError, TypeError, AttributeError):
            exchange.answer(500)


ODD = {
    "a number in a header": (503, [("retry-after", 60)], b"later"),
    "bytes in a header": (200, [("x-odd", b"one")], b""),
    "headers in lists": (200, [["x-odd", "one"]], b""),
    "a header of three": (200, [("x-odd", "one", "two")], b""),
    "a line break": (200, [("x-odd", "one\r\ntwo")], b""),
    "bytes that may change": (200, (), bytearray(b"one")),
    "a part of bytes": (200, (), memoryview(b"one")),
    "text": (200, (), "one"),
    "no body": (200, (), None),
    "an object": (200, (), object()),
}


@pytest.mark.parametrize("answer", ODD.values(), ids=ODD)
async def test_an_odd_answer_is_the_same_as_where_nobody_hands_it_on(answer: tuple[Any, Any, Any]) -> None:
    said = []
    for handler in (Odd(answer), handing_on(Serving(Odd(answer), most=MOST).serve)):
        async with listening(handler) as client:
            found = await client.get("/hooks/a")
            said.append((found.status_code, found.headers.get("x-odd"), found.content))
    assert said[0] == said[1]


@pytest.mark.parametrize("status", [10**30, 99, None, "fine"])
async def test_a_status_that_is_none_is_a_500(status: Any) -> None:
    async with listening(handing_on(Serving(Odd((status, (), b"")), most=MOST).serve)) as client:
        assert (await client.get("/hooks/a")).status_code == 500


async def test_whether_the_process_lives_it_says_itself_also_where_nobody_leads() -> None:
    async with listening(handing_on(nobody)) as client:
        found = await client.get("/livez")
        assert (found.status_code, found.text, found.headers["cache-control"]) == (200, "ok\n", "no-store")
        assert (await client.head("/livez")).status_code == 200
        assert (await client.post("/livez")).status_code == 503, "what else there is to say is for the one that leads"
        assert (await client.get("/readyz")).status_code == 503


@pytest.mark.parametrize("chunked", [False, True], ids=["declared", "in chunks"])
async def test_a_body_that_no_connector_takes_is_refused_here_and_not_sent(*, chunked: bool) -> None:
    sent = list[bytes]()

    async def send(request: bytes) -> bytes:
        sent.append(request)
        return await Serving(Odd((200, (), b"")), most=MOST).serve(request)

    def pieces(size: int) -> Iterator[bytes]:
        yield from (b"x" for _ in range(size))

    async def chunks(size: int) -> AsyncIterator[bytes]:
        for piece in pieces(size):
            yield piece

    handler = handing_on(send)
    async with listening(handler) as client:
        for size, status in ((1_000, 200), (1_001, 413)):
            found = await client.post("/hooks/a", content=chunks(size) if chunked else b"x" * size)
            assert found.status_code == status
        assert (found.headers["connection"], "1000 bytes" in found.text, len(sent)) == ("close", True, 1)
    assert (handler._bytes, handler._waiting) == (0, set())


async def test_one_that_says_it_is_too_large_is_refused_before_its_body_is_there() -> None:
    async with listening(handing_on(nobody)) as client:
        raw = await anyio.connect_tcp("127.0.0.1", client.base_url.port or 0)
        await raw.send(b"POST /hooks/a HTTP/1.1\r\nhost: a\r\ncontent-length: 1001\r\n\r\n")
        with anyio.fail_after(10):
            assert (await raw.receive()).startswith(b"HTTP/1.1 413 ")
        await raw.aclose()


@pytest.mark.parametrize("bounds", [{"most": 5_000}, {"requests": 3}], ids=["heads", "requests"])
async def test_heads_and_requests_are_bounded_too_and_what_is_not_taken_is_told_once(bounds: dict[str, int]) -> None:
    gate, held = anyio.Event(), list[bytes]()

    async def send(request: bytes) -> bytes:
        held.append(request)
        await gate.wait()
        return await Serving(Odd((200, (), b"")), most=MOST).serve(request)

    said, handler = list[int](), handing_on(send, **bounds)
    with capture_logs() as lines:
        async with listening(handler) as client, anyio.create_task_group() as tasks:

            async def ask() -> None:
                said.append((await client.get("/hooks/a", headers={"x-long": "x" * 1_400})).status_code)

            for _ in range(6):
                tasks.start_soon(ask)
            with anyio.fail_after(10):
                while len(held) + len(said) < 6:  # noqa: ASYNC110 - another connection's doing
                    await anyio.sleep(0.005)
            gate.set()
    assert (said, len(held)) == ([503] * 3 + [200] * 3, 3)
    (told,) = [line for line in lines if line["event"] == "requests_not_handed_on"]
    assert (told["count"], told["error"]) == (1, "more than can be held")
    assert (handler._bytes, handler._waiting, handler._unsent) == (0, set(), 2)


async def test_whoever_waits_when_this_node_takes_the_place_of_one_that_hangs_is_told_to_send_again() -> None:
    sent, said = anyio.Event(), list[tuple[int, str, str]]()

    async def send(request: bytes) -> bytes:
        sent.set()
        await anyio.sleep_forever()
        return request

    handler = handing_on(send)
    bound, stop = bind("127.0.0.1:0"), anyio.Event()
    async with anyio.create_task_group() as tasks:
        await tasks.start(partial(listen, handler, [bound], limits=Limits(stop_seconds=0.1), stop=stop))
        half = await anyio.connect_tcp(*bound.getsockname())
        await half.send(b"POST /hooks/a HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nhalf")

        async def ask() -> None:
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{half.extra(SocketAttribute.remote_port)}") as client:
                found = await client.post("/hooks/a", content=b"whole")
                said.append((found.status_code, found.headers["retry-after"], found.headers["connection"]))

        tasks.start_soon(ask)
        with anyio.fail_after(10):
            await sent.wait()
            while len(handler._waiting) < 2:  # noqa: ASYNC110 - another connection's doing
                await anyio.sleep(0.005)
        handler.give_up()
        stop.set()
        with anyio.fail_after(10):
            assert (await half.receive()).startswith(b"HTTP/1.1 503 ")
        await half.aclose()
    assert said == [(503, "1", "close")]
    assert (handler._bytes, handler._waiting) == (0, set())


@pytest.mark.parametrize(("length", "status"), [(900, 200), (1_001, 502)])
async def test_an_answer_that_no_message_can_hold_is_said_to_be_one(length: int, status: int) -> None:
    with capture_logs() as logs:
        async with listening(handing_on(Serving(Odd((200, (), b"x" * length)), most=MOST).serve)) as client:
            found = await client.get("/export")
    assert found.status_code == status
    assert ("answer_too_large" in found.text) == bool(logs) == (status == 502)
