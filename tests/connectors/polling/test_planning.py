import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdmd.connectors.polling.planning import LEAST, USUAL, Planner, Wants
from cdmd.connectors.polling.rates import DAY, HOUR
from cdmd.kit.grants import Claim, Shares
from cdmd.kit.quiet import Quiet, QuietHours
from tests.connectors.polling.arrivals import MONDAY

NIGHT = Quiet((QuietHours.parse("22:00-06:00"),))
wants = st.builds(
    Wants,
    freshness=st.none() | st.floats(1, 30 * DAY),
    every=st.none() | st.floats(1, DAY),
    quiet=st.sampled_from([Quiet(), NIGHT]),
)


class Granting:
    """A budget that grants so many looks per second."""

    def __init__(self, looks: float) -> None:
        self.looks, self.claims = looks, list[Claim]()

    def plan(self, asker: str, claim: Claim) -> float:
        self.claims.append(claim)
        return self.looks


@given(wants, st.floats(1e-6, 100), st.floats(0, DAY))
def test_what_is_allowed_makes_sense_and_exceeds_no_grant(one: Wants, granted: float, asked: float) -> None:
    allowed = one.allowed(granted, asked)
    assert asked <= allowed.least <= allowed.mean <= allowed.most < math.inf
    assert allowed.mean >= 1 / granted
    assert allowed.least >= 1.0


def test_looks_happen_twice_in_what_is_wanted_and_once_at_the_least() -> None:
    allowed = Wants(freshness=600.0).allowed()
    assert (allowed.mean, allowed.least, allowed.most) == (300.0, 60.0, 600.0)
    assert Wants(freshness=600.0).allowed(granted=1 / 500).most == 600.0


def test_where_nobody_says_how_fresh_it_has_to_be_it_is_looked_at_every_five_minutes() -> None:
    allowed = Wants().allowed()
    assert (allowed.mean, allowed.least, allowed.most) == (USUAL, LEAST, 4 * USUAL)


def test_what_the_source_wants_between_two_looks_counts_more_than_freshness() -> None:
    allowed = Wants(freshness=30.0).allowed(asked=60.0)
    assert (allowed.mean, allowed.least, allowed.most) == (60.0, 60.0, 240.0)


def test_a_fixed_interval_is_kept_whatever_arrives() -> None:
    planner = Planner("crm.contacts", Wants(every=900.0))
    planner.begin({}, MONDAY)
    for place in range(5):
        assert planner.looked(MONDAY + place * 900.0, arrivals=100 * place).at == pytest.approx(MONDAY + (place + 1) * 900.0)


def test_many_that_began_together_do_not_go_on_together() -> None:
    second = sorted(
        Planner(f"crm_{place}.contacts", Wants(freshness=1200.0)).looked(MONDAY, arrivals=0).at for place in range(300)
    )
    assert MONDAY + 300 <= second[0] < MONDAY + 310
    assert MONDAY + 590 < second[-1] <= MONDAY + 600
    assert all(second[place + 30] - second[place] < 60 for place in range(270))


def test_a_stream_is_looked_at_at_once_unless_it_is_quiet() -> None:
    assert Planner("a", Wants()).begin({}, MONDAY + 8 * HOUR).at == MONDAY + 8 * HOUR
    assert Planner("a", Wants(quiet=NIGHT)).begin({}, MONDAY).at == MONDAY + 6 * HOUR


def test_what_lay_there_before_the_first_look_teaches_nothing() -> None:
    planner = Planner("a", Wants(), budget=(budget := Granting(1.0)))
    planner.looked(MONDAY, arrivals=100_000)
    planner.looked(MONDAY + 300, arrivals=[], requests=7)
    assert budget.claims[-1].arrivals * DAY <= 1.0
    assert budget.claims[-1].cost == pytest.approx(1.6)


def run(planner: Planner, *, looks: int, now: float = MONDAY) -> float:
    for place in range(looks):
        now = planner.looked(now, arrivals=[now - 1.0] * (place % 3)).at
    return now


def test_a_restart_neither_skips_nor_hastens_and_forgets_nothing() -> None:
    kept: dict[bytes, bytes] = {}
    one, now = Planner("a", Wants(freshness=600.0), budget=Granting(1 / 400)), MONDAY
    for place in range(50):
        planned = one.looked(now, arrivals=[now - 1.0] * (place % 3 == 0))
        kept |= one.state()
        now = planned.at
        if place % 10 == 9:
            again = Planner("a", Wants(freshness=600.0), budget=Granting(1 / 300))
            assert again.begin(kept, planned.at - 100) == planned
            again = Planner("a", Wants(freshness=600.0), budget=Granting(1 / 400))
            again.begin(kept, planned.at)
            twin, now = again.looked(now, arrivals=2), one.looked(now, arrivals=2).at
            assert twin.at == pytest.approx(now, abs=1e-3)
            kept |= again.state()
            one = again


def test_rates_are_written_only_when_something_arrived() -> None:
    planner = Planner("a", Wants(), key=b"rest/contacts/")
    assert planner.state() == {}
    planner.looked(MONDAY, arrivals=3)
    assert set(planner.state()) == set(planner.keys) == {b"rest/contacts/plan", b"rest/contacts/rates"}
    planner.looked(MONDAY + 300, arrivals=0)
    assert set(planner.state()) == {b"rest/contacts/plan"}
    planner.looked(MONDAY + 600, arrivals=[MONDAY + 400])
    assert set(planner.state()) == set(planner.keys)


@given(st.floats(-30 * DAY, 30 * DAY), st.floats(10, DAY))
def test_after_a_restart_nobody_waits_longer_than_freshness_allows_whatever_the_clock_did(
    jump: float, freshness: float
) -> None:
    before = Planner("a", Wants(freshness=DAY))
    run(before, looks=3)
    now = MONDAY + jump
    assert now <= Planner("a", Wants(freshness=freshness)).begin(before.state(), now).at <= now + freshness + 1e-3


def test_a_clock_that_jumps_between_looks_neither_hurries_nor_stops_anything() -> None:
    planner = Planner("a", Wants(freshness=600.0))
    now = run(planner, looks=20)
    for jump in (-30 * DAY, 60 * DAY, -60 * DAY, 3650 * DAY):
        now += jump
        assert now + 60 <= planner.looked(now, arrivals=1).at <= now + 600


def test_a_shortfall_is_said_with_what_will_be_reached() -> None:
    planner = Planner("a", Wants(freshness=300.0), budget=Granting(1 / 900))
    assert planner.shortfall is None
    planner.looked(MONDAY, arrivals=0)
    assert planner.shortfall == "it is looked at every 15m on the whole, 5m is wanted: that is what its limits allow"
    planner = Planner("a", Wants(freshness=300.0))
    planner.looked(MONDAY, arrivals=0, asked=1800.0)
    assert "its source wants so much time between two" in str(planner.shortfall)
    planner.looked(MONDAY + 1800, arrivals=0)
    assert planner.shortfall is not None, "an answer that names no interval takes none back"
    planner.looked(MONDAY + 3600, arrivals=0, asked=60.0)
    assert planner.shortfall is None


def test_two_streams_of_one_host_share_what_it_allows() -> None:
    class Budget:
        shares, now = Shares(), MONDAY

        def plan(self, asker: str, claim: Claim) -> float:
            return self.shares.ask(asker, claim, allowed=1 / 1800, now=self.now)

    budget = Budget()
    busy, calm = (Planner(name, Wants(), budget=budget) for name in ("busy", "calm"))
    times = {busy: MONDAY, calm: MONDAY}
    looks = {busy: 0, calm: 0}
    while min(times.values()) < MONDAY + 14 * DAY:
        one = min(times, key=lambda each: times[each])
        now = budget.now = times[one]
        times[one] = one.looked(now, arrivals=[now - 10.0] * (20 if one is busy else 0)).at
        looks[one] += 1
    assert looks[busy] > 3 * looks[calm] > 0
    assert sum(looks.values()) <= 14 * DAY / 1800
