"""Tells a file by its content: what it is packed in, then its kind, then how its records are written.

It blocks: for a worker thread or a command. Only the beginning is read, but for formats that have to be read whole.
"""

import codecs
from collections.abc import Iterable, Mapping
from glob import escape
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgspec

from cdmd.connectors.formats import FORMATS
from cdmd.connectors.probing import documents, tables, values
from cdmd.connectors.probing.encodings import encoding_of
from cdmd.connectors.probing.guesses import Guess
from cdmd.contracts import ChosenFormat
from cdmd.errors import ConfigInvalid, FormatFault
from cdmd.kit.unpacking import entries, unpacked

_HEAD: Final = 2**20
_RECORDS: Final = 500
_COMPARED: Final = 5
_OLD_OFFICE, _ZIP, _PARQUET = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", b"PK\x03\x04", b"PAR1"
_TEXT_MARKS: Final = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


def probe(file: Path | BinaryIO) -> Guess | None:
    """What the file seems to be; None where nothing fits. A stream must be able to seek.

    Raises ``FormatFault`` for one that cannot be unpacked, and OSError.
    """
    names = entries(_begun(file))
    doubts = [f"it holds {len(names)} files: the first was looked at, all are read"] if len(names) > 1 else []
    entry = escape(names[0]) or "*"
    with unpacked(_begun(file), entry=entry) as stream:
        head = stream.read(_HEAD)
    guess = _guess(head, whole=len(head) < _HEAD)
    if guess is None:
        return None
    with unpacked(_begun(file), entry=entry) as stream:
        return _typed(_sampled(guess, stream, doubts))


def otherwise(chosen: ChosenFormat, file: BinaryIO) -> Guess | None:
    """What the file seems to be where ``chosen`` reads something else; None where it reads the same, or nobody can tell."""
    try:
        guess = probe(file)
    except FormatFault:
        return None
    if guess is None or not guess.records:
        return None
    read, seen = _read(chosen, file), _texts(guess.records)
    garbled = any(not text.isascii() and text not in seen for text in read)
    return guess if garbled or not read or 2 * len(read & seen) < len(read) else None


def _read(chosen: ChosenFormat, file: BinaryIO) -> set[str]:
    """Texts in the first records; none where one of them cannot be read."""
    entry = escape(entries(_begun(file))[0]) or "*"
    try:
        with unpacked(_begun(file), entry=entry) as stream:
            rows = list(islice(chosen.make().rows(stream), _COMPARED))
    except FormatFault:
        return set()
    return set() if any(row.value is None for row in rows) else _texts(row.value for row in rows if row.value is not None)


def _texts(records: Iterable[Mapping[str, Any]]) -> set[str]:
    return {text.strip() for record in records for text in record.values() if isinstance(text, str)}


def _begun(file: Path | BinaryIO) -> Path | BinaryIO:
    if not isinstance(file, Path):
        file.seek(0)
    return file


def _guess(head: bytes, *, whole: bool) -> Guess | None:
    if head.startswith((_OLD_OFFICE, _ZIP)):
        return Guess(type="xlsx")
    if head.startswith(_PARQUET):
        return Guess(type="parquet")
    encoding, doubt = encoding_of(head)
    text = _decoded(head, encoding)
    if not text.strip() or "\0" in text:
        return None
    begins = text.lstrip()[:1]
    if begins == "<" and (record := documents.record_in_xml(head)) is not None:
        return Guess(type="xml", settings={"record": record})
    if begins in {"{", "["} and (found := _json(text)) is not None:
        return found
    return _table(text, encoding, [doubt] if doubt else [], whole=whole)


def _json(text: str) -> Guess | None:
    if documents.is_lines(text):
        return Guess(type="jsonl")
    path = documents.records_in_json(text)
    return None if path is None else Guess(type="json", settings={"records": path} if path else {})


def _table(text: str, encoding: str, doubts: list[str], *, whole: bool) -> Guess:
    said = {} if encoding == "utf-8" else {"encoding": encoding}
    kind, found = "csv", tables.delimited(text, whole=whole)
    if found is None:
        kind, found = "fixed", tables.fixed(text, whole=whole)
    if found is None:
        kind, found = "csv", tables.one_column(text)
    return Guess(type=kind, settings={**found.settings, **said}, doubts=[*doubts, *found.doubts])


def _sampled(guess: Guess, stream: BinaryIO, doubts: list[str]) -> Guess:
    """The same with its first records, read as the settings say."""
    chosen = next(one for one in FORMATS if one.name == guess.type)
    try:
        settings = msgspec.convert(dict(guess.settings), chosen.Settings)
        rows = islice(chosen(settings).rows(stream), _RECORDS)
        records = [row.value for row in rows if row.value is not None]
    except (FormatFault, ConfigInvalid) as error:
        return msgspec.structs.replace(guess, doubts=[*doubts, *guess.doubts, str(error)])
    return msgspec.structs.replace(guess, doubts=[*doubts, *guess.doubts], records=records)


def _typed(guess: Guess) -> Guess:
    """The same with columns of numbers, dates and words for no value, for formats that have columns of texts."""
    if guess.type not in {"csv", "fixed"}:
        return guess
    columns, settings, doubts = values.texts_of(guess.records), dict(guess.settings), list(guess.doubts)
    if words := values.nulls(columns):
        settings["nulls"] = ["", *words]
        columns = {name: [text for text in texts if text not in words] for name, texts in columns.items()}
    if numbers := values.with_comma(columns):
        settings |= {"numbers": numbers, "decimal": ","}
    dates, unsure = values.dates(columns)
    if dates:
        settings["dates"] = dates
        doubts += [f"day and month of {', '.join(unsure)} cannot be told apart"] if unsure else []
    return msgspec.structs.replace(guess, settings=settings, doubts=doubts)


def _decoded(head: bytes, encoding: str) -> str:
    marked = next((name for mark, name in _TEXT_MARKS if head.startswith(mark)), encoding)
    return codecs.getincrementaldecoder(marked)("replace").decode(head)
