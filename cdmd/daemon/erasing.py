"""Erasures that were asked for: in force at once, on the disk until they are done, and what is reported of them.

``ask`` returns when nobody finds the person any more and nothing new of them is taken. What lies in the databases is then
removed by the job beside (``removing``); until it is done ``conceals`` keeps it from whoever looks.
"""

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Final

import anyio
import msgspec

from cdmd.batches.owning import owners
from cdmd.contracts import Append, Clock, Journal, Naming, Store
from cdmd.daemon.suppressing import OWNER, SuppressionList
from cdmd.models import Entry, to_micros
from cdmd.privacy.erasure import Copy, Erased, Erasure
from cdmd.privacy.screening import Pair, left_of
from cdmd.privacy.suppressions import Suppressions

ASKED: Final = b"e/"
REPORTED: Final = b"r/"
COPIED: Final = b"b/"
RESTORED: Final = b"m/restored"
"""Put there by a restore: everybody who was erased before is to be erased again."""

_PAGE: Final = 2_000
_AT_ONCE: Final = 500
"""Identifiers whose owners are hidden in one transaction: after a restore there may be many."""

_MOST_REPORTS: Final = 10_000
_ENCODE: Final = msgspec.msgpack.encode


class Erasures:
    """``pending`` by id. ``load`` before anything listens; ``asked`` is set when there is something to do.

    ``untold`` has read again what waits for targets: what is of whoever is hidden waits no more.
    """

    def __init__(
        self,
        journal: Journal,
        store: Store,
        listed: SuppressionList,
        suppressions: Suppressions,
        *,
        untold: Callable[[], Awaitable[None]],
        clock: Clock,
    ) -> None:
        self._journal, self._store, self._listed, self._clock = journal, store, listed, clock
        self._suppressions, self._untold = suppressions, untold
        self._asking = anyio.Lock()
        self._pairs: frozenset[Pair] = frozenset()
        self.pending: dict[str, Erasure] = {}
        self.asked = anyio.Event()

    async def load(self, naming: Naming) -> None:
        """Take up what was asked before the restart, so that nobody finds them. Raises ``NotDurable`` and ``Damaged``."""
        rows = [msgspec.msgpack.decode(value, type=Erasure) async for _, value in self._journal.scan(OWNER, ASKED)]
        for one in rows:
            await self._conceal(one, naming)
        if await self._journal.get(OWNER, [RESTORED]):
            await self._again(naming)

    async def ask(self, pair: Pair, naming: Naming, *, by: str) -> Erasure:
        """Erase whoever has this identifier. Raises ``NotDurable``: then it may be in force, and has to be asked again."""
        async with self._asking:
            found = await owners(self._store, naming, pair)
            states = [state for one in found for state in (one.state, *(merge.before for merge in one.merges))]
            had = ((each.kind, each.value) for one in found for each in one.state.identifiers)
            asked = self._new(
                [pair, *naming.digests(pair), *had] if found else [pair],
                by=by,
                publics=[state.public for state in states],
                since=min((state.created for state in states), default=0),
            )
            return await self._take(asked, naming)

    def conceals(self, entry: Entry, naming: Naming) -> bool:
        """Whether the entry is of somebody who is being erased."""
        pairs = self._pairs
        return bool(pairs) and left_of(entry, lambda pair: _any_of(pair, pairs, naming), naming) is not entry

    async def done(self, reports: Sequence[Erased]) -> None:
        """These are erased: what was asked goes, and the report stays. Raises ``NotDurable``."""
        state: dict[bytes, bytes | None] = {ASKED + one.id.encode(): None for one in reports}
        state |= {REPORTED + one.id.encode(): _ENCODE(one) for one in reports}
        old = [key async for key, _ in self._journal.scan(OWNER, REPORTED)]
        state |= dict.fromkeys(old[: max(0, len(old) + len(reports) - _MOST_REPORTS)])
        await self._journal.append([Append(connector=OWNER, state=state)])

    def release(self, ids: Sequence[str]) -> None:
        """Nothing of these is left anywhere."""
        for one in ids:
            del self.pending[one]
        self._pairs = frozenset(pair for one in self.pending.values() for pair in one.pairs)

    async def reports(self) -> AsyncIterator[Erased]:
        """Of those that are done, the oldest first."""
        async for _, value in self._journal.scan(OWNER, REPORTED):
            yield msgspec.msgpack.decode(value, type=Erased)

    # ---- copies --------------------------------------------------------------------------------------------------------

    async def copied(self, path: str) -> None:
        """A backup was made there. Raises ``NotDurable``."""
        made = to_micros(self._clock.now())
        state = {COPIED + made.to_bytes(8, "big"): _ENCODE(Copy(path=path, made=made))}
        await self._journal.append([Append(connector=OWNER, state=state)])

    async def copies(self) -> list[Copy]:
        """The backups that were made, the oldest first."""
        return [msgspec.msgpack.decode(value, type=Copy) async for _, value in self._journal.scan(OWNER, COPIED)]

    # ---- taking one up -------------------------------------------------------------------------------------------------

    def _new(self, pairs: Sequence[Pair], *, by: str, publics: Sequence[str] = (), since: int = 0) -> Erasure:
        # Twenty digits, so that ids are in the order of time.
        now = to_micros(self._clock.now())
        name = f"{now:020}-{secrets.token_hex(4)}"
        return Erasure(id=name, asked=now, by=by, pairs=list(dict.fromkeys(pairs)), publics=list(publics), since=since)

    async def _take(self, asked: Erasure, naming: Naming) -> Erasure:
        await self._listed.add(asked.pairs, naming, erased=True, beside={ASKED + asked.id.encode(): _ENCODE(asked)})
        await self._conceal(asked, naming)
        return self.pending[asked.id]

    async def _conceal(self, asked: Erasure, naming: Naming) -> None:
        """Nobody finds the person from here on. An identifier that was joined just now goes, too."""
        self._pend(asked)
        had = set[Pair]()
        for start in range(0, len(asked.pairs), _AT_ONCE):
            hidden = await self._store.forgetting.hide(asked.pairs[start : start + _AT_ONCE])
            had.update(hidden.pairs)
        if more := sorted(had.difference(asked.pairs)):
            asked = msgspec.structs.replace(asked, pairs=[*asked.pairs, *more])
            await self._listed.add(more, naming, erased=True, beside={ASKED + asked.id.encode(): _ENCODE(asked)})
            self._pend(asked)
        self.asked.set()
        await self._untold()

    def _pend(self, asked: Erasure) -> None:
        self.pending[asked.id] = asked
        self._pairs |= frozenset(asked.pairs)

    async def _again(self, naming: Naming) -> None:
        """After a restore: whoever is on the list because of an erasure and is known again."""
        erased = {digest async for digest, one in self._listed.rows() if one.erased}
        found, after = list[Pair](), (0, "")
        while erased and (rows := await self._store.forgetting.identifiers(after=after, limit=_PAGE)):
            after = rows[-1][0]
            found += [pair for _, pair in rows if self._suppressions.stands_in(erased, pair)]
        if found:
            await self._take(self._new(found, by="restore"), naming)
        await self._journal.append([Append(connector=OWNER, state={RESTORED: None})])


def _any_of(pair: Pair, pairs: frozenset[Pair], naming: Naming) -> bool:
    return pair in pairs or any(one in pairs for one in naming.digests(pair))
