"""The child of ``cdmd.connectors.formats.apart`` for Parquet: it asks for what it reads, and writes rows as frames.

``python -m cdmd.connectors.formats.columnar MEMORY RECORD SIZE COLUMNS``: bytes that it may take, of the longest row and of the
file, and the columns' names as JSON (``null``: all).
"""

import io
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from typing import Any, BinaryIO, Final

import msgspec
from typing_extensions import Buffer, override

from cdmd.connectors.formats.apart import ASK, END, LARGE, LENGTH, PIECE, REFUSED, ROW
from cdmd.connectors.formats.plain import plain
from cdmd.connectors.formats.reading import bound, frame
from cdmd.errors import FormatFault
from cdmd.kit.placed import Placed

LIBRARY: Final = "pyarrow"

_ROWS: Final = 1_000
_SECONDS: Final = 60
"""Of a processor, for so many rows: what is read at a time goes by the file, and a hostile one can make it anything."""

_PAGE: Final = 2**20
_FRAME: Final = 2**20
_ENCODE: Final = msgspec.msgpack.Encoder().encode
_64_BITS: Final = range(-(2**63), 2**64)


class Asked(Placed):
    """A file of ``size`` bytes that is read by asking ``sink`` and taking what comes from ``source``."""

    def __init__(self, source: BinaryIO, sink: BinaryIO, size: int) -> None:
        super().__init__(size)
        self._source, self._sink = source, sink

    @override
    def readinto(self, buffer: Buffer) -> int:
        view = memoryview(buffer).cast("B")
        wanted = max(0, min(len(view), PIECE, self.size - self.place))
        if not wanted:
            return 0
        self._sink.write(frame(ASK, [self.place, wanted]))
        self._sink.flush()
        (length,) = LENGTH.unpack(self._source.read(LENGTH.size))
        view[:length] = self._source.read(length)
        self.place += length
        return int(length)


def frames(
    file: BinaryIO, columns: Sequence[str] | None, *, record: int, came_on: Callable[[], None] = lambda: None
) -> Iterator[bytes]:
    """All rows, some in a frame, the end or the fault of the file last; ``came_on`` hears of each step. Raises MemoryError."""
    rows, size = list[msgspec.Raw](), 0
    try:
        for value in _rows(file, columns, came_on):
            row = _encoded(value, most=record)
            if size + len(row) > _FRAME and rows:
                yield frame(ROW, rows)
                rows, size = [], 0
            rows.append(msgspec.Raw(row))
            size += len(row)
    except FormatFault as fault:
        yield frame(ROW, rows)
        yield frame(REFUSED, [fault.code, str(fault)])
    else:
        yield frame(ROW, rows)
        yield frame(END, None)


def _rows(stream: BinaryIO, columns: Sequence[str] | None, came_on: Callable[[], None]) -> Iterator[dict[str, Any] | list[str]]:
    arrow: Any = import_module(LIBRARY)
    parquet: Any = import_module("pyarrow.parquet")
    try:
        # Of a column it reads a page at a time, not all that a row group has of it.
        file = parquet.ParquetFile(stream, buffer_size=_PAGE)
        missing = [name for name in columns or () if name not in file.schema_arrow.names]
        if missing:
            raise FormatFault("missing_columns", f"the file lacks {', '.join(missing)}")
        for kind in file.schema_arrow.types:
            if arrow.types.is_timestamp(kind) and kind.tz is not None:
                arrow.lib.string_to_tzinfo(kind.tz)  # one that does not exist would be a fault of each row
        came_on()
        for batch in file.iter_batches(batch_size=_ROWS, columns=columns, use_threads=False):
            yield from _values(batch)
            came_on()
    except MemoryError:
        raise
    except (arrow.ArrowException, OSError, ValueError, KeyError) as error:  # KeyError: that zone, with pytz
        raise FormatFault("not_parquet", "the file is no Parquet file, or it is cut or damaged") from error


def _values(batch: Any) -> Iterator[dict[str, Any] | list[str]]:
    """Its rows' values; where one has a value that Python has no form for, row by row, so that the others are read."""
    try:
        yield from batch.to_pylist()
    except (ValueError, OverflowError):
        for at in range(batch.num_rows):
            try:
                (value,) = batch.slice(at, 1).to_pylist()
            except (ValueError, OverflowError) as error:
                value = ["not_a_value", f"a value of the row cannot be read: {error}"]
            yield value


def _encoded(value: dict[str, Any] | list[str], *, most: int) -> bytes:
    if isinstance(value, list):
        return _ENCODE(value)
    found = {name: plain(one) for name, one in value.items()}
    try:
        row = _ENCODE(found)
    except OverflowError:
        row = _ENCODE(_sized(found))
    return row if len(row) <= most else _ENCODE(["record_too_large", f"the row is larger than {most} bytes"])


def _sized(value: Any) -> Any:
    """With whole numbers that MessagePack has no form for as extensions."""
    match value:
        case int() if value not in _64_BITS:
            return msgspec.msgpack.Ext(LARGE, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))
        case dict():
            return {name: _sized(one) for name, one in value.items()}
        case list():
            return [_sized(one) for one in value]
        case _:
            return value


def _go_on() -> None:
    """So much time from now on."""
    _, most = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(time.process_time()) + _SECONDS, most))


def main(source: BinaryIO, sink: BinaryIO, memory: int, record: int, size: int, columns: str) -> None:
    """Read, bounded."""
    bound(memory)
    _go_on()
    file: Any = io.BufferedReader(Asked(source, sink, size), PIECE)
    sink.writelines(frames(file, msgspec.json.decode(columns, type=list[str] | None), record=record, came_on=_go_on))
    sink.flush()
    os._exit(0)  # what the library still has is nobody's: it may have been left in the middle


if __name__ == "__main__":
    main(sys.stdin.buffer, sys.stdout.buffer, int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
