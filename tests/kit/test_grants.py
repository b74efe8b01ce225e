import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdmd.kit.grants import Claim, Shares, impossible, level
from cdmd.kit.quantities import Rate

DAY = 86_400.0
claims = st.lists(
    st.builds(
        lambda arrivals, cost, least, more: Claim(arrivals, cost, least, least + more),
        st.floats(1e-7, 10), st.floats(1, 50), st.floats(1e-6, 0.1), st.floats(1e-6, 1),
    ),
    min_size=1,
    max_size=20,
)  # fmt: skip


def taken(wanted: list[Claim], requests: float) -> list[float]:
    at = level(wanted, requests)
    return [at.looks(one) for one in wanted]


@given(claims, st.floats(1e-5, 100))
def test_all_that_is_allowed_is_given_out_and_no_more(wanted: list[Claim], requests: float) -> None:
    looks = taken(wanted, requests)
    usable = sum(one.cost * one.most for one in wanted)
    used = sum(one.cost * got for one, got in zip(wanted, looks, strict=True))
    assert used == pytest.approx(min(requests, usable), rel=1e-6)


@given(claims, st.floats(1e-5, 100))
def test_everybody_gets_what_it_needs_before_anybody_gets_more(wanted: list[Claim], requests: float) -> None:
    looks, needed = taken(wanted, requests), sum(one.cost * one.least for one in wanted)
    part = min(1.0, requests / needed)
    for one, got in zip(wanted, looks, strict=True):
        assert got >= one.least * part * (1 - 1e-9)
        assert got <= one.most * (1 + 1e-9)


@given(claims, st.floats(1e-4, 10), st.floats(1.01, 10))
def test_more_to_give_is_less_for_nobody(wanted: list[Claim], requests: float, factor: float) -> None:
    for before, after in zip(taken(wanted, requests), taken(wanted, requests * factor), strict=True):
        assert after >= before * (1 - 1e-6)


def test_looks_are_in_proportion_to_the_root_of_the_rate_but_for_a_part() -> None:
    few, many = taken([Claim(1 / DAY, 1, 1e-6, 1), Claim(100 / DAY, 1, 1e-6, 1)], 0.01)
    assert few == pytest.approx(0.01 * (0.85 * 1 / 11 + 0.075))
    assert many == pytest.approx(0.01 * (0.85 * 10 / 11 + 0.075))


def test_a_look_that_takes_many_requests_happens_less_often() -> None:
    cheap, dear = taken([Claim(1, 1, 1e-6, 1), Claim(1, 16, 1e-6, 1)], 0.01)
    assert cheap > 3 * dear


def test_a_shared_budget_is_used_better_than_if_it_were_split_evenly() -> None:
    """Fifty streams whose rates fall like 1/n: the mean delay of what arrives, beside that of an even split."""
    rates = [1 / (1 + place) / 60 for place in range(50)]
    looks = taken([Claim(rate, 1, 1e-6, 1) for rate in rates], 60 / 3600)
    delay = sum(rate / (2 * got) for rate, got in zip(rates, looks, strict=True))
    even = sum(rate / (2 * 60 / 3600 / 50) for rate in rates)
    assert delay / even - 1 <= -0.25


def test_without_limits_everybody_gets_what_it_wants() -> None:
    assert Shares().ask("a", Claim(1, 1, 0.001, 0.5), allowed=math.inf, now=0.0) == 0.5


def test_a_fifth_is_kept_back_and_more_where_notifications_take_more() -> None:
    shares, claim = Shares(), Claim(1, 1, 1e-6, 10)
    assert shares.ask("a", claim, allowed=1.0, now=0.0) == pytest.approx(0.8, rel=1e-6)
    for second in range(2 * 3600):
        if second % 2:
            shares.made("told", float(second))
    assert shares.ask("a", claim, allowed=1.0, now=7200.0) == pytest.approx(1 - 0.5 * (1 - math.exp(-2)), rel=0.01)
    for second in range(7200, 8 * 7200):
        shares.made("told", float(second))
    assert shares.ask("a", claim, allowed=1.0, now=8.0 * 7200) == pytest.approx(0.1, rel=0.01)
    assert shares.ask("a", claim, allowed=1.0, now=20.0 * 7200) == pytest.approx(0.8, rel=1e-3)


def test_what_is_kept_back_is_there_for_what_is_needed_at_the_least() -> None:
    assert Shares().ask("a", Claim(1, 1, 0.9, 10), allowed=1.0, now=0.0) == pytest.approx(0.9)
    assert Shares().ask("a", Claim(1, 1, 1.5, 10), allowed=1.0, now=0.0) == pytest.approx(1.0)


def test_who_comes_takes_a_part_and_who_is_gone_leaves_it() -> None:
    shares, claim = Shares(), Claim(1, 1, 1e-6, 10)
    alone = shares.ask("a", claim, allowed=1.0, now=0.0)
    assert shares.ask("b", claim, allowed=1.0, now=1.0) == pytest.approx(alone / 2, rel=1e-6)
    assert shares.ask("a", claim, allowed=1.0, now=2.0) == pytest.approx(alone / 2, rel=1e-6)
    assert shares.ask("a", claim, allowed=1.0, now=10_000.0) == pytest.approx(alone, rel=1e-6)


@pytest.mark.no_cover
def test_a_thousand_that_share_a_budget_never_plan_with_more_than_there_is() -> None:
    shares, claims = Shares(), [Claim((1 + place) / DAY, 1, 1e-6, 1) for place in range(1000)]
    for now in (0.0, 100.0):
        granted = [shares.ask(str(place), one, allowed=1.0, now=now) for place, one in enumerate(claims)]
    assert sum(granted) == pytest.approx(0.8, rel=0.01)


def test_where_nothing_may_be_asked_for_now_next_to_nothing_is_planned() -> None:
    assert 0 < Shares().ask("a", Claim(1, 1, 0.1, 1), allowed=0.0, now=0.0) < 1e-5


def test_what_is_wanted_beyond_the_limits_is_found_with_the_arithmetic() -> None:
    wanted = {"contacts": 300.0, "orders": 60.0}
    assert impossible(wanted, [Rate.parse("100/1s"), Rate.parse("10/1h")]) == (
        "contacts once in 5m + orders once in 60s = 72 requests an hour at the least, the limit of 10/1h allows 10: "
        "allow more, or want everything 7.2 times less often"
    )


def test_what_is_wanted_within_the_limits_is_not_found_fault_with() -> None:
    assert impossible({"contacts": 300.0, "orders": 300.0}, [Rate.parse("24/1h")]) is None
    assert impossible({"contacts": 1.0}, []) is None
    assert impossible({}, [Rate.parse("1/1w")]) is None
