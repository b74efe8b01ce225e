"""People as they come out when events are resolved from nothing, in the order in which they happened. Pure.

That order is effective time, then source and id: it does not depend on how the events arrived, so neither do the people. Not
for: which stored profile each of them is (``cdmd.batches.regrouping``).
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Final, NamedTuple

import msgspec

from cdmd.identity.identifiers import Forms, Kinds, Pair
from cdmd.identity.keeping_apart import Protected
from cdmd.identity.resolution import People
from cdmd.models import Activity, IdentifierState, Known, Merge, Micros, ProfileKey, ProfileState, Seq

_NOTHING: Final[Protected] = {}


class Carried(NamedTuple):
    """What of a stored event decides whose it is: ``profile`` is the one that it was applied to."""

    time: Micros
    source: str
    id: str
    seq: Seq
    profile: ProfileKey
    forms: Forms


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
    event = activity.event
    return Carried(activity.time, event.source, event.id, activity.seq, profile, kinds.forms(event.identifiers))


def order(one: Carried) -> tuple[int, str, str, int]:
    """The order in which events count."""
    return one[:4]


def replayed(
    events: Iterable[Carried], *, kinds: Kinds, among: Collection[Pair], protected: Protected = _NOTHING
) -> list[Person]:
    """Who comes out, the earliest first. Only identifiers ``among`` those are looked at: the others are strangers'."""
    people = People(Known({}, {}, {}, ProfileKey(1)), kinds=kinds, public=_nameless, combine=_alone, protected=protected)
    found: dict[ProfileKey, list[tuple[Carried, str]]] = {}
    for one in sorted(events, key=order):
        key, rule = people.resolve(_known(one.forms, among), seq=one.seq, at=one.time, source=one.source)
        if key is not None:
            found.setdefault(key, []).append((one, rule))
    winner = _winners(people.profiles)
    persons = {
        key: Person(state.identifiers, state.apart, Micros(state.created), Micros(state.updated), [], [])
        for key, state in people.profiles.items()
        if state.merged_into is None
    }
    for key, mine in found.items():
        persons[winner(key)].events += mine
    for person in persons.values():
        person.events.sort(key=lambda pair: order(pair[0]))
    for merge in people.merges:
        persons[winner(merge.winner)].merges.append(merge)
    return list(persons.values())


def _known(forms: Forms, among: Collection[Pair]) -> Forms:
    return Forms([pair for pair in forms.pairs if pair in among], forms.derived)


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
