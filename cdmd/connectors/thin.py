"""The thin webhook: a notification names a key, and what the key stands for is fetched from the source's API.

Each key is fetched once its notifications have settled, one fetch of it at a time, within its host's budget. Not here: what a
notification writes (``thin_notices``), which key is next (``thin_keys``), requests (``fetching``), what becomes of an answer
(``thin_answers``), verification (``webhooks``).
"""

import random
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Final

import anyio
import anyio.abc

from cdmd.connectors import thin_erasing
from cdmd.connectors.fetching import Denied, Fetcher
from cdmd.connectors.thin_answers import FETCH_FAILED, Answers
from cdmd.connectors.thin_disk import scan
from cdmd.connectors.thin_keys import Keys
from cdmd.connectors.thin_notices import KEY_REFUSED, Notices, Summary
from cdmd.connectors.thin_settings import FetchSettings
from cdmd.contracts import Source
from cdmd.kit.shared_budget import NOTIFIED
from cdmd.models import Answer, Emission, Record, from_micros, to_micros

AT_ONCE: Final = 4
"""Fetches of one connector at the same time; its host's budget may allow fewer."""

RETRIES: Final = frozenset((FETCH_FAILED, KEY_REFUSED))
"""Faults of dead letters that are retried by being fetched again."""

_DENIED: Final = 900.0
_RESCANS: Final = (5.0, 35.0, 600.0)
_SECOND: Final = 1_000_000
_BREATH: Final = 0.2


class Thin:
    """The fetching half of a webhook connector: ``emission`` for what it is told, ``run`` for the fetches."""

    def __init__(self, name: str, settings: FetchSettings) -> None:
        self._name, self._settings = name, settings
        self._keys = Keys(settle=settings.settle.micros)
        self.notices = Notices(settings, self._keys, told=self._move)
        self._answers = Answers(name, settings, keys=self._keys, notices=self.notices, chance=random.random)
        self._denied_until, self._denied = 0, ""
        self._moved = anyio.Event()
        self._fetcher: Fetcher | None = None

    def emission(self, records: Sequence[Record], source: Source, summary: Summary) -> Answer | Emission:
        """What has to be durable before a request is answered (``Notices.emission``)."""
        return self.notices.emission(records, source, summary)

    def would_fetch(self) -> list[dict[str, str]]:
        """The requests that wait to be made, unsigned."""
        asks = [(mark.key, self.notices.ask(mark)) for mark in self._keys.marks]
        return [{"key": key, "method": ask.method, "url": ask.url} for key, ask in asks]

    async def erase(self, values: Collection[str], source: Source) -> int:
        """Forget the keys that name somebody (``thin_erasing``)."""
        return await thin_erasing.erase(values, self._keys, source)

    @property
    def waiting_since(self) -> datetime | None:
        """When the oldest notification came that has not been fetched."""
        since = self._keys.since
        return None if since is None else from_micros(since)

    @property
    def to_fetch(self) -> int:
        """Keys that are notified and not fetched, as far as memory holds them; what is under way counts."""
        return self._keys.pending

    @property
    def exchanging(self) -> bool:
        """Whether it is not to be cut off: a refresh token is being exchanged."""
        return self._fetcher is not None and self._fetcher.exchanging

    async def run(self, source: Source) -> None:
        """Fetch what is marked until cancelled."""
        settings = self._settings
        fetcher = Fetcher(
            source,
            origin=self.notices.origin,
            auth=settings.auth,
            limits=settings.rates,
            timeout=settings.timeout.seconds,
            max_body=settings.max_body.bytes,
        )
        self._fetcher = fetcher
        self._keys.restart()
        await scan(self._keys, source)
        slots = anyio.Semaphore(AT_ONCE)
        async with anyio.create_task_group() as group:
            group.start_soon(self._speak, source, fetcher)
            group.start_soon(self._rescan, source)
            while True:
                await self._until_due(source)
                await slots.acquire()
                if self._denied:  # one probe at a time
                    async with anyio.create_task_group() as probe:  # a task of its own, as the others: one that can be shielded
                        probe.start_soon(self._fetch_one, source, fetcher, slots)
                else:
                    await group.start(self._fetch_one, source, fetcher, slots)

    async def _fetch_one(
        self,
        source: Source,
        fetcher: Fetcher,
        slots: anyio.Semaphore,
        *,
        task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
    ) -> None:
        """Wait for a turn, and only then choose the key: what was notified while it waited is covered by the same fetch."""
        try:
            async with fetcher.turn(self._name, priority=NOTIFIED) as turn:
                now = to_micros(source.clock.now())
                flight = None if now < self._denied_until else self._keys.take(now)
                task_status.started()
                if flight is None:
                    return
                self._move()
                outcome = await fetcher.send(turn, self.notices.ask(flight.waiting.mark))
            denied = await self._answers.settle(flight, outcome, source)
            self._believe(denied, source)
        finally:
            slots.release()
            self._move()

    def _believe(self, denied: Denied | None, source: Source) -> None:
        """A refused credential stops all fetching; the keys stay, and one of them is tried again after a while."""
        self._denied = "" if denied is None else denied.reason
        if denied is not None:
            self._denied_until = to_micros(source.clock.now()) + round(_DENIED * _SECOND)
        source.unwell(self._denied or self._answers.trouble)

    # ---- waiting -----------------------------------------------------------------------------------------------------

    async def _until_due(self, source: Source) -> None:
        while True:
            moved, now = self._moved, to_micros(source.clock.now())
            if self._keys.wants_scan:
                await scan(self._keys, source)
            due = self._keys.next_due(now)
            at = None if due is None else max(due, self._denied_until)
            if at is not None and at <= now:
                return
            await _either(moved, None if at is None else (at - now) / _SECOND, source)

    async def _rescan(self, source: Source) -> None:
        """What a predecessor still wrote while it was exchanged is found soon, and by and by whatever else was missed."""
        pauses = list(_RESCANS)
        while True:
            await source.clock.sleep(pauses.pop(0) if len(pauses) > 1 else pauses[0])
            await scan(self._keys, source)
            self._move()

    async def _speak(self, source: Source, fetcher: Fetcher) -> None:
        """Say in ``status`` what is waited for, and hurry when an administrator asks for a look now."""
        while True:
            moved, (until, reason) = self._moved, self._outlook(source, fetcher)
            source.working(reason)  # also while it draws breath
            async with anyio.create_task_group() as group:
                group.start_soon(self._idle, source, until, reason, group.cancel_scope)
                await moved.wait()
                group.cancel_scope.cancel()
            await source.clock.sleep(_BREATH)

    async def _idle(self, source: Source, until: datetime, reason: str, over: anyio.CancelScope) -> None:
        await source.idle(until, reason)
        if source.clock.now() < until:
            self._denied_until = 0
            self._keys.hurry(to_micros(source.clock.now()))
            self._move()
        over.cancel()

    def _outlook(self, source: Source, fetcher: Fetcher) -> tuple[datetime, str]:
        """Until when, and in which words, it waits."""
        now, keys = to_micros(source.clock.now()), self._keys
        far = from_micros(now + round(_RESCANS[-1] * _SECOND))
        said = f"{keys.pending} {'key' if keys.pending == 1 else 'keys'} to fetch" + (", more on disk" if keys.overflow else "")
        due = keys.next_due(now)
        if due is None:
            return far, f"{said}, {keys.flying} under way" if keys.flying else "it waits for notifications"
        if now < self._denied_until:
            return from_micros(self._denied_until), f"{said}; {self._denied}"
        if due > now:
            return from_micros(due), f"{said}; the next one settles, or waits for another try"
        at, why = fetcher.budget.next_at()
        seconds = _BREATH if at is None else at - source.clock.monotonic()
        return from_micros(now + round(max(_BREATH, seconds) * _SECOND)), "; ".join(filter(None, (said, why)))

    def _move(self) -> None:
        self._moved.set()
        self._moved = anyio.Event()


async def _either(moved: anyio.Event, seconds: float | None, source: Source) -> None:
    """Return when something moved, or after ``seconds``."""
    if seconds is None:
        await moved.wait()
        return

    async def sleep() -> None:
        await source.clock.sleep(seconds)
        group.cancel_scope.cancel()

    async with anyio.create_task_group() as group:
        group.start_soon(sleep)
        await moved.wait()
        group.cancel_scope.cancel()
