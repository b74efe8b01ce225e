"""XML: every element of one name is a record, read as it comes in bounded memory, and nothing in it is looked up or expanded.

A document type declaration is refused as such: records need none, and entities are what bombs are made of. Attributes become
``@name``, text beside them ``#text``, what comes several times a list; namespaces are left off.
"""

from collections import deque
from collections.abc import Iterator
from typing import Annotated, Any, BinaryIO, ClassVar, Final
from xml.parsers import expat

import msgspec
from msgspec import Meta

from cdmd.errors import FormatFault
from cdmd.kit.quantities import Size
from cdmd.models import Fault, Row

_PIECE: Final = 2**16
_DEEPEST: Final = 64
_EARLY: Final = frozenset(
    expat.errors.codes[text]
    for text in (expat.errors.XML_ERROR_NO_ELEMENTS, expat.errors.XML_ERROR_UNCLOSED_TOKEN, expat.errors.XML_ERROR_PARTIAL_CHAR)
)


class XmlSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``format = { type = "xml", ... }``."""

    record: Annotated[str, Meta(description="The name of the elements that are records.")]
    encoding: Annotated[str | None, Meta(description="The encoding, where the document's declaration is wrong.")] = None
    max_record: Annotated[Size, Meta(description="The largest record; a larger one is set aside.")] = Size.parse("1MiB")


class Xml:
    """See the settings."""

    name: ClassVar[str] = "xml"
    ragged: ClassVar[bool] = True
    Settings: ClassVar[type[msgspec.Struct]] = XmlSettings

    def __init__(self, settings: XmlSettings) -> None:
        self._settings = settings

    def rows(self, stream: BinaryIO) -> Iterator[Row]:
        """See ``cdmd.contracts.Format``."""
        reading = _Reading(self._settings)
        while piece := stream.read(_PIECE):
            yield from reading.fed(piece, last=False)
        yield from reading.fed(b"", last=True)


class _Reading:
    """The parser's events gathered into rows."""

    def __init__(self, settings: XmlSettings) -> None:
        self._record, self._limit = settings.record, settings.max_record.bytes
        self._rows: deque[Row] = deque()
        self._open: list[tuple[str, dict[str, Any], list[str]]] = []
        self._number = self._size = self._line = self._depth = 0
        parser = expat.ParserCreate(settings.encoding, namespace_separator="}")
        parser.buffer_text = True
        parser.StartDoctypeDeclHandler = self._doctype
        parser.StartElementHandler, parser.EndElementHandler = self._start, self._end
        parser.CharacterDataHandler = self._text
        self._parser = parser

    def fed(self, piece: bytes, *, last: bool) -> Iterator[Row]:
        """The rows that end in this piece. Raises ``FormatFault``."""
        try:
            self._parser.Parse(piece, last)
        except expat.ExpatError as error:
            early = error.code in _EARLY or last
            code, what = ("truncated", "ends too early: it is cut") if early else ("not_xml", "is not well-formed")
            raise FormatFault(code, f"line {error.lineno}: the document {what} ({expat.ErrorString(error.code)})") from error
        except (LookupError, ValueError) as error:
            raise FormatFault("not_decodable", f"the document's encoding is not understood: {error}") from error
        while self._rows:
            yield self._rows.popleft()

    def _doctype(self, *_: Any) -> None:
        raise FormatFault(
            "doctype", "the document has a document type declaration: it is refused, for it could expand without end"
        )

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        name = name.rpartition("}")[2]
        self._depth += 1
        if self._depth > _DEEPEST:
            raise FormatFault("too_deep", f"the document is nested deeper than {_DEEPEST} elements")
        if not self._open:
            if name != self._record:
                return
            self._number, self._size, self._line = self._number + 1, 0, self._parser.CurrentLineNumber
        self._size += sum(len(key) + len(value) for key, value in attributes.items()) + len(name)
        own: dict[str, Any] = {}
        if self._size <= self._limit:
            own = {f"@{key.rpartition('}')[2]}": value for key, value in attributes.items()}
        self._open.append((name, own, []))

    def _text(self, text: str) -> None:
        if self._open:
            self._size += len(text)
            if self._size <= self._limit:
                self._open[-1][2].append(text)

    def _end(self, _: str) -> None:
        self._depth -= 1
        if not self._open:
            return
        name, children, texts = self._open.pop()
        value = _value(children, "".join(texts).strip())
        if self._open:
            _add(self._open[-1][1], name, value)
        elif self._size > self._limit:
            fault = Fault("record_too_large", f"the record is larger than {self._limit} bytes")
            self._rows.append(Row(self._number, self._line, None, fault))
        else:
            whole = value if isinstance(value, dict) else {} if value is None else {"#text": value}
            self._rows.append(Row(self._number, self._line, whole))


def _value(children: dict[str, Any], text: str) -> Any:
    if not children:
        return text or None
    return {**children, "#text": text} if text else children


def _add(parent: dict[str, Any], name: str, value: Any) -> None:
    if name not in parent:
        parent[name] = value
    elif isinstance(parent[name], list):
        parent[name].append(value)
    else:
        parent[name] = [parent[name], value]
