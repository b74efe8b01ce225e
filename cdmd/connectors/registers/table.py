"""A register's rows in a bulk table: read block by block, and written anew with what changed.

A row keeps its place for good, so that what did not change is copied as it is; new rows come behind. Packing and patching are
done in worker threads.
"""

from array import array
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Final, NamedTuple

import anyio.to_thread

from cdmd.connectors.registers.comparing import Candidate, Kind
from cdmd.connectors.registers.rows import FIELD, GONE, PRESENT, ROWS, WIDTH, Block, pack, rearranged, unpack
from cdmd.contracts import BulkTable, BulkWriter

_TOGETHER: Final = 8
"""Blocks that are written at once: each writing waits for the disk."""


async def blocks_of(table: BulkTable) -> AsyncIterator[Block]:
    """Every block of the current generation."""
    async for body in table.blocks():
        yield await anyio.to_thread.run_sync(unpack, body)


class Written(NamedTuple):
    """An old block as it is now, and the packed key columns of its rows that were removed."""

    block: Block
    removed: Sequence[bytes]


class Before(NamedTuple):
    """What a row's values were: two bytes of each, in the new order of columns, and 8 of all (None where nobody can say)."""

    fields: bytes
    values: bytes | None


class Rewriting:
    """A new generation on its way: ``begin``, say what changed, ``old_blocks`` to its end, ``finish``.

    ``sizes`` are the rows of each old block; ``before`` and ``after`` the columns of the old and of the new generation.
    """

    def __init__(self, table: BulkTable, sizes: Sequence[int], *, before: Sequence[str], after: Sequence[str]) -> None:
        self._table, self._before, self._after = table, before, after
        self._starts = [0, *accumulate(sizes)]
        self._writer: BulkWriter
        self._dropped = not set(before) <= set(after)
        self._places, self._lines, self._fields, self._values = array("L"), bytearray(), bytearray(), bytearray()
        self._texts: dict[int, bytes] = {}
        self._forgotten: set[int] = set()
        self._new: list[Candidate] = []
        self._packed: list[bytes] = []
        self.appended = 0

    async def begin(self) -> None:
        """Start to write."""
        self._writer = await self._table.write()

    # ---- what changed -------------------------------------------------------------------------------------------------

    def replace(self, one: Candidate) -> None:
        """The row at its place is like this now."""
        self._places.append(one.place)
        self._lines += one.line
        self._fields += one.fields
        self._values += one.values
        if one.kind == Kind.RESTORED:
            self._texts[one.place] = one.text

    def forget(self, place: int) -> None:
        """The row at that place goes, and was not removed."""
        self._forgotten.add(place)

    async def append(self, candidates: Sequence[Candidate]) -> None:
        """New rows."""
        self._new += candidates
        self.appended += len(candidates)
        while len(self._new) >= ROWS:
            await self._pack(self._new[:ROWS])
            del self._new[:ROWS]

    async def _pack(self, candidates: Sequence[Candidate]) -> None:
        self._packed.append(await anyio.to_thread.run_sync(_packed, candidates))
        if len(self._starts) == 1:  # with no old rows to come before them they need not wait
            await self._writer.put(self._packed)
            self._packed = []

    # ---- the old rows -------------------------------------------------------------------------------------------------

    async def values_of(self, places: Collection[int]) -> dict[int, Before]:
        """What these rows were."""
        found: dict[int, Before] = {}
        wanted = iter(sorted(places))
        place = next(wanted, None)
        for number, (start, end) in enumerate(zip(self._starts, self._starts[1:], strict=False)):
            if place is None:
                break
            if place >= end:
                continue
            (body,) = await self._table.get([number])
            block = await anyio.to_thread.run_sync(self._unpacked, body)
            width = FIELD * len(self._after)
            while place is not None and place < end:
                at = place - start
                values = block.values[at * WIDTH : (at + 1) * WIDTH]
                found[place] = Before(block.fields[at * width : (at + 1) * width], values if any(values) else None)
                place = next(wanted, None)
        return found

    async def old_blocks(self, status: bytearray) -> AsyncIterator[Written]:
        """Write every old block with the new ``status`` of its rows, and give it."""
        order = await anyio.to_thread.run_sync(lambda: sorted(range(len(self._places)), key=self._places.__getitem__))
        patches = iter(order)
        self._patch = next(patches, None)
        waiting: list[bytes] = []
        async for body, start in self._old():
            written, packed = await anyio.to_thread.run_sync(self._patched, body, start, status, patches)
            waiting.append(packed)
            if len(waiting) >= _TOGETHER:
                await self._writer.put(waiting)
                waiting = []
            yield written
        if waiting:
            await self._writer.put(waiting)

    async def finish(self) -> Mapping[bytes, bytes]:
        """The new rows behind the old ones; the state that makes all of it current."""
        if self._new:
            await self._pack(self._new)
        for body in self._packed:
            await self._writer.put([body])
        return await self._writer.finish()

    async def _old(self) -> AsyncIterator[tuple[bytes, int]]:
        number = 0
        async for body in self._table.blocks():
            yield body, self._starts[number]
            number += 1

    def _unpacked(self, body: bytes) -> Block:
        block = unpack(body)
        block.fields = rearranged(block.fields, len(block.status), before=self._before, after=self._after)
        if self._dropped:  # of all columns, those among them that are no longer compared
            block.values = bytes(len(block.values))
        return block

    def _patched(self, body: bytes, start: int, status: bytearray, patches: Iterator[int]) -> tuple[Written, bytes]:
        block = self._unpacked(body)
        before, after = block.status, bytes(status[start : start + len(block.status)])
        lines, fields, width = bytearray(block.lines), bytearray(block.fields), FIELD * len(self._after)
        values = bytearray(block.values)
        while self._patch is not None and self._places[self._patch] < start + len(after):
            at, patch = self._places[self._patch] - start, self._patch
            lines[at * WIDTH : (at + 1) * WIDTH] = self._lines[patch * WIDTH : (patch + 1) * WIDTH]
            fields[at * width : (at + 1) * width] = self._fields[patch * width : (patch + 1) * width]
            values[at * WIDTH : (at + 1) * WIDTH] = self._values[patch * WIDTH : (patch + 1) * WIDTH]
            if start + at in self._texts:
                block.texts[at] = self._texts[start + at]
            self._patch = next(patches, None)
        removed = []
        for at in range(len(after)) if before != after else ():
            if after[at] == GONE and before[at] != GONE:
                if start + at not in self._forgotten:
                    removed.append(block.texts[at])
                block.texts[at] = b""
                lines[at * WIDTH : (at + 1) * WIDTH] = bytes(WIDTH)
                fields[at * width : (at + 1) * width] = bytes(width)
                values[at * WIDTH : (at + 1) * WIDTH] = bytes(WIDTH)
        block.lines, block.fields, block.values, block.status = bytes(lines), bytes(fields), bytes(values), after
        return Written(block, removed), pack(block)


def _packed(candidates: Sequence[Candidate]) -> bytes:
    return pack(
        Block(
            lines=b"".join(one.line for one in candidates),
            keys=b"".join(one.key for one in candidates),
            status=bytes([PRESENT]) * len(candidates),
            fields=b"".join(one.fields for one in candidates),
            values=b"".join(one.values for one in candidates),
            texts=[one.text for one in candidates],
        )
    )
