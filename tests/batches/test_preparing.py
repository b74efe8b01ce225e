"""Large batches are prepared beside the loop, small ones at once, and both come to the same."""

import gc
import threading

import pytest

from cdmd.batches.preparing import prepare, prepared, together
from cdmd.batches.rules import Rules
from cdmd.config.schema import IdentitySettings
from cdmd.identity.identifiers import Kinds
from cdmd.models import Apply, Digest, Entry, Item, Seq
from cdmd.store.keys import Digester
from tests.batches.world import World, order, rules

pytestmark = pytest.mark.anyio


class Watched(Digester):
    """Remembers on which threads it was asked."""

    def __init__(self) -> None:
        super().__init__(bytes(32))
        self.threads: set[int] = set()

    def occurrence(self, source: str, id: str) -> Digest:
        self.threads.add(threading.get_ident())
        return super().occurrence(source, id)


def test_a_decided_batch_leaves_no_circle_behind_for_the_garbage_collector() -> None:
    world = World(rules())
    world.take(
        order(0, hours=0, identifiers={"email": "a@example.com"}), order(1, hours=0, identifiers={"phone": "+46700000001"})
    )
    gc.collect()
    gc.disable()
    try:
        world.take(order(2, hours=0, identifiers={"email": "a@example.com", "phone": "+46700000001"}))  # joins the two
        assert gc.collect() == 0
    finally:
        gc.enable()


@pytest.mark.parametrize(("count", "beside"), [(1, False), (100, False), (101, True), (2_000, True)])
async def test_only_a_large_batch_is_prepared_in_a_thread(count: int, beside: bool) -> None:
    digester = Watched()
    ruled = Rules(journal_id="j", kinds=Kinds(IdentitySettings()), audiences=rules(), digester=digester)
    events = [order(number, hours=0, identifiers={"email": f"u{number}@example.com"}) for number in range(count)]
    work = [(Item(seq=Seq(place), entry=Entry(one), outcome=Apply()), one) for place, one in enumerate(events, 1)]
    made = await prepared(ruled, work)
    assert len(made.wanted.digests) == len(made.wanted.identifiers) == count
    assert (digester.threads != {threading.get_ident()}) is beside


def test_several_that_were_made_ready_are_together_what_they_would_be_as_one() -> None:
    ruled = Rules(journal_id="j", kinds=Kinds(IdentitySettings()), audiences=rules(), digester=Digester(bytes(32)))
    events = [order(number, hours=0, identifiers={"email": f"u{number // 2}@example.com"}) for number in range(9)]
    resumed = {2, 7}
    work = [
        (Item(seq=Seq(place), entry=Entry(one), outcome=Apply(), resumed=place in resumed), one)
        for place, one in enumerate(events, 1)
    ]
    whole = prepare(ruled, work)
    parts = [prepare(ruled, work[2:5]), prepare(ruled, work[5:]), prepare(ruled, work[:2])]
    joined = together(ruled, parts)
    assert (joined.rules, joined.items, joined.swayed, joined.plain) == (ruled, whole.items, whole.swayed, False)
    assert set(joined.wanted.digests) == set(whole.wanted.digests)
    assert sorted(joined.wanted.identifiers) == sorted(whole.wanted.identifiers)
    assert set(joined.wanted.parked) == resumed
    assert joined.wanted.journaled
    assert together(ruled, parts[:1]) is parts[0]
    assert together(ruled, [prepare(ruled, work[2:4]), prepare(ruled, work[4:6])]).plain
