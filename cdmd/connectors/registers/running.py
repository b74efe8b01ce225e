"""A register applied: its changes become events, and the table of its rows becomes the one that the next is compared with.

An event's id is computed from what is compared with, the key and the change, so a run that was interrupted is repeated to the
letter, also where removals were approved or rows erased meanwhile. The state that makes the new table current goes with the
last removals. Not here: the way of a new one (``applying``).
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import anyio.to_thread
import msgspec

from cdmd.connectors.registers.applying import Run
from cdmd.connectors.registers.comparing import Comparing
from cdmd.connectors.registers.erasing import erased, folded
from cdmd.connectors.registers.index import Index, installed_numpy
from cdmd.connectors.registers.removing import Removing
from cdmd.connectors.registers.rows import GONE, HELD, PRESENT, Digests, pack
from cdmd.connectors.registers.shapes import (
    BEGUN,
    STATE,
    Applied,
    Emit,
    File,
    Outcome,
    RegisterSettings,
    Told,
    chained,
)
from cdmd.connectors.registers.table import blocks_of
from cdmd.contracts import BulkTable, ChosenFormat, Source
from cdmd.errors import BadArguments
from cdmd.kit.memory import give_back

_TABLE: Final = "register"
_PURPOSE: Final = "register"
_MOST_COLUMNS: Final = 500
_ENCODE: Final = msgspec.msgpack.Encoder().encode
_BEGUN: Final = msgspec.msgpack.Decoder(tuple[bytes, bytes])


class Register:
    """The register of one connector."""

    def __init__(self, settings: RegisterSettings, *, source: Source, emit: Emit, told: Told = lambda *_: None) -> None:
        self._settings, self._source, self._emit, self._told = settings, source, emit, told
        self._table = source.table(_TABLE)

    async def applied(self) -> Applied | None:
        """The last one."""
        found = (await self._source.get([STATE])).get(STATE)
        return None if found is None else msgspec.msgpack.decode(found, type=Applied)

    # ---- a new register -----------------------------------------------------------------------------------------------

    async def apply(self, chosen: ChosenFormat, file: File) -> Outcome:
        """Compare, emit what changed, and keep the new table. Raises ``FormatFault`` before anything was emitted."""
        before = await self.applied()
        if before is not None and tuple(before.key) != tuple(self._settings.key):
            before = None  # rows are known by other columns now: nothing can be compared
        comparing = Comparing(chosen, file.opened, ignore=self._settings.ignore)
        try:
            return await self._compared(comparing, file, before)
        finally:
            await anyio.to_thread.run_sync(comparing.close)

    async def _compared(self, comparing: Comparing, file: File, before: Applied | None) -> Outcome:
        await anyio.to_thread.run_sync(comparing.open)
        index = await self._index(before, same=before is not None and before.identity == comparing.identity)
        digests = Digests(self._source.secret(_PURPOSE), key=self._settings.key, columns=())
        while await anyio.to_thread.run_sync(comparing.look, index, digests):
            self._told("comparing", comparing.records, 0)
        await anyio.to_thread.run_sync(comparing.settle, index)
        index.forget()
        await anyio.to_thread.run_sync(give_back)
        columns = _columns(before, comparing.columns, ragged=comparing.ragged, ignore=self._settings.ignore)
        digests = Digests(self._source.secret(_PURPOSE), key=self._settings.key, columns=columns)
        begun = await self._begin(file.digest, b"" if before is None else before.run)
        run = Run(self, comparing, file, begun=begun, before=before, index=index, digests=digests)
        return await run.carry_out()

    async def _begin(self, digest: bytes, run: bytes) -> bytes:
        """What the ids are made from of the register with this content: ``run``, or what it was when it was begun before."""
        found = (await self._source.get([BEGUN])).get(BEGUN)
        if found is not None and (begun := _BEGUN.decode(found))[0] == digest:
            return begun[1]
        await self._emit([], {BEGUN: _ENCODE((digest, run))})
        return run

    async def _index(self, before: Applied | None, *, same: bool) -> Index:
        index = Index()
        if before is not None:
            async for block in blocks_of(self._table):
                await anyio.to_thread.run_sync(index.add, block)
        numpy = await anyio.to_thread.run_sync(installed_numpy) if len(index) else None
        await anyio.to_thread.run_sync(lambda: index.seal(lines=same, numpy=numpy))
        return index

    # ---- removals that wait -------------------------------------------------------------------------------------------

    async def approve(self) -> int:
        """Remove what is held; returns how many rows. Raises ``BadArguments`` where nothing is."""
        return await self._release(GONE)

    async def reject(self) -> int:
        """Keep what is held as if it had not been missing; the next register decides anew. Raises ``BadArguments``."""
        return await self._release(PRESENT)

    async def _release(self, status: int) -> int:
        before = await self.applied()
        if before is None or not before.held:
            raise BadArguments("no removals wait for approval")
        removing = self.removing(before.run, before.key, context={"_file": {"name": before.name, "path": before.name}})
        count = 0
        writer = await self._table.write()
        async for block in blocks_of(self._table):
            marks = bytearray(block.status)
            held = [place for place, one in enumerate(marks) if one == HELD]
            count += len(held)
            for place in held:
                marks[place] = status
            if status == GONE:
                await removing.add([block.texts[place] for place in held], now=self.now())
                for place in held:
                    block.texts[place] = b""
            block.status = bytes(marks)
            await writer.put([await anyio.to_thread.run_sync(pack, block)])
        after = msgspec.structs.replace(
            before,
            run=chained(before.run, b"approved" if status == GONE else b"rejected"),
            rows=before.rows - (count if status == GONE else 0),
            held=0,
            reason="",
            trusted=None if status == GONE else before.trusted,
        )
        await removing.finish({**await writer.finish(), STATE: _ENCODE(after)})
        await self._table.tidy()
        return count

    # ---- people who are to be forgotten -------------------------------------------------------------------------------

    async def erase(self, values: Collection[str]) -> int:
        """Take the rows whose key has one of ``values`` out of the table, without an event; returns how many.

        Tables that are not current go in any case: an interruption may have left one in which the rows are still.
        """
        before, wanted = await self.applied(), {folded(value) for value in values}
        if before is None or not await self._has(wanted):
            await self._table.tidy()
            return 0
        count = live = held = 0
        writer = await self._table.write()
        async for block in blocks_of(self._table):
            found = await anyio.to_thread.run_sync(lambda block=block: erased(block, wanted, columns=len(before.columns)))  # type: ignore[misc]
            count, live, held = count + found[0], live + found[1], held + found[2]
            await writer.put([await anyio.to_thread.run_sync(pack, block)])
        left = before.held - held
        after = msgspec.structs.replace(
            before,
            run=chained(before.run, b"erased"),
            rows=before.rows - live,
            held=left,
            reason=before.reason if left else "",
        )
        await self._emit([], {**await writer.finish(), STATE: _ENCODE(after)})
        await self._table.tidy()
        return count

    async def _has(self, values: Collection[str]) -> bool:
        """Whether any row has one of these in its key: a table is written anew for what is there only."""
        async for block in blocks_of(self._table):
            if (await anyio.to_thread.run_sync(lambda block=block: erased(block, values, columns=0)))[0]:  # type: ignore[misc]
                return True
        return False

    # ---- what its parts need ------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The connector's."""
        return self._source.name

    @property
    def table(self) -> BulkTable:
        """The table of its rows."""
        return self._table

    @property
    def settings(self) -> RegisterSettings:
        """How registers are compared."""
        return self._settings

    def now(self) -> datetime:
        """The wall clock."""
        return self._source.clock.now()

    def told(self, stage: str, done: int, total: int) -> None:
        """Say how far it is."""
        self._told(stage, done, total)

    @property
    def emit(self) -> Emit:
        """Journals."""
        return self._emit

    def removing(self, run: bytes, key: Sequence[str], *, context: Mapping[str, Any]) -> Removing:
        """Rows that are to be removed against ``run``."""
        return Removing(self._emit, name=self._source.name, run=run, key=key, context=context)


def _columns(before: Applied | None, found: Sequence[str], *, ragged: bool, ignore: Sequence[str]) -> list[str]:
    """The columns to compare: those known before that are still there, then the new ones.

    All are still there where no record says otherwise, and in ``ragged`` records, up to some hundreds.
    """
    if before is None:
        return list(found)
    here = [name for name in before.columns if name not in ignore] if ragged or not found else []
    stay = here if len({*here, *found}) <= _MOST_COLUMNS else []
    old = [name for name in before.columns if name in stay or name in found]
    return old + [name for name in found if name not in old]
