"""What a target may see of an event and of a profile (``fields``): chosen before anything is signed or kept. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

from cdmd.contracts import Values
from cdmd.models import Event, Micros, ProfileState, from_micros, show_time

Chosen: TypeAlias = frozenset[str] | None
"""Names of entries; None: all of them."""

_NOTHING: Final[frozenset[str]] = frozenset()
_OF_EVENT: Final = ("identifiers", "traits", "data")
_OF_PROFILE: Final = ("identifiers", "traits", "indicators", "audiences")


class Fields(NamedTuple):
    """What is chosen of each part of an event and of a profile."""

    event: Mapping[str, Chosen]
    profile: Mapping[str, Chosen]

    @classmethod
    def parse(cls, paths: Sequence[str] | None) -> "Fields":
        """``["identifiers", "traits.email", "event.data"]``; None is everything."""
        if paths is None:
            return cls(dict.fromkeys(_OF_EVENT), dict.fromkeys(_OF_PROFILE))
        return cls(_chosen(paths, "event", _OF_EVENT), _chosen(paths, "profile", _OF_PROFILE))

    def of_event(self, event: Event, at: Micros) -> dict[str, Any]:
        """The event: its id, source, type and time, and what is chosen of the rest."""
        told: dict[str, Any] = {
            "id": event.id,
            "source": event.source,
            "type": event.type,
            "time": show_time(from_micros(at)),
            "received": show_time(event.received),
        }
        for part, chosen in self.event.items():
            if chosen != _NOTHING:
                told[part] = _some(getattr(event, part), chosen)
        return told

    def of_profile(self, state: ProfileState, values: Values, now: Micros) -> dict[str, Any]:
        """The profile: its id, and what is chosen of the rest, as of ``now``."""
        told: dict[str, Any] = {"id": state.public}
        kinds, traits, indicators, audiences = (self.profile[part] for part in _OF_PROFILE)
        if kinds != _NOTHING:
            told["identifiers"] = [
                {"kind": one.kind, "value": one.value}
                for one in state.identifiers
                if not one.derived and (kinds is None or one.kind in kinds)
            ]
        if traits != _NOTHING:
            told["traits"] = _some(values.traits(state), traits)
        if indicators != _NOTHING:
            told["indicators"] = _some(values.indicators(state, now), indicators)
        if audiences != _NOTHING:
            told["audiences"] = [name for name in values.audiences(state) if audiences is None or name in audiences]
        return told

    def names(self, changed: Sequence[str]) -> list[str]:
        """Those of the changes (``traits.email``) that may be seen."""
        return [path for path in changed if self._sees(*path.partition(".")[::2])]

    def _sees(self, part: str, entry: str) -> bool:
        chosen = self.profile.get(part, _NOTHING)
        return chosen is None or entry in chosen


def _chosen(paths: Sequence[str], about: str, parts: Sequence[str]) -> dict[str, Chosen]:
    found: dict[str, Chosen] = dict.fromkeys(parts, _NOTHING)
    for path in paths:
        first, _, rest = path.partition(".")
        if first in {"event", "profile"}:
            if first != about:
                continue
            first, _, rest = rest.partition(".")
        before = found.get(first, _NOTHING)
        if first in found and before is not None:
            found[first] = None if rest in {"", "*"} else before | {rest}
    return found


def _some(entries: Mapping[str, Any], chosen: Chosen) -> dict[str, Any]:
    if chosen is None:
        return dict(entries)
    return {name: value for name, value in entries.items() if name in chosen}
