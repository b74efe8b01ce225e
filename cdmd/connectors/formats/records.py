"""Raw CSV records of a binary stream: where one ends and the next begins, without reading what is in them.

A record is a line, or several where a quoted field holds line ends. Knowing a record's bytes, whoever compares files parses
only those that are new, and one that cannot be read is set aside exactly as it came.
"""

import codecs
import csv
import io
import json
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, Final

import msgspec
from typing_extensions import override

from cdmd.connectors.formats.lines import Lines, bounded_lines, without_end
from cdmd.errors import FormatFault
from cdmd.models import Fault

MOST_LINES: Final = 1_000
"""How many lines one record may have; an open quote beyond is a mistake of its first line."""

_WIDE: Final = {"utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"}
_BOMS: Final = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (codecs.BOM_UTF8, "utf-8"),
)
_MARKS: Final = tuple(mark for mark, _ in _BOMS)
_UNSAID: Final = {"utf-16", "utf-32"}
"""Encodings that leave it to the file's mark which byte comes first."""

_PIECE: Final = 2**16
_MOST_DIGITS: Final = 18
_ENCODE: Final = msgspec.msgpack.Encoder().encode

HALF: Final = Fault("invalid_text", "a text of the record holds half of a surrogate pair")


def unkept(value: Any) -> Fault | None:
    """The fault of a record with a text that nothing further on could read: half a surrogate pair.

    A whole number may have any size: the mapping refuses one beyond 64 bits where it is to be kept, and nothing else does.
    """
    try:
        _encode(value)
    except UnicodeEncodeError:
        return HALF
    return None


def _encode(value: Any) -> None:
    try:
        _ENCODE(value)
    except OverflowError:
        json.dumps(value, ensure_ascii=False).encode()


def encoding_of(name: str) -> str:
    """The codec's own name. Raises LookupError for what is none, or none for text."""
    found = codecs.lookup(name)
    if not getattr(found, "_is_text_encoding", True):
        raise LookupError(f"{name} is no encoding of text")
    return found.name


def decoded(raw: bytes, encoding: str) -> str:
    """Its text. Raises UnicodeDecodeError, and UnicodeEncodeError for ``HALF``, which UTF-7 has a form for, say."""
    text = raw.decode(encoding)
    if encoding != "utf-8" and not text.isascii():
        text.encode()
    return text


def counted(digits: str) -> int:
    """The number of records that a trailer's decimal ``digits`` say. Raises ``FormatFault`` for more than any file has."""
    if len(digits) > _MOST_DIGITS:
        raise FormatFault("wrong_count", f"the trailer counts more records than any file has, with {len(digits)} digits")
    return int(digits)


def in_bytes(stream: BinaryIO, encoding: str) -> tuple[BinaryIO, str]:
    r"""A stream whose lines end with ``\n`` bytes, and its encoding: the one that its byte order mark says, else ``encoding``.

    UTF-16 and UTF-32 come out as UTF-8, lone carriage returns as line ends. Raises ``FormatFault`` where nothing says the order
    of their bytes.
    """
    buffered: Any = stream if isinstance(stream, io.BufferedReader | io.BytesIO) else io.BufferedReader(_Shared(stream))
    head = _peek(buffered)
    marked = next((name for mark, name in _BOMS if head.startswith(mark)), encoding)
    if head and marked in _UNSAID and not head.startswith(_MARKS):
        raise FormatFault("no_byte_order", f"the file has no byte order mark: say {marked}-le or {marked}-be as its encoding")
    if marked in _WIDE:
        decoder = codecs.getincrementaldecoder(marked)(errors="replace")
        return io.BufferedReader(_Recoded(buffered, lambda piece, final: decoder.decode(piece, final).encode())), "utf-8"
    if b"\r" in head and b"\n" not in head:
        return io.BufferedReader(_Recoded(buffered, lambda piece, _: piece.replace(b"\r", b"\n"))), marked
    return buffered, marked


def _peek(stream: Any) -> bytes:
    if isinstance(stream, io.BytesIO):
        return stream.getbuffer()[stream.tell() : stream.tell() + _PIECE].tobytes()
    found: bytes = stream.peek(_PIECE)
    return found


class _Shared(io.RawIOBase):
    """Reads from a stream that belongs to somebody else: closing this one leaves it open."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    @override
    def readable(self) -> bool:
        return True

    @override
    def readinto(self, buffer: Any) -> int:
        piece = self._stream.read(len(buffer))
        buffer[: len(piece)] = piece
        return len(piece)


class _Recoded(io.RawIOBase):
    """Another stream's bytes, each piece changed by ``change(piece, last one)``."""

    def __init__(self, stream: BinaryIO, change: Callable[[bytes, bool], bytes]) -> None:
        self._stream, self._change, self._left, self._ended = stream, change, b"", False

    @override
    def readable(self) -> bool:
        return True

    @override
    def readinto(self, buffer: Any) -> int:
        while not self._left and not self._ended:
            piece = self._stream.read(_PIECE)
            self._ended = not piece
            self._left = self._change(piece, self._ended)
        piece, self._left = self._left[: len(buffer)], self._left[len(buffer) :]
        buffer[: len(piece)] = piece
        return len(piece)


class Splitter:
    """Splits lines into records. ``quote`` and ``escape`` are single bytes or empty; ``open_after(record)`` asks exactly.

    ``ahead`` are lines that were read and are still to be given out.
    """

    def __init__(self, *, quote: bytes, escape: bytes, open_after: Callable[[bytes], bool], limit: int) -> None:
        self._quote, self._escape, self._open_after, self._limit = quote, escape, open_after, limit
        self.ahead: deque[tuple[int, bytes | None]] = deque()

    def split(self, stream: Lines) -> Iterator[tuple[int, bytes | None]]:
        """(number of its first line, the record without its end) in order; None where it is larger than ``limit`` bytes."""
        lines = bounded_lines(stream, limit=self._limit)
        ahead = self.ahead
        while (first := ahead.popleft() if ahead else next(lines, None)) is not None:
            number, line = first
            if line is None:
                yield number, None
            elif not self._quote or self._quote not in line or not self._odd(line) or not self._open_after(line):
                yield number, without_end(line)
            else:
                yield number, without_end(self._joined(line, ahead, lines))

    def _joined(self, line: bytes, ahead: deque[tuple[int, bytes | None]], lines: Iterator[tuple[int, bytes | None]]) -> bytes:
        """The record that begins with ``line``; where its quote never closes only that line, and the others stay ahead."""
        taken: list[tuple[int, bytes | None]] = []
        parts, size = [line], len(line)
        while len(taken) < MOST_LINES and (more := ahead.popleft() if ahead else next(lines, None)) is not None:
            taken.append(more)
            if more[1] is None or (size := size + len(more[1])) > self._limit:
                break
            parts.append(more[1])
            if self._odd(more[1]) and not self._open_after(record := b"".join(parts)):
                return record
        ahead.extendleft(reversed(taken))
        return line

    def _odd(self, line: bytes) -> bool:
        if self._escape and self._escape in line:
            line = line.replace(self._escape * 2, b"").replace(self._escape + self._quote, b"")
        return line.count(self._quote) % 2 == 1


def is_open(text: str, **dialect: Any) -> bool:
    """Whether a CSV record of this dialect ends inside a quoted field."""
    try:
        for _ in csv.reader([text], strict=True, **dialect):
            pass
    except csv.Error as error:
        return "unexpected end of data" in str(error)
    return False
