"""What administrators may have done with people's data in the running daemon (``cdmd.control.needs.Governance``)."""

from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any, Final

from cdmd.batches.histories import pages
from cdmd.batches.owning import owners
from cdmd.batches.restricting import Restricting
from cdmd.control.privacy_shapes import (
    CopyRow,
    ErasureRow,
    HoldingsRow,
    MinimisedRow,
    Restriction,
    RetentionReport,
    SimulationPage,
)
from cdmd.daemon.mentions import mentions
from cdmd.daemon.parts import Parts
from cdmd.errors import NotFound
from cdmd.models import Entry, ProfileKey, ProfileState, Seq, from_micros, show_time, to_micros
from cdmd.privacy.erasure import Erased, Erasure, Forgotten, copies_since
from cdmd.privacy.screening import Pair

_AT_ONCE: Final = 200
_PATIENCE: Final = 3.0
"""Seconds that others' activities are looked through for whoever asks what an erasure would remove."""


class Governing:
    """Over the parts that do it."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def suppressed(self) -> int:
        """How many digests are on the suppression list."""
        return len(self._parts.privacy.listed)

    async def suppress(self, pair: Pair) -> bool:
        """Keep nothing any more of whoever has this identifier; False where it was so already. Raises ``NotDurable``."""
        return await self._parts.privacy.listed.add([pair], self._parts.kinds) > 0

    async def unsuppress(self, pair: Pair) -> bool:
        """Take it back; False where it was not on the list. Raises ``NotDurable``."""
        return await self._parts.privacy.listed.remove(pair, self._parts.kinds)

    async def suppression_rows(self) -> AsyncGenerator[dict[str, Any], None]:
        """The list as a file keeps it: a head, then a row for each digest."""
        listed = self._parts.privacy.listed
        yield {"type": "suppressions", "format": 1, "key": listed.key_check}
        async for digest, one in listed.rows():
            row = {"digest": digest.hex(), "since": show_time(from_micros(one.since)), "erased": one.erased}
            yield {"type": "suppression", **row}

    async def restrict(self, pair: Pair, *, restricted: bool) -> Restriction:
        """Store whoever has this identifier and use nothing of them, or use them again. Raises ``NotFound``, ``NotDurable``."""
        parts = self._parts
        found, changed = list[ProfileState](), False
        for one in (pair, *parts.kinds.digests(pair)):  # whoever is known by a digest of it only is meant, too
            restricting = Restricting(
                one,
                parts.audiences,
                restricted=restricted,
                journal_id=parts.journal.id,
                now=to_micros(parts.clock.now()),
                subscriptions=parts.subscriptions(),
            )
            await parts.store.apply(restricting.wanted, restricting)
            found += [] if restricting.owner is None else [restricting.owner]
            changed |= restricting.changed
        if not found:
            raise NotFound(f"nobody is known by that {pair[0]}")
        return Restriction(
            profile=found[0].public, restricted=restricted, changed=changed, audiences=sorted(found[0].audiences)
        )

    # ---- erasure -------------------------------------------------------------------------------------------------------

    async def erase(self, pair: Pair, *, by: str) -> ErasureRow:
        """In force when it returns. Raises ``NotDurable``."""
        asked = await self._parts.privacy.erasures.ask(pair, self._parts.kinds, by=by)
        return _asked(asked, self._parts.privacy.removing.progress)

    async def erasures(self) -> list[ErasureRow]:
        """Those that are under way, then those that are done, the newest first."""
        privacy = self._parts.privacy
        pending = list(privacy.erasures.pending.values())
        reports = [one async for one in privacy.erasures.reports() if one.id not in privacy.erasures.pending]
        return [_asked(one, privacy.removing.progress) for one in pending[::-1]] + [_done(one) for one in reports[::-1]]

    async def holdings(self, pair: Pair) -> HoldingsRow:
        """What an erasure would remove, as far as it is known before. Raises ``NotDurable`` and ``Damaged``."""
        store, erasures = self._parts.store, self._parts.privacy.erasures
        states = {one.key: one.state for one in await owners(store, self._parts.kinds, pair)}
        had = [one for state in states.values() for one in state.identifiers]
        members = [ProfileKey(member) for state in states.values() for member in state.members]
        since = min((state.created for state in states.values()), default=0)
        forgotten = Forgotten([(one.kind, one.value) for one in had] or [pair], self._parts.kinds)
        await self._learn(forgotten, [*states, *members])
        copies = copies_since(await erasures.copies(), since)
        return HoldingsRow(
            profile=next((state.public for state in states.values()), None),
            identifiers=dict(Counter([one.kind for one in had if not one.derived] or [pair[0]])),
            merged=len(members),
            activities=len(forgotten.seqs),
            others=await self._others(forgotten),
            waiting=await self._waiting(forgotten),
            copies=[one.path for one in copies],
        )

    # ---- retention -----------------------------------------------------------------------------------------------------

    async def simulate(self, after: tuple[int, int] | None) -> SimulationPage:
        """What retention would take away of some of what is stored."""
        activities, profiles, rest = await self._parts.privacy.retaining.simulate(after)
        return SimulationPage(activities=activities, profiles=profiles, next=rest)

    async def sweep(self, *, trust_clock: bool) -> RetentionReport:
        """Take away what is due now. Raises ``ClockDisturbed``."""
        went = await self._parts.privacy.retaining.sweep(trust_clock=trust_clock)
        return RetentionReport(activities=went["activities"], profiles=went["profiles"])

    def minimised(self) -> list[MinimisedRow]:
        """What arrived and was not kept, by connector."""
        found = self._parts.privacy.minimising.counted()
        return [MinimisedRow(connector=name, records=one.records, fields=one.fields) for name, one in sorted(found.items())]

    def conceals(self, entry: Entry) -> bool:
        """Whether nobody may see the entry, because its customer is being erased."""
        return self._parts.privacy.conceals(entry)

    async def _learn(self, forgotten: Forgotten, keys: Sequence[ProfileKey]) -> None:
        """Their own activities, those of the profiles ``keys``."""
        store = self._parts.store
        async for page in pages(store, (await store.membership.newest(keys)).values()):
            forgotten.learn(page)

    async def _others(self, forgotten: Forgotten) -> int | None:
        """How many activities of others name them; None where that takes too long."""
        clock, count = self._parts.clock, 0
        ends = clock.monotonic() + _PATIENCE
        async with aclosing(mentions(self._parts.store.forgetting, forgotten, clock)) as pages:
            async for page in pages:
                if clock.monotonic() >= ends:
                    return None
                count += len(page.named)
        return count

    async def _waiting(self, forgotten: Forgotten) -> int:
        directory, count = self._parts.store.directory, 0
        for look in (directory.letters, directory.parked):
            after = Seq(0)
            while rows := await look(after=after, limit=_AT_ONCE):
                after = rows[-1].seq
                count += sum(forgotten.left_of(one.entry) is not one.entry for one in rows)
        return count


def _asked(one: Erasure, progress: str | None) -> ErasureRow:
    return ErasureRow(
        id=one.id, state="in force", asked=from_micros(one.asked), by=one.by, profiles=one.publics, progress=progress
    )


def _done(one: Erased) -> ErasureRow:
    return ErasureRow(
        id=one.id,
        state="partly complete" if one.left else "complete",
        asked=from_micros(one.asked),
        done=from_micros(one.done),
        by=one.by,
        profiles=one.publics,
        erased=one.counts,
        targets=one.targets,
        copies=[CopyRow(path=copy.path, made=from_micros(copy.made)) for copy in one.copies],
        left=one.left,
    )
