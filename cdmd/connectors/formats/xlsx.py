"""Spreadsheets (xlsx, xls, xlsb, ods) through python-calamine: numbers, dates and booleans come typed.

The library holds the whole sheet in memory, so a file's size is bounded, packed and unpacked. It comes with ``cdmd[xlsx]``.
"""

import importlib.util
import io
import zipfile
from collections.abc import Iterator
from importlib import import_module
from typing import Annotated, Any, BinaryIO, ClassVar, Final

import msgspec
from msgspec import Meta

from cdmd.connectors.formats.columns import Columns, ColumnSettings
from cdmd.connectors.formats.plain import plain
from cdmd.errors import ConfigInvalid, FormatFault
from cdmd.kit.quantities import Size
from cdmd.models import Fault, Row

_LIBRARY: Final = "python_calamine"
_RATIO: Final = 100
_BEYOND: Final = 2.0**63
_MOST: Final = Size.parse("64MiB")


class XlsxSettings(ColumnSettings, frozen=True, kw_only=True):
    """``format = { type = "xlsx", ... }``."""

    sheet: Annotated[str | None, Meta(description="The sheet's name; by default the first one.")] = None
    header: Annotated[int, Meta(description="The row with the columns' names, counted from 1.", ge=1)] = 1
    max_size: Annotated[Size, Meta(description="A larger file is refused; unpacked it may be ten times as large.")] = _MOST


class Xlsx:
    """See the settings. Empty rows are passed over; a row's line is its row in the sheet."""

    name: ClassVar[str] = "xlsx"
    Settings: ClassVar[type[msgspec.Struct]] = XlsxSettings

    def __init__(self, settings: XlsxSettings) -> None:
        self._settings = settings
        self._columns = Columns(settings)
        if importlib.util.find_spec(_LIBRARY) is None:
            raise ConfigInvalid(["format: spreadsheets need python-calamine: pip install 'cdmd[xlsx]'"])

    def rows(self, stream: BinaryIO) -> Iterator[Row]:
        """See ``cdmd.contracts.Format``."""
        names: list[str] | None = None
        number = 0
        for place, cells in enumerate(self._sheet(stream), 1):
            if place < self._settings.header or all(cell == "" for cell in cells):
                continue
            if names is None:
                names = self._columns.named([_name(cell) for cell in cells])
                continue
            number += 1
            value = self._columns.value(names, [plain(_whole(cell)) for cell in cells[: len(names)]])
            yield Row(number, place, None, value) if isinstance(value, Fault) else Row(number, place, value)
        if names is None:
            raise FormatFault("empty", "the sheet is empty: it has not even a header")

    def _sheet(self, stream: BinaryIO) -> Iterator[list[Any]]:
        limit = self._settings.max_size.bytes
        content = stream.read(limit + 1)
        if len(content) > limit:
            raise FormatFault("too_large", f"the spreadsheet is larger than max_size ({self._settings.max_size})")
        _check_size(content, most=limit * 10)
        library: Any = import_module(_LIBRARY)
        try:
            book = library.load_workbook(io.BytesIO(content))
            if self._settings.sheet is not None and self._settings.sheet not in book.sheet_names:
                raise FormatFault("no_sheet", f"there is no sheet {self._settings.sheet!r}; there are {book.sheet_names}")
            sheet = book.get_sheet_by_name(self._settings.sheet or book.sheet_names[0])
        except (library.CalamineError, OSError, ValueError, IndexError) as error:
            raise FormatFault("not_a_spreadsheet", "the file is no spreadsheet, or it is cut, damaged or encrypted") from error
        first = (sheet.start or (0, 0))[0]
        yield from ([] for _ in range(first))
        yield from sheet.to_python(skip_empty_area=True)


def _check_size(content: bytes, *, most: int) -> None:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            size = sum(info.file_size for info in archive.infolist())
    except zipfile.BadZipFile:
        return  # an older format, or none: the library says so
    if size > most or size > max(_RATIO * len(content), 2**20):
        raise FormatFault("bomb", f"the spreadsheet unpacks to {size} bytes, {size // max(1, len(content))} times its size")


def _name(cell: Any) -> str:
    found = plain(_whole(cell))
    return "" if found is None else str(found)


def _whole(cell: Any) -> Any:
    """Spreadsheets have no integers: a customer's number comes as 4711.0. What does not fit 64 bits is no such number."""
    return int(cell) if isinstance(cell, float) and cell.is_integer() and abs(cell) < _BEYOND else cell
