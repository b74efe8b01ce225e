"""What an event adds to its profile: traits by effective time, and activity indicators.

Pure: the state is handed in and its dicts belong to the caller; what is in them is replaced, never altered. Not for: whose
event it is. Only forwards in time: an older event never overwrites a newer trait, ties go to the greater journal sequence.
Where sources are trusted for a trait, what the more trusted one said stays, however old it is: how events arrive never counts.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final, NamedTuple

from cdmd.config.governing import PrivacySettings
from cdmd.config.schema import IndicatorSettings, TraitSettings
from cdmd.errors import ConditionFault, ConfigInvalid, TemplateFault
from cdmd.kit.comparisons import Find
from cdmd.models import Event, IndicatorState, Micros, ProfileState, Seq, TraitState
from cdmd.profiles import indicators
from cdmd.profiles.planning import Planned, calculated, calculations, planned
from cdmd.profiles.purposes import Purposes
from cdmd.profiles.purposes import combine as combine_purposes

MOST_TRAITS: Final = 1000
"""The most trait names of a profile, removed ones included; beyond it new names are ignored and counted."""

_MOST_PLANS: Final = 4096
_NO_CONTEXT: Final[Mapping[str, Any]] = {}


class Ignored(NamedTuple):
    """What of an event did not count: ``indicators`` whose value could not be used, and how many ``traits`` had no place."""

    indicators: tuple[str, ...]
    traits: int


class Projection:
    """The configured indicators, and how traits are kept. Raises ConfigInvalid with every mistake in the indicators."""

    def __init__(
        self,
        settings: Mapping[str, IndicatorSettings],
        traits: Mapping[str, TraitSettings] = _NO_CONTEXT,
        privacy: PrivacySettings | None = None,
    ) -> None:
        problems: list[str] = []
        counted = {name: entry for name, entry in settings.items() if entry.on is not None}
        found = [planned(name, entry, problems) for name, entry in counted.items()]
        computed = calculations({name: entry for name, entry in settings.items() if entry.on is None}, counted, problems)
        if problems:
            raise ConfigInvalid(problems)
        self._purposes = Purposes(privacy or PrivacySettings())
        self._order = tuple(settings)
        self._indicators = {entry.name: entry for entry in found}
        self._calculated = computed
        self._plans: dict[str, tuple[Planned, ...]] = {}
        # Each source's place among those trusted for a trait: the first has the greatest number, all others have none.
        self._trust = {
            name: {source: len(one.trust) - place for place, source in enumerate(one.trust)}
            for name, one in traits.items()
            if one.trust
        }

    @property
    def names(self) -> frozenset[str]:
        """All indicators, calculated ones too."""
        return frozenset(self._order)

    @property
    def definitions(self) -> dict[str, int]:
        """What each counted indicator's states are made under (see ``indicators.definition``)."""
        return {name: entry.definition for name, entry in self._indicators.items()}

    def project(self, state: ProfileState, event: Event, *, at: Micros, seq: Seq, now: Micros | None = None) -> Ignored | None:
        """Apply ``event``, effective at ``at``, to ``state`` (its own copy). None when all of it counted.

        ``now`` (by default ``at``) is the moment as of which windows are kept. A trait that is null is removed as of then, one
        that is absent stays untouched. Each event is projected once.
        """
        ignored = self._set_traits(state.traits, event, at, seq) if event.traits else 0
        self._purposes.note(state, event, at=at, seq=seq)
        plan = self._plans.get(event.type)
        if plan is None:
            plan = self._plan(event.type)
        skipped = self._accumulate(plan, state.indicators, event, at, seq, at if now is None else now) if plan else []
        return Ignored(tuple(skipped), ignored) if skipped or ignored else None

    def recount(
        self,
        held: dict[str, IndicatorState],
        activities: Iterable[tuple[Event, Micros, Seq]],
        *,
        names: Collection[str],
        now: Micros,
    ) -> None:
        """Count some of a profile's ``activities`` (event, effective time, sequence), in any order, into ``held``.

        Only the indicators ``names``. ``held`` begins empty, or with what was counted of activities that are no longer kept.
        """
        for event, at, seq in activities:
            plan = self._plans.get(event.type) or self._plan(event.type)
            chosen = tuple(entry for entry in plan if entry.name in names)
            if chosen:
                self._accumulate(chosen, held, event, at, seq, now)

    def touched(self, kind: str) -> tuple[str, ...]:
        """The indicators that an event of that type may change, those that are calculated from them too."""
        names = [entry.name for entry in self._plans.get(kind) or self._plan(kind)]
        for name, calculation in self._calculated.items():
            if not calculation.operands.isdisjoint(names):
                names.append(name)
        return tuple(names)

    def windowed(self) -> frozenset[str]:
        """The counted indicators that the clock alone may change."""
        return frozenset(name for name, entry in self._indicators.items() if entry.window is not None)

    def expires(self, state: ProfileState, now: int, *, among: Collection[str]) -> Micros | None:
        """The next moment after ``now`` at which the clock alone changes one of these counted indicators; None: it will not."""
        held, entries = state.indicators, self._indicators
        first: int | None = None
        for name in among:
            moment = entries[name].expires(held.get(name), now)
            if moment is not None and (first is None or moment < first):
                first = moment
        return first  # type: ignore[return-value]  # Micros() would cost a call for nearly every event

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
            elif self._replaces(name, trait, mine):
                winner.traits[name] = trait
        if loser.purposes or loser.restricted is not None:
            combine_purposes(winner, loser)
        for name, theirs in loser.indicators.items():
            own = winner.indicators.get(name)
            winner.indicators[name] = theirs if own is None else self._combined(name, own, theirs)
        return ignored

    def remembered(self, held: ProfileState, counted: ProfileState) -> dict[str, IndicatorState]:
        """What the indicators of ``held`` have of events that are no longer kept; ``counted`` has all that are."""
        found = {}
        for name, definition in self.definitions.items():
            mine, theirs = held.indicators.get(name), counted.indicators.get(name, IndicatorState(definition))
            if mine is not None and mine.definition == definition:
                left = indicators.without(mine, theirs)
                if left is not None:
                    found[name] = left
        return found

    def shown_traits(self, state: ProfileState) -> dict[str, Any]:
        """The traits that have a value, by name."""
        return {name: trait.value for name, trait in state.traits.items() if trait.value is not None}

    def shown_indicators(self, state: ProfileState, now: Micros) -> dict[str, Any]:
        """The values at ``now`` of the configured indicators that have one, in the order of the configuration."""
        shown: dict[str, Any] = {}
        for name, entry in self._indicators.items():
            value = entry.shown(state.indicators.get(name), now)
            if value is not None:
                shown[name] = value
        if not self._calculated:
            return shown
        self._calculate(shown)
        return {name: shown[name] for name in self._order if name in shown}

    def numbers(self, state: ProfileState, now: Micros, *, among: Collection[str]) -> dict[str, Any]:
        """The values at ``now`` of the indicators ``among`` (with all that they are calculated from), for a condition.

        Where nothing has happened yet a count, a sum and a number of different values are zero; the others have no value.
        """
        shown: dict[str, Any] = {}
        held, entries = state.indicators, self._indicators
        for name in among:
            if (entry := entries.get(name)) is not None:
                value = entry.shown(held.get(name), now)
                if value is None:
                    value = indicators.NEUTRAL.get(entry.compute)
                if value is not None:
                    shown[name] = value
        if self._calculated:
            self._calculate(shown, among)
        return shown

    def finding(self, name: str) -> Find:
        """What finds the same value of one counted indicator in (state, now). Raises ValueError for any other name."""
        entry = self._indicators.get(name)
        if entry is None:
            raise ValueError(name)
        return entry.finding()

    def estimated(self, state: ProfileState, now: Micros) -> list[str]:
        """Which of the indicators shown are estimates."""
        held = [(name, entry.at(state.indicators.get(name), now)) for name, entry in self._indicators.items()]
        return [name for name, one in held if one is not None and indicators.estimated(one)]

    def needed_for(self, names: Iterable[str]) -> frozenset[str]:
        """The indicators ``names``, and all that they are calculated from."""
        needed = set(names)
        for name in reversed(self._calculated):
            if name in needed:
                needed |= self._calculated[name].operands
        return frozenset(needed)

    def _calculate(self, shown: dict[str, Any], among: Collection[str] | None = None) -> None:
        for name, calculation in self._calculated.items():
            if (among is None or name in among) and (value := calculated(calculation, shown)) is not None:
                shown[name] = value

    def _plan(self, kind: str) -> tuple[Planned, ...]:
        if len(self._plans) >= _MOST_PLANS:  # types come from outside: never remember without end
            self._plans.clear()
        plan = self._plans[kind] = tuple(entry for entry in self._indicators.values() if entry.on.matches(kind))
        return plan

    def _accumulate(
        self, plan: tuple[Planned, ...], held: dict[str, IndicatorState], event: Event, at: Micros, seq: Seq, now: Micros
    ) -> list[str]:
        record: dict[str, Any] = {}
        skipped: list[str] = []
        data = event.data
        for entry in plan:
            name, _, _, _, add, definition, reads, _, _, window, field = entry
            value = None
            if field is not None:
                if (value := data.get(field)) is None:
                    continue
            elif reads:
                try:
                    counts, value = entry.read(record, event)
                except (TemplateFault, ConditionFault):
                    skipped.append(name)
                    continue
                if not counts:
                    continue
            own = held.get(name)
            if window is None and own is not None and own.definition == definition:
                added = add(own, value, at, seq)
            else:
                added = entry.after(own, value, at=at, seq=seq, now=now)
            if added is None:
                skipped.append(name)
            else:
                held[name] = added
        return skipped

    def _set_traits(self, held: dict[str, TraitState], event: Event, at: Micros, seq: Seq) -> int:
        """Set what replaces what is held; returns how many new names had no place."""
        ignored, source = 0, event.source
        if not held and len(event.traits) <= MOST_TRAITS:
            held.update({name: TraitState(value, at, seq, source) for name, value in event.traits.items()})
            return 0
        trust = self._trust
        for name, value in event.traits.items():
            old, new = held.get(name), TraitState(value, at, seq, source)
            if old is None:
                if len(held) < MOST_TRAITS:
                    held[name] = new
                else:
                    ignored += 1
            elif self._replaces(name, new, old) if name in trust else at > old.time or (at == old.time and seq > old.seq):
                held[name] = new
        return ignored

    def _replaces(self, name: str, new: TraitState, old: TraitState) -> bool:
        """Whether ``new`` comes from a more trusted source, or from one as trusted and is newer."""
        if (ranks := self._trust.get(name)) is not None and (more := _rank(ranks, new.source) - _rank(ranks, old.source)):
            return more > 0
        return (new.time, new.seq) > (old.time, old.seq)

    def _combined(self, name: str, own: IndicatorState, theirs: IndicatorState) -> IndicatorState:
        if own.definition == theirs.definition:
            return indicators.combine(own, theirs)
        entry = self._indicators.get(name)
        return theirs if entry is not None and theirs.definition == entry.definition else own


def _rank(ranks: Mapping[str, int], source: str) -> int:
    """The place of a source, a stream's also by its connector's name; 0 for those who are not trusted more than others."""
    return ranks.get(source) or ranks.get(source.partition(".")[0], 0)
