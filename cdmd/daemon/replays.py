"""The replays that go on: begun by a command, ended by one, taken up where this node sends to their target.

Not here: what one tells (``cdmd.deliveries.replaying``).
"""

from collections import Counter
from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import Any

import anyio.abc
import structlog

from cdmd.contracts import Clock
from cdmd.deliveries.dispatching import Built, Dispatcher
from cdmd.deliveries.replaying import Asked, Replaying, drop, left_of
from cdmd.errors import BadArguments, CdmdError
from cdmd.store.stored import StoredStore


class Replays:
    """``going`` by target. Each is a task of ``tasks``, once there are any."""

    def __init__(self, store: StoredStore, dispatcher: Dispatcher, *, journal_id: str, clock: Clock) -> None:
        self._store, self._dispatcher, self._journal_id, self._clock = store, dispatcher, journal_id, clock
        self.tasks: anyio.abc.TaskGroup | None = None
        self.going: dict[str, Replaying] = {}
        self._log: Any = structlog.get_logger()

    def take(self, built: Mapping[str, Built]) -> None:
        """What they tell by from now on."""
        for name, one in self.going.items():
            one.take(built[name].config if name in built else None, self._dispatcher.values)

    def said(self, name: str) -> str | None:
        """How far the one to that target is."""
        one = self.going.get(name)
        return None if one is None else f"a replay goes on: {one.done} told again"

    def begin(self, name: str, asked: Asked) -> None:
        """Raises ``NotFound`` and ``BadArguments``, also while another one goes on."""
        one = self._made(name, asked)
        if name in self.going or self.tasks is None:
            raise BadArguments(
                f"another replay to {name} goes on: `cdmctl targets` says how far it is, and this ends it: "
                f"cdmctl deliveries replay {name} --stop"
            )
        self.going[name] = one
        self.tasks.start_soon(self._run, name, one, name=f"replay to {name}")

    async def count(self, name: str, asked: Asked) -> int:
        """How many messages that would be. Raises as ``begin``, and CdmdError."""
        one = self._made(name, asked)
        one.only_counted = Counter()
        await one.run()
        return one.only_counted.total()

    async def stop(self, name: str) -> int:
        """End it, also one that could not be taken up; how much it told.

        Raises ``NotFound``, ``BadArguments`` where none goes on, and other CdmdError where it would go on after a restart.
        """
        self._dispatcher.get(name)
        if (one := self.going.get(name)) is not None:
            await one.stop()
        if (left := await left_of(self._store, name)) is not None:
            await drop(self._store, name)
        if (ended := one or left) is None:
            raise BadArguments(f"no replay to {name} goes on")
        return ended.done

    async def leave(self, name: str) -> None:
        """Let it go on where the target is sent to next."""
        if (one := self.going.get(name)) is not None:
            await one.leave()

    async def drop_others(self, configured: Collection[str]) -> None:
        """What was interrupted ends where its target is none any more."""
        with suppress(CdmdError):  # it is seen to next time; where another node leads that one sees to it
            for gone in [one.name for one in await self._store.outbox.totals() if one.name not in configured]:
                if await left_of(self._store, gone) is not None:
                    await drop(self._store, gone, gone=True)

    async def take_up(self) -> None:
        """What was interrupted goes on, where this node sends to its target now."""
        for name in [live.built.config.name for live in self._dispatcher]:
            if name in self.going or self.tasks is None:
                continue
            try:
                if (asked := await left_of(self._store, name)) is not None:
                    self.begin(name, asked)
                    self._log.info("replay_taken_up", target=name, count=asked.done)
            except CdmdError as error:
                self._log.warning("replay_not_taken_up", target=name, error=error)

    def _made(self, name: str, asked: Asked) -> Replaying:
        live = self._dispatcher.get(name)
        if not live.built.config.frame.events:
            raise BadArguments(f"{name} is told of no events, so there is nothing to tell it again")
        values = self._dispatcher.values
        return Replaying(self._store, live.built.config, values, asked, journal_id=self._journal_id, clock=self._clock)

    async def _run(self, name: str, one: Replaying) -> None:
        try:
            await one.logged()
        finally:
            del self.going[name]
