"""Why two identifiers are one person, or what kept them apart: read from the events that carried them. Pure.

The events say it themselves: each one's identifiers, and the rule that its profile was found by. Not for: deciding whose an
event is (``cdmd.identity.resolution``), and reading the events.
"""

from collections import defaultdict, deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from cdmd.identity.identifiers import Kinds, Pair
from cdmd.identity.resolution import given_up
from cdmd.models import Activity, Event, Merge, Micros, Seq

MOST_REFUSALS: Final = 20
"""How many of the events that could have joined two people are told."""


class Carrier(NamedTuple):
    """An event that carried identifiers: ``pairs`` in one form, ``refused`` kinds with the reason they were given up for.

    ``digests`` did not arrive: ``pairs`` stand for them. ``event`` is None where only the merge that it led to is still known.
    """

    seq: Seq
    time: Micros
    rule: str
    pairs: Sequence[Pair]
    refused: Mapping[str, str]
    event: Event | None
    digests: Sequence[Pair] = ()

    @property
    def named(self) -> Sequence[Pair]:
        """All that it could be found by."""
        return [*self.pairs, *self.digests]


class Link(NamedTuple):
    """One step from an identifier to the next. Without a carrier, one of them is a digest of the other."""

    one: Pair
    other: Pair
    carrier: Carrier | None


def carrier(activity: Activity, kinds: Kinds) -> Carrier:
    """The activity as an event that carried identifiers."""
    pairs, derived = kinds.forms(activity.event.identifiers)
    arrived = [pair for pair in pairs if pair not in derived]
    digests = [pair for pair in pairs if pair in derived]
    return Carrier(activity.seq, activity.time, activity.rule, arrived, given_up(activity.rule), activity.event, digests)


def remembered(merges: Iterable[Merge], carriers: Collection[Carrier]) -> list[Carrier]:
    """The merges whose event is not among the ``carriers`` any more, as what is left of it."""
    there = {one.seq for one in carriers}
    return [Carrier(one.seq, one.time, one.rule, one.identifiers, {}, None) for one in merges if one.seq not in there]


def chain(
    first: Pair, second: Pair, carriers: Iterable[Carrier], *, owned: Collection[Pair], kinds: Kinds
) -> list[Link] | None:
    """The fewest events that lead from ``first`` to ``second`` over identifiers of one profile, the earliest of equal ones.

    ``owned`` are the profile's identifiers. None where the events that are kept do not lead there.
    """
    steps = _steps(carriers, frozenset(owned), kinds)
    came: dict[Pair, Link | None] = {first: None}
    waiting = deque([first])
    while waiting and second not in came:
        here = waiting.popleft()
        for through, there in steps[here]:
            for other in there:
                if other not in came:
                    came[other] = Link(here, other, through)
                    waiting.append(other)
    return _back(came, second) if second in came else None


def refusals(
    first: Pair, second: Pair, carriers: Iterable[Carrier], *, of_first: Collection[Pair], of_second: Collection[Pair]
) -> list[Carrier]:
    """The events that carried identifiers of both people and joined them not: those with both of the two asked for first.

    A digest that an identifier stands for is one of them, too.
    """
    mine, theirs = {first, *of_first}, {second, *of_second}
    found = [one for one in carriers if not mine.isdisjoint(one.named) and not theirs.isdisjoint(one.named)]
    found.sort(key=lambda one: (not {first, second} <= set(one.named), one.seq))
    return found[:MOST_REFUSALS]


def _steps(
    carriers: Iterable[Carrier], owned: frozenset[Pair], kinds: Kinds
) -> Mapping[Pair, list[tuple[Carrier | None, Sequence[Pair]]]]:
    """From each identifier: what leads on from it, and where to."""
    steps: defaultdict[Pair, list[tuple[Carrier | None, Sequence[Pair]]]] = defaultdict(list)
    for one in sorted(carriers, key=lambda one: one.seq):
        joined = [pair for pair in one.pairs if pair in owned and pair[0] not in one.refused]
        for pair in joined:
            steps[pair].append((one, joined))
    for pair in sorted(owned):
        for digest in kinds.digests(pair):
            if digest in owned:
                steps[pair].append((None, [digest]))
                steps[digest].append((None, [pair]))
    return steps


def _back(came: Mapping[Pair, Link | None], end: Pair) -> list[Link]:
    links = []
    while (link := came[end]) is not None:
        links.append(link)
        end = link.one
    return links[::-1]
