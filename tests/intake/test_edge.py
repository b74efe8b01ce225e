import gzip
import socket
import struct
import threading
import zlib
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import Any

import anyio
import pytest
from structlog.testing import capture_logs

from cdmd.contracts import Source
from cdmd.errors import ConfigInvalid, NotDurable, Overloaded, Paused
from cdmd.intake.admission import EdgeLimits, inflate
from cdmd.intake.edge import Edge
from cdmd.intake.routes import E
from cdmd.kit.bounded_http import Limits
from cdmd.kit.exchanges import Exchange, Headers, Shared
from cdmd.kit.proxies import Proxies
from cdmd.models import Accepted, Answer, Emission, Record, Request, Route, Verdict
from tests.connectors.doubles import NOW, Echo, FixedClock, MemorySource, listening
from tests.kit.wire import head, read_answer, read_to_end

pytestmark = pytest.mark.anyio

PATH = "/hooks/shop"
SMALL = EdgeLimits(max_body=1000)


def raising(fault: BaseException) -> Echo:
    def act(_request: Any) -> None:
        raise fault

    return Echo(act=act)


async def test_a_connector_sees_the_request_whole() -> None:
    echo = Echo()
    async with listening((echo, MemorySource())) as edge:
        answer = await edge.client.post(PATH + "?a=1&b=%20", content=b"body", headers=[("X-Twice", "1"), ("x-twice", "2")])
    assert (answer.status_code, answer.content) == (200, b"body")
    request = echo.requests[0]
    assert (request.method, request.path, request.query, request.body) == ("POST", PATH, "a=1&b=%20", b"body")
    assert [value for name, value in request.headers if name == "x-twice"] == ["1", "2"]
    assert request.peer == "127.0.0.1"
    assert request.received.year == 2026


@pytest.mark.parametrize(
    "path", ["/", "/hooks", "/hooks/shop/", "/hooks/SHOP", "/hooks//shop", "/hooks/%73hop", "/hooks/sho", "/x" * 500]
)
async def test_a_path_there_is_not_gets_one_shape_of_404(path: str) -> None:
    source = MemorySource()
    async with listening((Echo(), source)) as edge:
        answers = [await edge.client.request(method, path, content=body) for method in ("GET", "POST") for body in (b"", b"x")]
        assert edge.edge.statistics()["unknown_path"] == 4
    assert {(answer.status_code, answer.content) for answer in answers} == {(404, b"")}
    assert {name for answer in answers for name in answer.headers} == {"date", "content-length", "connection"}
    assert source.refused == []


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "PURGE"])
async def test_a_wrong_method_is_told_the_right_ones(method: str) -> None:
    source = MemorySource()
    async with listening((Echo(Route(path=PATH, methods=("POST", "PUT2"))), source)) as edge:
        answer = await edge.client.request(method, PATH)
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST, PUT2")
    assert source.refused == ["method"]


async def test_a_declared_body_over_the_limit_is_refused_before_it_is_read() -> None:
    source = MemorySource()
    async with listening((Echo(), source), limits=SMALL) as edge, await edge.connect() as stream:
        await stream.send(head("POST", PATH, [("content-length", str(100 * 2**20))]))
        status, headers, body = await read_answer(stream)
        assert (status, headers["connection"]) == (413, "close")
        assert b"too_large" in body
    assert source.refused == ["too_large"]


async def test_a_client_that_pushes_a_hundred_megabytes_anyway_reads_413() -> None:
    async def flood() -> Any:
        for _ in range(1600):
            yield b"x" * 65_536

    async with listening((Echo(), MemorySource()), limits=SMALL) as edge:
        for headers in ({}, {"content-length": str(1600 * 65_536)}):
            answer = await edge.client.post(PATH, content=flood(), headers=headers)
            assert answer.status_code == 413


async def test_a_client_that_has_sent_all_before_it_listens_reads_413_too() -> None:
    async with listening((Echo(), MemorySource()), limits=SMALL) as edge:
        for _ in range(8):
            async with await edge.connect() as stream:
                await stream.send(head("POST", PATH, [("content-length", str(6 * 2**20))]) + b"x" * (6 * 2**20))
                assert (await read_answer(stream))[0] == 413


async def test_a_chunked_body_is_counted_while_it_streams() -> None:
    echo, source = Echo(), MemorySource()
    async with listening((echo, source), limits=SMALL) as edge, await edge.connect() as stream:
        await stream.send(head("POST", PATH, [("transfer-encoding", "chunked")]))
        for _ in range(4):
            await stream.send(b"fa\r\n" + b"x" * 250 + b"\r\n")
        await stream.send(b"1\r\ny\r\n")
        assert (await read_answer(stream))[0] == 413
    async with listening((echo, source), limits=SMALL) as edge, await edge.connect() as stream:
        await stream.send(head("POST", PATH, [("transfer-encoding", "chunked")]))
        for _ in range(4):
            await stream.send(b"fa\r\n" + b"x" * 250 + b"\r\n")
        await stream.send(b"0\r\n\r\n")
        assert (await read_answer(stream))[2] == b"x" * 1000
        assert edge.edge.statistics()["bytes_in_flight"] == 0
    assert source.refused == ["too_large"]


async def test_a_route_may_take_more_than_the_rest() -> None:
    async with listening((Echo(Route(path=PATH, max_body=5000)), MemorySource()), limits=SMALL) as edge:
        assert (await edge.client.post(PATH, content=b"x" * 5000)).status_code == 200
        assert (await edge.client.post(PATH, content=b"x" * 5001)).status_code == 413


async def test_gzip_is_inflated_under_the_same_limit() -> None:
    source = MemorySource()
    bomb = gzip.compress(b"\0" * 50_000_000)
    lying = bomb[:-4] + (90_000).to_bytes(4, "little")
    async with listening((Echo(), source), limits=EdgeLimits(max_body=100_000)) as edge:

        async def send(body: bytes, encoding: str = "gzip") -> Any:
            return await edge.client.post(PATH, content=body, headers={"content-encoding": encoding})

        assert (await send(gzip.compress(b"hello"))).content == b"hello"
        assert (await send(gzip.compress(b"hello"), "X-GZIP")).content == b"hello"
        assert (await send(b"plain", "identity")).content == b"plain"
        assert (await send(gzip.compress(b"x" * 100_000))).status_code == 200
        assert (await send(gzip.compress(b"x" * 100_001))).status_code == 413
        assert (await send(bomb)).status_code == 413
        halves = (gzip.compress(b"hello")[:-3], gzip.compress(b"a") * 2, gzip.compress(b"a") + b"z")
        for broken in (b"", b"no gzip", b"x" * 14 + b"\x01\0\0\0", lying, *halves):
            answer = await send(broken)
            assert (answer.status_code, answer.json()["code"]) == (400, "invalid_gzip")
        for other in ("br", "deflate", "gzip, gzip", "zstd"):
            answer = await send(zlib.compress(b"hello"), other)
            assert (answer.status_code, answer.headers["accept-encoding"]) == (415, "gzip")
        assert edge.edge.statistics()["bytes_in_flight"] == 0
    assert source.refused == ["too_large"] * 2 + ["encoding"] * 11


async def test_what_a_packed_body_holds_counts_before_it_is_inflated() -> None:
    release, held = anyio.Event(), anyio.Event()

    async def wait() -> None:
        held.set()
        await release.wait()

    source, packed = MemorySource(), gzip.compress(b"x" * 1000)
    echo = Echo(act=lambda request: None if held.is_set() else wait())
    limits = EdgeLimits(max_body=1000, bytes_in_flight=2 * len(packed) + 1500)
    async with listening((echo, source), limits=limits) as edge, await edge.connect() as first:
        length = ("content-length", str(len(packed)))
        await first.send(head("POST", PATH, [length, ("content-encoding", "gzip")]) + packed)
        await held.wait()
        assert edge.edge.statistics()["bytes_in_flight"] == len(packed) + 1000
        answer = await edge.client.post(PATH, content=packed, headers={"content-encoding": "gzip"})
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        release.set()
        assert (await read_answer(first))[2] == b"x" * 1000
        assert edge.edge.statistics()["bytes_in_flight"] == 0
    assert source.refused == ["busy"]


async def test_a_large_packed_body_is_inflated_beside_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = []

    def watched(packed: bytes, size: int) -> bytes:
        threads.append(threading.current_thread())
        if size == 70_001:
            raise MemoryError
        return inflate(packed, size)

    source = MemorySource()
    monkeypatch.setattr("cdmd.intake.admission.inflate", watched)
    with capture_logs():
        async with listening((Echo(), source), limits=EdgeLimits(max_body=100_000)) as edge:
            for size, status in ((65_536, 200), (65_537, 200), (70_001, 500)):
                answer = await edge.client.post(PATH, content=gzip.compress(b"x" * size), headers={"content-encoding": "gzip"})
                assert (answer.status_code, len(answer.content)) == (status, size if status == 200 else 0)
            damaged = gzip.compress(b"x" * 90_000)[:-8] + b"\0" * 4 + (90_000).to_bytes(4, "little")
            assert (await edge.client.post(PATH, content=damaged, headers={"content-encoding": "gzip"})).status_code == 400
            assert edge.edge.statistics()["bytes_in_flight"] == 0
    assert [one is threading.main_thread() for one in threads] == [True, False, False, False]
    assert source.refused == ["failed", "encoding"]


async def test_expect_100_continue_is_answered_only_after_the_checks() -> None:
    async with listening((Echo(), MemorySource()), limits=SMALL) as edge:
        async with await edge.connect() as stream:
            await stream.send(head("POST", PATH, [("content-length", "4"), ("expect", "100-continue")]))
            with anyio.fail_after(30):
                assert await stream.receive() == b"HTTP/1.1 100 Continue\r\n\r\n"
            await stream.send(b"body")
            assert (await read_answer(stream))[2] == b"body"
        async with await edge.connect() as stream:
            await stream.send(head("POST", PATH, [("content-length", "4000"), ("expect", "100-continue")]))
            assert (await read_to_end(stream)).startswith(b"HTTP/1.1 413 ")


async def test_the_bytes_of_all_bodies_together_are_bounded() -> None:
    release, held = anyio.Event(), anyio.Event()

    async def wait() -> None:
        held.set()
        await release.wait()

    source = MemorySource()
    echo = Echo(act=lambda request: wait() if len(request.body) > 900 else None)
    async with (
        listening((echo, source), limits=EdgeLimits(max_body=1000, bytes_in_flight=1200)) as edge,
        await edge.connect() as first,
        await edge.connect() as streaming,
    ):
        await first.send(head("POST", PATH, [("content-length", "1000")]) + b"x" * 1000)
        await held.wait()
        answer = await edge.client.post(PATH, content=b"y" * 300)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        await streaming.send(head("POST", PATH, [("transfer-encoding", "chunked")]) + b"fa\r\n" + b"z" * 250 + b"\r\n")
        assert (await read_answer(streaming))[0] == 503
        assert (await edge.client.post(PATH, content=b"y" * 100)).status_code == 200
        release.set()
        assert (await read_answer(first))[0] == 200
        assert edge.edge.statistics()["bytes_in_flight"] == 0
    assert source.refused == ["busy", "busy"]


async def test_one_connectors_requests_at_once_are_bounded_and_others_go_on() -> None:
    release, held = anyio.Event(), anyio.Event()

    async def wait() -> None:
        held.set()
        await release.wait()

    slow, source, other = Echo(act=lambda _request: wait()), MemorySource(), Echo(Route(path="/hooks/other"))
    async with (
        listening((slow, source), (other, MemorySource("other")), limits=EdgeLimits(concurrent=1)) as edge,
        await edge.connect() as first,
    ):
        await first.send(head("POST", PATH, [("content-length", "1")]) + b"x")
        await held.wait()
        answer = await edge.client.post(PATH, content=b"y")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert (await edge.client.post("/hooks/other", content=b"z")).content == b"z"
        release.set()
        assert (await read_answer(first))[0] == 200
        assert (await edge.client.post(PATH, content=b"y")).status_code == 200
    assert source.refused == ["busy"]


@pytest.mark.parametrize(
    ("fault", "seconds"),
    [(Overloaded("full", retry_after=3), "3"), (NotDurable("disk full", retry_after=7), "7"), (Paused("by joe"), "60")],
)
async def test_no_place_now_is_503_with_when_to_come_again(fault: Exception, seconds: str) -> None:
    source = MemorySource()
    async with listening((raising(fault), source)) as edge:
        answer = await edge.client.post(PATH)
        assert (answer.status_code, answer.headers["retry-after"], answer.json()["code"]) == (503, seconds, "unavailable")
        assert edge.degraded == []
    assert source.refused == []


async def test_a_connectors_own_fault_is_an_empty_500_that_is_counted_and_logged_without_its_text() -> None:
    source = MemorySource()
    with capture_logs() as logs:
        async with listening((raising(ValueError("joe@example.com")), source)) as edge:
            answer = await edge.client.post(PATH, content=b"joe@example.com")
            assert (answer.status_code, answer.content) == (500, b"")
            assert edge.edge.statistics()["failed"] == 1
            assert edge.degraded == [("shop", "ValueError")]
    assert logs == [{"event": "connector_answer_failed", "connector": "shop", "error": "ValueError", "log_level": "error"}]
    assert source.refused == ["failed"]


async def test_a_connector_that_answers_junk_has_failed() -> None:
    with capture_logs():
        async with listening((Echo(act=lambda _request: "junk"), MemorySource())) as edge:
            assert (await edge.client.post(PATH)).status_code == 500
            assert edge.degraded == [("shop", "TypeError")]


async def test_a_connector_that_hangs_is_given_up_and_its_sender_told_to_retry() -> None:
    source = MemorySource()
    with capture_logs():
        async with listening(
            (Echo(act=lambda _request: anyio.sleep_forever()), source), limits=EdgeLimits(answer_seconds=0.05)
        ) as edge:
            answer = await edge.client.post(PATH)
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
            assert edge.degraded == [("shop", "TimeoutError")]
    assert source.refused == []


async def test_an_answer_without_content_carries_no_length() -> None:
    async with listening((Echo(act=lambda _request: Answer(status=204, headers=[("x-a", "b")])), MemorySource())) as edge:
        answer = await edge.client.post(PATH)
    assert (answer.status_code, answer.headers["x-a"]) == (204, "b")
    assert "content-length" not in answer.headers


async def test_a_client_that_leaves_in_its_body_reaches_no_connector() -> None:
    echo, source = Echo(), MemorySource()
    async with listening((echo, source), wire=Limits(body_seconds=0.1)) as edge:
        for start in (head("POST", PATH, [("content-length", "9")]) + b"half", head("POST", PATH, [("content-length", "9")])):
            async with await edge.connect() as stream:
                await stream.send(start)
                assert (await read_to_end(stream)).startswith(b"HTTP/1.1 408 ")
        with anyio.fail_after(30):
            while len(source.refused) < 2:
                await anyio.lowlevel.checkpoint()
        assert edge.edge.statistics()["bytes_in_flight"] == 0
    assert (echo.requests, source.refused) == ([], ["disconnected", "disconnected"])


async def test_the_probes_answer_on_every_listener() -> None:
    state: tuple[bool, list[str]] = (True, ["ok"])
    async with listening(ready=lambda: state) as edge:
        live = await edge.client.get("/livez")
        assert (live.status_code, live.text) == (200, "ok\n")
        assert (await edge.client.get("/readyz")).status_code == 200
        state = (False, ["journal: the disk is full", "store: behind"])
        answer = await edge.client.get("/readyz")
        assert (answer.status_code, answer.text) == (503, "journal: the disk is full\nstore: behind\n")
        assert (await edge.client.get("/livez")).status_code == 200
        assert (await edge.client.head("/livez")).status_code == 200
        assert (await edge.client.post("/livez")).headers["allow"] == "GET, HEAD"


async def test_routes_are_swapped_while_it_runs_and_a_clash_changes_nothing() -> None:
    async with listening((Echo(), MemorySource())) as edge:
        with pytest.raises(ConfigInvalid) as clash:
            edge.edge.swap(
                [
                    (Echo(), MemorySource("a")),
                    (Echo(), MemorySource("b")),
                    (Echo(Route(path="/livez")), MemorySource("c")),
                ]
            )
        assert clash.value.problems == (
            "connectors.b.path: /hooks/shop is already answered by connectors.a",
            "connectors.c.path: /livez is already answered by the daemon",
        )
        assert (await edge.client.post(PATH)).status_code == 200
        edge.edge.swap([(Echo(Route(path="/hooks/n\u00e5")), MemorySource("n"))])
        assert (await edge.client.post(PATH)).status_code == 404
        assert (await edge.client.post("/hooks/n%C3%A5")).status_code == 200


class Keyed(Echo):
    """Shares its path and recognises requests that name it in their query; answers its own name."""

    def __init__(
        self,
        name: str,
        *,
        max_body: int | None = None,
        act: Callable[[Request], object] | None = None,
        origins: Sequence[str] = (),
    ) -> None:
        super().__init__(Route(path="/v1/batch", shared=True, max_body=max_body, origins=origins), act=act or self._named)
        self.name = name

    def _named(self, _request: Request) -> Answer:
        return Answer(body=self.name.encode())

    def recognises(self, request: Request) -> bool:
        if request.query == "broken" and self.name == "a":
            raise ValueError("joe@example.com")
        return request.query in {self.name, "broken"}


async def test_connectors_that_share_a_path_are_told_apart_by_the_request() -> None:
    a, b = MemorySource("a"), MemorySource("b")
    async with listening((Keyed("a"), a), (Keyed("b"), b)) as edge:
        answers = [(await edge.client.post(f"/v1/batch?{query}")).text for query in ("a", "b", "nobody")]
    assert answers == ["a", "b", "a"]


async def test_one_that_fails_to_recognise_is_named_and_does_not_harm_its_neighbours() -> None:
    with capture_logs() as logs:
        async with listening((Keyed("a"), MemorySource("a")), (Keyed("b"), MemorySource("b"))) as edge:
            assert (await edge.client.post("/v1/batch?broken")).text == "b"
            assert edge.degraded == [("a", "ValueError")]
    assert logs == [{"event": "connector_answer_failed", "connector": "a", "error": "ValueError", "log_level": "error"}]


async def test_each_of_those_that_share_a_path_has_its_own_limit() -> None:
    a, b = MemorySource("a"), MemorySource("b")
    async with listening((Keyed("a", max_body=10), a), (Keyed("b", max_body=20), b)) as edge:
        answers = {
            (query, size): (await edge.client.post(f"/v1/batch?{query}", content=b"x" * size)).status_code
            for query in ("a", "b")
            for size in (10, 11, 20, 21)
        }
    assert {key for key, status in answers.items() if status == 413} == {("a", 11), ("a", 20), ("a", 21), ("b", 21)}
    assert set(answers.values()) == {200, 413}
    assert (a.refused, b.refused) == (["too_large"] * 4, [])


@pytest.mark.parametrize("origin", ["https://shop.example", "https://tv.example", "https://evil.example", None])
async def test_a_page_that_is_let_in_can_read_what_the_daemon_itself_answers(origin: str | None) -> None:
    """Whoever of those that share the path lets it in: what is refused here has not been recognised as anybody's yet."""
    paused = Keyed("a", max_body=100, origins=("https://shop.example",))
    paused.act = raising(Paused("it is paused", retry_after=60)).act
    other = Keyed("b", max_body=100, origins=("https://tv.example",))
    headers = [] if origin is None else [("origin", origin)]
    packed = gzip.compress(b"x" * 1000)
    async with listening((paused, MemorySource("a")), (other, MemorySource("b"))) as edge:
        answers = [
            await edge.client.request(method, f"/v1/batch?{query}", content=content, headers=[*headers, *more])
            for method, query, content, more in (
                ("GET", "a", b"", []),
                ("POST", "a", b"x" * 101, []),
                ("POST", "b", pieces(b"x" * 60, b"y" * 60), []),
                ("POST", "a", packed, [("content-encoding", "gzip")]),
                ("POST", "a", b"x", [("content-encoding", "gzip")]),
                ("POST", "a", b"x", [("content-encoding", "br")]),
                ("POST", "a", b"x", []),
            )
        ]
    assert [answer.status_code for answer in answers] == [405, 413, 413, 413, 400, 415, 503]
    assert answers[-1].headers["retry-after"] == "60"
    let_in = origin if origin != "https://evil.example" else None
    assert {answer.headers.get("access-control-allow-origin") for answer in answers} == {let_in}


async def pieces(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def test_a_path_is_shared_only_where_both_say_so() -> None:
    async with listening((Keyed("a"), MemorySource("a"))) as edge:
        for other in (Echo(Route(path="/v1/batch")), Echo(Route(path="/v1/batch", shared=True))):
            with pytest.raises(ConfigInvalid):
                edge.edge.check([(Keyed("a"), MemorySource("a")), (other, MemorySource("b"))])


class Deciding(Echo):
    """Decides at once what is told in the body; what it leaves is answered with ``waited``."""

    def __init__(self) -> None:
        super().__init__(act=lambda _request: Answer(body=b"waited"))

    def decide(self, request: Request, source: Source) -> Answer | Emission | None:
        match request.body:
            case b"later":
                return None
            case b"broken":
                raise ValueError("joe@example.com")
            case b"junk":
                return "junk"  # type: ignore[return-value]
            case b"no":
                source.refuse(1, "unwanted")
                return Answer(status=403)
            case b"broken answer" | b"junk answer" | b"paused answer":
                return Emission(records=[record()], answer=partial(self._broken, request.body))
            case _:
                return Emission(records=[record(), record("2")], answer=self._verdicts)

    @staticmethod
    def _broken(body: bytes, _verdicts: Sequence[Verdict]) -> Answer:
        if body == b"junk answer":
            return "junk"  # type: ignore[return-value]
        raise Paused("by joe") if body == b"paused answer" else ValueError("joe@example.com")

    @staticmethod
    def _verdicts(verdicts: Sequence[Verdict]) -> Answer:
        return Answer(body=" ".join(verdict.id for verdict in verdicts if isinstance(verdict, Accepted)).encode())


def record(id_: str = "1") -> Record:
    return Record(value={}, received=NOW, fallback_id=id_)


async def test_a_connector_that_decides_at_once_is_answered_from_the_verdicts_of_what_it_wanted_kept() -> None:
    source = MemorySource()
    async with listening((Deciding(), source)) as edge:
        answers = [await edge.client.post(PATH, content=body) for body in (b"x", b"no", b"later")]
    assert [(answer.status_code, answer.text) for answer in answers] == [(200, "1 2"), (403, ""), (200, "waited")]
    assert [len(batch) for batch in source.emitted] == [2]
    assert source.refused == ["unwanted"]


@pytest.mark.parametrize("body", [b"broken", b"junk", b"broken answer", b"junk answer"])
async def test_one_that_fails_to_decide_or_to_answer_is_named_like_any_other(body: bytes) -> None:
    source = MemorySource()
    with capture_logs():
        async with listening((Deciding(), source)) as edge:
            assert (await edge.client.post(PATH, content=body)).status_code == 500
            assert edge.degraded == [("shop", "TypeError" if b"junk" in body else "ValueError")]
            assert edge.edge.statistics()["failed"] == 1


async def test_what_cannot_be_kept_now_is_503_for_those_that_decide_at_once_too() -> None:
    source = MemorySource()
    async with listening((Deciding(), source)) as edge:
        source.failure = NotDurable("disk full", retry_after=7)
        answer = await edge.client.post(PATH)
        assert (answer.status_code, answer.headers["retry-after"], answer.json()["code"]) == (503, "7", "unavailable")
        source.failure = None
        assert (await edge.client.post(PATH, content=b"paused answer")).headers["retry-after"] == "60"
        assert edge.degraded == []
    assert source.refused == []


class Taking(MemorySource):
    """Keeps who waits instead of answering."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: list[Callable[[list[Verdict] | None, Overloaded | None], None]] = []
        self.turns: list[int] = []

    def take(self, several: Sequence[E]) -> Sequence[E]:
        self.turns.append(len(several))
        self.emitted += [one.wanted.records for one in several]
        self.waiting += [one.settle for one in several]
        return ()

    async def taken(self, count: int = 1) -> None:
        with anyio.fail_after(30):
            while len(self.waiting) < count:
                await anyio.lowlevel.checkpoint()


async def test_what_was_taken_without_a_task_is_answered_when_it_is_durable_and_not_before() -> None:
    source = Taking()
    async with listening((Deciding(), source)) as edge, await edge.connect() as stream:
        await stream.send(head("POST", PATH, [("content-length", "1")]) + b"x")
        await source.taken()
        with anyio.move_on_after(0.05) as waited:
            await stream.receive()
        assert waited.cancelled_caught
        source.waiting[0]([Accepted("1"), Accepted("2")], None)
        assert (await read_answer(stream))[2] == b"1 2"
        assert edge.edge.statistics()["bytes_in_flight"] == 0


@pytest.mark.parametrize(
    ("body", "error", "status", "degraded"),
    [
        (b"x", NotDurable("disk full", retry_after=7), 503, []),
        (b"broken answer", None, 500, [("shop", "ValueError")]),
        (b"junk answer", None, 500, [("shop", "TypeError")]),
    ],
)
async def test_what_was_taken_and_cannot_be_answered_says_so(
    body: bytes, error: Overloaded | None, status: int, degraded: list[tuple[str, str]]
) -> None:
    source = Taking()
    with capture_logs():
        async with listening((Deciding(), source)) as edge, await edge.connect() as stream:
            await stream.send(head("POST", PATH, [("content-length", str(len(body)))]) + body)
            await source.taken()
            source.waiting[0](None if error else [Accepted("1")], error)
            assert (await read_answer(stream))[0] == status
            assert edge.degraded == degraded


async def test_what_was_taken_and_does_not_become_durable_in_time_is_given_up_and_its_late_end_changes_nothing() -> None:
    source = Taking()
    with capture_logs():
        async with (
            listening((Deciding(), source), limits=EdgeLimits(answer_seconds=0.05, concurrent=1)) as edge,
            await edge.connect() as stream,
        ):
            for number in (1, 2):
                await stream.send(head("POST", PATH, [("content-length", "1")]) + b"x")
                await source.taken(number)
                status, headers, _ = await read_answer(stream)
                assert (status, headers["retry-after"]) == (503, "1")
                source.waiting[-1]([Accepted("1"), Accepted("2")], None)
            assert edge.degraded == [("shop", "TimeoutError")] * 2
            assert edge.edge.statistics()["bytes_in_flight"] == 0
    assert source.refused == []


@pytest.mark.parametrize("abruptly", [False, True], ids=["closed", "reset"])
async def test_a_client_that_leaves_before_the_commit_takes_nothing_with_it(abruptly: bool) -> None:
    source = Taking()
    async with listening((Deciding(), source), limits=EdgeLimits(concurrent=1)) as edge:
        async with await edge.connect() as stream:
            await stream.send(head("POST", PATH, [("content-length", "1")]) + b"x")
            await source.taken()
            if abruptly:
                raw = stream.extra(anyio.abc.SocketAttribute.raw_socket)
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await anyio.sleep(0.05)
        assert edge.edge.statistics()["bytes_in_flight"] == 1
        source.waiting[0]([Accepted("1"), Accepted("2")], None)
        assert edge.edge.statistics()["bytes_in_flight"] == 0
        assert (await edge.client.post(PATH, content=b"no")).status_code == 403
    assert source.refused == ["unwanted"]


async def test_an_answer_that_cannot_be_sent_is_the_connectors_fault() -> None:
    source = MemorySource()
    with capture_logs():
        async with listening((Echo(act=lambda _request: Answer(headers=[("x-a", "b\r\nx-c: d")])), source)) as edge:
            assert (await edge.client.post(PATH)).status_code == 500
            assert edge.degraded == [("shop", "ValueError")]
    assert source.refused == ["failed"]


class Wire:
    """A connection that only keeps its answers."""

    peer, certificate, dead = "192.0.2.1", (), False

    def __init__(self, edge: Edge) -> None:
        self.shared = Shared(edge, Limits())
        self.answers: list[bytes] = []

    def answered(self, exchange: Exchange, out: bytes) -> None:
        self.answers.append(out)


async def test_those_that_arrive_together_take_turns_of_a_bounded_number_and_one_that_fails_harms_no_other() -> None:
    class Failing(Taking):
        def take(self, several: Sequence[E]) -> Sequence[E]:
            met.extend(one for one in several if one not in met)
            if met[2:3] and met[2] in several:
                raise ValueError("joe@example.com")
            return super().take(several)

    source, degraded, met = Failing(), [], list[Any]()
    edge = Edge(clock=FixedClock(), ready=lambda: (True, []), degraded=lambda *named: degraded.append(named))
    edge.swap([(Deciding(), source)])
    wire = Wire(edge)
    for _ in range(134):
        exchange = Exchange(wire, "POST", PATH.encode(), [])
        edge.begin(exchange)
        exchange.whole = True
        edge.complete(exchange)
    assert source.emitted == []
    await anyio.lowlevel.checkpoint()
    assert 0 < len(source.emitted) < 134, "the first are on their way before the last are looked at"
    with capture_logs():
        await source.taken(133)
    assert source.turns == [1] * 63 + [64, 6], "those of a turn are taken at once, but for a turn in which one fails"
    for settle in source.waiting:
        settle([Accepted("1")], None)
    assert [answer.split()[1] for answer in wire.answers] == [b"500"] + [b"200"] * 133
    assert degraded == [("shop", "ValueError")]
    assert edge.statistics() == {"requests": 134, "unknown_path": 0, "failed": 1, "bytes_in_flight": 0}


async def test_a_fault_of_the_edge_itself_is_one_requests_500() -> None:
    class Broken(Proxies):
        def client(self, peer: str, headers: Headers) -> str:
            if ("x-broken", "1") in headers:
                raise LookupError(peer)
            return peer

    source = MemorySource()
    with capture_logs():
        async with listening((Echo(), source), proxies=Broken()) as edge:
            broken = await edge.client.post(PATH, content=b"x", headers={"x-broken": "1"})
            right = await edge.client.post(PATH, content=b"x")
            assert (broken.status_code, right.status_code, right.content) == (500, 200, b"x")
            assert edge.edge.statistics()["bytes_in_flight"] == 0
            assert edge.degraded == [("shop", "LookupError")]
    assert source.refused == ["failed"]


async def test_what_a_source_cannot_take_at_once_is_awaited() -> None:
    class Waited(MemorySource):
        def take(self, several: Sequence[E]) -> Sequence[E]:
            return several

    source = Waited()
    async with listening((Deciding(), source)) as edge:
        assert (await edge.client.post(PATH, content=b"x")).text == "1 2"
    assert [len(batch) for batch in source.emitted] == [2]
