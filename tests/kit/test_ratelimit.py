from hypothesis import given
from hypothesis import strategies as st

from cdmd.kit.quantities import Rate
from cdmd.kit.ratelimit import FULL, Allowance, Granted, Later, retry_after, take

rates = st.builds(Rate, st.integers(1, 50), st.sampled_from([0.5, 1.0, 10.0, 60.0]))
gaps = st.lists(st.floats(0, 5), min_size=1, max_size=150)
SLACK = 1e-6


def drawn(allowance: Allowance, moments: list[float]) -> list[float]:
    """The moments at which a draw was granted."""
    state, granted = FULL, []
    for now in moments:
        verdict = take(allowance, state, now)
        if isinstance(verdict, Granted):
            state = verdict.state
            granted.append(now)
    return granted


def growing(gaps: list[float]) -> list[float]:
    return [1000 + sum(gaps[: place + 1]) for place in range(len(gaps))]


def test_a_quota_is_there_at_once_and_comes_back_over_its_time() -> None:
    quota = Allowance.quota(Rate(3, 6.0))
    assert drawn(quota, [0, 0, 0, 0, 1.9, 2, 2, 3, 4, 60, 60, 60, 60]) == [0, 0, 0, 2, 4, 60, 60, 60]


@given(st.integers(1, 200), st.floats(0, 1e7))
def test_the_whole_quota_is_there_at_once_however_the_clock_stands(count: int, now: float) -> None:
    assert len(drawn(Allowance.quota(Rate(count, 1.0)), [now] * (count + 1))) == count


def test_one_that_must_wait_is_told_how_long_and_costs_nothing() -> None:
    quota = Allowance.quota(Rate(1, 10.0))
    first = take(quota, FULL, 5.0)
    assert first == Granted(15.0)
    assert take(quota, 15.0, 8.0) == Later(7.0)
    assert take(quota, 15.0, 15.0) == Granted(25.0)


@given(rates, gaps)
def test_waiting_as_long_as_was_said_is_enough(rate: Rate, gaps: list[float]) -> None:
    quota, state = Allowance.quota(rate), FULL
    for now in growing(gaps):
        verdict = take(quota, state, now)
        if isinstance(verdict, Later):
            assert verdict.seconds > 0
            verdict = take(quota, state, now + verdict.seconds + SLACK)
        assert isinstance(verdict, Granted)
        state = verdict.state


def test_what_costs_more_than_the_bucket_holds_passes_when_it_is_full_and_is_paid_for() -> None:
    quota = Allowance.quota(Rate(10, 10.0))
    verdict = take(quota, FULL, 100.0, cost=25)
    assert verdict == Granted(125.0)
    assert take(quota, 125.0, 101.0) == Later(15.0)
    assert take(quota, 125.0, 116.0) == Granted(126.0)
    assert take(quota, 126.0, 120.0, cost=25) == Later(6.0)


def test_a_retry_after_is_whole_and_at_least_one() -> None:
    assert [retry_after(seconds) for seconds in (0.0, 0.2, 1.0, 1.01, 59.5)] == [1, 1, 1, 2, 60]
