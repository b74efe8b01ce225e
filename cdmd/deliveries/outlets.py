"""All that one target sees of the daemon (``cdmd.contracts.Outlet``)."""

import socket
import ssl
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Protocol

import anyio
from typing_extensions import override

from cdmd.config.outbound import TargetFrame
from cdmd.contracts import Addressee, Clock, Http, Outlet, Store, Values
from cdmd.deliveries.fields import Fields
from cdmd.deliveries.retrying import settled, sound
from cdmd.deliveries.settling import Settling
from cdmd.errors import NotDurable
from cdmd.kit.posting import Brief, Poster
from cdmd.models import Delivery, DeliveryVerdict, ProfileKey, to_micros

_LONGEST_SLEEP: Final = 60.0
"""Looked at so often at least: the wall clock may be set meanwhile."""


_MOMENT: Final = 0.5


class Client(Http, Protocol):
    """The guarded client, which also makes plain connections. ``tls``: how it checks certificates."""

    tls: ssl.SSLContext

    async def connect(self, host: str, port: int, *, timeout: float) -> socket.socket:
        """A connection to a configured host."""
        ...


class Opened(Client, Protocol):
    """A client that its owner enters and leaves."""

    async def __aenter__(self) -> Any:
        """Open it."""
        ...

    async def __aexit__(self, *_: object) -> None:
        """Close it."""
        ...


class HttpMaker(Protocol):
    """Makes a guarded client for what ``settings`` name."""

    def __call__(self, settings: object) -> Opened:
        """The client."""
        ...


class TargetOutlet(Outlet):
    """One target's. ``detail`` and ``problem`` are what it says about itself.

    ``may`` says whether it is still this node that sends, where several could.
    """

    def __init__(  # noqa: PLR0913 - each is one thing of the daemon that is handed in
        self,
        name: str,
        frame: TargetFrame,
        *,
        http: Client,
        clock: Clock,
        scratch: Path,
        store: Store,
        settling: Settling,
        values: Callable[[], Values],
        judge: Callable[[DeliveryVerdict], None],
        changed: Callable[[], None],
        chance: Callable[[], float],
    ) -> None:
        self.may: Callable[[], bool] = lambda: True
        self._name, self._frame, self._http, self._clock, self._scratch = name, frame, http, clock, scratch
        self._store, self._settling, self._values, self._judge, self._chance = store, settling, values, judge, chance
        self._changed = changed
        self._fields = Fields.parse(frame.fields)
        self._poster = Poster(http.connect, http.tls, clock=clock.monotonic)
        self._woken = anyio.Event()
        self.detail: str | None = None
        self.next: datetime | None = None
        self.problem: str | None = None

    @property
    @override
    def name(self) -> str:
        return self._name

    @property
    @override
    def http(self) -> Client:
        return self._http

    @property
    @override
    def clock(self) -> Clock:
        return self._clock

    @property
    @override
    def timeout(self) -> float:
        return self._frame.timeout.seconds

    @property
    @override
    def scratch(self) -> Path:
        return self._scratch

    @override
    async def send(
        self,
        url: str,
        *,
        method: str = "POST",
        headers: Mapping[str, str],
        params: Mapping[str, str] = {},
        content: bytes = b"",
    ) -> Brief:
        return await self._poster.send(
            url, method=method, headers=headers, params=params, content=content, timeout=self.timeout
        )

    @override
    async def connect(self, host: str, port: int, *, timeout: float) -> socket.socket:
        return await self._http.connect(host, port, timeout=timeout)

    @override
    async def waiting(self, *, limit: int, after: int = 0) -> list[Delivery]:
        if not self.may():
            raise NotDurable("another node may send to this target by now")
        return await self._store.outbox.waiting(self._name, limit=limit, after=after)

    @override
    async def settle(self, deliveries: Sequence[Delivery], verdict: DeliveryVerdict, *, seconds: float = 0.0) -> None:
        if (kept := sound(verdict)) is None:
            raise TypeError("no sound verdict: cdmd.Delivered, Later, Never or Gone, its fields of the types they declare")
        waits, now = [one.seconds for one in self._frame.retry], to_micros(self._clock.now())
        self._judge(kept)
        bodies, chance = self._frame.keep_bodies, self._chance()
        await self._settling.wait(
            [settled(one, kept, waits=waits, now=now, seconds=seconds, chance=chance, bodies=bodies) for one in deliveries]
        )

    @override
    async def members(self, audience: str, *, after: int, limit: int) -> tuple[list[Addressee], int | None]:
        values, now, required = self._values(), to_micros(self._clock.now()), self._frame.required_purposes
        rows = await self._store.membership.members(audience, after=ProfileKey(after), limit=limit)
        shown = [
            Addressee(one.key, self._fields.of_profile(one.state, values, now))
            for one in rows
            if values.granted(one.state, required)
        ]
        return shown, rows[-1].key if len(rows) == limit else None

    @override
    async def get(self, key: str) -> str | None:
        return await self._store.noted(self._place(key))

    @override
    async def put(self, key: str, value: str) -> None:
        await self._store.note(self._place(key), value, target=self._name)

    @override
    async def idle(self, until: datetime, reason: str) -> None:
        self.detail, self.next, woken = reason, until, self._woken
        whole = (until - self._clock.now()).total_seconds()
        try:
            # More than at first is left where the clock was set back: by the right time it may be another moment.
            while not woken.is_set() and 0 < (left := (until - self._clock.now()).total_seconds()) <= whole:
                with anyio.move_on_after(min(left, _LONGEST_SLEEP)):
                    await woken.wait()
            while not self.may():  # another node goes on; whoever ends this one is on the way
                await self._clock.sleep(_MOMENT)
        finally:
            self.detail = self.next = None

    @override
    def unwell(self, why: str | None) -> None:
        self.problem = why
        self._changed()

    def close(self) -> None:
        """End its connections."""
        self._poster.close()

    def wake(self) -> None:
        """End its sleep."""
        self._woken.set()
        self._woken = anyio.Event()

    def _place(self, key: str) -> str:
        return f"target {self._name}: {key}"
