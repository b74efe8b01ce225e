"""CSV in any dialect and encoding, one record at a time: RFC 4180 and what spreadsheets and old systems make of it.

Columns are known by name. Records without any value (blank lines) are passed over and have no number. A field may be as large
as its record, within the library's own bound, which is one for the whole process (``cdmd.cli.loading`` lifts it).
"""

import csv
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import Annotated, Any, BinaryIO, ClassVar, Final, TypeAlias

import msgspec
from msgspec import Meta

from cdmd.connectors.formats.columns import Columns, ColumnSettings
from cdmd.connectors.formats.lines import Lines
from cdmd.connectors.formats.records import HALF, Splitter, counted, decoded, encoding_of, in_bytes, is_open
from cdmd.connectors.formats.stretches import Stretches
from cdmd.errors import ConfigInvalid, FormatFault
from cdmd.kit.quantities import Size
from cdmd.models import Fault, Row

_SEPARATOR: Final = "sep="
_SIGN_BY_SIGN: Final = {"utf-8", "ascii", "iso8859-1", "iso8859-15", "cp1252"}
"""Encodings in which a text is the same whether it is read at once or line by line, and can be written again."""

_UNSOUND: Final = 32
"""So many lines of a stretch that are no sound records are looked for among its others."""

_TRIES: Final = 8
"""So often lines that are records by themselves are looked for where few are found: each look is at all that is held."""

_PAYS: Final = 50
"""So many that are found are worth one look."""

ValueOf: TypeAlias = Callable[[Sequence[str], Sequence[Any]], dict[str, Any] | Fault]
"""What a record's texts under these names are."""


class CsvSettings(ColumnSettings, frozen=True, kw_only=True):
    """``format = { type = "csv", ... }``."""

    delimiter: Annotated[
        str | None, Meta(description='The sign between fields; by default what a first line `sep=;` says, else `","`.')
    ] = None
    quote: Annotated[str, Meta(description="The sign around fields; empty for none.")] = '"'
    escape: Annotated[str, Meta(description="The sign before a quote inside a field, where it is not doubled.")] = ""
    encoding: Annotated[str, Meta(description="The encoding; a byte order mark in the file goes before it.")] = "utf-8"
    columns: Annotated[tuple[str, ...], Meta(description="The columns' names, for files without a header.")] = ()
    skip: Annotated[int, Meta(description="Lines to pass over before the header.", ge=0)] = 0
    trailer: Annotated[
        str | None,
        Meta(description="The first field of a last record that holds the number of records; without it the file is cut."),
    ] = None
    short_rows: Annotated[bool, Meta(description="Records may lack fields at their end; otherwise they are set aside.")] = False
    max_record: Annotated[Size, Meta(description="The largest record; a larger one is set aside.")] = Size.parse("1MiB")


class Csv:
    """See the settings. A record that cannot be read is a row with a fault and its bytes."""

    name: ClassVar[str] = "csv"
    lines: ClassVar[bool] = True
    Settings: ClassVar[type[msgspec.Struct]] = CsvSettings

    def __init__(self, settings: CsvSettings) -> None:
        self._settings = settings
        self._columns = Columns(settings)
        try:
            self._encoding = encoding_of(settings.encoding)
            csv.reader([], strict=True, **_dialect(settings, settings.delimiter or ","))
        except (LookupError, TypeError, ValueError) as error:
            raise ConfigInvalid([f"format: {error}"]) from error

    def rows(self, stream: BinaryIO) -> Iterator[Row]:
        """See ``cdmd.contracts.Format``."""
        return self._rows(stream, examined=False)

    def examined(self, stream: BinaryIO) -> Iterator[Row]:
        """See ``cdmd.contracts.Examining``."""
        return self._rows(stream, examined=True)

    def _rows(self, stream: BinaryIO, *, examined: bool) -> Iterator[Row]:
        plain, encoding = in_bytes(stream, self._encoding)
        lines = Stretches(plain)
        reading = CsvReading(lines, encoding, settings=self._settings, columns=self._columns)
        yield from reading.rows(lines, self._columns.judge if examined else self._columns.value)
        reading.check_end()

    def reading(self, stream: BinaryIO) -> "CsvReading":
        """The file with its header read, and its records still to come. Raises ``FormatFault``."""
        plain, encoding = in_bytes(stream, self._encoding)
        lines = Stretches(plain)
        reading = CsvReading(lines, encoding, settings=self._settings, columns=self._columns)
        reading.records = reading.unread(reading.records, lines)
        return reading


class CsvReading:
    """One file being read: ``names`` are its columns, ``records`` its raw records after the header, each with its first line.

    ``row`` makes the next record a row and counts it; None where it has no value at all. ``number`` is the last record's, and
    ``trailed`` what the trailer counted: whoever passes over records sets them.
    """

    def __init__(self, stream: Lines, encoding: str, *, settings: CsvSettings, columns: Columns) -> None:
        self._settings, self._columns, self.encoding = settings, columns, encoding
        self._delimiter = settings.delimiter or ","
        self.trailed: int | None = None
        self._text: str | None = None
        self.number = 0
        quote, escape = settings.quote.encode(), settings.escape.encode()
        self._splitter = Splitter(quote=quote, escape=escape, open_after=self._is_open, limit=settings.max_record.bytes)
        self.records = self._splitter.split(stream)
        self.names = self._header()
        self._parse = self._parser()

    def rows(self, lines: Stretches, value_of: ValueOf) -> Iterator[Row]:
        """All that are left of ``lines``, which it was made of; many at once where each line is a record by itself."""
        before, end, tries = 0, 0, _TRIES
        while (record := next(self.records, None)) is not None:
            if (row := self._kept(record[0] + before, record[1])) is not None:
                yield row
            left = 0
            while not left and not self._splitter.ahead and lines.passed >= end:
                first = lines.number + 1
                alone, left = self._taken(lines)
                before += len(alone)
                yield from self._at_once(alone, first, value_of)
                tries = min(tries + len(alone) // _PAYS, _TRIES)
            tries -= bool(left)
            if not tries:
                end, tries = lines.passed + left, _TRIES

    def unread(self, records: Iterator[tuple[int, bytes | None]], lines: Stretches) -> Iterator[tuple[int, bytes | None]]:
        """Its raw ``records`` that are left of ``lines``, which it was made of; many at once where each line is one by itself.

        One by one they cost a register as much as their digests (tests/bench/bulk.py).
        """
        before, end = 0, 0
        while (record := next(records, None)) is not None:
            yield record[0] + before, record[1]
            while not self._splitter.ahead and lines.passed >= end:
                stretch = lines.stretch()
                end = lines.passed + (len(stretch) or 1)
                even = self._even(stretch)
                if not even or len(stretch) > self._settings.max_record.bytes or self._settings.escape:
                    break
                first = lines.number + 1
                lines.take(even)
                alone = (even.replace(b"\r\n", b"\n") if b"\r" in even else even).split(b"\n")
                alone.pop()
                before += len(alone)
                yield from zip(count(first), alone)

    def _taken(self, lines: Stretches) -> tuple[list[str], int]:
        """The next lines, as far as each is a record by itself, and how many bytes of their stretch are left; 1 at the end."""
        stretch = lines.stretch()
        even = self._even(stretch)
        alone = self._alone(even)
        if not alone:
            return [], len(stretch) or 1
        lines.take(even)
        return alone, len(stretch) - len(even)

    def _even(self, stretch: bytes) -> bytes:
        """Its first lines, before one with an odd number of quotes: that one may be part of a record."""
        quote, size = self._settings.quote.encode(), 0
        if quote and quote in stretch:
            for line in stretch.split(b"\n"):
                if line.count(quote) % 2:
                    return stretch[:size]
                size += len(line) + 1
        return stretch

    def _kept(self, place: int, raw: bytes | None) -> Row | None:
        return None if raw is not None and raw.isspace() else self.row(place, raw)

    def _alone(self, stretch: bytes) -> list[str]:
        """Its lines, where each is a record by itself for all that can be told from their other signs; else none."""
        settings = self._settings
        if self.encoding not in _SIGN_BY_SIGN or len(self.names) <= 1 or self._delimiter.isspace() or settings.escape:
            return []
        plain = stretch.replace(b"\r\n", b"\n") if b"\r" in stretch else stretch
        if b"\0" in plain or len(stretch) > settings.max_record.bytes:
            return []
        try:
            lines = plain.decode(self.encoding).split("\n")
        except UnicodeDecodeError:
            return []
        lines.pop()
        return lines

    def _at_once(self, lines: Sequence[str], first: int, value_of: ValueOf) -> Iterator[Row]:
        """One reader for all of them, from line ``first`` on; one that is no sound record goes its way by itself.

        It takes a third of the time (tests/bench/bulk.py). Each such line costs a new reader of all that are left: where there
        are many of them, as at the end of what a spreadsheet wrote, the others go that way, too.
        """
        width, trailer, at, most = len(self.names), self._settings.trailer, 0, _UNSOUND
        while at < len(lines) and most:
            begun, left = at, csv.reader(lines[at:], strict=True, **_dialect(self._settings, self._delimiter))
            try:
                for texts in left if self.trailed is None else ():
                    if len(texts) != width or not any(texts) or texts[0] == trailer or left.line_num != at - begun + 1:
                        break
                    value = value_of(self.names, texts)
                    if isinstance(value, Fault):
                        break
                    self.number += 1
                    yield Row(self.number, first + at, value)
                    at += 1
            except csv.Error:
                pass
            if at < len(lines):
                yield from self._by_itself(lines[at], first + at)
                at, most = at + 1, most - 1
        for place, line in enumerate(lines[at:], first + at):
            yield from self._by_itself(line, place)

    def _by_itself(self, line: str, place: int) -> Iterator[Row]:
        if (row := self._kept(place, line.encode(self.encoding))) is not None:
            yield row

    def row(self, place: int, raw: bytes | None) -> Row | None:
        """The record ``raw`` that begins at line ``place``."""
        texts: list[str] = []
        fault = None
        if raw is None:
            fault = Fault("record_too_large", f"the record is larger than {self._settings.max_record.bytes} bytes")
        elif b"\0" in raw:
            fault = Fault("nul_byte", "the record holds NUL bytes")
        else:
            try:
                self._text = decoded(raw, self.encoding)
                texts = next(self._parse)
            except UnicodeDecodeError as error:
                fault = Fault("not_decodable", f"byte {error.start + 1} of the record is not {self.encoding}")
            except UnicodeEncodeError:
                fault = HALF
            except csv.Error as error:
                self._parse = self._parser()  # the old one has ended
                fault = Fault("bad_quotes", f"the record is no CSV of this dialect: {error}")
        return self._made(place, raw, texts, fault)

    def _made(self, place: int, raw: bytes | None, texts: list[str], fault: Fault | None) -> Row | None:
        if fault is None:
            if not any(texts):
                return None
            if self.trailed is not None:
                raise FormatFault("after_trailer", f"line {place}: there are records after the trailer")
            if texts[0] == self._settings.trailer:
                self.trailed = _count(texts)
                return None
            if self._settings.short_rows and len(texts) < len(self.names):
                texts = texts + [""] * (len(self.names) - len(texts))
            value = self._columns.value(self.names, texts)
            if not isinstance(value, Fault):
                self.number += 1
                return Row(self.number, place, value)
            fault = value
        self.number += 1
        return Row(self.number, place, None, fault, raw or b"")

    def check_end(self) -> None:
        """Raise ``FormatFault`` where a trailer is wanted and missing or counts otherwise; call it after the last record."""
        if self._settings.trailer is None:
            return
        if self.trailed is None:
            raise FormatFault("no_trailer", f"the file ends without its trailer {self._settings.trailer!r}: it may be cut")
        if self.trailed != self.number:
            raise FormatFault("wrong_count", f"the trailer counts {self.trailed} records, the file has {self.number}")

    def _header(self) -> list[str]:
        for _ in range(self._settings.skip):
            next(self.records, None)
        if self._settings.columns:
            return self._columns.named(self._settings.columns)
        texts = self._header_texts(next(self.records, None))
        if len(texts) == 1 and texts[0].lower().startswith(_SEPARATOR) and len(texts[0]) == len(_SEPARATOR) + 1:
            self._delimiter = self._settings.delimiter or texts[0][-1]
            texts = self._header_texts(next(self.records, None))
        return self._columns.named(texts)

    def _header_texts(self, record: tuple[int, bytes | None] | None) -> list[str]:
        if record is None:
            raise FormatFault("empty", "the file is empty: it has not even a header")
        place, raw = record
        try:
            text = decoded(raw or b"", self.encoding)
            if text.lower().startswith(_SEPARATOR) and len(text) == len(_SEPARATOR) + 1:
                return [text]
            return next(csv.reader([text], strict=True, **_dialect(self._settings, self._delimiter)), [])
        except (UnicodeError, csv.Error) as error:
            raise FormatFault("no_header", f"line {place}: the header cannot be read: {type(error).__name__}") from error

    def _parser(self) -> Iterator[list[str]]:
        """One csv.reader for all records, each handed over in ``_text``: making one for each costs as much as parsing it."""
        return csv.reader(self._handed_over(), strict=True, **_dialect(self._settings, self._delimiter))

    def _handed_over(self) -> Iterator[str]:
        """Each text once: a record whose quote stays open must not go on with itself."""
        while (text := self._text) is not None:
            self._text = None
            yield text

    def _is_open(self, raw: bytes) -> bool:
        return is_open(raw.decode(self.encoding, "replace"), **_dialect(self._settings, self._delimiter))


def _dialect(settings: CsvSettings, delimiter: str) -> dict[str, Any]:
    quoting = csv.QUOTE_MINIMAL if settings.quote else csv.QUOTE_NONE
    return {
        "delimiter": delimiter,
        "quotechar": settings.quote or None,
        "escapechar": settings.escape or None,
        "doublequote": not settings.escape,
        "quoting": quoting,
    }


def _count(texts: list[str]) -> int:
    digits = next((text.strip() for text in texts[1:] if text.strip().isdecimal()), None)
    if digits is None:
        raise FormatFault("wrong_count", "the trailer holds no number of records")
    return counted(digits)
