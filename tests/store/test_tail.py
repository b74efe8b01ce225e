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


def test_what_was_read_on_from_is_let_go_of():
    tail = Tail(max_events=10_000, max_bytes=2**30)
    tail.extend(Seq(1), [entry(number) for number in range(1, 5001)], [100] * 5000)
    assert [one.seq for one in tail.read(Seq(0), 2)] == [1, 2]
    assert [one.seq for one in tail.read(Seq(0), 3000)][-1] == 3000
    assert [one.entry.event.id for one in tail.read(Seq(3000), 2)] == ["3001", "3002"]
    assert (len(tail), tail.bytes, len(tail._entries)) == (2000, 2000 * 100, 2000)
    assert tail.read(Seq(2999), 1) is None
    tail.extend(Seq(5001), [entry(5001)], [100])
    assert [one.seq for one in tail.read(Seq(5000), 9)] == [5001]
