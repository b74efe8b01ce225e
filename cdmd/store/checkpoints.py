"""Moves what was committed out of the write-ahead log into the database, on a thread beside the writer's.

Within the writer's commits it took half of their time, most of it waiting for the disk (tests/bench/end_to_end.py). Small
steps, because the journal's syncs wait behind each of them. Not for: the journal, whose log is small.
"""

import asyncio
import sqlite3
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self, TypeVar

from cdmd.store.writer import Writer

T = TypeVar("T")
STEP: Final = 1_000
"""Rows after which a checkpoint begins: at worst each of them is on a page of its own."""


class Checkpoints:
    """A thread with a connection that only checkpoints. ``step`` is one checkpoint; it may raise, and is tried again."""

    def __init__(self, open_connection: Callable[[], sqlite3.Connection], step: Callable[[sqlite3.Connection], object]) -> None:
        self._worker = Writer(open_connection, name="store-checkpoints")
        self._step, self._rows, self._under_way = step, 0, False

    async def __aenter__(self) -> Self:
        await self._worker.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._worker.__aexit__(kind, error, trace)

    def grown(self, rows: int) -> None:
        """So many rows were committed; never waits. What fails here fails again in ``run``, where somebody is told."""
        self._rows += rows
        if self._rows >= STEP and not self._under_way:
            self._rows, self._under_way = 0, True
            self._worker.start(self._step).add_done_callback(self._ended)

    async def run(self, fn: Callable[[sqlite3.Connection], T]) -> T:
        """``fn`` on that thread, after the checkpoint that is under way."""
        return await self._worker.run(fn)

    def _ended(self, step: "asyncio.Future[object]") -> None:
        self._under_way = False
        if not step.cancelled():
            step.exception()
