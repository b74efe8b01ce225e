"""What an event adds to its profile: traits by effective time, and activity indicators.

Pure: the state is handed in and its dicts belong to the caller; what is in them is replaced, never altered. Not for: whose
event it is. Only forwards in time: an older event never overwrites a newer trait, ties go to the greater journal sequence.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from cdmd.config.schema import IndicatorSettings
from cdmd.errors import ConfigInvalid, TemplateFault
from cdmd.kit.globs import Globs
from cdmd.kit.templates import Template
from cdmd.models import Event, IndicatorState, Micros, ProfileState, Seq, TraitState, show_time
from cdmd.profiles import indicators

MOST_TRAITS: Final = 1000
"""The most trait names of a profile, removed ones included; beyond it new names are ignored and counted."""

_MOST_PLANS: Final = 4096
_NO_CONTEXT: Final[Mapping[str, Any]] = {}


class Ignored(NamedTuple):
    """What of an event did not count: ``indicators`` whose value could not be used, and how many ``traits`` had no place."""

    indicators: tuple[str, ...]
    traits: int


class _Indicator(NamedTuple):
    name: str
    on: Globs
    value: Template | None
    compute: str
    add: indicators.Add
    definition: int
    timed: bool


class Projection:
    """The configured indicators, and how traits are kept. Raises ConfigInvalid with every mistake in the indicators."""

    def __init__(self, settings: Mapping[str, IndicatorSettings]) -> None:
        problems: list[str] = []
        planned = [_planned(name, entry, problems) for name, entry in settings.items()]
        if problems:
            raise ConfigInvalid(problems)
        self._indicators = {entry.name: entry for entry in planned}
        self._plans: dict[str, tuple[_Indicator, ...]] = {}

    def project(self, state: ProfileState, event: Event, *, at: Micros, seq: Seq) -> Ignored | None:
        """Apply ``event``, effective at ``at``, to ``state`` (its own copy). None when all of it counted.

        A trait that is null is removed as of then, one that is absent stays untouched. Each event is projected once.
        """
        ignored = _set_traits(state.traits, event.traits, at, seq) if event.traits else 0
        plan = self._plans.get(event.type)
        if plan is None:
            plan = self._plan(event.type)
        skipped = self._accumulate(plan, state.indicators, event, at, seq) if plan else []
        return Ignored(tuple(skipped), ignored) if skipped or ignored else None

    def combine(self, winner: ProfileState, loser: ProfileState) -> int:
        """Add the loser's traits and indicators to the winner: the newest value of each trait, and indicators exactly.

        Returns how many traits had no place. An indicator that one of them has under older settings counts for nothing beside
        one under today's.
        """
        ignored = 0
        for name, trait in loser.traits.items():
            mine = winner.traits.get(name)
            if mine is None:
                if len(winner.traits) < MOST_TRAITS:
                    winner.traits[name] = trait
                else:
                    ignored += 1
            elif (trait.time, trait.seq) > (mine.time, mine.seq):
                winner.traits[name] = trait
        for name, theirs in loser.indicators.items():
            own = winner.indicators.get(name)
            winner.indicators[name] = theirs if own is None else self._combined(name, own, theirs)
        return ignored

    def shown_traits(self, state: ProfileState) -> dict[str, Any]:
        """The traits that have a value, by name."""
        return {name: trait.value for name, trait in state.traits.items() if trait.value is not None}

    def shown_indicators(self, state: ProfileState) -> dict[str, Any]:
        """The values of the configured indicators that have one, in the order of the configuration."""
        shown: dict[str, Any] = {}
        for name, planned in self._indicators.items():
            held = state.indicators.get(name)
            if held is not None and held.definition == planned.definition:
                shown[name] = indicators.show(planned.compute, held)
        return shown

    def _plan(self, kind: str) -> tuple[_Indicator, ...]:
        if len(self._plans) >= _MOST_PLANS:  # types come from outside: never remember without end
            self._plans.clear()
        plan = self._plans[kind] = tuple(entry for entry in self._indicators.values() if entry.on.matches(kind))
        return plan

    def _accumulate(
        self, plan: tuple[_Indicator, ...], held: dict[str, IndicatorState], event: Event, at: Micros, seq: Seq
    ) -> list[str]:
        record: dict[str, Any] | None = None
        skipped: list[str] = []
        for entry in plan:
            value = None
            if entry.value is not None:
                if record is None:
                    record = _record(event)
                if entry.timed and "time" not in record:
                    record["time"] = show_time(event.time or event.received)
                try:
                    value = entry.value.render(record, _NO_CONTEXT)
                except TemplateFault:
                    skipped.append(entry.name)
                    continue
                if value is None:
                    continue
            state = held.get(entry.name)
            if state is None or state.definition != entry.definition:
                state = IndicatorState(entry.definition)
            added = entry.add(state, value, at, seq)
            if added is None:
                skipped.append(entry.name)
            else:
                held[entry.name] = added
        return skipped

    def _combined(self, name: str, own: IndicatorState, theirs: IndicatorState) -> IndicatorState:
        if own.definition == theirs.definition:
            return indicators.combine(own, theirs)
        entry = self._indicators.get(name)
        return theirs if entry is not None and theirs.definition == entry.definition else own


def _planned(name: str, settings: IndicatorSettings, problems: list[str]) -> _Indicator:
    value = None
    if settings.value is not None:
        try:
            value = Template.parse(settings.value)
        except ValueError as error:
            problems.append(f"indicators.{name}.value: {error}")
    elif settings.compute != "count":
        problems.append(f"indicators.{name}.value: is missing; {settings.compute} needs one")
    add, definition = indicators.add(settings.compute), indicators.definition(settings)
    timed = value is not None and bool(value.roots & {"time", "@"})
    return _Indicator(name, Globs(settings.on), value, settings.compute, add, definition, timed)


def _set_traits(held: dict[str, TraitState], traits: Mapping[str, Any], at: Micros, seq: Seq) -> int:
    """Set what is newer; returns how many new names had no place."""
    ignored = 0
    for name, value in traits.items():
        old = held.get(name)
        if old is None and len(held) >= MOST_TRAITS:
            ignored += 1
        elif old is None or (at, seq) > (old.time, old.seq):
            held[name] = TraitState(value, at, seq)
    return ignored


def _record(event: Event) -> dict[str, Any]:
    """The event as templates see it, without ``time``: that is the receipt where the source gave none, and dear to write."""
    return {
        "id": event.id,
        "source": event.source,
        "type": event.type,
        "data": event.data,
        "traits": event.traits,
        "identifiers": event.identifiers,
    }
