"""Senders that deliver again whatever was not acknowledged, and some of what was; the ledger knows what was promised."""

import random
import threading
from collections import deque
from contextlib import ExitStack
from datetime import UTC, datetime
from http.client import HTTPConnection, HTTPException
from itertools import count
from math import inf
from time import monotonic
from typing import Final, Self

from tests.acceptance.workload import CONNECTORS, Order, request

_TIMEOUT: Final = 10.0


class Ledger:
    """What was sent and when which order was acknowledged first (monotonic seconds). Shared by all senders."""

    def __init__(self, *, fresh: bool = False) -> None:
        self._fresh, self._deaf = fresh, False
        self._lock = threading.Lock()
        self._numbers = count()
        self.acknowledged: dict[Order, float] = {}
        self.answers: dict[int, int] = {}
        self.without_retry_after = 0
        self.last_acknowledgement = 0.0
        self._acknowledging = threading.Condition(self._lock)

    def new(self, connector: str) -> Order:
        """The next order."""
        with self._lock:
            return Order(next(self._numbers), connector, self._fresh)

    def cut_off(self, *, now: bool) -> None:
        """From here on answers do not arrive any more, as those of a machine without power; or they do again."""
        with self._lock:
            self._deaf = now

    def answered(self, orders: list[Order], status: int, retry_after: str | None) -> bool:
        """One answer came for ``orders``; whether it acknowledged them."""
        now = monotonic()
        with self._acknowledging:
            if self._deaf:
                return False
            self.answers[status] = self.answers.get(status, 0) + 1
            if status == 200:
                # What is durable already or not kept is acknowledged on a full disk too.
                if any(order.kept and order not in self.acknowledged for order in orders):
                    self.last_acknowledgement = now
                for order in orders:
                    self.acknowledged.setdefault(order, now)
                self._acknowledging.notify_all()
            elif status == 503 and retry_after is None:
                self.without_retry_after += 1
            return status == 200

    def promised(self, *, before: float = inf) -> list[Order]:
        """Everything acknowledged so far, or before a moment."""
        with self._lock:
            return [order for order, moment in self.acknowledged.items() if moment < before]

    def acknowledgement_after(self, moment: float, *, seconds: float) -> float | None:
        """When an acknowledgement of something new came after ``moment``, waited for at most so long."""
        with self._acknowledging:
            came = self._acknowledging.wait_for(lambda: self.last_acknowledgement > moment, seconds)
            return self.last_acknowledgement if came else None


class Sender(threading.Thread):
    """One sender with two connections; now and then it delivers one request on both at once."""

    def __init__(self, ledger: Ledger, connector: str, *, seed: str, pause: float) -> None:
        super().__init__(daemon=True, name=f"sender-{seed}")
        self._ledger, self._connector, self._pause = ledger, connector, pause
        self._random = random.Random(seed)
        self._pending: deque[Order] = deque()
        self._mine: list[Order] = []
        self._connections: list[HTTPConnection] = []
        self.address: str | None = None
        self.up, self.settling, self.ended = threading.Event(), threading.Event(), threading.Event()
        self.idle = threading.Event()

    def run(self) -> None:
        """Send until told to end."""
        while not self.ended.is_set():
            if not self.up.wait(0.1):
                continue
            if self.settling.is_set() and not self._pending:
                self.idle.set()
                self.ended.wait(0.02)
                continue
            self._send(self._choose())
            if self._pause:
                self.ended.wait(self._pause)
        self._hang_up()

    def _choose(self) -> list[Order]:
        size = 1 if self._connector == "plain" else self._random.randint(1, 5)
        chosen = []
        for _ in range(size):
            if self._pending and (self.settling.is_set() or self._random.random() < 0.6):
                chosen.append(self._pending.popleft())
            elif self._mine and self._random.random() < 0.15:
                chosen.append(self._random.choice(self._mine[-2000:]))
            elif not self.settling.is_set():
                self._mine.append(self._ledger.new(self._connector))
                chosen.append(self._mine[-1])
        return chosen or [self._mine[-1]]

    def _send(self, orders: list[Order]) -> None:
        path, body, headers = request(orders, now=int(datetime.now(UTC).timestamp()))
        good = False
        try:
            both = self._connected()[: 2 if self._random.random() < 0.5 else 1]
            for connection in both:
                connection.request("POST", path, body, headers)
            # The repeat's answer first: it must not come before what it repeats is durable either.
            for connection in reversed(both):
                response = connection.getresponse()
                response.read()
                acknowledged = self._ledger.answered(orders, response.status, response.getheader("retry-after"))
                good = good or acknowledged
        except (OSError, HTTPException):
            self._hang_up()
            self.ended.wait(0.005)
        if not good:
            self._pending.extend(orders)

    def _connected(self) -> list[HTTPConnection]:
        if not self._connections:
            self._connections = [HTTPConnection(self.address or "", timeout=_TIMEOUT) for _ in range(2)]
        return self._connections

    def _hang_up(self) -> None:
        for connection in self._connections:
            connection.close()
        self._connections = []


class Load:
    """All senders together; a context manager that ends them."""

    def __init__(self, ledger: Ledger, *, seed: int, senders: int = 4, pause: float = 0.0) -> None:
        self._senders = [Sender(ledger, CONNECTORS[place % 2], seed=f"{seed}/{place}", pause=pause) for place in range(senders)]
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        for sender in self._senders:
            sender.start()
        return self

    def __exit__(self, *_: object) -> None:
        for sender in self._senders:
            sender.ended.set()
        for sender in self._senders:
            sender.join(_TIMEOUT)

    def to(self, url: str) -> None:
        """The daemon listens at ``url`` now."""
        for sender in self._senders:
            sender.address = url.removeprefix("http://")
            sender.up.set()

    def hold(self) -> None:
        """Nobody begins another request."""
        for sender in self._senders:
            sender.up.clear()

    def settle(self, *, seconds: float) -> bool:
        """Send nothing new; whether everything sent was acknowledged in time."""
        for sender in self._senders:
            sender.idle.clear()
            sender.settling.set()
        until = monotonic() + seconds
        return all(sender.idle.wait(max(0.0, until - monotonic())) for sender in self._senders)
