"""Indicators as they are configured: what is compiled once, so that an event costs little. Pure.

Not for: what has accumulated (``indicators``), and which events meet which of them (``projection``).
"""

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from cdmd.config.schema import IndicatorSettings
from cdmd.errors import ConditionFault
from cdmd.kit.calculations import Calculation
from cdmd.kit.conditions import Condition
from cdmd.kit.globs import Globs
from cdmd.kit.templates import Template
from cdmd.kit.windows import Window, parse_window
from cdmd.models import Event, IndicatorState
from cdmd.profiles import indicators


class Planned(NamedTuple):
    """A counted indicator. It ``reads`` the event where it has a value or a condition; ``timed``: also the event's time."""

    name: str
    on: Globs
    value: Template | None
    compute: str
    add: indicators.Add
    definition: int
    reads: bool
    timed: bool
    where: Condition | None
    window: Window | None

    def after(self, held: IndicatorState | None, value: Any, *, at: int, seq: int, now: int) -> IndicatorState | None:
        """What it has accumulated with one more ``value`` (see ``indicators.add``); None where the value must be skipped.

        What fell out of its window before ``now`` is let go, and so is a value that comes later than that.
        """
        state = held if held is not None and held.definition == self.definition else IndicatorState(self.definition)
        if self.window is None:
            return self.add(state, value, at, seq)
        window, parts = self.window, state.parts
        bucket, oldest = window.bucket(at), window.oldest(now)
        if parts and min(parts) < oldest:
            parts = {each: part for each, part in parts.items() if each >= oldest}
        if bucket < oldest:
            return IndicatorState(self.definition, parts=parts)
        if self.compute == "distinct":
            return indicators.distinct_in(parts, value, bucket=bucket, definition=self.definition)
        added = self.add(parts.get(bucket, indicators.EMPTY), value, at, seq)
        return None if added is None else IndicatorState(self.definition, parts={**parts, bucket: added})

    def at(self, held: IndicatorState | None, now: int) -> IndicatorState | None:
        """What it has accumulated under these settings and counts at ``now``."""
        if held is None or held.definition != self.definition:
            return None
        if self.window is None:
            return held
        oldest = self.window.oldest(now)
        return indicators.total_of([part for bucket, part in held.parts.items() if bucket >= oldest])

    def shown(self, held: IndicatorState | None, now: int) -> Any:
        """What there is to show of it at ``now``; None where there is nothing."""
        if held is None or held.definition != self.definition:
            return None
        if self.window is None:
            return indicators.show(self.compute, held)
        oldest, parts = self.window.oldest(now), held.parts
        return indicators.show_parts(self.compute, [part for bucket, part in parts.items() if bucket >= oldest])

    def expires(self, held: IndicatorState | None, now: int) -> int | None:
        """The next moment after ``now`` at which something falls out of its window."""
        if self.window is None or held is None or not held.parts or held.definition != self.definition:
            return None
        if (moment := self.window.expires(min(held.parts))) > now:
            return moment
        oldest = self.window.oldest(now)
        inside = [bucket for bucket in held.parts if bucket >= oldest]
        return max(self.window.expires(min(inside)), now + 1) if inside else None


def planned(name: str, settings: IndicatorSettings, problems: list[str]) -> Planned:
    """The indicator of that name; what is wrong with it goes to ``problems``."""
    value, where, window = None, None, None
    if settings.value is not None:
        try:
            value = Template.parse(settings.value)
        except ValueError as error:
            problems.append(f"indicators.{name}.value: {error}")
    elif settings.compute != "count":
        problems.append(f"indicators.{name}.value: is missing; {settings.compute} needs one")
    try:
        where = None if settings.where is None else Condition.parse(settings.where)
        window = None if settings.window is None else parse_window(settings.window, settings.step)
    except ValueError as error:
        problems.append(f"indicators.{name}: {error}")
    add, definition = indicators.add(settings.compute), indicators.definition(settings)
    reads = value is not None or where is not None
    timed = value is not None and bool(value.roots & {"time", "@"})
    timed = timed or (where is not None and not where.paths().isdisjoint({("event",), ("event", "time")}))
    return Planned(name, Globs(settings.on or ()), value, settings.compute, add, definition, reads, timed, where, window)


def calculations(
    settings: Mapping[str, IndicatorSettings], counted: Collection[str], problems: list[str]
) -> dict[str, Calculation]:
    """The calculated indicators, each after those that it is calculated from."""
    parsed: dict[str, Calculation] = {}
    for name, entry in settings.items():
        try:
            parsed[name] = Calculation(entry.value or "")
        except ValueError as error:
            problems.append(f"indicators.{name}.value: {error}")
    ordered: dict[str, Calculation] = {}
    while ready := [name for name, one in parsed.items() if name not in ordered and one.operands <= {*counted, *ordered}]:
        ordered |= {name: parsed[name] for name in ready}
    problems += [
        f"indicators.{name}.value: it is calculated from itself, or from what is not there"
        for name in parsed
        if name not in ordered
    ]
    return ordered


def calculated(calculation: Calculation, numbers: Mapping[str, Any]) -> float | None:
    """What it comes to, or None where nothing comes of it."""
    try:
        return calculation.value(numbers)
    except ConditionFault:
        return None


def record_of(event: Event) -> dict[str, Any]:
    """The event as templates see it, without ``time``: that is the receipt where the source gave none, and dear to write."""
    return {
        "id": event.id,
        "source": event.source,
        "type": event.type,
        "data": event.data,
        "traits": event.traits,
        "identifiers": event.identifiers,
    }
