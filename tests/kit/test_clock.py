from datetime import UTC, datetime, timedelta

from cdmd.kit.clock import SystemClock


def test_the_wall_clock_is_in_utc_and_whole_milliseconds() -> None:
    clock = SystemClock()
    for _ in range(2):
        before, now = datetime.now(UTC), clock.now()
        assert (now.tzinfo, now.microsecond % 1000) == (UTC, 0)
        assert before - timedelta(milliseconds=1) < now <= datetime.now(UTC)
