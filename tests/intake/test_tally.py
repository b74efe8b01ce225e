"""received = refused + filtered + accepted, whatever happens to the appends that carry the counts."""

from hypothesis import given
from hypothesis import strategies as st

from cdmd.intake.tally import Tally
from cdmd.models import Count


def holds(tally: Tally, name: str = "shop") -> bool:
    parts = (Count.REFUSED, Count.FILTERED, Count.ACCEPTED)
    return tally.of(name, Count.RECEIVED) == sum(tally.of(name, part) for part in parts)


def test_what_was_persisted_is_where_it_starts() -> None:
    tally = Tally({("shop", Count.RECEIVED): 3, ("shop", Count.ACCEPTED): 3})
    tally.refused("shop", 2, "signature")
    assert (tally.of("shop", Count.RECEIVED), tally.of("shop", Count.REFUSED)) == (5, 2)
    assert tally.refusals("shop") == {"signature": 2}
    assert holds(tally)


def test_why_a_connector_refused_is_told_the_most_frequent_reason_first() -> None:
    tally = Tally({})
    for name, count, reason in (("shop", 1, "quota"), ("tv", 5, "method"), ("shop", 2, "signature"), ("shop", 2, "quota")):
        tally.refused(name, count, reason)
    assert list(tally.refusals("shop").items()) == [("quota", 3), ("signature", 2)]
    assert tally.refusals("nobody") == {}


def test_pending_counts_are_written_once() -> None:
    tally = Tally({})
    tally.refused("shop", 2, "signature")
    assert tally.unwritten() == ["shop"]
    counts = tally.take_pending("shop")
    assert tally.unwritten() == []
    tally.written("shop", counts)
    assert tally.of("shop", Count.REFUSED) == 2


def test_a_failed_append_leaves_its_counts_pending_and_the_journal_to_be_asked() -> None:
    tally = Tally({})
    tally.refused("shop", 1, "signature")
    tally.restore("shop", tally.take_pending("shop"))
    assert tally.uncertain
    tally.reload({("shop", Count.RECEIVED): 4, ("shop", Count.ACCEPTED): 4})
    assert not tally.uncertain
    assert (tally.of("shop", Count.RECEIVED), tally.of("shop", Count.REFUSED)) == (5, 1)


def test_reasons_that_are_made_up_do_not_fill_the_memory() -> None:
    tally = Tally({})
    for number in range(5_000):
        tally.refused("shop", 1, f"reason {number}")
    assert len(tally.refusals("shop")) <= 1_001
    assert tally.refusals("shop")["other"] == 4_000
    assert tally.of("shop", Count.REFUSED) == 5_000


@given(st.lists(st.tuples(st.sampled_from(["refuse", "filter", "repeat", "append", "fail"]), st.integers(1, 5))))
def test_the_sum_holds_after_every_step(steps: list[tuple[str, int]]) -> None:
    tally = Tally({})
    for step, count in steps:
        match step:
            case "refuse":
                tally.refused("shop", count, "x")
            case "filter":
                tally.counted("shop", {Count.RECEIVED: count, Count.FILTERED: count})
            case "repeat":
                tally.counted("shop", {Count.RECEIVED: count, Count.ACCEPTED: count, Count.REPEATS: count})
            case "append":
                pending = tally.take_pending("shop")
                own = {Count.RECEIVED: count, Count.ACCEPTED: count}
                tally.written("shop", {name: pending.get(name, 0) + own.get(name, 0) for name in {*pending, *own}})
            case _:
                tally.restore("shop", tally.take_pending("shop"))
        assert holds(tally)
