"""Runs a coroutine that is not ours under a deadline, and lets go of it even if it will not end.

The deadline costs nothing unless the coroutine really suspends. What swallows cancellation is closed after a grace period,
so neither the event loop's shutdown nor the next event waits for it. Not for: code that blocks (``loopwatch``, ``threads``).
"""

import asyncio
import ctypes
from collections.abc import Callable, Coroutine, Generator
from typing import Any, Final, cast

GRACE: Final = 0.5
_CLOSINGS: Final = 8


class DeadlinePassed(Exception):
    """The coroutine did not end in time; ``dropped`` when it would not even end after it had been cancelled."""

    def __init__(self, *, dropped: bool = False) -> None:
        super().__init__("dropped" if dropped else "cancelled")
        self.dropped = dropped


class Misbehaved(Exception):
    """The coroutine raised what no function should: ``SystemExit``, or a cancellation nobody asked for. ``what`` names it."""

    def __init__(self, what: BaseException) -> None:
        super().__init__(type(what).__name__)
        self.what = what


class Driven:
    """An awaitable that drives ``coroutine`` step by step in the task that awaits it.

    ``timeout`` and ``grace`` are seconds; ``suspended`` is called once, when the coroutine first really waits. Raises what
    the coroutine raises, ``DeadlinePassed``, or ``Misbehaved``; a cancellation of the awaiting task passes through.
    """

    # No more than the first four are set as long as it does not wait, as most calls never do.
    __slots__ = (
        "_cancels_before",
        "_closing",
        "_coroutine",
        "_dropped",
        "_exiting",
        "_grace",
        "_overdue",
        "_own_cancels",
        "_suspended",
        "_task",
        "_timeout",
        "_timers",
    )

    def __init__(
        self, coroutine: Coroutine[Any, Any, Any], *, timeout: float, suspended: Callable[[], None], grace: float = GRACE
    ) -> None:
        self._coroutine, self._timeout, self._suspended, self._grace = coroutine, timeout, suspended, grace

    def __await__(self) -> Generator[Any, Any, Any]:
        try:
            yielded = self._coroutine.send(None)
        except StopIteration as stop:
            return stop.value
        except Exception:
            raise
        except BaseException as error:
            raise Misbehaved(error) from error
        self._task = cast("asyncio.Task[Any]", asyncio.current_task())
        self._timers: list[asyncio.TimerHandle] = []
        self._overdue = self._closing = self._dropped = self._exiting = False
        self._own_cancels, self._cancels_before = 0, self._task.cancelling()
        self._later(self._timeout, self._pass_deadline)
        self._suspended()
        try:
            result = yield from self._rest(yielded)
        except BaseException as error:
            if self._exiting:
                raise
            raise self._sorted(error) from error
        finally:
            for timer in self._timers:
                timer.cancel()
        if self._overdue:
            raise self._sorted(DeadlinePassed())
        return result

    def _rest(self, yielded: Any) -> Generator[Any, Any, Any]:
        while True:
            sent, thrown = None, None
            try:
                sent = yield yielded
            except GeneratorExit:
                self._exiting = True
                self._close()
                raise
            except BaseException as error:  # noqa: BLE001 - thrown in by the event loop: it belongs to the coroutine
                self._note(error)
                thrown = error
            try:
                yielded = self._coroutine.send(sent) if thrown is None else self._coroutine.throw(thrown)
            except StopIteration as stop:
                return stop.value

    def _note(self, error: BaseException) -> None:
        """A cancellation arrived: the coroutine's own, the deadline's or the outside's. It has the grace period to end."""
        if self._dropped:
            self._close()
            raise error
        if isinstance(error, asyncio.CancelledError) and not self._closing:
            self._closing = True
            self._later(self._grace, self._drop)

    def _pass_deadline(self) -> None:
        self._overdue = True
        self._cancel()

    def _drop(self) -> None:
        self._closing = False
        if self._overdue or self._asked_from_outside():
            self._dropped = True
            self._cancel()

    def _cancel(self) -> None:
        self._own_cancels += 1
        self._task.cancel()

    def _asked_from_outside(self) -> bool:
        return self._task.cancelling() - self._own_cancels > self._cancels_before

    def _later(self, seconds: float, what: Callable[[], None]) -> None:
        self._timers.append(asyncio.get_running_loop().call_later(seconds, what))

    def _close(self) -> None:
        for _ in range(_CLOSINGS):
            try:
                self._coroutine.close()
            except BaseException:  # noqa: BLE001, S112 - it is being let go of; what it says to that interests nobody
                continue
            return
        # One more reference for ever: the collector would close it in whatever thread it runs, the store's among them, and
        # without an event loop there it may never come back.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._coroutine))

    def _sorted(self, error: BaseException) -> BaseException:
        from_outside = self._asked_from_outside()
        for _ in range(self._own_cancels):
            self._task.uncancel()
        if from_outside:
            return error if isinstance(error, asyncio.CancelledError) else asyncio.CancelledError()
        if self._overdue:
            return DeadlinePassed(dropped=self._dropped)
        return error if isinstance(error, Exception) else Misbehaved(error)
