from datetime import UTC, datetime
from itertools import pairwise

import pytest

from cdmd.models import Entry, Event, Seq
from cdmd.store.tail import Tail


def entry(number: int) -> Entry:
    return Entry(Event(id=str(number), source="shop", type="a", received=datetime(2026, 1, 1, tzinfo=UTC)))


def grown(tail: Tail, first: int, last: int, *, size: int = 100) -> None:
    for number in range(first, last + 1):
        tail.extend(Seq(number), [entry(number)], [size])


def read(tail: Tail, after: int, limit: int) -> list[int] | None:
    found = tail.read(Seq(after), limit)
    return None if found is None else [one.seq for one in found if one.entry.event.id == str(one.seq)]


@pytest.mark.parametrize(("events", "size"), [(1000, 1), (1_000_000, 100)])
def test_a_tail_that_is_full_holds_nothing_until_its_reader_is_near_the_end_again(events: int, size: int) -> None:
    tail = Tail(max_events=events, max_bytes=1000 * 100)
    grown(tail, 1, 1000, size=size)
    assert len(tail) == 1000
    grown(tail, 1001, 5000, size=size)
    assert (len(tail), tail.bytes) == (0, 0)
    assert read(tail, 4000, 999) is None  # from the disk, and not up to the end
    grown(tail, 5001, 5001, size=size)
    assert len(tail) == 0
    assert read(tail, 4999, 2) is None  # it will have 5000 and 5001
    grown(tail, 5002, 5003, size=size)
    assert read(tail, 5001, 9) == [5002, 5003]
    assert read(tail, 5000, 9) is None


def test_what_a_full_tail_held_is_forgotten_a_few_at_once_and_not_kept_in_memory() -> None:
    tail = Tail(max_events=5000, max_bytes=2**30)
    grown(tail, 1, 5001)
    kept = [len(tail._entries)]
    for number in range(5002, 5052):
        tail.extend(Seq(number), [entry(number)], [100])
        kept.append(len(tail._entries))
    assert all(0 <= before - after <= 512 for before, after in pairwise(kept))
    assert kept[-1] <= 256
    assert read(tail, 5051, 1) is None  # nothing is behind it, and it is followed from here
    grown(tail, 5052, 5053)
    assert read(tail, 5051, 9) == [5052, 5053]


def test_a_reader_that_comes_back_while_the_old_ones_go_sees_only_new_ones() -> None:
    tail = Tail(max_events=5000, max_bytes=2**30)
    grown(tail, 1, 5001)
    assert read(tail, 4000, 2000) is None
    grown(tail, 5002, 5003)
    assert len(tail._entries) > 2  # old ones among them
    assert (read(tail, 4999, 9), read(tail, 5001, 1), read(tail, 5002, 9)) == (None, [5002], [5003])
    assert tail.bytes == 100


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
