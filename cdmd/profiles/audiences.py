"""Audiences: who is in, by conditions over indicators, identifiers, traits and time. Pure.

A condition is asked again only where something that it reads may have changed: by an event's type, its traits, an identifier
that is new, or the clock. One that cannot be answered is false, and counted: a value that is missing apart from a fault. Not
here: when a profile is judged, and what is said about it.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

import msgspec
from typing_extensions import override

from cdmd.config.meaning import AUDIENCE_NAMES, PROFILE_NAMES, audience_problems
from cdmd.config.schema import AudienceSettings
from cdmd.errors import ConditionFault, ConfigInvalid
from cdmd.kit.comparisons import MISSING, Answer, Find, Unsure, plain_answer
from cdmd.kit.conditions import Condition, Failures
from cdmd.models import Micros, ProfileState, from_micros
from cdmd.profiles.projection import Projection
from cdmd.profiles.values import short_digest

_MOST_PLANS: Final = 4096
_ALL: Final = "*"


class Move(msgspec.Struct, frozen=True, gc=False):
    """A profile is in an audience now, or no longer."""

    audience: str
    entered: bool


class Audience(NamedTuple):
    """A compiled audience and what it reads of a profile: ``traits`` by name (``*``: any), ``parts``, and ``moments``.

    ``indicators`` are all that it needs, with those that others are calculated from; ``windowed`` those of them that the clock
    changes; ``moving``: it reads the clock itself; ``purposes`` have to be granted. ``direct`` answers for (state, now) where
    the condition is plain and asks for single traits and counted indicators: nothing has to be laid out for it.
    """

    name: str
    condition: Condition
    definition: int
    indicators: frozenset[str]
    windowed: frozenset[str]
    counting: bool
    about: bool
    parts: frozenset[str]
    traits: frozenset[str]
    moments: tuple[str, ...]
    moving: bool
    purposes: tuple[str, ...] = ()
    direct: Answer | None = None

    def scope(self, projection: Projection, state: ProfileState, now: Micros) -> dict[str, Any]:
        """What the condition sees: no more of a profile than it reads, because CEL converts everything that it is given."""
        scope: dict[str, Any] = {}
        if self.counting:
            scope["indicators"] = projection.numbers(state, now, among=self.indicators)
        if self.about:
            scope["profile"] = self._profile(state)
        if self.moving:
            scope["now"] = from_micros(now)
        return scope

    def _profile(self, state: ProfileState) -> dict[str, Any]:
        shown: dict[str, Any] = {}
        if "traits" in self.parts:
            held = state.traits
            names = held if _ALL in self.traits else self.traits
            shown["traits"] = {name: held[name].value for name in names if name in held and held[name].value is not None}
        if "identifiers" in self.parts:
            found: dict[str, list[str]] = {}
            shown["identifiers"] = found
            for one in state.identifiers:
                if not one.derived:
                    found.setdefault(one.kind, []).append(one.value)
        for moment in self.moments:
            shown[moment] = from_micros(getattr(state, moment))
        return shown


class Audiences:
    """The configured audiences. Raises ConfigInvalid with every mistake in them."""

    def __init__(self, settings: Mapping[str, AudienceSettings], projection: Projection) -> None:
        names = projection.names
        problems = [
            f"audiences.{name}.where: {problem}"
            for name, entry in settings.items()
            for problem in audience_problems(entry.where, names)
        ]
        if problems:
            raise ConfigInvalid(problems)
        self.projection, self._settings = projection, dict(settings)
        compiled = (_compiled(name, one.where, projection, purposes=one.required_purposes) for name, one in settings.items())
        self._all = tuple(
            one._replace(direct=plain_answer(one.condition.text, partial(_finding, projection))) for one in compiled
        )
        self._windowed = frozenset(name for one in self._all for name in one.windowed)
        self._by_clock = tuple(one for one in self._all if one.windowed)
        self._plans: dict[tuple[str, ...], tuple[Audience, ...]] = {}
        self._of_new: dict[tuple[str, ...], tuple[Audience, ...]] = {}
        self._of_traits = any(one.traits for one in self._all)

    @override
    def __reduce__(self) -> tuple[Any, ...]:
        """A copy, in another process too, is compiled anew."""
        return Audiences, (self._settings, self.projection)

    def __bool__(self) -> bool:
        return bool(self._all)

    @property
    def every(self) -> tuple[Audience, ...]:
        """All of them, in the order of the configuration."""
        return self._all

    @property
    def moving(self) -> tuple[Audience, ...]:
        """Those whose conditions read the clock."""
        return tuple(one for one in self._all if one.moving)

    @property
    def by_clock(self) -> tuple[Audience, ...]:
        """Those that read an indicator with a window."""
        return self._by_clock

    @property
    def definitions(self) -> dict[str, int]:
        """A 32-bit digest of each condition."""
        return {one.name: one.definition for one in self._all}

    def touched(self, kind: str, traits: Collection[str], *, identified: bool) -> tuple[Audience, ...]:
        """The audiences that an event of that type with these traits may change; ``identified``: it brought an identifier."""
        asked = (kind, *traits) if traits and self._of_traits else (kind,)
        plans = self._of_new if identified else self._plans
        plan = plans.get(asked)
        if plan is None:
            if len(plans) >= _MOST_PLANS:  # types come from outside: never remember without end
                plans.clear()
            plan = plans[asked] = self._plan(kind, traits, identified=identified)
        return plan

    def judge(self, state: ProfileState, now: Micros, which: Iterable[Audience], failures: dict[str, Failures]) -> list[Move]:
        """Decide about ``which`` as of ``now`` and note it in ``state``; returns what changed. ``failures`` add up."""
        moves: list[Move] = []
        inside, judged, free = state.audiences, (state, now), state.restricted is None
        for one in which:
            if free and one.direct is not None and not one.purposes:
                # What ``holds`` does, without the calls: this is asked several times for nearly every event.
                try:
                    entered = one.direct(judged)
                except Unsure:
                    entered = self.holds(one, state, now, failures)
                if entered is None:
                    failures[one.name] = failures.get(one.name, Failures()).with_one(None)
                    entered = False
            else:
                entered = self.holds(one, state, now, failures)
            if entered is not (one.name in inside):
                moves.append(Move(one.name, entered))
        if moves:
            after = dict(inside)
            for move in moves:
                if move.entered:
                    after[move.audience] = int(now)
                else:
                    del after[move.audience]
            state.audiences = after
        return moves

    def expires(self, state: ProfileState, now: Micros) -> Micros | None:
        """When the clock alone may change something next; None where it never will."""
        return self.projection.expires(state, now, among=self._windowed) if self._windowed else None

    def holds(self, one: Audience, state: ProfileState, now: Micros, failures: dict[str, Failures]) -> bool:
        """Whether the profile belongs in; a condition that cannot be answered counts among ``failures`` and is false."""
        if not state.allows(one.purposes):
            return False
        fault = None
        try:
            holds = self._answer(one, state, now)
        except ConditionFault as found:
            holds, fault = None, found
        if holds is None:
            failures[one.name] = failures.get(one.name, Failures()).with_one(fault)
            return False
        return holds

    def _answer(self, one: Audience, state: ProfileState, now: Micros) -> bool | None:
        if one.direct is not None:
            try:
                return one.direct((state, now))
            except Unsure:
                pass
        return one.condition.answer(one.scope(self.projection, state, now))

    def shown(self, state: ProfileState) -> list[str]:
        """The configured audiences that the profile is in."""
        return [one.name for one in self._all if one.name in state.audiences]

    def _plan(self, kind: str, traits: Collection[str], *, identified: bool) -> tuple[Audience, ...]:
        names = self.projection.touched(kind)
        return tuple(
            one
            for one in self._all
            if "updated" in one.moments
            or not one.indicators.isdisjoint(names)
            or (identified and "identifiers" in one.parts)
            or (traits and (_ALL in one.traits or not one.traits.isdisjoint(traits)))
        )


def trial(where: str, projection: Projection) -> Audience:
    """An audience that is only tried. Raises ConfigInvalid."""
    problems = list(audience_problems(where, projection.names))
    if problems:
        raise ConfigInvalid(problems)
    return _compiled("", where, projection)


def asked(where: str, projection: Projection, *, names: Sequence[str]) -> Audience:
    """A condition about a customer that may speak of ``names``, of an event among them. Raises ValueError."""
    return _compiled("", where, projection, names=names)


def _compiled(
    name: str, where: str, projection: Projection, *, names: Sequence[str] = AUDIENCE_NAMES, purposes: tuple[str, ...] = ()
) -> Audience:
    condition = Condition.parse(where, names=names)
    paths = condition.paths()
    whole = ("indicators",) in paths
    read = projection.names if whole else frozenset(path[1] for path in paths if path[0] == "indicators")
    indicators = projection.needed_for(read)
    about = {path[1:] for path in paths if path[0] == "profile"}
    if () in about:
        about |= {(part,) for part in PROFILE_NAMES}
    return Audience(
        name,
        condition,
        definition=short_digest([where, *purposes] if purposes else where),
        purposes=purposes,
        indicators=indicators,
        windowed=projection.windowed() & indicators,
        counting="indicators" in condition.names,
        about=bool(about),
        parts=frozenset(path[0] for path in about if path),
        traits=frozenset(path[1] if len(path) > 1 else _ALL for path in about if path[:1] == ("traits",)),
        moments=tuple(name for name in ("created", "updated") if (name,) in {path[:1] for path in about}),
        moving=("now",) in paths,
    )


def _finding(projection: Projection, path: Sequence[str]) -> Find:
    match path:
        case ["indicators", name]:
            return projection.finding(name)
        case ["profile", "traits", name]:
            return _trait(name)
        case _:
            raise ValueError(path)


def _trait(name: str) -> Find:
    def find(judged: tuple[ProfileState, int]) -> Any:
        held = judged[0].traits.get(name)
        return MISSING if held is None or held.value is None else held.value

    return find
