"""What an answer of the source means for a walk: a page with its records, or why there is none. Sentences quote no content."""

import io
import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final, TypeAlias

import anyio.to_thread
import msgspec

from cdmd.connectors.fetching import (
    Denied,
    Expired,
    Failed,
    Fetched,
    Nonsense,
    Outcome,
    Unchanged,
    by_status,
    is_page,
)
from cdmd.connectors.rest.settings import ErrorSettings, StreamSettings
from cdmd.contracts import HttpAnswer
from cdmd.errors import FormatFault, SourceUnavailable, TemplateFault
from cdmd.kit.json_text import NotJson, decode_json
from cdmd.kit.templates import Template
from cdmd.kit.unpacking import Bounds, unpacked
from cdmd.models import Fault, Row

_WHOLE: Final = frozenset((200, 201, 202, 203, 206))
_LARGE: Final = 256 * 1024
_PACKED: Final = (b"PK\x03\x04", b"\x1f\x8b")
_MOST_JUDGED: Final = 1024 * 1024
_ENCODE: Final = msgspec.msgpack.Encoder().encode
_VERDICTS: Final = ("fatal", "ignore", "restart", "retry")


class Page(msgspec.Struct, frozen=True):
    """What one answer holds: the whole document (of JSON), and its records, rows with faults among them."""

    document: Any
    records: Sequence[Any]
    faults: Sequence[Row] = ()


NOTHING: Final = Page(document={}, records=())


class Raw(msgspec.Struct, frozen=True):
    """A body that is still to be read; ``document`` where it already was."""

    body: bytes
    document: Any = None


Read: TypeAlias = Page | Nonsense | Failed


class Answering:
    """Reads the answers of one stream. Raises ValueError for a template that is none."""

    def __init__(self, stream: StreamSettings, errors: ErrorSettings, *, max_body: int) -> None:
        self._max_body, self._optional = max_body, stream.may_be_missing
        self._format = None if stream.format is None else stream.format.make()
        self._records = Template.parse(stream.records)
        self._statuses = {word: frozenset(map(str, getattr(errors, word))) for word in _VERDICTS}
        texts = {word: getattr(errors, f"{word}_if") for word in _VERDICTS}
        self._signs = {word: Template.parse(text) for word, text in texts.items() if text is not None}

    def judge(self, answer: HttpAnswer) -> Outcome:
        """``Fetched`` holds a ``Page`` or ``Raw``; see ``fetching.classify`` for all others."""
        status = answer.status_code
        document = self._judged(answer)
        verdict = self._verdict(status, document)
        if verdict is not None:
            return _said(verdict, status, answer.headers)
        if status == HTTPStatus.NO_CONTENT:
            return Fetched(NOTHING, answer.headers)
        if status == HTTPStatus.NOT_MODIFIED:
            return Unchanged(answer.headers)
        if status not in _WHOLE:
            return by_status(status, retry_after=bool(answer.headers.get("retry-after")))
        if len(answer.content) > self._max_body:
            return Nonsense(f"the answer is larger than {self._max_body} bytes")
        if is_page(answer):
            return Nonsense("the answer is a page (HTML) where records should be")
        return Fetched(Raw(answer.content, document), answer.headers)

    async def read(self, raw: Raw) -> Read:
        """The page of a body; what is large, packed, or no JSON, is read in a thread."""
        if self._format is None and len(raw.body) <= _LARGE and not is_packed(raw.body):
            return self._from_json(raw)
        return await anyio.to_thread.run_sync(self._whole, raw)

    def _whole(self, raw: Raw) -> Read:
        if is_packed(raw.body):
            try:
                raw = Raw(opened(raw.body, largest=self._max_body))
            except FormatFault as fault:
                return Nonsense(f"the answer cannot be unpacked: {fault}")
        return self._from_json(raw) if self._format is None else self._from_rows(raw)

    def _from_json(self, raw: Raw) -> Read:
        try:
            document = decode_json(raw.body) if raw.document is None else raw.document
        except NotJson as fault:
            return Nonsense(f"the answer is not JSON that can be taken ({fault.code})")
        try:
            found = self._records.render(document, {})
        except TemplateFault as fault:
            return Nonsense(f"the records cannot be found: {fault}")
        if found is None:
            missing = not self._optional and not self._is_null(document)
            return Nonsense(f"the answer holds nothing at {self._records.text}") if missing else Page(document, ())
        if isinstance(found, list):
            return Page(document, found)
        if not isinstance(found, dict):
            return Nonsense(f"what the answer holds at {self._records.text} is neither a list nor an object")
        return Page(document, (found,))

    def _is_null(self, document: Any) -> bool:
        """Whether the place is there, with null in it: some sources write no list that is empty."""
        return isinstance(document, dict) and any(root in document and document[root] is None for root in self._records.roots)

    def _from_rows(self, raw: Raw) -> Read:
        assert self._format is not None  # noqa: S101 - asked only where there is one
        try:
            rows = [_comparable(row) for row in self._format.rows(io.BytesIO(raw.body))]
        except FormatFault as fault:
            return Nonsense(f"the answer cannot be read: {fault}")
        except SourceUnavailable as why:  # nothing that the answer is to blame for
            return Failed(f"the answer cannot be read now: {why}")
        whole = [row.value for row in rows if row.fault is None]
        return Page({}, whole, [row for row in rows if row.fault is not None])

    def _judged(self, answer: HttpAnswer) -> Any:
        """The answer's JSON where the rules ask for it; None where there is none."""
        if not self._signs or self._format is not None or len(answer.content) > _MOST_JUDGED:
            return None
        try:
            return decode_json(answer.content)
        except NotJson:
            return None

    def _verdict(self, status: int, document: Any) -> str | None:
        for word in _VERDICTS:
            named = self._statuses[word]
            if str(status) in named or f"{status // 100}xx" in named:
                return word
            sign = self._signs.get(word)
            if sign is not None and document is not None and _holds(sign, document):
                return word
        return None


def is_packed(body: bytes) -> bool:
    """Whether it is a zip or gzip; no text begins so."""
    return body.startswith(_PACKED)


def opened(body: bytes, *, largest: int) -> bytes:
    """The one file of a zip, or what was packed by gzip. Raises ``FormatFault``; at most ``largest`` bytes come out."""
    with unpacked(io.BytesIO(body), bounds=Bounds(max_bytes=largest)) as content:
        return content.read()


def _comparable(row: Row) -> Row:
    """The row, or its fault where it holds a number that no content can be compared with."""
    try:
        _ENCODE(row.value)
    except OverflowError:
        fault = Fault("number_out_of_range", "a whole number of the record does not fit into 64 bits")
        return Row(row.number, row.line, None, fault, json.dumps(row.value).encode())
    return row


def _holds(sign: Template, document: Any) -> bool:
    try:
        return bool(sign.render(document, {}))
    except TemplateFault:
        return False


def _said(verdict: str, status: int, headers: Mapping[str, str]) -> Outcome:
    match verdict:
        case "ignore":
            return Fetched(NOTHING, headers)
        case "restart":
            return Expired(f"the source no longer knows the position (status {status}): all is asked for again")
        case "retry" if status != HTTPStatus.TOO_MANY_REQUESTS:
            return Failed(f"the source answers with what is to be tried again (status {status})")
        case "retry":
            return by_status(status)
        case _:
            return Denied(f"the source answers with what needs somebody to act (status {status}, `errors`)")
