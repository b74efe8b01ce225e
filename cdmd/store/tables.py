"""The tables as what is written over them knows them: statements by name, in whatever dialect the database speaks.

A dialect brings its statements (``queries/``) and these few ways to run them; what they are run for is written once, over this.
A name is that of a statement in ``store.sql``, with the file in front of it where it is another one (``outbox.ready``).
Not here: any SQL, and any database.
"""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, ClassVar, Protocol, TypeAlias, TypeVar

from cdmd.models import Digest, ProfileKey, Seq

T = TypeVar("T")
Row: TypeAlias = tuple[Any, ...]
Said: TypeAlias = Sequence[Any] | Mapping[str, Any]


class Tables(Protocol):
    """For one who writes, on the thread that owns the connection. What the database refuses is raised in its own words.

    ``alone``: nobody else writes, so that what one row says of another is so for as long as a batch is under way.
    """

    alone: ClassVar[bool]

    def close(self) -> None:
        """Give the connection up."""
        ...

    def transaction(self) -> AbstractContextManager[None]:
        """All or nothing of what is run inside."""
        ...

    def rows(self, name: str, said: Said = (), *, table: str = "") -> list[Row]:
        """All rows of a statement; ``table`` stands where it says ``{table}``."""
        ...

    def rows_in(self, name: str, values: Sequence[Any], *, before: Sequence[Any] = ()) -> list[Row]:
        """All rows of a statement that asks for any of ``values``, which stand behind ``before``."""
        ...

    def each(self, name: str) -> Iterator[Row]:
        """The same for a statement that brings more than memory should hold, one after the other."""
        ...

    def run(self, name: str, said: Said = (), *, table: str = "") -> int:
        """Run a statement; how many rows it changed."""
        ...

    def run_in(self, name: str, values: Sequence[Any], *, before: Sequence[Any] = ()) -> int:
        """Run a statement about any of ``values``, which stand behind ``before``; how many rows it changed."""
        ...

    def run_many(self, name: str, rows: Sequence[Sequence[Any]], *, table: str = "") -> int:
        """Run a statement once for each of ``rows``; how many rows that changed."""
        ...

    def insert(self, name: str, rows: Sequence[Sequence[Any]], *, table: str = "") -> int:
        """Run a statement that inserts all of ``rows``, in their order; how many there are because of it."""
        ...

    # ---- what every batch looks up: each dialect has its own best way -----------------------------------------------

    def owners(self, kind: int, values: Sequence[str]) -> Iterable[tuple[str, ProfileKey]]:
        """Which of these identifiers of a kind belong to a profile, each with it."""
        ...

    def people(self, keys: Sequence[ProfileKey]) -> Iterable[tuple[Row, Seq | None]]:
        """The profiles that there are, each as (id, public, sum, body), and its newest activity."""
        ...

    def occurrences(self, digests: Sequence[Digest]) -> Iterable[tuple[Digest, int, int, int, str]]:
        """Which of these are remembered: (digest, seq, verdict, content), and in which table."""
        ...

    # ---- the tables of what was seen, one for each quarter ------------------------------------------------------------

    def add_seen(self, table: str) -> None:
        """Make one of them."""
        ...

    def drop_seen(self, table: str) -> None:
        """Drop one of them."""
        ...


class Reading(Protocol):
    """For all who ask beside the batches; nobody waits for one. Raises ``NotDurable`` and ``Damaged``."""

    async def rows(self, name: str, said: Said = ()) -> list[Row]:
        """All rows of a statement."""
        ...

    async def rows_in(self, name: str, values: Sequence[Any], *, before: Sequence[Any] = ()) -> list[Row]:
        """All rows of a statement that asks for any of ``values``, which stand behind ``before``."""
        ...


class Write(Protocol):
    """Runs a function on the writer's thread, with errors mapped."""

    def __call__(self, fn: Callable[[Tables], T]) -> Awaitable[T]:
        """Its result. Raises ``NotDurable`` and ``Damaged``."""
        ...
