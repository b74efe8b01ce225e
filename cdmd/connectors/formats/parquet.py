"""Parquet through pyarrow, a thousand rows at a time, in a process of its own (``apart``). It comes with ``cdmd[parquet]``."""

import importlib.util
from collections.abc import Iterator
from typing import Annotated, BinaryIO, ClassVar, Final

import msgspec
from msgspec import Meta

from cdmd.connectors.formats.apart import columns_apart
from cdmd.connectors.formats.columnar import LIBRARY
from cdmd.errors import ConfigInvalid
from cdmd.kit.quantities import Size
from cdmd.models import Fault, Row

_RECORD: Final = Size.parse("1MiB")
_MEMORY: Final = Size.parse("1GiB")


class ParquetSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``format = { type = "parquet", ... }``."""

    columns: Annotated[tuple[str, ...], Meta(description="The columns to read; by default all.")] = ()
    max_record: Annotated[Size, Meta(description="The longest row; a longer one is set aside.")] = _RECORD
    max_memory: Annotated[
        Size, Meta(description="What the process that reads one may take; a file that needs more is set aside.")
    ] = _MEMORY


class Parquet:
    """Rows by the names of the file's own schema. The file must be seekable, as a spooled one is."""

    name: ClassVar[str] = "parquet"
    Settings: ClassVar[type[msgspec.Struct]] = ParquetSettings

    def __init__(self, settings: ParquetSettings) -> None:
        self._settings = settings
        if importlib.util.find_spec(LIBRARY) is None:
            raise ConfigInvalid(["format: parquet needs pyarrow: pip install 'cdmd[parquet]'"])

    def rows(self, stream: BinaryIO) -> Iterator[Row]:
        """See ``cdmd.contracts.Format``."""
        settings = self._settings
        found = columns_apart(stream, settings.columns or None, memory=settings.max_memory, record=settings.max_record)
        for number, value in enumerate(found, 1):
            yield Row(number, None, None, Fault(*value)) if isinstance(value, list) else Row(number, None, value)
