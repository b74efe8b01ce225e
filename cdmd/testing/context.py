"""What an extension is handed, without a daemon: settings, a clock, and the real guarded client for the hosts they name."""

import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import anyio.to_thread
import msgspec

from cdmd.contracts import Clock, Context, Http
from cdmd.kit.addresses import hosts_in
from cdmd.kit.clock import SystemClock
from cdmd.kit.egress import GuardedHttp


class _Context(msgspec.Struct, frozen=True):
    settings: Mapping[str, Any]
    http: Http
    clock: Clock

    @property
    def now(self) -> datetime:
        """The clock that was handed in."""
        return self.clock.now()


@asynccontextmanager
async def extension_context(settings: Mapping[str, Any], *, clock: Clock | None = None) -> AsyncIterator[Context]:
    """The context for ``settings`` as they would stand in ``[plugins.NAME]``; its client reaches the hosts named there only.

    ``async with extension_context({"url": "http://127.0.0.1:8000"}) as context: await mine.function(event, context)``
    """
    trust = await anyio.to_thread.run_sync(ssl.create_default_context)
    async with GuardedHttp(hosts=hosts_in(settings), tls=trust) as http:
        yield _Context(settings, http, clock or SystemClock())
