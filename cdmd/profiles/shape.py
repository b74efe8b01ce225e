"""Events and profiles as the JSON that users see (commands, control API). Times are RFC 3339 in UTC.

Not for: redaction, which is the caller's, and what the store holds.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from cdmd.models import Activity, Event, IdentifierState, ProfileState, TraitState, from_micros, show_time


def event_document(event: Event) -> dict[str, Any]:
    """The event; ``time`` is absent where the source gave none (then it is the receipt)."""
    time = {} if event.time is None else {"time": show_time(event.time)}
    return {
        "id": event.id,
        "source": event.source,
        "type": event.type,
        **time,
        "received": show_time(event.received),
        "identifiers": event.identifiers,
        "traits": event.traits,
        "data": event.data,
    }


def profile_document(
    state: ProfileState,
    activities: Sequence[Activity],
    *,
    traits: Mapping[str, Any],
    indicators: Mapping[str, Any],
    estimated: Sequence[str] = (),
    audiences: Sequence[str] = (),
) -> dict[str, Any]:
    """The profile with the given activities in their order; ``traits`` and ``indicators`` as ``Projection`` shows them.

    ``estimated`` names the indicators whose value is an estimate; there is no such field where none is.
    """
    return {
        "id": state.public,
        "identifiers": [_identifier(entry) for entry in state.identifiers if not entry.derived],
        "traits": dict(traits),
        "trait_sources": {name: _provenance(state.traits[name]) for name in traits if name in state.traits},
        "indicators": dict(indicators),
        **({"estimated": list(estimated)} if estimated else {}),
        **({"purposes": {name: _purpose(one) for name, one in state.purposes.items()}} if state.purposes else {}),
        **({"restricted": bool(state.restricted.value)} if state.restricted is not None else {}),
        "audiences": list(audiences),
        "activities": [activity_document(entry) for entry in activities],
        "created": _time(state.created),
        "updated": _time(state.updated),
    }


def activity_document(activity: Activity) -> dict[str, Any]:
    """What is shown of an applied event beside its profile; ``time`` is the effective one."""
    event = activity.event
    return {
        "id": event.id,
        "type": event.type,
        "time": _time(activity.time),
        "source": event.source,
        "data": event.data,
    }


def _identifier(entry: IdentifierState) -> dict[str, Any]:
    return {
        "kind": entry.kind,
        "value": entry.value,
        "first_seen": _time(entry.first_seen),
        "last_seen": _time(entry.last_seen),
        "source": entry.source,
    }


def _provenance(trait: TraitState) -> dict[str, Any]:
    """Who said so, where that was kept, and as of when."""
    return {"source": trait.source or None, "time": _time(trait.time)}


def _purpose(said: TraitState) -> dict[str, Any]:
    return {"granted": bool(said.value), **_provenance(said)}


def _time(micros: int) -> str:
    return show_time(from_micros(micros))
