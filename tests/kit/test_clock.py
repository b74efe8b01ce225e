from datetime import UTC

from cdmd.kit.clock import SystemClock


def test_the_wall_clock_is_in_utc_and_whole_milliseconds() -> None:
    now = SystemClock().now()
    assert (now.tzinfo, now.microsecond % 1000) == (UTC, 0)
