"""What of a customer's values targets are told (``cdmd.contracts.Values``). Pure."""

from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

from typing_extensions import override

from cdmd.config.outbound import TARGET_NAMES
from cdmd.config.schema import IndicatorSettings
from cdmd.contracts import Question, Values
from cdmd.kit.conditions import Condition
from cdmd.models import Micros, ProfileState
from cdmd.profiles.audiences import Audience, Audiences, asked
from cdmd.profiles.projection import Projection


class Asked(NamedTuple):
    """A condition of a target, with the projection that knows the values it speaks of."""

    audience: Audience
    projection: Projection

    @property
    def condition(self) -> Condition:
        """The condition."""
        return self.audience.condition

    def scope(self, state: ProfileState, now: Micros) -> dict[str, Any]:
        """What it reads of the profile."""
        return self.audience.scope(self.projection, state, now)


class ToldValues(Values):
    """By the configured indicators and audiences."""

    def __init__(self, audiences: Audiences, settings: Mapping[str, IndicatorSettings]) -> None:
        self._audiences, self._projection, self._settings = audiences, audiences.projection, settings

    @cached_property
    @override
    def thresholds(self) -> Mapping[str, Sequence[float]]:
        return {name: sorted(set(one.thresholds)) for name, one in self._settings.items() if one.thresholds}

    @override
    def question(self, where: str) -> Question:
        return Asked(asked(where, self._projection, names=TARGET_NAMES), self._projection)

    @override
    def traits(self, state: ProfileState) -> dict[str, Any]:
        return self._projection.shown_traits(state)

    @override
    def indicators(self, state: ProfileState, now: Micros) -> dict[str, Any]:
        return self._projection.shown_indicators(state, now)

    @override
    def numbers(self, state: ProfileState, now: Micros, *, among: Collection[str]) -> dict[str, Any]:
        needed = self._projection.needed_for(among)
        found = self._projection.numbers(state, now, among=needed)
        return {name: found[name] for name in among if name in found}

    @override
    def touched(self, type: str) -> Collection[str]:
        return self._projection.touched(type)

    @override
    def audiences(self, state: ProfileState) -> list[str]:
        return self._audiences.shown(state)

    @override
    def granted(self, state: ProfileState, purposes: Sequence[str]) -> bool:
        return state.allows(purposes)
