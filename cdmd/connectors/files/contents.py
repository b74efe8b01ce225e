"""What the content of one file comes to: nothing where it came before, records, or the changes of a register.

Not here: the single steps from the other side into the journal (``taking``), and which file, and when (``connector``).
"""

from collections import Counter
from collections.abc import Callable
from typing import Final

import anyio
import anyio.to_thread
import msgspec

from cdmd.connectors.durable import durable
from cdmd.connectors.files import ledger
from cdmd.connectors.files.completeness import Completeness
from cdmd.connectors.files.ledger import DONE, DUPLICATE, PARSING, QUARANTINED, Entry, Ledger
from cdmd.connectors.files.names import shown
from cdmd.connectors.files.registering import EMPTY, Registering
from cdmd.connectors.files.settings import FileSettings, Share
from cdmd.connectors.files.spool import Spool
from cdmd.connectors.files.taking import Emitting, Packing, Progress, Reading, Unreadable, check, fetch
from cdmd.connectors.files.watching import REPLACES
from cdmd.contracts import Source
from cdmd.errors import ReaderEnded

_TRIES: Final = 5
"""As often what reads a content may be ended from outside: where the service has too little memory it always is."""


class Contents:
    """Of the files of one watcher, whose ``lock`` is held while the ledger is written. ``register``: of whole registers."""

    def __init__(self, settings: FileSettings, *, lock: anyio.Lock) -> None:
        self._lock, self._format, self._packing = lock, settings.format.make(), Packing.of(settings)
        self._most = Share.parse(settings.max_bad)
        self._ended = Counter[bytes]()
        snapshot = settings.mode == "snapshot"
        self.register = Registering(settings, packing=self._packing, most=self._most) if snapshot else None

    async def read(
        self,
        path: bytes,
        entry: Entry,
        complete: Completeness,
        source: Source,
        progress: Progress,
        *,
        peek: Callable[[Spool], None] | None = None,
    ) -> tuple[Entry, str, str]:
        """Fetch, compare, check and emit; the file's entry as it is then, why, and its state.

        ``peek`` looks at the content before, in a worker thread. Raises ``NotWhole``, ``Waits`` and ``FileFault``.
        """
        if entry.size == 0:
            return (entry, EMPTY, QUARANTINED) if self.register else (entry, "it is empty", DONE)
        spool = await Spool.create(source.scratch)
        try:
            await fetch(complete.area, path, entry.version, spool=spool, source=source, progress=progress)
            await complete.compare(path, spool)
            if peek is not None:
                await anyio.to_thread.run_sync(peek, spool)
            entry = _with_digest(entry, spool.digest)
            if (earlier := await self._earlier(path, entry, source)) is not None:
                return entry, earlier, DONE if earlier == "" else DUPLICATE
            try:
                if self.register is not None:
                    entry = await self.register.apply(path, entry, spool, source=source, progress=progress)
                    return entry, entry.reason, DONE
                done = await self._emit(path, entry, spool, source, progress)
                return done, done.reason if done.reason.startswith(REPLACES) else "", DONE
            except (Unreadable, ReaderEnded) as why:
                reason = str(why)
                if isinstance(why, ReaderEnded):
                    if not self._is_given_up(entry.digest):
                        raise
                    reason = f"{why}; it was tried {_TRIES} times, and is again with: cdmctl files retry"
                current = (await Ledger(source).known([path]))[path].open or entry
                return _with_digest(current, spool.digest), reason, QUARANTINED
        finally:
            await anyio.to_thread.run_sync(spool.close)

    def _is_given_up(self, digest: bytes) -> bool:
        """Whether what read this content was ended for the last time that it is tried; whoever retries the file begins anew."""
        self._ended[digest] += 1
        return self._ended[digest] >= _TRIES and bool(self._ended.pop(digest))

    async def _earlier(self, path: bytes, entry: Entry, source: Source) -> str | None:
        """Why the content is not read: it came before; nothing where only its end was not written down. None: it is read.

        A register that an earlier one is again is no duplicate: only of the last one it is.
        """
        if self.register is None:
            if entry.again or entry.record:
                return None
            earlier = await Ledger(source).content(entry.digest)
            return None if earlier is None else f"its content came before, as {shown(earlier.path) or 'another file'}"
        if await self.register.last(source) != entry.digest:
            async with self._lock:
                await durable(source, [], ledger.opened(path, msgspec.structs.replace(entry, state=PARSING)))
            return None
        return "" if entry.state == PARSING else "it is the register that was applied last"

    async def _emit(self, path: bytes, entry: Entry, spool: Spool, source: Source, progress: Progress) -> Entry:
        async with Reading(spool, self._format, self._packing) as reading:
            checked = await check(reading, progress, most=self._most)
        entry = msgspec.structs.replace(entry, state=PARSING, records=checked.records)
        emitting = Emitting(path, entry, source=source, progress=progress, most=self._most)
        async with Reading(spool, self._format, self._packing) as reading:
            return await emitting.all(reading)


def _with_digest(entry: Entry, digest: bytes) -> Entry:
    """The entry for that content: where it is another one than was begun, it starts from its first record."""
    if entry.digest == digest:
        return entry
    begun = entry.record > 0
    reason = f"{REPLACES} {entry.record}" if begun else entry.reason
    return msgspec.structs.replace(
        entry, digest=digest, reason=reason, record=0, records=0, taken=0, filtered=0, bad=0,
        generation=entry.generation + begun,
    )  # fmt: skip
