from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from cdmd.kit.quiet import Quiet, QuietHours

NIGHT = Quiet((QuietHours.parse("22:00-06:00 Europe/Stockholm"),))
anytime = st.floats(1.6e9, 2.0e9)
minutes = st.integers(0, 1439)
quiets = st.lists(
    st.tuples(minutes, minutes, st.sampled_from(["UTC", "Europe/Stockholm", "America/New_York", "Asia/Kolkata"]))
    .filter(lambda one: one[0] != one[1])
    .map(lambda one: QuietHours(one[0], one[1], ZoneInfo(one[2]))),
    min_size=1,
    max_size=3,
).map(lambda hours: Quiet(tuple(hours)))


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def test_quiet_hours_go_over_midnight_by_the_clocks_there() -> None:
    assert NIGHT.until(at("2026-01-10T20:59:59")) == at("2026-01-10T20:59:59")
    assert NIGHT.until(at("2026-01-10T21:00:00")) == at("2026-01-11T05:00:00")
    assert NIGHT.until(at("2026-01-11T04:59:59")) == at("2026-01-11T05:00:00")
    assert NIGHT.until(at("2026-01-11T05:00:00")) == at("2026-01-11T05:00:00")


@pytest.mark.parametrize(
    ("evening", "morning"),
    [("2026-03-28T21:30:00", "2026-03-29T04:00:00"), ("2026-10-24T21:30:00", "2026-10-25T05:00:00")],
    ids=["a night of seven hours", "a night of nine hours"],
)
def test_clocks_that_change_at_night_change_its_end(evening: str, morning: str) -> None:
    assert NIGHT.until(at(evening)) == at(morning)


def test_hours_that_the_clocks_leave_out_are_an_hour_later() -> None:
    quiet = Quiet((QuietHours.parse("02:10-02:50 Europe/Stockholm"),))
    assert quiet.until(at("2026-03-29T01:20:00")) == at("2026-03-29T01:50:00")
    assert quiet.until(at("2026-03-29T00:20:00")) == at("2026-03-29T00:20:00")


def test_hours_that_follow_each_other_are_one() -> None:
    quiet = Quiet((QuietHours.parse("22:00-02:00"), QuietHours.parse("01:00-06:00")))
    assert quiet.until(at("2026-01-10T23:00:00")) == at("2026-01-11T06:00:00")


@given(quiets, anytime)
def test_the_end_of_quiet_hours_is_not_quiet_or_there_is_none(quiet: Quiet, moment: float) -> None:
    end = quiet.until(moment)
    assert end >= moment
    assert quiet.until(end) == end or end >= moment + 2 * 86_400


@given(quiets, anytime)
def test_until_quiet_hours_begin_it_is_not_quiet(quiet: Quiet, moment: float) -> None:
    assume(quiet.open_share(moment) > 0)
    begin = quiet.begins(quiet.until(moment))
    assert quiet.until(begin) > begin
    assert quiet.until((quiet.until(moment) + begin) / 2) < begin + 1


@given(quiets, anytime)
def test_the_open_part_of_a_day_is_a_share(quiet: Quiet, moment: float) -> None:
    assert 0.0 <= quiet.open_share(moment) < 1.0


def test_without_quiet_hours_all_of_the_day_is_open() -> None:
    assert Quiet().open_share(at("2026-01-10T20:00:00")) == 1.0
    assert NIGHT.open_share(at("2026-01-10T20:00:00")) == pytest.approx(16 / 24)
    whole = Quiet((QuietHours.parse("00:00-12:00"), QuietHours.parse("12:00-00:00")))
    assert whole.open_share(at("2026-01-10T20:00:00")) == 0.0


@pytest.mark.parametrize("text", ["", "22-06", "22:00-24:00", "22:00-06:00 Mars/Base", "22:00-22:00", "22:00-06:00 ../etc"])
def test_what_are_no_quiet_hours_is_refused_in_words(text: str) -> None:
    with pytest.raises(ValueError, match=r"quiet hours|no time to look|not a time zone"):
        QuietHours.parse(text)
