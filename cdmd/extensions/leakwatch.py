"""Notices that the process grows and names the plugin whose code holds what it grew by: which file, which line.

The process's memory is looked at now and then. Where it has grown far beyond what it had after its warm-up, and stays so, the
interpreter's tracing of allocations is switched on for a while (``tracemalloc``): what plugins' lines have made and nobody has
let go of is compared at two moments. Otherwise it costs nothing. Not for: what native code takes, which is not traced, and
plugins that are isolated, whose processes have a bound of their own.
"""

import sys
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Final, NamedTuple

import anyio
import anyio.to_thread
import msgspec

from cdmd.contracts import Clock
from cdmd.kit.frames import place
from cdmd.kit.measures import size, span

_MIB: Final = 2**20
_FRAMES: Final = 16
"""How deep a plugin's line may stand in the calls that made something."""

Place = tuple[str, int]
"""A file's path and a line in it."""


class LeakLimits(msgspec.Struct, frozen=True, kw_only=True):
    """When the process counts as growing, and how long one looks. Seconds and bytes.

    What it had at most within ``warm_up`` is where growth begins; it is told from ``least`` and ``share`` of that on, at three
    looks in a row. Allocations are traced until ``enough`` was added, at most twice for ``trace``; then again after ``pause``.
    """

    warm_up: float = 300.0
    every: float = 15.0
    least: int = 64 * _MIB
    share: float = 0.25
    enough: int = 16 * _MIB
    trace: float = 30.0
    pause: float = 600.0
    smallest: int = _MIB


class Growth:
    """Whether the process grows, told by its sizes (bytes) at moments (seconds). Pure."""

    _IN_A_ROW: Final = 3

    def __init__(self, limits: LeakLimits, begun: float) -> None:
        self._limits, self._warm_at = limits, begun + limits.warm_up
        self._most, self._seen = 0, 0

    def look(self, now: float, resident: int) -> int:
        """By how much it has grown, or 0 while it has not, or not for certain."""
        if now < self._warm_at or self._most == 0:
            self._most = max(self._most, resident)
            return 0
        allowed = self._most + max(self._limits.least, int(self._most * self._limits.share))
        self._seen = self._seen + 1 if resident > allowed else 0
        return resident - self._most if self._seen >= self._IN_A_ROW else 0

    def begin(self, now: float, resident: int) -> None:
        """What is there now is where growth begins, after a pause."""
        self._warm_at, self._most, self._seen = now + self._limits.pause, resident, 0


class Leak(NamedTuple):
    """A plugin's line that ``kept`` so many bytes within ``seconds``, while the process had grown by ``grown``."""

    plugin: str
    file: str
    line: int
    kept: int
    seconds: float
    grown: int

    def describe(self) -> str:
        """One sentence for a plugin's row."""
        return (
            f"the daemon's memory has grown by {size(self.grown)}, and {self.file}:{self.line} kept {size(self.kept)} of it "
            f"within {span(self.seconds)}"
        )


class LeakWatch:
    """Watches this process. ``owner`` says which plugin a module belongs to, ``resident`` how large the process is (bytes).

    ``report`` is told each leak, and None where the process grows by what no plugin's line made.
    """

    def __init__(
        self,
        *,
        owner: Callable[[str], str | None],
        resident: Callable[[], int | None],
        clock: Clock,
        report: Callable[[Leak | None, int], None],
        limits: LeakLimits | None = None,
    ) -> None:
        self._owner, self._resident, self._clock, self._report = owner, resident, clock, report
        self._limits = limits or LeakLimits()

    async def run(self) -> None:
        """Until it is cancelled."""
        growth = Growth(self._limits, self._clock.monotonic())
        while True:
            await self._clock.sleep(self._limits.every)
            now, found = self._clock.monotonic(), await self._size()
            if grown := growth.look(now, found):
                self._report(await self._trace(grown), grown)
                growth.begin(self._clock.monotonic(), await self._size())

    async def _size(self) -> int:
        return await anyio.to_thread.run_sync(self._resident) or 0

    async def _trace(self, grown: int) -> Leak | None:
        """Who keeps what is made now: what is there at the second moment and was not at the first."""
        if tracemalloc.is_tracing():  # somebody else looks; what they see is theirs
            return None
        files = {path: (plugin, module) for module, path, plugin in self._modules()}
        if not files:
            return None
        tracemalloc.start(_FRAMES)
        try:
            await self._grow()
            begun, before = self._clock.monotonic(), await anyio.to_thread.run_sync(_kept, files)
            await self._grow()
            after = await anyio.to_thread.run_sync(_kept, files)
        finally:
            tracemalloc.stop()
        kept = {where: count - before.get(where, 0) for where, count in after.items()}
        where = max(kept, key=lambda one: kept[one], default=None)
        if where is None or kept[where] < self._limits.smallest:
            return None
        plugin, module = files[where[0]]
        file = place(module, where[0])
        return Leak(plugin, file, where[1], kept[where], self._clock.monotonic() - begun, grown)

    async def _grow(self) -> None:
        """Wait until the process has grown enough to tell who by, or for as long as one looks."""
        until, begun = self._clock.monotonic() + self._limits.trace, await self._size()
        while self._clock.monotonic() < until and await self._size() - begun < self._limits.enough:
            await self._clock.sleep(min(1.0, self._limits.trace / 10))

    def _modules(self) -> Iterable[tuple[str, str, str]]:
        for name, module in list(sys.modules.items()):
            path = getattr(module, "__file__", None)
            plugin = self._owner(name)
            if plugin is not None and isinstance(path, str):
                yield name, path, plugin


def _kept(files: Mapping[str, object]) -> Mapping[Place, int]:
    """What has been made since tracing began and is still there, by the plugin's line that is nearest to its making."""
    found: Counter[Place] = Counter()
    for stat in tracemalloc.take_snapshot().statistics("traceback"):
        for frame in reversed(stat.traceback):
            if frame.filename in files:
                found[frame.filename, frame.lineno] += stat.size
                break
    return found
