"""The store in PostgreSQL: one connection writes, two read beside it.

Every batch is on the server's disk before it is answered, so nothing is ever taken back and ``synced`` is the position. Not
here: what is the same in every database (``stored``), and how the server is kept, copied and made to fail over: its operator's.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, closing
from functools import partial
from typing import Final, Self, TypeVar

import anyio.to_thread
import psycopg
import structlog
from typing_extensions import override

from cdmd.contracts import Clock
from cdmd.errors import Damaged, NotDurable
from cdmd.models import Seq
from cdmd.store import letters
from cdmd.store.checking import examine_tables
from cdmd.store.postgres.connecting import Broken, connect, in_our_words, migrate, one_moment, why
from cdmd.store.postgres.fence import Fence
from cdmd.store.postgres.nodes import divide
from cdmd.store.postgres.tables import PostgresReading, PostgresTables
from cdmd.store.sql import load_migrations
from cdmd.store.standing import belong, position_of
from cdmd.store.stored import KEY_CHECK, StoredStore
from cdmd.store.writer import Writer

T = TypeVar("T")
MIGRATIONS: Final = load_migrations("postgres")
_READERS: Final = 2
_PATIENCE: Final = 60.0
"""Seconds. Longer than a fifth of what systemd's unit counts starts in, so that it never gives up."""
_PAUSE: Final = 1.0
_LOOKS: Final = (0.0, 0.01, 0.02, 0.04, 0.08, 0.16)
"""Seconds before each look for those who may still see what was removed."""
_STOP: Final = 5.0
"""Seconds that a stop waits for a server that gives no answer: what it was asked for last is noticed at the next start."""


class PostgresStore(StoredStore):
    """``Store`` in the database that ``url`` names, in the schema that is the first of its search path."""

    here = False

    def __init__(self, url: str, password: str | None, *, clock: Clock, journal_id: str, digests: letters.Digests) -> None:
        self._connect = partial(connect, url, password=password)
        self._owner = (journal_id, digests(*KEY_CHECK))
        self._fence = Fence(self._stands)
        super().__init__(thread(self._open_tables, "store"), clock=clock, digests=digests)

    @classmethod
    @asynccontextmanager
    async def open(
        cls, url: str, password: str | None = None, *, clock: Clock, journal_id: str, digest: letters.Digests
    ) -> AsyncIterator[Self]:
        """Open or make the store that belongs to the journal ``journal_id``, and take it over from whoever had it.

        ``digest`` names an occurrence (source, id). Raises ``ConfigInvalid`` (the address), ``NotDurable`` (the server),
        ``Damaged`` (another journal's, another key's), ``SchemaUnknown``, and ``CdmdError`` where the database does not do.
        """
        store = cls(url, password, clock=clock, journal_id=journal_id, digests=digest)
        async with store._running():
            yield store

    @asynccontextmanager
    async def _running(self) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._writer)
            await self._reach()
            readers = [thread(self._open_reader, "store-reader") for _ in range(_READERS)]
            for reader in readers:
                await stack.enter_async_context(reader)
            self._ask(PostgresReading(readers), settle=self._settled)
            yield

    async def _reach(self) -> None:
        """Wait a minute for a server that is still starting: after a power cut both machines may be."""
        until = self._clock.monotonic() + _PATIENCE
        while True:
            try:
                await self._mapped(self._writer.run(position_of))
            except NotDurable:
                if self._clock.monotonic() >= until:
                    raise
                structlog.get_logger().warning("store_is_waited_for")
                await self._clock.sleep(_PAUSE)
            else:
                return

    @property
    @override
    def synced(self) -> Seq:
        return self._position

    @override
    async def sync(self) -> Seq:
        await self._write(position_of)
        return self._position

    async def _settled(self) -> bool:
        """Dead rows are taken out of the tables; False where somebody's old look at them keeps some of them alive."""
        return await anyio.to_thread.run_sync(self._vacuum)

    def _vacuum(self) -> bool:
        try:
            with closing(self._connect()) as connection:
                tables = PostgresTables(connection)
                ((moment,),) = tables.rows("moment")
                for wait in _LOOKS:  # whoever writes or reads looks for a moment only, and the next one at what is there now
                    tables.rows("pause", (wait,))
                    if not tables.rows("looking", (moment,))[0][0]:
                        tables.run("vacuum")
                        return True
        except psycopg.Error as error:
            raise in_our_words(error, "written") from error
        return False

    @override
    async def verify(self) -> list[str]:
        return await anyio.to_thread.run_sync(self._examine)

    def _examine(self) -> list[str]:
        try:
            with closing(self._connect(read_only=True)) as connection, one_moment(connection):
                return [f"store: {line}" for line in examine_tables(PostgresTables(connection))]
        except psycopg.Error as error:
            return [f"store: it cannot be read: {why(error)}"]

    @override
    async def _mapped(self, work: Awaitable[T]) -> T:
        try:
            result = await work
        except psycopg.Error as error:
            ours = in_our_words(error, "written")
            self.failure = None if isinstance(ours, ValueError) else why(error)
            raise ours from error
        except (NotDurable, Damaged) as error:
            self.failure = str(error)
            raise
        self.failure = None
        return result

    # ---- opening, on the threads' own time -----------------------------------------------------------------------------

    def _open_tables(self) -> PostgresTables:
        """At the start and after every failure: the lane must still be ours, and where it was left."""
        connection = self._connect()
        try:
            migrate(connection, MIGRATIONS)
            plain = PostgresTables(connection)
            with plain.transaction():
                # Whoever does not belong here is refused before anybody is stopped from writing.
                self._fence.opened(plain)
                self.form = belong(*self._owner, plain)
                divide(plain, 1)
        except BaseException:
            connection.close()
            raise
        return PostgresTables(connection, fence=self._fence)

    def _open_reader(self) -> PostgresTables:
        return PostgresTables(self._connect(read_only=True))

    def _stands(self, seq: Seq) -> None:
        self._position = seq


def thread(opening: Callable[[], PostgresTables], name: str) -> Writer[PostgresTables]:
    """One with a connection of its own."""
    return Writer(opening, name=name, broken=Broken, patience=_STOP)
