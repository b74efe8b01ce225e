"""Conditions that are answered without CEL: never otherwise than CEL would."""

from typing import Any

import cel
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdmd.kit.comparisons import Unsure, plain_answer
from cdmd.kit.conditions import Condition

SCOPE = {"a": {"n": 3, "f": 2.5, "t": "x", "b": True, "none": None, "deep": {"n": 1}, "list": [1]}}


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("a.n >= 3", True),
        ("a.n == 3.0 && a.f < 2.6", True),
        ("a.f > -1 || a.missing == 1", True),
        ("a.missing == 1 && a.b == false", False),
        ("a.missing == 1 && a.b", None),
        ("a.missing == 1 || a.n < 1", None),
        ("!(a.t == 'x')", False),
        ("!a.missing", None),
        ("has(a.n) && !has(a.missing) && has(a.none)", True),
        ("a.deep.n != 2", True),
        ('a.t < "y"', True),
        ("  a.b == true  ", True),
    ],
)
def test_comparisons_of_what_is_there_are_answered_and_of_what_is_missing_are_unknown(text: str, answer: bool | None) -> None:
    plain = plain_answer(text)
    assert plain is not None
    assert plain(SCOPE) is answer


@pytest.mark.parametrize(
    "text", ["a.none == 1", "a.t == 1", "a.n == 'x'", "a.n == true", "a.n && a.b", "a.list < 1", "a.n.x == 1", "a.gone.x == 1"]
)
def test_kinds_that_do_not_compare_at_once_are_left_to_cel(text: str) -> None:
    plain = plain_answer(text)
    assert plain is not None
    with pytest.raises(Unsure):
        plain(SCOPE)


@pytest.mark.parametrize(
    "text",
    [
        "true",
        "a",
        "a == 1",
        "1 < a.n",
        "a.n + 1 > 2",
        "a.n -1 > 2",
        "a.n in [1]",
        "a.t.startsWith('x')",
        "a['n'] == 1",
        "a.n == 1u",
        "a.n == 1e3",
        "a.n == 9007199254740993",
        "a.n == 'it\\'s'",
        "a.b < true",
        "a.n == 1 == true",
        "has(a)",
        "a.true == 1",
        "(a.n == 1",
        "a.n ==",
        "a.n == 1 // really",
        " && ".join(["a.n == 1"] * 40),
        "",
    ],
)
def test_what_is_not_a_plain_comparison_is_left_to_cel(text: str) -> None:
    assert plain_answer(text) is None


def test_whole_numbers_beyond_a_double_are_left_to_cel() -> None:
    plain = plain_answer("a.n > 9007199254740992.0")
    assert plain is not None
    with pytest.raises(Unsure):
        plain({"a": {"n": 2**53 + 1}})


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 5),
    st.integers(),
    st.floats(),
    st.sampled_from(["", "x", "é", "\U0001f600", "a"]),
    st.just([1]),
)
LITERALS = st.sampled_from(["0", "1", "-1", "2.0", "0.5", "9007199254740992", "'x'", "'é'", '""', "true", "false"])
LEAVES = st.one_of(
    st.tuples(st.sampled_from("xyz"), st.sampled_from(["==", "!=", "<", "<=", ">", ">="]), LITERALS).map(
        lambda leaf: f"s.{leaf[0]} {leaf[1]} {leaf[2]}"
    ),
    st.sampled_from(["has(s.x)", "has(s.y)", "s.x", "s.z"]),
)
TEXTS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["&&", "||"]), inner).map(lambda both: f"{both[0]} {both[1]} {both[2]}"),
        inner.map(lambda one: f"({one})"),
        inner.map(lambda one: f"!({one})"),
    ),
    max_leaves=6,
)


@settings(max_examples=500)
@given(TEXTS, st.dictionaries(st.sampled_from("xyz"), VALUES, max_size=3))
def test_every_answer_is_the_one_that_cel_gives(text: str, values: dict[str, Any]) -> None:
    plain = plain_answer(text)
    if plain is None:
        return
    try:
        answer = plain({"s": values})
    except Unsure:
        return
    try:
        said = cel.compile(text).execute({"s": values})
    except KeyError:
        said = None
    assert answer is said
    assert Condition.parse(text, names=["s"]).answer({"s": values}) is said
