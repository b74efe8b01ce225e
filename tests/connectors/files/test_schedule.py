from datetime import UTC, datetime, timedelta

import pytest

from cdmd.connectors.files.schedule import Schedule
from cdmd.kit.daily import At

NOW = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)


def test_fixed_intervals_and_times_are_kept() -> None:
    assert Schedule("sup", every=300).next(NOW, arrived=5, settling=None) == NOW + timedelta(seconds=300)
    at = Schedule("sup", at=[At.parse("12:00"), At.parse("11:00")])
    assert at.next(NOW, arrived=0, settling=None) == NOW + timedelta(hours=1)
    at.begin({}, NOW)
    assert (at.keys, at.state(1)) == ((), {})


def test_a_file_that_settles_is_looked_at_when_it_may_be_whole() -> None:
    assert Schedule("sup", every=3600).next(NOW, arrived=1, settling=30) == NOW + timedelta(seconds=30)
    assert Schedule("sup", every=10).next(NOW, arrived=1, settling=30) == NOW + timedelta(seconds=10)
    assert Schedule("sup", every=10).next(NOW, arrived=1, settling=0) == NOW + timedelta(seconds=1)


@pytest.mark.parametrize(
    ("freshness", "settles", "most"), [(300, 0, 300), (300, 30, 270), (300, 290, 150), (None, 30, 90), (1, 0, 2)]
)
def test_where_only_a_freshness_is_wanted_a_file_is_found_and_settled_within_it(
    freshness: float | None, settles: float, most: float
) -> None:
    schedule, now, waits = Schedule("sup", freshness=freshness, settles=settles), NOW, []
    for _ in range(500):
        then = schedule.next(now, arrived=0, settling=None)
        waits.append((then - now).total_seconds())
        now = then
    assert 1 <= min(waits) <= max(waits) <= most
    assert most / 4 <= sum(waits) / len(waits) <= most / 2 + 1


def busy(schedule: Schedule, *, weeks: int) -> dict[int, int]:
    """Files come at 02:00 each night; how many looks there are in each hour of the last week."""
    now, looks = NOW, dict.fromkeys(range(24), 0)
    arrives = NOW.replace(hour=2) + timedelta(days=1)
    while now < NOW + timedelta(weeks=weeks):
        arrived = int(now >= arrives)
        arrives += timedelta(days=arrived)
        now = schedule.next(now, arrived=arrived, settling=None)
        if now > NOW + timedelta(weeks=weeks - 1):
            looks[now.hour] += 1
    return looks


def test_it_is_looked_most_often_when_files_come_and_that_outlives_the_process() -> None:
    schedule = Schedule("sup", freshness=3600)
    looks = busy(schedule, weeks=4)
    assert looks[2] == max(looks.values()) > sum(looks.values()) / 24
    state = schedule.state(1)
    assert set(state) == set(schedule.keys)
    assert schedule.state(0) == {}
    again, later = Schedule("sup", freshness=3600), NOW + timedelta(weeks=4)
    again.begin(state, later)
    goes_on = schedule.next(later, arrived=0, settling=None)
    assert abs(again.next(later, arrived=0, settling=None) - goes_on) < timedelta(minutes=2)
    assert again.next(later, arrived=0, settling=None) != Schedule("sup", freshness=3600).next(later, arrived=0, settling=None)


def test_looks_at_a_file_that_settles_do_not_count_as_the_plans() -> None:
    schedule = Schedule("sup", freshness=600)
    first = schedule.next(NOW, arrived=1, settling=30)
    assert first == NOW + timedelta(seconds=30)
    planned = schedule.next(first, arrived=0, settling=None)
    assert planned == schedule.next(first + timedelta(seconds=30), arrived=0, settling=None)
