"""Events and profiles as the JSON that users see."""

import json
from datetime import UTC, datetime

import msgspec

from cdmd.models import Activity, Event, IdentifierState, Micros, ProfileKey, ProfileState, Seq, TraitState, to_micros
from cdmd.profiles.shape import activity_document, event_document, profile_document

TIME = datetime(2026, 11, 23, 10, tzinfo=UTC)
RECEIVED = datetime(2026, 11, 23, 10, 0, 1, 120_000, tzinfo=UTC)
EVENT = Event(
    id="evt-1",
    source="shop",
    type="order.paid",
    time=TIME,
    received=RECEIVED,
    identifiers={"email": "joe@example.com"},
    traits={"first_name": "Joe"},
    data={"total": 99.5},
)


def test_an_event_has_the_documented_shape() -> None:
    assert json.loads(json.dumps(event_document(EVENT))) == {
        "id": "evt-1",
        "source": "shop",
        "type": "order.paid",
        "time": "2026-11-23T10:00:00Z",
        "received": "2026-11-23T10:00:01.120Z",
        "identifiers": {"email": "joe@example.com"},
        "traits": {"first_name": "Joe"},
        "data": {"total": 99.5},
    }


def test_an_event_whose_source_gave_no_time_shows_none() -> None:
    assert "time" not in event_document(msgspec.structs.replace(EVENT, time=None))


def test_a_profile_has_the_documented_shape() -> None:
    first, last = to_micros(TIME), to_micros(RECEIVED)
    state = ProfileState("01J", first, last, [IdentifierState("email", "joe@example.com", first, last, "shop")])
    state.traits["first_name"] = TraitState("Joe", first, 1, "crm")
    activity = Activity(seq=Seq(1), profile=ProfileKey(1), time=Micros(last), event=EVENT, rule="new")
    shown = profile_document(
        state, [activity], traits={"first_name": "Joe"}, indicators={"tv_hours": 10001.0}, audiences=["warranty_offer"]
    )
    assert json.loads(json.dumps(shown)) == {
        "id": "01J",
        "identifiers": [
            {
                "kind": "email",
                "value": "joe@example.com",
                "first_seen": "2026-11-23T10:00:00Z",
                "last_seen": "2026-11-23T10:00:01.120Z",
                "source": "shop",
            }
        ],
        "traits": {"first_name": "Joe"},
        "trait_sources": {"first_name": {"source": "crm", "time": "2026-11-23T10:00:00Z"}},
        "indicators": {"tv_hours": 10001.0},
        "audiences": ["warranty_offer"],
        "activities": [
            {"id": "evt-1", "type": "order.paid", "time": "2026-11-23T10:00:01.120Z", "source": "shop", "data": {"total": 99.5}}
        ],
        "created": "2026-11-23T10:00:00Z",
        "updated": "2026-11-23T10:00:01.120Z",
    }


def test_an_activity_shows_its_effective_time() -> None:
    activity = Activity(seq=Seq(1), profile=None, time=Micros(0), event=EVENT, rule="new")
    assert activity_document(activity)["time"] == "1970-01-01T00:00:00Z"


def test_a_profile_without_anything_shows_empty_lists() -> None:
    shown = profile_document(ProfileState("p", 0, 0), [], traits={}, indicators={})
    assert (shown["identifiers"], shown["audiences"], shown["activities"]) == ([], [], [])
