"""Calculations: CEL expressions over named numbers that come to a number, or to nothing.

Every number goes in as a double, because CEL does not mix integers and doubles: ``indicators.spent / indicators.orders`` is a
true division. Not for: conditions, and where the numbers come from.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from cdmd.errors import ConditionFault, ValueMissing
from cdmd.kit.conditions import Condition

NAMES: Final = ("indicators",)
_TRIED: Final = 3.0
_GREATEST: Final = 1e300


class Calculation:
    """A compiled expression over ``indicators``; ``operands`` are the names that it speaks of."""

    __slots__ = ("_expression", "operands")

    def __init__(self, text: str) -> None:
        """Raises ValueError where it is no expression, or does not say which indicators it is over."""
        self._expression = Condition.parse(text, names=NAMES)
        operands = indicators_in(text)
        if not operands:
            raise ValueError("name the indicators that it is calculated from (indicators.NAME)")
        self.operands = operands

    def value(self, numbers: Mapping[str, object]) -> float | None:
        """What it comes to for these ``numbers``; None where one that it needs is missing, and where it divides by zero.

        Raises ConditionFault where one is no number.
        """
        known = {name: _double(numbers[name]) for name in self.operands if name in numbers}
        try:
            found = self._expression.value({"indicators": known})
        except ValueMissing:
            return None
        if isinstance(found, bool) or not isinstance(found, int | float):
            raise ConditionFault(f"{self._expression.text}: the result is not a number")
        return float(found) if -_GREATEST <= found <= _GREATEST else None


def indicators_in(text: str) -> frozenset[str] | None:
    """The names that ``text`` reads as ``indicators.NAME``; None where it reads ``indicators`` as a whole.

    Raises ValueError where it is no expression.
    """
    paths = Condition.parse(text, names=NAMES).paths()
    if any(len(path) == 1 for path in paths):
        return None
    return frozenset(path[1] for path in paths)


def mixed(text: str, names: Iterable[str]) -> str | None:
    """Why ``text`` cannot be calculated for any numbers, or None: whole numbers beside doubles, above all."""
    try:
        Calculation(text).value(dict.fromkeys(names, _TRIED))
    except ConditionFault as fault:
        return f"{fault}; write numbers with a decimal point (2.0), the indicators are doubles here"
    return None


def _double(value: object) -> object:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else value
