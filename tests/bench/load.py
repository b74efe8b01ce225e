"""The load generator: a process of its own that posts signed webhooks over keep-alive connections and measures the answers.

Bounded in number and time, loopback only. Requests are built and signed before the clock starts. With a rate it keeps a
schedule, and an answer's time counts from when its request was due, so that a stalled server cannot hide its stalls.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import random
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import msgspec
import uvloop

from tests.bench.figures import quantile

SECRET = "whsec_" + base64.b64encode(b"a key for the bench, 32 bytes ok").decode()
WRITE_KEY = "a-write-key-for-the-bench"
SENT = "2026-11-23T10:00:00.123+00:00"
BODY_BYTES = 600
HAPPENED = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
"""When every order was placed: within the windows of any day that a bench is run on."""
_KEY = base64.b64decode(SECRET.removeprefix("whsec_"))


class Plan(msgspec.Struct, kw_only=True):
    """What to send: ``events`` at most, for ``seconds`` at most, ``rate`` a second (0: as fast as answers come).

    With ``calls`` they are requests of a tracking library: one call each, or batches of so many.
    """

    port: int
    calls: int = 0
    path: str = "/hooks/shop"
    connections: int = 64
    events: int = 100_000
    seconds: float = 3.0
    rate: float = 0.0
    profiles: int = 50_000
    run: str = "a"


class Outcome(msgspec.Struct, kw_only=True):
    """What came of it. Times in milliseconds; ``failed`` are answers that were not 200, ``cpu`` the generator's own µs each.

    ``begun``: when the first was due (``time.monotonic``, of which ``perf_counter`` is another name here).
    """

    answered: int
    failed: int
    begun: float
    seconds: float
    p50: float
    p99: float
    greatest: float
    cpu: float

    @property
    def rate(self) -> float:
        """Answers a second."""
        return self.answered / self.seconds

    def times(self) -> str:
        """The times of the answers."""
        return f"p50 {self.p50:.1f}, p99 {self.p99:.1f}, max {self.greatest:.1f} ms"


def body(number: int, customer: int, run: str) -> bytes:
    """An order of 600 bytes about one of the known customers."""
    order: dict[str, Any] = {
        "id": f"{run}-{number:09}",
        "status": "paid",
        "created_at": f"{HAPPENED:%Y-%m-%dT%H:%M:%SZ}",
        "total": 100 + number % 900 + 0.5,
        "currency": "SEK",
        "customer": {"id": f"C{customer}", "email": f"joe{customer}@example.com", "first_name": "Joe", "city": "Lund"},
        "items": [{"sku": f"sku-{n}", "quantity": n + 1, "price": 9.5} for n in range(3)],
        "note": "",
    }
    order["note"] = "x" * (BODY_BYTES - len(json.dumps(order)))
    return json.dumps(order).encode()


def requests(plan: Plan) -> Iterator[bytes]:
    """What the plan says, each with ids of its own."""
    return tracking(plan) if plan.calls else webhooks(plan)


def tracking(plan: Plan) -> Iterator[bytes]:
    """Calls of the tracking API as the libraries send them: one to its own path, several as a batch."""
    path = "/v1/batch" if plan.calls > 1 else "/v1/track"
    credentials = base64.b64encode(f"{WRITE_KEY}:".encode()).decode()
    for number in range(plan.events):
        made = [_call(number * plan.calls + place, plan.run) for place in range(plan.calls)]
        said: dict[str, Any] = {"batch": made, "sentAt": SENT} if plan.calls > 1 else made[0]
        content = json.dumps(said).encode()
        yield (
            f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1:{plan.port}\r\nuser-agent: bench/1\r\naccept: */*\r\n"
            f"content-type: application/json\r\nauthorization: Basic {credentials}\r\ncontent-length: {len(content)}\r\n\r\n"
        ).encode() + content


def _call(number: int, run: str) -> dict[str, Any]:
    """A track call of about 600 bytes, its id in groups as the libraries write theirs (UUIDs)."""
    return {
        "integrations": {},
        "anonymousId": None,
        "properties": {"order": number, "total": 100 + number % 900 + 0.5, "currency": "SEK", "note": "x" * 270},
        "timestamp": SENT,
        "context": {"library": {"name": "analytics-python", "version": "2.4.0"}},
        "userId": f"C{number % 50_000}",
        "type": "track",
        "event": "order.paid",
        "messageId": f"{run}-{number:08x}-4c1d-{number:012x}",
    }


def webhooks(plan: Plan) -> Iterator[bytes]:
    """Signed requests (Standard Webhooks), each with an id of its own."""
    rng, signed_at = random.Random(plan.run), int(time.time())
    for number in range(plan.events):
        content, id_ = body(number, rng.randrange(plan.profiles), plan.run), f"msg_{plan.run}_{number}"
        signature = base64.b64encode(hmac.digest(_KEY, f"{id_}.{signed_at}.".encode() + content, hashlib.sha256)).decode()
        yield (
            f"POST {plan.path} HTTP/1.1\r\nhost: 127.0.0.1:{plan.port}\r\nuser-agent: bench/1\r\naccept: */*\r\n"
            f"content-type: application/json\r\nwebhook-id: {id_}\r\nwebhook-timestamp: {signed_at}\r\n"
            f"webhook-signature: v1,{signature}\r\ncontent-length: {len(content)}\r\n\r\n"
        ).encode() + content


class _Connection(asyncio.Protocol):
    """Sends a request, waits for its whole answer, sends the next."""

    def __init__(self, load: "_Load") -> None:
        self._load, self._received, self._due = load, b"", 0.0

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self._load.finish()

    def send(self, request: bytes, due: float) -> None:
        self._due = due
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        if self._received:
            data = self._received + data
        head = data.find(b"\r\n\r\n")
        if head < 0:
            self._received = data
            return
        length = data.lower().find(b"content-length:", 0, head)
        size = int(data[length + 15 : data.find(b"\r", length)]) if length >= 0 else 0
        if len(data) < head + 4 + size:
            self._received = data
            return
        self._received = b""
        self._load.answered(self, data.startswith(b"HTTP/1.1 200"), self._due)


class _Load:
    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._requests = list(requests(plan))
        self._next = 0
        self._free = deque[_Connection]()
        self._late: asyncio.TimerHandle | None = None
        self.times: list[float] = []
        self.failed = 0
        self.done = asyncio.Event()

    async def run(self) -> Outcome:
        loop = asyncio.get_running_loop()
        places = range(self._plan.connections)
        made = [await loop.create_connection(lambda: _Connection(self), "127.0.0.1", self._plan.port) for _ in places]
        self._begun, used = time.perf_counter(), time.process_time()
        self._until = self._begun + self._plan.seconds
        self._busy = 0
        self._free.extend(protocol for _, protocol in made)
        self._go_on()
        await asyncio.wait_for(self.done.wait(), self._plan.seconds + 30)
        seconds, used = time.perf_counter() - self._begun, time.process_time() - used
        for transport, _ in made:
            transport.close()
        times = sorted(self.times)
        return Outcome(
            answered=len(times), failed=self.failed, begun=self._begun, seconds=seconds,
            p50=quantile(times, 0.5) * 1e3, p99=quantile(times, 0.99) * 1e3, greatest=times[-1] * 1e3,
            cpu=used / len(times) * 1e6,
        )  # fmt: skip

    def answered(self, connection: _Connection, good: bool, due: float) -> None:
        self.times.append(time.perf_counter() - due)
        self.failed += not good
        self._busy -= 1
        self._free.append(connection)
        self._go_on()

    def finish(self) -> None:
        self.done.set()

    def _go_on(self) -> None:
        """Send what is due on the connections that are free."""
        now = time.perf_counter()
        ended = now >= self._until or self._next >= len(self._requests)
        if ended:
            if not self._busy:
                self.done.set()
            return
        rate = self._plan.rate
        while self._free and self._next < len(self._requests):
            due = self._begun + self._next / rate if rate else now
            if due > now:
                if self._late is None:
                    self._late = asyncio.get_running_loop().call_later(max(0.001, due - now), self._wake)
                return
            self._free.popleft().send(self._requests[self._next], due)
            self._next += 1
            self._busy += 1

    def _wake(self) -> None:
        self._late = None
        self._go_on()


class Generator:
    """The generator as a process: built and signed when the constructor returns, at work from ``go`` on."""

    def __init__(self, plan: Plan) -> None:
        command = [sys.executable, "-m", "tests.bench.load", msgspec.json.encode(plan).decode()]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._read()

    def go(self) -> Outcome:
        """Send, and wait for what came of it."""
        assert self._process.stdin is not None
        with self._process:
            self._process.stdin.write(b"go\n")
            self._process.stdin.close()
            return msgspec.json.decode(self._read(), type=Outcome)

    def _read(self) -> bytes:
        assert self._process.stdout is not None
        return next(islice(self._process.stdout, 1))


def main() -> None:
    plan = msgspec.json.decode(sys.argv[1], type=Plan)

    async def run() -> None:
        load = _Load(plan)
        print("ready", flush=True)
        sys.stdin.readline()
        outcome = await load.run()
        print(msgspec.json.encode(outcome).decode(), flush=True)

    uvloop.run(run())


if __name__ == "__main__":
    main()
