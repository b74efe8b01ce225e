"""Parquet through pyarrow, a thousand rows at a time. The library comes with ``cdmd[parquet]``."""

import importlib.util
from collections.abc import Iterator
from importlib import import_module
from typing import Annotated, Any, BinaryIO, ClassVar, Final

import msgspec
from msgspec import Meta

from cdmd.connectors.formats.plain import plain
from cdmd.connectors.formats.records import unkept
from cdmd.errors import ConfigInvalid, FormatFault
from cdmd.models import Fault, Row

_LIBRARY: Final = "pyarrow"
_ROWS: Final = 1_000


class ParquetSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``format = { type = "parquet", ... }``."""

    columns: Annotated[tuple[str, ...], Meta(description="The columns to read; by default all.")] = ()


class Parquet:
    """Rows by the names of the file's own schema. The file must be seekable, as a spooled one is."""

    name: ClassVar[str] = "parquet"
    Settings: ClassVar[type[msgspec.Struct]] = ParquetSettings

    def __init__(self, settings: ParquetSettings) -> None:
        self._columns = list(settings.columns) or None
        if importlib.util.find_spec(_LIBRARY) is None:
            raise ConfigInvalid(["format: parquet needs pyarrow: pip install 'cdmd[parquet]'"])

    def rows(self, stream: BinaryIO) -> Iterator[Row]:
        """See ``cdmd.contracts.Format``."""
        arrow: Any = import_module(_LIBRARY)
        parquet: Any = import_module("pyarrow.parquet")
        number = 0
        try:
            file = parquet.ParquetFile(stream)
            missing = [name for name in self._columns or () if name not in file.schema_arrow.names]
            if missing:
                raise FormatFault("missing_columns", f"the file lacks {', '.join(missing)}")
            for kind in file.schema_arrow.types:
                if arrow.types.is_timestamp(kind) and kind.tz is not None:
                    arrow.lib.string_to_tzinfo(kind.tz)  # one that does not exist would be a fault of each row
            for batch in file.iter_batches(batch_size=_ROWS, columns=self._columns, use_threads=False):
                for value in _values(batch):
                    number += 1
                    yield _row(number, value)
        except (arrow.ArrowException, OSError, ValueError, KeyError) as error:  # KeyError: that zone, with pytz
            raise FormatFault("not_parquet", "the file is no Parquet file, or it is cut or damaged") from error


def _row(number: int, value: dict[str, Any] | Fault) -> Row:
    if isinstance(value, Fault):
        return Row(number, None, None, value)
    found = {name: plain(one) for name, one in value.items()}
    fault = unkept(found)
    return Row(number, None, found) if fault is None else Row(number, None, None, fault)


def _values(batch: Any) -> Iterator[dict[str, Any] | Fault]:
    """Its rows' values; where one has a value that Python has no form for, row by row, so that the others are read."""
    try:
        yield from batch.to_pylist()
    except (ValueError, OverflowError):
        for at in range(batch.num_rows):
            try:
                (value,) = batch.slice(at, 1).to_pylist()
            except (ValueError, OverflowError) as error:
                value = Fault("not_a_value", f"a value of the row cannot be read: {error}")
            yield value
