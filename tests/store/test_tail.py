from datetime import UTC, datetime

from cdmd.models import Entry, Event, Seq
from cdmd.store.tail import Tail


def entry(number: int) -> Entry:
    return Entry(Event(id=str(number), source="shop", type="a", received=datetime(2026, 1, 1, tzinfo=UTC)))


def test_what_the_tail_let_go_of_is_not_kept_in_memory_all_the_same():
    tail = Tail(max_events=10_000, max_bytes=1000 * 100)
    for number in range(1, 5001):
        tail.extend(Seq(number), [entry(number)], [100])
        assert len(tail._entries) <= 1000 + 257
    assert [one.entry.event.id for one in tail.read(Seq(4000), 2)] == ["4001", "4002"]
    assert tail.read(Seq(3999), 2) is None
