from datetime import UTC, datetime, timedelta

import pytest

from cdmd.kit.daily import At

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


def test_the_last_moment_is_the_one_before_the_next() -> None:
    at = At.parse("02:30 Europe/Stockholm")
    assert at.last(NOW) == datetime(2026, 11, 23, 1, 30, tzinfo=UTC)
    assert at.last(at.last(NOW)) == at.last(NOW)
    assert at.last(at.last(NOW) - timedelta(microseconds=1)) == datetime(2026, 11, 22, 1, 30, tzinfo=UTC)
    assert At.parse("12:00 Pacific/Kiritimati").last(NOW) == datetime(2026, 11, 22, 22, 0, tzinfo=UTC)
