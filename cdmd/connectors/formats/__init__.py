"""The file formats that cdmd brings itself: each turns an unpacked file into rows, one module a format.

Not here: where files come from, and how they are unpacked.
"""

from collections.abc import Sequence
from typing import Final

from cdmd.connectors.formats.csvs import Csv
from cdmd.connectors.formats.fixed import Fixed
from cdmd.connectors.formats.jsonl import Jsonl
from cdmd.connectors.formats.jsons import Json
from cdmd.connectors.formats.parquet import Parquet
from cdmd.connectors.formats.xlsx import Xlsx
from cdmd.connectors.formats.xmls import Xml
from cdmd.contracts import Format

FORMATS: Final[Sequence[type[Format]]] = (Csv, Fixed, Json, Jsonl, Parquet, Xlsx, Xml)
