"""The targets as parts of the daemon: made by their plugins, handed to the dispatcher, shown in ``status``."""

import random
from collections.abc import Mapping
from pathlib import Path

import anyio
import anyio.abc

from cdmd.config.schema import Config
from cdmd.contracts import Clock
from cdmd.deliveries.dispatching import Built, Dispatcher, HttpMaker
from cdmd.errors import ConfigInvalid
from cdmd.plugins import Plugins
from cdmd.profiles.audiences import Audiences
from cdmd.profiles.telling import ToldValues
from cdmd.store.store import SqliteStore


class Outbound:
    """Every target of the configuration. ``dispatcher`` does the work."""

    def __init__(
        self,
        store: SqliteStore,
        *,
        journal_id: str,
        plugins: Plugins,
        http: HttpMaker,
        clock: Clock,
        scratch: Path,
        audiences: Audiences,
    ) -> None:
        self._store, self._plugins = store, plugins
        values = ToldValues(audiences, {})
        self.dispatcher = Dispatcher(
            store,
            journal_id=journal_id,
            http=http,
            clock=clock,
            scratch=scratch,
            values=values,
            chance=random.random,
        )
        store.outbox.written = self.dispatcher.wake

    async def load(self) -> None:
        """Learn how the endpoints were before the restart. Raises CdmdError."""
        await self.dispatcher.load()

    def plan(self, config: Config) -> dict[str, Built]:
        """Every target made. Raises ConfigInvalid with every mistake; nothing is changed here."""
        built: dict[str, Built] = {}
        problems: list[str] = []
        for name, one in config.targets.items():
            try:
                built[name] = Built(one, self._plugins.target(one.frame.type, name, one.settings))
            except ConfigInvalid as error:
                problems += [f"{one.file}: {problem}" for problem in error.problems]
        if problems:
            raise ConfigInvalid(problems)
        return built

    def take(self, built: Mapping[str, Built], audiences: Audiences, config: Config) -> None:
        """What batches send from now on."""
        self.dispatcher.take(built, ToldValues(audiences, config.indicators))

    async def carry_out(self, built: Mapping[str, Built]) -> None:
        """Exchange the targets themselves."""
        await self.dispatcher.carry_out(built)

    async def run(self, *, task_status: "anyio.abc.TaskStatus[None]" = anyio.TASK_STATUS_IGNORED) -> None:
        """Send until cancelled."""
        await self.dispatcher.run(task_status=task_status)

    async def close(self) -> None:
        """Stop sending; what is not sent waits."""
        await self.dispatcher.close()
