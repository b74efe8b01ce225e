"""A register applied: its changes become events, and the table of its rows becomes the one that the next is compared with.

An event's id is computed from what is compared with, the key and the change, so a run that was interrupted is repeated to the
letter. The state that makes the new table current goes with the last removals. Not here: what is compared how (``comparing``).
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import Any, Final

import anyio.to_thread
import msgspec

from cdmd.connectors.registers.comparing import LAST, Candidate, Comparing, Kind
from cdmd.connectors.registers.deciding import after_missing, after_present, doubts, lacks_end
from cdmd.connectors.registers.erasing import erased, folded
from cdmd.connectors.registers.index import NOBODY, Index, installed_numpy
from cdmd.connectors.registers.removing import Removing
from cdmd.connectors.registers.rows import GONE, HELD, PRESENT, Digests, changed, pack
from cdmd.connectors.registers.shapes import (
    BATCH,
    STATE,
    Applied,
    Emit,
    End,
    File,
    Outcome,
    RegisterSettings,
    Told,
    chained,
    event_id,
)
from cdmd.connectors.registers.table import Rewriting, blocks_of
from cdmd.contracts import BulkTable, ChosenFormat, Source
from cdmd.errors import BadArguments
from cdmd.models import Accepted, Filtered, Record, Verdict, to_micros

_TABLE: Final = "register"
_PURPOSE: Final = "register"
_MANY: Final = 100_000
_ENCODE: Final = msgspec.msgpack.Encoder().encode


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
        columns = _columns(before, comparing.columns)
        digests = Digests(self._source.secret(_PURPOSE), key=self._settings.key, columns=columns)
        run = _Run(self, comparing, file, before=before, index=index, digests=digests)
        return await run.carry_out()

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
        """Take the rows whose key has one of ``values`` out of the table, without an event; returns how many."""
        before, wanted = await self.applied(), {folded(value) for value in values}
        if before is None or not await self._has(wanted):
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


class _Run:
    """One register on its way into the journal."""

    def __init__(
        self, register: Register, comparing: Comparing, file: File, *, before: Applied | None, index: Index, digests: Digests
    ) -> None:
        self._register, self._comparing, self._file = register, comparing, file
        self._before, self._index, self._digests = before, index, digests
        self._run = before.run if before is not None else b""
        self._before_end = before.end if before is not None else End(whole=False)
        self._trusted: End | None = None
        self._last: list[tuple[int, int]] = []
        self._counts = dict.fromkeys(("added", "changed", "removed", "restored", "filtered", "rejected"), 0)
        columns = before.columns if before is not None else digests.columns
        self._new = Rewriting(register.table, index.sizes, before=columns, after=digests.columns)
        self._context = {"name": file.name, "path": file.path}

    async def carry_out(self) -> Outcome:
        """Additions and changes first, removals last, the state with them."""
        live = self._index.live
        held, reason = await anyio.to_thread.run_sync(self._mark_missing, live)
        await self._new.begin()
        await self._emit_changes()
        removing = self._register.removing(self._run, self._digests.key, context={"_file": self._context})
        rows = 0
        async for block, removed in self._new.old_blocks(self._index.status):
            rows += len(block.status) - block.status.count(GONE)
            await removing.add(removed, now=self._register.now())
        self._counts["removed"] = removing.count
        after = self._applied(rows + self._new.appended, held=held, reason=reason)
        await removing.finish({**await self._new.finish(), STATE: _ENCODE(after)})
        await self._register.table.tidy()
        return Outcome(
            records=self._comparing.records, repeated=self._comparing.repeated, held=held, reason=reason, **self._counts
        )

    def _mark_missing(self, live: int) -> tuple[int, str]:
        """Set every old row's new status; how many removals are held, and why."""
        status, comparing, removals = self._index.status, self._comparing, self._register.settings.removals
        missing = comparing.missing(self._index)
        due = {place for place in missing if removals.due(status[place])}
        doubt = self._doubt(missing) if missing else None
        if doubt is not None:
            self._trusted = self._before_end
        reason = doubt or removals.brake(len(due), live=live) if due else None
        after = {place: after_missing(status[place], due=place in due, held=reason is not None) for place in missing}
        for place in [place for place, one in enumerate(status) if one != PRESENT]:
            status[place] = after_present(status[place])
        for place, one in after.items():
            status[place] = one
        return (len(due), reason) if reason is not None else (0, "")

    def _doubt(self, missing: Sequence[int]) -> str | None:
        """Why the register may not be whole, which lacks those rows."""
        comparing, status, end = self._comparing, self._index.status, self._before_end
        last = [place for place in end.last if status[place] != GONE]
        return doubts(
            comparing.records,
            unreadable=comparing.unreadable,
            cut=comparing.has_lines and end.whole and not comparing.whole,
            ended=comparing.uncounted and not comparing.grew_behind and lacks_end(last, frozenset(missing)),
            least=self._register.settings.min_rows,
        )

    async def _emit_changes(self) -> None:
        total = sum(self._comparing.counts().values())
        done = 0
        few = await self._new.fields_of(set(islice(self._comparing.changing(), _MANY + 1))) if total <= _MANY else {}
        candidates = self._comparing.candidates(self._digests)
        while batch := await anyio.to_thread.run_sync(_some, candidates):
            if total > _MANY:
                few = await self._new.fields_of({one.place for one in batch if one.kind == Kind.CHANGED})
            await self._emit_some(batch, few)
            done += len(batch)
            self._register.told("applying", done, total)

    async def _emit_some(self, batch: Sequence[Candidate], fields: Mapping[int, bytes]) -> None:
        emitted, records = await anyio.to_thread.run_sync(self._records, batch, fields)
        verdicts = await self._register.emit(records, {}) if records else []
        new = [one for one, verdict in zip(emitted, verdicts, strict=True) if self._take(one, verdict)]
        last = new[-LAST:]
        start = len(self._index) + self._new.appended + len(new) - len(last)
        self._last = [*self._last, *((one.ordinal, place) for place, one in enumerate(last, start))][-LAST:]
        await self._new.append(new)

    def _records(self, batch: Sequence[Candidate], fields: Mapping[int, bytes]) -> tuple[list[Candidate], list[Record]]:
        """What is worth an event, and the events."""
        now = self._register.now()
        emitted: list[Candidate] = []
        records: list[Record] = []
        for one in batch:
            names = changed(fields[one.place], one.fields, self._digests.columns) if one.kind == Kind.CHANGED else []
            if one.kind == Kind.CHANGED and not names:
                self._new.replace(one)  # written otherwise, and the same
            else:
                emitted.append(one)
                records.append(self._record(one, names, now))
        return emitted, records

    def _take(self, one: Candidate, verdict: Verdict) -> bool:
        """What was accepted is remembered; what was filtered or refused is looked at anew in the next register.

        True where it is a new row.
        """
        if isinstance(verdict, Accepted):
            self._counts[one.kind.name.lower()] += 1
            if one.place == NOBODY:
                return True
            self._index.status[one.place] = PRESENT
            self._new.replace(one)
        elif isinstance(verdict, Filtered):
            self._counts["filtered"] += 1
            if one.kind == Kind.CHANGED:
                self._index.status[one.place] = GONE
                self._new.forget(one.place)
        else:
            self._counts["rejected"] += 1
        return False

    def _record(self, one: Candidate, names: Sequence[str], now: datetime) -> Record:
        row, context = one.row, {"_file": {**self._context, "line": one.row.line, "record": one.row.number}}
        if row.fault is not None:
            where = f"record {row.number}" if row.line is None else f"line {row.line}"
            fault = msgspec.structs.replace(row.fault, message=f"{self._file.name}, {where}: {row.fault.message}")
            value: Any = row.value if row.value is not None else row.raw.decode("utf-8", "backslashreplace")
            name = f"{self._file.digest[:16].hex()}:{row.number}"
            return Record(value=value, received=now, fallback_id=name, context=context, fault=fault)
        change = one.kind.name.lower()
        return Record(
            value=row.value,
            received=now,
            fallback_id=event_id(self._run, one.key, change, one.line),
            context=context,
            type=f"{self._register.name}.{change}",
            beside={"change": change, "changed": names},
        )

    def _applied(self, rows: int, *, held: int, reason: str) -> Applied:
        comparing = self._comparing
        return Applied(
            run=chained(self._run, self._file.digest),
            digest=self._file.digest,
            name=self._file.name,
            since=to_micros(self._register.now()),
            identity=comparing.identity,
            key=self._digests.key,
            columns=self._digests.columns,
            whole=comparing.whole,
            rows=rows,
            held=held,
            reason=reason,
            counts={**self._counts, "records": comparing.records, "repeated": comparing.repeated},
            last=[place for _, place in sorted([*comparing.last, *self._last])[-LAST:]],
            trusted=self._trusted,
        )


def _some(candidates: Iterator[Candidate]) -> list[Candidate]:
    return list(islice(candidates, BATCH))


def _columns(before: Applied | None, found: Sequence[str]) -> list[str]:
    """The columns to compare: those known before that are still there, then the new ones."""
    old = [name for name in before.columns if name in found] if before is not None else []
    return old + [name for name in found if name not in old]
