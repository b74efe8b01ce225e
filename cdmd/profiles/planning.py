"""Indicators as they are configured: what is compiled once, so that an event costs little. Pure.

Not for: what has accumulated (``indicators``), and which events meet which of them (``projection``).
"""

from collections.abc import Collection, Mapping
from typing import Any, Final, NamedTuple

from cdmd.config.schema import IndicatorSettings
from cdmd.errors import ConditionFault
from cdmd.kit.calculations import Calculation
from cdmd.kit.comparisons import MISSING, Find
from cdmd.kit.conditions import Condition
from cdmd.kit.globs import Globs
from cdmd.kit.templates import Template
from cdmd.kit.windows import Window, parse_window
from cdmd.models import Event, IndicatorState, ProfileState, show_time
from cdmd.profiles import indicators

_NO_CONTEXT: Final[Mapping[str, Any]] = {}


class Planned(NamedTuple):
    """A counted indicator. It ``reads`` the event where it has a value or a condition; ``timed``: also the event's time.

    ``field``: all it reads is what stands there in ``data``, as with most.
    """

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
    field: str | None

    def after(self, held: IndicatorState | None, value: Any, *, at: int, seq: int, now: int) -> IndicatorState | None:
        """What it has accumulated with one more ``value`` (see ``indicators.add``); None where the value must be skipped.

        What fell out of its window before ``now`` is let go, and so is a value that comes later than that.
        """
        definition, window = self.definition, self.window
        state = held if held is not None and held.definition == definition else IndicatorState(definition)
        if window is None:
            return self.add(state, value, at, seq)
        parts, bucket, oldest = state.parts, window.bucket(at), window.oldest(now)
        if parts and min(parts) < oldest:
            parts = {each: part for each, part in parts.items() if each >= oldest}
        if bucket < oldest:
            return IndicatorState(definition, parts=parts)
        if self.compute == "distinct":
            return indicators.distinct_in(parts, value, bucket=bucket, definition=definition)
        added = self.add(parts.get(bucket, indicators.EMPTY), value, at, seq)
        if added is None:
            return None
        return IndicatorState(definition, 0, 0.0, None, None, None, None, (), (), (), {**parts, bucket: added})

    def read(self, record: dict[str, Any], event: Event) -> tuple[bool, Any]:
        """Whether the event counts, and its value. Raises TemplateFault and ConditionFault.

        ``record`` is the event as templates see it; what is not in it yet is put there, so that it is made once for an event.
        """
        if not record:
            record |= record_of(event)
        if self.timed and "time" not in record:
            record["time"] = show_time(event.time or event.received)
        if self.where is not None and not self.where.holds({"event": record}):
            return False, None
        value = None if self.value is None else self.value.render(record, _NO_CONTEXT)
        return value is not None or self.value is None, value

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

    def finding(self) -> Find:
        """What finds in (state, now) the value that a condition reads: what there is to show, else what stands for nothing."""
        name, definition, compute, window = self.name, self.definition, self.compute, self.window
        show, neutral = indicators.showing(compute), indicators.NEUTRAL.get(compute, MISSING)
        oldest = None if window is None else window.oldest

        # What ``shown`` does, in one call: conditions are asked several times for nearly every event.
        def find(judged: tuple[ProfileState, int]) -> Any:
            state, now = judged
            held = state.indicators.get(name)
            if held is None or held.definition != definition:
                return neutral
            if oldest is None:
                value = show(held)
            else:
                first, parts = oldest(now), held.parts
                if len(parts) > 1 or not parts:
                    value = indicators.show_parts(compute, [part for bucket, part in parts.items() if bucket >= first])
                else:
                    ((bucket, part),) = parts.items()
                    value = show(part) if bucket >= first else indicators.show_parts(compute, ())
            return neutral if value is None else value

        return find

    def expires(self, held: IndicatorState | None, now: int) -> int | None:
        """The next moment after ``now`` at which something falls out of its window."""
        window = self.window
        if window is None or held is None or held.definition != self.definition or not (parts := held.parts):
            return None
        if (moment := window.expires(min(parts))) > now:
            return moment
        oldest = window.oldest(now)
        inside = [bucket for bucket in parts if bucket >= oldest]
        return max(window.expires(min(inside)), now + 1) if inside else None


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
    steps = value.steps if value is not None and where is None else None
    field = steps[1] if steps is not None and len(steps) == 2 and steps[0] == "data" else None  # noqa: PLR2004 - data.FIELD
    return Planned(
        name,
        Globs(settings.on or ()),
        value,
        settings.compute,
        add,
        definition,
        reads=reads,
        timed=timed,
        where=where,
        window=window,
        field=field if isinstance(field, str) else None,
    )


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
