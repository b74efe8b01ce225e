"""Identifiers that an administrator said are different people's: what must never be one profile again. Pure.

A profile keeps what it must not be joined with as pairs of digests: its own identifier, and the other's. So nobody's identifier
stands in a stranger's row. Not for: limits, which keep apart what nobody has looked at (``resolution``).
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from hashlib import blake2b
from typing import Final, NamedTuple

from cdmd.identity.identifiers import Pair
from cdmd.models import ProfileState

REASON: Final = "kept apart by a split"

Protected = Mapping[int, Collection[int]]
"""Each digest with those that it must not be one person with; both directions are in it."""


class Party(NamedTuple):
    """What would become one with others: a profile, or an identifier that is nobody's yet. ``against`` are digests."""

    digests: Callable[[], Collection[int]]
    against: Collection[int]


def digest_of(pair: Pair) -> int:
    """64 bits that stand for an identifier."""
    named = f"{pair[0]}\0{pair[1]}".encode()
    return int.from_bytes(blake2b(named, digest_size=8, person=b"cdmd kept apart").digest())


def party(state: ProfileState) -> Party:
    """A profile. What is said of an identifier that it no longer has keeps it apart from nobody."""
    held = {digest_of((one.kind, one.value)) for one in state.identifiers} if state.apart else set()
    return Party(
        lambda: held or {digest_of((one.kind, one.value)) for one in state.identifiers},
        [theirs for mine, theirs in state.apart if mine in held],
    )


def newcomer(pair: Pair, protected: Protected) -> Party:
    """An identifier that is nobody's yet."""
    digest = digest_of(pair)
    return Party(lambda: (digest,), protected.get(digest, ()))


def conflicting(parties: Sequence[Party]) -> list[int]:
    """The places of those that must not become one with another of them."""
    if not any(one.against for one in parties):
        return []
    held = [frozenset(one.digests()) for one in parties]
    found: set[int] = set()
    for place, one in enumerate(parties):
        for other, digests in enumerate(held):
            if other != place and not digests.isdisjoint(one.against):
                found |= {place, other}
    return sorted(found)


def unsaid(state: ProfileState, digests: AbstractSet[int], *, both: bool = False) -> list[tuple[int, int]]:
    """What is kept apart as the profile says, but for what one of these stands for; ``both``: what two of them stand for."""
    return [one for one in state.apart if not (digests >= set(one) if both else digests & set(one))]


def protected_by(states: Iterable[ProfileState]) -> dict[int, set[int]]:
    """What these profiles say, both ways."""
    found: dict[int, set[int]] = {}
    for state in states:
        for mine, theirs in state.apart:
            found.setdefault(mine, set()).add(theirs)
            found.setdefault(theirs, set()).add(mine)
    return found
