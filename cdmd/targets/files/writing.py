"""A batch file in the making: rows are spooled as JSON lines, then written in their format, compressed and encrypted.

All of it blocks: for a thread, which nobody can end: each file has a folder of its own. Whatever is interrupted lies in a
private one that is emptied when the daemon starts.
"""

import csv
import gzip
import hashlib
import io
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, BinaryIO, Final, TextIO

import msgspec

from cdmd.errors import SourceUnavailable
from cdmd.targets.files.rows import Columns, Layout, cell
from cdmd.targets.files.settings import BatchSettings, EncryptSettings

_PIECE: Final = 2**20
_ROWS: Final = 1_000
_LONGEST_GPG: Final = 3_600.0


class Finished(msgspec.Struct, frozen=True, kw_only=True):
    """A file that may be sent: where it lies, its bytes, rows and SHA-256 (hex)."""

    path: Path
    bytes: int
    rows: int
    sha256: str


class Spool:
    """The rows of one file, within the private folder ``folder``."""

    def __init__(self, folder: Path, settings: BatchSettings) -> None:
        self._settings = settings
        named = list(settings.columns) or None
        self._layout = Layout(["change", "id", *(named or ())] if settings.mode == "changes" else named)
        self.rows = 0
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = Path(mkdtemp(dir=folder))
        self._path = self._folder / "rows"
        self._path.write_bytes(b"")

    @staticmethod
    def columns_of(settings: BatchSettings) -> Columns:
        """What makes its rows."""
        return Columns(settings.columns, tabular=settings.format != "jsonl")

    def add(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Rows as ``columns`` made them. Raises ``ValueRefused`` and OSError."""
        encode = msgspec.json.encode
        with self._path.open("ab") as spool:
            for row in rows:
                if self._settings.format != "jsonl":
                    self._layout.learn(row)
                spool.write(encode(row) + b"\n")
                self.rows += 1

    def finish(self) -> Finished:
        """The file as it is to be sent. Raises OSError, and ``SourceUnavailable`` where gpg does not encrypt it."""
        path = self._folder / "plain"
        if self._settings.format == "parquet":
            self._parquet(path)
        else:
            self._text(path)
        if self._settings.encrypt is not None:
            path = _encrypted(path, self._settings.encrypt)
        size, sum_ = _measured(path)
        return Finished(path=path, bytes=size, rows=self.rows, sha256=sum_)

    def remove(self) -> None:
        """Remove all that is left of it."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _text(self, path: Path) -> None:
        with ExitStack() as stack:
            raw: BinaryIO = stack.enter_context(path.open("wb"))
            if self._settings.compress == "gzip":
                # Neither a name nor a time inside: the same rows are the same bytes.
                raw = stack.enter_context(gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0))  # type: ignore[assignment]
            if self._settings.format == "jsonl":
                with self._path.open("rb") as spool:
                    while piece := spool.read(_PIECE):
                        raw.write(piece)
            else:
                self._csv(stack.enter_context(io.TextIOWrapper(raw, encoding="utf-8", newline="")))

    def _csv(self, text: TextIO) -> None:
        """As RFC 4180 has it; UTF-8."""
        names = list(self._layout.types)
        writer = csv.writer(text, delimiter=self._settings.delimiter)
        writer.writerow(names)
        writer.writerows([cell(row.get(name)) for name in names] for row in self._read())

    def _parquet(self, path: Path) -> None:
        arrow: Any = import_module("pyarrow")
        parquet: Any = import_module("pyarrow.parquet")
        kinds = {name: self._layout.kind(name) for name in self._layout.types}
        written = {bool: arrow.bool_(), int: arrow.int64(), float: arrow.float64(), str: arrow.string()}
        schema = arrow.schema([(name, written[kind]) for name, kind in kinds.items()])
        with parquet.ParquetWriter(path, schema, compression="zstd") as writer:
            for rows in _pages(self._read()):
                table = {name: [_as(kind, row.get(name)) for row in rows] for name, kind in kinds.items()}
                writer.write_table(arrow.table(table, schema=schema))

    def _read(self) -> Iterator[dict[str, Any]]:
        with self._path.open("rb") as spool:
            for line in spool:
                yield msgspec.json.decode(line)


def _as(kind: type, value: Any) -> Any:
    if value is None:
        return None
    return cell(value) if kind is str else kind(value)


def _pages(rows: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    page: list[dict[str, Any]] = []
    for row in rows:
        page.append(row)
        if len(page) >= _ROWS:
            yield page
            page = []
    if page:
        yield page


def _encrypted(path: Path, encrypt: EncryptSettings) -> Path:
    target = path.with_name("encrypted")
    target.unlink(missing_ok=True)
    command = [
        encrypt.program, "--batch", "--no-tty", "--quiet", "--homedir", encrypt.home, "--trust-model", "always", "--output",
        str(target), *(part for one in encrypt.recipients for part in ("--recipient", one)), "--encrypt", str(path),
    ]  # fmt: skip
    try:
        done = subprocess.run(  # noqa: S603 - the program and all arguments are the configuration's
            command, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=_LONGEST_GPG
        )
    except FileNotFoundError:
        raise SourceUnavailable(f"{encrypt.program} cannot be started: install GnuPG") from None
    except subprocess.TimeoutExpired:
        raise SourceUnavailable(f"{encrypt.program} did not come to an end within an hour") from None
    path.unlink()
    if done.returncode != 0:
        raise SourceUnavailable(f"{encrypt.program} does not encrypt it: has {encrypt.home} the public key of every recipient?")
    return target


def _measured(path: Path) -> tuple[int, str]:
    size, sum_ = 0, hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            size += len(piece)
            sum_.update(piece)
    return size, sum_.hexdigest()
