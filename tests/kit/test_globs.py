import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdmd.kit import globs
from cdmd.kit.globs import Globs


@pytest.mark.parametrize(
    ("patterns", "matching", "other"),
    [
        (["*"], ["", "a", "a.b\nc"], []),
        (["order.paid"], ["order.paid"], ["order.paid.x", "xorder.paid", "order_paid"]),
        (["order.*"], ["order.", "order.paid", "order.paid.again"], ["order", "x.order.paid"]),
        (["*.paid", "tv.*"], ["order.paid", ".paid", "tv.runtime"], ["paid", "order.paid.x"]),
        (["a*b*c"], ["abc", "a.b.c", "abbc"], ["ac", "acb", "abc."]),
        (["ab*ba"], ["abba", "ab.ba"], ["aba"]),
        (["a*b*bc"], ["abbc", "a.b.bc"], ["abc"]),
        (["[ab]?."], ["[ab]?."], ["a", "ax."]),
        ([], [], ["", "a"]),
        ([""], [""], ["a"]),
    ],
)
def test_a_star_matches_any_characters_and_nothing_else_is_special(
    patterns: list[str], matching: list[str], other: list[str]
) -> None:
    found = Globs(patterns)
    for _ in range(2):  # the second time from memory
        assert [type_ for type_ in [*matching, *other] if found.matches(type_)] == matching


def test_one_glob_may_stand_alone() -> None:
    assert Globs("tv.*").matches("tv.runtime")
    assert repr(Globs("tv.*")) == "Globs(['tv.*'])"


def test_what_is_remembered_is_bounded() -> None:
    found = Globs("a*b")
    for number in range(3 * globs._CACHED):
        assert found.matches(f"a{number}b")
    assert len(found._seen) <= globs._CACHED


@given(st.lists(st.text(alphabet="ab.*", max_size=6), max_size=3), st.text(alphabet="ab.", max_size=8))
def test_globs_agree_with_the_regular_expression_they_stand_for(patterns: list[str], text: str) -> None:
    expected = any(re.fullmatch(".*".join(map(re.escape, one.split("*"))), text, re.DOTALL) for one in patterns)
    assert Globs(patterns).matches(text) is expected


def test_many_stars_do_not_take_exponential_time() -> None:
    assert not Globs("*a" * 30 + "*b").matches("a" * 20_000)
