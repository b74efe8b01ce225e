"""Windows of time."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdmd.kit.quantities import Duration
from cdmd.kit.windows import MOST_STEPS, Rolling, Window, parse_window

DAY = 86_400_000_000
MOMENTS = st.integers(0, 4_000_000_000_000_000)
ZONES = ("UTC", "Europe/Stockholm", "America/Sao_Paulo", "Asia/Kathmandu", "Pacific/Apia", "America/Havana")


def micros(text: str, zone: str = "UTC") -> int:
    moment = datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone))
    return round(moment.astimezone(UTC).timestamp() * 1_000_000)


def window(text: str, step: str | None = None) -> Window:
    return parse_window(text, None if step is None else Duration.parse(step))


@pytest.mark.parametrize(
    ("text", "step", "minutes"),
    [("30d", None, 720), ("1h", None, 1), ("7d", None, 168), ("365d", None, 1440), ("100m", None, 1), ("3650d", "10d", 14400)],
)
def test_a_window_moves_in_sixtieths_of_itself_within_a_minute_and_a_day_unless_told_otherwise(
    text: str, step: str | None, minutes: int
) -> None:
    found = window(text, step)
    assert isinstance(found, Rolling)
    assert found.step == minutes * 60_000_000


@pytest.mark.parametrize(
    ("text", "step", "problem"),
    [
        (
            "3650d",
            None,
            "3650 steps of 1440m (chosen where none is set), and at most 400 are kept: set a step of at least 13140m",
        ),
        ("30d", "1m", "is 43200 steps of 1m, and at most 400 are kept: set a step of at least 108m"),
        ("1d", "7h", "is no whole number of steps of 7h"),
        ("90s", None, "is no whole number of steps of 1m"),
        ("30s", None, "is too short: at least 1m"),
        ("0s", None, "is too short"),
        ("1d", "1s", "a step of 1s is too short: at least 1m"),
        ("1d", "0s", "a step of 0s is too short: at least 1m"),
        ("999999999999999w", None, "is longer than a century"),
        ("month", "1d", "moves with the calendar: it takes no step"),
        ("month Europe/Stockhom", None, "is not a time zone that this machine knows"),
        ("month ../../etc/passwd", None, "is not a time zone that this machine knows"),
        ("fortnight", None, "is not a window: write a duration"),
        ("", None, "is not a window"),
        ("-1d", None, "is not a window"),
    ],
)
def test_a_window_of_absurd_size_is_refused_with_its_arithmetic(text: str, step: str | None, problem: str) -> None:
    with pytest.raises(ValueError, match=r"window|step|zone") as caught:
        window(text, step)
    assert problem in str(caught.value)


def test_a_rolling_window_never_holds_what_is_older_than_it_and_never_lets_go_more_than_a_step_early() -> None:
    found, at = window("30d"), micros("2026-11-23T10:00")
    out = found.expires(found.bucket(at))
    assert at + 30 * DAY - DAY // 2 < out <= at + 30 * DAY
    assert found.oldest(out - 1) <= found.bucket(at) < found.oldest(out)


@pytest.mark.parametrize(
    ("text", "begins", "ends"),
    [
        ("day Europe/Stockholm", "2026-11-25T00:00", "2026-11-26T00:00"),
        ("week Europe/Stockholm", "2026-11-23T00:00", "2026-11-30T00:00"),
        ("month Europe/Stockholm", "2026-11-01T00:00", "2026-12-01T00:00"),
        ("year Europe/Stockholm", "2026-01-01T00:00", "2027-01-01T00:00"),
    ],
)
def test_a_calendar_window_is_the_current_period_as_the_zones_clocks_show_it(text: str, begins: str, ends: str) -> None:
    found, zone = window(text), "Europe/Stockholm"
    now = found.oldest(micros("2026-11-25T10:00", zone))
    assert found.bucket(micros(begins, zone)) == now
    assert found.bucket(micros(begins, zone) - 1) < now
    assert found.expires(now) == micros(ends, zone)
    assert found.oldest(micros(ends, zone) - 1) == now < found.oldest(micros(ends, zone))


def test_days_with_a_change_of_clocks_are_as_long_as_they_are() -> None:
    found = window("day Europe/Stockholm")
    for noon, hours in (("2026-03-29T12:00", 23), ("2026-10-25T12:00", 25)):
        bucket = found.bucket(micros(noon))
        assert found.expires(bucket) - bucket * 1_000_000 == hours * 3_600_000_000


def test_a_midnight_that_comes_twice_and_one_that_is_left_out_begin_a_day_once() -> None:
    havana = window("day America/Havana")
    twice = micros("2026-11-01T05:00")  # 01:00 goes back to 00:00: midnight comes again at 05:00 UTC
    assert havana.bucket(twice) == twice // 1_000_000
    before = havana.bucket(twice - 2 * 3_600_000_000)
    assert [havana.bucket(twice - 1), window("day America/Havana").bucket(twice - 1)] == [before, before], "whatever was asked"
    left_out = window("day America/Sao_Paulo")
    leap = micros("2018-11-04T03:00")  # at midnight the clocks go to 01:00
    assert left_out.bucket(leap) == leap // 1_000_000
    assert left_out.bucket(leap - 1) < leap // 1_000_000


@given(MOMENTS, st.sampled_from(["day", "week", "month", "year"]), st.sampled_from(ZONES))
def test_a_bucket_counts_until_it_expires_and_no_longer(at: int, unit: str, zone: str) -> None:
    found = window(f"{unit} {zone}")
    bucket = found.bucket(at)
    out = found.expires(bucket)
    assert bucket == found.oldest(at)
    assert out > at
    assert found.oldest(out - 1) <= bucket < found.oldest(out)


@given(MOMENTS, st.sampled_from(["1h", "30d", "7d", "100m"]))
def test_a_rolling_bucket_counts_until_it_expires_and_no_longer(at: int, text: str) -> None:
    found = window(text)
    bucket = found.bucket(at)
    out = found.expires(bucket)
    assert out > at
    assert found.oldest(out - 1) <= bucket < found.oldest(out)
    assert bucket - found.oldest(at) < MOST_STEPS


def test_moments_that_no_calendar_reads_are_in_no_current_window() -> None:
    for at in (-(10**18), 0):
        found = window("year Pacific/Apia")
        assert found.bucket(at) < found.oldest(micros("2026-11-25T10:00"))
        assert found.expires(found.bucket(at)) < micros("1973-01-01T00:00")
    assert timedelta(microseconds=window("1h").expires(window("1h").bucket(-(10**15)))) < timedelta(0)
