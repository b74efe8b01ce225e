from bisect import bisect_right
from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdmd.connectors.polling.pacing import Allowed, Pace, begun, due, looked
from cdmd.connectors.polling.rates import DAY, HOUR, WEEK
from cdmd.kit.quiet import Quiet, QuietHours
from tests.connectors.polling.arrivals import MONDAY, evenly, in_bursts, in_office_hours, like_the_sun
from tests.sizes import size

HALF_HOURLY = Allowed(mean=1800.0, least=60.0, most=7200.0)
DAYS = 84.0


def looks(arrivals: Sequence[float], allowed: Allowed = HALF_HOURLY, *, days: float = DAYS) -> list[float]:
    """When a stream with these arrivals is looked at."""
    pace, found, place = begun(MONDAY), list[float](), 0
    while (at := due(pace, allowed, pace.looked).at) < MONDAY + days * DAY:
        seen = bisect_right(arrivals, at)
        pace = looked(pace, allowed, at, arrivals=arrivals[place:seen])
        place = seen
        found.append(at)
    return found


def delay(arrivals: Sequence[float], found: Sequence[float]) -> float:
    """Seconds from an arrival to the next look, in the mean."""
    waits = [found[place] - one for one in arrivals if (place := bisect_right(found, one)) < len(found)]
    return sum(waits) / len(waits)


def gain(arrivals: Sequence[float]) -> float:
    """The mean delay beside that of as many looks at fixed intervals."""
    found = looks(arrivals)
    every = DAYS * DAY / len(found)
    return delay(arrivals, found) / delay(arrivals, [MONDAY + every * (place + 1) for place in range(len(found))]) - 1


@pytest.mark.parametrize(
    ("arrivals", "most"),
    [
        (evenly(20, days=DAYS), 0.05),
        (like_the_sun(20, days=DAYS), -0.08),
        (in_office_hours(20, days=DAYS), -0.30),
        (in_bursts(2, size=20, gap=120, days=DAYS), -0.28),
        (in_bursts(0.5, size=10, gap=1200, days=DAYS), -0.20),
    ],
    ids=["poisson", "sinusoid", "office hours", "bursts", "slow bursts"],
)
@pytest.mark.no_cover
def test_delays_are_shorter_than_with_fixed_intervals_and_as_many_looks(arrivals: list[float], most: float) -> None:
    assert gain(arrivals) <= most


@pytest.mark.parametrize("arrivals", [[], evenly(20), in_office_hours(200)], ids=["none", "some", "many"])
@pytest.mark.parametrize("mean", [600.0, 1800.0, 6 * HOUR])
@pytest.mark.no_cover
def test_as_many_looks_happen_as_are_granted_from_the_first_weeks_on(arrivals: list[float], mean: float) -> None:
    found = looks(arrivals, Allowed(mean=mean, least=60.0, most=4 * mean), days=28)
    assert 0.93 <= len(found) * mean / (28 * DAY) <= 1.03


@pytest.mark.parametrize("factor", [0.25, 4.0])
@pytest.mark.no_cover
def test_a_grant_that_changes_is_kept_from_then_on(factor: float) -> None:
    arrivals, pace, place = evenly(50, days=42), begun(MONDAY), 0
    found = list[float]()
    while pace.looked < MONDAY + 42 * DAY:
        mean = 1800.0 if pace.looked < MONDAY + 28 * DAY else 1800.0 * factor
        allowed = Allowed(mean, 60.0, 4 * mean)
        at = due(pace, allowed, pace.looked).at
        seen = bisect_right(arrivals, at)
        pace = looked(pace, allowed, at, arrivals=arrivals[place:seen])
        place = seen
        found.append(at)
    days = [sum(MONDAY + day * DAY <= one < MONDAY + (day + 1) * DAY for one in found) for day in range(29, 41)]
    assert sum(days) * 1800.0 * factor / (len(days) * DAY) == pytest.approx(1.0, abs=0.1)
    assert max(days) * 1800.0 * factor / DAY < 1.6


stretches = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 50)), min_size=1, max_size=12)
allowances = st.builds(
    lambda mean, least, most, quiet: Allowed(mean, mean * least, mean * most, quiet),
    st.floats(10, WEEK), st.floats(0.001, 1), st.floats(1, 8),
    st.sampled_from([Quiet(), Quiet((QuietHours.parse("22:00-06:00 Europe/Stockholm"),))]),
)  # fmt: skip


@settings(deadline=None, max_examples=size("CDMD_EXAMPLES", short=40, long=1000))  # much time passes in them
@given(allowances, stretches)
def test_a_look_keeps_its_distance_is_never_too_late_and_never_in_quiet_hours(
    allowed: Allowed, stretches: list[tuple[float, int]]
) -> None:
    pace = begun(MONDAY)
    for _, count in stretches:
        planned = due(pace, allowed, pace.looked)
        assert planned.at >= pace.looked + allowed.least
        assert planned.at <= allowed.quiet.until(pace.looked + max(allowed.most, allowed.least)) + 1e-3
        assert allowed.quiet.until(planned.at) == planned.at
        pace = looked(pace, allowed, planned.at, arrivals=count)


@settings(deadline=None)  # much time passes in them
@given(allowances, st.lists(st.floats(0, WEEK), max_size=30), st.floats(-WEEK, WEEK))
def test_a_clock_that_jumps_neither_hurries_nor_stops_anything(allowed: Allowed, arrivals: list[float], jump: float) -> None:
    pace = looked(begun(MONDAY), allowed, MONDAY + WEEK, arrivals=[MONDAY + one for one in sorted(arrivals)])
    now = pace.looked + jump
    planned = due(pace, allowed, now)
    assert now <= planned.at <= max(now, allowed.quiet.until(min(pace.looked, now) + max(allowed.most, allowed.least)) + 1e-3)
    again = looked(pace, allowed, now, arrivals=3)
    assert again.looked == again.rates.at == now


def test_after_quiet_hours_there_is_one_look_at_their_end() -> None:
    night = Quiet((QuietHours.parse("22:00-06:00"),))
    found = looks(evenly(50, days=14), Allowed(900.0, 60.0, 3600.0, night), days=14)
    ends = [MONDAY + day * DAY + 6 * HOUR for day in range(14)]
    assert [sum(end <= one < end + 60 for one in found) for end in ends] == [1] * 14
    assert not any(night.until(one) > one for one in found)
    assert len(found) == pytest.approx(14 * 16 * 4, rel=0.05)


def test_why_a_look_is_due_then_is_said() -> None:
    pace = looked(begun(MONDAY), HALF_HOURLY, MONDAY + 1800, arrivals=0)
    assert "likely" in due(pace, HALF_HOURLY, pace.looked).why
    assert "at the latest" in due(pace, Allowed(1800.0, 60.0, 600.0), pace.looked).why
    assert "not sooner" in due(pace, Allowed(1800.0, 7200.0, 7201.0), pace.looked).why
    assert "fixed intervals" in due(pace, Allowed(1800.0, 1800.0, 1800.0), pace.looked).why
    night = Allowed(1800.0, 60.0, 7200.0, Quiet((QuietHours.parse("00:00-06:00"),)))
    assert due(pace, night, pace.looked) == (MONDAY + 6 * HOUR, "the end of its quiet hours")


def test_pages_are_learned_slowly_and_a_look_takes_at_least_one_request() -> None:
    pace = begun(MONDAY)
    for place in range(60):
        pace = looked(pace, HALF_HOURLY, MONDAY + 1800.0 * (place + 1), arrivals=0, pages=5)
    assert pace.pages == pytest.approx(5, rel=0.01)
    for _ in range(60):
        pace = looked(pace, HALF_HOURLY, pace.looked + 1800.0, arrivals=0, pages=0)
    assert pace.pages == 1.0


def test_a_restart_changes_no_plan() -> None:
    pace = looked(begun(MONDAY), HALF_HOURLY, MONDAY + 1800, arrivals=7, pages=2)
    kept = msgspec.msgpack.decode(msgspec.msgpack.encode(pace), type=Pace)
    assert due(kept, HALF_HOURLY, pace.looked + 5) == due(pace, HALF_HOURLY, pace.looked + 5)


def test_after_a_long_silence_of_the_daemon_nothing_is_made_up_for() -> None:
    pace = begun(MONDAY)
    for place in range(200):
        pace = looked(pace, HALF_HOURLY, MONDAY + 1800.0 * (place + 1), arrivals=0)
    usual = due(pace, HALF_HOURLY, pace.looked).at - pace.looked
    after = looked(pace, HALF_HOURLY, pace.looked + 3 * DAY, arrivals=20)
    assert due(after, HALF_HOURLY, after.looked).at - after.looked >= 0.7 * usual
