"""Why two identifiers are one person, or what kept them apart. Readers see kinds, rules and times; values are the admins'."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

import anyio.lowlevel

from cdmd.contracts import ProfileFound
from cdmd.control import redaction
from cdmd.control.actors import Actor, Role
from cdmd.control.auditing import audited
from cdmd.control.profile_shapes import EventRow, Explanation, IdentifierRow, LinkRow
from cdmd.control.runtime import Runtime
from cdmd.errors import BadArguments, NotFound
from cdmd.identity.explaining import Carrier, Link, carrier, chain, refusals, remembered
from cdmd.identity.identifiers import Pair
from cdmd.identity.keeping_apart import REASON, Splits, conflicting
from cdmd.models import IdentifierState, ProfileKey, from_micros

LOOKED_AT: Final = 50_000
"""Events that one question looks at, the newest of each profile first; some at a time, so that everything else goes on."""
_AT_ONCE: Final = 200


async def explain(runtime: Runtime, actor: Actor, first: str, second: str) -> Explanation:
    """Why the two, each KIND:VALUE, are one person or are not.

    Raises ``BadArguments`` for an unknown kind, ``NotFound`` where neither of them is anybody's.
    """
    configured = runtime.config.identity.identifiers
    asked = [_parted(text) for text in (first, second)]
    said: dict[str, Any] = {"kinds": [kind if kind in configured else redaction.REDACTED for kind, _ in asked]}
    async with audited(runtime, actor, "profile explain", arguments=said, role=Role.READER):
        if any(kind not in configured or not value for kind, value in asked):
            raise BadArguments(f"write KIND:VALUE twice, where KIND is one of {', '.join(configured)}")
        answer = _Answer(runtime, reveal=actor.role is Role.ADMIN)
        explanation = await answer.about(*asked)
        said["profiles"] = [one.profile for one in explanation.identifiers]
    return explanation


def _parted(text: str) -> Pair:
    kind, _, value = text.partition(":")
    return kind, value


class _Answer:
    """One answer in the making; ``reveal`` says whether values are shown in it."""

    def __init__(self, runtime: Runtime, *, reveal: bool) -> None:
        self._runtime, self._reveal = runtime, reveal
        self._merged: dict[int, list[str]] = {}

    async def about(self, first: Pair, second: Pair) -> Explanation:
        pairs = [self._runtime.kinds.normalise(*asked) for asked in (first, second)]
        found = [None if pair is None else await self._runtime.store.profile(*pair, activities=0) for pair in pairs]
        one, other = (pair or asked for pair, asked in zip(pairs, (first, second), strict=True))
        if found == [None, None] and None not in pairs:
            raise NotFound(f"nobody is known by that {one[0]}, nor by that {other[0]}")
        rows = [self._identifier(pair, profile) for pair, profile in zip((one, other), found, strict=True)]
        for pair, asked in zip(pairs, (first, second), strict=True):
            if pair is None:
                why = self._runtime.kinds.unusable(*asked)
                return Explanation(same=False, summary=f"the {asked[0]} identifies nobody: {why}", identifiers=rows)
        return await self._told(one, other, *found, rows=rows)

    async def _told(
        self, one: Pair, other: Pair, mine: ProfileFound | None, theirs: ProfileFound | None, *, rows: list[IdentifierRow]
    ) -> Explanation:
        people = {profile.key: profile for profile in (mine, theirs) if profile is not None}
        wanted = {one, other}.union(*map(_owned, people.values()))
        carriers, complete = await self._carriers(people.values(), wanted)
        for each in (merge for profile in people.values() for merge in profile.merges):
            self._merged.setdefault(each.seq, []).append(each.before.public)
        if mine is not None and theirs is not None and mine.key == theirs.key:
            carriers += remembered(mine.merges, carriers)
            links = chain(one, other, carriers, owned=_owned(mine), kinds=self._runtime.kinds)
            summary = "one person, but the events that led there are no longer kept" if links is None else _steps(links)
            shown = [self._link(link) for link in links or ()]
            return Explanation(same=True, summary=summary, identifiers=rows, chain=shown, complete=complete)
        split = _is_split(mine, theirs, self._runtime.kinds.splits)
        kept_apart = refusals(one, other, carriers, of_first=_owned(mine), of_second=_owned(theirs))
        return Explanation(
            same=False,
            summary=f"two people, {REASON} for good" if split else _apart(kept_apart),
            identifiers=rows,
            refusals=[self._event(each) for each in kept_apart],
            complete=complete,
        )

    async def _carriers(self, people: Collection[ProfileFound], wanted: Collection[Pair]) -> tuple[list[Carrier], bool]:
        """The events of these people that carried two of the ``wanted`` identifiers, and whether all could be looked at."""
        membership, kinds = self._runtime.store.membership, self._runtime.kinds
        keys = [ProfileKey(key) for profile in people for key in (profile.key, *profile.state.members)]
        heads = list((await membership.newest(keys)).values())
        found: list[Carrier] = []
        looked = 0
        while heads and looked < LOOKED_AT:
            page = await membership.history(heads, each=max(1, _AT_ONCE // len(heads)))
            looked += len(page.activities)
            carried = [carrier(activity, kinds) for activity in page.activities]
            found += [one for one in carried if sum(pair in wanted for pair in one.named) > 1]
            heads = list(page.rest)
            await anyio.lowlevel.checkpoint()
        return found, not heads

    def _identifier(self, pair: Pair, found: ProfileFound | None) -> IdentifierRow:
        kind, value = pair[0], self._shown(pair)["value"]
        state = None if found is None else _state(found, pair)
        if found is None or state is None:
            return IdentifierRow(kind=kind, value=value)
        seen = from_micros(state.first_seen)
        return IdentifierRow(kind=kind, value=value, profile=found.state.public, first_seen=seen, source=state.source)

    def _link(self, link: Link) -> LinkRow:
        event = None if link.carrier is None else self._event(link.carrier)
        return LinkRow(start=self._shown(link.one), end=self._shown(link.other), event=event)

    def _event(self, one: Carrier) -> EventRow:
        named = {} if one.event is None else {"id": one.event.id, "source": one.event.source, "type": one.event.type}
        return EventRow(
            time=from_micros(one.time),
            rule=one.rule,
            identifiers=[self._shown(pair) for pair in one.pairs],
            refused=one.refused,
            merged=self._merged.get(one.seq, []),
            **named,
        )

    def _shown(self, pair: Pair) -> Mapping[str, str]:
        return {"kind": pair[0], "value": pair[1] if self._reveal else redaction.REDACTED}


def _owned(found: ProfileFound | None) -> Collection[Pair]:
    return () if found is None else {(one.kind, one.value) for one in found.state.identifiers}


def _state(found: ProfileFound, pair: Pair) -> IdentifierState | None:
    return next((one for one in found.state.identifiers if (one.kind, one.value) == pair), None)


def _steps(links: Sequence[Link]) -> str:
    if not links:
        return "one person: it is the same identifier"
    events = sum(link.carrier is not None for link in links)
    return f"one person, joined by {events} event{'s' * (events != 1)}" if events else "one person: a digest of the other"


def _is_split(mine: ProfileFound | None, theirs: ProfileFound | None, splits: Splits) -> bool:
    """Whether an administrator said that they are two, so that nothing that arrives can join them."""
    if mine is None or theirs is None:
        return False
    return bool(conflicting([splits.party(mine.state), splits.party(theirs.state)]))


def _apart(kept_apart: Sequence[Carrier]) -> str:
    if not kept_apart:
        return "two people: no event that is kept carried identifiers of both"
    whys = dict.fromkeys(f"{kind} given up: {why}" for one in kept_apart for kind, why in one.refused.items())
    rules = list(whys) or list(dict.fromkeys(one.rule for one in kept_apart))
    return f"two people: events carried identifiers of both, but {'; '.join(rules)}"
