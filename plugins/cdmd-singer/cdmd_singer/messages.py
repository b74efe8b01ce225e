"""What a tap says: lines of bytes, and the messages in them. Pure.

The messages are those of the Singer specification 0.3.0 and ACTIVATE_VERSION; types are told apart whatever their case.
"""

from typing import Any, Final, NamedTuple

import msgspec


class Line(NamedTuple):
    """A line without its end; ``cut``: it was longer than allowed, and this is its beginning."""

    content: bytes
    cut: bool = False


class Lines:
    """Makes lines of bytes as they come; of a line that is too long only ``KEPT`` bytes are kept, however long it gets."""

    KEPT: Final = 1024

    def __init__(self, max_line: int) -> None:
        self._max, self._begun, self._cut = max_line, bytearray(), False

    def feed(self, received: bytes) -> list[Line]:
        """The lines that are whole now."""
        *ends, rest = received.split(b"\n")
        found = []
        for end in ends:
            self._add(end)
            found.append(Line(bytes(self._begun), self._cut))
            self._begun, self._cut = bytearray(), False
        self._add(rest)
        return found

    def end(self) -> bytes:
        """What came behind the last line's end."""
        return bytes(self._begun)

    def _add(self, part: bytes) -> None:
        if not self._cut:
            self._begun += part
        if len(self._begun) > self._max:
            self._cut = True
            del self._begun[self.KEPT :]


class Told(NamedTuple):
    """A RECORD."""

    stream: str
    record: dict[str, Any]


class Position(NamedTuple):
    """A STATE, with the bytes of its value as they came."""

    value: bytes


class Known(NamedTuple):
    """A message that nothing follows from here: SCHEMA, ACTIVATE_VERSION, or one of a type that nobody knows."""

    kind: str


class Garbage(NamedTuple):
    """A line that is no message: ``code`` is a fixed word, ``message`` says more and holds nothing of the line."""

    code: str
    message: str


class _Message(msgspec.Struct):
    type: str
    stream: str | None = None
    record: dict[str, Any] | None = None
    value: msgspec.Raw = msgspec.Raw()


_decoder: Final = msgspec.json.Decoder(_Message)


def message_of(line: Line) -> Told | Position | Known | Garbage | None:
    """What the line says; None for an empty one."""
    if line.cut:
        return Garbage("line_too_long", "a line of the tap is longer than max_line; its beginning is kept")
    if not line.content.strip():
        return None
    try:
        message = _decoder.decode(line.content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Garbage("not_singer", "a line of the tap is no Singer message")
    match message.type.upper():
        case "RECORD" if message.stream is None or message.record is None:
            return Garbage("not_singer", "a RECORD of the tap lacks its stream or its record")
        case "RECORD":
            return Told(str(message.stream), message.record or {})
        case "STATE" if not bytes(message.value):
            return Garbage("not_singer", "a STATE of the tap lacks its value")
        case "STATE":
            return Position(bytes(message.value))
        case kind:
            return Known(kind)
