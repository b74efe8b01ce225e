"""Pieces of a file that are asked for side by side and handed on in order: distance then costs one round trip, not one each.

Not here: what a piece is read with, and what is done with it.
"""

from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import anyio

from cdmd.connectors.files.area import FileFault, Sink
from cdmd.errors import CdmdError, SourceUnavailable

ReadPiece: TypeAlias = Callable[[int, int], Awaitable[bytes]]
"""``size`` bytes at a place, or fewer. Raises ``FileFault`` and ``SourceUnavailable``."""

Patience: TypeAlias = Callable[[Awaitable[Any]], Awaitable[Any]]
"""Waits for something as long as it is worth waiting for. Raises ``SourceUnavailable``."""


class Ahead:
    """Reads ``piece`` bytes at a time, ``most`` pieces before the one that is handed on next.

    A task for each of those places, not for each piece: making one costs about as much as what it reads (tests/bench/sftp.py).
    """

    def __init__(self, read: ReadPiece, *, piece: int, most: int, patience: Patience) -> None:
        self._read, self._piece, self._most, self._patience = read, piece, most, patience

    async def copy(self, start: int, end: int, sink: Sink) -> None:
        """Hand the bytes from ``start`` to ``end`` on, in order; fewer where the file ends before."""
        failure: Exception | None = None
        async with anyio.create_task_group() as group:
            places = [_Place() for _ in range(max(1, min(self._most, -(-(end - start) // self._piece))))]
            for number, place in enumerate(places):
                group.start_soon(self._fill, place, start + number * self._piece, end, len(places) * self._piece)
            try:
                await self._hand_on(places, start, end, sink)
            except (FileFault, CdmdError) as error:
                failure = error
            group.cancel_scope.cancel()
        if failure is not None:
            raise failure

    async def _fill(self, place: "_Place", start: int, end: int, stride: int) -> None:
        """Every so many bytes another piece for this place, each as soon as the one before has left it."""
        for at in range(start, end, stride):
            try:
                place.data = await self._whole(at, min(self._piece, end - at))
            except (FileFault, SourceUnavailable) as error:
                place.failure = error
            place.filled.set()
            await place.emptied.wait()
            place.emptied = anyio.Event()

    async def _whole(self, at: int, size: int) -> bytes:
        """A server may give less than was asked for; only nothing at all is the end."""
        data = await self._read(at, size)
        while data and len(data) < size and (more := await self._read(at + len(data), size - len(data))):
            data += more
        return data

    async def _hand_on(self, places: list["_Place"], start: int, end: int, sink: Sink) -> None:
        number = 0
        while start < end:
            place = places[number % len(places)]
            if not place.filled.is_set():
                await self._patience(place.filled.wait())
            data = place.take()
            if data:
                await sink(data)
            if len(data) < min(self._piece, end - start):
                return  # the file ends here
            start += len(data)
            number += 1


class _Place:
    """Where one piece after the other waits until it is its turn."""

    __slots__ = ("data", "emptied", "failure", "filled")

    def __init__(self) -> None:
        self.data = b""
        self.failure: Exception | None = None
        self.filled, self.emptied = anyio.Event(), anyio.Event()

    def take(self) -> bytes:
        if self.failure is not None:
            raise self.failure
        data, self.data = self.data, b""
        self.filled = anyio.Event()
        self.emptied.set()
        return data
