"""What splits said as earlier versions wrote it: by digests that need no key."""

from collections.abc import Iterable, Mapping
from hashlib import blake2b
from pathlib import Path

import msgspec

from cdmd.contracts import Store
from cdmd.identity.identifiers import Pair
from cdmd.identity.keeping_apart import Splits
from cdmd.models import Changes, Known, Merge, ProfileKey, ProfileState, Wanted


def plain(pair: Pair) -> int:
    named = f"{pair[0]}\0{pair[1]}".encode()
    return int.from_bytes(blake2b(named, digest_size=8, person=b"cdmd kept apart").digest(), "big")


def files_with(number: int, folder: Path) -> list[str]:
    """What holds the number as rows hold it."""
    text = number.to_bytes(8, "big", signed=number < 0)
    return [path.name for path in folder.rglob("*") if path.is_file() and text in path.read_bytes()]


async def written_before(store: Store, splits: Splits, pairs: Iterable[Pair]) -> None:
    """Write what all profiles and merges say of these identifiers as an earlier version did."""
    former = {splits.digest(pair): plain(pair) for pair in pairs}
    keys = list((await store.forgetting.splits(after=ProfileKey(0), limit=10_000)).said)

    def decide(known: Known) -> Changes:
        profiles = {key: _as_before(known.profiles[key], former) for key in keys}
        owners = {(one.kind, one.value): key for key, state in profiles.items() for one in state.identifiers[:1]}
        return Changes(profiles=profiles, owners=owners, swayed=True)

    def revise(one: Merge) -> Merge:
        return msgspec.structs.replace(one, before=_as_before(one.before, former)) if one.before.apart else one

    await store.apply(Wanted((), (), profiles=keys), decide)
    await store.forgetting.revise_merges(revise, after=0, limit=10_000)


def _as_before(state: ProfileState, former: Mapping[int, int]) -> ProfileState:
    apart = [(former.get(mine, mine), former.get(theirs, theirs)) for mine, theirs in state.apart]
    return msgspec.structs.replace(state, apart=apart)
