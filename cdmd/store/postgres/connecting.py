"""PostgreSQL as this daemon uses it: how it is connected to, how its schema grows, what its errors mean.

A connection that goes silent is given up within seconds, on both sides: whoever holds a lock and is gone is not waited for. No
message of the server's is passed on that may quote what was written. Not here: any table.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, TypeAlias

import psycopg
from psycopg import conninfo, errors

from cdmd.errors import CdmdError, ConfigInvalid, Damaged, NotDurable, SchemaUnknown
from cdmd.store.postgres.texts import adapt
from cdmd.store.sql import Migration

Connection: TypeAlias = psycopg.Connection[tuple[Any, ...]]
Broken: Final = psycopg.Error

_PATIENCE: Final[Mapping[str, Any]] = {
    "application_name": "cdmd",
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
    # Of several hosts the one that takes writes: after a failover the others are behind.
    "target_session_attrs": "read-write",
}
"""What libpq is told where the address does not say otherwise (https://www.postgresql.org/docs/15/libpq-connect.html)."""
_SESSION: Final[Mapping[str, str]] = {
    "lock_timeout": "10s",
    "idle_in_transaction_session_timeout": "60s",
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    "standard_conforming_strings": "on",
    # What was answered must not be taken back by a crash of the server. What waits for more than its disk stays as it is.
    "synchronous_commit": "on",
}
_SET: Final = """
SELECT set_config(name, value, false) FROM unnest(%s::text[], %s::text[]) AS r (name, value)
WHERE name <> 'synchronous_commit' OR current_setting(name) = 'off'
"""
_NEAR: Final = ("localhost", "127.0.0.1", "::1")
_MIGRATING: Final = 0x63646D64
"""The advisory lock of whoever changes the schema: "cdmd"."""
_QUOTING: Final = ("22", "23")
"""Classes of errors whose messages quote values (https://www.postgresql.org/docs/15/errcodes-appendix.html)."""
_DAMAGE: Final = (errors.DataCorrupted, errors.IndexCorrupted, errors.UndefinedTable, errors.UndefinedColumn)


def connect(url: str, *, password: str | None = None, read_only: bool = False) -> Connection:
    """A connection on which every statement is a transaction of its own unless one is begun. Raises psycopg.Error."""
    said = _said(url) | ({} if password is None else {"password": password})
    connection: Connection = psycopg.connect(**{**_PATIENCE, **_guarded(said), **said}, autocommit=True)
    try:
        adapt(connection)
        session = {**_SESSION, "default_transaction_read_only": "on" if read_only else "off"}
        connection.execute(_SET, (list(session), list(session.values())))
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def one_moment(connection: Connection) -> Iterator[None]:
    """All that is read inside is as it was at one moment, whatever is written meanwhile."""
    connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    with connection.transaction():
        yield


def _guarded(said: Mapping[str, Any]) -> Mapping[str, Any]:
    """Whoever is on the way to another machine sees nothing and is not taken for it, unless the address says otherwise."""
    hosts = said.get("host") or said.get("hostaddr") or "/"
    near = all(host.startswith("/") or host in _NEAR for host in hosts.split(","))
    return {} if near or "sslmode" in said else {"sslmode": "verify-full", "sslrootcert": "system"}


def _said(url: str) -> dict[str, Any]:
    try:
        return {name: value for name, value in conninfo.conninfo_to_dict(url).items() if value is not None}
    except psycopg.ProgrammingError as error:
        raise ConfigInvalid(["store.url: this is no address that PostgreSQL's library understands"]) from error


def migrate(connection: Connection, migrations: Sequence[Migration]) -> None:
    """Bring the schema up to the newest of ``migrations``; of several who do that at once the others wait.

    Raises ``SchemaUnknown`` where a newer cdmd wrote it.
    """
    if connection.info.parameter_status("server_encoding") != "UTF8":
        raise CdmdError("the store's database does not hold every character; make one with: createdb -T template0 -E UTF8 NAME")
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (_MIGRATING,))
        connection.execute("CREATE TABLE IF NOT EXISTS migrations (number integer PRIMARY KEY)")
        ((version,),) = connection.execute("SELECT coalesce(max(number), 0) FROM migrations").fetchall()
        if version > migrations[-1].number:
            raise SchemaUnknown(
                f"the store has schema {version}, this cdmd knows up to {migrations[-1].number}: "
                "start the version of cdmd that wrote it"
            )
        for number, script in migrations:
            if number > version:
                connection.execute(script.encode())
                connection.execute("INSERT INTO migrations (number) VALUES (%s)", (number,))


def why(error: psycopg.Error) -> str:
    """An error in a few words for the administrator: never one that may quote data."""
    if error.sqlstate is None:
        first = str(error).partition("\n")[0].removeprefix("connection is bad: ")
        return first or type(error).__name__
    if error.sqlstate.startswith(_QUOTING):
        return f"{type(error).__name__} ({error.sqlstate})"
    return f"{error.diag.message_primary} ({error.sqlstate})"


def in_our_words(error: psycopg.Error, doing: str) -> CdmdError | ValueError:
    """The error for what could not be done: ``doing`` is "written" or "read"."""
    if isinstance(error, psycopg.IntegrityError | psycopg.DataError):
        # The fault of what was to be written, not of the server: trying again changes nothing.
        return ValueError(f"these changes do not fit the store: {why(error)}")
    if isinstance(error, _DAMAGE):
        return Damaged(f"the store is damaged: {why(error)}; look closer with: cdmctl verify")
    return NotDurable(f"the store cannot be {doing} now: {why(error)}")
