from datetime import timedelta

import pytest

from cdmd.batches.freshness import Freshness
from cdmd.models import to_micros
from tests.batches.doubles import START


def note(freshness, delay, now=START):
    freshness.seen({"shop": [to_micros(now) - round(delay * 1_000_000)]}, now)


def test_nothing_came_is_no_figure():
    freshness = Freshness()
    assert freshness.seconds("shop", START) is None
    assert freshness.last_event("shop") is None


def test_it_is_the_95th_percentile_within_a_fifth():
    freshness = Freshness()
    for number in range(1, 101):
        note(freshness, number / 10)
    assert 9.5 <= freshness.seconds("shop", START) <= 9.5 * 1.2
    assert freshness.last_event("shop") == START


def test_what_is_older_than_an_hour_counts_no_more():
    freshness = Freshness()
    note(freshness, 100.0, START)
    note(freshness, 1.0, START + timedelta(minutes=30))
    assert freshness.seconds("shop", START + timedelta(minutes=59)) > 99
    assert freshness.seconds("shop", START + timedelta(minutes=61)) == pytest.approx(1, rel=0.2)
    assert freshness.seconds("shop", START + timedelta(minutes=91)) is None


def test_memory_is_bounded_however_much_comes():
    freshness = Freshness()
    for number in range(20_000):
        note(freshness, 1.1 ** (number % 400), START + timedelta(seconds=number))
    hour = freshness._hours["shop"]
    assert len(hour.minutes) <= 60
    assert all(len(counts) <= 131 for _, counts in hour.minutes)


def test_a_clock_that_was_set_back_neither_fills_the_memory_nor_keeps_old_figures():
    freshness = Freshness()
    note(freshness, 100.0, START)
    earlier = START - timedelta(days=400)
    for minute in range(500):
        note(freshness, 1.0, earlier + timedelta(minutes=minute))
    assert len(freshness._hours["shop"].minutes) <= 60
    assert freshness.seconds("shop", earlier + timedelta(minutes=499)) == pytest.approx(1, rel=0.2)


def test_what_happened_before_a_connector_was_here_is_history_and_its_last_event_is_not():
    freshness, moment = Freshness(), to_micros(START)
    freshness.begin("crm", moment - 2_000_000)
    freshness.seen({"crm": [moment - 9_000_000]}, START)
    assert (freshness.seconds("crm", START), freshness.last_event("crm")) == (None, START)
    freshness.seen({"crm": [moment - 2_000_000], "shop": [moment - 9_000_000]}, START)
    assert freshness.seconds("crm", START) == pytest.approx(2, rel=0.2)
    assert freshness.seconds("shop", START) == pytest.approx(9, rel=0.2), "of one that is told everything counts"


def test_many_at_once_are_counted_as_each_would_be():
    delays = [0.0, 0.0005, 0.001, 0.0010001, 0.4, 0.4, 7.0, 3600.0, 1e9, -5.0]
    once, each = Freshness(), Freshness()
    once.seen({"shop": [to_micros(START) - round(delay * 1_000_000) for delay in delays]}, START)
    for delay in delays:
        note(each, delay)
    assert (once.seconds("shop", START), once.distribution()[0]) == (each.seconds("shop", START), each.distribution()[0])
    assert once.distribution()[1] == pytest.approx(sum(delays[:-1]))
    assert once.newest("shop") == to_micros(START) + 5_000_000
