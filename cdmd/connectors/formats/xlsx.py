"""Spreadsheets (xlsx, xls, xlsb, ods) through python-calamine: numbers, dates and booleans come typed.

The library holds the whole sheet in memory, so a file's size is bounded, packed and unpacked, and what reads it is a process of
its own (``apart``). It comes with ``cdmd[xlsx]``.
"""

import importlib.util
import io
import zipfile
from collections.abc import Iterator
from typing import Annotated, Any, BinaryIO, ClassVar, Final

import msgspec
from msgspec import Meta

from cdmd.connectors.formats.apart import LIBRARY, rows_apart
from cdmd.connectors.formats.columns import Columns, ColumnSettings
from cdmd.errors import ConfigInvalid, FormatFault
from cdmd.kit.quantities import Size
from cdmd.models import Fault, Row

_RATIO: Final = 100
_SECONDS: Final = 30
_BYTES_IN_A_SECOND: Final = 2**18
_MOST: Final = Size.parse("64MiB")
_MEMORY: Final = Size.parse("1GiB")


class XlsxSettings(ColumnSettings, frozen=True, kw_only=True):
    """``format = { type = "xlsx", ... }``."""

    sheet: Annotated[str | None, Meta(description="The sheet's name; by default the first one.")] = None
    header: Annotated[int, Meta(description="The row with the columns' names, counted from 1.", ge=1)] = 1
    max_size: Annotated[Size, Meta(description="A larger file is refused; unpacked it may be ten times as large.")] = _MOST
    max_memory: Annotated[
        Size, Meta(description="What the process that reads one may take: about six times of what the sheet is unpacked.")
    ] = _MEMORY


class Xlsx:
    """See the settings. Empty rows are passed over; a row's line is its row in the sheet."""

    name: ClassVar[str] = "xlsx"
    Settings: ClassVar[type[msgspec.Struct]] = XlsxSettings

    def __init__(self, settings: XlsxSettings) -> None:
        self._settings = settings
        self._columns = Columns(settings)
        if importlib.util.find_spec(LIBRARY) is None:
            raise ConfigInvalid(["format: spreadsheets need python-calamine: pip install 'cdmd[xlsx]'"])

    def rows(self, stream: BinaryIO) -> Iterator[Row]:
        """See ``cdmd.contracts.Format``."""
        names: list[str] | None = None
        number = 0
        for place, cells in self._sheet(stream):
            if place < self._settings.header:
                continue
            if names is None:
                names = self._columns.named([_name(cell) for cell in cells])
                continue
            number += 1
            value = self._columns.value(names, cells[: len(names)])
            yield Row(number, place, None, value) if isinstance(value, Fault) else Row(number, place, value)
        if names is None:
            raise FormatFault("empty", "the sheet is empty: it has not even a header")

    def _sheet(self, stream: BinaryIO) -> Iterator[tuple[int, list[Any]]]:
        limit = self._settings.max_size.bytes
        content = stream.read(limit + 1)
        if len(content) > limit:
            raise FormatFault("too_large", f"the spreadsheet is larger than max_size ({self._settings.max_size})")
        size = _unpacked(content, most=limit * 10)
        seconds = _SECONDS + size // _BYTES_IN_A_SECOND
        yield from rows_apart(content, self._settings.sheet, memory=self._settings.max_memory, seconds=seconds)


def _unpacked(content: bytes, *, most: int) -> int:
    """How large it is unpacked."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            size = sum(info.file_size for info in archive.infolist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return len(content)  # an older format, or none: the library says so
    if size > most or size > max(_RATIO * len(content), 2**20):
        raise FormatFault("bomb", f"the spreadsheet unpacks to {size} bytes, {size // max(1, len(content))} times its size")
    return size


def _name(cell: Any) -> str:
    return "" if cell is None else str(cell)
