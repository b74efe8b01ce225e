"""The store's writer in a process of its own, seen from the daemon.

The process is started when its tables are opened, and again after it ended: what was under way then is not known to be written,
as after any failure of the disk. Statements go over one by one (``RemoteTables``), a batch whole. Not here: what is done over
there (``served``), and what a batch is (``Crossing`` is handed in).
"""

import concurrent.futures
import os
import pickle
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Final, NamedTuple, Protocol, TypeVar

import msgspec
from typing_extensions import override

from cdmd.contracts import Decide
from cdmd.errors import NotDurable
from cdmd.models import Digest, ProfileKey, Seq
from cdmd.store.applying import WriterTables
from cdmd.store.process import StoreProcess, started
from cdmd.store.served import BATCH, CALL, CLOSE, OPEN, RULES, Batch, Written
from cdmd.store.tables import Row, Said

T = TypeVar("T")
_WRITTEN: Final = msgspec.msgpack.Decoder(Written)
_ENCODE: Final = msgspec.msgpack.Encoder().encode


class Crossing(Protocol):
    """How decisions are sent that can be made elsewhere."""

    def takes(self, decide: Decide) -> bool:
        """Whether it is one of those."""
        ...

    def rules(self, decide: Decide) -> object:
        """What it goes by: equal as long as it is the same."""
        ...

    def rules_sent(self, decide: Decide) -> bytes:
        """That, to be sent."""
        ...

    def sent(self, decide: Decide) -> bytes:
        """The decision itself, to be sent after its rules."""
        ...

    def answered(self, decide: Decide, answer: bytes) -> None:
        """It was made and written: this is told of it."""
        ...

    def failed(self, decide: Decide, error: Exception) -> None:
        """Making it raised that."""
        ...


class RemoteTables(WriterTables):
    """The tables in that process: each statement goes over by itself. ``usable`` until something failed there."""

    alone: ClassVar[bool] = True

    def __init__(self, process: StoreProcess, path: Path, crossing: Crossing) -> None:
        self._process, self._crossing = process, crossing
        self._failed = False
        process.ask(OPEN, os.fsencode(path))

    @property
    @override
    def usable(self) -> bool:
        return not (self._failed or self._process.gone)

    def decide(self, decide: Decide, *, number: int, upon: int, now: datetime) -> "concurrent.futures.Future[Written]":
        """Send a whole batch: number ``number``, to be written if ``upon`` was."""
        process, crossing = self._process, self._crossing
        self._tell_rules(decide)
        try:
            batch = _ENCODE(Batch(number, upon, now, crossing.sent(decide)))
        except (TypeError, ValueError, OverflowError) as error:
            crossing.failed(decide, error)
            raise
        future = process.send(BATCH, batch, read=partial(self._written, decide), failed=partial(crossing.failed, decide))
        future.add_done_callback(self._look)
        return future

    def _tell_rules(self, decide: Decide) -> None:
        """Where it goes by others than what was sent before. That they cannot be sent is no event's fault."""
        process, crossing = self._process, self._crossing
        if (rules := crossing.rules(decide)) == process.rules:
            return
        try:
            sent = crossing.rules_sent(decide)
        except (TypeError, AttributeError, pickle.PicklingError) as error:
            raise NotDurable("the configuration cannot be told to the store's own process: take store.process away") from error
        process.tell(RULES, sent)
        process.rules = rules

    def _written(self, decide: Decide, answer: bytes) -> Written:
        written = _WRITTEN.decode(answer)
        self._process.seconds = written.seconds
        self._crossing.answered(decide, written.answer)
        return written

    def _look(self, outcome: "concurrent.futures.Future[Any]") -> None:
        self._failed |= isinstance(outcome.exception(), sqlite3.Error)

    @override
    def close(self) -> None:
        self._process.tell(CLOSE)

    @override
    @contextmanager
    def transaction(self) -> Iterator[None]:
        self._call(type(None), "begin")
        try:
            yield
            self._call(type(None), "commit")
        except BaseException:
            with suppress(sqlite3.Error):
                self._call(type(None), "rollback")
            raise

    @override
    def rows(self, name: str, said: Said = (), *, table: str = "") -> list[Row]:
        return self._call(list[Row], "rows", name, said, table=table)

    @override
    def rows_in(self, name: str, values: Sequence[Any], *, before: Sequence[Any] = ()) -> list[Row]:
        return self._call(list[Row], "rows_in", name, values, before=before)

    @override
    def each(self, name: str) -> Iterator[Row]:
        return iter(self.rows(name))

    @override
    def run(self, name: str, said: Said = (), *, table: str = "") -> int:
        return self._call(int, "run", name, said, table=table)

    @override
    def run_in(self, name: str, values: Sequence[Any], *, before: Sequence[Any] = ()) -> int:
        return self._call(int, "run_in", name, values, before=before)

    @override
    def run_many(self, name: str, rows: Sequence[Sequence[Any]], *, table: str = "") -> int:
        return self._call(int, "run_many", name, rows, table=table)

    @override
    def insert(self, name: str, rows: Sequence[Sequence[Any]], *, table: str = "") -> int:
        return self._call(int, "insert", name, rows, table=table)

    @override
    def owners(self, kind: int, values: Sequence[str]) -> Iterable[tuple[str, ProfileKey]]:
        return self._call(list[tuple[str, ProfileKey]], "owners", kind, values)

    @override
    def people(self, keys: Sequence[ProfileKey]) -> Iterable[tuple[Row, Seq | None]]:
        return self._call(list[tuple[Row, Seq | None]], "people", keys)

    @override
    def occurrences(self, digests: Sequence[Digest]) -> Iterable[tuple[Digest, int, int, int, str]]:
        return self._call(list[tuple[Digest, int, int, int, str]], "occurrences", digests)

    @override
    def add_seen(self, table: str) -> None:
        self._call(type(None), "add_seen", table)

    @override
    def drop_seen(self, table: str) -> None:
        self._call(type(None), "drop_seen", table)

    @override
    def sway(self, *, more: bool) -> bool:
        return self._call(bool, "sway", more=more)

    @override
    @contextmanager
    def synced(self) -> Iterator[None]:
        self._call(type(None), "harder")
        try:
            yield
        finally:
            self._call(type(None), "softer")
        self._call(type(None), "calm")

    @override
    def emptied(self) -> bool:
        return self._call(bool, "emptied")

    def _call(self, _of: type[T], name: str, *given: Any, **named: Any) -> T:
        found: T = self._process.ask(CALL, pickle.dumps((name, given, named)))
        return found


class Own(NamedTuple):
    """A process for the store: the module whose ``main`` it runs, how decisions are sent there, and what it keeps open.

    ``keep`` are descriptors; the state directory's lock is one of them, so that nobody else writes while it lives.
    """

    module: str
    crossing: Crossing
    keep: Sequence[int] = ()
    start: Callable[[str, Sequence[int]], StoreProcess] = started


class OwnProcess:
    """The store's process, started when it is needed and again where it ended. For the writer's thread."""

    def __init__(self, own: Own, path: Path) -> None:
        self._own, self._path, self.crossing = own, path, own.crossing
        self._process: StoreProcess | None = None

    @property
    def pid(self) -> int | None:
        """Its number; None where there is none."""
        process = self._process
        return None if process is None or process.gone else process.pid

    @property
    def seconds(self) -> float:
        """Of the processor's time that it used up to its last batch."""
        process = self._process
        return 0.0 if process is None else process.seconds

    def open(self) -> RemoteTables:
        """The tables over there, opened. Raises sqlite3.Error, and what opening them raises."""
        if self._process is None or self._process.gone:
            self.end()
            try:
                self._process = self._own.start(self._own.module, self._own.keep)
            except OSError as error:
                raise sqlite3.OperationalError(f"the store's own process cannot be started: {error.strerror}") from error
        return RemoteTables(self._process, self._path, self.crossing)

    def end(self) -> None:
        """Let it end; it blocks until it has."""
        process, self._process = self._process, None
        if process is not None:
            process.end()
