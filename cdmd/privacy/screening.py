"""What of an entry may be kept where some identifiers may not. Pure.

An event whose strongest identifier is one of them goes; of any other they are taken out, with the traits and data that say the
same, and it goes on with the rest: a shared family address does not silence the others. A record that could not be mapped goes
where any of its texts is one of them: nobody knows which field names whom.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeAlias

import msgspec

from cdmd.contracts import Naming
from cdmd.models import Entry, Event
from cdmd.privacy.texts import texts_of

Pair: TypeAlias = tuple[str, str]


def left_of(entry: Entry, unwanted: Callable[[Pair], bool], naming: Naming) -> Entry | None:
    """The entry, what is left of it, or None where nothing is."""
    if entry.fault is not None and entry.raw and within(entry.raw, unwanted, naming):
        return None
    event = left_of_event(entry.event, unwanted, naming)
    if event is None or event is entry.event:
        return entry if event is not None else None
    return msgspec.structs.replace(entry, event=event)


def left_of_event(event: Event, unwanted: Callable[[Pair], bool], naming: Naming) -> Event | None:
    """The same of an event."""
    pairs = naming.usable(event.identifiers)
    found = [pair for pair in pairs if unwanted(pair)]
    if not found:
        return event
    return None if found[0] == pairs[0] else without(event, found, naming)


def within(raw: bytes, unwanted: Callable[[Pair], bool], naming: Naming) -> bool:
    """Whether a text of a record that could not be mapped is one of the unwanted."""
    pairs = (naming.normalise(kind, text) for text in texts_of(raw) for kind in naming.names)
    return any(pair is not None and unwanted(pair) for pair in pairs)


def without(event: Event, pairs: Collection[Pair], naming: Naming) -> Event:
    """The event without these identifiers, and without the traits and data that are the same."""
    kinds = {kind for kind, _ in pairs}

    def other(value: Any) -> bool:
        return not isinstance(value, str) or all(naming.normalise(kind, value) not in pairs for kind in kinds)

    def kept(fields: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in fields.items() if other(value)}

    identifiers = {kind: value for kind, value in event.identifiers.items() if kind not in kinds and other(value)}
    return msgspec.structs.replace(event, identifiers=identifiers, traits=kept(event.traits), data=kept(event.data))
