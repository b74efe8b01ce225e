"""Two profiles that are kept apart from now on though nothing has joined them, or no longer kept apart. Pure."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from msgspec.structs import replace

from cdmd.identity.identifiers import Pair
from cdmd.identity.keeping_apart import Splits, says_plainly
from cdmd.models import Changes, Known, Merge, ProfileKey, ProfileState, Wanted


class Parting:
    """The owners of two identifiers: ``apart`` from now on, or not any more. ``found`` afterwards: it could be done."""

    def __init__(self, first: Pair, second: Pair, *, splits: Splits, apart: bool) -> None:
        self._first, self._second, self._splits, self._apart = first, second, splits, apart
        self.found = False
        self.wanted = Wanted((), (first, second))

    def __call__(self, known: Known) -> Changes:
        """What changes about the two."""
        one, other = known.owners.get(self._first), known.owners.get(self._second)
        self.found = one is not None and other is not None and one != other
        if one is None or other is None or not self.found:
            return Changes()
        mine, theirs = known.profiles[one], known.profiles[other]
        if self._apart:
            digests = self._splits.digest(self._first), self._splits.digest(self._second)
            apart = [*mine.apart, digests], [*theirs.apart, digests[::-1]]
        else:
            apart = self._lifted(mine, theirs), self._lifted(theirs, mine)
            self.found = (len(mine.apart), len(theirs.apart)) != (len(apart[0]), len(apart[1]))
        return _changes({one: (mine, apart[0]), other: (theirs, apart[1])})

    def _lifted(self, state: ProfileState, other: ProfileState) -> list[tuple[int, int]]:
        """What the profile is still kept apart from when it may join that other one."""
        digests = {self._splits.digest((one.kind, one.value)) for one in other.identifiers}
        return [(mine, theirs) for mine, theirs in self._splits.said(state.apart) if theirs not in digests]


class Unsaying:
    """The profiles ``keys`` say no more of what the ``digests`` stand for. ``changed`` afterwards: how many said something.

    ``both``: only that the one is kept apart from the other.
    """

    def __init__(self, keys: Sequence[ProfileKey], digests: AbstractSet[int], *, splits: Splits, both: bool = False) -> None:
        self._digests, self._splits, self._both, self.changed = digests, splits, both, 0
        self.wanted = Wanted((), (), profiles=keys)

    def __call__(self, known: Known) -> Changes:
        """What changes about them."""
        states = ((key, known.profiles[key]) for key in self.wanted.profiles if key in known.profiles)
        apart = {key: (state, self._splits.unsaid(state, self._digests, both=self._both)) for key, state in states}
        changed = {key: one for key, one in apart.items() if len(one[1]) < len(one[0].apart)}
        self.changed = len(changed)
        return _changes(changed)


class Keying:
    """What the profiles ``keys`` say of whom they are kept apart from is keyed from then on, as it is in new ones.

    ``changed`` afterwards: of how many it was not.
    """

    def __init__(self, keys: Sequence[ProfileKey], *, splits: Splits) -> None:
        self._splits, self.changed = splits, 0
        self.wanted = Wanted((), (), profiles=keys)

    def __call__(self, known: Known) -> Changes:
        """What changes about them."""
        states = ((key, known.profiles[key]) for key in self.wanted.profiles if key in known.profiles)
        plain = {key: (state, self._splits.said(state.apart)) for key, state in states if says_plainly(state.apart)}
        self.changed = len(plain)
        return _changes(plain)


def keyed(splits: Splits, merge: Merge) -> Merge:
    """The merge with what it says so keyed; the same where all is."""
    apart = merge.before.apart
    return replace(merge, before=replace(merge.before, apart=splits.said(apart))) if says_plainly(apart) else merge


def unnamed(digests: AbstractSet[int], splits: Splits, merge: Merge) -> Merge:
    """The merge without what these stand for, and what it is kept apart from; the same where it says nothing of them."""
    before = merge.before
    had = [one for one in before.identifiers if splits.digest((one.kind, one.value)) not in digests]
    joined, apart = [one for one in merge.identifiers if splits.digest(one) not in digests], splits.unsaid(before, digests)
    if (len(had), len(joined), len(apart)) == (len(before.identifiers), len(merge.identifiers), len(before.apart)):
        return merge
    return replace(merge, identifiers=joined, before=replace(before, identifiers=had, apart=apart))


def _changes(apart: dict[ProfileKey, tuple[ProfileState, list[tuple[int, int]]]]) -> Changes:
    profiles = {key: replace(state, apart=list(dict.fromkeys(pairs))) for key, (state, pairs) in apart.items()}
    # It is on the disk before anybody is told: nothing would bring it back after a power cut.
    owners = {(one.kind, one.value): key for key, state in profiles.items() for one in state.identifiers[:1]}
    return Changes(profiles=profiles, owners=owners, swayed=True)
