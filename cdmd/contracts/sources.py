"""How a connector meets the daemon: its ``Source``, and its big tables."""

import socket
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Protocol

from cdmd.contracts.clock import Clock
from cdmd.contracts.http import Budget, Http
from cdmd.kit.quantities import Rate
from cdmd.models import (
    Record,
    Verdict,
)


class BulkWriter(Protocol):
    """A new generation of a ``BulkTable`` on its way."""

    async def put(self, blocks: Sequence[bytes]) -> None:
        """Write blocks behind those already written. Raises ``NotDurable``."""
        ...

    async def finish(self) -> Mapping[bytes, bytes]:
        """Make it durable; the state with which an ``emit`` makes it current. Raises ``NotDurable``."""
        ...


class BulkTable(Protocol):
    """A big table of a connector: numbered blocks of bytes beside the journal, written as whole generations.

    A new generation is current from the ``emit`` on that its state (``BulkWriter.finish``) was handed to, together with the
    records of that ``emit``; until then, and after any crash before, the old one is. At most one is written at a time. What a
    block holds is the connector's; up to a few hundred KiB suit.
    """

    async def size(self) -> int | None:
        """How many blocks the current generation has; None where there never was one. Raises ``Damaged``."""
        ...

    async def get(self, numbers: Sequence[int]) -> list[bytes]:
        """These blocks (0 for the first) of the current generation. Raises ``Damaged`` and ``NotDurable``."""
        ...

    def blocks(self) -> AsyncIterator[bytes]:
        """All blocks of the current generation in order."""
        ...

    async def write(self) -> BulkWriter:
        """Begin a new generation; what an interrupted one left is removed, and so is what is no longer current."""
        ...

    async def tidy(self) -> None:
        """Remove what is not current at once (the next ``write`` would). Raises ``NotDurable``."""
        ...


class Source(Protocol):
    """All that a connector sees of the daemon."""

    @property
    def name(self) -> str:
        """The connector's name in the configuration."""
        ...

    @property
    def public_url(self) -> str | None:
        """What senders write before the path (``http.public_url``, without a slash at its end); None where nobody said."""
        ...

    @property
    def http(self) -> Http:
        """The guarded client for this connector's configured hosts."""
        ...

    @property
    def clock(self) -> Clock:
        """The daemon's clock."""
        ...

    @property
    def freshness(self) -> float | None:
        """Seconds within which what happens there should be known here, as configured; None where nobody says."""
        ...

    async def emit(self, records: Sequence[Record], *, state: Mapping[bytes, bytes | None] = {}) -> list[Verdict]:
        """Map, filter and journal ``records`` together with ``state`` (None removes a key).

        Returns when both are durable, one verdict for each record. Raises ``Overloaded`` when there is no place within a
        second (push connectors) and ``NotDurable`` when the disk cannot take it: then nothing is acknowledged.
        """
        ...

    def refuse(self, count: int, reason: str) -> None:
        """Count ``count`` records that were refused before mapping, under a fixed ``reason`` word."""
        ...

    async def get(self, keys: Iterable[bytes]) -> dict[bytes, bytes]:
        """The connector's own state at ``keys``; absent keys are left out."""
        ...

    def scan(self, prefix: bytes) -> AsyncIterator[tuple[bytes, bytes]]:
        """The connector's own state under ``prefix``, in key order."""
        ...

    def table(self, name: str) -> BulkTable:
        """A big table of this connector's; ``name`` has letters, digits, ``_`` and ``-`` only."""
        ...

    def secret(self, purpose: str) -> bytes:
        """32 bytes that nobody outside this daemon has, always the same for this connector and purpose, to key digests with."""
        ...

    async def idle(self, until: datetime, reason: str) -> None:
        """Sleep until then; the reason is shown in ``status``, and ``cdmctl poll`` wakes it."""
        ...

    def working(self, on: str | None) -> None:
        """Say what it does now, in words that ``status`` shows to everybody; None when that is over."""
        ...

    async def connect(self, host: str, port: int, *, timeout: float) -> socket.socket:
        """A connection to a host that the connector's settings name, for protocols other than HTTP; ``timeout`` in seconds.

        Raises ``AddressRefused`` before connecting anywhere else, ``RequestFailed`` where nobody can be reached.
        """
        ...

    @property
    def scratch(self) -> Path:
        """A private folder (0700) for what is needed only for a while; emptied when the daemon starts. Make it before use."""
        ...

    def room(self) -> int:
        """How many bytes may be written to ``scratch`` now without touching the reserve that the journal needs."""
        ...

    def unwell(self, why: str | None) -> None:
        """Say that the connector cannot do its work although it runs, in words that ``status`` shows to everybody.

        It is ``degraded`` until it says None.
        """
        ...

    def budget(self, origin: str, credential: str, limits: Sequence[Rate]) -> Budget:
        """The budget of this origin and credential, shared with all connectors that name both; every one's limits hold.

        ``credential`` may hold secrets: only a keyed digest of it is kept. What was sent counts over restarts.
        """
        ...
