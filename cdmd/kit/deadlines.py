"""One deadline for many calls at once: equal for all of them, so that one timer serves, armed for the oldest.

For short calls in great number, where a timer for each costs more than what it guards (tests/bench/intake.py). Not for
deadlines that differ, nor inside another library's cancel scopes: those have ``asyncio.timeout`` and ``anyio``.
"""

import asyncio
from collections.abc import Callable
from math import inf
from types import TracebackType
from typing import Final, Protocol, Self, cast

_TICKS: Final = 4


class Expiring(Protocol):
    """What is watched: ``due`` is set when it is added, ``expire`` called when that moment has come."""

    due: int

    def expire(self) -> None:
        """Its time is up."""
        ...


class Deadlines:
    """``with deadlines.of_current_task(): await ...`` raises TimeoutError after ``seconds``. Belongs to one event loop.

    What is no task is watched from ``add`` to ``remove``. Time passes in ticks, so that nobody has to look at a clock: what is
    due ends up to a quarter of ``seconds`` late, never early.
    """

    def __init__(self, seconds: float) -> None:
        self._tick = seconds / _TICKS
        self._now = 0
        self._running: dict[Expiring, None] = {}  # in order of entering, which is the order of being due
        self._timer: asyncio.TimerHandle | None = None

    def of_current_task(self) -> "_Deadline":
        """A context that ends with TimeoutError where the task is still inside when its time is up."""
        return _Deadline(self)

    def add(self, one: Expiring) -> None:
        """Watch ``one`` from now on."""
        one.due = self._now + _TICKS + 1  # the tick that it came in has begun already
        self._running[one] = None
        if self._timer is None:
            self._set(asyncio.get_running_loop())

    def remove(self, one: Expiring) -> None:
        """Watch it no longer; nothing where it was not watched."""
        self._running.pop(one, None)

    def _set(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = loop.call_later(self._tick, self._look, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        self._now += 1
        for one in list(self._running):
            if one.due > self._now:
                break
            if one in self._running:
                one.expire()
        if self._running:
            self._set(loop)


class _Deadline:
    """One task's. It cancels as ``asyncio.timeout`` does: what somebody else cancelled stays cancelled."""

    __slots__ = ("_cancels", "_expired", "_owner", "_task", "due")

    def __init__(self, owner: Deadlines) -> None:
        self._owner, self._expired, self.due = owner, False, 0

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


class Due:
    """One moment that moves often and seldom comes: the timer behind it is set anew only where the moment came closer."""

    __slots__ = ("_expired", "_handle", "_loop", "_set_for", "moment")

    def __init__(self, expired: Callable[[], None]) -> None:
        self._loop, self._expired = asyncio.get_running_loop(), expired
        self._handle: asyncio.TimerHandle | None = None
        self.moment = self._set_for = inf

    def after(self, seconds: float) -> None:
        """In so many seconds from now, instead of when it was due before."""
        self.moment = moment = self._loop.time() + seconds
        if moment < self._set_for:
            self.cancel()
            self.moment = self._set_for = moment
            self._handle = self._loop.call_at(moment, self._look)

    def never(self) -> None:
        """Not until a moment is set again."""
        self.moment = inf

    def cancel(self) -> None:
        """Never, and without a timer that still has to find that out."""
        self.moment = self._set_for = inf
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _look(self) -> None:
        self._handle, self._set_for = None, inf
        if self.moment <= self._loop.time():
            self._expired()
        elif self.moment != inf:
            self._set_for = self.moment
            self._handle = self._loop.call_at(self.moment, self._look)
