import time
from datetime import UTC, datetime, timedelta

import pytest

from cdmd.kit.clock import SystemClock


def test_the_wall_clock_is_in_utc_and_whole_milliseconds() -> None:
    clock = SystemClock()
    for _ in range(2):
        before, now = datetime.now(UTC), clock.now()
        assert (now.tzinfo, now.microsecond % 1000) == (UTC, 0)
        assert before - timedelta(milliseconds=1) < now <= datetime.now(UTC)


def test_a_machine_that_sleeps_is_known_to(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, slept = SystemClock(), {time.CLOCK_BOOTTIME: 5_000.0, time.CLOCK_MONOTONIC: 1_000.0}
    assert clock.boottime() >= clock.monotonic() - 0.001
    monkeypatch.setattr("cdmd.kit.clock.time.clock_gettime", slept.__getitem__)
    assert 3_999 < clock.boottime() - clock.monotonic() < 4_001
