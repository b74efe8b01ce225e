"""One whole file, from the other side into the journal: fetched and digested, checked to its end, then emitted.

Nothing of a file is emitted before all of it was read without a fault of the whole. Its position goes in the transaction of its
records, so a crash neither loses nor doubles one. Not here: which file, and when (``watching``).
"""

import errno
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from glob import escape
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple, Self, TypeVar

import anyio.to_thread
import msgspec

from cdmd.connectors.durable import durable
from cdmd.connectors.files import ledger
from cdmd.connectors.files.area import Area, Opened, Version, read
from cdmd.connectors.files.ledger import Entry
from cdmd.connectors.files.names import shown
from cdmd.connectors.files.settings import FileSettings, Share
from cdmd.connectors.files.spool import Spool
from cdmd.contracts import Examining, Format, Source
from cdmd.errors import FormatFault, SourceUnavailable
from cdmd.kit.pgp import Gpg
from cdmd.kit.unpacking import BOUNDS, Bounds, entries, unpacked
from cdmd.models import Accepted, Filtered, Record, Row, to_micros

_T = TypeVar("_T")
BATCH: Final = 1_000
_BATCH_BYTES: Final = 4 * 2**20
_CHECKED_AT_ONCE: Final = 5_000
_TRIES: Final = 5
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_MIB: Final = 2**20
_ENCODE: Final = msgspec.msgpack.Encoder().encode


class NotWhole(Exception):
    """The file is not, or no longer, what was listed; the sentence says why. It has to settle again."""


class Unreadable(Exception):
    """The file is whole and cannot be used; the sentence says why, without any of its data."""


class Checked(NamedTuple):
    """All records of a file were read once: how many, how many of them are bad, and the first bad one."""

    records: int = 0
    bad: int = 0
    first: Row | None = None


class Progress:
    """How far the file is that is being read: ``done`` of ``total`` bytes or records since ``began`` (monotonic seconds)."""

    def __init__(self, path: bytes, source: Source) -> None:
        self.path, self._source = path, source
        self.stage, self.done, self.total = "", 0, 0
        self._began, self._base = 0.0, 0

    def stand(self, stage: str, done: int, total: int) -> None:
        """It is there now; a new stage starts its own rate."""
        if stage != self.stage:
            self.stage, self._began, self._base = stage, self._source.clock.monotonic(), done
        self.done, self.total = done, total
        self._source.working(f"{shown(self.path)}: {self.sentence()}")

    @property
    def rate(self) -> float | None:
        """Bytes or records a second; None before there is one."""
        seconds = self._source.clock.monotonic() - self._began
        return (self.done - self._base) / seconds if seconds > 0 and self.done > self._base else None

    @property
    def seconds_left(self) -> float | None:
        """At that rate; None where nobody knows the end."""
        rate = self.rate
        return None if rate is None or not self.total else (self.total - self.done) / rate

    def sentence(self) -> str:
        """The same in words."""
        if self.stage == "fetching":
            said = f"fetching, {self.done / _MIB:.1f} of {self.total / _MIB:.1f} MiB"
        else:
            said = f"{self.stage} at record {self.done}" + (f" of {self.total}" if self.total else "")
        rate, left = self.rate, self.seconds_left
        if rate is None:
            return said
        shown_rate = f"{rate / _MIB:.1f} MiB/s" if self.stage == "fetching" else f"{rate:.0f}/s"
        return f"{said}, {shown_rate}" + ("" if left is None else f", {left:.0f} s left")


async def fetch(area: Area, path: bytes, version: Version, *, spool: Spool, source: Source, progress: Progress) -> None:
    """Fill ``spool`` with all of the file. A broken connection is taken up again where it broke, if nothing changed.

    Raises ``NotWhole``, ``FileFault``, and ``SourceUnavailable`` when it breaks again and again, or the disk is full.
    """
    failures = 0
    while True:
        before = spool.size
        try:
            async with area.opened(path) as file:
                await _copy(file, version, spool, progress)
                return
        except SourceUnavailable:
            failures = 1 if spool.size > before else failures + 1
            if failures >= _TRIES:
                raise
            await source.clock.sleep(0.2 * 2**failures)


async def _copy(file: Opened, version: Version, spool: Spool, progress: Progress) -> None:
    if await file.version() != version:
        raise NotWhole("it was changed before it was fetched")

    async def keep(chunk: bytes) -> None:
        try:
            await spool.write(chunk)
        except OSError as error:
            raise _refused(error) from error
        progress.stand("fetching", spool.size, version.size)

    await file.copy(spool.size, version.size, keep)
    if spool.size < version.size:
        raise NotWhole(f"it ended after {spool.size} of {version.size} bytes")
    if await read(file, version.size, version.size + 1):
        raise NotWhole("it grew while it was fetched")
    if await file.version() != version:
        raise NotWhole("it was changed while it was fetched")


def _refused(error: OSError) -> Exception:
    if error.errno in _FULL:
        return SourceUnavailable("the disk is full: the file cannot be held until it is read; make room in the state directory")
    return SourceUnavailable(f"the file cannot be held in the state directory: {error.strerror}")


class Packing(msgspec.Struct, frozen=True, kw_only=True):
    """How files may be packed: which ``entry`` (a glob) of a zip, and what decrypts."""

    entry: str = "*"
    bounds: Bounds = BOUNDS
    gpg: Gpg | None = None
    password: bytes | None = None

    @classmethod
    def of(cls, settings: FileSettings) -> "Packing":
        """As the settings say."""
        how, password = settings.decrypt, settings.zip_password
        return cls(
            entry=settings.entry,
            bounds=Bounds(max_bytes=settings.max_unpacked.bytes),
            gpg=None if how is None else Gpg(home=Path(how.home), passphrase=how.passphrase, program=how.program),
            password=None if password is None else password.reveal(),
        )


class Reading:
    """The records of a spooled file, read in worker threads; a context manager. May be made again for the same spool.

    A zip's entries follow each other in order of their names, and so do the numbers of their records.
    """

    def __init__(self, spool: Spool, chosen: Format, packing: Packing) -> None:
        self._spool, self._format, self._packing = spool, chosen, packing
        self._stack = ExitStack()
        self._rows: Iterator[Row] | None = None

    async def batch(self, made: Callable[[list[Row]], _T]) -> _T:
        """What ``made`` makes, in the thread, of the next records: 1,000 at most and a few MiB, none at the end.

        Raises ``Unreadable``.
        """
        return await anyio.to_thread.run_sync(lambda: made(self._next()))

    async def count(self, so_far: Checked) -> Checked | None:
        """Read on and count; None at the end. Raises ``Unreadable``."""
        return await anyio.to_thread.run_sync(self._count, so_far)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await anyio.to_thread.run_sync(self._stack.close)

    def _next(self) -> list[Row]:
        found: list[Row] = []
        size = 0
        for row in self._some(BATCH):
            found.append(row)
            size += len(row.raw) + (0 if row.value is None else _size(row.value))
            if size > _BATCH_BYTES:
                break
        return found

    def _count(self, so_far: Checked) -> Checked | None:
        records, bad, first = so_far
        for row in self._some(_CHECKED_AT_ONCE, examined=True):
            records += 1
            if row.fault is not None:
                bad += 1
                first = first or row
        return None if records == so_far.records else Checked(records, bad, first)

    def _some(self, limit: int, *, examined: bool = False) -> Iterator[Row]:
        try:
            if self._rows is None:
                self._rows = self._all(
                    self._format.examined if examined and isinstance(self._format, Examining) else self._format.rows
                )
            yield from islice(self._rows, limit)
        except FormatFault as fault:
            raise Unreadable(str(fault)) from fault

    def _all(self, rows: Callable[[BinaryIO], Iterator[Row]]) -> Iterator[Row]:
        how, before, last = self._packing, 0, 0
        for entry in self._entries():
            with ExitStack() as stack:
                self._stack.push(stack)  # left open where nobody reads to the end
                packed = stack.enter_context(self._spool.reader())
                opened = unpacked(packed, bounds=how.bounds, entry=entry or "*", gpg=how.gpg, password=how.password)
                for row in rows(stack.enter_context(opened)):
                    last = before + row.number
                    yield msgspec.structs.replace(row, number=last) if before else row
            before = last

    def _entries(self) -> list[str]:
        """An encrypted file is looked into only while it is read: then one entry has to match."""
        how = self._packing
        if how.gpg is not None:
            return [how.entry]
        with self._spool.reader() as packed:
            found = entries(packed, entry=how.entry, bounds=how.bounds)
        return [escape(name) for name in found]


async def check(reading: Reading, progress: Progress, *, most: Share) -> Checked:
    """Read the file to its end. Raises ``Unreadable`` where more records are bad than ``most``, or it is bad as a whole."""
    found = Checked()
    while (more := await reading.count(found)) is not None:
        found = more
        progress.stand("checking", found.records, 0)
    if found.first is not None and most.exceeded(found.bad, of=found.records):
        raise Unreadable(_too_many(found))
    return found


def _too_many(found: Checked) -> str:
    first = found.first
    assert first is not None  # noqa: S101 - the caller has one
    where = f"record {first.number}" if first.line is None else f"line {first.line}"
    why = "" if first.fault is None else f": {first.fault.message}"
    return f"{found.bad} of {found.records} records cannot be read, the first one at {where}{why}"


def _size(value: Any) -> int:
    """Bytes that a record takes, more or less."""
    try:
        return len(_ENCODE(value))
    except (OverflowError, TypeError, ValueError, RecursionError):
        return len(repr(value))


class Emitting:
    """The records of one checked file on their way into the journal. ``entry`` is its row in the ledger as it stands now."""

    def __init__(self, path: bytes, entry: Entry, *, source: Source, progress: Progress, most: Share) -> None:
        self._path, self.entry = path, entry
        self._source, self._progress, self._most = source, progress, most
        self._name, self._last = shown(path), shown(path.rpartition(b"/")[2])
        self._id = entry.digest[:16].hex()

    async def all(self, reading: Reading) -> Entry:
        """Emit what is not yet durable. Raises ``Unreadable`` where the mapping refuses too many."""
        while (batch := await reading.batch(self._records)) is not None:
            last, records = batch
            if records:
                await self._emit(records, last)
                if self._most.exceeded(self.entry.bad, of=self.entry.records):
                    raise Unreadable(
                        f"{self.entry.bad} of the first {self.entry.record} records cannot be mapped: cdmctl dead-letters list "
                        f"--connector {self._source.name} says why"
                    )
        return self.entry

    def _records(self, rows: Sequence[Row]) -> tuple[int, list[Record]] | None:
        """Those that are not yet durable, and the number of the last row; None where there are no rows."""
        now = self._source.clock.now()
        found = [self._record(row, now) for row in rows if row.number > self.entry.record]
        return (rows[-1].number, found) if rows else None

    async def _emit(self, records: Sequence[Record], last: int) -> None:
        # What becomes of them is known only afterwards; until then the ones of this batch count as taken.
        ahead = msgspec.structs.replace(self.entry, record=last, taken=self.entry.taken + len(records))
        verdicts = await durable(self._source, records, ledger.opened(self._path, ahead))
        kinds = Counter(map(type, verdicts))
        filtered, taken = kinds[Filtered], kinds[Accepted]
        self.entry = msgspec.structs.replace(
            ahead,
            taken=self.entry.taken + taken,
            filtered=self.entry.filtered + filtered,
            bad=self.entry.bad + len(verdicts) - taken - filtered,
        )
        self._progress.stand("parsing", self.entry.record, self.entry.records)

    def _record(self, row: Row, now: Any) -> Record:
        context = {"_file": {"name": self._last, "path": self._name, "line": row.line, "record": row.number}}
        value: Any = row.value
        fault = row.fault
        if fault is not None:
            where = f"record {row.number}" if row.line is None else f"line {row.line}"
            fault = msgspec.structs.replace(fault, message=f"{self._last}, {where}: {fault.message}")
            value = row.raw.decode("utf-8", "backslashreplace")
        return Record(
            value=value, received=now, fallback_id=f"{self._id}:{row.number}", context=context, fault=fault, once=True
        )


def finished(path: bytes, entry: Entry, *, source: Source, state: str, reason: str = "") -> tuple[Entry, ledger.Changes]:
    """The file's last row, and what to write for it."""
    entry = msgspec.structs.replace(entry, state=state, reason=reason, since=to_micros(source.clock.now()))
    write = ledger.delivered if state == ledger.DONE and entry.digest else ledger.closed
    return entry, write(path, entry)
