"""What is kept of a record that cannot become an event, and what no event can hold.

Pure. Not here: the mapping (``mapping``) and where it is written.
"""

import json
from typing import Any, Final

import msgspec

from cdmd.kit.json_text import check_finite
from cdmd.models import Entry, Event, Fault, Parts, encode_entry

_PACK: Final = msgspec.msgpack.Encoder().encode
_NO_PARTS: Final = Parts()


class Kept(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A record that could not be mapped, whole, so that it can be mapped again later (JSON in ``Entry.raw``)."""

    value: Any
    fallback_id: str
    context: dict[str, Any] = {}
    id: str | None = None
    type: str | None = None
    time: Any = None
    stream: str | None = None
    parts: Parts | None = None
    beside: dict[str, Any] = {}
    fault: Fault | None = None
    final: bool = False


def encoded(entry: Entry) -> bytes:
    """The entry's encoding. Raises OverflowError, TypeError, ValueError or RecursionError for what cannot be kept.

    That is what MessagePack has no form for, and NaN and the infinities: JSON has none, so they would become null.
    """
    packed = encode_entry(entry)
    check_finite(packed, entry.event.traits, entry.event.data)
    return packed


def not_storable(entry: Entry, error: Exception, *, raw: bool) -> Entry:
    """The entry to keep instead, for which ``encoded`` raised ``error``; with ``raw`` all of the event is kept with it."""
    event = entry.event
    fault = Fault("not_storable", f"the event holds a value that cannot be kept ({type(error).__name__})")
    kept = Kept(value=_plain(event), fallback_id=event.id) if raw else None
    bare = Event(id="", source=event.source, type="", received=event.received)
    return Entry(bare, fault, dumped(kept) if kept else b"", entry.brief, span=entry.span)


def _plain(event: Event) -> dict[str, Any]:
    """The event as a record in the shape of an event."""
    time = None if event.time is None else event.time.isoformat()
    tables = {"identifiers": event.identifiers, "traits": event.traits, "data": event.data}
    return {"id": event.id, "type": event.type, "time": time, **tables}


def dumped(kept: Kept) -> bytes:
    """JSON even for what msgspec does not write: numbers beyond 64 bits, lone surrogates (escaped), NaN and the infinities."""
    parts = kept.parts or _NO_PARTS
    try:
        check_finite(_PACK(kept), kept.value, kept.time, kept.context, kept.beside, parts.traits, parts.data)
        return msgspec.json.encode(kept)
    except (OverflowError, ValueError, TypeError, RecursionError):
        return _escaped(kept)


def _escaped(kept: Kept) -> bytes:
    return json.dumps(msgspec.to_builtins(kept, str_keys=True, enc_hook=repr)).encode()
