"""The two people that one profile is split into. Pure.

Exactly two: whoever else would come out, because what joined them is no longer kept, stays with one of the sides.
"""

from collections.abc import Iterable, Mapping, Sequence

from cdmd.identity.identifiers import Kinds, Pair
from cdmd.identity.replaying import Person, order, replayed
from cdmd.models import Carried, IdentifierState, Merge, Micros, ProfileState


def sides(
    state: ProfileState, events: Iterable[Carried], *, first: Pair, second: Pair, merges: Sequence[Merge], kinds: Kinds
) -> tuple[Person, Person]:
    """The people of ``first`` and of ``second``, both of them identifiers of the profile ``state``; they never join again."""
    one, other = kinds.splits.digest(first), kinds.splits.digest(second)
    protected = kinds.splits.protected_by([state])
    protected.setdefault(one, set()).add(other)
    protected.setdefault(other, set()).add(one)
    owned = {(entry.kind, entry.value): entry for entry in state.identifiers}
    persons = replayed(events, kinds=kinds, among=owned, protected=protected)
    mine, theirs = _found(first, persons, owned), _found(second, persons, owned)
    for person in persons:
        if person is not mine and person is not theirs:
            _join(_side(person, mine, theirs, second, merges), person)
    mine.apart, theirs.apart = _with(mine.apart, one, other), _with(theirs.apart, other, one)
    return mine, theirs


def _found(pair: Pair, persons: list[Person], owned: Mapping[Pair, IdentifierState]) -> Person:
    """Whose the identifier is; one whose events are no longer kept makes a person of its own."""
    for person in persons:
        if any((one.kind, one.value) == pair for one in person.identifiers):
            return person
    one = owned[pair]
    person = Person([one], [], Micros(one.first_seen), Micros(one.last_seen), [], [])
    persons.append(person)
    return person


def _side(person: Person, mine: Person, theirs: Person, second: Pair, merges: Iterable[Merge]) -> Person:
    """With whom it was before the two were merged; with the earlier of the two where nothing tells."""
    pairs = {(one.kind, one.value) for one in person.identifiers}
    for merge in merges:
        before = {(one.kind, one.value) for one in merge.before.identifiers}
        if not pairs.isdisjoint(before):
            return theirs if second in before else mine
    return min((mine, theirs), key=lambda one: one.created)


def _join(side: Person, person: Person) -> None:
    side.identifiers += person.identifiers
    side.apart += person.apart
    side.merges += person.merges
    side.events = sorted([*side.events, *person.events], key=lambda pair: order(pair[0]))
    side.created, side.updated = min(side.created, person.created), max(side.updated, person.updated)


def _with(apart: Sequence[tuple[int, int]], mine: int, theirs: int) -> list[tuple[int, int]]:
    return list(dict.fromkeys([*apart, (mine, theirs)]))
