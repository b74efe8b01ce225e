"""Stored profiles made anew from the people that their events come to: one may become several, several one. Pure.

A profile's id follows the earliest of its events: who is split off has the id again that it had before, whoever stays keeps its
own. Not for: who those people are (``cdmd.identity.replaying``), and reading their events.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Final

import msgspec

from cdmd.batches.judging import Judging
from cdmd.batches.rules import telling
from cdmd.batches.sweeping import is_as_read, members_of
from cdmd.deliveries.subscribing import Subscriptions
from cdmd.identity.identifiers import Pair
from cdmd.identity.keeping_apart import Splits
from cdmd.identity.naming import public_id
from cdmd.identity.replaying import Person
from cdmd.models import (
    Activity,
    Carried,
    Changes,
    Known,
    Merge,
    Micros,
    ProfileKey,
    ProfileState,
    Regrouped,
    Seq,
    Wanted,
)
from cdmd.profiles.audiences import Audiences

NOBODY: Final = ProfileState("", 0, 0)


class Old(msgspec.Struct, frozen=True):
    """A stored profile with the merges that made it; ``heads`` are the newest activities of it and its members."""

    key: ProfileKey
    state: ProfileState
    merges: Sequence[Merge]
    heads: Mapping[ProfileKey, Seq]

    @property
    def keys(self) -> list[ProfileKey]:
        """It and all that were merged into it."""
        return members_of(self.key, self.state)


class Group(msgspec.Struct):
    """What one of them becomes: ``key`` is None for a profile that is new; ``rules`` are of all its activities that tell one.

    ``chain`` are its activities, ``members`` the profiles that are part of it.
    """

    person: Person
    state: ProfileState
    key: ProfileKey | None = None
    members: list[ProfileKey] = []
    chain: list[Seq] = []
    rules: dict[Seq, str] = {}


class Plan:
    """Which profile each of the ``persons`` becomes, for the events of all the ``olds``.

    ``keep``: identifiers that events carried and that no person has stay with them; else they are nobody's any more, as those
    of ``strangers`` are.
    """

    def __init__(
        self,
        persons: Sequence[Person],
        olds: Sequence[Old],
        events: Iterable[Carried],
        *,
        splits: Splits,
        keep: bool,
        strangers: Collection[Pair] = (),
    ) -> None:
        self.olds, self.splits = olds, splits
        self._carrying: dict[Pair, Seq] = {}
        self._times: set[int] = set()
        self._counted = {old.key: ProfileState("", 0, 0) for old in olds}
        self._tallies: dict[ProfileKey | None, ProfileState] = {key: self._counted[old.key] for old in olds for key in old.keys}
        self.groups = [Group(one, ProfileState("", one.created, one.updated)) for one in persons]
        self._placed: dict[Seq, Group] = {}
        for group in self.groups:
            for one, rule in group.person.events:
                self._placed[one.seq] = group
                group.rules[one.seq] = rule
        self._owners = {(each.kind, each.value): group for group in self.groups for each in group.person.identifiers}
        self._homes = self._at_home(events)
        self._name()
        self.disowned = self._share_identifiers(strangers, keep=keep)
        self._keep_apart()

    def home(self, key: ProfileKey) -> Group:
        """What a stored profile is part of."""
        return self._homes[key]

    def _at_home(self, events: Iterable[Carried]) -> dict[ProfileKey, Group]:
        """What each stored profile is part of: where its first event is, or its oldest identifier where that event is gone."""
        first: dict[ProfileKey, Carried] = {}
        loose: list[Carried] = []
        for one in events:
            self._times.add(one.time)
            if one.seq in self._placed:
                first[one.profile] = min(one, first.get(one.profile, one), key=_seq)
                for pair in one.pairs:
                    self._carrying.setdefault(pair, one.seq)
            else:
                loose.append(one)
        homes: dict[ProfileKey, Group] = {}
        for old in self.olds:
            for key, state in _as_founded(old):
                event = first.get(key)
                founded = None if event is None else self._placed[event.seq]
                if event is None or event.time != state.created:
                    founded = self._by_identifiers(state) or founded
                homes[key] = founded or homes.get(old.key) or self.groups[0]
        for one in loose:
            self._placed[one.seq] = homes[one.profile]
        for seq, group in self._placed.items():
            group.chain.append(seq)
        return homes

    def _by_identifiers(self, state: ProfileState) -> Group | None:
        """Whose the identifier is that the profile had first."""
        had = sorted(state.identifiers, key=lambda one: one.first_seen)
        return next((self._owners[pair] for one in had if (pair := (one.kind, one.value)) in self._owners), None)

    def _name(self) -> None:
        """Give each its key: those of living profiles first, the oldest before the others."""
        living = sorted(self.olds, key=lambda old: (old.state.created, old.key))
        shells = [key for old in living for key in old.keys[1:]]
        for key in [*(old.key for old in living), *shells]:
            home = self._homes[key]
            if home.key is None:
                home.key = key
            else:
                home.members.append(key)
        founded = {one.loser: one.before for old in self.olds for one in old.merges}
        founded |= {old.key: old.state for old in self.olds}
        for group in self.groups:
            was = NOBODY if group.key is None else founded.get(group.key, NOBODY)
            group.state.public = was.public
            if was is not NOBODY and was.created not in self._times:
                group.state.created = min(was.created, group.state.created)

    def _share_identifiers(self, strangers: Collection[Pair], *, keep: bool) -> list[Pair]:
        for group in self.groups:
            group.state.identifiers = list(group.person.identifiers)
        disowned = []
        for old in self.olds:
            for one in old.state.identifiers:
                pair = (one.kind, one.value)
                if pair in self._owners:
                    continue
                seq = self._carrying.get(pair)
                if (seq is not None and not keep) or pair in strangers:
                    disowned.append(pair)
                    continue
                group = self._placed[seq] if seq is not None else self._remembered(old, pair)
                group.state.identifiers.append(one)
                self._owners[pair] = group
        return disowned

    def _keep_apart(self) -> None:
        """What a split said of an identifier goes where the identifier goes, though no event may have brought it there.

        Of one that is nobody's any more it stays where it was said. Once the identifier is somebody's again, what arrives may
        join the two until the next rebuild, which looks at what all say.
        """
        said, held = self.splits.protected_by(old.state for old in self.olds), set[int]()
        for group in self.groups:
            digests = [self.splits.digest(pair) for pair in _pairs(group.state)] if said else []
            theirs = [(mine, other) for mine in digests for other in sorted(said.get(mine, ()))]
            group.state.apart = list(dict.fromkeys([*self.splits.said(group.person.apart), *theirs]))
            held.update(digests)
        for old in self.olds:
            home = self._homes[old.key].state
            home.apart += [one for one in dict.fromkeys(self.splits.said(old.state.apart)) if one[0] not in held]

    def _remembered(self, old: Old, pair: Pair) -> Group:
        """Where something belongs whose events are no longer kept: to whom it was before a merge."""
        return next((self._homes[one.loser] for one in old.merges if pair in _pairs(one.before)), self._homes[old.key])

    def project(self, activities: Iterable[Activity], audiences: Audiences, *, now: Micros) -> None:
        """Add activities to whose they are."""
        for one in activities:
            if (tally := self._tallies.get(one.profile)) is not None:
                audiences.projection.project(tally, one.event, at=one.time, seq=one.seq, now=now)
            if (group := self._placed.get(one.seq)) is not None:
                audiences.projection.project(group.state, one.event, at=one.time, seq=one.seq, now=now)
                group.state.updated = max(group.state.updated, one.time)

    def remember(self, audiences: Audiences) -> None:
        """What comes of events that are no longer kept goes where it was before the merges, and counts stay with the id.

        Who may not be used stays so on all sides: it is not known whose word that was.
        """
        for old in self.olds:
            for name, trait in old.state.traits.items():
                if trait.seq not in self._placed:
                    losers = [one for one in old.merges if one.before.traits.get(name) == trait]
                    group = self._homes[losers[0].loser] if losers else self._homes[old.key]
                    audiences.projection.combine(group.state, ProfileState("", 0, 0, traits={name: trait}))
            home, said = self._homes[old.key].state, old.state.purposes
            gone = {name: one for name, one in said.items() if one.seq not in self._placed}
            counted = audiences.projection.remembered(old.state, self._counted[old.key])
            audiences.projection.combine(home, ProfileState("", 0, 0, indicators=counted, purposes=gone))
            if old.state.restricted is not None and old.state.restricted.seq not in self._placed:
                for group in self.groups:
                    audiences.projection.combine(group.state, ProfileState("", 0, 0, restricted=old.state.restricted))


class Regrouping:
    """The decision that writes a ``plan`` whose groups are projected. ``stale`` afterwards: something came in between."""

    def __init__(
        self,
        plan: Plan,
        audiences: Audiences,
        *,
        journal_id: str,
        now: Micros,
        why: str,
        subscriptions: Subscriptions | None = None,
    ) -> None:
        self._subscriptions = subscriptions
        self._plan, self._audiences, self._journal_id, self._now, self._why = plan, audiences, journal_id, now, why
        self.stale = False
        pairs = sorted({pair for group in plan.groups for pair in _pairs(group.state)})
        # What is looked up beside it could not know whose newest activity is another then, or which identifier is nobody's.
        self.wanted = Wanted((), pairs, profiles=sorted(key for old in plan.olds for key in old.keys), alone=True)

    def __call__(self, known: Known) -> Changes:
        """What becomes of the profiles."""
        self.stale = not all(is_as_read(old.key, old.state, old.heads, known) for old in self._plan.olds)
        if self.stale:
            return Changes()
        changes, told = Changes(), telling(self._subscriptions)
        judging = Judging(self._audiences, journal_id=self._journal_id, now=self._now, telling=told)
        following = known.next_profile
        chains: dict[ProfileKey, Sequence[Seq]] = {}
        for group in self._plan.groups:
            key = group.key
            if key is None:
                key, following = following, ProfileKey(following + 1)
                # Not from its first event, as others: that may have named another of them.
                group.state.public = public_id(f"{self._journal_id}:{key}", Seq(0), Micros(group.state.created))
            self._write(group, key, known, changes, judging)
            chains |= dict.fromkeys(group.members, ()) | {key: sorted(group.chain)}
        self._take(known, changes)
        judging.into(changes)
        # On the disk before anybody is told: nothing would bring it back after a power cut.
        changes.swayed = True
        changes.merges.sort(key=lambda one: one.seq)
        changes.regrouped = Regrouped(
            chains=chains,
            rules={seq: rule for group in self._plan.groups for seq, rule in group.rules.items()},
            disowned=self._plan.disowned,
            parted=[(one.winner, one.loser) for old in self._plan.olds for one in old.merges if not self._is_kept(one)],
        )
        return changes

    def _take(self, known: Known, changes: Changes) -> None:
        """What is somebody's now is no longer that of others who are not made anew, and nor is what a split said of it."""
        for pair in changes.owners:
            key = known.owners.get(pair)
            if key is not None and key not in changes.profiles:
                mine = changes.profiles[key] = msgspec.structs.replace(known.profiles[key])
                taken = [one for one in _pairs(mine) if one in changes.owners]
                mine.identifiers = [one for one in mine.identifiers if (one.kind, one.value) not in changes.owners]
                self._take_apart(mine, taken, changes)

    def _take_apart(self, mine: ProfileState, taken: Iterable[Pair], changes: Changes) -> None:
        """What a split said of the identifiers ``taken`` from ``mine`` goes to those who have them now."""
        splits = self._plan.splits
        owners = {splits.digest(pair): changes.owners[pair] for pair in taken} if mine.apart else {}
        said = splits.said(mine.apart)
        for one in said:
            if one[0] in owners:
                theirs = changes.profiles[owners[one[0]]]
                theirs.apart = list(dict.fromkeys([*theirs.apart, one]))
        mine.apart = [one for one in said if one[0] not in owners]

    def _is_kept(self, merge: Merge) -> bool:
        return self._plan.home(merge.winner) is self._plan.home(merge.loser)

    def _write(self, group: Group, key: ProfileKey, known: Known, changes: Changes, judging: Judging) -> None:
        mine = msgspec.structs.replace(group.state, members=[int(member) for member in group.members])
        before = known.profiles.get(key)
        if before is not None:
            mine.public, mine.judged, mine.due, mine.audiences = before.public, before.judged, before.due, before.audiences
        at = judging.moment(mine, self._now)
        for member in group.members:
            shell = changes.profiles[member] = msgspec.structs.replace(known.profiles[member])
            if shell.merged_into is None:
                changes.merges.append(self._joined(group, key, member, known.profiles[member]))
                judging.vanish(member, shell, at=at, seq=0)
                shell.identifiers, shell.traits, shell.indicators, shell.members, shell.apart = [], {}, {}, [], []
            shell.merged_into = int(key)
        changes.profiles[key] = mine
        changes.owners.update({(one.kind, one.value): key for one in mine.identifiers})
        judging.judge(key, mine, self._audiences.every, at=at, why=self._why)

    def _joined(self, group: Group, key: ProfileKey, member: ProfileKey, before: ProfileState) -> Merge:
        """Why the profile is part of another now: the event that joined the two, or the first that named both."""
        for one in group.person.merges:
            return Merge(
                seq=one.seq, time=one.time, winner=key, loser=member, identifiers=one.identifiers, rule=one.rule, before=before
            )
        seq, time = (
            (group.person.events[0][0].seq, group.person.events[0][0].time) if group.person.events else (Seq(0), self._now)
        )
        return Merge(seq=seq, time=time, winner=key, loser=member, identifiers=(), rule=self._why, before=before)


def _as_founded(old: Old) -> Iterator[tuple[ProfileKey, ProfileState]]:
    """The profile and those that are part of it, each with what it had before the merges, as far as that is known."""
    before = {merge.loser: merge.before for merge in old.merges}
    others = {pair for state in before.values() for pair in _pairs(state)}
    mine = [one for one in old.state.identifiers if (one.kind, one.value) not in others]
    yield old.key, msgspec.structs.replace(old.state, identifiers=mine)
    for key in old.keys[1:]:
        yield key, before.get(key, NOBODY)


def _seq(one: Carried) -> Seq:
    return one.seq


def _pairs(state: ProfileState) -> Collection[Pair]:
    return [(one.kind, one.value) for one in state.identifiers]
