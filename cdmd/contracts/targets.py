"""What a target is: where deliveries go. Ours and those of plugins live by the same two Protocols.

A target meets the daemon only through its ``Outlet``. What is sent to it, when it is tried again and how much may wait is the
daemon's to decide, by the keys that every target has (``[targets.NAME]``).
"""

import builtins
import socket
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

import msgspec

from cdmd.contracts.clock import Clock
from cdmd.contracts.http import Http
from cdmd.kit.posting import Brief
from cdmd.models import Delivery, DeliveryVerdict


class Addressee(NamedTuple):
    """A member of an audience as a target may see it: ``key`` numbers customers, ``profile`` is what its ``fields`` allow."""

    key: int
    profile: Mapping[str, Any]


class Outlet(Protocol):
    """All that a target sees of the daemon."""

    @property
    def name(self) -> str:
        """The target's name in the configuration."""
        ...

    @property
    def http(self) -> Http:
        """The guarded client for this target's configured hosts."""
        ...

    async def send(
        self,
        url: str,
        *,
        method: str = "POST",
        headers: Mapping[str, str],
        params: Mapping[str, str] = {},
        content: bytes = b"",
    ) -> Brief:
        """One quick request within the target's ``timeout``; of the answer only the beginning is read. Guarded as ``http`` is.

        Raises ``AddressRefused`` and ``RequestFailed``.
        """
        ...

    @property
    def clock(self) -> Clock:
        """The daemon's clock."""
        ...

    @property
    def timeout(self) -> float:
        """Seconds that one attempt may take: the target's ``timeout``."""
        ...

    @property
    def scratch(self) -> Path:
        """A private folder (0700) for what is needed only for a while; emptied when the daemon starts. Make it before use."""
        ...

    async def connect(self, host: str, port: int, *, timeout: float) -> socket.socket:
        """A connection to a host that the target's settings name, for protocols other than HTTP; ``timeout`` in seconds.

        Raises ``AddressRefused`` before connecting anywhere else, ``RequestFailed`` where nobody can be reached.
        """
        ...

    async def waiting(self, *, limit: int, after: int = 0) -> list[Delivery]:
        """What waits for this target in the order in which it was written, behind the place ``after`` (``Delivery.n``)."""
        ...

    async def settle(self, deliveries: Sequence[Delivery], verdict: DeliveryVerdict, *, seconds: float = 0.0) -> None:
        """Say what became of these; returns when it is noted. ``seconds``: how long it took. Raises ``NotDurable``."""
        ...

    async def members(self, audience: str, *, after: int, limit: int) -> tuple[list[Addressee], int | None]:
        """Who is in the audience, in the order of their keys, and where to go on (or None).

        Begin with ``after`` 0. Those whom a required purpose does not cover are left out.
        """
        ...

    async def get(self, key: str) -> str | None:
        """What this target keeps under ``key``."""
        ...

    async def put(self, key: str, value: str) -> None:
        """Keep a small fact under ``key`` in place of the one before. Raises ``NotDurable``."""
        ...

    async def idle(self, until: datetime, reason: str) -> None:
        """Sleep until then; the reason is shown. ``cdmctl targets send NAME`` wakes it, and a clock that is set back."""
        ...

    def unwell(self, why: str | None) -> None:
        """Say that the target cannot do its work, in words that ``status`` shows to everybody; None when that is over."""
        ...


@runtime_checkable
class Target(Protocol):
    """What every target type is: a name, a settings struct (its keys are checked like ours), and a constructor that takes both.

    One that is handed deliveries has ``async deliver``; one that works by itself, at set times say, has ``async run``. It may
    have a classmethod ``check(name, settings)`` that returns the mistakes which a struct cannot express.
    """

    Settings: ClassVar[builtins.type[msgspec.Struct]]
    type: ClassVar[str]

    def __init__(self, name: str, settings: Any) -> None:
        """Build it from checked settings; raise ``ConfigInvalid`` for what a struct cannot express. No I/O here."""
        ...


@runtime_checkable
class DeliveringTarget(Protocol):
    """A target that is handed what waits for it, as soon as it may have it."""

    @property
    def batch(self) -> int:
        """How many deliveries it takes at once at most."""
        ...

    async def deliver(self, deliveries: Sequence[Delivery], outlet: Outlet) -> Sequence[DeliveryVerdict]:
        """Send them; a verdict for each, in their order. It has the target's ``timeout`` for that.

        May be called again for the same deliveries: they carry the same ``id``. What it raises counts as ``Later``.
        """
        ...


@runtime_checkable
class RunningTarget(Protocol):
    """A target that takes what waits for it when its time has come: an independent task for as long as it is enabled."""

    async def run(self, outlet: Outlet) -> None:
        """Deliver until cancelled. Returning early counts as a failure; it is started again with a growing pause."""
        ...
