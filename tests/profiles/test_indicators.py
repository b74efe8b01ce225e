"""Activity indicators."""

import itertools
import math
from collections.abc import Sequence
from fractions import Fraction
from hashlib import blake2b
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdmd.config.schema import IndicatorSettings
from cdmd.kit.quantities import Duration
from cdmd.models import IndicatorState, TraitState
from cdmd.profiles import indicators
from cdmd.profiles.indicators import MOST_VALUES, add, combine, definition, estimated, show
from cdmd.profiles.values import GREATEST, LONGEST_TEXT, number

COMPUTATIONS = ("count", "sum", "min", "max", "average", "stddev", "first", "last", "distinct")
SETTINGS = IndicatorSettings(on="a", compute="sum")


def state_of(compute: str, values: Sequence[Any], *, start: int = 0) -> IndicatorState:
    state = IndicatorState(1)
    for seq, value in enumerate(values, start):
        state = add(compute)(state, value, seq, seq) or state
    return state


def shown(compute: str, *values: Any) -> Any:
    return show(compute, state_of(compute, values))


def test_each_computation_shows_what_its_name_says() -> None:
    values = (3, 1.5, 3, "2")
    assert [shown(compute, *values) for compute in COMPUTATIONS] == [
        4,
        9.5,
        1.5,
        3.0,
        2.375,
        pytest.approx(0.649519052838),
        3,
        2,
        3,
    ]


def test_sums_are_floats_and_counts_are_integers() -> None:
    assert [type(shown(compute, 3)) for compute in COMPUTATIONS] == [int, float, float, float, float, float, int, int, int]


def test_nothing_is_shown_before_there_is_a_value() -> None:
    empty = IndicatorState(1)
    assert [show(compute, empty) for compute in COMPUTATIONS] == [0, 0.0, None, None, None, None, None, None, 0]


@pytest.mark.parametrize(
    ("text", "value"),
    [("42", 42.0), (" 42.50 ", 42.5), ("-1e3", -1000.0), ("+.5", 0.5), ("007.50", 7.5), ("5.", 5.0), (7, 7.0), (-0.0, 0.0)],
)
def test_a_number_or_text_that_reads_as_one_is_a_number(text: object, value: float) -> None:
    found = number(text)
    assert found == value
    assert math.copysign(1, found or 0.0) == math.copysign(1, value)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "4,2",
        "1 000",
        "1_000",
        "0x10",
        "nan",
        "inf",
        "NaN",
        "12 kr",
        "١٢",
        "1e99999",
        "9" * 500,
        True,
        None,
        [1],
        {"a": 1},
        math.nan,
        math.inf,
        -math.inf,
        GREATEST * 1.01,
        10**400,
        "1e300",
    ],
)
def test_what_is_no_finite_number_is_skipped_and_never_crashes(value: object) -> None:
    assert number(value) is None
    for compute in ("sum", "average", "stddev", "min", "max"):
        assert add(compute)(IndicatorState(1), value, 1, 1) is None


def test_first_and_last_follow_effective_time_and_ties_the_sequence() -> None:
    state = IndicatorState(1)
    for value, time, seq in (("b", 5, 2), ("a", 5, 1), ("d", 5, 4), ("old", 1, 9), ("c", 5, 3)):
        state = add("last")(state, value, time, seq) or state
    assert state.last == TraitState("d", 5, 4)
    for value, time, seq in (("b", 5, 2), ("a", 5, 1), ("new", 9, 0)):
        state = add("first")(state, value, time, seq) or state
    assert state.first == TraitState("a", 5, 1)


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ("gold", "gold"),
        ("42", 42),
        ("42.5", 42.5),
        (42, 42),
        (42.0, 42.0),
        (True, True),
        ("0042", "0042"),
        ("-007", "-007"),
        ("0", 0),
        (2**53 + 1, 2**53 + 1),
        (2**64, 2.0**64),
        ("9" * 30, 1e30),
        ("x" * LONGEST_TEXT, "x" * LONGEST_TEXT),
    ],
)
def test_first_and_last_keep_text_numbers_and_booleans(value: object, kept: object) -> None:
    for compute in ("first", "last"):
        found = shown(compute, value)
        assert found == kept
        assert type(found) is type(kept)
        assert msgspec.msgpack.encode(found)


@pytest.mark.parametrize("value", ["x" * (LONGEST_TEXT + 1), [1], {"a": 1}, math.nan, math.inf, 10**300])
def test_first_and_last_skip_what_is_large_or_composed(value: object) -> None:
    for compute in ("first", "last"):
        assert add(compute)(IndicatorState(1), value, 1, 1) is None


def test_equal_values_count_once_however_they_are_written() -> None:
    assert shown("distinct", 1, 1.0, "1", "1.0", " 1 ") == 1
    assert shown("distinct", "a", "A", "0042", 42, True, False, [1, 2], {"a": 1, "b": 2}, {"b": 2, "a": 1}) == 8
    assert shown("distinct", 2**53, 2**53 + 1) == 2
    assert shown("distinct", 0.0, -0.0, "-0") == 1


def test_a_value_that_no_json_can_hold_is_skipped() -> None:
    nested: list[object] = []
    for _ in range(100_000):
        nested = [nested]
    for value in (math.nan, math.inf, [math.nan], {"a": object()}, nested):
        assert add("distinct")(IndicatorState(1), value, 1, 1) is None
    while nested:
        nested = nested.pop()  # type: ignore[assignment]  # taken apart by hand: its own end would recurse as deep


def test_digests_are_the_same_in_every_process() -> None:
    digests = [int.from_bytes(blake2b(text, digest_size=8).digest()) for text in (b'"gold"', b"42", b'{"a":[1]}')]
    assert state_of("distinct", ["gold", 42, {"a": [1]}]).values == tuple(sorted(digests))


def test_distinct_is_exact_up_to_its_bound_and_an_estimate_marked_as_one_beyond() -> None:
    state = state_of("distinct", [f"v{number}" for number in range(MOST_VALUES)] * 2)
    assert MOST_VALUES == 1_000
    assert (show("distinct", state), estimated(state)) == (1_000, False)
    for further in range(MOST_VALUES, 20_000):
        state = add("distinct")(state, f"v{further}", 1, 1) or IndicatorState(1)
    assert len(state.values) == MOST_VALUES + 1
    assert estimated(state)
    assert show("distinct", state) == pytest.approx(20_000, rel=0.1)


def test_a_deviation_is_that_of_all_values_and_exact_where_sums_of_squares_would_cancel() -> None:
    assert shown("stddev", 5) == 0.0
    assert shown("stddev", 1e9 + 1, 1e9 + 2, 1e9 + 3) == pytest.approx(math.sqrt(2 / 3), rel=1e-15)
    assert shown("stddev", 1e149, -1e149) == pytest.approx(1e149)
    assert add("stddev")(IndicatorState(1), 1e151, 1, 1) is None


@given(st.lists(st.floats(-1e140, 1e140).filter(lambda value: value == 0 or abs(value) > 1e-140), min_size=1, max_size=20))
def test_the_sum_of_squares_is_exact(values: list[float]) -> None:
    state = state_of("stddev", values)
    assert sum(map(Fraction, state.squares), Fraction(0)) == sum((Fraction(value) ** 2 for value in values), Fraction(0))


@given(st.permutations([f"v{number}" for number in range(30)]), st.integers(0, 30))
def test_beyond_its_bound_distinct_still_does_not_depend_on_the_order(values: list[str], cut: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(indicators, "MOST_VALUES", 10)
        reference = state_of("distinct", [f"v{number}" for number in range(30)]).values
        assert state_of("distinct", values).values == reference
        assert combine(state_of("distinct", values[:cut]), state_of("distinct", values[cut:])).values == reference


def test_what_was_handed_in_is_not_altered() -> None:
    for compute in COMPUTATIONS:
        state = state_of(compute, [5, 0.1, 3])
        before = msgspec.msgpack.encode(state)
        add(compute)(state, 0.7, 9, 9)
        combine(state, state_of(compute, [1, 2], start=10))
        assert msgspec.msgpack.encode(state) == before


def test_many_tenths_add_up_to_the_whole() -> None:
    assert shown("sum", *[0.1] * 10) == 1.0
    assert shown("sum", 1e100, 1, -1e100, "1") == 2.0


VALUES = st.one_of(
    st.floats(-GREATEST, GREATEST),
    st.integers(-(10**6), 10**6).map(lambda cents: cents / 100),
    st.integers(),
    st.sampled_from(["1.5", "x", "0042", True, None, [1]]),
)
EVENTS = st.lists(st.tuples(VALUES, st.integers(0, 5)), max_size=25)


@st.composite
def shuffled(draw: st.DrawFn) -> tuple[list[tuple[Any, int, int]], list[tuple[Any, int, int]]]:
    events = [(value, time, seq) for seq, (value, time) in enumerate(draw(EVENTS))]
    return events, draw(st.permutations(events))


def apply(compute: str, events: Sequence[tuple[Any, int, int]]) -> IndicatorState:
    state = IndicatorState(1)
    for value, time, seq in events:
        state = add(compute)(state, value, time, seq) or state
    return state


@pytest.mark.parametrize("compute", COMPUTATIONS)
@given(both=shuffled(), cuts=st.lists(st.integers(0, 25), max_size=4), order=st.randoms(use_true_random=False))
@pytest.mark.no_cover
def test_no_order_of_events_and_no_order_of_merges_changes_anything(
    compute: str, both: tuple[list[Any], list[Any]], cuts: list[int], order: Any
) -> None:
    events, other = both
    reference = apply(compute, events)
    assert apply(compute, other) == reference
    edges = [0, *sorted(cuts), len(other)]
    trees = [apply(compute, other[start:end]) for start, end in itertools.pairwise(edges)]
    while len(trees) > 1:
        left = trees.pop(order.randrange(len(trees)))
        right = trees.pop(order.randrange(len(trees)))
        trees.append(combine(left, right))
    assert trees[0] == reference
    assert show(compute, trees[0]) == show(compute, reference)


@given(st.lists(st.floats(-1e150, 1e150), max_size=30))
def test_a_sum_is_the_exact_one_rounded_once(values: list[float]) -> None:
    exact = sum(map(Fraction, values), Fraction(0))
    state = state_of("sum", values)
    assert show("sum", state) == float(exact)
    assert sum(map(Fraction, [state.total, *state.rest]), Fraction(0)) == exact


def test_a_definition_names_what_is_counted_how_and_on_which_types() -> None:
    same = IndicatorSettings(on=("a",), compute="sum")
    assert definition(SETTINGS) == definition(same)
    assert definition(IndicatorSettings(on=("b", "a"))) == definition(IndicatorSettings(on=("a", "b")))
    different = [
        SETTINGS,
        IndicatorSettings(on="b", compute="sum"),
        IndicatorSettings(on="a", compute="max"),
        IndicatorSettings(on="a", compute="sum", value="{data.x}"),
    ]
    assert len({definition(entry) for entry in different}) == 4
    assert all(0 <= definition(entry) < 2**32 for entry in different)
    assert definition(SETTINGS) == 693531482, "the same in every process"


def test_a_condition_a_window_and_its_step_are_part_of_the_definition() -> None:
    entries = [
        IndicatorSettings(on="a"),
        IndicatorSettings(on="a", where="true"),
        IndicatorSettings(on="a", window="1d"),
        IndicatorSettings(on="a", window="1d", step=Duration.parse("1h")),
        IndicatorSettings(on="a", window="day"),
    ]
    assert len({definition(entry) for entry in entries}) == 5
    assert definition(IndicatorSettings(on="a", window="1d", step=Duration.parse("60m"))) == definition(entries[3])
