"""Joins the parts of tracing: what is told, the queue, the exporter."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import anyio
import anyio.to_thread

from cdmd.config.telemetry import OpenTelemetrySettings
from cdmd.contracts import Clock
from cdmd.telemetry.exporting import Exporter
from cdmd.telemetry.queue import SpanQueue
from cdmd.telemetry.spans import Spans

_LAST: Final = 2.0
"""Seconds that a daemon which stops gives to what waits."""


class Tracing:
    """The witness and its figures."""

    def __init__(self, settings: OpenTelemetrySettings, *, journal_id: str, version: str, clock: Clock) -> None:
        headers = {name: secret.reveal().decode() for name, secret in settings.headers.items()} or None
        self._exporter = Exporter(endpoint=settings.endpoint, headers=headers, version=version)
        self._queue = SpanQueue(self._exporter.send)
        self.witness = Spans(self._queue.put, journal_id=journal_id, sample=settings.sample, clock=clock)

    @property
    def sent(self) -> int:
        """Spans that arrived."""
        return self._queue.sent

    @property
    def dropped(self) -> int:
        """Spans that there was no room for, or that did not arrive."""
        return self._queue.dropped

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Send from here on; at the end what waits, for two seconds at most."""
        self._queue.start()
        try:
            yield
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(self._queue.stop, _LAST)
                await anyio.to_thread.run_sync(self._exporter.close)
