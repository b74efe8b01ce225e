"""Indicators with windows, conditions and calculations: what is maintained is what a count of all activities gives."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdmd.config.schema import IndicatorSettings
from cdmd.errors import ConfigInvalid
from cdmd.kit.quantities import Duration
from cdmd.models import Event, Micros, ProfileState, Seq, to_micros
from cdmd.profiles import indicators
from cdmd.profiles.projection import Ignored, Projection

NOW = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)
HOUR = 3_600_000_000
COMPUTATIONS = ("count", "sum", "min", "max", "average", "stddev", "first", "last", "distinct")
HOURLY = {
    name: IndicatorSettings(on="*", value="{data.n}", compute=name, window="4h", step=Duration.parse("1h"))  # type: ignore[arg-type]
    for name in COMPUTATIONS
}
DAILY = {
    f"day_{name}": msgspec.structs.replace(entry, window="day Europe/Stockholm", step=None) for name, entry in HOURLY.items()
}
PROJECTION = Projection({**HOURLY, **DAILY})
START = Micros(to_micros(NOW) // HOUR * HOUR)


def event(value: Any = 1, kind: str = "order.paid", **fields: Any) -> Event:
    return Event(id="e1", source="shop", type=kind, received=NOW, data={"n": value}, **fields)


def at(hours: float) -> Micros:
    return Micros(START + round(hours * HOUR))


def fresh() -> ProfileState:
    return ProfileState("p", 0, 0)


def after(*events: tuple[Event, Micros], projection: Projection = PROJECTION, now: Micros | None = None) -> ProfileState:
    state = fresh()
    for seq, (what, moment) in enumerate(events):
        projection.project(state, what, at=moment, seq=Seq(seq), now=now)
    return state


def test_what_leaves_the_window_is_gone_by_the_clock_alone() -> None:
    state = after((event(2), at(0)), (event(5), at(2.5)))
    shown = [PROJECTION.shown_indicators(state, at(hours))["sum"] for hours in (2.5, 3.99, 4, 5.99, 6)]
    assert shown == [7.0, 7.0, 5.0, 5.0, 0.0]
    assert [PROJECTION.expires(state, at(hours), among={"sum"}) for hours in (2.5, 4, 6)] == [at(4), at(6), None]
    assert "max" not in PROJECTION.shown_indicators(state, at(6)), "there is no greatest of nothing"
    assert PROJECTION.shown_indicators(state, at(6))["count"] == 0


def test_a_late_event_counts_in_the_window_of_its_own_time() -> None:
    state = after((event(5), at(3)))
    PROJECTION.project(state, event(2), at=at(1), seq=Seq(2), now=at(3))
    PROJECTION.project(state, event(9), at=at(-9), seq=Seq(3), now=at(3))
    assert [PROJECTION.shown_indicators(state, at(hours))["sum"] for hours in (3, 5)] == [7.0, 5.0]


def test_an_event_a_little_ahead_of_the_clock_counts_at_once() -> None:
    assert PROJECTION.shown_indicators(after((event(5), at(1.01)), now=at(0.99)), at(0.99))["count"] == 1


def test_old_buckets_do_not_fill_the_profile() -> None:
    state = fresh()
    for hour in range(500):
        PROJECTION.project(state, event(hour), at=at(hour), seq=Seq(hour), now=at(hour))
    assert {name: len(one.parts) for name, one in state.indicators.items()} == {
        **dict.fromkeys(HOURLY, 4),
        **dict.fromkeys(DAILY, 1),
    }


def test_a_window_of_many_different_values_stays_small_and_is_a_marked_estimate() -> None:
    projection = Projection({"pages": HOURLY["distinct"]})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(indicators, "MOST_VALUES", 50)
        state = fresh()
        for number in range(4000):
            projection.project(state, event(f"v{number}"), at=at(number / 1000), seq=Seq(number), now=at(3.99))
        kept = sum(len(part.values) for part in state.indicators["pages"].parts.values())
        assert kept < 51 * 4
        assert projection.estimated(state, at(3.99)) == ["pages"]
        assert projection.shown_indicators(state, at(3.99))["pages"] == pytest.approx(4000, rel=0.5)
        assert projection.shown_indicators(state, at(6.5))["pages"] == pytest.approx(1000, rel=0.5)


VALUES = st.one_of(st.integers(0, 2), st.floats(-1e6, 1e6), st.sampled_from(["a", "b", "1.5", None, True]))
EVENTS = st.lists(st.tuples(VALUES, st.one_of(st.floats(-30, 6), st.integers(2, 6))), max_size=25)


def numbered(drawn: Sequence[tuple[Any, float]]) -> list[tuple[Event, Micros, Seq]]:
    return [(event(value), at(hours), Seq(seq)) for seq, (value, hours) in enumerate(drawn)]


@given(drawn=EVENTS, later=st.floats(6, 40), data=st.data())
def test_maintained_in_any_order_with_any_merges_is_what_a_count_of_all_activities_gives(
    drawn: Sequence[tuple[Any, float]], later: float, data: st.DataObject
) -> None:
    events = numbered(drawn)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(indicators, "MOST_VALUES", data.draw(st.sampled_from([3, 1000])))
        mixed = data.draw(st.permutations(events))
        cut = data.draw(st.integers(0, len(mixed)))
        moments = sorted(data.draw(st.lists(st.floats(6, later), min_size=len(mixed), max_size=len(mixed))))
        winner, loser = fresh(), fresh()
        for place, ((what, moment, seq), now) in enumerate(zip(mixed, moments, strict=True)):
            PROJECTION.project(winner if place < cut else loser, what, at=moment, seq=seq, now=at(now))
        PROJECTION.combine(winner, loser)
        recounted = fresh()
        PROJECTION.recount(recounted.indicators, events, names=PROJECTION.definitions, now=at(6))
        for moment in (later, later + 1.5, later + 24):
            assert PROJECTION.numbers(winner, at(moment), among=PROJECTION.definitions) == PROJECTION.numbers(
                recounted, at(moment), among=PROJECTION.definitions
            )


@given(drawn=EVENTS, data=st.data())
def test_no_order_changes_what_is_kept(drawn: Sequence[tuple[Any, float]], data: st.DataObject) -> None:
    events = numbered(drawn)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(indicators, "MOST_VALUES", 3)
        mixed = data.draw(st.permutations(events))
        one, other = fresh().indicators, fresh().indicators
        PROJECTION.recount(one, mixed, names=PROJECTION.definitions, now=at(6))
        PROJECTION.recount(other, events, names=PROJECTION.definitions, now=at(6))
        assert one == other


def test_a_recount_goes_on_from_what_was_counted_of_activities_that_are_gone() -> None:
    projection = Projection({"spent": IndicatorSettings(on="*", value="{data.n}", compute="sum"), **HOURLY})
    held = fresh().indicators
    projection.recount(held, [(event(10), at(0), Seq(1))], names=["spent"], now=at(0))
    projection.recount(held, [(event(5), at(1), Seq(2))], names=["spent", "sum"], now=at(1))
    assert [indicators.show("sum", held["spent"]), list(held["sum"].parts)] == [15.0, [at(1) // HOUR]]


def test_only_events_that_the_condition_is_true_for_count() -> None:
    projection = Projection({"large": IndicatorSettings(on="order.*", where="event.data.n > 100.0")})
    state = fresh()
    fates = [
        projection.project(state, event(value), at=at(0), seq=Seq(seq))
        for seq, value in enumerate((100.5, 99.5, "many", 200.0))
    ]
    assert fates == [None, None, Ignored(("large",), 0), None]
    assert projection.shown_indicators(state, at(0)) == {"large": 2}


def test_a_condition_sees_the_time_of_the_event_or_its_receipt() -> None:
    where = "timestamp(event.time) < timestamp('2026-11-23T10:00:00Z')"
    projection = Projection(
        {"early": IndicatorSettings(on="*", where=where), "seen": IndicatorSettings(on="*", value="{type}")}
    )
    state = fresh()
    projection.project(state, event(), at=at(0), seq=Seq(1))
    projection.project(state, event(time=datetime(2026, 1, 1, tzinfo=UTC)), at=at(0), seq=Seq(2))
    assert projection.shown_indicators(state, at(0)) == {"early": 1, "seen": 2}


def test_indicators_are_calculated_from_others_in_the_order_of_the_configuration() -> None:
    settings = {
        "twice": IndicatorSettings(value="indicators.mean * 2.0"),
        "mean": IndicatorSettings(value="indicators.spent / indicators.orders"),
        "orders": IndicatorSettings(on="order.*"),
        "spent": IndicatorSettings(on="order.*", value="{data.n}", compute="sum", window="4h", step=Duration.parse("1h")),
        "worded": IndicatorSettings(value="indicators.last_n * 2.0"),
        "last_n": IndicatorSettings(on="*", value="{data.n}", compute="last"),
    }
    projection = Projection(settings)
    state = after((event(2), at(0)), (event("x"), at(0)), (event(5), at(0.5)), (event("y"), at(0.5)), projection=projection)
    assert projection.shown_indicators(state, at(1)) == {"twice": 3.5, "mean": 1.75, "orders": 4, "spent": 7.0, "last_n": "y"}
    assert projection.touched("order.paid") == ("orders", "spent", "last_n", "mean", "worded", "twice")
    assert projection.windowed() == {"spent"}
    assert projection.needed_for({"twice"}) == {"twice", "mean", "spent", "orders"}
    assert projection.numbers(fresh(), at(1), among=projection.needed_for({"twice"})) == {"orders": 0, "spent": 0.0}


def test_what_is_calculated_in_a_circle_or_watches_no_window_is_refused() -> None:
    with pytest.raises(ConfigInvalid) as caught:
        Projection(
            {
                "a": IndicatorSettings(value="indicators.b"),
                "b": IndicatorSettings(value="indicators.a"),
                "c": IndicatorSettings(value="1.0"),
                "d": IndicatorSettings(on="x", where="event."),
                "e": IndicatorSettings(on="x", window="fortnight"),
            }
        )
    assert [problem.partition(": ")[0] for problem in caught.value.problems] == [
        "indicators.d",
        "indicators.e",
        "indicators.c.value",
        "indicators.a.value",
        "indicators.b.value",
    ]


def test_a_state_under_other_settings_has_no_value_and_never_expires() -> None:
    state = after((event(), at(0)))
    other = Projection({"sum": msgspec.structs.replace(HOURLY["sum"], window="8h")})
    assert other.shown_indicators(state, at(0)) == {}
    assert other.expires(state, at(0), among={"sum"}) is None


def test_what_is_stored_comes_back() -> None:
    state = after((event(2), at(0)), (event("x"), at(1)))
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(state), type=ProfileState) == state


def test_only_what_is_counted_under_todays_settings_can_be_an_estimate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indicators, "MOST_VALUES", 2)
    projection = Projection({"pages": IndicatorSettings(on="*", value="{data.n}", compute="distinct")})
    state = after(*((event(f"v{number}"), at(0)) for number in range(9)), projection=projection)
    assert projection.estimated(state, at(0)) == ["pages"]
    assert Projection({"pages": HOURLY["distinct"]}).estimated(state, at(0)) == []
    assert projection.estimated(fresh(), at(0)) == []


def test_a_value_that_no_json_can_hold_is_skipped_in_a_window_too() -> None:
    projection = Projection({"pages": HOURLY["distinct"]})
    state = fresh()
    assert projection.project(state, event(float("nan")), at=at(0), seq=Seq(1)) == Ignored(("pages",), 0)
    assert state.indicators == {}
