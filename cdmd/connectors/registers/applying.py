"""One register on its way into the journal: additions and changes first, removals last, and the new table with them.

Not here: what a record is compared with (``comparing``), and what is done with removals that are held (``running``).
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import Any, Final, Protocol

import anyio.to_thread
import msgspec

from cdmd.connectors.registers.comparing import LAST, Candidate, Comparing, Kind
from cdmd.connectors.registers.deciding import after_missing, after_present, doubts, lacks_end
from cdmd.connectors.registers.index import NOBODY, Index
from cdmd.connectors.registers.removing import Removing
from cdmd.connectors.registers.rows import GONE, PRESENT, Digests, changed
from cdmd.connectors.registers.shapes import (
    BATCH,
    BEGUN,
    STATE,
    Applied,
    Emit,
    End,
    File,
    Outcome,
    RegisterSettings,
    chained,
    event_id,
)
from cdmd.connectors.registers.table import Before, Rewriting
from cdmd.contracts import BulkTable
from cdmd.models import Accepted, Filtered, Record, Verdict, to_micros

_MANY: Final = 100_000
_ENCODE: Final = msgspec.msgpack.Encoder().encode


class Around(Protocol):
    """What of its connector's register a run needs."""

    @property
    def name(self) -> str:
        """The connector's."""
        ...

    @property
    def table(self) -> BulkTable:
        """The table of its rows."""
        ...

    @property
    def settings(self) -> RegisterSettings:
        """How registers are compared."""
        ...

    @property
    def emit(self) -> Emit:
        """Journals."""
        ...

    def now(self) -> datetime:
        """The wall clock."""
        ...

    def told(self, stage: str, done: int, total: int) -> None:
        """Say how far it is."""
        ...

    def removing(self, run: bytes, key: Sequence[str], *, context: Mapping[str, Any]) -> Removing:
        """Rows that are to be removed against ``run``."""
        ...


class Run:
    """One register on its way into the journal. Its events' ids are made from ``begun``."""

    def __init__(
        self,
        register: Around,
        comparing: Comparing,
        file: File,
        *,
        begun: bytes,
        before: Applied | None,
        index: Index,
        digests: Digests,
    ) -> None:
        self._register, self._comparing, self._file = register, comparing, file
        self._before, self._index, self._digests = before, index, digests
        self._run = begun
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
        await removing.finish({**await self._new.finish(), STATE: _ENCODE(after), BEGUN: None})
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
        few = await self._new.values_of(set(islice(self._comparing.changing(), _MANY + 1))) if total <= _MANY else {}
        candidates = self._comparing.candidates(self._digests)
        while batch := await anyio.to_thread.run_sync(_some, candidates):
            if total > _MANY:
                few = await self._new.values_of({one.place for one in batch if one.kind == Kind.CHANGED})
            await self._emit_some(batch, few)
            done += len(batch)
            self._register.told("applying", done, total)

    async def _emit_some(self, batch: Sequence[Candidate], before: Mapping[int, Before]) -> None:
        emitted, records = await anyio.to_thread.run_sync(self._records, batch, before)
        verdicts = await self._register.emit(records, {}) if records else []
        new = [one for one, verdict in zip(emitted, verdicts, strict=True) if self._take(one, verdict)]
        last = new[-LAST:]
        start = len(self._index) + self._new.appended + len(new) - len(last)
        self._last = [*self._last, *((one.ordinal, place) for place, one in enumerate(last, start))][-LAST:]
        await self._new.append(new)

    def _records(self, batch: Sequence[Candidate], before: Mapping[int, Before]) -> tuple[list[Candidate], list[Record]]:
        """What is worth an event, and the events."""
        now = self._register.now()
        emitted: list[Candidate] = []
        records: list[Record] = []
        for one in batch:
            was = before[one.place] if one.kind == Kind.CHANGED else None
            names = [] if was is None else changed(was.fields, one.fields, self._digests.columns)
            # Two bytes name a column, and may be the same for another value: 8 bytes of all say whether there is one.
            if was is not None and not names and was.values in {None, one.values}:
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
            run=chained(b"" if self._before is None else self._before.run, self._file.digest),
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
