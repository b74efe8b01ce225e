"""When the pipeline reads and writes next under load: a transaction of a few events costs nearly as much as one of a hundred.

What it would cost is taken from the intake (tests/bench/end_to_end.py). And for how long a thread may keep the interpreter
meanwhile. Not for: bounds, which are the pipeline's.
"""

import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Final

import anyio

from cdmd.contracts import Clock

_BREATH: Final = 0.01
_REST: Final = 2
"""How many times as long as a write cost the writer rests: what is written is a third of the time at most, and more at once."""

_LONGEST_REST: Final = 0.05

_QUIET: Final = 1.0
"""Seconds after the last arrival from which on nobody is taken to wait for an acknowledgement."""


class Pace:
    """Lets the writer rest and the reader breathe. ``changed`` waits until something about the window has changed.

    What a write cost is the processor's time that went by (``used``), as far as it took so long: where others have the
    processor, or the disk is slow, a rest would take nothing off it and make everybody later.
    """

    def __init__(
        self, clock: Clock, changed: Callable[[], Awaitable[None]], *, used: Callable[[], float] = time.process_time
    ) -> None:
        self._clock, self._changed, self._used = clock, changed, used
        self._writing = False
        self._began = self._spent = self._rested = 0.0

    def begin(self) -> None:
        """A write begins."""
        self._writing, self._began, self._spent = True, self._clock.monotonic(), self._used()

    def end(self) -> None:
        """It ended; the rest goes by what it cost, and is never long."""
        self._writing, ended = False, self._clock.monotonic()
        cost = min(ended - self._began, self._used() - self._spent)
        self._rested = ended + min(_REST * cost, _LONGEST_REST)

    async def rest(self, full: Callable[[], bool]) -> None:
        """Return when the writer has rested, or ``full`` says that a whole batch waits."""
        pause = min(self._rested - self._clock.monotonic(), _LONGEST_REST)
        if pause > 0 and not full():
            with anyio.move_on_after(pause):
                while not full():
                    await self._changed()

    async def breathe(self) -> None:
        """While the store writes or rests nobody waits for the next batch: a moment's events cost less at once."""
        ends = self._clock.monotonic() + _BREATH
        while (pause := self._breath(ends)) > 0:
            with anyio.move_on_after(pause):
                await self._changed()

    def _breath(self, ends: float) -> float:
        """Seconds for which the next batch may wait: not beyond the writer's rest, for then it is wanted."""
        now = self._clock.monotonic()
        return ends - now if self._writing else min(ends, self._rested) - now


class Standing:
    """For how long (seconds) the pipeline has stood still altogether, with nothing to do but wait for a call to end."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._before = 0.0
        self._since: float | None = None

    @property
    def seconds(self) -> float:
        """Up to now."""
        return self._before + (0.0 if self._since is None else self._clock.monotonic() - self._since)

    @contextmanager
    def still(self) -> Iterator[None]:
        """It stands still meanwhile."""
        self._since = self._clock.monotonic()
        try:
            yield
        finally:
            self._before, self._since = self.seconds, None


class Turns:
    """How long a thread keeps the interpreter while another wants it: briefly while something arrives, else as long as it may.

    Short turns are what an acknowledgement takes its few steps between. Where only a backlog is worked off there is none, and
    they cost a tenth of all that is done (tests/bench/end_to_end.py). ``lengthen`` is told which it shall be.
    """

    def __init__(self, clock: Clock, lengthen: Callable[[bool], None]) -> None:
        self._clock, self._lengthen = clock, lengthen
        self._arrived: float | None = None
        self._long = False

    def arrived(self) -> None:
        """Something was journaled: more may wait for their acknowledgement."""
        self._arrived = self._clock.monotonic()
        self._set(long=False)

    def reads(self, *, far: bool) -> None:
        """The next batch is read, ``far`` behind what is journaled or not."""
        self._set(long=far and (self._arrived is None or self._clock.monotonic() - self._arrived >= _QUIET))

    def _set(self, *, long: bool) -> None:
        if long or self._long:  # said again for each batch: what the process sets when it is ready may have come between
            self._long = long
            self._lengthen(long)
