"""What a customer allows: purposes granted and withdrawn, and whether the processing is restricted. Pure.

Only forwards in time, as traits: what was said at the greatest effective time counts, ties go to the greater sequence.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from cdmd.config.governing import PrivacySettings
from cdmd.kit.globs import Globs
from cdmd.models import Event, ProfileState, TraitState

MOST_PURPOSES: Final = 100
"""The most purposes of a profile; beyond it new ones are not granted."""

_CACHED: Final = 4096
_Note: TypeAlias = Callable[[ProfileState, Event, int, int], None]


class Purposes:
    """By which event types what is said."""

    def __init__(self, settings: PrivacySettings) -> None:
        said: list[tuple[tuple[str, ...], _Note]] = [
            (settings.grants, _granted),
            (settings.withdrawals, _withdrawn),
            (settings.restrictions, _restricted),
            (settings.lifts, _lifted),
        ]
        self._notes = [(Globs(globs), note) for globs, note in said]
        self._by_type: dict[str, tuple[_Note, ...]] = {}

    def note(self, state: ProfileState, event: Event, *, at: int, seq: int) -> None:
        """What the event, effective ``at``, says. ``state`` is the caller's own; what is in it is replaced, never altered."""
        found = self._by_type.get(event.type)
        if found is None:
            found = self._found(event.type)
        for note in found:
            note(state, event, at, seq)

    def _found(self, kind: str) -> tuple[_Note, ...]:
        if len(self._by_type) >= _CACHED:  # types come from outside: never remember without end
            self._by_type.clear()
        found = self._by_type[kind] = tuple(note for globs, note in self._notes if globs.matches(kind))
        return found


def combine(winner: ProfileState, loser: ProfileState) -> None:
    """What both have said: of each the newest."""
    winner.purposes = _newest(winner.purposes, loser.purposes)
    both = _newest(*({} if one is None else {"": one} for one in (winner.restricted, loser.restricted)))
    winner.restricted = both.get("")


def _newest(mine: Mapping[str, TraitState], theirs: Mapping[str, TraitState]) -> dict[str, TraitState]:
    newer = {name: one for name, one in theirs.items() if name not in mine or _moment(mine[name]) < _moment(one)}
    return dict(mine) | newer


def _granted(state: ProfileState, event: Event, at: int, seq: int) -> None:
    _say(state, event, at, seq, granted=True)


def _withdrawn(state: ProfileState, event: Event, at: int, seq: int) -> None:
    _say(state, event, at, seq, granted=False)


def _say(state: ProfileState, event: Event, at: int, seq: int, *, granted: bool) -> None:
    new, held = TraitState(granted, at, seq, event.source), state.purposes
    names = _named(event.data.get("purpose"))
    said = {name: new for name in names if name in held or len(held) + len(names) <= MOST_PURPOSES}
    state.purposes = _newest(held, said)


def _restricted(state: ProfileState, event: Event, at: int, seq: int) -> None:
    _restrict(state, TraitState(value=True, time=at, seq=seq, source=event.source))


def _lifted(state: ProfileState, event: Event, at: int, seq: int) -> None:
    _restrict(state, TraitState(value=False, time=at, seq=seq, source=event.source))


def _restrict(state: ProfileState, new: TraitState) -> None:
    if state.restricted is None or _moment(state.restricted) < _moment(new):
        state.restricted = new


def _named(said: Any) -> list[str]:
    """The purposes that an event names: a text, or a list of them."""
    return [name for name in (said if isinstance(said, list) else [said]) if isinstance(name, str) and name][:MOST_PURPOSES]


def _moment(one: TraitState) -> tuple[int, int]:
    return one.time, one.seq
