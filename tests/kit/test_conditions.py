import contextlib
import math
import traceback
from datetime import UTC, datetime
from typing import Any

import cel
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdmd.errors import ConditionFault, ValueMissing
from cdmd.kit.conditions import Condition

EVENT = {"type": "order.paid", "data": {"total": 99.5, "items": [1, 2]}, "time": datetime(2026, 1, 1, tzinfo=UTC)}


def holds(text: str, event: Any = EVENT) -> bool:
    return Condition.parse(text).holds({"event": event})


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("event.data.total > 0.0", True),
        ("event.data.total > 100", False),
        ("has(event.data.missing)", False),
        ("event.type.startsWith('order.') && size(event.data.items) == 2", True),
        ("event.data.items.all(x, x > 0)", True),
        ("event.time > timestamp('2025-01-01T00:00:00Z')", True),
        ("true", True),
    ],
)
def test_a_condition_holds_or_not(text: str, answer: bool) -> None:
    assert holds(text) is answer


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("event.missing > 1", "there is no missing (guard it with has())"),
        ("event.data[event.type] > 1", "a key is missing (guard it with has())"),
        ("event.data.items[7] == 1", "a key is missing (guard it with has())|an index is outside its list|CEL"),
        ("event.data.total > 'x'", "the kinds of values do not fit together"),
        ("1 / (event.data.items[0] - 1) == 1", "it divides by zero"),
        ("9223372036854775807 + event.data.items[0] > 0", "a number is out of range"),
        ("int(event.type) == 1", "a name is unknown, or a function does not take its argument"),
        ("event.data.total", "the result is number, not a boolean"),
        ("event.data", "the result is object, not a boolean"),
        ("null", "the result is null, not a boolean"),
    ],
)
def test_a_fault_says_which_condition_and_why(text: str, reason: str) -> None:
    with pytest.raises(ConditionFault) as caught:
        holds(text)
    assert str(caught.value).startswith(f"{text}: ")
    assert any(one in str(caught.value) for one in reason.split("|"))


def test_a_fault_never_shows_a_value() -> None:
    event = {"a": "geheim-4711", "m": {}, "n": 9223372036854775807}
    for text in ("int(event.a) == 1", "event.m[event.a] == 1", "event.a > 1", "event.a", "event.n + event.n > 0"):
        with pytest.raises(ConditionFault) as caught:
            holds(text, event)
        shown = "".join(traceback.format_exception(caught.value))
        assert "geheim" not in shown
        assert "9223372036854775807" not in shown
        assert caught.value.__context__ is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("event.x ==", "^1:11: it ends too early$"),
        ("", "^1:1: it ends too early$"),
        ("evnt.x == 1", "there is no evnt here, only event"),
        ("profile.x == 1", "there is no profile here, only event"),
        ("true " + "|| true" * 400, "at most 2000 characters"),
    ],
)
def test_a_bad_condition_is_told_when_it_is_parsed(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Condition.parse(text)


def test_more_names_can_be_allowed_and_only_those_used_are_handed_over() -> None:
    condition = Condition.parse("event.x == profile.x", names=("event", "profile", "now"))
    assert condition.holds({"event": {"x": 1}, "profile": {"x": 1}, "now": object()})
    with pytest.raises(ConditionFault):
        condition.holds({"event": {"x": 1}})


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "odd",
    [
        "\ud800",
        2**70,
        -(2**70),
        10**4000,
        math.nan,
        math.inf,
        nested(150),
        nested(100_000),
        object(),
        {1: 2},
        {"\ud800": 1},
        b"\xff",
        datetime.max,  # noqa: DTZ901
        datetime(1, 1, 1),  # noqa: DTZ001
    ],
)
def test_odd_values_are_a_verdict_or_a_fault_and_never_a_crash(odd: Any) -> None:
    with contextlib.suppress(ConditionFault):
        assert holds("event.x == 1 || event.y == 2", {"x": odd, "y": 2}) in {True, False}


def test_what_is_nested_too_deeply_is_a_fault() -> None:
    with pytest.raises(ConditionFault, match="nested deeper than 200 levels"):
        holds("event.x == 1", {"x": nested(500)})
    assert holds("event.y == 2", {"x": nested(190), "y": 2})


def test_a_deep_condition_of_the_allowed_length_is_no_crash() -> None:
    assert holds("!" * 1990 + "true") is True
    assert holds("1" + "+1" * 990 + " == 991") is True
    with pytest.raises(ValueError, match=r"."):
        Condition.parse("(" * 990 + "1" + ")" * 990)


class PanicException(BaseException):
    """What CEL's native code raises where it gives up; it stands outside of Exception."""


class _Broken:
    def __init__(self, error: BaseException) -> None:
        self._error = error

    def execute(self, _values: object) -> bool:
        raise self._error

    def variables(self) -> list[str]:
        raise self._error


def test_a_panic_of_the_native_code_is_a_fault_and_an_interrupt_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConditionFault, match="CEL failed on this event"):
        Condition("x", _Broken(PanicException("geheim")), ["event"]).holds({})  # type: ignore[arg-type]
    with pytest.raises(KeyboardInterrupt):
        Condition("x", _Broken(KeyboardInterrupt()), ["event"]).holds({})  # type: ignore[arg-type]
    monkeypatch.setattr(cel, "compile", lambda _text: _Broken(PanicException("gave up")))
    with pytest.raises(ValueError, match="gave up"):
        Condition.parse("true")
    monkeypatch.setattr(cel, "compile", lambda _text: _Broken(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        Condition.parse("true")


def test_a_condition_shows_its_text() -> None:
    assert repr(Condition.parse("true")) == "Condition('true')"


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=3), st.datetimes()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=2), inner, max_size=3)),
    max_leaves=8,
)


@settings(max_examples=200)
@given(
    JSON,
    st.sampled_from(
        ["event.x == 1", "event.x > 1", "size(event.x) > 0", "event.x", "event.x in [1, 'a']", "string(event.x) == ''"]
    ),
)
def test_any_event_is_a_verdict_or_a_fault(value: Any, text: str) -> None:
    with contextlib.suppress(ConditionFault):
        assert holds(text, {"x": value}) in {True, False}


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ("profile.traits.vip == true", {("profile", "traits", "vip")}),
        ("profile['traits'][\"a b\"] == 1 && now > now", {("profile", "traits", "a b"), ("now",)}),
        ("profile.traits.name.startsWith('indicators.x')", {("profile", "traits", "name")}),
        ("size(profile.identifiers) > 1 // indicators.x", {("profile", "identifiers")}),
        ("has(indicators.a) || indicators.b > 1.0", {("indicators", "a"), ("indicators", "b")}),
        ("profile.traits[profile.traits.key] == 1", {("profile", "traits"), ("profile", "traits", "key")}),
        ("profile.identifiers.email.exists(e, e.endsWith('@x'))", {("profile", "identifiers", "email")}),
        ("true", set()),
    ],
)
def test_what_a_condition_reads_is_told_from_its_text(text: str, paths: set[tuple[str, ...]]) -> None:
    assert Condition.parse(text, names=("profile", "indicators", "now")).paths() == paths


def test_a_value_that_is_missing_is_told_from_one_that_does_not_fit() -> None:
    condition = Condition.parse("event.a > 1")
    with pytest.raises(ValueMissing, match="there is no a"):
        condition.holds({"event": {}})
    with pytest.raises(ConditionFault) as caught:
        condition.holds({"event": {"a": "x"}})
    assert not isinstance(caught.value, ValueMissing)


@pytest.mark.parametrize(
    "text",
    [
        "event.a.all(x, event.a.exists(y, x == y))",
        "event.a.filter(x, event.b.map(y, y).size() > x).size() > 0",
        "size(event.a.map(x, size(event.a.map(y, y)))) > 1",
    ],
)
def test_macros_within_macros_are_refused_because_their_times_multiply(text: str) -> None:
    with pytest.raises(ValueError, match="a macro within a macro may never end"):
        Condition.parse(text)


def test_macros_one_after_the_other_are_fine() -> None:
    assert holds("event.data.items.all(x, (x > 0)) && event.data.items.exists(y, y > 1) && size('map(') == 4")


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("event.a.exists(x, x in event.b)", {"a": [1] * 2000, "b": [2] * 2000}),
        ("event.a.map(x, x + 1).size() > 0", {"a": [1] * 2000}),
        ("event.a.exists(x, event.b.contains(x))", {"a": ["x"] * 2000, "b": "y" * 1_000_000}),
        ("event.a.exists(x, x.matches('^[a-c]+$'))", {"a": ["x"] * 20_000}),
        ("event.a.exists(x, x == 2)", {"a": [1] * 200_000}),
    ],
)
def test_what_a_long_list_would_take_too_long_for_is_a_fault_at_once(text: str, data: Any) -> None:
    with pytest.raises(ConditionFault, match="a list is too long to look at each of its elements") as caught:
        holds(text, data)
    assert "1" not in str(caught.value).removeprefix(text)


def test_lists_of_ordinary_length_are_looked_at() -> None:
    lines = [{"sku": f"A{number}", "price": 9.5, "count": 2, "note": "x"} for number in range(100)]
    event = {"lines": lines, "wanted": "A99", "long": [0] * 20_000}
    assert holds("event.lines.exists(x, x.sku == event.wanted)", {**event, "long": []})
    assert holds("event.lines.filter(x, x.price > 1.0).size() == 100", {"lines": lines})
    assert holds("event.long.all(x, x == 0) && event.lines.all(x, x.count > 1)", event)
