"""Whose event it is: flat, deterministic matching on identifiers, with limits that keep different people apart.

Pure: an overlay over what the store holds about one batch (``Known``), which it never changes. The rules are the ones known
from Segment's identity resolution:

* no profile owns any of the event's identifiers: a new one; one does: the event is its; several do: they become one.
* Where that would give a profile more values of a kind than its limit, the weakest identifier *of the event* is given up and
  the search repeated with what is left. So two customer numbers never become one person because both used one device.
* A limit per week, month (30 days) or year (365 days) counts values first seen within that period before or after
  the event.
* A kind that is ``shared`` (a device) joins nobody with somebody who has another value of a kind that is not: it is given up.
  It goes by what is known by then. So where several have used one, which of them its events and identifiers are joined with
  depends on who came first, as it does at a limit; of people with one value of each other kind it gives up none in any order.
* What an administrator split stays apart: there the weakest identifier of those that would join the two is given up.
* A digest that stands for a plain value (``derived``) finds and joins like it, and uses up no limit; as evidence it is the
  first to be given up. It becomes an identifier like any other once it arrives itself.
* A profile takes part in at most ``MOST_MERGES`` merges and has at most ``MOST_IDENTIFIERS`` identifiers. Beyond that nothing
  is added; events still find it.
* The oldest profile wins a merge (``created``, then its key). A profile's age does not change when older events come in.

Not for: traits and indicators; how those combine is handed in.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Final, NamedTuple

import msgspec

from cdmd.identity import keeping_apart
from cdmd.identity.identifiers import Forms, Kinds, Pair
from cdmd.identity.keeping_apart import Party, Protected
from cdmd.models import (
    IdentifierState,
    Known,
    Merge,
    Micros,
    ProfileKey,
    Profiles,
    ProfileState,
    Seq,
    copied,
    unpack_profile,
)

MOST_MERGES: Final = 100
MOST_IDENTIFIERS: Final = 1000

_NOTHING: Final[Protected] = {}
_GIVEN_UP: Final = re.compile(r"; (?P<kind>[^;]+) given up: (?P<why>[^;]+)")


def given_up(rule: str) -> Mapping[str, str]:
    """The kinds that an event's ``Resolution.rule`` says were given up, each with the reason."""
    return {found["kind"]: found["why"] for found in _GIVEN_UP.finditer(rule)}


def complete(rule: str) -> bool:
    """Whether all usable identifiers of the event became one person's, as its ``Resolution.rule`` says."""
    return "; " not in rule


class Resolution(msgspec.Struct, frozen=True, gc=False):
    """Whose event it is (None: nobody's) and why, in words that hold no personal data."""

    profile: ProfileKey | None
    rule: str


class _Obstacle(NamedTuple):
    """Why identifiers cannot all belong to one profile, and the place of the one to give up."""

    why: str
    place: int = -1


class People:
    """The profiles of one batch as its events change them, one ``resolve`` after the other.

    ``public`` names a new profile from the event that makes it, ``combine(winner, loser)`` joins what is projected on two.
    ``protected`` is what new profiles must be kept apart from; those that are known say so themselves.
    ``profiles``, ``owners`` and ``merges`` are what changed, for ``cdmd.models.Changes``; ``arrived`` is how many identifiers
    came to a profile that was known, or came themselves where only their digest had been derived.
    """

    def __init__(
        self,
        known: Known,
        *,
        kinds: Kinds,
        public: Callable[[Seq, Micros], str],
        combine: Callable[[ProfileState, ProfileState], None],
        protected: Protected = _NOTHING,
    ) -> None:
        self._protected = protected
        self._known, self._limits, self._public, self._combine = known, kinds.limits, public, combine
        self._splits = kinds.splits
        self._shared, self._unshared = kinds.shared, kinds.limits.keys() - kinds.shared
        self.following = known.next_profile
        self.profiles = Profiles()
        self._stored, self._seen = Profiles.of(known.profiles), dict[ProfileKey, ProfileState]()
        self.owners: dict[Pair, ProfileKey] = {}
        self.merges: list[Merge] = []
        self.arrived = 0

    def state(self, key: ProfileKey) -> ProfileState:
        """The profile to project on, marked as changed. Its lists and dicts are its own; what is in them is never altered."""
        states = self.profiles.states
        own = states.get(key)
        if own is None:
            packed = self.profiles.bodies.pop(key, None) or self._stored.bodies.get(key)
            own = self._seen.pop(key, None)
            if own is None:
                own = copied(self._stored.states[key]) if packed is None else unpack_profile(packed[1])
            states[key] = own
        return own

    def pack(self, key: ProfileKey) -> None:
        """Keep no more than the body of one that was changed; it is made anew where it is asked for again."""
        self.profiles.pack(key)

    def found(self, pairs: Iterable[Pair]) -> list[ProfileState]:
        """The profiles that own any of these now, the oldest first; not to be altered."""
        return [self._view(key) for key in self._owners_of(pairs)]

    def owned(self, pairs: Sequence[Pair]) -> bool:
        """Whether anybody owns one of these."""
        return not (self.owners.keys().isdisjoint(pairs) and self._known.owners.keys().isdisjoint(pairs))

    def newcomer(self) -> ProfileKey:
        """The key of a new profile. What it owns has to be said (``keep``) before one of that is asked for."""
        key = self.following
        self.following = ProfileKey(key + 1)
        return key

    def keep(self, key: ProfileKey, state: ProfileState) -> None:
        """The profile ``key`` is this one, and its identifiers are its own."""
        self.profiles[key] = state
        self.owners.update(dict.fromkeys([(one.kind, one.value) for one in state.identifiers], key))

    def resolve(self, forms: Forms, *, seq: Seq, at: Micros, source: str) -> Resolution:
        """Find, make or merge the profile of an event with these ``forms`` of its identifiers."""
        identifiers, derived = forms
        if not identifiers:
            return Resolution(None, "no usable identifier")
        moved, stored = self.owners, self._known.owners
        if moved:
            owners = [moved.get(pair) or stored.get(pair) for pair in identifiers]  # no key is 0
        else:
            owners = [stored.get(pair) for pair in identifiers]
        known = owners[0]
        if known is None and not any(owners) and not self._protected:
            return Resolution(self._newcomer(forms, seq=seq, at=at, source=source), "new")
        if known is not None and owners.count(known) == len(owners):
            arrived = [pair for pair in identifiers if pair not in derived] if derived else identifiers
            self._seen_again(known, arrived, at=at, source=source)
            return Resolution(known, "matched " + ", ".join([kind for kind, _ in arrived]))
        used, given_up = list(identifiers), []
        while obstacle := self._obstacle(used, derived, at):
            given_up.append((used.pop(obstacle.place), obstacle.why))
        apart = self._told(given_up, used, derived) if given_up else ""
        matched = [pair for pair in used if self._owner(pair) is not None]
        keys = self._owners_of(matched)
        evidence = [kind for kind, _ in (pair for pair in matched if pair not in derived)]
        names = ", ".join(evidence or dict.fromkeys([kind for kind, _ in matched]))
        if not keys:
            key, rule = self._create(seq, at), "new"
        elif len(keys) == 1:
            key, rule = keys[0], f"matched {names}"
        else:
            rule = f"merged on {names}"
            key = self._merge(keys, matched, seq=seq, at=at, rule=rule)
        full = self._attach(key, Forms(used, derived), at=at, source=source)
        return Resolution(key, f"{rule}{apart}{full}")

    def _told(self, given_up: Sequence[tuple[Pair, str]], used: Sequence[Pair], derived: AbstractSet[Pair]) -> str:
        """What to say of what was given up: of a digest that only stood for a value, too, where that kept people apart."""
        met = {self._owner(pair) for pair in used}
        met |= {self._owner(pair) for pair, _ in given_up if pair not in derived}
        return "".join(
            [
                f"; {pair[0]} given up: {why}"
                for pair, why in given_up
                if pair not in derived or self._owner(pair) not in {None, *met}
            ]
        )

    def _owner(self, pair: Pair) -> ProfileKey | None:
        moved = self.owners.get(pair)
        return self._known.owners.get(pair) if moved is None else moved

    def _owners_of(self, pairs: Iterable[Pair]) -> list[ProfileKey]:
        """The profiles that own any of these, oldest first."""
        keys = {owner for pair in pairs if (owner := self._owner(pair)) is not None}
        return sorted(keys, key=lambda key: (self._view(key).created, key))

    def _view(self, key: ProfileKey) -> ProfileState:
        """It as it is now, not to be altered. What was made of a body is this batch's own, and looked at again."""
        state = self.profiles.states.get(key) or self._seen.get(key)
        if state is None:
            packed = self.profiles.bodies.get(key) or self._stored.bodies.get(key)
            if packed is None:
                return self._stored.states[key]
            state = self._seen[key] = unpack_profile(packed[1])
        return state

    def _obstacle(self, used: Sequence[Pair], derived: AbstractSet[Pair], at: Micros) -> _Obstacle | None:
        """Why these identifiers cannot all belong to one profile; None when they can. One alone always can."""
        owners = [self._owner(pair) for pair in used]
        keys = {owner for owner in owners if owner is not None}
        if (place := self._kept_apart(used, owners, keys)) is not None:
            return _Obstacle(keeping_apart.REASON, place)
        if not keys or (len(keys) == 1 and None not in owners):
            return None
        if self._shared and (obstacle := self._contested(used, owners)) is not None:
            return obstacle
        states = [self._view(key) for key in keys]
        if len(states) > 1:
            if sum(len(state.members) + 1 for state in states) - 1 > MOST_MERGES:
                return _Obstacle(f"limit of {MOST_MERGES} merges")
            if sum(len(state.identifiers) for state in states) > MOST_IDENTIFIERS:
                return _Obstacle(f"limit of {MOST_IDENTIFIERS} identifiers")
        new = {pair[0] for pair, owner in zip(used, owners, strict=True) if owner is None and pair not in derived}
        # In the order of the limits, not of a set: what is said about an event must be the same when it is applied again.
        kinds = [kind for kind in self._limits if len(states) > 1 or kind in new]
        exceeded = (kind for kind in kinds if self._exceeds(kind, states, new=kind in new, at=at))
        return next((_Obstacle(f"limit of {kind}") for kind in exceeded), None)

    def _kept_apart(
        self, used: Sequence[Pair], owners: Sequence[ProfileKey | None], keys: AbstractSet[ProfileKey]
    ) -> int | None:
        """The place of the weakest identifier that would join what was split."""
        if not (self._protected or any(self._view(key).apart for key in keys)):
            return None
        parties: dict[ProfileKey | Pair, Party] = {key: self._splits.party(self._view(key)) for key in keys}
        mine = [pair if owner is None else owner for pair, owner in zip(used, owners, strict=True)]
        for pair, owner in zip(used, owners, strict=True):
            if owner is None:
                parties[pair] = self._splits.newcomer(pair, self._protected)
        found = {list(parties)[place] for place in keeping_apart.conflicting(list(parties.values()))}
        return next((place for place in reversed(range(len(used))) if mine[place] in found), None)

    def _contested(self, used: Sequence[Pair], owners: Sequence[ProfileKey | None]) -> _Obstacle | None:
        """The strongest shared identifier that is somebody else's than the event's other identifiers say."""
        met, kinds = set[ProfileKey](), set[str]()
        for place in sorted(range(len(used)), key=lambda place: used[place][0] in self._shared):
            kind, owner = used[place][0], owners[place]
            shared = kind in self._shared
            kinds |= set() if shared else {kind}
            if owner is None or owner in met:
                continue
            theirs = {one.kind for one in self._view(owner).identifiers} & self._unshared
            if shared and (both := kinds & theirs):
                another = next(one for one in self._limits if one in both)
                return _Obstacle(f"shared with another {another}", place)
            met.add(owner)
            kinds |= theirs
        return None

    def _exceeds(self, kind: str, states: Sequence[ProfileState], *, new: bool, at: Micros) -> bool:
        """Whether joining these breaks the limit. What one profile alone already has beyond it (an older rule) is no reason."""
        limit = self._limits[kind]
        counted = [
            sum(1 for one in state.identifiers if one.kind == kind and not one.derived and limit.counts(one.first_seen, at))
            for state in states
        ]
        total = sum(counted) + new
        return limit.values < total > max(counted)

    def _create(self, seq: Seq, at: Micros) -> ProfileKey:
        key = self.newcomer()
        self.profiles[key] = ProfileState(self._public(seq, at), at, at)
        return key

    def _newcomer(self, forms: Forms, *, seq: Seq, at: Micros, source: str) -> ProfileKey:
        """Somebody of whom nothing was known, as nearly everybody is in a first load; no rule has anything to decide."""
        key, derived = self._create(seq, at), forms.derived
        pairs = forms.pairs[:MOST_IDENTIFIERS]
        self.profiles[key].identifiers = [
            IdentifierState(kind, value, at, at, source, (kind, value) in derived) for kind, value in pairs
        ]
        self.owners.update(dict.fromkeys(pairs, key))
        return key

    def _merge(self, keys: Sequence[ProfileKey], matched: Sequence[Pair], *, seq: Seq, at: Micros, rule: str) -> ProfileKey:
        first = keys[0]
        for key in keys[1:]:
            winner, loser = self.state(first), self.state(key)
            joined = [pair for pair in matched if self._owner(pair) in (first, key)]
            self.merges.append(
                Merge(seq=seq, time=at, winner=first, loser=key, identifiers=joined, rule=rule, before=copied(loser))
            )
            self._combine(winner, loser)
            winner.identifiers += loser.identifiers
            winner.members += [key, *loser.members]
            winner.apart = [*winner.apart, *loser.apart] if loser.apart else winner.apart
            winner.updated = max(winner.updated, loser.updated)
            for known in loser.identifiers:
                self.owners[known.kind, known.value] = first
            # What the loser had is with the winner now, and as it was in ``before``: a third copy would only have to be erased.
            loser.identifiers, loser.traits, loser.indicators, loser.members, loser.apart = [], {}, {}, [], []
            loser.merged_into = first
        return first

    def _seen_again(self, key: ProfileKey, pairs: Iterable[Pair], *, at: Micros, source: str) -> None:
        state = self.state(key)
        state.updated = max(state.updated, at)
        for pair in pairs:
            self.arrived += _touch(state.identifiers, pair, at=at, source=source)

    def _attach(self, key: ProfileKey, used: Forms, *, at: Micros, source: str) -> str:
        """Note that ``key`` was seen with these; returns what to say when there was no place for one."""
        state, full = self.state(key), ""
        state.updated = max(state.updated, at)
        for pair in used.pairs:
            derived = pair in used.derived
            if self._owner(pair) is not None:
                if not derived:
                    self.arrived += _touch(state.identifiers, pair, at=at, source=source)
            elif len(state.identifiers) < MOST_IDENTIFIERS:
                state.identifiers.append(IdentifierState(pair[0], pair[1], at, at, source, derived))
                self.owners[pair] = key
                self.arrived += not derived
                if self._protected:
                    digest = self._splits.digest(pair)
                    state.apart = [*state.apart, *((digest, theirs) for theirs in sorted(self._protected.get(digest, ())))]
            elif not derived:
                full = f"; not added: limit of {MOST_IDENTIFIERS} identifiers"
        return full


def _touch(identifiers: list[IdentifierState], pair: Pair, *, at: Micros, source: str) -> bool:
    """Widen the time in which the identifier was seen; its source is where the earliest sight of it came from.

    Whether it had not arrived itself before.
    """
    kind, value = pair
    index = 0
    while (old := identifiers[index]).value != value or old.kind != kind:
        index += 1
    if old.derived:
        identifiers[index] = IdentifierState(kind, value, at, at, source)
    elif at > old.last_seen:
        identifiers[index] = IdentifierState(kind, value, old.first_seen, at, old.source)
    elif at < old.first_seen:
        identifiers[index] = IdentifierState(kind, value, at, old.last_seen, source)
    return old.derived
