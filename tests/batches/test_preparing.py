"""Large batches are prepared beside the loop, small ones at once, and both come to the same."""

import gc
import threading

import pytest

from cdmd.batches.preparing import prepared
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
