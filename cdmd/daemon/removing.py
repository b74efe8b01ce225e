"""Removes those who are erased from every file, in the background, a little at a time.

Everybody who is pending at its beginning goes in one pass: nothing is remembered of how far it was, because each step may be
repeated. Order matters: the activities say which of the journal's entries are the person's, so they go last. A pass is over
when nothing is left in free space or in a write-ahead log either.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any, Final, NamedTuple

import anyio
import anyio.abc
import anyio.to_thread
import structlog

from cdmd.batches.unnaming import Unnaming
from cdmd.contracts import Clock, ErasingConnector, Feeds, Journal, Source, Store
from cdmd.daemon.erasing import Erasures
from cdmd.daemon.mentions import mentions, merges, rest, unname, untell
from cdmd.daemon.requesting import EXPORTS, forget_exports
from cdmd.daemon.suppressing import OWNER
from cdmd.errors import CdmdError, Damaged, Overloaded
from cdmd.identity.identifiers import Kinds
from cdmd.kit.detached import within
from cdmd.kit.frames import sentence
from cdmd.kit.measures import several
from cdmd.models import Entry, ProfileKey, Seq, to_micros
from cdmd.privacy.erasure import Erased, Erasure, Forgotten, copies_since
from cdmd.privacy.traces import Traces
from cdmd.profiles.values import digest_of

_PAGE: Final = 2_000
_LETTERS: Final = 200
_AFTER_FAILURE: Final = 5.0
_BUSY: Final = 0.1
_DRAIN: Final = 5.0
_PATIENCE: Final = 600.0
"""Seconds for one connector: a register is written anew, after the one that is being applied."""


class Holder(NamedTuple):
    """A connector that is live, with a source for commands about it; ``away`` has the node erase that fetches for it."""

    name: str
    connector: object
    source: Source
    away: Callable[[Collection[str]], Awaitable[int | str]] | None = None


class Removing:
    """``progress`` says what it does, None where nothing is to be done; ``problem`` why it does not get on.

    ``tried`` is set whenever it has done what it could.

    ``applied(seconds)`` waits until all that is journaled is applied, at most so long; ``told`` tells targets and names them,
    ``untold`` has them read again what waits; ``unnaming`` decides about profiles by what is configured then.
    """

    def __init__(  # noqa: PLR0913 - what it reaches into, each by its name
        self,
        erasures: Erasures,
        *,
        journal: Journal,
        store: Store,
        feeds: Feeds,
        kinds: Callable[[], Kinds],
        holders: Callable[[], Iterable[Holder]],
        applied: Callable[[float], Awaitable[bool]],
        told: Callable[[Sequence[Erasure]], Awaitable[Sequence[str]]],
        untold: Callable[[], Awaitable[None]],
        unnaming: Callable[[Sequence[ProfileKey], Traces], Unnaming],
        folder: Path,
        clock: Clock,
    ) -> None:
        self._erasures, self._journal, self._store, self._feeds = erasures, journal, store, feeds
        self._kinds, self._holders, self._applied, self._told = kinds, holders, applied, told
        self._untold, self._unnaming, self._folder, self._clock = untold, unnaming, folder, clock
        self.progress: str | None = None
        self.problem: str | None = None
        self.tried = anyio.Event()
        self._log: Any = structlog.get_logger()

    async def run(self, *, task_status: "anyio.abc.TaskStatus[None]" = anyio.TASK_STATUS_IGNORED) -> None:
        """Remove whoever is asked for until cancelled."""
        task_status.started()
        while True:
            await self._erasures.asked.wait()
            self._erasures.asked = anyio.Event()
            try:
                while self._erasures.pending:
                    await self.remove()
            except (CdmdError, OSError) as error:
                if self.problem is None:
                    self._log.warning("erasing_failed", error=error)
                self.problem = f"an erasure is in force and not complete: {error}"
                self._erasures.asked.set()
                self.tried.set()
                await self._clock.sleep(_AFTER_FAILURE)
            else:
                self.problem = self.progress = None
            self.tried.set()
            self.tried = anyio.Event()

    async def remove(self) -> None:
        """One pass over everything, for all that are pending now. Raises CdmdError and OSError; then it has to be repeated."""
        asked = list(self._erasures.pending.values())
        self._say(asked, "waits until everything that arrived before is applied")
        while not await self._applied(_DRAIN):
            pass
        forgotten, counts = Forgotten([pair for one in asked for pair in one.pairs], self._kinds()), Counter[str]()
        await self._learn(forgotten, asked)
        counts["journal entries"] = await self._revise_journal(forgotten, asked)
        left = await self._connectors(forgotten, counts, asked)
        counts["dead letters and parked events"] = await self._waiting(forgotten, asked)
        counts["others kept apart from them"] = await self._parted(asked)
        await self._unname(forgotten, counts, asked)
        self._say(asked, "activities")
        # Theirs go last: they say how the identifiers of the others were spelt.
        owners = dict(forgotten.others)
        counts["activities of others that named them"] = await self._in_slices(list(owners), forgotten)
        if forgotten.others != owners:  # a split gave some of them to somebody else meanwhile
            await self._unname(forgotten, counts, asked)
        counts["activities"] = await self._in_slices(list(forgotten.seqs), forgotten)
        counts["deliveries and attempts"] += await self._store.forgetting.forget_deliveries()
        await self._untold()
        targets = await self._told(asked)
        # The figures are those of the pass.
        counts["people in the same pass"] = len(asked) if len(asked) > 1 else 0
        publics = [public for one in asked for public in one.publics]
        counts["answers to them"], kept = await anyio.to_thread.run_sync(forget_exports, self._folder / EXPORTS, publics)
        await self._settle(asked)
        reports = [await self._report(one, counts, [*left, *kept], targets) for one in asked]
        await self._erasures.done(reports)
        await self._until_settled(self._journal.settled)
        self._erasures.release([one.id for one in asked])
        self._log.info("erased", count=len(asked))

    # ---- place by place ------------------------------------------------------------------------------------------------

    async def _learn(self, forgotten: Forgotten, asked: Sequence[Erasure]) -> None:
        """Their own activities are noted, and others that name them."""
        async with aclosing(mentions(self._store.forgetting, forgotten, self._clock)) as pages:
            async for page in pages:
                forgotten.learn(page.orphans)
                await anyio.to_thread.run_sync(forgotten.meet, page.named)
                self._say(asked, f"looks through the activities, up to {page.last}")

    async def _revise_journal(self, forgotten: Forgotten, asked: Sequence[Erasure]) -> int:
        count, after = 0, Seq(0)
        while True:
            began = self._clock.monotonic()
            last, changed = await self._journal.revise(forgotten.revised, holding=forgotten.holding, after=after)
            if last == after:
                return count
            count, after = count + changed, last
            self._say(asked, f"journal, up to {after} of {self._journal.head}")
            await rest(self._clock, began)

    async def _connectors(self, forgotten: Forgotten, counts: Counter[str], asked: Sequence[Erasure]) -> list[str]:
        """What connectors keep beside their events; what is found there afterwards is said."""
        left: list[str] = []
        self._say(asked, "what connectors keep")
        names = set[str]()
        for one in self._holders():
            names.add(one.name)
            if isinstance(one.connector, ErasingConnector):
                values = forgotten.spellings
                answer = await (answered(one, one.connector, values) if one.away is None else one.away(values))
                if isinstance(answer, int):
                    counts["connectors' rows"] += answer
                else:
                    left.append(f"{one.name} did not erase what it keeps ({answer}): ask for the erasure again")
        for name in await self._journal.owners():
            if name != OWNER and (rows := await self._rows_left(name, forgotten)):
                act = "see its guide" if name in names else f"drop what is kept of it with: cdmctl connectors forget {name}"
                names_them = f"{several(rows, 'rows')} of {name} still {'names' if rows == 1 else 'name'} the person"
                left.append(f"{names_them}: {act}")
        return left

    async def _rows_left(self, name: str, forgotten: Forgotten) -> int:
        count = 0
        async for key, value in self._journal.scan(name, b""):
            count += forgotten.in_row(key, value)
        return count

    async def _parted(self, asked: Sequence[Erasure]) -> int:
        """What splits and merges say of them beside others."""
        kinds = self._kinds()
        pairs = (pair for one in asked for mine in one.pairs for pair in (mine, *kinds.digests(mine)))
        self._say(asked, "what splits and merges say")
        return await unname(self._store, frozenset(map(kinds.splits.digest, pairs)), kinds.splits, self._clock)

    async def _unname(self, forgotten: Forgotten, counts: Counter[str], asked: Sequence[Erasure]) -> None:
        """What the profiles of others, their merges and what is told of them have from activities that named them."""
        if not forgotten.others:
            return
        self._say(asked, "what they said beside others")
        digests = {digest for text in forgotten.spellings | forgotten.told if (digest := digest_of(text)) is not None}
        traces, keys = Traces(forgotten.others, forgotten.says, digests=digests), set[ProfileKey]()
        waiting = {key for key in forgotten.others.values() if key is not None}
        while some := sorted(waiting)[:_LETTERS]:
            began = self._clock.monotonic()
            unnaming = self._unnaming(some, traces)
            await self._store.apply(unnaming.wanted, unnaming)
            counts["profiles of others that named them"] += unnaming.changed
            keys.update(some)
            waiting = (waiting | unnaming.winners) - keys
            await rest(self._clock, began)
        await merges(self._store, traces.left_of_merge, self._clock)
        counts["deliveries and attempts"] += await untell(self._store, forgotten, keys, self._clock)

    async def _waiting(self, forgotten: Forgotten, asked: Sequence[Erasure]) -> int:
        self._say(asked, "dead letters and parked events")
        directory, count = self._store.directory, 0
        for look in (directory.letters, directory.parked):
            after = Seq(0)
            while rows := await look(after=after, limit=_LETTERS):
                after, began = rows[-1].seq, self._clock.monotonic()
                theirs = [one.seq for one in rows if _is_other(forgotten, one.entry)]
                if theirs:
                    count += await self._store.forgetting.revise_waiting(theirs, forgotten.left_of)
                await rest(self._clock, began)
        return count

    async def _in_slices(self, seqs: Sequence[Seq], forgotten: Forgotten) -> int:
        count, ordered = 0, sorted(seqs)
        for start in range(0, len(ordered), _LETTERS):
            began = self._clock.monotonic()
            some = ordered[start : start + _LETTERS]
            count += await self._store.forgetting.revise_activities(some, forgotten.left_of_activity)
            await rest(self._clock, began)
        return count

    # ---- to its end ----------------------------------------------------------------------------------------------------

    async def _settle(self, asked: Sequence[Erasure]) -> None:
        self._say(asked, "write-ahead logs")
        await self._store.sync()
        for settled in (self._store.forgetting.settled, self._feeds.settled, self._journal.settled):
            await self._until_settled(settled)

    async def _until_settled(self, settled: Callable[[], Awaitable[bool]]) -> None:
        while not await settled():
            await self._clock.sleep(_BUSY)

    async def _report(self, one: Erasure, counts: Counter[str], left: Sequence[str], targets: Sequence[str]) -> Erased:
        aside = await anyio.to_thread.run_sync(lambda: sorted(self._folder.glob("before-restore-*")))
        moved = await anyio.to_thread.run_sync(lambda: sorted(self._folder.glob("moved-*")))
        return Erased(
            id=one.id,
            asked=one.asked,
            done=to_micros(self._clock.now()),
            by=one.by,
            publics=one.publics,
            counts={place: count for place, count in counts.items() if count},
            targets=list(targets),
            copies=copies_since(await self._erasures.copies(), one.since),
            left=[
                *left,
                *(f"{path} keeps what was there before a restore: remove it" for path in aside),
                *(f"{path} keeps what was there before it was moved: remove it" for path in moved),
            ],
        )

    def _say(self, asked: Sequence[Erasure], what: str) -> None:
        self.progress = f"erasing {len(asked)} {'person' if len(asked) == 1 else 'people'}: {what}"


def _is_other(forgotten: Forgotten, entry: Entry) -> bool:
    return forgotten.left_of(entry) is not entry


async def answered(one: Holder, connector: ErasingConnector, values: Collection[str]) -> int | str:
    """How many rows went, or why that is not known: a plugin's fault is not ours. Raises ``Overloaded`` and ``Damaged``."""
    answers: list[int] = []

    async def call() -> None:
        answers.append(await connector.erase(values, one.source))

    ended = await within(call, seconds=_PATIENCE, name=f"erasure of {one.name}")
    if ended is None:
        return answers[0]
    if isinstance(ended, Overloaded | Damaged):
        raise ended
    return f"it took longer than {_PATIENCE:g} s" if isinstance(ended, TimeoutError) else sentence(ended)
