"""Notices what blocks the event loop and names it: which plugin, which file, which line.

A task on the loop beats; a daemon thread looks at the loop's stack when a beat is late. A function that really blocks cannot
be cancelled, only named. Not for: slow but waiting calls, which have deadlines.
"""

import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Final, NamedTuple

import anyio
import anyio.abc
import msgspec

from cdmd.contracts import Clock
from cdmd.extensions.calling import Registered, keys
from cdmd.kit.frames import place

_BEAT: Final = 0.1


class Stall(msgspec.Struct, frozen=True, kw_only=True):
    """The event loop stood still for ``seconds`` so far; ``plugin`` is None where no plugin's code was on the stack.

    ``extension`` is only named where it is sure: its own function stood there, not just something of its plugin.
    """

    seconds: float
    plugin: str | None
    extension: str | None
    file: str
    line: int

    def describe(self) -> str:
        """One sentence for a log line or a plugin's row."""
        return f"blocked the event loop for {self.seconds:.1f} s at {self.file}:{self.line}"


class _Place(NamedTuple):
    frame: FrameType
    module: str


class LoopWatch:
    """Watches the loop it runs on; ``longest`` is the longest stall so far, in seconds.

    ``owner`` says which plugin a module belongs to. ``limit`` in seconds is how late a beat may be. ``notice`` is called at
    once, in the watching thread; ``report`` on the loop as soon as it lives again.
    """

    def __init__(
        self,
        registered: Sequence[Registered],
        *,
        clock: Clock,
        notice: Callable[[Stall], None],
        report: Callable[[Stall], None],
        owner: Callable[[str], str | None] = lambda module: None,
        limit: float = 0.5,
    ) -> None:
        self._functions = {
            code: (one.plugin, key)
            for key, one in zip(keys(registered), registered, strict=True)
            if (code := getattr(one.extension.function, "__code__", None)) is not None
        }
        self._owner = owner
        self._clock, self._notice, self._report, self._limit = clock, notice, report, limit
        self._stop = threading.Event()
        self._last_beat = clock.monotonic()
        self._loop_thread = 0
        self._seen: Stall | None = None
        self._late_since: float | None = None
        self.longest = 0.0

    async def run(self, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Beat until cancelled."""
        self._loop_thread = threading.get_ident()
        self._last_beat = self._clock.monotonic()
        thread = threading.Thread(target=self._watch, name="loop watch", daemon=True)
        thread.start()
        task_status.started()
        try:
            while True:
                await anyio.sleep(_BEAT)
                self._beat()
        finally:
            self._stop.set()

    def _beat(self) -> None:
        now = self._clock.monotonic()
        late = now - self._last_beat - _BEAT
        self.longest = max(self.longest, late)
        self._last_beat = now
        seen, self._seen = self._seen, None
        if seen is not None:
            self._report(msgspec.structs.replace(seen, seconds=max(late, seen.seconds)))

    def _watch(self) -> None:
        noticed_beat = -1.0
        while not self._stop.wait(min(_BEAT, self._limit / 4)):
            beat = self._last_beat
            late = self._clock.monotonic() - beat - _BEAT
            if late < self._limit or beat == noticed_beat:
                continue
            noticed_beat = beat
            stall = self._look(late)
            if stall is not None:
                self._seen = stall
                self._notice(stall)

    def _look(self, late: float) -> Stall | None:
        innermost = sys._current_frames().get(self._loop_thread)  # noqa: SLF001 - the documented way to see another thread
        if innermost is None:
            return None
        places = [_Place(frame, str(frame.f_globals.get("__name__", ""))) for frame in _outwards(innermost)]
        plugin, extension = self._whose(places)
        if plugin is None:
            return _stall(late, places[0], None, None)
        # Its own line that is nearest to where it stands, which may be in somebody else's library.
        own = next(
            (one for one in places if self._owner(one.module) == plugin or one.frame.f_code in self._functions), places[0]
        )
        return _stall(late, own, plugin, extension)

    def _whose(self, places: Sequence[_Place]) -> tuple[str | None, str | None]:
        """An extension's own function on the stack is sure; else whose module it is."""
        for one in places:
            if (found := self._functions.get(one.frame.f_code)) is not None:
                return found
        return next((owner for one in places if (owner := self._owner(one.module)) is not None), None), None


def _outwards(innermost: FrameType) -> Iterator[FrameType]:
    frame: FrameType | None = innermost
    while frame is not None:
        yield frame
        frame = frame.f_back


def _stall(late: float, at: _Place, plugin: str | None, extension: str | None) -> Stall:
    return Stall(
        seconds=late,
        plugin=plugin,
        extension=extension,
        file=place(at.module, at.frame.f_code.co_filename),
        line=at.frame.f_lineno,
    )
