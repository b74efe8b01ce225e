"""The processes of isolated plugins: which there are, what each is given, how they start and end with the daemon."""

import random
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import anyio
import anyio.abc

from cdmd.config.plugins import own_keys
from cdmd.config.schema import Config
from cdmd.contracts import Clock, Extension
from cdmd.extensions import Limits
from cdmd.isolation import Isolated, ProcessState
from cdmd.isolation.keeping import ENDING, LOADING
from cdmd.isolation.messages import Begin, Ready
from cdmd.kit.logs import escaped
from cdmd.plugins import Plugins
from cdmd.supervisor import Policy, Supervisor


class Isolating:
    """All of them. ``private`` are the places that none may reach.

    ``noticed`` is told plugin, extension (None: the plugin as a whole) and what it was seen doing.
    """

    def __init__(self, plugins: Plugins, config: Config, *, private: Sequence[Path], clock: Clock) -> None:
        self._plugins = plugins
        self.noticed: Callable[[str, str | None, str], None] = lambda plugin, extension, text: None
        policy = Policy(settle=LOADING + 1, stop=ENDING)
        self._supervisor = Supervisor(clock=clock, random=random.random, policy=policy)
        self._isolated = {
            name: Isolated(
                Begin(
                    plugin=name,
                    value=one.value,
                    settings=own_keys(config.plugins.get(name)),
                    allowed=tuple(config.network.allow_addresses),
                    private=tuple(map(str, private)),
                    max_memory=one.max_memory,
                    event_bytes=Limits().event_bytes,
                    level=config.daemon.log_level,
                ),
                [extension for owner, extension in plugins.extensions() if owner == name],
                supervisor=self._supervisor,
                started=partial(self._started, name),
                blame=partial(self._blame, name),
            )
            for name, one in plugins.isolated().items()
        }

    def extension(self, plugin: str, one: Extension) -> Extension:
        """``one`` itself, or what stands for it where its plugin is isolated."""
        kept = self._isolated.get(plugin)
        return one if kept is None else next(stands for stands in kept.extensions() if stands.name == one.name)

    def state(self, plugin: str) -> ProcessState | None:
        """How a plugin's process is; None where it has none."""
        kept = self._isolated.get(plugin)
        return None if kept is None else kept.state()

    async def run(self, *, task_status: "anyio.abc.TaskStatus[None]" = anyio.TASK_STATUS_IGNORED) -> None:
        """Keep them until cancelled; ready once each is loaded, or has failed to be for the first time."""
        async with self._supervisor:
            for name, one in self._isolated.items():
                self._supervisor.start(name, one.live, kind="isolated")
            for one in self._isolated.values():
                await one.settled.wait()
            task_status.started()
            await anyio.sleep_forever()

    async def stop(self) -> None:
        """After the last event was applied: let each end by itself, for a while."""
        async with anyio.create_task_group() as tasks:
            for one in self._isolated.values():
                tasks.start_soon(one.stop)

    def _started(self, plugin: str, ready: Ready) -> None:
        self._plugins.started(plugin, ready.state, None if ready.error is None else escaped(ready.error))

    def _blame(self, plugin: str, extension: str | None, text: str) -> None:
        self.noticed(plugin, extension, text)
