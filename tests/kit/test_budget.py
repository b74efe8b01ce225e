import random
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdmd.kit.backoff import Backoff
from cdmd.kit.budget import Budget, Window
from cdmd.kit.quantities import Rate

TEN = Rate.parse("10/1s")


def spend(budget: Budget, now: float, status: int | None = 200, *, chance: float = 0.0, **headers: str) -> bool:
    assert budget.next_at(now) == now
    budget.begin(now)
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return budget.answered(now, status, named, wall=1_800_000_000 + now, chance=chance)


def most_in_a_window(arrivals: Sequence[float], per: float) -> int:
    """The most arrivals that any half-open stretch of ``per`` seconds holds: each one may be where it begins."""
    arrivals = sorted(arrivals)
    return max((sum(begin <= one < begin + per for one in arrivals) for begin in arrivals), default=0)


@given(
    limits=st.lists(st.builds(Rate, st.integers(1, 12), st.sampled_from([1.0, 3.0, 10.0])), min_size=1, max_size=3),
    asks=st.lists(st.tuples(st.floats(0, 2), st.floats(0, 4), st.floats(0, 1)), min_size=1, max_size=60),
    flying=st.integers(1, 6),
)
@settings(deadline=None)
def test_no_window_of_a_limit_ever_holds_more_wherever_between_sending_and_answer_a_request_arrives(
    limits: list[Rate], asks: list[tuple[float, float, float]], flying: int
) -> None:
    """``asks``: pause before, how long the answer takes, and where in between the other side counts the request."""
    budget = Budget(limits, most_flying=flying)
    now, under_way, arrivals = 0.0, [], []

    def finish(until: float) -> None:
        for end in sorted(end for end in under_way if end <= until):
            under_way.remove(end)
            budget.answered(end, 200, {}, wall=end, chance=0.5)

    for pause, takes, place in asks:
        now += pause
        finish(now)
        while (at := budget.next_at(now)) is None or at > now:
            now = min([*under_way, *([at] if at is not None else [])])
            finish(now)
        budget.begin(now)
        under_way.append(now + takes)
        arrivals.append(now + takes * place)
    for limit in limits:
        assert most_in_a_window(arrivals, limit.per) <= limit.count


@pytest.mark.parametrize("longest_gap", [0.0001, 0.003, 0.01])
def test_a_large_limit_is_kept_in_bounded_memory_and_never_exceeded(longest_gap: float) -> None:
    limit, now, sent, chance = Rate(600, 2.0), 0.0, [], random.Random(3)
    window = Window(limit)
    for _ in range(1500):
        now += chance.uniform(0, longest_gap)
        at = window.free_at(now, flying=0, share=1.0)
        assert at is not None
        now = max(now, at)
        window.stamp(now)
        sent.append(now)
    assert most_in_a_window(sent, limit.per) <= limit.count
    assert len(window._stamps) <= 514


def test_a_whole_limit_may_go_at_once_and_the_next_one_goes_when_the_first_has_left_the_window() -> None:
    budget = Budget([TEN])
    for _ in range(10):
        spend(budget, 5.0)
    assert budget.next_at(5.0) == pytest.approx(6.001)
    assert budget.why(5.0) == "its limit of 10/1s is used up"
    assert budget.next_at(6.01) == 6.01


def test_several_limits_hold_together() -> None:
    budget = Budget([Rate(2, 1.0), Rate(3, 60.0)])
    for at in (0.0, 0.1, 2.0):
        spend(budget, at)
    assert budget.next_at(2.5) == pytest.approx(60.001)


def test_only_an_answer_can_tell_when_as_many_are_under_way_as_may_be() -> None:
    budget = Budget([Rate(1, 1.0)], most_flying=4)
    budget.begin(0.0)
    assert budget.next_at(100.0) is None
    assert budget.why(100.0) == "its limit of 1/1s is used up"
    budget.answered(100.0, 200, {}, wall=0, chance=0)
    assert budget.next_at(100.5) == pytest.approx(101.001)


def test_a_turn_that_sent_nothing_costs_nothing() -> None:
    budget = Budget([Rate(1, 60.0)])
    budget.begin(0.0)
    budget.withdraw()
    assert budget.next_at(0.0) == 0.0


def test_a_request_whose_asker_went_away_still_counts() -> None:
    budget = Budget([Rate(1, 60.0)])
    budget.begin(0.0)
    budget.abandoned(1.0)
    assert budget.next_at(2.0) == pytest.approx(61.001)


@given(seconds=st.integers(1, 3600), chance=st.floats(0, 0.999))
def test_nothing_goes_before_retry_after_is_over(seconds: int, chance: float) -> None:
    budget = Budget([TEN])
    assert spend(budget, 50.0, 429, chance=chance, retry_after=str(seconds))
    at = budget.next_at(50.0)
    assert at is not None
    assert 50.0 + seconds <= at <= 50.0 + seconds * 1.1 + 0.01
    assert "Retry-After" in budget.why(50.0)


def test_a_shorter_pause_never_shortens_a_longer_one() -> None:
    budget = Budget()
    budget.begin(0.0)
    spend(budget, 0.0, 503, retry_after="600")
    budget.answered(1.0, 429, {"retry-after": "5"}, wall=0, chance=0)
    assert budget.next_at(10.0) == 600.0


def test_a_429_that_says_nothing_halves_the_rate_and_it_grows_again_by_5_percent_a_minute() -> None:
    budget = Budget([Rate(100, 1.0)], rest=Backoff(first=2.0))
    spend(budget, 0.0, 429, chance=0.5)
    assert budget.next_at(0.0) == pytest.approx(1.5), "the back-off's delay with jitter"
    assert budget.share(0.0) == 0.5
    assert budget.share(120.0) == pytest.approx(0.6)
    for _ in range(60):
        spend(budget, 120.0)
    assert budget.next_at(120.0) == pytest.approx(121.001)
    assert budget.share(3600.0) == 1.0


def test_answers_of_one_burst_halve_the_rate_once() -> None:
    budget = Budget()
    for _ in range(3):
        budget.begin(0.0)
    for _ in range(3):
        budget.answered(1.0, 429, {}, wall=0, chance=0.0)
    assert budget.share(1.0) == 0.5


def test_a_host_that_keeps_refusing_is_asked_less_and_less() -> None:
    budget, now, waits = Budget([TEN]), 0.0, []
    for _ in range(4):
        spend(budget, now, 429, chance=0.0)
        at = budget.next_at(now)
        assert at is not None
        waits.append(at - now)
        now = at
    assert waits == pytest.approx([0.5, 1.0, 2.0, 4.0])


def test_a_host_that_fails_again_and_again_is_let_alone_and_one_answer_makes_it_well() -> None:
    budget = Budget()
    assert not spend(budget, 0.0, None)
    assert not spend(budget, 0.0, 500)
    assert spend(budget, 0.0, 502, chance=0.0)
    assert budget.next_at(0.0) == pytest.approx(0.5)
    assert budget.why(0.1) == "the source fails again and again"
    spend(budget, 1.0, 200)
    assert not spend(budget, 1.0, 500)
    assert budget.next_at(1.0) == 1.0


def test_what_the_source_says_is_left_holds_until_its_reset() -> None:
    budget = Budget([Rate(1000, 1.0)])
    spend(budget, 0.0, ratelimit="r=0;t=30".replace("r=", '"default";r='))
    assert budget.next_at(0.0) == 30.0
    assert budget.why(0.0) == "the source says that little of its quota is left"
    assert budget.next_at(31.0) == 31.0


def test_a_quota_of_which_half_is_left_is_not_spread() -> None:
    budget = Budget()
    spend(budget, 0.0, x_ratelimit_limit="100", x_ratelimit_remaining="60", x_ratelimit_reset="60")
    assert budget.next_at(0.0) == 0.0


@given(remaining=st.integers(0, 40), reset=st.integers(1, 100))
def test_a_small_rest_of_a_quota_is_spread_and_never_exceeded(remaining: int, reset: int) -> None:
    budget, now, sent = Budget(), 0.0, []
    spend(budget, now, ratelimit_limit="100", ratelimit_remaining=str(remaining), ratelimit_reset=str(reset))
    while True:
        at = budget.next_at(now)
        assert at is not None
        now = at
        if now >= reset:
            break
        spend(budget, now)
        sent.append(now)
    assert len(sent) <= remaining
    if remaining > 5:
        assert max(later - one for one, later in pairwise([0.0, *sent])) <= 2 * reset / remaining


def test_answers_that_come_in_another_order_do_not_give_back_what_is_used() -> None:
    budget = Budget()
    budget.begin(0.0)
    budget.begin(0.0)
    budget.answered(1.0, 200, {"ratelimit": '"x";r=3;t=60'}, wall=0, chance=0)
    assert budget._left == 2, "one is under way and may not be counted there"
    budget.answered(1.1, 200, {"ratelimit": '"x";r=4;t=60'}, wall=0, chance=0)
    assert budget._left == 2


def test_a_new_limit_knows_what_was_sent_before_and_a_kept_one_goes_on() -> None:
    budget = Budget([TEN])
    for _ in range(10):
        spend(budget, 0.0)
    budget.configure([TEN, Rate(5, 60.0)], history=[(0.0, 5)])
    assert budget.limits == (TEN, Rate(5, 60.0))
    assert budget.next_at(0.0) == pytest.approx(60.001)
    budget.configure([TEN])
    assert budget.next_at(0.0) == pytest.approx(1.001)


def test_random_answers_never_break_it() -> None:
    budget, chance = Budget([TEN]), random.Random(7)
    now = 0.0
    for _ in range(2000):
        at = budget.next_at(now)
        assert at is not None
        now = at
        status = chance.choice([200, 200, 404, 429, 500, 503, None])
        headers = chance.choice([{}, {"retry-after": "1"}, {"ratelimit-remaining": "1", "ratelimit-reset": "2"}])
        budget.begin(now)
        budget.answered(now, status, headers, wall=now, chance=chance.random())
    assert budget.flying == 0


def test_what_can_go_on_is_the_strictest_limit_times_the_share_in_use() -> None:
    budget = Budget([TEN, Rate.parse("60/1m")])
    assert budget.sustained(0.0) == 1.0
    budget.slow_down(0.0, 0.5)
    assert budget.sustained(0.0) == 0.5
    assert budget.sustained(3600.0) == 1.0
    assert Budget().sustained(0.0) == float("inf")


def test_what_the_source_says_is_left_limits_what_can_go_on_until_it_resets() -> None:
    budget = Budget([TEN])
    spend(budget, 0.0, x_ratelimit_limit="36000", x_ratelimit_remaining="720", x_ratelimit_reset="7200")
    assert budget.sustained(0.0) == pytest.approx(0.9 * 720 / 7200)
    assert budget.sustained(7201.0) == pytest.approx(0.9 * 36000 / 7200), "then it has a whole quota again"


def test_a_quota_that_is_nearly_over_and_nearly_new_is_reckoned_by_the_next_hour() -> None:
    budget = Budget([TEN])
    spend(budget, 0.0, x_ratelimit_limit="60", x_ratelimit_remaining="60", x_ratelimit_reset="3600")
    for second in (1800.0, 3540.0):
        budget.begin(second)
        headers = {"x-ratelimit-limit": "60", "x-ratelimit-remaining": "0", "x-ratelimit-reset": str(int(3600 - second))}
        budget.answered(second, 200, headers, wall=second, chance=0.0)
    assert budget.sustained(3540.0) == pytest.approx(0.9 * 60 / 3600 * (1 - 60 / 3600))
