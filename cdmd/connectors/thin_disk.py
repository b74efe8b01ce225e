"""Reads the keys that have to be fetched from a connector's state: as many as memory holds, the newest of them."""

import heapq
from collections.abc import AsyncIterator
from typing import Final

import msgspec

from cdmd.connectors.thin_keys import MARKS, Keys, Mark, Trouble, read_mark_row, trouble_row
from cdmd.contracts import Source
from cdmd.models import to_micros

_PAGE: Final = 500


async def scan(keys: Keys, source: Source) -> None:
    """Load what memory has room for; ``keys.overflow`` says afterwards whether there is more."""
    keys.overflow = False
    keys.scanning(begins=True)
    try:
        newest: list[tuple[int, bytes, list[int], Mark]] = []
        async for digest, generations, mark in _groups(source):
            heapq.heappush(newest, (mark.stamp, digest, generations, mark))
            if len(newest) > keys.room:
                heapq.heappop(newest)
                keys.overflow = True
        newest.sort(key=lambda one: one[0])
        for start in range(0, len(newest), _PAGE):
            await _load(keys, newest[start : start + _PAGE], source)
    finally:
        keys.scanning(begins=False)


async def _load(keys: Keys, page: list[tuple[int, bytes, list[int], Mark]], source: Source) -> None:
    rows = {trouble_row(digest): digest for _, digest, _, _ in page}
    troubles = {rows[row]: msgspec.msgpack.decode(value, type=Trouble) for row, value in (await source.get(rows)).items()}
    now = to_micros(source.clock.now())
    for _, digest, generations, mark in page:
        keys.load(digest, generations, mark, troubles.get(digest, Trouble()), now=now)


async def _groups(source: Source) -> AsyncIterator[tuple[bytes, list[int], Mark]]:
    """Every key with its generations and its newest mark; its rows lie beside each other."""
    current: tuple[bytes, list[int], Mark] | None = None
    async for row, value in source.scan(MARKS):
        (digest, generation), mark = read_mark_row(row), msgspec.msgpack.decode(value, type=Mark)
        if current is not None and current[0] == digest:
            newest = mark if mark.stamp >= current[2].stamp else current[2]
            current = (digest, [*current[1], generation], newest)
            continue
        if current is not None:
            yield current
        current = (digest, [generation], mark)
    if current is not None:
        yield current
