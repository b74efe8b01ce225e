"""The daemon's own work beside the events: a fault of ours in it, met with one customer's data, does not end the daemon.

Not here: what such work does about a store that cannot be reached or is damaged, which it says and tries again itself.
"""

from typing import Any, Final, Protocol

import anyio
import anyio.abc
import structlog

from cdmd.contracts import Clock
from cdmd.kit.frames import sentence

_AFTER_FAULT: Final = 30.0


class Work(Protocol):
    """Goes on until it is cancelled or done, and is ready at once."""

    async def __call__(self, *, task_status: "anyio.abc.TaskStatus[None]") -> None:
        """All of it."""
        ...


class Background:
    """``problems`` say, by the name of the work, what it met last; until the next start, as it may meet that again."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.problems: dict[str, str] = {}
        self._log: Any = structlog.get_logger()

    async def run(
        self, work: Work, name: str, *, task_status: "anyio.abc.TaskStatus[None]" = anyio.TASK_STATUS_IGNORED
    ) -> None:
        """Keep ``work`` at it until it is done, or cancelled."""
        task_status.started()
        while True:
            try:
                return await work(task_status=anyio.TASK_STATUS_IGNORED)
            except Exception as error:  # noqa: BLE001 - a fault in one customer's data must not stop all others for ever
                self._log.error("background_failed", task=name, error=error)
                self.problems[name] = f"{name} met a fault of ours and began again: {sentence(error)}; please report it"
                await self._clock.sleep(_AFTER_FAULT)
