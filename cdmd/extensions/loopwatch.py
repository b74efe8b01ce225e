"""Notices what blocks the event loop and names it: which plugin, which file, which line.

A task on the loop beats; a daemon thread looks at the loop's stack when a beat is late. A function that really blocks cannot
be cancelled, only named. Not for: slow but waiting calls, which have deadlines.
"""

import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import CodeType, FrameType
from typing import Final, NamedTuple

import anyio
import anyio.abc
import msgspec

from cdmd.contracts import Clock
from cdmd.extensions.calling import Registered, keys

_BEAT: Final = 0.1


class Stall(msgspec.Struct, frozen=True, kw_only=True):
    """The event loop stood still for ``seconds`` so far; ``plugin`` is None where no extension's code was on the stack."""

    seconds: float
    plugin: str | None
    extension: str | None
    file: str
    line: int

    def describe(self) -> str:
        """One sentence for a log line or a plugin's row."""
        return f"blocked the event loop for {self.seconds:.1f} s at {self.file}:{self.line}"


class _Suspect(NamedTuple):
    plugin: str
    extension: str
    code: CodeType | None
    module: str
    package: str


class LoopWatch:
    """Watches the loop it runs on; ``longest`` is the longest stall so far, in seconds.

    ``limit`` in seconds is how late a beat may be. ``notice`` is called at once, in the watching thread; ``report`` on the
    loop as soon as it lives again.
    """

    def __init__(
        self,
        registered: Sequence[Registered],
        *,
        clock: Clock,
        notice: Callable[[Stall], None],
        report: Callable[[Stall], None],
        limit: float = 0.5,
    ) -> None:
        self._suspects = [_suspect(key, one) for key, one in zip(keys(registered), registered, strict=True)]
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
        frames = list(_outwards(innermost))
        # Whose function is on the stack is sure; code of its package may belong to another extension of the same plugin.
        for belongs in (_is_function, _is_in_package):
            for frame in frames:
                for suspect in self._suspects:
                    if belongs(frame, suspect):
                        return _stall(late, _innermost(frames, suspect), suspect)
        return _stall(late, innermost, None)


def _suspect(key: str, one: Registered) -> _Suspect:
    function = one.extension.function
    module = str(getattr(function, "__module__", "") or "")
    package = module.partition(".")[0]
    code = getattr(function, "__code__", None)
    return _Suspect(one.plugin, key, code, module, "" if package in {"cdmd", "tests", "__main__"} else package)


def _outwards(innermost: FrameType) -> Iterator[FrameType]:
    frame: FrameType | None = innermost
    while frame is not None:
        yield frame
        frame = frame.f_back


def _is_function(frame: FrameType, suspect: _Suspect) -> bool:
    return suspect.code is not None and frame.f_code is suspect.code


def _is_in_package(frame: FrameType, suspect: _Suspect) -> bool:
    module = str(frame.f_globals.get("__name__", ""))
    return bool(suspect.package) and (module == suspect.package or module.startswith(suspect.package + "."))


def _innermost(frames: Sequence[FrameType], suspect: _Suspect) -> FrameType:
    """The plugin's own line that is nearest to where it stands."""
    return next(frame for frame in frames if _is_function(frame, suspect) or _is_in_package(frame, suspect))


def _stall(late: float, frame: FrameType, suspect: _Suspect | None) -> Stall:
    return Stall(
        seconds=late,
        plugin=suspect.plugin if suspect else None,
        extension=suspect.extension if suspect else None,
        file=Path(frame.f_code.co_filename).name,
        line=frame.f_lineno,
    )
