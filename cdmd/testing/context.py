"""What an extension is handed, without a daemon: settings, a clock, and the real guarded client for the hosts they name."""

import os
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import anyio.to_thread
import msgspec

from cdmd.config.plugins import PluginTables, own_keys
from cdmd.config.reading import Key, show
from cdmd.config.secrets import Secrets
from cdmd.contracts import Clock, Context
from cdmd.errors import ConfigInvalid
from cdmd.extensions import PluginContext
from cdmd.kit.addresses import hosts_in
from cdmd.kit.clock import SystemClock
from cdmd.kit.egress import GuardedHttp

_NAME: Final = "NAME"


@asynccontextmanager
async def extension_context(
    settings: Mapping[str, Any], *, declared: type[msgspec.Struct] | None = None, clock: Clock | None = None
) -> AsyncIterator[Context]:
    """The context for ``settings`` as they would stand in ``[plugins.NAME]``; its client reaches the hosts named there only.

    References (``env:NAME``) are resolved. ``declared`` is what the plugin's ``cdmd_settings`` returns: with it the table is
    checked and defaults are in it. Raises ``ConfigInvalid`` with every mistake.

    ``async with extension_context({"url": "http://127.0.0.1:8000"}) as context: await mine.function(event, context)``
    """
    table = _as_loaded(settings, declared)
    trust = await anyio.to_thread.run_sync(ssl.create_default_context)
    async with GuardedHttp(hosts=hosts_in(table), tls=trust) as http:
        yield PluginContext(table, http, clock or SystemClock())


def _as_loaded(settings: Mapping[str, Any], declared: type[msgspec.Struct] | None) -> dict[str, Any]:
    """The table as a daemon would hand it over."""
    secrets, problems = Secrets(os.environ, folder=Path()), list[str]()

    def report(key: Key, what: str) -> None:
        problems.append(f"{show(key)}: {what}")

    tables = PluginTables(
        {} if declared is None else {_NAME: declared},
        resolve=secrets.resolve,
        secret=lambda given, _: secrets.resolve(given),
        report=report,
        literal=lambda key: None,  # a test may write its secrets down
    )
    table = tables.table(_NAME, settings)
    problems += [f"{show(key)}: {what}" for key, what in tables.found()]
    if problems:
        raise ConfigInvalid(list(dict.fromkeys(problems)))
    return own_keys(table)
