"""JSON as one document: the objects of an array, at the top or under a path of names, one at a time in bounded memory.

What is not well-formed has no place to go on from, so that is a fault of the whole file, as is a document that is cut.
"""

import codecs
import json
from collections.abc import Iterator
from typing import Annotated, Any, BinaryIO, ClassVar, Final

import msgspec
from msgspec import Meta

from cdmd.connectors.formats.records import in_bytes, unkept
from cdmd.errors import FormatFault
from cdmd.kit.json_text import NotJson, inspect
from cdmd.kit.quantities import Size
from cdmd.models import Fault, Row

_PIECE: Final = 2**16
_DEEPEST: Final = 100
_BLANK: Final = " \t\r\n"


def _no_number(text: str) -> Any:
    raise ValueError(text)


_DECODE: Final = json.JSONDecoder(parse_constant=_no_number).raw_decode


class JsonSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``format = { type = "json", ... }``."""

    records: Annotated[str, Meta(description="The path of names to the array (`data.items`); empty: the whole document.")] = ""
    max_record: Annotated[Size, Meta(description="The largest record, and the largest value beside them.")] = Size.parse("1MiB")


class Json:
    """Records are the array's elements; one that is no object is a row with a fault."""

    name: ClassVar[str] = "json"
    ragged: ClassVar[bool] = True
    Settings: ClassVar[type[msgspec.Struct]] = JsonSettings

    def __init__(self, settings: JsonSettings) -> None:
        self._path = [name for name in settings.records.split(".") if name]
        self._limit = settings.max_record.bytes

    def rows(self, stream: BinaryIO) -> Iterator[Row]:
        """See ``cdmd.contracts.Format``."""
        plain, _ = in_bytes(stream, "utf-8")
        text = _Text(plain, self._limit)
        for name in self._path:
            text.enter(name)
        text.expect("[", f"an array{f' at {chr(46).join(self._path)}' if self._path else ''}")
        for number, value in enumerate(text.elements(), 1):
            yield Row(number, None, None, fault) if (fault := _fault(value, text.openings)) else Row(number, None, value)
        text.leave(len(self._path))


def _fault(value: Any, openings: int) -> Fault | None:
    if not isinstance(value, dict):
        return Fault("not_an_object", "the record is JSON, but no object")
    try:
        if openings > _DEEPEST:  # it may be nested so deep
            inspect(value, max_depth=_DEEPEST, wide=True)
    except NotJson as error:
        return Fault(error.code, f"the record is no JSON that can be taken: {error.message}")
    return unkept(value)


class _Text:
    """The document's text from where it was read to on; never much more of it than one value."""

    def __init__(self, stream: BinaryIO, limit: int) -> None:
        self._stream, self._limit = stream, limit
        self._decode = codecs.getincrementaldecoder("utf-8-sig")()
        self._text, self._at, self._ended = "", 0, False
        self.openings = 0  # braces and brackets of the last value

    def enter(self, name: str) -> None:
        """Into the member ``name`` of the object that begins here."""
        self.expect("{", f"an object that has {name!r}")
        while self._next() != "}":
            if self._member() == name:
                return
            self.value()
            self._comma("}")
        raise FormatFault("no_records", f"the document has no {name!r} where the records should be")

    def elements(self) -> Iterator[Any]:
        """The values of the array that began before, to its end."""
        while self._next() != "]":
            yield self.value()
            self._comma("]")
        self._at += 1

    def leave(self, depth: int) -> None:
        """Read the rest: so many objects are open, and nothing comes after them."""
        for _ in range(depth):
            self._comma("}")
            while self._next() != "}":
                self._member()
                self.value()
                self._comma("}")
            self._at += 1
        if self._next(end=True):
            raise FormatFault("not_json", "there is something behind the document's end")

    def expect(self, sign: str, what: str) -> None:
        """That sign comes next."""
        if self._next() != sign:
            raise FormatFault("no_records", f"the document has not {what} where the records should be")
        self._at += 1

    def value(self) -> Any:
        """The next value."""
        self._next()
        while True:
            try:
                value, end = _DECODE(self._text, self._at)
            except RecursionError as error:
                raise FormatFault("too_deep", "the document is nested too deeply") from error
            except ValueError as error:
                self._more(error)
                continue
            if end == len(self._text) and not self._ended:  # a number may go on
                self._read()
                continue
            if end - self._at > self._limit:
                raise FormatFault("record_too_large", f"a value of the document is larger than {self._limit} bytes")
            self.openings = self._text.count("{", self._at, end) + self._text.count("[", self._at, end)
            self._at = end
            return value

    def _member(self) -> Any:
        name = self.value()
        self.expect(":", "a value for every name")
        return name

    def _comma(self, end: str) -> None:
        sign = self._next()
        if sign == ",":
            self._at += 1
            if self._next() == end:
                raise FormatFault("not_json", "the document is not well-formed: there is a comma before an end")
        elif sign != end:
            raise FormatFault("not_json", "the document is not well-formed: a comma is missing")

    def _next(self, *, end: bool = False) -> str:
        """The next sign that is no blank. Raises ``FormatFault`` where there is none, unless that is the ``end``."""
        while True:
            while self._at < len(self._text) and self._text[self._at] in _BLANK:
                self._at += 1
            if self._at < len(self._text):
                return self._text[self._at]
            if self._ended:
                if end:
                    return ""
                raise FormatFault("truncated", "the document ends too early: it is cut")
            self._read()

    def _more(self, error: ValueError) -> None:
        if self._ended:
            cut = isinstance(error, json.JSONDecodeError) and error.pos >= len(self._text.rstrip()) - 1
            code, what = ("truncated", "it is cut") if cut else ("not_json", "it is not well-formed")
            raise FormatFault(code, f"the document cannot be read: {what}") from error
        if len(self._text) - self._at > self._limit:
            raise FormatFault(
                "record_too_large", f"a value is larger than {self._limit} bytes, or the document is not well-formed"
            ) from error
        self._read()

    def _read(self) -> None:
        """Twice as much as is there, so that a large value is not tried too often."""
        piece = self._stream.read(max(_PIECE, len(self._text) - self._at))
        self._ended = not piece
        try:
            self._text, self._at = self._text[self._at :] + self._decode.decode(piece, final=self._ended), 0
        except UnicodeDecodeError as error:
            raise FormatFault("not_decodable", "the document is not UTF-8") from error
