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
    assert Schedule(every=300).next(NOW, idle=5, settling=None) == NOW + timedelta(seconds=300)
    at = Schedule(at=[At.parse("12:00"), At.parse("11:00")])
    assert at.next(NOW, idle=0, settling=None) == NOW + timedelta(hours=1)


def test_a_file_that_settles_is_looked_at_when_it_may_be_whole() -> None:
    assert Schedule(every=3600).next(NOW, idle=0, settling=30) == NOW + timedelta(seconds=30)
    assert Schedule(every=10).next(NOW, idle=0, settling=30) == NOW + timedelta(seconds=10)


def test_where_only_a_freshness_is_wanted_quiet_places_are_asked_less_often_and_never_too_late() -> None:
    schedule = Schedule(freshness=300)
    waits = [(schedule.next(NOW, idle=idle, settling=None) - NOW).total_seconds() for idle in range(20)]
    assert waits == sorted(waits)
    assert waits[0] < 20
    assert waits[-1] == 150
    assert Schedule().next(NOW, idle=99, settling=None) == NOW + timedelta(seconds=60)
