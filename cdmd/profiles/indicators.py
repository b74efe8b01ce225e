"""Activity indicators: what one adds up to, event by event, the same for any order of events and any order of merges.

Pure functions over ``IndicatorState``, which is replaced and never altered. Each computation keeps only the fields it needs:

=========  ==================================================================================================
count      ``count``; with a ``value``, only events that have one
sum        ``total`` and ``rest``: exact, rounded once when shown (see ``_exact``)
average    as sum, and ``count``
stddev     as average, and ``squares``, exact too: the standard deviation of all values (population, not sample)
min, max   ``least``, ``greatest``
first,     ``first``, ``last``: text, number or boolean at the least or greatest (effective time, sequence)
last
distinct   ``values``: 64-bit digests, sorted; exact up to ``MOST_VALUES`` different values, an estimate beyond
=========  ==================================================================================================

With a window each bucket is such a state among ``parts`` (``cdmd.kit.windows``), and what is shown is their sum.

The estimate is by the k least values (Bar-Yossef and others 2002): beyond ``MOST_VALUES`` only the least digests are kept, and
how close they lie says how many there must be; its standard error is 3 %.

What a value must be stands in ``values``; one that is not is skipped, which the caller is told. Not here: where a window's
buckets lie.
"""

import math
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from operator import attrgetter
from typing import Any, Final, TypeAlias

from cdmd.config.schema import IndicatorSettings
from cdmd.models import IndicatorState, TraitState
from cdmd.profiles.values import digest_of, number, scalar, short_digest

MOST_VALUES: Final = 1_000
"""Up to how many different values ``distinct`` is exact; one more of the least digests is kept, in any order of events."""

NEUTRAL: Final[Mapping[str, Any]] = {"count": 0, "sum": 0.0, "distinct": 0}
"""What a computation comes to before anything has happened, where it comes to something."""

_GREATEST_SQUARED: Final = 1e150
"""Beyond it a square is no double."""

_HALVES: Final = 2.0**27 + 1
EMPTY: Final = IndicatorState(0)
"""A bucket in which nothing has happened."""


Add: TypeAlias = Callable[[IndicatorState, Any, int, int], IndicatorState | None]


def definition(settings: IndicatorSettings) -> int:
    """A 32-bit digest of the settings: a state made under other settings is begun anew."""
    on = [settings.on] if isinstance(settings.on, str) else sorted(settings.on or ())
    said: list[Any] = [on, settings.value, settings.compute]
    if settings.where is not None or settings.window is not None:
        said += [settings.where, settings.window, None if settings.step is None else settings.step.micros]
    return short_digest(said)


def add(compute: str) -> Add:
    """The function ``(state, value, time, seq) -> state`` of a computation; it returns None when the value must be skipped.

    ``time`` is the event's effective time in microseconds, ``seq`` its place in the journal; ``value`` is never None, but for
    ``count`` without a value.
    """
    return _ADD[compute]


def distinct_in(held: Mapping[int, IndicatorState], value: Any, *, bucket: int, definition: int) -> IndicatorState | None:
    """What ``distinct`` has in the buckets ``held`` with one more ``value`` in ``bucket``; None when it must be skipped.

    Each digest lies in the newest bucket that it was seen in.
    """
    digest = digest_of(value)
    if digest is None:
        return None
    parts = dict(held)
    for other in [other for other, part in parts.items() if _has(part.values, digest)]:
        if other >= bucket:
            return IndicatorState(definition, parts=parts)
        left = tuple([one for one in parts.pop(other).values if one != digest])
        if left:
            parts[other] = IndicatorState(0, values=left)
    parts[bucket] = IndicatorState(0, values=_with(parts.get(bucket, EMPTY).values, digest))
    full = sum([len(part.values) for part in parts.values()]) > MOST_VALUES
    return IndicatorState(definition, parts=_least(parts) if full else parts)


def combine(one: IndicatorState, other: IndicatorState) -> IndicatorState:
    """What both have accumulated, of events that are in one of them only. Their definitions are the same."""
    if not (one.parts or other.parts):
        return total_of((one, other), definition=one.definition)
    parts = dict(one.parts)
    for bucket, part in other.parts.items():
        mine = parts.get(bucket)
        parts[bucket] = part if mine is None else total_of((mine, part), definition=0)
    return IndicatorState(one.definition, parts=_least(parts) if any(part.values for part in parts.values()) else parts)


def without(held: IndicatorState, counted: IndicatorState) -> IndicatorState | None:
    """What of ``held`` is not in ``counted``: of events that are no longer kept. None where nothing is, or with a window.

    A least, greatest, first or last that is ``counted`` says nothing about the others, so they have none.
    """
    if held.parts or counted.parts:
        return None
    total, rest = _exact([one for one in (held.total, *held.rest, -counted.total, *(-part for part in counted.rest)) if one])
    square, less = _exact([*held.squares, *(-part for part in counted.squares)])
    known = set(counted.values)
    left = IndicatorState(
        held.definition,
        max(0, held.count - counted.count),
        total,
        None if held.least == counted.least else held.least,
        None if held.greatest == counted.greatest else held.greatest,
        None if held.first == counted.first else held.first,
        None if held.last == counted.last else held.last,
        tuple([one for one in held.values if one not in known]),
        rest,
        (square, *less) if square else (),
    )
    return None if left == IndicatorState(held.definition) else left


def total_of(states: Sequence[IndicatorState], *, definition: int = 0) -> IndicatorState:
    """What all of these have accumulated, of events that are in one of them only."""
    total, rest = _exact([amount for one in states for amount in (one.total, *one.rest) if amount])
    square, less = _exact([amount for one in states for amount in one.squares])
    return IndicatorState(
        definition,
        sum([one.count for one in states]),
        total,
        min([one.least for one in states if one.least is not None], default=None),
        max([one.greatest for one in states if one.greatest is not None], default=None),
        min([one.first for one in states if one.first is not None], default=None, key=_moment),
        max([one.last for one in states if one.last is not None], default=None, key=_moment),
        tuple(sorted({digest for one in states for digest in one.values})[: MOST_VALUES + 1]),
        rest,
        (square, *less) if square else (),
    )


def show(compute: str, state: IndicatorState) -> Any:
    """The value: a float for sum, min, max, average and stddev, an int for count and distinct, itself for first and last.

    None where there is none yet. Of a state with a window hand in the total of the parts that count.
    """
    return _SHOW[compute](state)


def showing(compute: str) -> Callable[[IndicatorState], Any]:
    """What does that of one computation."""
    return _SHOW[compute]


def show_parts(compute: str, parts: Sequence[IndicatorState]) -> Any:
    """What ``show`` says of the total of all these."""
    if len(parts) == 1:
        return _SHOW[compute](parts[0])
    if compute == "count":
        return sum([part.count for part in parts])
    if compute == "sum":
        return math.fsum([amount for part in parts for amount in (part.total, *part.rest)])
    return _SHOW[compute](total_of(parts))


def estimated(state: IndicatorState) -> bool:
    """Whether what is shown is an estimate: of ``distinct`` beyond ``MOST_VALUES``."""
    return len(state.values) > MOST_VALUES


def _count(state: IndicatorState, _value: Any, _time: int, _seq: int) -> IndicatorState | None:
    return IndicatorState(state.definition, state.count + 1)


def _sum(state: IndicatorState, value: Any, _time: int, _seq: int) -> IndicatorState | None:
    amount = number(value)
    if amount is None:
        return None
    one = state.total
    if state.rest:
        total, rest = _exact([one, amount, *state.rest])
    else:
        # Of two, as most are: the nearest double, and what it leaves, which is one itself (Knuth's TwoSum).
        total = one + amount
        back = total - one
        left = (one - (total - back)) + (amount - back)
        rest = (left,) if left else ()
    return IndicatorState(state.definition, state.count + 1, total, None, None, None, None, (), rest)


def _stddev(state: IndicatorState, value: Any, _time: int, _seq: int) -> IndicatorState | None:
    amount = number(value)
    if amount is None or abs(amount) > _GREATEST_SQUARED:
        return None
    total, rest = _exact([state.total, amount, *state.rest])
    square, less = _exact([*state.squares, *_square(amount)])
    return IndicatorState(state.definition, state.count + 1, total, rest=rest, squares=(square, *less) if square else ())


def _min(state: IndicatorState, value: Any, _time: int, _seq: int) -> IndicatorState | None:
    amount = number(value)
    if amount is None:
        return None
    held = state.least
    least = amount if held is None or amount < held else held
    return IndicatorState(state.definition, state.count + 1, 0.0, least)


def _max(state: IndicatorState, value: Any, _time: int, _seq: int) -> IndicatorState | None:
    amount = number(value)
    if amount is None:
        return None
    held = state.greatest
    greatest = amount if held is None or amount > held else held
    return IndicatorState(state.definition, state.count + 1, 0.0, None, greatest)


def _first(state: IndicatorState, value: Any, time: int, seq: int) -> IndicatorState | None:
    kept = scalar(value)
    if kept is None:
        return None
    seen, held = TraitState(kept, time, seq), state.first
    return IndicatorState(state.definition, state.count + 1, first=seen if held is None else min(held, seen, key=_moment))


def _last(state: IndicatorState, value: Any, time: int, seq: int) -> IndicatorState | None:
    kept = scalar(value)
    if kept is None:
        return None
    seen, held = TraitState(kept, time, seq), state.last
    return IndicatorState(state.definition, state.count + 1, last=seen if held is None else max(held, seen, key=_moment))


def _distinct(state: IndicatorState, value: Any, _time: int, _seq: int) -> IndicatorState | None:
    digest = digest_of(value)
    if digest is None:
        return None
    return IndicatorState(state.definition, state.count + 1, values=_with(state.values, digest))


def _with(values: tuple[int, ...], digest: int) -> tuple[int, ...]:
    place = bisect_left(values, digest)
    if place > MOST_VALUES or _has(values, digest):
        return values
    return (*values[:place], digest, *values[place:])[: MOST_VALUES + 1]


def _has(values: tuple[int, ...], digest: int) -> bool:
    place = bisect_left(values, digest)
    return values[place : place + 1] == (digest,)


def _least(parts: Mapping[int, IndicatorState]) -> dict[int, IndicatorState]:
    """Of each bucket the digests that can still be among the least of a window: no more of them lie in newer buckets.

    That set follows from which digest was seen when, whatever the order, and stays small: of n digests seen evenly about
    ``MOST_VALUES`` times 1 + ln(n / ``MOST_VALUES``).
    """
    kept: dict[int, IndicatorState] = {}
    seen: set[int] = set()
    least: list[int] = []
    for bucket in sorted(parts, reverse=True):
        fresh = [digest for digest in parts[bucket].values if digest not in seen]
        seen.update(fresh)
        least = sorted([*least, *fresh])[: MOST_VALUES + 1]
        limit = least[-1] if least else 0
        if values := tuple([digest for digest in fresh if digest <= limit]):
            kept[bucket] = IndicatorState(0, values=values)
    return kept


def _square(amount: float) -> tuple[float, float]:
    """The square as two doubles whose sum it is exactly (Dekker 1971, by Veltkamp's halves)."""
    product = amount * amount
    scaled = _HALVES * amount
    high = scaled - (scaled - amount)
    low = amount - high
    return product, low * low - ((product - high * high) - 2.0 * high * low)


def _deviation(state: IndicatorState) -> float | None:
    if not state.count:
        return None
    total = sum(map(Fraction, (state.total, *state.rest)), Fraction(0))
    squares = sum(map(Fraction, state.squares), Fraction(0))
    variance = (squares - total * total / state.count) / state.count
    return math.sqrt(float(variance)) if variance > 0 else 0.0


def _number_of(state: IndicatorState) -> int:
    if not estimated(state):
        return len(state.values)
    return round(MOST_VALUES * 2**64 / (state.values[MOST_VALUES] + 1))


def _exact(parts: list[float]) -> tuple[float, tuple[float, ...]]:
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
    return total, tuple(rest)


def _moment(seen: TraitState) -> tuple[int, int]:
    return seen.time, seen.seq


_ADD: Final[Mapping[str, Add]] = {
    "count": _count,
    "sum": _sum,
    "average": _sum,
    "stddev": _stddev,
    "min": _min,
    "max": _max,
    "first": _first,
    "last": _last,
    "distinct": _distinct,
}

_SHOW: Final[Mapping[str, Callable[[IndicatorState], Any]]] = {
    "count": attrgetter("count"),
    "sum": attrgetter("total"),
    "average": lambda state: state.total / state.count if state.count else None,
    "stddev": _deviation,
    "min": attrgetter("least"),
    "max": attrgetter("greatest"),
    "first": lambda state: None if state.first is None else state.first.value,
    "last": lambda state: None if state.last is None else state.last.value,
    "distinct": _number_of,
}
