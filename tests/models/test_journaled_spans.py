"""The trace that an entry came with: written beside what it says, readable to and from a daemon that knows nothing of it."""

from datetime import UTC, datetime

import msgspec

from cdmd.kit.spans import SpanContext
from cdmd.models import Entry, Event, Fault, decode_entry, encode_entry, tombstone

SPAN = SpanContext("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", True, "a=1")
EVENT = Event(id="1", source="shop", type="paid", received=datetime(2026, 11, 23, tzinfo=UTC))


class Before(msgspec.Struct, frozen=True, array_like=True):
    """An entry as it was written before there were traces."""

    event: Event
    fault: Fault | None = None
    raw: bytes = b""
    brief: bool = False
    adjusted: bool = False


def test_an_entry_keeps_its_trace() -> None:
    assert decode_entry(encode_entry(Entry(EVENT, span=SPAN))) == Entry(EVENT, span=SPAN)


def test_what_was_written_before_is_read_and_what_is_written_now_was_readable_then() -> None:
    assert decode_entry(msgspec.msgpack.encode(Before(EVENT, adjusted=True))) == Entry(EVENT, adjusted=True)
    then = msgspec.msgpack.decode(encode_entry(Entry(EVENT, span=SPAN)), type=Before)
    assert then == Before(EVENT)


def test_two_deliveries_in_two_traces_say_the_same() -> None:
    one, two = Entry(EVENT, span=SPAN), Entry(EVENT)
    assert one.content(one.event) == two.content(two.event)
    assert one.occurrence == two.occurrence


def test_nothing_of_it_is_left_in_a_tombstone() -> None:
    assert tombstone(Entry(EVENT, span=SPAN)).span is None
