"""An ``Outlet`` without a daemon: what waits for a target, who is in an audience and what is kept, in memory."""

import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import gettempdir
from typing import Any

import msgspec

from cdmd.contracts import Addressee, Http, RunningTarget
from cdmd.errors import AddressRefused
from cdmd.kit.egress import GuardedHttp
from cdmd.kit.posting import Brief, Poster
from cdmd.kit.ulid import ulid
from cdmd.models import Delivery, DeliveryVerdict, Micros, from_micros, show_time
from cdmd.testing.clock import ManualClock

_BEGIN = 1_763_900_000_000_000
_TIMEOUT = 15.0


class _Over(Exception):
    """Raised where a target would sleep beyond the end."""


class RecordingOutlet:
    """What a target is handed. ``add`` makes what waits, ``enter`` a member of whatever audience is asked for.

    ``settled`` is what the target said of deliveries (id and verdict, in order), ``kept`` what it keeps, ``slept`` the reasons
    of its sleeps, ``problems`` what it said of itself. A target that works by itself is run by ``run``: whenever it sleeps, the
    clock moves on at once, up to ``until``. ``client`` is what it reaches out with (by default it reaches nothing).
    """

    def __init__(
        self,
        name: str = "test",
        *,
        client: Http | None = None,
        scratch: Path | None = None,
        now: datetime = datetime(2026, 1, 1, tzinfo=UTC),
        until: timedelta = timedelta(hours=24),
    ) -> None:
        self.name, self.clock, self.client = name, ManualClock(now), client
        self.scratch, self.timeout = scratch or Path(gettempdir()), _TIMEOUT
        self.end = now + until
        self.queue: list[Delivery] = []
        self.people: list[Addressee] = []
        self.kept: dict[str, str] = {}
        self.settled: list[tuple[str, DeliveryVerdict]] = []
        self.slept: list[str] = []
        self.problems: list[str | None] = []
        self.asked = 0
        """How often somebody asks for it to go now, as ``cdmctl targets send`` does: each ends a sleep at once."""
        self.asleep: Callable[[RecordingOutlet], Awaitable[None]] | None = None
        """What happens while it sleeps."""

    # ---- what a test does --------------------------------------------------------------------------------------------

    def add(self, type: str = "order.paid", **data: Any) -> Delivery:  # noqa: A002 - as the field is called
        """One more that waits: of that type, with ``event``, ``profile`` or what else there is as its data."""
        n = len(self.queue) + len(self.settled) + 1
        at = Micros(_BEGIN + n * 1_000_000)
        body = {"type": type, "timestamp": show_time(from_micros(at)), "data": data}
        one = Delivery(
            id=ulid(at, n.to_bytes(10, "big")), target=self.name, type=type, at=at, body=msgspec.json.encode(body), n=n
        )
        self.queue.append(one)
        return one

    def enter(self, key: int, **profile: Any) -> None:
        """Somebody with that key is in the audience, seen as ``profile``."""
        self.people.append(Addressee(key, profile))

    async def run(self, target: RunningTarget) -> None:
        """Let it work until it would sleep beyond ``until``, or returns."""
        with suppress(_Over):
            await target.run(self)

    # ---- what a target does ------------------------------------------------------------------------------------------

    @property
    def http(self) -> Http:
        """The client that was handed in. Raises ``AddressRefused`` where there is none."""
        if self.client is None:
            raise AddressRefused("this outlet was made without an HTTP client")
        return self.client

    async def send(
        self,
        url: str,
        *,
        method: str = "POST",
        headers: Mapping[str, str],
        params: Mapping[str, str] = {},
        content: bytes = b"",
    ) -> Brief:
        """One request by the client that was handed in, over a connection of its own."""
        guarded = self._guarded()
        poster = Poster(guarded.connect, guarded.tls, clock=self.clock.monotonic)
        try:
            return await poster.send(url, method=method, headers=headers, params=params, content=content, timeout=self.timeout)
        finally:
            poster.close()

    async def connect(self, host: str, port: int, *, timeout: float) -> socket.socket:
        """A connection by the client that was handed in."""
        return await self._guarded().connect(host, port, timeout=timeout)

    async def waiting(self, *, limit: int, after: int = 0) -> list[Delivery]:
        """What was added and is not settled."""
        return [one for one in self.queue if one.n > after][:limit]

    async def settle(self, deliveries: Sequence[Delivery], verdict: DeliveryVerdict, *, seconds: float = 0.0) -> None:
        """Remembered in ``settled``; they wait no more, whatever the verdict."""
        gone = {one.n for one in deliveries}
        self.settled += [(one.id, verdict) for one in deliveries]
        self.queue = [one for one in self.queue if one.n not in gone]

    async def members(self, audience: str, *, after: int, limit: int) -> tuple[list[Addressee], int | None]:
        """Those who entered, in the order of their keys."""
        found = sorted((one for one in self.people if one.key > after), key=lambda one: one.key)[:limit]
        return found, found[-1].key if len(found) == limit else None

    async def get(self, key: str) -> str | None:
        """What was kept under ``key``."""
        return self.kept.get(key)

    async def put(self, key: str, value: str) -> None:
        """Kept."""
        self.kept[key] = value

    async def idle(self, until: datetime, reason: str) -> None:
        """Move the clock there at once."""
        self.slept.append(reason)
        if self.asleep is not None:
            await self.asleep(self)
        if self.asked:
            self.asked -= 1
            return
        if until > self.end:
            raise _Over
        self.clock.advance(max(0.0, (until - self.clock.now()).total_seconds()))

    def unwell(self, why: str | None) -> None:
        """Remembered in ``problems``."""
        self.problems.append(why)

    def _guarded(self) -> GuardedHttp:
        if not isinstance(self.client, GuardedHttp):
            raise AddressRefused("this outlet was made without a guarded client")
        return self.client
