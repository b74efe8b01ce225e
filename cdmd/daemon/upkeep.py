"""The daemon's timers: the mark, syncing the store, pruning, expiry, the disk's reserve, unwritten counts, the watchdog.

Each is a task of its own with its own interval; one that fails says so in the log and in ``status`` and is tried again.
"""

import shutil
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial
from typing import Final

import anyio
import anyio.abc
import structlog

from cdmd.config.schema import Config
from cdmd.contracts import Append, Clock
from cdmd.errors import CdmdError, Overloaded
from cdmd.intake.source import Intake
from cdmd.kit.systemd import Systemd
from cdmd.models import Seq, to_micros
from cdmd.store.journal import SqliteJournal
from cdmd.store.store import SqliteStore

MARK_EVERY: Final = 1.0
SYNC_EVERY: Final = 60.0
PRUNE_EVERY: Final = 300.0
DISK_EVERY: Final = 1.0
COUNTS_EVERY: Final = 5.0
_MINUTE: Final = 60
_DAY: Final = 86_400
_ENOUGH_TO_JUDGE: Final = 600


class Disk:
    """Free space under the state directory, and how fast what is kept grows."""

    def __init__(self, config: Config) -> None:
        self._path, self.reserve = config.state_dir, config.journal.reserve.bytes
        self.free = shutil.disk_usage(self._path).free
        self._samples: list[tuple[float, int]] = []

    def measure(self) -> None:
        """Look at the disk. Blocks."""
        self.free = shutil.disk_usage(self._path).free

    def blocked(self) -> str | None:
        """Why nothing may be acknowledged, or None."""
        if self.free >= self.reserve:
            return None
        return f"the disk has {self.free >> 20} MiB free, less than journal.reserve ({self.reserve >> 20} MiB)"

    def sample(self, now: float, size: int) -> None:
        """Note how many bytes journal and store have now (``now`` in monotonic seconds); a day of samples is kept."""
        if not self._samples or now - self._samples[-1][0] >= _MINUTE:
            self._samples.append((now, size))
            self._samples = [one for one in self._samples if now - one[0] <= _DAY]

    def days_left(self, now: float, size: int) -> float | None:
        """At today's rate; None while there is no rate to judge by (ten minutes, and growth)."""
        if not self._samples or now - self._samples[0][0] < _ENOUGH_TO_JUDGE:
            return None
        began, then = self._samples[0]
        per_day = (size - then) / (now - began) * _DAY
        return max(0.0, (self.free - self.reserve) / per_day) if per_day > 0 else None


class Upkeep:
    """All timers. ``well`` answers the watchdog: the loop runs it, the supervisor and the store have to agree."""

    def __init__(
        self,
        *,
        config: Callable[[], Config],
        journal: SqliteJournal,
        store: SqliteStore,
        intake: Intake,
        disk: Disk,
        clock: Clock,
        systemd: Systemd,
        well: Callable[[], bool],
    ) -> None:
        self._config, self._journal, self._store, self._intake = config, journal, store, intake
        self._disk, self._clock, self._systemd, self._well = disk, clock, systemd, well
        self.problems: dict[str, str] = {}
        self._log = structlog.get_logger()

    async def run(self, *, task_status: "anyio.abc.TaskStatus[None]" = anyio.TASK_STATUS_IGNORED) -> None:
        """Keep every timer until cancelled."""
        async with anyio.create_task_group() as timers:
            timers.start_soon(self._every, MARK_EVERY, "mark", self._journal.write_mark)
            timers.start_soon(self._every, SYNC_EVERY, "sync", self._sync)
            timers.start_soon(self._every, PRUNE_EVERY, "prune", self._prune)
            timers.start_soon(self._every, DISK_EVERY, "disk", self._look_at_disk)
            timers.start_soon(self._every, COUNTS_EVERY, "counts", self._write_counts)
            watched = self._systemd.watchdog_seconds()
            if watched:
                timers.start_soon(self._every, watched / 2, "watchdog", self._watchdog)
            task_status.started()

    async def _every(self, seconds: float, name: str, work: Callable[[], Awaitable[object]]) -> None:
        while True:
            await self._clock.sleep(seconds)
            try:
                await work()
            except (CdmdError, OSError) as error:
                self.problems[name] = f"{name}: {error}"
                self._log.warning("upkeep_failed", task=name, error=type(error).__name__)
            else:
                self.problems.pop(name, None)

    async def _sync(self) -> None:
        await self._store.sync()

    async def _prune(self) -> None:
        config, now = self._config(), self._clock.now()
        synced = await self._store.sync()
        await self._journal.prune(before=to_micros(now - timedelta(seconds=config.journal.keep.seconds)), upto=synced)
        await self._store.expire(
            dead_before=to_micros(now - timedelta(seconds=config.dead_letters.keep.seconds)),
            seen_before=to_micros(now - timedelta(seconds=config.dedupe.keep.seconds)),
        )

    async def _look_at_disk(self) -> None:
        await anyio.to_thread.run_sync(self._disk.measure)

    async def _write_counts(self) -> None:
        await write_counts(self._intake)

    async def _watchdog(self) -> None:
        with anyio.move_on_after(5):
            await self._store.next_due()
            if self._well():
                self._systemd.watchdog()


async def write_counts(intake: Intake) -> None:
    """Make the door's counts durable that no append has carried yet. Raises ``NotDurable``."""
    for connector in intake.tally.unwritten():
        pending = intake.tally.take_pending(connector)
        append = Append(connector=connector, counts=pending)
        await intake.queue.submit(append, patience=1.0, settle=partial(_settle, intake, connector, pending))


def _settle(intake: Intake, connector: str, pending: dict[str, int], first: Seq | None, error: Overloaded | None) -> None:
    if first is None:
        intake.tally.restore(connector, pending)
    else:
        intake.tally.written(connector, pending)
