"""Big tables in memory, for connectors that are tried without a daemon."""

from collections.abc import Collection, Sequence
from typing import Self

from typing_extensions import override

from cdmd.contracts import Feeds
from cdmd.errors import Damaged


class MemoryFeeds(Feeds):
    """``Feeds`` in memory. ``generations`` are those there are, by number: their connector, table and blocks."""

    def __init__(self) -> None:
        self.generations: dict[int, tuple[str, str, list[bytes]]] = {}
        self._finished: set[int] = set()
        self._last = 0

    @override
    def fenced(self, fence: int) -> Self:
        return self

    @override
    async def hold(self, connectors: Collection[str]) -> None:
        """There are no others."""

    @override
    async def begin(self, connector: str, table: str, *, keep: int | None) -> int:
        await self.tidy(connector, table, keep=keep)
        self._last += 1
        self.generations[self._last] = (connector, table, [])
        return self._last

    @override
    async def tidy(self, connector: str, table: str, *, keep: int | None) -> None:
        for number, (owner, name, _) in list(self.generations.items()):
            if (owner, name) == (connector, table) and number != keep:
                del self.generations[number]

    @override
    async def put(self, generation: int, first: int, blocks: Sequence[bytes]) -> None:
        self.generations[generation][2][first:] = blocks

    @override
    async def finish(self, generation: int) -> int:
        self._finished.add(generation)
        return len(self.generations[generation][2])

    @override
    async def size(self, generation: int) -> int | None:
        there = generation in self.generations and generation in self._finished
        return len(self.generations[generation][2]) if there else None

    @override
    async def get(self, generation: int, numbers: Sequence[int]) -> list[bytes]:
        blocks = self.generations.get(generation, ("", "", []))[2]
        if any(number >= len(blocks) for number in numbers):
            raise Damaged("a connector's table is damaged: a block is missing")
        return [blocks[number] for number in numbers]

    @override
    async def rename(self, connector: str, name: str) -> None:
        self.generations = {
            number: (name if owner == connector else owner, table, blocks)
            for number, (owner, table, blocks) in self.generations.items()
        }

    @override
    async def forget(self, connector: str) -> int:
        gone = [number for number, (owner, _, _) in self.generations.items() if owner == connector]
        for number in gone:
            del self.generations[number]
        return len(gone)

    @override
    async def verify(self) -> list[str]:
        return []

    @override
    async def settled(self) -> bool:
        return True
