"""What the journal holds, and how it is written there."""

from collections.abc import Callable
from hashlib import blake2b
from typing import Final

import msgspec

from cdmd.kit.spans import SpanContext
from cdmd.models.arriving import Event, Fault
from cdmd.models.times import Seq


class Entry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What one journal sequence number holds: an event, or a record that could not be mapped.

    With a ``fault``, ``event`` carries what is known (its ``id`` and ``type`` may be empty) and ``raw`` the record as JSON
    (empty where nothing of it may be kept). ``brief``: see ``Record``; the event's id names it for ``BRIEFLY`` only.
    ``adjusted``: see ``Record``. ``span``: the trace that it came with: no part of what it says, kept here and with what waits,
    nowhere else. ``part``: below 65,536; events with the same one are applied in order (``cdmd.identity.partition``).
    """

    event: Event
    fault: Fault | None = None
    raw: bytes = b""
    brief: bool = False
    adjusted: bool = False
    span: SpanContext | None = None
    part: int = 0

    def content(self, event: Event) -> Event:
        """What another delivery of the same occurrence says, too: ``event``, without its time where that was adjusted."""
        return msgspec.structs.replace(event, time=None) if self.adjusted else event

    @property
    def occurrence(self) -> tuple[str, str] | None:
        """(source, id) of what it is one occurrence of; None where nothing names it.

        What could not be mapped is named by what was kept of it: the id its sender's scheme said may be another event's.
        """
        if self.fault is None:
            return (self.event.source, self.event.id) if self.event.id else None
        return (f"{self.event.source}.\0", blake2b(self.raw, digest_size=16).hexdigest()) if self.raw else None


ERASED: Final = "erased"
"""The fault code of an entry that stands where another one was: nothing is left of it but its place and its connector."""


def tombstone(entry: Entry) -> Entry:
    """What is left of an entry that nobody may know of any more."""
    event = entry.event
    place = Event(id="", source=event.source, type="", received=event.received)
    return Entry(place, Fault(ERASED, "nothing of it is kept: its customer is suppressed"), part=entry.part)


class Journaled(msgspec.Struct, frozen=True, gc=False):
    """An entry at its place in the journal."""

    seq: Seq
    entry: Entry


_ENTRY_DECODER = msgspec.msgpack.Decoder(Entry)


encode_entry: Final[Callable[[Entry], bytes]] = msgspec.msgpack.Encoder().encode
"""The entry as MessagePack, as the journal, ``parked`` and the dead letters keep it."""


def decode_entry(encoded: bytes) -> Entry:
    """The entry that ``encode_entry`` wrote. Raises msgspec.DecodeError or msgspec.ValidationError on anything else."""
    return _ENTRY_DECODER.decode(encoded)
