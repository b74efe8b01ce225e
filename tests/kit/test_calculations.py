"""Calculations."""

import pytest

from cdmd.errors import ConditionFault
from cdmd.kit.calculations import Calculation, indicators_in, mixed


def test_a_calculation_is_over_doubles_so_that_a_division_is_a_true_one() -> None:
    rate = Calculation("indicators.spent / indicators.orders")
    assert rate.operands == {"spent", "orders"}
    assert rate.value({"spent": 7, "orders": 2, "other": "x"}) == 3.5


def test_what_is_missing_or_infinite_is_no_value() -> None:
    rate = Calculation("indicators.a / indicators.b")
    assert rate.value({"a": 1}) is None
    assert rate.value({"a": 1, "b": 0}) is None
    assert rate.value({"a": 0, "b": 0}) is None
    assert rate.value({"a": 1e200, "b": 1e-200}) is None


@pytest.mark.parametrize("text", ["indicators.a", "indicators.a > 1.0", "'x'", "indicators.a / 2"])
def test_what_is_no_number_is_a_fault_that_holds_no_value(text: str) -> None:
    with pytest.raises(ConditionFault) as caught:
        Calculation(text + " + indicators.a" if text == "'x'" else text).value({"a": "geheim"})
    assert "geheim" not in str(caught.value)


def test_the_names_are_read_from_the_text_and_not_from_what_is_quoted() -> None:
    assert indicators_in("indicators.a + indicators['b-c'] + double(size('indicators.d'))") == {"a", "b-c"}
    assert indicators_in("double(size(indicators))") is None
    with pytest.raises(ValueError, match="there is no profile here"):
        indicators_in("profile.a")
    with pytest.raises(ValueError, match="name the indicators"):
        Calculation("1.0")


def test_whole_numbers_beside_doubles_are_told_before_they_fail_on_every_customer() -> None:
    assert mixed("indicators.a / 2.0", ["a"]) is None
    assert "write numbers with a decimal point (2.0)" in (mixed("indicators.a / 2", ["a"]) or "")
