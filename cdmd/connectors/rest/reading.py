"""The reader of one stream, for as long as the daemon runs: looks, rests, and says how it is. Children work off their parents.

Not here: one look (``walking``), when the next one is due (``looks``), several streams beside each other (``connector``).
"""

from collections.abc import Callable
from datetime import datetime
from typing import Final

import anyio

from cdmd.connectors.durable import durable
from cdmd.connectors.fetching import Ask, Fetcher, Judge, Outcome
from cdmd.connectors.rest.getting import Means
from cdmd.connectors.rest.looks import Look, Next, Pace, after_failure
from cdmd.connectors.rest.parents import Parents
from cdmd.connectors.rest.streams import Stream
from cdmd.connectors.rest.walking import Walk
from cdmd.contracts import Source, StreamOutlook
from cdmd.kit.shared_budget import SCHEDULED

_BREATH: Final = 0.05


class Reader:
    """Reads one stream. ``moved`` is called whenever what it says of itself changes; ``chance`` draws from [0, 1).

    ``looked`` is when the last look began that came to its end, at first when the reader began; None where nothing waits.
    """

    def __init__(
        self,
        stream: Stream,
        source: Source,
        fetcher: Fetcher,
        *,
        pace: Pace,
        moved: Callable[[], None],
        chance: Callable[[], float],
    ) -> None:
        self.stream, self._source, self._fetcher, self._pace = stream, source, fetcher, pace
        self._moved, self._asker = moved, f"{source.name}.{stream.name}"
        self._means = Means(self._fetch, chance, self._say)
        self.due: datetime | None = None
        self.reason = "the first look"
        self.doing: str | None = None
        self.trouble: str | None = None
        self.looked: datetime | None = None
        self._failures = 0
        self._said = False
        self._hurried = anyio.Event()

    async def run(self) -> None:
        """Look until cancelled."""
        self.looked = now = self._source.clock.now()
        kept = await self._source.get([self.stream.key, *self._pace.keys])
        place = self.stream.read(kept.get(self.stream.key))
        self._wait(self._pace.begin(kept, now=now))
        if self.due is not None and self.due > now:
            self._moved()
            await self._until_due()
        while True:
            walk = Walk(self.stream, self._source, self._means, place=place)
            look = await walk.look()
            place = walk.place
            self.looked = self.looked if look.trouble else look.began
            await self._rest(look)

    @property
    def shortfall(self) -> str | None:
        """Why the stream will not be as fresh as it is wanted, with what will be reached."""
        return self._pace.shortfall

    @property
    def outlook(self) -> StreamOutlook:
        """How it is, for ``status``; a child has no look of its own to wait for."""
        return StreamOutlook(
            name=self.stream.name,
            freshness=self._pace.objective,
            measured=self._pace.measured,
            looked=self.looked,
            next=self.due if self.doing is None else None,
            why=self.doing or self.reason,
            shortfall=self.shortfall,
        )

    async def work_off(self, told: Callable[[], anyio.Event]) -> None:
        """Ask about the parents' new records until cancelled; ``told`` gives what is set when there are more."""
        parents = Parents(self.stream, self._source, self._means, opened=self._open)
        while True:
            more = told()
            worked = await parents.work()
            if worked.stopped is not None:
                await self._rest(worked.stopped, told)
            elif not worked.asked and self._said:
                await more.wait()
            elif not worked.asked:
                self._failures, self.trouble, self.doing, self.due = 0, parents.trouble, None, parents.due
                self.looked, self._said = parents.since, parents.due is None
                self.reason = "another try"
                self._moved()  # which is no reason to look again, so the next round waits
                if self.due is not None:
                    await self._until_due(told())

    async def _fetch(self, ask: Ask, judge: Judge) -> Outcome:
        return await self._fetcher.fetch(ask, asker=self._asker, priority=SCHEDULED, judge=judge)

    # ---- between looks -------------------------------------------------------------------------------------------------

    async def _rest(self, look: Look, told: Callable[[], anyio.Event] | None = None) -> None:
        """Until the next look; of a child whose source may be well again by then also until there are more parents."""
        now = self._source.clock.now()
        if look.trouble is not None:
            self._failures += 1
            self.trouble = look.trouble
            self._wait(after_failure(look, self._failures, now=now))
        else:
            self._well(Next(now, "there is more") if look.more else self._pace.next_look(look, now=now))
            self.trouble = look.warning
            if state := self._pace.state():
                await durable(self._source, [], state)
        self._moved()
        await self._until_due(None if told is None or look.denied else told())

    def _well(self, following: Next) -> None:
        self._failures, self.trouble = 0, None
        self._wait(following)

    def _wait(self, following: Next) -> None:
        self.due, self.reason = self._pace.opened(following)
        self.doing = None

    async def _open(self) -> None:
        """Return when it is not quiet."""
        now = self._source.clock.now()
        following = self._pace.opened(Next(now, self.reason))
        if following.at > now:
            self._wait(following)
            self._moved()
            await self._until_due()

    async def _until_due(self, more: anyio.Event | None = None) -> None:
        """Return at ``due``, or when somebody hurries or has hurried since the last time, or when there is ``more``."""
        assert self.due is not None  # noqa: S101 - set by whoever rests
        seconds = max(_BREATH, (self.due - self._source.clock.now()).total_seconds())
        over = False

        async def sleep() -> None:
            nonlocal over
            await self._source.clock.sleep(seconds)
            over = True
            self._hurried.set()

        async def wait(more: anyio.Event) -> None:
            await more.wait()
            self._hurried.set()

        async with anyio.create_task_group() as group:
            group.start_soon(sleep)
            if more is not None:
                group.start_soon(wait, more)
            await self._hurried.wait()
            if not over or more is not None:  # where only the time is over there is nobody left to cancel, which is not cheap
                group.cancel_scope.cancel()
        self._hurried = anyio.Event()

    def hurry(self) -> None:
        """Look now."""
        self._hurried.set()

    def _say(self, what: str) -> None:
        self.doing, self._said = what, False
        self._moved()
