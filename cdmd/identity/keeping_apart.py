"""Identifiers that an administrator said are different people's: what must never be one profile again. Pure.

A profile keeps what it must not be joined with as pairs of keyed digests: its own identifier, and the other's. So nobody's
identifier stands in a stranger's row, and without the key nobody can try addresses against what stands there. Not for: limits,
which keep apart what nobody has looked at (``resolution``).
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from hashlib import blake2b
from typing import Final, NamedTuple, TypeAlias

from cdmd.models import ProfileState

REASON: Final = "kept apart by a split"

Pair: TypeAlias = tuple[str, str]

Protected = Mapping[int, Collection[int]]
"""Each digest with those that it must not be one person with; both directions are in it."""


class Splits:
    """The digests under ``key`` (at most 64 bytes) that stand for identifiers in what splits say. They are below zero.

    Earlier versions wrote them without a key: those are the numbers from zero on. The keyed form is made of them, so that what
    they say holds without knowing whom they mean (``cdmd.daemon.rekeying`` writes it anew).
    """

    def __init__(self, key: bytes = b"") -> None:
        self._key = key

    def digest(self, pair: Pair) -> int:
        """What stands for an identifier."""
        return self._keyed(_plain(pair))

    def said(self, apart: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
        """What a profile is kept apart from (``ProfileState.apart``), keyed throughout."""
        return [(self._keyed(mine), self._keyed(theirs)) for mine, theirs in apart]

    def party(self, state: ProfileState) -> "Party":
        """A profile. What is said of an identifier that it no longer has keeps it apart from nobody."""
        held = self._held(state) if state.apart else set[int]()
        return Party(
            lambda: held or self._held(state),
            [theirs for mine, theirs in self.said(state.apart) if mine in held],
        )

    def newcomer(self, pair: Pair, protected: Protected) -> "Party":
        """An identifier that is nobody's yet."""
        digest = self.digest(pair)
        return Party(lambda: (digest,), protected.get(digest, ()))

    def unsaid(self, state: ProfileState, digests: AbstractSet[int], *, both: bool = False) -> list[tuple[int, int]]:
        """What the profile says, but for what one of these stands for; ``both``: what two of them stand for."""
        return [one for one in self.said(state.apart) if not (digests >= set(one) if both else digests & set(one))]

    def protected_by(self, states: Iterable[ProfileState]) -> dict[int, set[int]]:
        """What these profiles say, both ways."""
        found: dict[int, set[int]] = {}
        for state in states:
            for mine, theirs in self.said(state.apart):
                found.setdefault(mine, set()).add(theirs)
                found.setdefault(theirs, set()).add(mine)
        return found

    def _held(self, state: ProfileState) -> set[int]:
        return {self.digest((one.kind, one.value)) for one in state.identifiers}

    def _keyed(self, number: int) -> int:
        if number < 0:
            return number
        digest = blake2b(number.to_bytes(8), digest_size=8, key=self._key, person=b"cdmd split")
        return ~(int.from_bytes(digest.digest()) >> 1)


class Party(NamedTuple):
    """What would become one with others: a profile, or an identifier that is nobody's yet. ``against`` are digests."""

    digests: Callable[[], Collection[int]]
    against: Collection[int]


def says_plainly(apart: Iterable[tuple[int, int]]) -> bool:
    """Whether any of it was written without a key."""
    return any(max(one) >= 0 for one in apart)


def _plain(pair: Pair) -> int:
    named = f"{pair[0]}\0{pair[1]}".encode()
    return int.from_bytes(blake2b(named, digest_size=8, person=b"cdmd kept apart").digest())


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
