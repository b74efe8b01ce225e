"""The child of ``cdmd.connectors.formats.apart``: a spreadsheet on its standard input comes out as frames.

``python -m cdmd.connectors.formats.reading MEMORY SECONDS [SHEET]``. Rows that are empty are left out.
"""

import io
import re
import resource
import sys
import zipfile
import zlib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgspec

from cdmd.connectors.formats.apart import END, LENGTH, LIBRARY, REFUSED, ROW
from cdmd.connectors.formats.plain import plain
from cdmd.errors import FormatFault

_BEYOND: Final = 2.0**63
_CHOICE: Final = Path("/proc/self/oom_score_adj")
_GRACE: Final = 5
"""Seconds in which SIGXCPU has ended it: where both bounds of the time are one, SIGKILL does, as it could from outside."""

_SHEETS: Final = "xl/worksheets/"
_ERROR: Final = re.compile(
    rb"""(<(?:\w+:)?c\s[^>]*\bt=["']e["'][^>]*>\s*(?:<(?:\w+:)?f\b[^>]*(?:/>|>[^<]*</(?:\w+:)?f>)\s*)?<(?:\w+:)?v>)[^<]*"""
)
"""A cell of a sheet (ECMA-376, 18.3.1.4) whose type is an error, to its value, with the formula that may stand before it."""

_UNZIPPING: Final = (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, zlib.error)
_ENCODE: Final = msgspec.msgpack.Encoder().encode


def frames(content: bytes, sheet: str | None) -> Iterator[bytes]:
    """All that is in the sheet, the end or the fault of the file last."""
    try:
        for place, cells in _sheet(content, sheet):
            if any(cell != "" for cell in cells):
                yield frame(ROW, [place, [plain(_whole(cell)) for cell in cells]])
    except FormatFault as fault:
        yield frame(REFUSED, [fault.code, str(fault)])
    else:
        yield frame(END, None)


def frame(kind: int, found: Any) -> bytes:
    """As ``apart`` reads it."""
    body = _ENCODE([kind, found])
    return LENGTH.pack(len(body)) + body


def _sheet(content: bytes, name: str | None) -> Iterator[tuple[int, list[Any]]]:
    library: Any = import_module(LIBRARY)
    faults = (library.CalamineError, OSError, ValueError, IndexError)
    try:
        try:
            sheet = _chosen(library, content, name)
        except faults:
            sheet = _chosen(library, _plainer(content), name)
    except (*faults, *_UNZIPPING) as error:
        raise FormatFault(
            "not_a_spreadsheet",
            "the file is no spreadsheet, or it is cut, damaged or encrypted, or a cell of the sheet is of no known kind: where "
            "an office program can open it, save it anew or as CSV",
        ) from error
    first = (sheet.start or (0, 0))[0] + 1
    yield from enumerate(sheet.to_python(skip_empty_area=True), first)


def _chosen(library: Any, content: bytes, name: str | None) -> Any:
    book = library.load_workbook(io.BytesIO(content))
    if name is not None and name not in book.sheet_names:
        raise FormatFault("no_sheet", f"there is no sheet {name!r}; there are {book.sheet_names}")
    return book.get_sheet_by_name(book.sheet_names[0] if name is None else name)


def _plainer(content: bytes) -> bytes:
    """The workbook with one error in all cells that have one: of those that Excel has had since, the library knows none.

    It refuses the whole sheet for it. A cell with an error is empty.
    """
    plainer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as before, zipfile.ZipFile(plainer, "w") as after:
        for one in before.infolist():
            part = before.read(one)
            after.writestr(one.filename, _ERROR.sub(rb"\1#N/A", part) if one.filename.startswith(_SHEETS) else part)
    return plainer.getvalue()


def _whole(cell: Any) -> Any:
    """Spreadsheets have no integers: a customer's number comes as 4711.0. What does not fit 64 bits is no such number."""
    return int(cell) if isinstance(cell, float) and cell.is_integer() and abs(cell) < _BEYOND else cell


def bound(memory: int) -> None:
    """Its memory; and where the service has no more the kernel takes this process, not the daemon."""
    _CHOICE.write_text("1000", "ascii")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))


def _end_after(seconds: int) -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + _GRACE))


def main(source: BinaryIO, sink: BinaryIO, memory: int, seconds: int, sheet: str | None = None) -> None:
    """Read, bounded."""
    bound(memory)
    _end_after(seconds)
    sink.writelines(frames(source.read(), sheet))
    sink.flush()


if __name__ == "__main__":
    main(sys.stdin.buffer, sys.stdout.buffer, int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:])
