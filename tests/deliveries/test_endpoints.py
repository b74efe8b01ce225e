"""How an endpoint is after each attempt, and when a delivery is tried again: pure, over years in no time."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdmd.config.outbound import RETRY
from cdmd.deliveries import endpoints
from cdmd.deliveries.endpoints import judged, probing, wait
from cdmd.deliveries.retrying import due_after, settled
from cdmd.models import Delivered, Delivery, DeliveryVerdict, Gone, Later, Micros, Never, TargetNote, from_micros

SECOND, HOUR, DAY = 1_000_000, 3_600_000_000, 86_400_000_000
NOW = Micros(DAY * 20_000)
FAILED = Later(reason="it answers with status 500")


def after(note: TargetNote, *verdicts: DeliveryVerdict, now: int = NOW, each: int = 0) -> TargetNote:
    for number, verdict in enumerate(verdicts):
        note = judged(note, verdict, Micros(now + number * each), chance=0.5)
    return note


def test_one_failure_changes_nothing_but_is_remembered_until_a_success() -> None:
    note = after(TargetNote(), FAILED)
    assert (note.state, note.failures, note.failing_since, wait(note, NOW)) == ("active", 1, NOW, 0)
    note = after(note, Delivered(200))
    assert (note.failures, note.failing_since, note.last_success, note.reason) == (0, None, NOW, "")


def test_a_refusal_of_one_delivery_is_no_failure_of_the_endpoint() -> None:
    assert after(TargetNote(), *[Never(reason="malformed")] * 9).state == "active"


def test_five_failures_in_a_row_leave_one_to_try_after_a_growing_pause() -> None:
    note = after(TargetNote(), *[FAILED] * 4)
    assert note.state == "active"
    note = after(note, FAILED)
    assert (note.state, probing(note)) == ("failing", True)
    first = wait(note, NOW)
    second = wait(after(note, FAILED), NOW)
    assert first is not None
    assert second is not None
    assert 5 * SECOND <= first <= 10 * SECOND < second
    assert wait(after(note, *[FAILED] * 50), NOW) <= 600 * SECOND  # type: ignore[operator]
    assert after(note, Delivered(200), now=NOW + first).state == "active"


def test_one_that_asks_for_a_pause_gets_it_but_no_longer_than_a_day() -> None:
    def paused(seconds: float) -> TargetNote:
        return after(TargetNote(), Later(reason="x", at=from_micros(NOW) + timedelta(seconds=seconds), holds=True))

    assert (paused(120).state, wait(paused(120), NOW)) == ("paused", 120 * SECOND)
    assert wait(paused(10**7), NOW) == DAY
    assert wait(paused(-5), NOW) == 0
    assert wait(after(TargetNote(), Later(reason="a timeout", holds=True)), NOW) == 60 * SECOND


def test_a_pause_of_one_that_fails_anyway_keeps_it_failing() -> None:
    note = after(TargetNote(), *[FAILED] * 5, Later(reason="x", holds=True))
    assert (note.state, wait(note, NOW)) == ("failing", 60 * SECOND)


def test_five_days_of_failures_only_disable_it() -> None:
    note = after(TargetNote(), *[FAILED] * 240, each=HOUR // 2)
    assert note.state == "failing"
    note = after(note, FAILED, now=NOW + 5 * DAY)
    assert (note.state, note.reason) == ("disabled", "nothing but failures for five days: it answers with status 500")
    assert wait(note, NOW) is None
    assert after(note, Delivered(200)) == note
    assert endpoints.enabled(note, NOW).state == "active"


def test_a_few_failures_far_apart_disable_nobody() -> None:
    note = after(TargetNote(), FAILED, FAILED, now=NOW, each=6 * DAY)
    assert (note.state, note.failing_since) == ("active", NOW + 6 * DAY)
    assert after(TargetNote(), *[FAILED] * 50, each=2 * DAY).state == "failing"
    assert after(TargetNote(), *[FAILED] * 9, each=DAY).state == "failing"
    assert after(TargetNote(), *[FAILED] * 10, each=DAY).state == "disabled"


def test_a_success_among_them_begins_it_anew() -> None:
    note = after(TargetNote(), *[FAILED] * 100, Delivered(200), *[FAILED] * 100, each=HOUR)
    assert note.state == "failing"


def test_one_that_is_gone_is_disabled_at_once() -> None:
    note = after(TargetNote(), Gone(reason="it answers that it is gone"))
    assert (note.state, note.since) == ("disabled", NOW)


def test_what_has_to_survive_is_told_from_what_has_not() -> None:
    one = TargetNote()
    assert not endpoints.remembered(one, after(one, Delivered(200)))
    assert endpoints.remembered(one, after(one, FAILED))
    two = after(one, FAILED)
    assert not endpoints.remembered(two, after(two, FAILED))


@given(chance=st.floats(0, 1, exclude_max=True), failed=st.integers(0, 9))
def test_waits_are_spread_by_a_fifth(chance: float, failed: int) -> None:
    waits = [one.seconds for one in RETRY]
    due = due_after(waits, failed, NOW, chance=chance)
    assert due is not None
    assert 0.8 * waits[failed] - 1e-6 <= (due - NOW) / SECOND <= 1.2 * waits[failed] + 1e-6


def test_ten_attempts_take_three_days_and_then_there_are_no_more() -> None:
    waits = [one.seconds for one in RETRY]
    assert len(waits) == 10
    assert sum(waits) == pytest.approx(75.6 * 3600, rel=0.01)
    assert due_after(waits, 10, NOW, chance=0.5) is None


ONE = Delivery(id="x", target="crm", type="t", at=NOW, body=b"{}", n=1, attempts=2)


def what(verdict: DeliveryVerdict, *, waits: tuple[float, ...] = (0, 0, 0, 100.0), bodies: bool = False) -> object:
    found = settled(ONE, verdict, waits=waits, now=NOW, seconds=0.1, chance=0.5, bodies=bodies)
    left = None if found.due is None else (found.due - NOW) / SECOND
    return left, found.failed, found.attempt.attempt, found.attempt.outcome


def test_what_becomes_of_a_delivery() -> None:
    moment = from_micros(NOW)
    assert what(Delivered(200)) == (None, False, 3, "delivered")
    assert what(Never(reason="x")) == (None, True, 3, "never")
    assert what(Gone(reason="x")) == (0, False, 2, "gone")
    assert what(FAILED) == (100.0, False, 3, "later")
    assert what(FAILED, waits=(0, 0, 0)) == (None, True, 3, "later")
    assert what(Later(reason="x", at=moment + timedelta(seconds=7))) == (7.0, False, 3, "later")
    assert what(Later(reason="x", at=moment + timedelta(days=9))) == (86_400.0, False, 3, "later")
    assert what(Later(reason="x", at=moment - timedelta(days=9))) == (0.0, False, 3, "later")
    assert what(Later(reason="x", counts=False), waits=(0, 0)) == (0.0, False, 2, "later")


def test_content_is_kept_only_where_that_is_asked_for() -> None:
    for bodies, kept in ((False, None), (True, b"{}")):
        found = settled(ONE, Delivered(200, b"y" * 9_999), waits=(0.0,), now=NOW, seconds=0, chance=0, bodies=bodies)
        assert found.attempt.body == kept
        assert found.attempt.answer == (b"y" * 4_096 if bodies else None)
