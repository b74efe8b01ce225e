from datetime import UTC, datetime

from cdmd.batches.sharing import Share
from cdmd.models import Entry, Event, Journaled, Seq


def at(seq: int, part: int) -> Journaled:
    event = Event(id=f"e{seq}", source="shop", type="order", received=datetime(2026, 11, 30, tzinfo=UTC))
    return Journaled(Seq(seq), Entry(event, part=part))


def test_what_arrived_before_there_were_lanes_is_the_first_ones_whatever_stands_with_it() -> None:
    first, third = Share({0: Seq(2)}, 4, Seq(10)), Share({2: Seq(2)}, 4, Seq(10))
    assert [one.holds(at(10, part)) for one in (first, third) for part in (0, 2)] == [True, True, False, False]
    assert [one.holds(at(11, part)) for one in (first, third) for part in (0, 2)] == [True, False, False, True]
    assert not first.holds(at(2, 0)), "it is applied"


def test_one_of_so_many_entries_is_for_who_has_so_many_lanes() -> None:
    shares = [dict.fromkeys(range(lanes), Seq(0)) for lanes in (0, 1, 2, 3, 8)]
    assert [Share(lanes, 8).divisor for lanes in shares] == [8, 8, 4, 3, 1]
