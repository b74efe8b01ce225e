"""What of an entry may be kept where some identifiers may not. Pure.

An event whose strongest identifier is one of them goes; of any other they are taken out, with whatever in its traits and data
says the same, however deep it lies, and it goes on with the rest: a shared family address does not silence the others. A record
that could not be mapped goes where any of its texts is one of them: nobody knows which field names whom.
"""

from collections.abc import Callable, Collection, Iterable
from typing import TypeAlias

import msgspec

from cdmd.contracts import Naming
from cdmd.models import Entry, Event
from cdmd.privacy.texts import SHORTEST, Says, texts_of, without

Pair: TypeAlias = tuple[str, str]
Unwanted: TypeAlias = Callable[[Pair], bool]


def left_of(entry: Entry, unwanted: Unwanted, naming: Naming) -> Entry | None:
    """The entry, what is left of it, or None where nothing is."""
    if entry.fault is not None and entry.raw and within(entry.raw, unwanted, naming):
        return None
    event = left_of_event(entry.event, unwanted, naming)
    if event is None or event is entry.event:
        return entry if event is not None else None
    return msgspec.structs.replace(entry, event=event)


def left_of_event(event: Event, unwanted: Unwanted, naming: Naming) -> Event | None:
    """The same of an event."""
    pairs = naming.usable(event.identifiers)
    found = [pair for pair in pairs if unwanted(pair)]
    if not found:
        return event
    return None if found[0] == pairs[0] else _without(event, found, unwanted, naming)


def within(raw: bytes, unwanted: Unwanted, naming: Naming) -> bool:
    """Whether a text of a record that could not be mapped is one of the unwanted."""
    return any(map(saying(unwanted, naming), texts_of(raw)))


def saying(unwanted: Unwanted, naming: Naming, *, kinds: Collection[str] = (), spellings: Iterable[str] = ()) -> Says:
    """What tells whether a text is one of the unwanted, or has one of ``spellings`` in it.

    Of fewer than ``SHORTEST`` characters it is one only as an identifier of ``kinds``.
    """
    parts = [text.casefold() for text in spellings if len(text) >= SHORTEST]

    def says(text: str) -> bool:
        among = naming.names if len(text.strip()) >= SHORTEST else kinds
        pairs = (naming.normalise(kind, text) for kind in among)
        if any(pair is not None and unwanted(pair) for pair in pairs):
            return True
        folded = text.casefold()
        return any(part in folded for part in parts)

    return says


def _without(event: Event, pairs: Collection[Pair], unwanted: Unwanted, naming: Naming) -> Event:
    """The event without these identifiers, and without whatever in its traits and data says the same, however deep it lies."""
    kinds = {kind for kind, _ in pairs}
    identifiers = {
        kind: value
        for kind, value in event.identifiers.items()
        if kind not in kinds and all(naming.normalise(one, value) not in pairs for one in kinds)
    }
    spellings = {value for _, value in pairs} | {event.identifiers[kind] for kind in kinds}
    says = saying(unwanted, naming, kinds=kinds, spellings=spellings)
    traits, data = without(event.traits, says), without(event.data, says)
    return msgspec.structs.replace(event, identifiers=identifiers, traits=traits, data=data)
