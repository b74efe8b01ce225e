"""Audiences: what is asked of whom."""

from datetime import UTC, datetime
from typing import Any

import pytest

from cdmd.config.schema import AudienceSettings, IndicatorSettings
from cdmd.errors import ConfigInvalid
from cdmd.kit.conditions import Failures
from cdmd.models import Event, IdentifierState, Micros, ProfileState, Seq, TraitState, from_micros, to_micros
from cdmd.profiles import audiences as module
from cdmd.profiles.audiences import Audiences, Move, trial
from cdmd.profiles.projection import Projection

NOW = to_micros(datetime(2026, 11, 23, 10, 0, tzinfo=UTC))
DAY = 86_400_000_000
PROJECTION = Projection(
    {
        "orders": IndicatorSettings(on="order.*"),
        "recent": IndicatorSettings(on="order.*", window="30d"),
        "rate": IndicatorSettings(value="indicators.recent / indicators.orders"),
        "hours": IndicatorSettings(on="tv.runtime", value="{data.hours}", compute="max"),
    }
)


def settings(**where: str) -> Audiences:
    return Audiences({name: AudienceSettings(where=text) for name, text in where.items()}, PROJECTION)


def profile() -> ProfileState:
    return ProfileState(
        "01J",
        NOW - DAY,
        NOW,
        [IdentifierState("email", "a@x.example", NOW, NOW, "shop"), IdentifierState("email", "b@x.example", NOW, NOW, "shop")],
        {"vip": TraitState(True, NOW, 1), "gone": TraitState(None, NOW, 1)},
    )


@pytest.mark.parametrize(
    ("where", "holds"),
    [
        ("profile.traits.vip == true", True),
        ("has(profile.traits.gone)", False),
        ("profile.identifiers.email.exists(e, e.endsWith('b@x.example'))", True),
        ("size(profile.identifiers.email) > 2", False),
        ("now - profile.created >= duration('24h')", True),
        ("profile.updated < timestamp('2026-11-23T10:00:01Z')", True),
        ("indicators.orders == 0 && indicators.recent < 1", True),
        ("has(indicators.hours)", False),
        ("size(indicators) == 2", True),
        ("has(profile.traits) && has(profile.identifiers)", True),
        ("size(profile) == 4", True),
        ("true", True),
    ],
)
def test_a_condition_sees_the_profile_its_indicators_and_the_clock(where: str, holds: bool) -> None:
    found = settings(x=where)
    failures: dict[str, Failures] = {}
    assert found.holds(found.every[0], profile(), NOW, failures) is holds
    assert failures == {}


def test_only_what_a_condition_reads_is_handed_to_it() -> None:
    (one,) = settings(x="profile.traits.vip == true && indicators.orders > 1").every
    assert one.scope(PROJECTION, profile(), NOW) == {"profile": {"traits": {"vip": True}}, "indicators": {"orders": 0}}


@pytest.mark.parametrize("hours", [None, 3.5])
@pytest.mark.parametrize("vip", [None, True, False, "yes", 1.5])
def test_what_needs_nothing_laid_out_is_answered_as_what_does(hours: float | None, vip: Any) -> None:
    """Seen to fail with zero for every number that is not there, and with a trait that was removed for one that is there."""
    state, failures = profile(), {}
    state.traits["vip"] = TraitState(vip, NOW, 1)
    if hours is not None:
        for kind, at in (("tv.runtime", NOW), ("order.paid", Micros(NOW - 40 * DAY))):
            one = Event(id=kind, source="shop", type=kind, received=from_micros(NOW), data={"hours": hours})
            PROJECTION.project(state, one, at=at, seq=Seq(1), now=NOW)
    texts = ["indicators.hours > 3.0", "has(indicators.hours)", "indicators.orders >= 1 || indicators.recent >= 1"]
    texts += ["profile.traits.vip == true", "!has(profile.traits.vip)", "profile.traits.vip && indicators.recent < 1"]
    texts += ["profile.traits.gone == 'x' || indicators.orders == 0", "profile.traits.vip == 'yes'", "indicators.rate == 0.0"]
    found = settings(**{f"x{number}": text for number, text in enumerate(texts)})
    assert [one.direct is None for one in found.every] == [False] * 8 + [True]
    for one in found.every:
        laid_out = one._replace(direct=None)
        assert found.holds(one, state, NOW, failures) is found.holds(laid_out, state, NOW, failures), one.condition
        counted = failures.pop(one.name, Failures())
        assert (counted.missing, counted.failed) in {(0, 0), (2, 0), (0, 2)}


def test_a_value_that_is_missing_is_looked_for_once_and_counted_once() -> None:
    (one,), asked = settings(x="indicators.hours > 3.0").every, list[Any]()
    counting = one._replace(direct=asked.append)
    failures = {"x": Failures(missing=4)}
    assert settings().judge(profile(), NOW, [counting], failures) == []
    assert (len(asked), failures) == (1, {"x": Failures(missing=5)})


def test_judging_says_what_changed_and_notes_it() -> None:
    found, state, failures = settings(vip="profile.traits.vip", none="false", odd="profile.traits.vip > 1"), profile(), {}
    state.audiences = before = {"none": 1, "elsewhere": 2}
    assert found.judge(state, NOW, found.every, failures) == [Move("vip", True), Move("none", False)]
    assert state.audiences == {"elsewhere": 2, "vip": NOW}
    assert before == {"none": 1, "elsewhere": 2}, "what others may hold is replaced, not altered"
    assert found.judge(state, Micros(NOW + 1), found.every, failures) == []
    assert failures["odd"].failed == 2
    assert found.shown(state) == ["vip"]


def test_an_event_touches_the_audiences_that_read_what_it_may_change() -> None:
    found = settings(
        orders="indicators.orders > 1",
        rate="indicators.rate > 0.5",
        hours="indicators.hours > 1.0",
        vip="profile.traits.vip == true",
        any_trait="size(profile.traits) > 1",
        mail="has(profile.identifiers.email)",
        fresh="profile.updated > timestamp('2026-01-01T00:00:00Z')",
        young="now - profile.created < duration('24h')",
        whole="size(profile) == 4",
    )

    def touched(kind: str, *traits: str, identified: bool = False) -> set[str]:
        return {one.name for one in found.touched(kind, traits, identified=identified)}

    assert touched("order.paid") == {"orders", "rate", "fresh", "whole"}
    assert touched("tv.runtime") == {"hours", "fresh", "whole"}
    assert touched("page", "vip") == {"vip", "any_trait", "fresh", "whole"}
    assert touched("page", "city") == {"any_trait", "fresh", "whole"}
    assert touched("page", identified=True) == {"mail", "fresh", "whole"}
    assert {one.name for one in found.moving} == {"young"}
    assert {one.name for one in found.by_clock} == {"rate"}
    assert bool(found)
    assert not settings()


def test_types_from_outside_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_PLANS", 3)
    found = settings(orders="indicators.orders > 1")
    assert [len(found.touched(f"order.{number}", (), identified=False)) for number in range(9)] == [1] * 9
    assert len(found._plans) <= 3


def test_every_mistake_in_the_audiences_is_reported_at_once() -> None:
    with pytest.raises(ConfigInvalid) as caught:
        settings(a="indicators.oders > 1", b="profile.nothing", c="event.x", d=") ")
    first, second, third, fourth = caught.value.problems
    assert first == "audiences.a.where: there is no indicator oders (did you mean orders?)"
    assert second == "audiences.b.where: a profile has no nothing, only identifiers, traits, created, updated"
    assert third.endswith("an audience has no event, it is about a customer")
    assert fourth.startswith("audiences.d.where: not a condition: ")


def test_a_condition_can_be_tried_and_is_checked_like_one_that_is_saved() -> None:
    assert trial("indicators.rate > 0.5", PROJECTION).indicators == {"rate", "recent", "orders"}
    with pytest.raises(ConfigInvalid, match="there is no indicator oders"):
        trial("indicators.oders > 1", PROJECTION)


def test_a_definition_is_the_condition_in_every_process() -> None:
    assert settings(a="true", b="true", c="false").definitions == {"a": 315169790, "b": 315169790, "c": 1172109608}
