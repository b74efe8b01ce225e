"""A daemon for one target of batch files, in memory: what waits, who is in an audience, what is kept, and a clock."""

import socket
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from cdmd.contracts import Addressee
from cdmd.kit.ulid import ulid
from cdmd.models import Delivery, DeliveryVerdict, Micros
from cdmd.testing import ManualClock

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


class Over(Exception):
    """Raised where a test's target would sleep for longer than the test goes on."""


def public(key: int) -> str:
    return ulid(Micros(1_700_000_000_000_000), key.to_bytes(10, "big"))


def member(key: int, email: str, **traits: Any) -> Addressee:
    """Somebody in an audience."""
    identifiers = [{"kind": "email", "value": email}, {"kind": "email", "value": f"old.{email}"}]
    return Addressee(key, {"id": public(key), "identifiers": identifiers, "traits": traits, "audiences": ["vip"]})


def delivery(n: int, /, **data: Any) -> Delivery:
    body = {"type": "order.paid", "timestamp": "2026-11-23T10:00:00Z", "data": data}
    return Delivery(id=f"d{n}", target="t", type="order.paid", at=Micros(n), body=msgspec.json.encode(body), n=n)


class MemoryOutlet:
    """``cdmd.contracts.Outlet``. Its clock moves whenever the target sleeps; ``until`` ends the test."""

    def __init__(self, folder: Path, *, now: datetime = NOON, until: timedelta = timedelta(hours=24)) -> None:
        self.name, self.scratch, self.clock = "t", folder / "scratch", ManualClock(now)
        self.http: Any = None
        self.end = now + until
        self.queue: list[Delivery] = []
        self.people: list[Addressee] = []
        self.kept: dict[str, str] = {}
        self.settled: list[tuple[str, DeliveryVerdict]] = []
        self.said: list[str] = []
        self.problems: list[str | None] = []
        self.asked = 0
        """How often somebody asks for a file while it sleeps."""
        self.asleep: Any = None
        """What happens while it sleeps: an async function of the outlet."""

    async def connect(self, host: str, port: int, *, timeout: float) -> socket.socket:
        found: socket.socket = await self.http.connect(host, port, timeout=timeout)
        return found

    async def waiting(self, *, limit: int, after: int = 0) -> list[Delivery]:
        return [one for one in self.queue if one.n > after][:limit]

    async def settle(self, deliveries: Sequence[Delivery], verdict: DeliveryVerdict, *, seconds: float = 0.0) -> None:
        gone = {one.n for one in deliveries}
        self.settled += [(one.id, verdict) for one in deliveries]
        self.queue = [one for one in self.queue if one.n not in gone]

    async def members(self, audience: str, *, after: int, limit: int) -> tuple[list[Addressee], int | None]:
        found = sorted((one for one in self.people if one.key > after), key=lambda one: one.key)[:limit]
        return found, found[-1].key if len(found) == limit else None

    async def get(self, key: str) -> str | None:
        return self.kept.get(key)

    async def put(self, key: str, value: str) -> None:
        self.kept[key] = value

    async def idle(self, until: datetime, reason: str) -> None:
        self.said.append(reason)
        if self.asleep is not None:
            await self.asleep(self)
        if self.asked:
            self.asked -= 1
            return
        if until > self.end:
            raise Over
        self.clock.advance((until - self.clock.now()).total_seconds())

    def unwell(self, why: str | None) -> None:
        self.problems.append(why)


def progress(outlet: MemoryOutlet) -> Mapping[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(outlet.kept["progress"])
    return found
