"""One deadline for many calls at once: equal for all of them, so that one timer serves, armed for the oldest.

For short calls in great number, where a timer for each costs more than what it guards (tests/bench/intake.py). Not for
deadlines that differ, nor inside another library's cancel scopes: those have ``asyncio.timeout`` and ``anyio``.
"""

import asyncio
from types import TracebackType
from typing import Self, cast


class Deadlines:
    """``with deadlines.of_current_task(): await ...`` raises TimeoutError after ``seconds``. Belongs to one event loop."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._running: dict[_Deadline, None] = {}  # in order of entering, which is the order of being due
        self._timer: asyncio.TimerHandle | None = None

    def of_current_task(self) -> "_Deadline":
        """A context that ends with TimeoutError where the task is still inside when its time is up."""
        return _Deadline(self)

    def add(self, one: "_Deadline") -> None:
        """Watch ``one`` from now on."""
        loop = asyncio.get_running_loop()
        one.due = loop.time() + self._seconds
        self._running[one] = None
        if self._timer is None:
            self._timer = loop.call_at(one.due, self._look, loop)

    def remove(self, one: "_Deadline") -> None:
        """Watch it no longer."""
        del self._running[one]

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer, now = None, loop.time()
        for one in self._running:
            if one.due > now:
                self._timer = loop.call_at(one.due, self._look, loop)
                return
            one.expire()


class _Deadline:
    """One task's. It cancels as ``asyncio.timeout`` does: what somebody else cancelled stays cancelled."""

    __slots__ = ("_cancels", "_expired", "_owner", "_task", "due")

    def __init__(self, owner: Deadlines) -> None:
        self._owner, self._expired, self.due = owner, False, 0.0

    def __enter__(self) -> Self:
        self._task = cast("asyncio.Task[object]", asyncio.current_task())
        self._cancels = self._task.cancelling()
        self._owner.add(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        self._owner.remove(self)
        if self._expired and self._task.uncancel() <= self._cancels and kind is asyncio.CancelledError:
            raise TimeoutError from error
        return None

    def expire(self) -> None:
        """Its time is up."""
        if not self._expired:
            self._expired = True
            self._task.cancel()
