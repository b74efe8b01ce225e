"""How many events of a connector are behind, where several nodes apply them."""

from cdmd.batches.credit import Credit
from cdmd.models import Entry, Event, Seq
from cdmd.testing import ManualClock


def entries(*connectors: str) -> list[Entry]:
    now = ManualClock().now()
    return [Entry(Event(id="e", source=name, type="order", received=now, identifiers={})) for name in connectors]


def shared(*, head: int = 0, position: int = 0) -> Credit:
    return Credit(head=Seq(head), position=Seq(position), shared=True)


def test_an_append_is_behind_until_all_of_it_is_applied_everywhere() -> None:
    credit = shared(head=2, position=1)
    credit.journaled(Seq(2), entries("crm", "crm", "shop"))
    credit.journaled(Seq(5), entries("crm"))
    assert (credit.backlog("crm"), credit.backlog("shop")) == (3, 2), "an earlier run's counts for everybody"
    credit.everywhere(Seq(3))
    assert (credit.backlog("crm"), credit.backlog("shop")) == (2, 1)
    credit.everywhere(Seq(4))
    assert (credit.backlog("crm"), credit.backlog("shop")) == (1, 0)
    credit.everywhere(Seq(5))
    assert (credit.backlog("crm"), credit.backlog("shop")) == (0, 0)


def test_a_long_backlog_takes_no_memory_for_each_event_and_comes_to_nothing_at_its_end() -> None:
    credit = shared()
    for first in range(1, 20_001, 2):
        credit.journaled(Seq(first), entries("crm", "shop"))
    assert len(credit._waiting) < 1100
    credit.journaled(Seq(20_001), entries(*["crm"] * 5_000))
    assert len(credit._waiting) < 1100
    assert (credit.backlog("crm"), credit.backlog("shop")) == (15_000, 10_000)
    credit.everywhere(Seq(10_000))
    assert 5_000 <= credit.backlog("shop") < 5_256
    credit.everywhere(Seq(25_000))
    assert (credit.backlog("crm"), credit.backlog("shop"), len(credit._waiting)) == (0, 0, 0)
