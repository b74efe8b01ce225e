from datetime import UTC, datetime, timedelta

import pytest

from cdmd.connectors.files.schedule import At, Schedule

NOW = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "next_"),
    [
        ("02:30 Europe/Stockholm", datetime(2026, 11, 24, 1, 30, tzinfo=UTC)),
        ("11:30 Europe/Stockholm", datetime(2026, 11, 23, 10, 30, tzinfo=UTC)),
        ("10:00", datetime(2026, 11, 24, 10, 0, tzinfo=UTC)),
        ("23:59", datetime(2026, 11, 23, 23, 59, tzinfo=UTC)),
    ],
)
def test_a_time_of_day_is_the_next_one_of_its_own_zone(text: str, next_: datetime) -> None:
    assert At.parse(text).next(NOW) == next_


def test_a_day_without_that_time_has_it_an_hour_later_and_a_day_with_two_has_one() -> None:
    at = At.parse("02:30 Europe/Stockholm")
    assert at.next(datetime(2026, 3, 28, 23, 0, tzinfo=UTC)) == datetime(2026, 3, 29, 1, 30, tzinfo=UTC)
    first = at.next(datetime(2026, 10, 24, 23, 0, tzinfo=UTC))
    assert at.next(first) - first > timedelta(hours=23)


@pytest.mark.parametrize("text", ["2:30", "24:00", "02:60", "02:30 Mars/Phobos", "02:30 ../etc", "soon"])
def test_what_is_no_time_of_day_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"02:30|zone"):
        At.parse(text)


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
