"""JSON Lines (also called NDJSON): one object a line, in UTF-8."""

from collections.abc import Iterator
from typing import Annotated, BinaryIO, ClassVar

import msgspec
from msgspec import Meta

from cdmd.connectors.formats.lines import bounded_lines, without_end
from cdmd.kit.json_text import NotJson, decode_json
from cdmd.kit.quantities import Size
from cdmd.models import Fault, Row


class JsonlSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``format = { type = "jsonl", ... }``."""

    max_record: Annotated[Size, Meta(description="The longest line; a longer one is set aside.")] = Size.parse("1MiB")


class Jsonl:
    """Records are the lines that are not blank; a line that is no JSON object is a row with a fault.

    A whole number of any size is none: only where it is to be kept.
    """

    name: ClassVar[str] = "jsonl"
    ragged: ClassVar[bool] = True
    lines: ClassVar[bool] = True
    Settings: ClassVar[type[msgspec.Struct]] = JsonlSettings

    def __init__(self, settings: JsonlSettings) -> None:
        self._limit = settings.max_record.bytes

    def rows(self, stream: BinaryIO) -> Iterator[Row]:
        """See ``cdmd.contracts.Format``."""
        number = 0
        for place, line in bounded_lines(stream, limit=self._limit):
            if line is None:
                number += 1
                yield Row(number, place, None, Fault("record_too_large", f"the line is longer than {self._limit} bytes"))
            elif line and not line.isspace():
                number += 1
                yield _row(number, place, line)


def _row(number: int, place: int, line: bytes) -> Row:
    try:
        value = decode_json(line, wide=True)
    except NotJson as error:
        fault = Fault(error.code, f"the line is no JSON that can be taken: {error.message}")
    else:
        if isinstance(value, dict):
            return Row(number, place, value)
        fault = Fault("not_an_object", "the line is JSON, but no object")
    return Row(number, place, None, fault, without_end(line))
