import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdmd.kit.backoff import Backoff, Budget

backoffs = st.builds(
    lambda first, more, factor: Backoff(first=first, cap=first + more, factor=factor),
    st.floats(0.001, 100), st.floats(0, 1000), st.floats(1, 10),
)  # fmt: skip


@given(backoffs, st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_a_delay_is_between_half_its_ceiling_and_the_cap(backoff: Backoff, attempt: int, chance: float) -> None:
    assert backoff.ceiling(attempt) / 2 <= backoff.delay(attempt, chance) <= backoff.ceiling(attempt) <= backoff.cap


@given(backoffs, st.integers(1, 200))
def test_ceilings_never_shrink_and_begin_with_the_first(backoff: Backoff, attempt: int) -> None:
    assert backoff.ceiling(1) == backoff.first
    assert backoff.ceiling(attempt) <= backoff.ceiling(attempt + 1)


def test_delays_double_up_to_the_cap() -> None:
    assert [Backoff(first=1, cap=8).ceiling(n) for n in range(1, 6)] == [1, 2, 4, 8, 8]


@pytest.mark.parametrize(("first", "cap", "factor"), [(0, 1, 2), (2, 1, 2), (1, 2, 0.5)])
def test_a_back_off_that_cannot_grow_is_refused(first: float, cap: float, factor: float) -> None:
    with pytest.raises(ValueError, match="back-off"):
        Backoff(first=first, cap=cap, factor=factor)


@given(st.lists(st.floats(0, 1000)).map(sorted), st.integers(1, 10), st.floats(1, 500))
def test_a_budget_is_spent_exactly_when_its_number_of_failures_lies_in_its_window(
    moments: list[float], failures: int, seconds: float
) -> None:
    now = 1000.0
    inside = [m for m in moments if now - m < seconds]
    budget = Budget(failures=failures, seconds=seconds)
    assert budget.spent(moments, now) == (len(inside) >= failures)
    assert len(budget.recent(moments, now)) <= failures
