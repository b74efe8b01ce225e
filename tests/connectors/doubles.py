"""A source that keeps what was emitted, and a daemon's edge really listening on loopback."""

import ssl
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import anyio
import httpx

from cdmd.contracts import Http, PushConnector
from cdmd.intake.admission import EdgeLimits
from cdmd.intake.edge import Edge
from cdmd.kit.bounded_http import Limits
from cdmd.kit.listener import listen
from cdmd.kit.proxies import Proxies
from cdmd.kit.serving import bind
from cdmd.models import Accepted, Answer, Record, Request, Route, Verdict

NOW = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)


class FixedClock:
    """Time stands still."""

    def __init__(self, now: datetime = NOW) -> None:
        self.time = now

    def now(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds)


class MemorySource:
    """Keeps the records of each ``emit``; ``verdict`` decides on each, ``failure`` is raised instead."""

    def __init__(self, name: str = "shop", *, clock: FixedClock | None = None) -> None:
        self.name = name
        self.public_url: str | None = "https://in.example.com"
        self.clock = clock or FixedClock()
        self.emitted: list[Sequence[Record]] = []
        self.refused: list[str] = []
        self.failure: Exception | None = None
        self.verdict: Callable[[Record], Verdict] = lambda record: Accepted(record.id or record.fallback_id)

    @property
    def http(self) -> Http:
        raise AssertionError("a push connector asks nobody")

    @property
    def records(self) -> list[Record]:
        return [record for batch in self.emitted for record in batch]

    async def emit(self, records: Sequence[Record], *, state: Mapping[bytes, bytes | None] = {}) -> list[Verdict]:
        assert not state
        await anyio.lowlevel.checkpoint()
        if self.failure is not None:
            raise self.failure
        self.emitted.append(records)
        return [self.verdict(record) for record in records]

    def refuse(self, count: int, reason: str) -> None:
        self.refused.extend([reason] * count)

    async def get(self, keys: Iterable[bytes]) -> dict[bytes, bytes]:
        return dict.fromkeys(keys, b"")

    async def scan(self, prefix: bytes) -> AsyncIterator[tuple[bytes, bytes]]:
        yield prefix, b""

    async def idle(self, until: datetime, reason: str) -> None:
        raise AssertionError(reason)


class Echo:
    """A push connector that answers with the body it got, and remembers the requests."""

    def __init__(self, *routes: Route, act: Callable[[Request], object] | None = None) -> None:
        self.routes: Sequence[Route] = routes or (Route(path="/hooks/shop"),)
        self.requests: list[Request] = []
        self.act = act

    async def answer(self, request: Request, source: object) -> Answer:
        self.requests.append(request)
        if self.act is not None:
            acted = self.act(request)
            if hasattr(acted, "__await__"):
                acted = await acted
            if acted is not None:
                return acted  # type: ignore[return-value]
        return Answer(body=request.body)


class Listening:
    """The edge, its address, a client, and what the edge reported."""

    def __init__(self, edge: Edge, host: str, port: int, client: httpx.AsyncClient, degraded: list[tuple[str, str]]) -> None:
        self.edge, self.host, self.port, self.client, self.degraded = edge, host, port, client, degraded

    async def connect(self) -> anyio.abc.SocketStream:
        return await anyio.connect_tcp(self.host, self.port)


@asynccontextmanager
async def listening(
    *connectors: tuple[PushConnector, MemorySource],
    limits: EdgeLimits | None = None,
    wire: Limits | None = None,
    ready: Callable[[], tuple[bool, Sequence[str]]] = lambda: (True, ["ok"]),
    proxies: Proxies | None = None,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[Listening]:
    degraded: list[tuple[str, str]] = []
    edge = Edge(
        clock=FixedClock(),
        ready=ready,
        degraded=lambda name, kind: degraded.append((name, kind)),
        limits=limits,
        proxies=proxies,
    )
    edge.swap(connectors)
    bound = await anyio.to_thread.run_sync(bind, "127.0.0.1:0")
    host, port = bound.getsockname()
    async with anyio.create_task_group() as group:
        await group.start(lambda task_status: listen(edge, [bound], limits=wire, tls=tls, task_status=task_status))
        async with httpx.AsyncClient(base_url=f"http://{host}:{port}", timeout=10) as client:
            yield Listening(edge, host, port, client, degraded)
        group.cancel_scope.cancel()
