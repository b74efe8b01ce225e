"""What an event adds to its profile."""

from collections.abc import Sequence
from datetime import UTC, datetime
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdmd.config.schema import IndicatorSettings, TraitSettings
from cdmd.errors import ConfigInvalid
from cdmd.models import Event, Micros, ProfileState, Seq, TraitState
from cdmd.profiles import projection as module
from cdmd.profiles.projection import MOST_TRAITS, Ignored, Projection

RECEIVED = datetime(2026, 11, 23, 10, 0, 1, 120_000, tzinfo=UTC)
NOW = Micros(1_000_000_000_000_000)
SETTINGS = {
    "orders": IndicatorSettings(on="order.*"),
    "spent": IndicatorSettings(on=("order.paid", "order.refunded"), value="{data.total}", compute="sum"),
    "status": IndicatorSettings(on="*", value="{traits.status}", compute="last"),
    "places": IndicatorSettings(on="*", value="{source}/{type}/{identifiers.email}", compute="distinct"),
}
PROJECTION = Projection(SETTINGS)


def event(kind: str = "order.paid", source: str = "shop", **fields: Any) -> Event:
    return Event(id="e1", source=source, type=kind, received=RECEIVED, **fields)


def fresh() -> ProfileState:
    return ProfileState("p", 0, 0)


def after(*events: tuple[Event, int, int], projection: Projection = PROJECTION) -> ProfileState:
    state = fresh()
    for what, at, seq in events:
        projection.project(state, what, at=Micros(at), seq=Seq(seq))
    return state


def test_a_newer_value_of_a_trait_replaces_and_an_older_never_does() -> None:
    state = after(
        (event(traits={"city": "Lund", "name": "Joe"}), 10, 1),
        (event(traits={"city": "Kiruna"}), 5, 2),
        (event(traits={"city": "Malmö"}), 20, 3),
    )
    assert PROJECTION.shown_traits(state) == {"city": "Malmö", "name": "Joe"}


def test_at_the_same_time_the_greater_sequence_is_the_newer() -> None:
    assert after((event(traits={"a": 1}), 10, 2), (event(traits={"a": 2}), 10, 1)).traits["a"] == TraitState(1, 10, 2, "shop")


def test_null_removes_a_trait_as_of_then_so_that_an_older_value_does_not_come_back() -> None:
    state = after(
        (event(traits={"city": "Lund"}), 10, 1),
        (event(traits={"city": None}), 20, 2),
        (event(traits={"city": "Kiruna"}), 15, 3),
    )
    assert PROJECTION.shown_traits(state) == {}
    assert after((event(traits={"city": None}), 20, 1), (event(traits={"city": "x"}), 15, 2)).traits["city"].value is None
    assert PROJECTION.shown_traits(after((event(traits={"city": None}), 1, 1), (event(traits={"city": 0}), 2, 2))) == {
        "city": 0
    }


def test_a_profile_has_a_bounded_number_of_trait_names_and_says_how_many_found_no_place() -> None:
    state = fresh()
    many = {f"t{number}": number for number in range(MOST_TRAITS + 7)}
    assert PROJECTION.project(state, event(traits=many), at=Micros(1), seq=Seq(1)) == Ignored((), 7)
    assert len(state.traits) == MOST_TRAITS
    assert PROJECTION.project(state, event(traits={"t0": "new"}), at=Micros(2), seq=Seq(2)) is None
    assert state.traits["t0"].value == "new"


def test_indicators_count_the_events_whose_type_matches() -> None:
    state = after(
        (event("order.paid", data={"total": 99.5}, identifiers={"email": "joe@example.com"}), 1, 1),
        (event("order.refunded", data={"total": "-9.5"}, traits={"status": "gold"}), 2, 2),
        (event("order.lost"), 3, 3),
        (event("page.viewed", data={"total": 1000}), 4, 4),
    )
    assert PROJECTION.shown_indicators(state, NOW) == {"orders": 3, "spent": 90.0, "status": "gold", "places": 1}


def test_a_value_that_is_absent_is_no_value_and_one_that_cannot_be_used_is_named() -> None:
    state = fresh()
    assert PROJECTION.project(state, event(), at=Micros(1), seq=Seq(1)) is None
    assert PROJECTION.project(state, event(data={"total": "a lot"}), at=Micros(1), seq=Seq(2)) == Ignored(("spent",), 0)
    assert PROJECTION.project(state, event(identifiers={"email": "x"}), at=Micros(1), seq=Seq(3)) is None
    assert PROJECTION.shown_indicators(state, NOW) == {"orders": 3, "places": 1}


def test_a_template_that_cannot_be_evaluated_on_an_event_skips_it() -> None:
    projection = Projection({"length": IndicatorSettings(on="*", value="{length(data.total)}", compute="sum")})
    state = fresh()
    assert projection.project(state, event(data={"total": 5}), at=Micros(1), seq=Seq(1)) == Ignored(("length",), 0)
    assert projection.project(state, event(data={"total": "12345"}), at=Micros(1), seq=Seq(2)) is None
    assert projection.shown_indicators(state, NOW) == {"length": 5.0}


def test_templates_see_the_whole_event_and_the_receipt_where_it_has_no_time() -> None:
    value = "{id} {source} {type} {time} {data.a} {traits.b} {identifiers.c}"
    projection = Projection({"seen": IndicatorSettings(on="*", value=value, compute="last")})
    whole = event(data={"a": 1}, traits={"b": True}, identifiers={"c": "C"})
    assert projection.shown_indicators(after((whole, 1, 1), projection=projection), NOW) == {
        "seen": "e1 shop order.paid 2026-11-23T10:00:01.120Z 1 true C"
    }
    timed = msgspec.structs.replace(whole, time=datetime(2026, 1, 2, tzinfo=UTC))
    shown = projection.shown_indicators(after((timed, 1, 1), projection=projection), NOW)
    assert shown["seen"] == "e1 shop order.paid 2026-01-02T00:00:00Z 1 true C"


def test_changed_settings_begin_an_indicator_anew() -> None:
    state = after((event(data={"total": 5}), 1, 1))
    changed = Projection({"spent": IndicatorSettings(on="order.*", value="{data.total}", compute="sum")})
    assert changed.shown_indicators(state, NOW) == {}
    changed.project(state, event(data={"total": 7}), at=Micros(2), seq=Seq(2))
    assert changed.shown_indicators(state, NOW) == {"spent": 7.0}


def test_what_is_not_configured_is_not_shown() -> None:
    assert Projection({}).shown_indicators(after((event(data={"total": 5}), 1, 1)), NOW) == {}


def test_every_mistake_in_the_indicators_is_reported_at_once() -> None:
    with pytest.raises(ConfigInvalid) as caught:
        Projection(
            {
                "a": IndicatorSettings(on="*", compute="sum"),
                "b": IndicatorSettings(on="*", value="{data.", compute="max"),
                "c": IndicatorSettings(on="*"),
            }
        )
    first, second = caught.value.problems
    assert first == "indicators.a.value: is missing; sum needs one"
    assert second.startswith("indicators.b.value: column ")


def test_combining_keeps_the_newest_traits_and_adds_indicators_exactly() -> None:
    winner = after((event(data={"total": 0.1}, traits={"a": 1, "b": 1, "d": 1}), 10, 1))
    loser = after((event(data={"total": 0.2}, traits={"a": 2, "c": 2}), 20, 2), (event("x", traits={"b": 2}), 5, 3))
    PROJECTION.combine(winner, loser)
    assert PROJECTION.shown_traits(winner) == {"a": 2, "b": 1, "c": 2, "d": 1}
    assert PROJECTION.shown_indicators(winner, NOW) == {"orders": 2, "spent": 0.1 + 0.2}
    assert PROJECTION.shown_indicators(loser, NOW) == {"orders": 1, "spent": 0.2}


def test_combining_respects_the_bound_on_trait_names() -> None:
    winner = after((event(traits={f"w{number}": 1 for number in range(MOST_TRAITS - 1)}), 1, 1))
    loser = after((event(traits={"x": 1, "y": 1, "w0": 2}), 2, 2))
    PROJECTION.combine(winner, loser)
    assert len(winner.traits) == MOST_TRAITS
    assert winner.traits["w0"].value == 2
    assert "y" not in winner.traits


def test_of_two_definitions_todays_counts_whoever_wins() -> None:
    earlier = Projection({"spent": IndicatorSettings(on="*", value="{data.net}", compute="sum")})
    what = event(data={"net": 3, "total": 5})

    def old() -> ProfileState:
        return after((what, 1, 1), projection=earlier)

    for winner, loser in ((old(), after((what, 1, 1))), (after((what, 1, 1)), old())):
        PROJECTION.combine(winner, loser)
        assert PROJECTION.shown_indicators(winner, NOW)["spent"] == 5.0
    winner, loser = old(), after((what, 1, 1))
    Projection({}).combine(winner, loser)
    assert earlier.shown_indicators(winner, NOW) == {"spent": 3.0}


def test_types_from_outside_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_PLANS", 10)
    projection = Projection(SETTINGS)
    state = fresh()
    for number in range(100):
        projection.project(state, event(f"order.{number}"), at=Micros(1), seq=Seq(number))
    assert len(projection._plans) <= 10
    assert projection.shown_indicators(state, NOW)["orders"] == 100


def test_what_is_in_the_state_is_replaced_and_never_altered() -> None:
    state = after((event(data={"total": 5}, traits={"a": 1}, identifiers={"email": "x"}), 1, 1))
    shallow = msgspec.structs.replace(state, traits=dict(state.traits), indicators=dict(state.indicators))
    before = msgspec.msgpack.encode(state)
    PROJECTION.project(shallow, event(data={"total": 7}, traits={"a": 2}, identifiers={"email": "y"}), at=Micros(2), seq=Seq(2))
    PROJECTION.combine(shallow, after((event(data={"total": 9}, traits={"a": 3}), 3, 3)))
    assert msgspec.msgpack.encode(state) == before


EVENTS = st.lists(
    st.tuples(
        st.builds(
            event,
            st.sampled_from(["order.paid", "order.refunded", "page"]),
            data=st.fixed_dictionaries({}, optional={"total": st.one_of(st.floats(-1e9, 1e9), st.text(max_size=3), st.none())}),
            traits=st.dictionaries(st.sampled_from(["a", "b", "status"]), st.one_of(st.none(), st.integers(0, 3)), max_size=3),
            identifiers=st.fixed_dictionaries({}, optional={"email": st.sampled_from(["x", "y"])}),
        ),
        st.integers(0, 4),
    ),
    max_size=20,
)


@given(events=EVENTS, data=st.data())
def test_no_order_of_events_and_no_split_over_profiles_changes_the_result(
    events: Sequence[tuple[Event, int]], data: st.DataObject
) -> None:
    numbered = [(what, at, seq) for seq, (what, at) in enumerate(events)]
    reference = after(*numbered)
    mixed = data.draw(st.permutations(numbered))
    assert after(*mixed) == reference
    cut = data.draw(st.integers(0, len(mixed)))
    winner, loser = after(*mixed[:cut]), after(*mixed[cut:])
    PROJECTION.combine(winner, loser)
    assert winner == reference


TRUSTING = Projection({}, {"city": TraitSettings(trust=("crm", "shop.web", "shop")), "name": TraitSettings()})


def told(*cities: tuple[str, str, int]) -> list[tuple[Event, int, int]]:
    """(source, city, time), in the order of arrival."""
    return [(event(source=source, traits={"city": city}), at, seq) for seq, (source, city, at) in enumerate(cities, 1)]


def test_what_a_trusted_source_said_stays_until_itself_or_one_more_trusted_says_otherwise() -> None:
    said = told(("shop.app", "Lund", 10), ("ads", "Kiruna", 99), ("crm", "Malmö", 5), ("shop.web", "Umeå", 50))
    shown = [after(*said[:count], projection=TRUSTING).traits["city"].value for count in (1, 2, 3, 4)]
    assert shown == ["Lund", "Lund", "Malmö", "Malmö"]
    newer = after(*said, *told(("crm", "Ystad", 6), ("crm", "Visby", 4)), projection=TRUSTING)
    assert newer.traits["city"] == TraitState("Ystad", 6, 1, "crm")


def test_a_stream_is_trusted_as_its_connector_where_it_is_not_named_itself() -> None:
    said = told(("shop.web", "Lund", 1), ("shop.app", "Kiruna", 9), ("crm.contacts", "Malmö", 0), ("shop.web", "Umeå", 99))
    assert after(*said[:2], projection=TRUSTING).traits["city"].value == "Lund"
    assert after(*said, projection=TRUSTING).traits["city"].source == "crm.contacts"


def test_sources_that_are_not_named_and_traits_without_trust_go_by_time() -> None:
    said = told(("ads", "Lund", 1), ("web", "Kiruna", 9), ("ads", "Malmö", 5))
    assert after(*said, projection=TRUSTING).traits["city"].value == "Kiruna"
    names = [(event(source=source, traits={"name": source}), at, at) for source, at in (("crm", 1), ("ads", 2))]
    assert after(*names, projection=TRUSTING).traits["name"] == TraitState("ads", 2, 2, "ads")


def test_a_merge_keeps_what_the_more_trusted_source_said() -> None:
    for first, second in (("crm", "ads"), ("ads", "crm")):
        winner = after(*told((first, first, 10 if first == "ads" else 1)), projection=TRUSTING)
        TRUSTING.combine(winner, after(*told((second, second, 10 if second == "ads" else 1)), projection=TRUSTING))
        assert winner.traits["city"].source == "crm"


sayings = st.tuples(
    st.sampled_from(["crm", "shop", "shop.web", "ads", "web"]), st.integers(0, 5), st.sampled_from(["Lund", "Umeå", None])
)


@given(st.lists(sayings, max_size=12), st.randoms(use_true_random=False), st.integers(0, 12))
def test_traits_do_not_depend_on_the_order_of_arrival_nor_on_where_profiles_were_joined(
    said: list[tuple[str, int, str | None]], random: Random, cut: int
) -> None:
    sayings = [(event(source=source, traits={"city": city}), at, seq) for seq, (source, at, city) in enumerate(said, 1)]
    once = after(*sayings, projection=TRUSTING).traits
    random.shuffle(sayings)
    assert after(*sayings, projection=TRUSTING).traits == once
    winner, loser = (after(*part, projection=TRUSTING) for part in (sayings[:cut], sayings[cut:]))
    TRUSTING.combine(winner, loser)
    assert winner.traits == once


def test_a_trait_from_before_sources_were_kept_gives_way_to_any_trusted_one() -> None:
    state = fresh()
    state.traits["city"] = msgspec.msgpack.decode(msgspec.msgpack.encode(["Lund", 99, 1]), type=TraitState)
    TRUSTING.project(state, event(source="crm", traits={"city": "Umeå"}), at=Micros(1), seq=Seq(2))
    assert state.traits["city"].value == "Umeå"
