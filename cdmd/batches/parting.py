"""Two profiles that are kept apart from now on though nothing has joined them, or no longer kept apart. Pure."""

from msgspec.structs import replace

from cdmd.identity.identifiers import Pair
from cdmd.identity.keeping_apart import digest_of
from cdmd.models import Changes, Known, ProfileKey, ProfileState, Wanted


class Parting:
    """The owners of two identifiers: ``apart`` from now on, or not any more. ``found`` afterwards: it could be done."""

    def __init__(self, first: Pair, second: Pair, *, apart: bool) -> None:
        self._first, self._second, self._apart = first, second, apart
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
            digests = digest_of(self._first), digest_of(self._second)
            apart = [*mine.apart, digests], [*theirs.apart, digests[::-1]]
        else:
            apart = lifted(mine, theirs), lifted(theirs, mine)
            self.found = (mine.apart, theirs.apart) != apart
        return _changes({one: (mine, apart[0]), other: (theirs, apart[1])})


def lifted(state: ProfileState, other: ProfileState) -> list[tuple[int, int]]:
    """What the profile is still kept apart from when it may join that other one."""
    digests = {digest_of((one.kind, one.value)) for one in other.identifiers}
    return [(mine, theirs) for mine, theirs in state.apart if theirs not in digests]


def _changes(apart: dict[ProfileKey, tuple[ProfileState, list[tuple[int, int]]]]) -> Changes:
    profiles = {key: replace(state, apart=list(dict.fromkeys(pairs))) for key, (state, pairs) in apart.items()}
    # It is on the disk before anybody is told: nothing would bring it back after a power cut.
    owners = {(one.kind, one.value): key for key, state in profiles.items() for one in state.identifiers[:1]}
    return Changes(profiles=profiles, owners=owners, swayed=True)
