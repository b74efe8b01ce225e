"""An endpoint that answers as it is told, and targets that are sent to it by the real store, dispatcher and client."""

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import msgspec

from cdmd.config.outbound import TargetConfig, TargetFrame
from cdmd.deliveries.dispatching import Built, Dispatcher
from cdmd.kit.addresses import hosts_in, parse_networks
from cdmd.kit.clock import SystemClock
from cdmd.kit.egress import GuardedHttp
from cdmd.kit.quantities import Duration
from cdmd.kit.reaching import system_resolve
from cdmd.kit.secret import Secret
from cdmd.models import Delivery, Micros, Outgoing, ProfileKey, Seq, to_micros
from cdmd.profiles.telling import ToldValues
from cdmd.store.store import SqliteStore
from cdmd.targets.webhooks import WebhookSettings, WebhookTarget
from tests.batches.world import rules
from tests.store.contract_store import DIGESTER

SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()


class Got(msgspec.Struct):
    """A request that arrived."""

    path: str
    headers: dict[str, str]
    body: bytes


class Endpoint:
    """Answers with what ``answers`` hold, one after the other, and with the last one from then on.

    An answer is a status, the bytes of a whole answer, or a function over the writer.
    """

    def __init__(self, answers: Sequence[Any] = (204,)) -> None:
        self.answers = list(answers)
        self.got: list[Got] = []
        self.port = 0
        self.open = self.most = 0
        self._arrived = anyio.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hooks/cdmd"

    async def wait(self, count: int, *, seconds: float = 30.0) -> list[Got]:
        with anyio.fail_after(seconds):
            while len(self.got) < count:
                await self._arrived.wait()
        return self.got

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        self.most = max(self.most, self.open)
        try:
            while await self._one(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            self.open -= 1
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.strip().split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        self.got.append(Got(first.split()[1], headers, body))
        self._arrived.set()
        self._arrived = anyio.Event()
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if callable(answer):
            return bool(await answer(writer))
        if isinstance(answer, int):
            answer = b"HTTP/1.1 %d X\r\ncontent-length: 0\r\n\r\n" % answer
        writer.write(answer)
        await writer.drain()
        return b"connection: close" not in answer


@asynccontextmanager
async def endpoint(*answers: Any) -> AsyncIterator[Endpoint]:
    """One that listens on loopback."""
    one = Endpoint(answers or (204,))
    server = await asyncio.start_server(one.serve, "127.0.0.1", 0)
    one.port = server.sockets[0].getsockname()[1]
    try:
        yield one
    finally:
        server.close()


def quick(**keys: Any) -> TargetFrame:
    """A target that is tried again at once."""
    waits = tuple(Duration.parse(text) for text in keys.pop("retry", ["0s"] * 10))
    return TargetFrame(type="webhook", events=("*",), retry=waits, **keys)


def built(name: str, target: Any, frame: TargetFrame | None = None, settings: Any = None) -> dict[str, Built]:
    return {name: Built(TargetConfig(name=name, frame=frame or quick(), settings=settings, file="x"), target)}


def webhook(name: str, url: str, frame: TargetFrame | None = None, **keys: Any) -> dict[str, Built]:
    """A webhook target that is signed with ``SECRET`` unless it is told otherwise."""
    if "secrets" not in keys and keys.get("sign", True):
        keys["secret"] = Secret(SECRET.encode(), reference="env:S")
    settings = WebhookSettings(url=url, **keys)
    return built(name, WebhookTarget(name, settings), frame, settings)


async def eventually(holds: Callable[[], bool], *, seconds: float = 30.0) -> None:
    """Return once it holds; it is looked at every few milliseconds."""
    with anyio.fail_after(seconds):
        while True:
            if holds():
                return
            await anyio.sleep(0.005)


class Sending:
    """A dispatcher over a store, both running."""

    def __init__(self, store: SqliteStore, dispatcher: Dispatcher) -> None:
        self.store, self.dispatcher = store, dispatcher
        self._number = 0

    async def use(self, **targets: Built) -> None:
        self.dispatcher.take(targets, self.dispatcher.values)
        await self.dispatcher.carry_out(targets)

    async def put(self, target: str, count: int = 1, *, lane: Callable[[int], int | None] = lambda number: None) -> list[str]:
        """Deliveries numbered on; their ids."""
        deliveries = []
        for _ in range(count):
            self._number += 1
            number = self._number
            body = msgspec.json.encode(
                {"type": "order.paid", "timestamp": "2026-11-23T10:00:00Z", "data": {"number": number, "profile": {"id": "p1"}}}
            )
            deliveries.append(
                Delivery(
                    id=f"0{number:025d}",
                    target=target,
                    type="order.paid",
                    at=Micros(number),
                    body=body,
                    profile=ProfileKey(number),
                    seq=Seq(number),
                    lane=lane(number),
                )
            )
        now = to_micros(SystemClock().now())
        await self.store.outbox.put(Outgoing(deliveries=deliveries), now=now)
        return [one.id for one in deliveries]

    async def until(self, holds: Callable[[Any], bool], *, target: str = "crm", seconds: float = 30.0) -> Any:
        """The target's figures once they are so."""
        with anyio.fail_after(seconds):
            while True:
                found = {one.name: one for one in await self.store.outbox.totals()}.get(target)
                if found is not None and holds(found):
                    return found
                await anyio.sleep(0.005)

    async def state(self, wanted: str, *, target: str = "crm", seconds: float = 30.0) -> Any:
        """Its endpoint's note once it is in that state."""
        await eventually(lambda: self.dispatcher.note(target).state == wanted, seconds=seconds)
        return self.dispatcher.note(target)


def numbers(got: Sequence[Got]) -> list[int]:
    return [msgspec.json.decode(one.body)["data"]["number"] for one in got]


@asynccontextmanager
async def sending(
    folder: Path, *, resolve: Any = system_resolve, allowed: Sequence[str] = (), **targets: Built
) -> AsyncIterator[Sending]:
    """A store in ``folder`` and a dispatcher over it; ``resolve`` and ``allowed`` are its clients'."""
    await anyio.Path(folder).mkdir(exist_ok=True)
    clock = SystemClock()
    opening = SqliteStore.open(folder / "store.db", clock=clock, journal_id="one", digest=DIGESTER.occurrence)
    async with opening as store, anyio.create_task_group() as tasks:
        trust = await anyio.to_thread.run_sync(ssl.create_default_context)

        def http(settings: object) -> GuardedHttp:
            return GuardedHttp(hosts=hosts_in(settings), allowed=parse_networks(allowed), tls=trust, resolve=resolve)

        dispatcher = Dispatcher(
            store,
            journal_id="one",
            http=http,
            clock=clock,
            scratch=folder / "scratch",
            values=ToldValues(rules(), {}),
            chance=lambda: 0.5,
        )
        store.outbox.written = dispatcher.wake
        await dispatcher.load()
        await tasks.start(dispatcher.run)
        found = Sending(store, dispatcher)
        await found.use(**targets)
        try:
            yield found
        finally:
            await dispatcher.close()
            tasks.cancel_scope.cancel()
