"""A spooled file as a whole register: handed to the comparison, and what waits for approval shown and told.

Not here: how registers are compared (``registers``), and when a file is whole.
"""

from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any, BinaryIO, Final

import anyio
import msgspec

from cdmd.connectors.durable import durable
from cdmd.connectors.files.ledger import Entry
from cdmd.connectors.files.names import shown
from cdmd.connectors.files.settings import FileSettings, Share
from cdmd.connectors.files.spool import Spool
from cdmd.connectors.files.taking import Packing, Progress, Unreadable
from cdmd.connectors.registers import File, Outcome, Register, RegisterSettings, Removals
from cdmd.contracts import Source
from cdmd.errors import BadArguments, FormatFault, NotFound
from cdmd.kit.unpacking import unpacked
from cdmd.models import Record, Rejected, Verdict, from_micros

COMMANDS: Final = ("approve", "reject")
EMPTY: Final = "an empty file is no register"


class Registering:
    """The register of one connector. One is applied at a time, and never while an approval is carried out."""

    def __init__(self, settings: FileSettings, *, packing: Packing, most: Share) -> None:
        self._settings, self._packing, self._most = settings, packing, most
        removals = Removals.parse(settings.max_removed, missing_for=settings.missing_for)
        self._how = RegisterSettings(key=settings.key, ignore=settings.ignore, removals=removals, min_rows=settings.min_rows)
        self._lock = anyio.Lock()

    async def last(self, source: Source) -> bytes | None:
        """The digest of the register that was applied last."""
        applied = await Register(self._how, source=source, emit=partial(durable, source)).applied()
        return None if applied is None else applied.digest

    async def held(self, source: Source) -> int:
        """How many removals wait for approval."""
        applied = await Register(self._how, source=source, emit=partial(durable, source)).applied()
        return 0 if applied is None else applied.held

    async def apply(self, path: bytes, entry: Entry, spool: Spool, *, source: Source, progress: Progress) -> Entry:
        """Emit what changed since the last one; the file's entry as it is then. Raises ``Unreadable``."""
        bounded = _Bounded(source, progress, self._most)
        register = Register(self._how, source=source, emit=bounded.emit, told=progress.stand)
        file = File(
            name=shown(path.rpartition(b"/")[2]), path=shown(path), digest=entry.digest, opened=partial(self._open, spool)
        )
        try:
            async with self._lock:
                return _counted(entry, await register.apply(self._settings.format, file))
        except FormatFault as fault:
            raise Unreadable(str(fault)) from fault

    async def rows(self, source: Source) -> Sequence[Mapping[str, Any]]:
        """The register that was applied last."""
        applied = await Register(self._how, source=source, emit=partial(durable, source)).applied()
        if applied is None:
            return []
        row = {
            "name": applied.name,
            "state": "held" if applied.held else "applied",
            "since": from_micros(applied.since),
            "rows": applied.rows,
            "held": applied.held,
            "reason": applied.reason or None,
            "sha256": applied.digest.hex(),
            "run": applied.run.hex(),
        }
        return [{**row, **applied.counts}]

    async def command(self, command: str, source: Source, *, names: Sequence[str]) -> int:
        """Remove what is held, or keep it; how many rows.

        The name must be the ``run`` that was shown (the same content that came again may hold other rows), or the register's.
        """
        if self._lock.locked():
            raise BadArguments("a register is being applied now; look again when it is done: cdmctl snapshot")
        async with self._lock:
            register = Register(self._how, source=source, emit=partial(durable, source))
            applied = await register.applied()
            if applied is None or list(names) not in ([applied.run.hex()], [applied.name]):
                raise NotFound("there is no such register any more; cdmctl snapshot shows the one that was applied last")
            return await (register.approve() if command == "approve" else register.reject())

    async def erase(self, values: Collection[str], source: Source) -> int:
        """Forget rows whose key has one of these values; how many. It waits for a register that is being applied."""
        async with self._lock:
            return await Register(self._how, source=source, emit=partial(durable, source)).erase(values)

    def _open(self, spool: Spool, stack: ExitStack) -> BinaryIO:
        how = self._packing
        packed = stack.enter_context(spool.reader())
        opened = unpacked(packed, bounds=how.bounds, entry=how.entry, gpg=how.gpg, password=how.password)
        return stack.enter_context(opened)


class _Bounded:
    """Journals, and stops a register of which too many records are refused: it was not applied, and nothing is removed."""

    def __init__(self, source: Source, progress: Progress, most: Share) -> None:
        self._source, self._progress, self._most = source, progress, most
        self._bad = 0
        self._records = 0

    async def emit(self, records: Sequence[Record], state: Mapping[bytes, bytes | None]) -> Sequence[Verdict]:
        if self._progress.stage == "comparing":
            self._records = self._progress.done
        verdicts = await durable(self._source, records, dict(state))
        self._bad += sum(isinstance(one, Rejected) for one in verdicts)
        if self._most.exceeded(self._bad, of=self._records):
            raise Unreadable(
                f"{self._bad} of its {self._records} records cannot be taken: cdmctl dead-letters list "
                f"--connector {self._source.name} says why; no row was removed"
            )
        return verdicts


def _counted(entry: Entry, outcome: Outcome) -> Entry:
    changes = outcome.added + outcome.changed + outcome.removed + outcome.restored
    return msgspec.structs.replace(
        entry,
        record=outcome.records,
        records=outcome.records,
        taken=changes,
        filtered=outcome.filtered,
        bad=outcome.rejected,
        reason=f"{outcome.held} removals are held: {outcome.reason}" if outcome.held else "",
    )
