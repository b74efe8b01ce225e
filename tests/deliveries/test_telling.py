"""What batches send, to whom, and with what in it; that it is the same however events are cut into batches."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdmd.config.news import NEWS
from cdmd.deliveries.telling import Telling, ids_at
from cdmd.kit.quantities import Duration, Size
from cdmd.models import Bound, Event
from tests.batches.world import World, micros, order
from tests.deliveries.told import frame, sending, told, types


def test_a_stored_event_is_sent_with_its_profile_as_it_is_after_it() -> None:
    world = sending(crm=frame("order.*"))
    world.take(order(1, hours=0, total=10.0, traits={"name": "Joe"}), order(2, hours=1, total=5.0, late=0.5))
    first, second = told(world)
    public = world.joe().public
    assert first == {
        "type": "order.paid",
        "timestamp": "2026-11-23T10:00:00Z",
        "data": {
            "event": {
                "id": "e1",
                "source": "shop",
                "type": "order.paid",
                "time": "2026-11-23T10:00:00Z",
                "received": "2026-11-23T10:00:00Z",
                "identifiers": {"email": "joe@example.com"},
                "traits": {"name": "Joe"},
                "data": {"total": 10.0},
            },
            "profile": {
                "id": public,
                "identifiers": [{"kind": "email", "value": "joe@example.com"}],
                "traits": {"name": "Joe"},
                "indicators": {"orders": 1, "orders_4h": 1, "spent_4h": 10.0, "mean": 10.0, "spent": 10.0},
                "audiences": [],
            },
        },
    }
    assert second["timestamp"] == "2026-11-23T10:30:00Z"
    assert second["data"]["profile"]["indicators"]["spent"] == 15.0
    assert second["data"]["profile"]["audiences"] == ["busy"]


def test_how_much_may_wait_and_how_long_each_does_goes_along() -> None:
    world = sending(crm=frame("order.*", retry=(Duration.parse("3s"),), max_waiting=5, max_bytes=Size.parse("1KiB")))
    outgoing = world.take(order(1, hours=0)).outgoing
    assert outgoing is not None
    assert outgoing.bounds == {"crm": Bound(5, 1024, 3_000_000)}


def test_an_event_about_nobody_is_sent_without_a_profile() -> None:
    world = sending(crm=frame("order.*"))
    world.take(order(1, hours=0, identifiers={}))
    (only,) = told(world)
    assert "profile" not in only["data"]
    assert world.deliveries[0].profile is None


def test_nothing_is_sent_where_nobody_wants_it_and_a_repeat_is_not_sent_again() -> None:
    world = sending(crm=frame("page.*"))
    assert world.take(order(1, hours=0)).outgoing is None
    world = sending(crm=frame("order.*"))
    world.take(order(1, hours=0), order(1, hours=0), first=1)
    assert len(world.deliveries) == 1


def test_what_becomes_of_a_profile_is_told_with_what_changed() -> None:
    world = sending(crm=frame("profile.*"))
    world.take(order(1, hours=0, traits={"name": "Joe", "city": "Oslo"}))
    assert types(world) == ["profile.created", "profile.updated"]
    created, updated = told(world)
    assert created["data"]["cause"] == {"id": "e1", "source": "shop", "type": "order.paid"}
    assert updated["data"]["changed"] == [
        *("identifiers.email", "traits.city", "traits.name"),
        *("indicators.mean", "indicators.orders", "indicators.orders_4h", "indicators.spent", "indicators.spent_4h"),
    ]
    world.take(order(2, hours=0, type="page.viewed", traits={"name": "Joe", "city": "Rome"}))
    assert told(world)[-1]["data"]["changed"] == ["traits.city"]
    world.take(order(3, hours=0, type="page.viewed", traits={"city": None}, identifiers={"email": "joe@example.com"}))
    assert told(world)[-1]["data"]["changed"] == ["traits.city"]
    world.take(order(4, hours=0, type="page.viewed"))
    assert len(world.deliveries) == 4


def test_a_merge_is_told_and_what_it_changed() -> None:
    world = sending(crm=frame("profile.merged", "profile.updated"))
    world.take(order(1, hours=0, type="page.viewed", identifiers={"email": "joe@example.com"}))
    world.take(order(2, hours=1, type="page.viewed", identifiers={"anonymous_id": "a1"}, traits={"city": "Oslo"}))
    before = len(world.deliveries)
    lost = next(state.public for state in world.profiles.values() if state.identifiers[0].kind == "anonymous_id")
    world.take(order(3, hours=2, type="page.viewed", identifiers={"email": "joe@example.com", "anonymous_id": "a1"}))
    merged, updated = told(world)[before:]
    assert merged["type"] == "profile.merged"
    assert merged["data"]["merged"] == {"id": lost}
    assert merged["data"]["profile"]["id"] == world.joe().public
    assert updated["data"]["changed"] == ["identifiers.anonymous_id", "traits.city"]


def test_who_enters_and_leaves_is_told_also_by_the_clock() -> None:
    world = sending(crm=frame("audience.*"))
    world.take(order(1, hours=0), order(2, hours=1))
    assert [(one["type"], one["data"]["audience"]) for one in told(world)] == [
        ("audience.entered", "busy"),
    ]
    world.sweep(9)
    assert [(one["type"], one["data"]["audience"], one["timestamp"]) for one in told(world)[1:]] == [
        ("audience.left", "busy", "2026-11-23T14:00:00Z"),
        ("audience.entered", "lapsed", "2026-11-23T15:00:00Z"),
    ]
    assert told(world)[-1]["data"]["reason"] == "time passed"
    world.remove("lapsed", hours=10)
    assert types(world)[-1] == "audience.left"
    world.compute((), hours=10)
    assert types(world)[-1] == "audience.entered"


def test_an_indicator_that_crosses_a_value_is_told_once_for_each_value_and_direction() -> None:
    world = sending(crm=frame("indicator.crossed"))
    for number, total in enumerate((15.0, 60.0, 1.0, -40.0), 1):
        world.take(order(number, hours=0, total=total))
    shown = [(one["data"]["indicator"]["threshold"], one["data"]["indicator"]["direction"]) for one in told(world)]
    assert shown == [(20.0, "up"), (50.0, "up"), (50.0, "down")]
    first = told(world)[0]["data"]["indicator"]
    assert (first["name"], first["value"], first["before"]) == ("spent", 75.0, 15.0)


def test_reaching_a_value_is_crossing_it() -> None:
    world = sending(crm=frame("indicator.crossed"))
    world.take(order(1, hours=0, total=20.0), order(2, hours=0, total=0.0))
    assert len(world.deliveries) == 1


def test_whoever_is_erased_is_told_by_the_id_alone_whatever_is_asked_for() -> None:
    world = sending(crm=frame("profile.*", where="profile.traits.vip == true", fields=("data",), required_purposes=("x",)))
    assert world.subscriptions is not None
    telling = Telling(world.subscriptions)
    telling.erased("01ABC", micros(0))
    outgoing = telling.outgoing()
    assert outgoing is not None
    (only,) = outgoing.deliveries
    expected = {"type": "profile.erased", "timestamp": "2026-11-23T10:00:00Z", "data": {"profile": {"id": "01ABC"}}}
    assert msgspec.json.decode(only.body) == expected
    assert only.profile is None
    later = Telling(world.subscriptions)
    later.erased("01ABC", micros(5))
    again = later.outgoing()
    assert again is not None
    assert [one.id for one in again.deliveries] == [only.id]


def test_only_what_the_condition_holds_for_is_sent() -> None:
    world = sending(crm=frame("order.*", where="has(profile.traits.vip) && profile.traits.vip && event.data.total > 5.0"))
    world.take(
        order(1, hours=0),
        order(2, hours=0, traits={"vip": True}),
        order(3, hours=0, total=1.0),
    )
    assert [one["data"]["event"]["id"] for one in told(world)] == ["e2"]
    assert world.untold == {}


@pytest.mark.parametrize(
    ("where", "reason"),
    [
        ("profile.traits.vip == true", "a value is missing"),
        ("event.data.total + 'x' == 'x'", "the kinds of values do not fit"),
        ("event.data.total", "not a boolean"),
    ],
)
def test_a_condition_that_fails_sends_nothing_and_is_counted_with_its_reason(where: str, reason: str) -> None:
    world = sending(crm=frame("order.*", where=where), mail=frame("order.*"))
    world.take(order(1, hours=0), order(2, hours=0))
    assert types(world) == []
    assert len(types(world, "mail")) == 2
    count, why = world.untold["crm"]
    assert count == 2
    assert reason in why


def test_the_condition_sees_indicators_the_clock_and_what_our_own_news_say() -> None:
    world = sending(
        crm=frame(
            "audience.*",
            where="event.data.audience == 'busy' && indicators.orders >= 2 && now > timestamp('2026-01-01T00:00:00Z')",
        )
    )
    world.take(order(1, hours=0), order(2, hours=1))
    world.sweep(9)
    assert [one["data"]["audience"] for one in told(world)] == ["busy", "busy"]


def test_a_purpose_that_nobody_granted_keeps_it_from_being_sent() -> None:
    world = sending(crm=frame("order.*", required_purposes=("marketing",)))
    world.take(order(1, hours=0))
    assert world.deliveries == []
    assert world.untold == {"crm": (1, "a purpose that it requires was not granted, or the processing is restricted")}


def test_only_what_is_chosen_is_in_it() -> None:
    paths = ("identifiers.email", "traits.name", "indicators.orders", "event.data")
    world = sending(crm=frame("order.*", "profile.updated", fields=paths))
    world.take(
        order(1, hours=0, traits={"name": "Joe", "born": "1970"}, identifiers={"email": "j@x.se", "phone": "+46701234567"})
    )
    event, updated = told(world)
    assert event["data"]["event"]["identifiers"] == {"email": "j@x.se"}
    assert event["data"]["event"]["traits"] == {"name": "Joe"}
    assert event["data"]["event"]["data"] == {"total": 10.0}
    assert event["data"]["profile"] == {
        "id": world.joe().public,
        "identifiers": [{"kind": "email", "value": "j@x.se"}],
        "traits": {"name": "Joe"},
        "indicators": {"orders": 1},
    }
    assert updated["data"]["changed"] == ["identifiers.email", "traits.name", "indicators.orders"]
    assert b"1970" not in b"".join(one.body for one in world.deliveries)


@pytest.mark.parametrize(
    ("paths", "shown"),
    [
        ((), {"id"}),
        (("audiences",), {"id", "audiences"}),
        (("profile.traits",), {"id", "traits"}),
        (("indicators.*",), {"id", "indicators"}),
        (("traits.a", "traits"), {"id", "traits"}),
        (("event.identifiers",), {"id"}),
    ],
)
def test_what_of_the_profile_is_sent(paths: tuple[str, ...], shown: set[str]) -> None:
    world = sending(crm=frame("order.*", fields=paths))
    world.take(order(1, hours=0, traits={"a": 1, "b": 2}))
    profile = told(world)[0]["data"]["profile"]
    assert set(profile) == shown
    if "traits" in shown:
        assert profile["traits"] == {"a": 1, "b": 2}


def test_an_update_of_which_nothing_may_be_seen_is_not_sent() -> None:
    world = sending(crm=frame("profile.updated", fields=("traits.email",)))
    world.take(order(1, hours=0))
    assert world.deliveries == []


def test_lanes_follow_the_order_that_is_asked_for() -> None:
    world = sending(
        crm=frame("order.*"), mail=frame("order.*", order="per_profile"), log=frame("order.*", order="strict"), file=frame("*"),
        running=("file",),
    )  # fmt: skip
    world.take(order(1, hours=0), order(2, hours=0, identifiers={}))
    assert [(one.target, one.lane) for one in world.deliveries if one.type == "order.paid"] == [
        *(("crm", None), ("mail", 1), ("log", 0), ("file", 0)),
        *(("crm", None), ("mail", None), ("log", 0), ("file", 0)),
    ]


def test_an_event_that_has_the_name_of_our_own_news_is_not_taken_for_it() -> None:
    world = sending(crm=frame("profile.*"))
    world.take(order(1, hours=0, type="profile.erased", identifiers={}))
    assert world.deliveries == []


def test_how_a_target_is_goes_to_those_that_ask_by_name_but_never_to_itself() -> None:
    world = sending(
        crm=frame("*"),
        ops=frame("target.*", "order.*", required_purposes=("newsletter",)),
        pager=frame("target.disabled", where="event.data.target.name != 'crm'"),
        lost=frame("target.disabled", where="profile.traits.vip == true"),
    )
    telling = Telling(world.subscriptions)
    for name, state in (("crm", "disabled"), ("ops", "disabled"), ("erp", "failing"), ("erp", "disabled")):
        telling.stood({"name": name, "type": "webhook", "state": state, "before": "active", "reason": "x"}, micros(0))
    outgoing = telling.outgoing()
    assert outgoing is not None
    sent = [(one.target, one.type, one.document["data"]["target"]["name"]) for one in outgoing.deliveries]
    assert sent == [
        *(("ops", "target.disabled", "crm"), ("pager", "target.disabled", "ops"), ("ops", "target.failing", "erp")),
        *(("ops", "target.disabled", "erp"), ("pager", "target.disabled", "erp")),
    ]
    assert outgoing.untold.keys() == {"lost"}
    assert len({one.id for one in outgoing.deliveries}) == len(sent)


def test_ids_are_computed_from_what_is_told_and_to_whom() -> None:
    def ids() -> dict[tuple[str, str], str]:
        world = sending(crm=frame("*"), mail=frame("*"))
        world.take(order(1, hours=0), order(2, hours=1))
        world.sweep(9)
        return {(one.target, f"{one.type} {one.seq} {one.at} {one.lane} {one.body!r}"): one.id for one in world.deliveries}

    first, again = ids(), ids()
    assert first == again
    assert len(set(first.values())) == len(first)
    low, high = ids_at(micros(1))
    assert sum(low <= one <= high for one in first.values()) > 0
    assert not any("." in one for one in first.values())


@st.composite
def histories(draw: Any) -> list[Event]:
    people = ["joe@example.com", "ann@example.com"]
    events = []
    for number in range(1, draw(st.integers(2, 12))):
        identifiers = {"email": draw(st.sampled_from(people))}
        if draw(st.booleans()):
            identifiers["anonymous_id"] = draw(st.sampled_from(["a", "b"]))
        kind = draw(st.sampled_from(["order.paid", "page.viewed"]))
        total = draw(st.sampled_from([1.0, 30.0, -10.0]))
        traits = draw(st.sampled_from([{}, {"vip": True}, {"vip": None}, {"name": "J"}]))
        events.append(order(number, hours=number / 2, total=total, type=kind, identifiers=identifiers, traits=traits))
    return events


@settings(max_examples=25, deadline=None)
@given(history=histories(), data=st.data())
def test_what_is_sent_does_not_depend_on_how_events_are_cut_into_batches(history: list[Event], data: st.DataObject) -> None:
    def sent(world: World) -> list[tuple[str, bytes, int | None]]:
        return [(one.id, one.body, one.lane) for one in world.deliveries]

    one, several = (sending(crm=frame("*"), mail=frame("*", order="per_profile")) for _ in range(2))
    one.take(*history)
    rest = list(history)
    while rest:
        size = data.draw(st.integers(1, len(rest)))
        several.take(*rest[:size])
        rest = rest[size:]
    assert sorted(sent(one)) == sorted(sent(several))
    assert set(types(one)) & set(NEWS)
