"""The daemon's timers: the mark, syncing the store, pruning, expiry, the disk, unwritten counts, the watchdog.

Each is a task of its own with its own interval; one that fails says so in the log and in ``status`` and is tried again.
"""

import gc
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from functools import partial
from typing import Final

import anyio
import anyio.abc
import anyio.to_thread
import structlog

from cdmd.config.schema import Config
from cdmd.contracts import Append, Clock, Journal, SleeplessClock
from cdmd.daemon.disk import Disk
from cdmd.errors import CdmdError, ClockDisturbed, Overloaded
from cdmd.intake.shared import Intake
from cdmd.kit.systemd import Systemd
from cdmd.models import Micros, Seq, to_micros
from cdmd.privacy.retention import shorter
from cdmd.store.stored import StoredStore

MARK_EVERY: Final = 1.0
SYNC_EVERY: Final = 60.0
PRUNE_EVERY: Final = 300.0
LARGEST_LEAP: Final = timedelta(hours=1)
DISK_EVERY: Final = 1.0
COUNTS_EVERY: Final = 5.0
GARBAGE_EVERY: Final = 10.0
_OWN: Final = ("sync", "disk", "mend", "garbage", "counts")
OWNER: Final = "daemon:upkeep"
"""Whose state the trial writes are; no connector can have this name."""

_ANSWER_WITHIN: Final = 5.0


class Agreement:
    """Whether the wall clock goes with the steady one: what is old is told by the wall clock alone.

    Judged from one look to the next, so that what clocks drift, and a machine that is held for minutes now and then, never adds
    up. A leap of more than an hour, either way, holds until the clocks agree again or the daemon is restarted, which takes the
    wall clock's word for it.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._steady = clock.boottime if isinstance(clock, SleeplessClock) else clock.monotonic
        self._before = clock.now(), self._steady()
        self._leap = timedelta(0)

    def leap(self) -> timedelta:
        """How far the wall clock leapt ahead of where it should be; nothing where it only strayed since the last look."""
        (wall, steady), self._before = self._before, (self._clock.now(), self._steady())
        leap = self._leap + (self._before[0] - wall) - timedelta(seconds=self._before[1] - steady)
        self._leap = leap if abs(leap) > LARGEST_LEAP else timedelta(0)
        return self._leap

    def disturbed(self) -> str | None:
        """Why nothing may be deleted for its age, or None."""
        leap = self.leap()
        if not leap:
            return None
        way = "ahead" if leap > timedelta(0) else "back"
        return (
            f"the wall clock leapt {abs(leap) // timedelta(hours=1)} h {way}: nothing is deleted for its age until it is right "
            "again; where it is right now, restart cdmd"
        )


class Upkeep:
    """All timers. ``well`` answers the watchdog: the loop runs it, the supervisor and the store have to agree.

    One that does not lead (``leads``) keeps only what is its own: the journal and the store are kept by another.
    """

    def __init__(
        self,
        *,
        config: Callable[[], Config],
        journal: Journal,
        store: StoredStore,
        intake: Intake,
        disk: Disk,
        clock: Clock,
        systemd: Systemd,
        well: Callable[[], bool],
    ) -> None:
        self.leads = True
        self._config, self._journal, self._store, self._intake = config, journal, store, intake
        self._disk, self._clock, self._systemd, self._well = disk, clock, systemd, well
        self._agreement = Agreement(clock)
        self.problems: dict[str, str] = {}
        self._log = structlog.get_logger()

    async def run(self, *, task_status: "anyio.abc.TaskStatus[None]" = anyio.TASK_STATUS_IGNORED) -> None:
        """Keep every timer until cancelled."""
        timers: list[tuple[str, float, Callable[[], Awaitable[object]]]] = [
            ("mark", MARK_EVERY, self._journal.write_mark),
            ("sync", SYNC_EVERY, self._store.sync),
            ("prune", PRUNE_EVERY, self.prune),
            ("disk", DISK_EVERY, self.look_at_disk),
            ("mend", DISK_EVERY, self.mend),
            ("counts", COUNTS_EVERY, partial(write_counts, self._intake)),
            ("garbage", GARBAGE_EVERY, collect_garbage),
        ]
        if not self.leads:
            timers = [timer for timer in timers if timer[0] in _OWN]
        if watched := self._systemd.watchdog_seconds():
            timers.append(("watchdog", watched, self.watchdog))
        async with anyio.create_task_group() as tasks:
            for name, seconds, work in timers:
                tasks.start_soon(self._every, seconds, name, work, name=f"upkeep {name}")
            task_status.started()

    async def _every(self, seconds: float, name: str, work: Callable[[], Awaitable[object]]) -> None:
        while True:
            await self._clock.sleep(seconds)
            await self.once(name, work)

    async def once(self, name: str, work: Callable[[], Awaitable[object]]) -> None:
        """Do one timer's work; its failure becomes the problem of that name, its success removes it."""
        try:
            await work()
        except (CdmdError, OSError) as error:
            if name not in self.problems:
                self._log.warning("upkeep_failed", task=name, error=error)
            self.problems[name] = f"{name}: {str(error) or type(error).__name__}"
        else:
            self.problems.pop(name, None)

    async def prune(self) -> None:
        """Remove what is older than configured; of the journal never what the store is not known to have on disk.

        Raises ``ClockDisturbed`` where what is old cannot be told.
        """
        config = self._config()
        synced = await self._store.sync()
        if disturbed := self._agreement.disturbed():
            raise ClockDisturbed(disturbed)
        keep = shorter(config.journal.keep.seconds, config.privacy)
        await self._journal.prune(before=self._ago(keep), upto=synced)
        await self._store.outbox.expire(before=self._ago(config.deliveries.keep.seconds))
        await self._store.expire(
            dead_before=self._ago(config.dead_letters.keep.seconds), seen_before=self._ago(config.dedupe.keep.seconds)
        )

    async def look_at_disk(self) -> None:
        """Measure the disk."""
        await anyio.to_thread.run_sync(self._disk.measure, self._clock.monotonic())

    async def mend(self) -> None:
        """After a failed write try another one: without it a daemon that nobody is sent to would never be ready again."""
        if self.leads and self._journal.failure is not None and self._disk.blocked() is None:
            tried = str(to_micros(self._clock.now())).encode()
            await self._journal.append([Append(connector=OWNER, state={b"tried": tried})])
        if self._store.failure is not None:
            await self._store.sync()

    async def watchdog(self) -> None:
        """Tell systemd that all is well, if it is. Raises TimeoutError where a store on this machine does not answer."""
        if self._store.here:
            with anyio.fail_after(_ANSWER_WITHIN):
                await self._store.next_due()
        if self._well():
            self._systemd.watchdog()

    def _ago(self, seconds: float) -> Micros:
        return to_micros(self._clock.now() - timedelta(seconds=seconds))


async def collect_garbage() -> None:
    """Free what refers to itself in a circle and is young: closed connections, tasks that failed.

    Here and not whenever so and so much was made (``cli.daemon_run``): that is when most events are under way, all of which
    would be looked through while every sender waits (tests/bench/end_to_end.py).
    """
    gc.collect(1)


async def write_counts(intake: Intake) -> None:
    """Make the door's counts durable that no append has carried yet. Raises ``NotDurable`` and ``Overloaded``."""
    for connector in intake.tally.unwritten():
        pending = intake.tally.take_pending(connector)
        append = Append(connector=connector, counts=pending)
        await intake.queue.submit(append, patience=1.0, settle=partial(_settle, intake, connector, pending))


def _settle(intake: Intake, connector: str, pending: Mapping[str, int], first: Seq | None, error: Overloaded | None) -> None:
    if first is None:
        intake.tally.restore(connector, pending)
    else:
        intake.tally.written(connector, pending)
