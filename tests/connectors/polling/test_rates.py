import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdmd.connectors.polling.rates import DAY, HALF_LIFE, HOUR, TAU, WEEK, Forecast, Rates, hour, learned
from tests.connectors.polling.arrivals import MONDAY, evenly, in_bursts, in_office_hours

NEW = Rates(since=MONDAY, at=MONDAY)
moments = st.lists(st.floats(MONDAY - DAY, MONDAY + 3 * WEEK), max_size=40).map(sorted)


def after(arrivals: list[float], *, days: float = 28, every: float = HOUR) -> Rates:
    """Learned look by look."""
    rates, at, place = NEW, MONDAY, 0
    while at < MONDAY + days * DAY:
        at += every
        seen = [one for one in arrivals[place:] if one <= at]
        place += len(seen)
        rates = learned(rates, seen, at)
    return rates


def test_an_hour_of_the_week_begins_on_monday_at_midnight_utc() -> None:
    assert [hour(MONDAY), hour(MONDAY + 25 * HOUR), hour(MONDAY - 1)] == [0, 25, 167]


def test_before_anything_was_seen_one_arrival_a_day_is_expected_at_any_hour() -> None:
    expected = Forecast(NEW)
    assert expected.whole * DAY == pytest.approx(1.0)
    assert len({round(expected.rate(MONDAY + place * HOUR), 12) for place in range(168)}) == 1


def test_the_mean_rate_is_found() -> None:
    assert Forecast(after(evenly(40))).whole * DAY == pytest.approx(40, rel=0.15)


def test_after_four_weeks_working_hours_stand_out() -> None:
    expected = Forecast(after(in_office_hours(20)))
    working, night, sunday = (expected.usual(MONDAY + hours * HOUR) for hours in (28 * 24 + 10, 28 * 24 + 2, 34 * 24 + 10))
    assert working > 5 * night
    assert working > 5 * sunday


def test_hours_that_differ_by_chance_only_lean_on_the_others_more_than_hours_that_differ() -> None:
    chance, office = after(evenly(60)), after(in_office_hours(60))
    assert office.lean_kin == 4.0
    assert chance.lean_kin > 15
    assert chance.lean_hour > 15
    assert office.lean_hour > office.lean_kin, "one working day is like the other"


def test_what_bursts_make_of_hours_counts_as_chance() -> None:
    assert after(in_bursts(2, size=4, gap=120)).lean_hour > 15


def test_an_hour_nobody_watched_yet_leans_on_the_same_hour_of_other_working_days() -> None:
    two_days = Forecast(after(in_office_hours(40, days=2), days=2))
    wednesday = MONDAY + 2 * DAY
    assert two_days.usual(wednesday + 10 * HOUR) > 3 * two_days.usual(wednesday + 3 * HOUR)


def test_what_was_seen_loses_half_of_its_weight_in_two_weeks() -> None:
    busy = learned(NEW, [MONDAY + 60.0] * 100, MONDAY + HOUR)
    assert learned(busy, [MONDAY + HALF_LIFE + HOUR], MONDAY + HALF_LIFE + HOUR).arrived == pytest.approx(51)


def test_in_bursts_an_arrival_makes_more_likely_and_that_fades() -> None:
    rates = after(in_bursts(2, size=20, gap=120))
    assert rates.share == pytest.approx(0.5, abs=0.01)
    stirred = Forecast(learned(rates, [rates.at + 60.0] * 8, rates.at + 60))
    at = rates.at + 60
    assert stirred.rate(at) > 5 * stirred.usual(at)
    assert stirred.aftermath(at + TAU) == pytest.approx(stirred.aftermath(at) / math.e)


def test_where_arrivals_are_independent_they_make_little_more_likely() -> None:
    assert after(evenly(20)).share < 0.15


@given(moments, moments)
def test_rates_are_positive_finite_and_never_of_the_past(first: list[float], second: list[float]) -> None:
    rates = learned(NEW, first, MONDAY + WEEK)
    rates = learned(rates, second, MONDAY + 2 * WEEK)
    expected = Forecast(rates)
    assert rates.at == MONDAY + 2 * WEEK
    assert all(0 < expected.rate(rates.at + place * HOUR) < math.inf for place in range(170))
    assert 0 <= rates.share <= 0.5
    assert all(4 <= lean <= 40 for lean in (rates.lean_kin, rates.lean_hour))


@given(moments, st.floats(MONDAY + 4 * WEEK, MONDAY + 8 * WEEK))
def test_arrivals_are_counted_once_and_fade(arrivals: list[float], until: float) -> None:
    rates = learned(learned(NEW, arrivals, MONDAY + 3 * WEEK), [], until)
    left = 2 ** (-(until - MONDAY - 3 * WEEK) / HALF_LIFE)
    assert rates.arrived == pytest.approx(len(arrivals) * left)
    assert sum(rates.counts) == pytest.approx(len(arrivals) * left)
    assert rates.caused <= rates.arrived + 1e-9


@given(moments, st.floats(0, 4 * WEEK))
def test_where_the_clock_is_set_back_no_time_passed_and_nothing_is_forgotten(arrivals: list[float], back: float) -> None:
    rates = learned(NEW, arrivals, MONDAY + WEEK)
    after = learned(rates, [], MONDAY + WEEK - back)
    assert after.at == MONDAY + WEEK - back
    assert Forecast(after).whole == pytest.approx(Forecast(rates).whole)
    assert after.counts == rates.counts


def test_of_very_many_arrivals_at_once_some_stand_for_all() -> None:
    many = [MONDAY + place * 0.5 for place in range(7200)]
    rates = learned(NEW, many, MONDAY + HOUR)
    assert sum(rates.counts) == pytest.approx(7200)
    assert rates.arrived == 7200


def test_what_was_learned_outlives_the_process() -> None:
    rates = learned(NEW, evenly(20, days=1), MONDAY + DAY)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(rates), type=Rates) == rates
