"""A connector's big tables (``cdmd.contracts.BulkTable``): which generation is current stands in its state in the journal."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final, TypeAlias

import msgspec

from cdmd.contracts import Feeds
from cdmd.errors import Damaged, Followed

_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_READ_AT_ONCE: Final = 16

ReadState: TypeAlias = Callable[[Iterable[bytes]], Awaitable[dict[bytes, bytes]]]
"""A connector's own state at some keys (``Source.get``)."""


class _Current(msgspec.Struct, frozen=True, array_like=True):
    """What the state says: the generation's number and how many blocks it has."""

    generation: int
    blocks: int


def state_key(table: str) -> bytes:
    """The key of a connector's state that says which generation of a table is current."""
    return b"table/" + table.encode()


class SourceTable:
    """One table of one connector. Raises ValueError for a name that is none.

    ``followed`` is told when another node was found to work with it.
    """

    def __init__(
        self,
        connector: str,
        name: str,
        *,
        state: ReadState,
        feeds: Feeds,
        followed: Callable[[Followed], None] = lambda _: None,
    ) -> None:
        if not _NAME.fullmatch(name):
            raise ValueError("a table's name has letters, digits, _ and - only")
        self._connector, self._name, self._state, self._feeds = connector, name, state, feeds
        self._followed = followed

    async def size(self) -> int | None:
        """See ``BulkTable``."""
        current = await self._current()
        if current is None:
            return None
        if await self._feeds.size(current.generation) != current.blocks:
            what = f"the table {self._name} of {self._connector} is missing or not whole"
            raise Damaged(f"{what}; put a backup in place with: cdmd restore FILE")
        return current.blocks

    async def get(self, numbers: Sequence[int]) -> list[bytes]:
        """See ``BulkTable``."""
        current = await self._current()
        return await self._feeds.get(current.generation, numbers) if current is not None else []

    async def blocks(self) -> AsyncIterator[bytes]:
        """See ``BulkTable``."""
        size = await self.size() or 0
        for first in range(0, size, _READ_AT_ONCE):
            for block in await self.get(range(first, min(first + _READ_AT_ONCE, size))):
                yield block

    async def write(self) -> "SourceTableWriter":
        """See ``BulkTable``."""
        current = await self._current()
        keep = None if current is None else current.generation
        with _telling(self._followed):
            generation = await self._feeds.begin(self._connector, self._name, keep=keep)
        return SourceTableWriter(self._feeds, generation, key=state_key(self._name), followed=self._followed)

    async def tidy(self) -> None:
        """See ``BulkTable``."""
        current = await self._current()
        with _telling(self._followed):
            await self._feeds.tidy(self._connector, self._name, keep=None if current is None else current.generation)

    async def _current(self) -> _Current | None:
        key = state_key(self._name)
        found = (await self._state([key])).get(key)
        return None if found is None else msgspec.msgpack.decode(found, type=_Current)


class SourceTableWriter:
    """See ``cdmd.contracts.BulkWriter``."""

    def __init__(self, feeds: Feeds, generation: int, *, key: bytes, followed: Callable[[Followed], None]) -> None:
        self._feeds, self._generation, self._key, self._next = feeds, generation, key, 0
        self._followed = followed

    async def put(self, blocks: Sequence[bytes]) -> None:
        """See ``BulkWriter``."""
        with _telling(self._followed):
            await self._feeds.put(self._generation, self._next, blocks)
        self._next += len(blocks)

    async def finish(self) -> Mapping[bytes, bytes]:
        """See ``BulkWriter``."""
        with _telling(self._followed):
            blocks = await self._feeds.finish(self._generation)
        return {self._key: msgspec.msgpack.encode(_Current(self._generation, blocks))}


@contextmanager
def _telling(followed: Callable[[Followed], None]) -> Iterator[None]:
    try:
        yield
    except Followed as error:
        followed(error)
        raise
