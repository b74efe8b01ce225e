"""Fixed width: every column at its place in a line, counted in bytes or in characters; or records without line ends."""

import re
from collections.abc import Iterator
from itertools import count
from typing import Annotated, BinaryIO, ClassVar, Literal

import msgspec
from msgspec import Meta

from cdmd.connectors.formats.columns import Columns, ColumnSettings
from cdmd.connectors.formats.lines import bounded_lines, without_end
from cdmd.connectors.formats.records import HALF, counted, decoded, encoding_of
from cdmd.errors import ConfigInvalid, FormatFault
from cdmd.kit.quantities import Size
from cdmd.models import Fault, Row


class FixedColumn(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``columns``: one column."""

    name: Annotated[str, Meta(description="Its name.")]
    start: Annotated[int, Meta(description="Its first place, counted from 1.", ge=1)]
    length: Annotated[int, Meta(description="How many places it has.", ge=1)]


class FixedSettings(ColumnSettings, frozen=True, kw_only=True):
    """``format = { type = "fixed", ... }``."""

    columns: Annotated[tuple[FixedColumn, ...], Meta(description="The columns.", min_length=1)]
    unit: Annotated[Literal["bytes", "characters"], Meta(description="What places are counted in.")] = "characters"
    encoding: Annotated[str, Meta(description="The encoding.")] = "utf-8"
    trim: Annotated[bool, Meta(description="Take blanks off both ends of every value.")] = True
    skip: Annotated[int, Meta(description="Lines to pass over at the beginning.", ge=0)] = 0
    trailer: Annotated[
        str | None,
        Meta(
            description="How the last line begins, which holds the number of records behind that; without it the file is cut."
        ),
    ] = None
    record_length: Annotated[
        Annotated[int, Meta(ge=1)] | None, Meta(description="Records have so many bytes and no line ends.")
    ] = None
    max_record: Annotated[Size, Meta(description="The longest line; a longer one is set aside.")] = Size.parse("1MiB")


class Fixed:
    """See the settings. Lines of blanks are passed over."""

    name: ClassVar[str] = "fixed"
    Settings: ClassVar[type[msgspec.Struct]] = FixedSettings

    def __init__(self, settings: FixedSettings) -> None:
        self._settings = settings
        self._columns = Columns(settings)
        try:
            self._encoding = encoding_of(settings.encoding)
            self._trailer = None if settings.trailer is None else settings.trailer.encode(self._encoding)
            self._names = self._columns.named([one.name for one in settings.columns])
        except (LookupError, UnicodeError, FormatFault) as error:
            raise ConfigInvalid([f"format: {error}"]) from error
        self._places = [slice(one.start - 1, one.start - 1 + one.length) for one in settings.columns]
        # The last column may be short: editors take blanks off the ends of lines.
        self._shortest = max(one.start for one in settings.columns)
        self.lines = settings.record_length is None

    def rows(self, stream: BinaryIO) -> Iterator[Row]:
        """See ``cdmd.contracts.Format``."""
        number, trailed = 0, None
        for place, line in self._lines(stream):
            if line is not None and (not line or line.isspace()):
                continue
            if trailed is not None:
                raise FormatFault("after_trailer", "there are records after the trailer")
            if self._trailer is not None and line is not None and line.startswith(self._trailer):
                trailed = _count(line.removeprefix(self._trailer))
                continue
            number += 1
            yield self._row(number, place, line)
        if self._trailer is not None and trailed != number:
            raise _cut(number, trailed)

    def _lines(self, stream: BinaryIO) -> Iterator[tuple[int | None, bytes | None]]:
        length = self._settings.record_length
        if length is None:
            for place, line in bounded_lines(stream, limit=self._settings.max_record.bytes):
                if place > self._settings.skip:
                    yield place, None if line is None else without_end(line)
            return
        for number in count():
            record = stream.read(length)
            if not record.strip(b"\r\n\x1a"):
                return
            if len(record) < length:
                raise FormatFault("truncated", f"the last record has {len(record)} of {length} bytes: the file is cut")
            if number >= self._settings.skip:
                yield None, record

    def _row(self, number: int, place: int | None, line: bytes | None) -> Row:
        if line is None:
            fault = Fault("record_too_large", f"the line is longer than {self._settings.max_record.bytes} bytes")
            return Row(number, place, None, fault)
        try:
            text: bytes | str = line if self._settings.unit == "bytes" else decoded(line, self._encoding)
            if len(text) < self._shortest:
                fault = Fault("short_line", f"the line has {len(text)} places, fewer than {self._shortest}")
                return Row(number, place, None, fault, line)
            parts = [text[part] for part in self._places]
            texts = [decoded(part, self._encoding) if isinstance(part, bytes) else part for part in parts]
        except UnicodeDecodeError:
            return Row(number, place, None, Fault("not_decodable", f"the line is not {self._encoding}"), line)
        except UnicodeEncodeError:
            return Row(number, place, None, HALF, line)
        value = self._columns.value(self._names, texts)
        return Row(number, place, None, value, line) if isinstance(value, Fault) else Row(number, place, value)


def _count(rest: bytes) -> int:
    digits = re.search(rb"\d+", rest)
    if digits is None:
        raise FormatFault("wrong_count", "the trailer holds no number of records")
    return counted(digits[0].decode())


def _cut(number: int, trailed: int | None) -> FormatFault:
    if trailed is None:
        return FormatFault("no_trailer", "the file ends without its trailer: it may be cut")
    return FormatFault("wrong_count", f"the trailer counts {trailed} records, the file has {number}")
