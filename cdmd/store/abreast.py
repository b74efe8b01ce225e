"""Batches side by side: while one is written the next is looked up and decided, as if each came after the one before.

A batch by itself is one transaction on the writer's thread. One that comes while another is under way is looked up between that
one's look-up and its writing, decided on a thread of its own while it is written, and written next. What was decided and not
yet written is laid over what was looked up; where that is not written after all, neither is what was decided upon it. Whoever
else writes waits until no batch is between its look-up and its writing. Batches that are decided in another process are only
sent there, one behind the other. What it gains and costs:
tests/bench/end_to_end.py. Not here: the tables.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Future
from contextlib import asynccontextmanager
from functools import partial
from itertools import count
from typing import Protocol, TypeVar

import anyio
import anyio.to_thread

from cdmd.contracts import Decide
from cdmd.errors import NotDurable
from cdmd.models import Changes, Digest, Known, ProfileKey, Profiles, Seq, Wanted
from cdmd.store.batches import Found, look_up
from cdmd.store.tables import Tables
from cdmd.store.writer import Writer

T = TypeVar("T")


class Put(Protocol):
    """Writes what was decided of a batch, in one transaction or within one that was begun."""

    def __call__(self, tables: Tables, changes: Changes, found: Found) -> None:
        """On the writer's thread."""
        ...


class _Batch:
    """What is known of one that is under way; ``written`` is the writer's thread's to say."""

    __slots__ = ("changes", "decided", "ended", "number", "sent", "written")

    def __init__(self, number: int, *, sent: bool = False) -> None:
        self.number, self.sent = number, sent
        self.changes: Changes | None = None
        self.decided = anyio.Event()
        self.ended = self.written = False


class Abreast:
    """Applies batches in the order of the calls. ``whole`` is all of a batch in one transaction, ``put`` only its writing.

    Not ``in_steps``: each is one transaction, as it has to be where others write between two of them.
    """

    def __init__(
        self, writer: Writer[Tables], *, whole: Callable[[Wanted, Decide, Tables], Changes], put: Put, in_steps: bool = True
    ) -> None:
        self._writer, self._whole, self._put, self._steps = writer, whole, put, in_steps
        self._gate = anyio.Lock(fast_acquire=True)
        self._others = self._at_work = 0
        self._batches: list[_Batch] = []
        self._numbers = count(1)
        self._changed = anyio.Event()

    async def apply(self, wanted: Wanted, decide: Decide) -> Changes:
        """One batch. Raises what looking up, deciding and writing raise, and ``NotDurable`` where an earlier one's failed."""
        if wanted.alone:
            async with self.alone():
                return await self._writer.run(partial(self._whole, wanted, decide))
        async with self._placed(_Batch(next(self._numbers))) as (mine, earlier):
            if earlier and self._steps:
                return await self._in_steps(mine, earlier, wanted, decide)
            return await self._writer.run(partial(self._at_once, mine, earlier, wanted, decide))

    async def send(self, fn: "Callable[[Tables, int, int], Future[T]]") -> T:
        """One batch that is decided and written elsewhere, after those that were sent there before.

        ``fn(tables, number, upon)`` sends it as number ``number``: it may be written only if ``upon`` was. Raises as ``apply``.
        """
        async with self._placed(_Batch(next(self._numbers), sent=True)) as (mine, earlier):
            while any(not one.sent and not one.ended for one in earlier):
                await self._changed.wait()
            if any(one.ended and not one.written for one in earlier):
                raise _overtaken()
            upon = max([one.number for one in earlier if not one.written], default=0)
            return await self._writer.send(partial(_sent, mine, upon, fn))

    @asynccontextmanager
    async def _placed(self, mine: _Batch) -> AsyncIterator[tuple[_Batch, list[_Batch]]]:
        """In its place behind the earlier ones, which are those that are not written yet."""
        # It is taken before anything is waited for: one that failed since must not let it go first.
        earlier = [one for one in self._batches if not one.written]
        self._batches.append(mine)
        try:
            async with self._begun():
                yield mine, earlier
        finally:
            mine.ended = True
            mine.decided.set()
            self._let_go(mine)

    def _let_go(self, mine: _Batch) -> None:
        """Of what is written at once; what is not written stands in the way of what comes behind it until all have ended."""
        if mine.written:
            self._batches.remove(mine)
        if all(one.ended for one in self._batches):
            self._batches.clear()

    @asynccontextmanager
    async def _begun(self) -> AsyncIterator[None]:
        """In the order of the calls, beside other batches only."""
        async with self._gate:
            while self._others:
                await self._changed.wait()
            self._at_work += 1
        try:
            yield
        finally:
            self._at_work -= 1
            self._tell()

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """No batch is under way inside. Whoever comes meanwhile waits behind, so that nobody waits for ever."""
        async with self._gate:
            while self._at_work:
                await self._changed.wait()
            self._others += 1
        try:
            yield
        finally:
            self._others -= 1
            self._tell()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    def _at_once(self, mine: _Batch, earlier: Sequence[_Batch], wanted: Wanted, decide: Decide, tables: Tables) -> Changes:
        if not all(one.written for one in earlier):
            raise _overtaken()
        changes = self._whole(wanted, decide, tables)
        mine.written = True
        return changes

    async def _in_steps(self, mine: _Batch, earlier: Sequence[_Batch], wanted: Wanted, decide: Decide) -> Changes:
        found, upon = await self._writer.run(partial(_looked_up, wanted, earlier))
        for one in upon:
            await one.decided.wait()
        if any(one.changes is None for one in upon):
            raise _overtaken()
        before = [one.changes for one in upon if one.changes is not None]
        found = await anyio.to_thread.run_sync(laid_over, found, before, wanted) if before else found
        mine.changes = changes = await anyio.to_thread.run_sync(decide, found.known)
        # Nothing waits between here and the start of its writing, so that the next one's comes after it.
        mine.decided.set()
        return await self._writer.run(partial(self._written, mine, upon, changes, found))

    def _written(self, mine: _Batch, upon: Sequence[_Batch], changes: Changes, found: Found, tables: Tables) -> Changes:
        if not all(one.written for one in upon):
            raise _overtaken()
        self._put(tables, changes, found)
        mine.written = True
        return changes


def _sent(mine: _Batch, upon: int, fn: "Callable[[Tables, int, int], Future[T]]", tables: Tables) -> "Future[T]":
    def came(outcome: "Future[T]") -> None:
        mine.written = outcome.exception() is None

    future = fn(tables, mine.number, upon)
    future.add_done_callback(came)
    return future


def _looked_up(wanted: Wanted, earlier: Sequence[_Batch], tables: Tables) -> tuple[Found, list[_Batch]]:
    """What the tables hold, and the earlier batches that are not in them yet."""
    return look_up(tables, wanted), [one for one in earlier if not one.written]


def _overtaken() -> NotDurable:
    return NotDurable("the store has not taken what came before; it is tried again after that")


def laid_over(found: Found, earlier: Sequence[Changes], wanted: Wanted) -> Found:
    """What would have been found after ``earlier``, decided upon one another, had been written; none is ``regrouped``."""
    seen, owners, states = dict(found.known.seen), dict(found.known.owners), Profiles()
    states.lay(Profiles.of(found.known.profiles))
    newest, parked = dict(found.newest), set(found.known.parked or ())
    following, hidden = found.known.next_profile, set[Digest]()
    pairs, asked = set(wanted.identifiers), set(wanted.profiles)
    for changes in earlier:
        came = [one for one in changes.newcomers if one.key in asked or not pairs.isdisjoint(one.pairs)]
        owners |= {pair: one.key for one in came for pair in one.pairs if pair in pairs}
        states.bodies |= {one.key: (one.public, one.profile) for one in came}
        newest |= {one.key: one.seq for one in came}
        seen |= {digest: changes.seen[digest] for digest in wanted.digests if digest in changes.seen}
        hidden |= changes.seen.keys()
        owners |= {pair: changes.owners[pair] for pair in wanted.identifiers if pair in changes.owners}
        states.lay(Profiles.of(changes.profiles))
        newest |= _newest(changes)
        parked = (parked - set(changes.unparked)) | ({one.seq for one in changes.parked} & set(wanted.parked))
        used = max(max(changes.profiles, default=0), max([one.key for one in changes.newcomers], default=0))
        following = max(following, ProfileKey(used + 1))
    owners = {pair: _winner(key, states) for pair, key in owners.items()}
    profiles = states.among({*owners.values(), *asked})
    known = Known(seen, owners, profiles, following, frozenset(parked), newest)
    # In which table the earlier ones put a digest is for the writer to find.
    return Found(known, found.where, found.asked - hidden, newest)


def _newest(changes: Changes) -> dict[ProfileKey, Seq]:
    ordered = sorted((one.seq, one.profile) for one in changes.activities if one.profile is not None)
    return {profile: seq for seq, profile in ordered}


def _winner(key: ProfileKey, states: Profiles) -> ProfileKey:
    while (merged := states.merged_into(key)) is not None:
        key = merged
    return key
