"""Activity indicators: what one adds up to, event by event, the same for any order of events and any order of merges.

Pure functions over ``IndicatorState``, which is replaced and never altered. Each computation keeps only the fields it needs:

=========  ==================================================================================================
count      ``count``; with a ``value``, only events that have one
sum        ``total`` and ``rest``: exact, rounded once when shown (see ``_exact``)
average    as sum, and ``count``
min, max   ``least``, ``greatest``
first,     ``first``, ``last``: text, number or boolean at the least or greatest (effective time, sequence)
last
distinct   ``values``: 64-bit digests, sorted; exact up to ``MOST_VALUES`` different values, where it stops growing
=========  ==================================================================================================

A number is a JSON number or text that reads as one; integers beyond 2**53 are rounded to a double. Not a finite number up to
``GREATEST`` in magnitude: the value is skipped, which the caller is told. Not here: windows.
"""

import json
import math
import re
from bisect import bisect_left
from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import Any, Final, TypeAlias

from cdmd.config.schema import IndicatorSettings
from cdmd.models import IndicatorState, TraitState

MOST_VALUES: Final = 10_000
"""How many different values ``distinct`` counts: the least digests are kept, so that any order of events keeps the same."""

GREATEST: Final = 1e200
"""Beyond it nothing is a measurement; below it no sum of any number of events overflows."""

LONGEST_TEXT: Final = 1000
"""The most characters of a text that ``first`` and ``last`` keep."""

_NUMBER: Final = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?")
_MOST_DIGITS: Final = 400
_INT64: Final = 2**63
_PADDED: Final = re.compile(r"[+-]?0[0-9].*", re.DOTALL)

Add: TypeAlias = Callable[[IndicatorState, Any, int, int], IndicatorState | None]


def definition(settings: IndicatorSettings) -> int:
    """A 32-bit digest of the settings: a state made under other settings is begun anew."""
    on = [settings.on] if isinstance(settings.on, str) else sorted(settings.on)
    return int.from_bytes(blake2b(_canonical([on, settings.value, settings.compute]), digest_size=4).digest())


def number(value: Any) -> float | None:
    """``value`` as a double, when it is a number or text that reads as one (decimal point, optional exponent); else None."""
    if isinstance(value, str):
        text = value.strip()
        if len(text) > _MOST_DIGITS or _NUMBER.fullmatch(text) is None:
            return None
        value = float(text)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value + 0.0 if -GREATEST <= value <= GREATEST else None  # and -0.0 is 0.0, so that neither is the lesser


def add(compute: str) -> Add:
    """The function ``(state, value, time, seq) -> state`` of a computation; it returns None when the value must be skipped.

    ``time`` is the event's effective time in microseconds, ``seq`` its place in the journal; ``value`` is never None, but for
    ``count`` without a value.
    """
    return _ADD[compute]


def combine(one: IndicatorState, other: IndicatorState) -> IndicatorState:
    """What both have accumulated, of events that are in one of them only. Their definitions are the same."""
    total, rest = _exact([one.total, *one.rest, other.total, *other.rest])
    return IndicatorState(
        one.definition,
        one.count + other.count,
        total,
        _either(one.least, other.least, min),
        _either(one.greatest, other.greatest, max),
        _either(one.first, other.first, _earlier),
        _either(one.last, other.last, _later),
        sorted({*one.values, *other.values})[:MOST_VALUES],
        rest,
    )


def show(compute: str, state: IndicatorState) -> Any:
    """The value to show: a float for sum, min, max and average, an int for count and distinct, the value for first and last.

    None where there is none yet. ``MOST_VALUES`` for ``distinct`` means that many or more.
    """
    return _SHOW[compute](state)


def _count(state: IndicatorState, _value: Any, _time: int, _seq: int) -> IndicatorState | None:
    return IndicatorState(state.definition, state.count + 1)


def _sum(state: IndicatorState, value: Any, _time: int, _seq: int) -> IndicatorState | None:
    amount = number(value)
    if amount is None:
        return None
    total, rest = _exact([state.total, amount, *state.rest])
    return IndicatorState(state.definition, state.count + 1, total, rest=rest)


def _min(state: IndicatorState, value: Any, _time: int, _seq: int) -> IndicatorState | None:
    amount = number(value)
    if amount is None:
        return None
    least = amount if state.least is None else min(state.least, amount)
    return IndicatorState(state.definition, state.count + 1, least=least)


def _max(state: IndicatorState, value: Any, _time: int, _seq: int) -> IndicatorState | None:
    amount = number(value)
    if amount is None:
        return None
    greatest = amount if state.greatest is None else max(state.greatest, amount)
    return IndicatorState(state.definition, state.count + 1, greatest=greatest)


def _first(state: IndicatorState, value: Any, time: int, seq: int) -> IndicatorState | None:
    kept = _scalar(value)
    if kept is None:
        return None
    first = _either(state.first, TraitState(kept, time, seq), _earlier)
    return IndicatorState(state.definition, state.count + 1, first=first)


def _last(state: IndicatorState, value: Any, time: int, seq: int) -> IndicatorState | None:
    kept = _scalar(value)
    if kept is None:
        return None
    last = _either(state.last, TraitState(kept, time, seq), _later)
    return IndicatorState(state.definition, state.count + 1, last=last)


def _distinct(state: IndicatorState, value: Any, _time: int, _seq: int) -> IndicatorState | None:
    digest = _digest(value)
    if digest is None:
        return None
    values = state.values
    place = bisect_left(values, digest)
    if place < MOST_VALUES and values[place : place + 1] != [digest]:
        values = [*values[:place], digest, *values[place:]][:MOST_VALUES]
    return IndicatorState(state.definition, state.count + 1, values=values)


def _exact(parts: list[float]) -> tuple[float, list[float]]:
    """The exact sum of ``parts`` in its one canonical form: the double nearest to it, then what that leaves, nearest first.

    ``math.fsum`` rounds the exact sum once (Shewchuk 1997), so the form does not depend on the order. Two or three parts are
    usual; finite doubles up to ``GREATEST`` never need more than some tens.
    """
    total = math.fsum(parts)
    rest: list[float] = []
    head = total
    while head:
        parts.append(-head)
        head = math.fsum(parts)
        if head:
            rest.append(head)
    return total, rest


def _scalar(value: Any) -> Any:
    """What ``first`` and ``last`` keep: a boolean, a number, or a short text; None for anything else."""
    plain = _plain(value)
    if isinstance(plain, str):
        return plain if len(plain) <= LONGEST_TEXT else None
    if isinstance(plain, bool) or (isinstance(plain, int) and -_INT64 <= plain < _INT64):
        return plain
    return number(plain)


def _plain(value: Any) -> Any:
    """Text that reads as a number as that number; padded text ("0042") is a name for something and stays as it is."""
    if not isinstance(value, str) or _PADDED.fullmatch(value) is not None:
        return value
    amount = number(value)
    if amount is None:
        return value
    text = value.strip()
    return int(text) if text.lstrip("+-").isdigit() else amount


def _digest(value: Any) -> int | None:
    """64 bits that name the value, whatever process computes them; equal numbers are equal. None for what is no JSON."""
    plain = _plain(value)
    if isinstance(plain, float):
        if not math.isfinite(plain):
            return None
        plain = int(plain) if plain.is_integer() else plain
    try:
        return int.from_bytes(blake2b(_canonical(plain), digest_size=8).digest())
    except (ValueError, TypeError, RecursionError):
        return None


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def _earlier(one: TraitState, other: TraitState) -> TraitState:
    return one if (one.time, one.seq) <= (other.time, other.seq) else other


def _later(one: TraitState, other: TraitState) -> TraitState:
    return one if (one.time, one.seq) >= (other.time, other.seq) else other


def _either(one: Any, other: Any, choose: Callable[[Any, Any], Any]) -> Any:
    if one is None:
        return other
    return one if other is None else choose(one, other)


_ADD: Final[Mapping[str, Add]] = {
    "count": _count,
    "sum": _sum,
    "average": _sum,
    "min": _min,
    "max": _max,
    "first": _first,
    "last": _last,
    "distinct": _distinct,
}

_SHOW: Final[Mapping[str, Callable[[IndicatorState], Any]]] = {
    "count": lambda state: state.count,
    "sum": lambda state: state.total,
    "average": lambda state: state.total / state.count if state.count else None,
    "min": lambda state: state.least,
    "max": lambda state: state.greatest,
    "first": lambda state: None if state.first is None else state.first.value,
    "last": lambda state: None if state.last is None else state.last.value,
    "distinct": lambda state: len(state.values),
}
