"""Who enters and leaves audiences, when and why."""

from hashlib import sha256
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from cdmd.batches.judging import COMPUTED, MERGED, NOT_CONFIGURED, TIME_PASSED
from cdmd.batches.sweeping import Computing, Past
from cdmd.config.schema import AudienceSettings, IdentifierSettings, IdentitySettings, IndicatorSettings
from cdmd.identity.identifiers import Kinds
from cdmd.models import Seq
from cdmd.profiles.audiences import Audiences
from cdmd.profiles.projection import Projection
from tests.batches.world import AUDIENCES, START, World, micros, order, rules

MAIL = {"email": "a@example.com"}
PHONE = {"phone": "+46701234567"}


def test_an_event_lets_its_customer_in_and_says_why() -> None:
    world = World(rules())
    world.take(order(1, hours=0), order(2, hours=0.5))
    assert world.told() == [("busy", True, 0.5, "event order.paid")]
    assert world.joe().audiences == {"busy": micros(0.5)}


def test_what_falls_out_of_a_window_lets_its_customer_go_as_of_that_step_without_an_event() -> None:
    world = World(rules())
    world.take(order(1, hours=0), order(2, hours=1.5))
    assert world.joe().due == micros(4)
    world.sweep(9)
    assert world.told()[1:] == [("busy", False, 4.0, TIME_PASSED), ("lapsed", True, 5.0, TIME_PASSED)]
    assert (world.joe().due, world.joe().audiences) == (None, {"lapsed": micros(5)})


def test_a_sweep_before_the_step_changes_nothing() -> None:
    world = World(rules())
    world.take(order(1, hours=0), order(2, hours=0.5))
    assert world.sweep(3.9).profiles == {}


def test_an_event_after_the_step_says_the_same_as_the_sweep_would_have() -> None:
    swept, late = World(rules()), World(rules())
    for world in (swept, late):
        world.take(order(1, hours=0), order(2, hours=0.5))
    swept.sweep(7)
    for world in (swept, late):
        world.take(order(3, hours=8), first=3)
    assert swept.notices == late.notices
    assert len({one.id for one in swept.notices}) == len(swept.notices) == 4


def test_steps_that_change_nothing_are_put_off() -> None:
    world = World(rules({"busy": "indicators.orders_4h >= 2"}))
    world.take(*(order(number, hours=number * 0.9) for number in range(5)))
    assert world.joe().due == micros(4)
    world.sweep(4.2)
    assert world.joe().due == micros(6), "at 5 it would still be busy"
    world.sweep(6.5)
    assert world.told()[-1] == ("busy", False, 6.0, TIME_PASSED)


def test_nobody_waits_for_the_clock_where_no_audience_reads_a_window() -> None:
    world = World(rules({"vip": "profile.traits.vip == true", "many": "indicators.orders > 1"}))
    world.take(order(1, hours=0))
    assert world.joe().due is None


def test_a_digest_counts_in_conditions_from_when_it_arrived_itself() -> None:
    identifiers = {"email": IdentifierSettings(priority=1), "email_sha256": IdentifierSettings(priority=2)}
    audiences = rules({"hashed": "has(profile.identifiers.email_sha256)", "one_kind": "size(profile.identifiers) == 1"})
    world = World(audiences, kinds=Kinds(IdentitySettings(identifiers=identifiers)))
    world.take(order(1, hours=0))
    assert world.told() == [("one_kind", True, 0.0, "event order.paid")]
    digest = {"email_sha256": sha256(b"joe@example.com").hexdigest()}
    world.take(order(2, hours=1, identifiers=digest))
    assert world.told()[1:] == [("hashed", True, 1.0, "event order.paid"), ("one_kind", False, 1.0, "event order.paid")]


def test_only_audiences_that_an_event_can_touch_are_asked_again() -> None:
    world = World(rules({"vip": "profile.traits.vip == true", "odd": "profile.traits.age > 'x'"}))
    world.take(order(1, hours=0, traits={"age": 3}))
    assert world.failures["odd"].failed == 1
    world.take(order(2, hours=1))
    world.take(order(3, hours=1, type="page", traits={"vip": True}))
    assert world.failures["odd"].failed == 1
    assert world.told() == [("vip", True, 1.0, "event page")]
    world.take(order(4, hours=2, traits={"age": 4, "vip": None}))
    assert world.failures["odd"].failed == 2
    assert world.told()[-1] == ("vip", False, 2.0, "event order.paid")


def test_a_new_identifier_is_something_to_ask_about() -> None:
    world = World(rules())
    world.take(order(1, hours=0, identifiers={"email": "a@example.com", "user_id": "1"}))
    world.take(order(2, hours=1, type="page", identifiers={"user_id": "1", "email": "b@example.com"}))
    assert world.told() == [("reachable", True, 1.0, "event page")]


def test_a_value_that_is_missing_is_false_and_told_apart_from_a_fault() -> None:
    world = World(rules({"vip": "profile.traits.vip == true", "odd": "indicators.orders > 'x'"}))
    world.take(order(1, hours=0))
    assert (world.failures["vip"].missing, world.failures["vip"].failed) == (1, 0)
    assert (world.failures["odd"].missing, world.failures["odd"].failed) == (0, 1)
    assert "kinds of values do not fit together" in (world.failures["odd"].fault or "")
    assert world.joe().audiences == {}


def test_of_two_who_turn_out_to_be_one_the_other_leaves_and_the_one_is_judged_as_both() -> None:
    world = World(rules())
    world.take(
        order(1, hours=0, identifiers={"email": "a@example.com"}), order(2, hours=0, identifiers={"phone": "+46701234567"})
    )
    world.take(order(3, hours=0.2, identifiers=MAIL), order(4, hours=0.2, identifiers=PHONE))
    assert [one.audience for one in world.notices] == ["busy", "busy"]
    world.take(order(5, hours=1, type="page", identifiers=MAIL | PHONE))
    assert world.told()[2:] == [("busy", False, 1.0, MERGED)]
    assert world.notices[2].public == world.profiles[list(world.profiles)[1]].public
    assert world.joe().audiences == {"busy": micros(0.2)}
    gone = next(state for state in world.profiles.values() if state.merged_into is not None)
    assert (gone.audiences, gone.due) == ({}, None)
    world.sweep(9)
    assert world.told()[3:] == [("busy", False, 4.0, TIME_PASSED), ("lapsed", True, 4.0, TIME_PASSED)]


def test_two_who_were_in_nothing_may_be_in_as_one() -> None:
    world = World(rules())
    world.take(
        order(1, hours=0, identifiers={"email": "a@example.com"}), order(2, hours=0, identifiers={"phone": "+46701234567"})
    )
    world.take(order(3, hours=1, type="page", identifiers=MAIL | PHONE))
    assert world.told() == [("busy", True, 1.0, "event page")]


def test_a_clock_that_was_set_back_does_not_hold_anybody_in_the_future() -> None:
    world = World(rules())
    world.take(order(1, hours=900), now=900)
    world.take(order(2, hours=0), order(3, hours=0), now=0.1)
    assert world.joe().audiences["busy"] == micros(0.1)


def test_what_is_new_counts_the_stored_past_and_judges_by_it() -> None:
    world = World(rules({}, {}))
    world.take(*(order(number, hours=number * 0.1) for number in range(3)))
    world.audiences = rules()
    world.compute(["orders", "orders_4h", "spent_4h"], hours=1)
    assert world.told() == [("busy", True, 1.0, COMPUTED)]
    assert world.joe().due == micros(4)
    assert world.compute(["orders", "orders_4h", "spent_4h"], hours=1.1).profiles == {}, "a repeat changes nothing"


def test_whoever_got_a_new_activity_meanwhile_is_left_as_it_is_for_another_time() -> None:
    world = World(rules({}, {}))
    world.take(order(1, hours=0), order(2, hours=0))
    world.audiences = rules()
    (key,) = world.profiles
    past = {key: Past(world.profiles[key], {key: Seq(1)})}
    slice_ = Computing(world.audiences, past, names=["orders"], which=(), journal_id="journal", now=micros(1))
    assert slice_(world.known()).profiles == {}
    assert slice_.behind == past, "it is counted on from there"
    assert world.take(order(3, hours=1)).profiles[key].indicators["orders"].count == 1


def test_an_indicator_that_is_no_longer_configured_goes_with_the_next_count() -> None:
    world = World(rules())
    world.take(order(1, hours=0))
    world.audiences = rules({}, {"other": IndicatorSettings(on="*")})
    world.compute(["other"], hours=1)
    assert set(world.joe().indicators) == {"other"}


def test_members_of_an_audience_that_is_no_longer_configured_leave_it() -> None:
    world = World(rules())
    world.take(order(1, hours=0), order(2, hours=0.5))
    world.audiences = rules({})
    world.remove("busy", hours=1)
    assert world.told()[-1] == ("busy", False, 1.0, NOT_CONFIGURED)
    assert world.joe().audiences == {}
    assert world.remove("busy", hours=1).notices == []


EVENTS = st.lists(
    st.tuples(
        st.integers(0, 5).map(lambda steps: steps / 4),
        st.sampled_from([0.0, 0.5, 3.0, 9.0]),
        st.sampled_from([{"email": "a@example.com"}, {"user_id": "1"}, {"email": "a@example.com", "user_id": "1"}]),
        st.sampled_from(["order.paid", "order.paid", "page"]),
    ),
    min_size=1,
    max_size=12,
)


@given(drawn=EVENTS, sweeps=st.lists(st.floats(0, 30), max_size=6), cuts=st.sets(st.integers(0, 12)))
def test_sweeps_at_any_time_and_batches_of_any_size_say_the_same_to_the_letter(
    drawn: list[Any], sweeps: list[float], cuts: set[int]
) -> None:
    events, hours = [], 0.0
    for number, (pause, late, identifiers, kind) in enumerate(drawn):
        hours += pause
        events.append(order(number, hours=hours, late=late, identifiers=identifiers, type=kind))
    alone, swept = World(rules()), World(rules())
    alone.take(*events, first=1)
    alone.sweep(60)
    batch: list[Any] = []
    waiting = sorted(sweeps)
    for place, event in enumerate(events):
        moment = (event.received - START).total_seconds() / 3600
        while waiting and waiting[0] < moment:
            # Never ahead of the events: what has arrived before is applied before.
            swept.take(*batch, first=place + 1 - len(batch))
            batch = []
            swept.sweep(waiting.pop(0))
        batch.append(event)
        if place in cuts:
            swept.take(*batch, first=place + 2 - len(batch))
            batch = []
    swept.take(*batch, first=len(events) + 1 - len(batch))
    swept.sweep(60)
    assert sorted(swept.notices, key=lambda one: (one.at, one.id)) == sorted(alone.notices, key=lambda one: (one.at, one.id))
    assert {key: state.audiences for key, state in swept.profiles.items()} == {
        key: state.audiences for key, state in alone.profiles.items()
    }
    assert all(state.due is None or state.due > micros(60) for state in swept.profiles.values())


def test_what_the_clock_took_from_one_before_a_merge_is_said_before_it() -> None:
    world = World(rules())
    world.take(order(1, hours=0, identifiers=MAIL), order(2, hours=0, identifiers=MAIL))
    world.take(order(3, hours=3.5, identifiers=PHONE), order(4, hours=3.5, identifiers=PHONE))
    world.take(order(5, hours=5, type="page", identifiers=MAIL | PHONE))
    assert [one for one in world.told() if one[0] == "busy"] == [
        ("busy", True, 0.0, "event order.paid"),
        ("busy", True, 3.5, "event order.paid"),
        ("busy", False, 4.0, TIME_PASSED),
        ("busy", False, 5.0, MERGED),
        ("busy", True, 5.0, "event page"),
    ]


def test_what_the_clock_took_from_the_other_before_a_merge_is_said_before_it() -> None:
    world = World(rules({"busy": AUDIENCES["busy"]}))
    world.take(order(1, hours=-5, identifiers=MAIL), order(2, hours=0, identifiers=PHONE), order(3, hours=0, identifiers=PHONE))
    world.take(order(4, hours=5, type="page", identifiers=MAIL | PHONE))
    assert world.told() == [("busy", True, 0.0, "event order.paid"), ("busy", False, 4.0, TIME_PASSED)]


def test_what_a_customer_allows_decides_at_once_about_every_audience() -> None:
    settings = {"mail": AudienceSettings(where="true", required_purposes=("marketing",)), "all": AudienceSettings(where="true")}
    world = World(Audiences(settings, Projection({})))
    world.take(order(1, hours=1))
    world.take(order(2, hours=2, type="consent.granted", data={"purpose": "marketing"}))
    world.take(order(3, hours=3, type="privacy.restricted"))
    assert [(name, entered) for name, entered, *_ in world.told()] == [
        ("all", True),
        ("mail", True),
        ("mail", False),
        ("all", False),
    ]
