"""SQLite as this daemon uses it: how a database is opened for its writer (``writer``), and readers beside it.

Not here: any table. Reads go through aiosqlite connections that cannot write.
"""

import os
import sqlite3
import stat
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, Final, Self, TypeAlias

import aiosqlite
import anyio
import anyio.to_thread
import msgspec

from cdmd.errors import Damaged, NotDurable, SchemaUnknown
from cdmd.store.chunks import Row, in_chunks
from cdmd.store.sql import Migration

Connect: TypeAlias = Callable[..., sqlite3.Connection]

_SCHEMA: Final = 1  # SQLITE_ERROR: what a statement asks for is not there
_BUSY_MS: Final = 5_000


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How a database is opened: what it is called in messages, its migrations, how hard it syncs, when it checkpoints.

    ``cache_kib`` bounds the pages that its writer keeps in memory; twice the default saves no time with a million profiles.
    """

    name: str
    migrations: Sequence[Migration]
    synchronous: str
    autocheckpoint: int
    cache_kib: int = 32_768


def connect_writer(path: Path, plan: Plan, *, connect: Connect) -> sqlite3.Connection:
    """Open ``path`` for writing, with everything an earlier run left in its write-ahead log checkpointed and synced.

    Raises sqlite3.Error, and ``SchemaUnknown`` where a newer version wrote it.
    """
    _private_file(path)
    connection = connect(path, isolation_level=None, check_same_thread=False, cached_statements=512)
    try:
        _prepare(connection, plan)
    except BaseException:
        connection.close()
        raise
    return connection


def connect_beside(path: Path, plan: Plan, *, connect: Connect) -> sqlite3.Connection:
    """A second connection to a database that is open for writing, to checkpoint it. Raises sqlite3.Error."""
    connection = connect(path, isolation_level=None, check_same_thread=False)
    try:
        connection.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
        connection.execute(f"PRAGMA synchronous = {plan.synchronous}")
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection, plan: Plan) -> None:
    connection.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
    connection.execute("PRAGMA journal_mode = WAL").fetchone()
    busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    if busy:
        raise sqlite3.OperationalError("the write-ahead log could not be checkpointed: somebody else reads it")
    connection.execute(f"PRAGMA synchronous = {plan.synchronous}")
    connection.execute(f"PRAGMA wal_autocheckpoint = {plan.autocheckpoint}")
    connection.execute("PRAGMA journal_size_limit = 67108864").fetchone()
    connection.execute(f"PRAGMA cache_size = -{plan.cache_kib}")
    connection.execute("PRAGMA temp_store = MEMORY")
    # What is deleted or replaced is overwritten: what is left of somebody erased must not lie in free space.
    connection.execute("PRAGMA secure_delete = ON").fetchone()
    _migrate(connection, plan)


def _private_file(path: Path) -> None:
    """Make the file before SQLite does: what it adds beside it (-wal, -shm) takes over the mode 0600."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise sqlite3.OperationalError(f"unable to open database file ({error.strerror})") from error
    try:
        if stat.S_IMODE(os.fstat(handle).st_mode) != stat.S_IRUSR | stat.S_IWUSR:
            os.fchmod(handle, 0o600)
    finally:
        os.close(handle)


def _migrate(connection: sqlite3.Connection, plan: Plan) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    newest = plan.migrations[-1].number
    if version > newest:
        raise SchemaUnknown(
            f"the {plan.name} has schema {version}, this cdmd knows up to {newest}: "
            "start the version of cdmd that wrote it, or restore a backup made by this one"
        )
    for migration in plan.migrations:
        if migration.number > version:
            _step(connection, migration)


def _step(connection: sqlite3.Connection, migration: Migration) -> None:
    try:
        connection.executescript(f"BEGIN IMMEDIATE;\n{migration.script}\nPRAGMA user_version = {migration.number};\nCOMMIT;")
    except sqlite3.Error:
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All or nothing. A failed COMMIT leaves as it came; the writer then gives the connection up."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise


@contextmanager
def synced_commits(connection: sqlite3.Connection, plan: Plan) -> Iterator[None]:
    """A commit in here is on the disk, with all before it, before a reader sees it."""
    connection.execute("PRAGMA synchronous = FULL")
    try:
        yield
    finally:
        connection.execute(f"PRAGMA synchronous = {plan.synchronous}")


def emptied(connection: sqlite3.Connection) -> bool:
    """Move everything out of the write-ahead log and cut it, on the disk; False where somebody reads from it still."""
    busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    if not busy:
        _sync_log(connection)
    return not busy


def _sync_log(connection: sqlite3.Connection) -> None:
    """SQLite cuts its log and does not sync that: after a power cut all that it held would be there again."""
    (_, _, path), *_ = connection.execute("PRAGMA database_list")
    try:
        with open(f"{path}-wal", "rb") as log:  # noqa: PTH123 - a connection's own name for it
            os.fsync(log.fileno())
    except OSError as error:
        raise sqlite3.OperationalError(f"the log cannot be synced: {error.strerror}") from error


def why(error: BaseException) -> str:
    """An SQLite error in a few words for the administrator: its text and its name."""
    name = getattr(error, "sqlite_errorname", None)
    return f"{error} ({name})" if name else str(error)


def not_durable(what: str, error: BaseException) -> NotDurable:
    """The error for a write to ``what`` that did not come about."""
    return NotDurable(f"the {what} cannot be written now: {why(error)}")


@contextmanager
def opening(what: str, path: Path) -> Iterator[None]:
    """Map what SQLite says of a file that cannot be opened: ``Damaged``, or ``NotDurable`` where it is the disk."""
    try:
        yield
    except sqlite3.Error as error:
        # A table that is missing is an operational error to SQLite, too, but no disk's.
        if isinstance(error, sqlite3.OperationalError) and getattr(error, "sqlite_errorcode", None) != _SCHEMA:
            raise NotDurable(f"the {what} {path} cannot be opened: {why(error)}") from error
        raise Damaged(f"the {what} {path} is damaged: {why(error)}; put a backup in place with: cdmd restore FILE") from error
    except (TypeError, ValueError, LookupError, msgspec.MsgspecError) as error:
        # SQLite finds nothing wrong, but a row is not as it was written: lost pages of a power cut, a flipped bit.
        fault = f"the {what} {path} is damaged: it holds what was never written ({type(error).__name__})"
        raise Damaged(f"{fault}; put a backup in place with: cdmd restore FILE") from error


class Readers:
    """A few connections that can only read; each statement goes to the next of them."""

    def __init__(self, what: str, connections: Sequence[aiosqlite.Connection]) -> None:
        self._what, self._connections, self._next = what, connections, 0

    @classmethod
    @asynccontextmanager
    async def open(cls, path: Path, *, what: str, count: int = 2) -> AsyncIterator[Self]:
        """Open ``count`` connections to an existing database."""
        connections: list[aiosqlite.Connection] = []
        try:
            for _ in range(count):
                connections.append(await aiosqlite.connect(path, isolation_level=None))
                await connections[-1].execute_fetchall(f"PRAGMA busy_timeout = {_BUSY_MS}")
                await connections[-1].execute_fetchall("PRAGMA query_only = ON")
            yield cls(what, connections)
        finally:
            with anyio.CancelScope(shield=True):
                for connection in connections:
                    await connection.close()

    async def rows(self, sql: str, parameters: Any = ()) -> list[Row]:
        """All rows of one statement; ``parameters`` are a sequence or a mapping.

        Raises ``NotDurable`` where the disk does not answer, ``Damaged`` where it lies.
        """
        self._next = (self._next + 1) % len(self._connections)
        try:
            found = await self._connections[self._next].execute_fetchall(sql, parameters)
        except sqlite3.OperationalError as error:
            raise NotDurable(f"the {self._what} cannot be read now: {why(error)}") from error
        except sqlite3.DatabaseError as error:
            raise Damaged(f"the {self._what} is damaged: {why(error)}; look closer with: cdmctl verify") from error
        return [tuple(row) for row in found]

    async def rows_in(self, sql: str, values: Sequence[Any], *, before: Sequence[Any] = ()) -> list[Row]:
        """All rows of ``sql``, whose ``{}`` becomes a list of placeholders, for all ``values``; parameters ``before`` first."""
        return [row for chunk, marks in in_chunks(values) for row in await self.rows(sql.format(marks), [*before, *chunk])]


def check_integrity(connection: sqlite3.Connection) -> list[str]:
    """What SQLite's own check says, one line each; empty when it is content."""
    lines = [str(line) for (line,) in connection.execute("PRAGMA integrity_check")]
    return [] if lines == ["ok"] else lines


def inspect(path: Path, check: Callable[[sqlite3.Connection], list[str]]) -> list[str]:
    """What ``check`` finds on a connection of its own that cannot write; a blocking call for a thread.

    All that it reads is of one moment: what is written meanwhile is no damage. Until it ends no checkpoint goes beyond that.
    """
    try:
        connection = sqlite3.connect(path, isolation_level=None)
        try:
            connection.execute("PRAGMA query_only = ON")
            connection.execute("BEGIN")
            return check(connection)
        finally:
            connection.close()
    except sqlite3.Error as error:
        return [f"{path.name} cannot be read: {why(error)}"]
