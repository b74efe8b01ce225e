"""Who is meant by an identifier: whoever has it, or is known by a digest of it only. Not here: joining (``cdmd.identity``)."""

from collections.abc import Sequence

from cdmd.contracts import Naming, ProfileFound, Store


async def owners(store: Store, naming: Naming, pair: tuple[str, str], *, activities: int = 0) -> Sequence[ProfileFound]:
    """Their profiles, each with so many of its activities; whoever has the identifier itself comes first.

    Raises ``NotDurable`` and ``Damaged``.
    """
    found = [await store.profile(*one, activities=activities) for one in (pair, *naming.digests(pair))]
    return list({one.key: one for one in found if one is not None}.values())
