"""People as they come out when events are resolved from nothing, in the order in which they happened. Pure.

That order is effective time, then source and id: it does not depend on how the events arrived, so neither do the people. Not
for: which stored profile each of them is (``cdmd.batches.regrouping``).
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Final

import msgspec

from cdmd.identity.identifiers import Forms, Kinds, Pair
from cdmd.identity.keeping_apart import Protected
from cdmd.identity.resolution import People
from cdmd.models import Activity, Carried, IdentifierState, Known, Merge, Micros, ProfileKey, ProfileState, Seq

_NOTHING: Final[Protected] = {}
_MOST: Final = 4096
"""More than a profile has identifiers."""


class Person(msgspec.Struct):
    """One of those who come out: ``events`` with the rule that each was found by, in their order; ``merges`` as they came."""

    identifiers: list[IdentifierState]
    apart: list[tuple[int, int]]
    created: Micros
    updated: Micros
    events: list[tuple[Carried, str]]
    merges: list[Merge]


def carried(activity: Activity, profile: ProfileKey, kinds: Kinds) -> Carried:
    """What decides of an activity that was applied to ``profile``."""
    event, forms = activity.event, kinds.forms(activity.event.identifiers)
    return Carried(activity.time, event.source, event.id, activity.seq, profile, forms.pairs, list(forms.derived))


def order(one: Carried) -> tuple[int, str, str, int]:
    """The order in which events count."""
    return one[:4]


def replayed(
    events: Iterable[Carried],
    *,
    kinds: Kinds,
    among: Collection[Pair],
    protected: Protected = _NOTHING,
    start: Sequence[Person] = (),
) -> list[Person]:
    """Who comes out, the earliest first. Only identifiers ``among`` those are looked at: the others are strangers'.

    ``start`` are people who are there already, of earlier events.
    """
    known = _known(start)
    people = emerging(known, kinds=kinds, protected=protected)
    persons = {ProfileKey(key): one for key, one in enumerate(start, 1)}
    found: dict[ProfileKey, list[tuple[Carried, str]]] = {}
    for one in sorted(events, key=order):
        forms = Forms([pair for pair in one.pairs if pair in among], frozenset(one.derived))
        resolved = people.resolve(forms, seq=one.seq, at=one.time, source=one.source)
        key, rule = resolved.profile, resolved.rule
        if key is not None:
            found.setdefault(key, []).append((one, rule))
    states = {**known.profiles, **people.profiles}
    emerged = {
        key: Person(state.identifiers, state.apart, Micros(state.created), Micros(state.updated), [], [])
        for key, state in states.items()
        if state.merged_into is None
    }
    winner = _winners(states)
    for key, person in persons.items():
        emerged[winner(key)].events += person.events
        emerged[winner(key)].merges += person.merges
    for key, mine in found.items():
        emerged[winner(key)].events += mine
    for person in emerged.values():
        person.events.sort(key=lambda pair: order(pair[0]))
    for merge in people.merges:
        emerged[winner(merge.winner)].merges.append(merge)
    return list(emerged.values())


def emerging(known: Known, *, kinds: Kinds, protected: Protected) -> People:
    """People on whom nothing is projected and who have no ids yet."""
    return People(known, kinds=kinds, public=_nameless, combine=_alone, protected=protected)


def standing(key: ProfileKey, state: ProfileState, sights: Mapping[Pair, Micros], kinds: Kinds) -> list[Carried]:
    """What stands for a stored profile's events where some are no longer kept: each identifier beside its strongest one.

    ``sights`` are when its identifiers were seen first on its own events, as far as they are kept. So nobody falls apart
    because what joined them is gone.
    """
    arrived = [one for one in state.identifiers if not one.derived and _stands(one, kinds)]
    if all(sights.get((one.kind, one.value), one.first_seen + 1) <= one.first_seen for one in arrived):
        return []
    rank = {kind: place for place, kind in enumerate(kinds.limits)}
    arrived.sort(key=lambda one: (rank.get(one.kind, len(rank)), one.first_seen, one.value))
    strongest = (arrived[0].kind, arrived[0].value)
    found = []
    for number, one in enumerate(arrived):
        pairs, derived = kinds.forms({one.kind: one.value})
        both = list(dict.fromkeys([strongest, *pairs]))
        at, seq = Micros(one.first_seen), Seq(-(key * _MOST + number + 1))
        found.append(Carried(at, one.source, "", seq, key, both, list(derived)))
    return found


def _stands(one: IdentifierState, kinds: Kinds) -> bool:
    """Whether it is an identifier by these kinds, in the form that it has."""
    return kinds.normalise(one.kind, one.value) == (one.kind, one.value)


def _known(start: Sequence[Person]) -> Known:
    keyed = {ProfileKey(key): one for key, one in enumerate(start, 1)}
    states = {key: ProfileState("", one.created, one.updated, one.identifiers, apart=one.apart) for key, one in keyed.items()}
    owners = {(each.kind, each.value): key for key, one in keyed.items() for each in one.identifiers}
    return Known({}, owners, states, ProfileKey(len(start) + 1))


def _winners(profiles: Mapping[ProfileKey, ProfileState]) -> Callable[[ProfileKey], ProfileKey]:
    def winner(key: ProfileKey) -> ProfileKey:
        while (into := profiles[key].merged_into) is not None:
            key = ProfileKey(into)
        return key

    return winner


def _nameless(_seq: Seq, _at: Micros) -> str:
    return ""


def _alone(_winner: ProfileState, _loser: ProfileState) -> None:
    pass
