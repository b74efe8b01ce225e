"""The watcher of a place with files: look, let settle, take what is whole, tidy up, rest. The place itself is handed in.

Not here: what to do about a file (``watching``), what its content comes to (``contents``), what is shown (``showing``).
"""

import secrets
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import aclosing
from datetime import datetime
from pathlib import Path
from typing import Any

import anyio
import msgspec
import structlog

from cdmd.connectors.durable import durable
from cdmd.connectors.files import erasing, ledger, registering, sampling, showing
from cdmd.connectors.files.area import Area, FileFault, Listed
from cdmd.connectors.files.completeness import Completeness, Waits
from cdmd.connectors.files.contents import Contents
from cdmd.connectors.files.ledger import BLOCKED, DONE, DUPLICATE, GONE, OVER, PARSING, SEEN, Entry, Ledger
from cdmd.connectors.files.looking import MOST_AT_ONCE, Found, Looked, dated_ahead
from cdmd.connectors.files.names import Patterns
from cdmd.connectors.files.schedule import Schedule
from cdmd.connectors.files.settings import FileSettings, problems
from cdmd.connectors.files.taking import NotWhole, Progress, finished
from cdmd.connectors.files.tidying import Tidying
from cdmd.connectors.files.watching import Close, Leave, Moment, Note, Settle, Take, Tidy, decide, sighted
from cdmd.contracts import Shelf, Source
from cdmd.errors import BadArguments, ConfigInvalid
from cdmd.kit.daily import At
from cdmd.models import to_micros


class Watcher(ABC):
    """What every connector of files is; a subclass makes the ``area``."""

    def __init__(self, name: str, settings: Any) -> None:
        found = self.check(name, settings)
        if found:
            raise ConfigInvalid([f"connectors.{name}.{problem}" for problem in found])
        self.settings: FileSettings = settings
        self._stable = settings.stable_for.seconds
        self.session, self.listings = secrets.token_bytes(8), 0
        self.lock = anyio.Lock()
        self.progress: Progress | None = None
        self.waiting: frozenset[bytes] = frozenset()
        self.contents = Contents(settings, lock=self.lock)
        self._register = self.contents.register
        self._tidying = Tidying(settings.after)
        signs = [text.replace("{name}", "*").replace("{stem}", "*") for text in (settings.marker, settings.checksum) if text]
        self.wanted = Patterns([*settings.files, *signs])
        self.skipped = (self._tidying.folder,)
        self._log: Any = structlog.get_logger().bind(connector=name)

    @classmethod
    def check(cls, name: str, settings: Any) -> list[str]:
        """Every mistake that the struct cannot express, as ``key: what is wrong``."""
        return problems(settings)

    @abstractmethod
    def area(self, source: Source) -> Area:
        """The place to watch."""

    # ---- looking, for as long as the daemon runs ------------------------------------------------------------------------

    async def run(self, source: Source) -> None:
        """Watch until cancelled. Raises ``SourceUnavailable`` where the place cannot be reached."""
        every = self.settings.every
        schedule = Schedule(
            source.name,
            every=None if every is None else every.seconds,
            at=At.each(self.settings.at),
            freshness=source.freshness,
            settles=self._stable,
        )
        schedule.begin(await source.get(schedule.keys), source.clock.now())
        area = self.area(source)
        try:
            while True:
                looked = await self._look(area, source)
                now = source.clock.now()
                until = schedule.next(now, arrived=looked.arrived, settling=looked.settling)
                if learned := schedule.state(looked.arrived):
                    await durable(source, [], learned)
                await area.rest((until - now).total_seconds())
                source.working(None)
                held = 0 if self._register is None else await self._register.held(source)
                await source.idle(until, looked.reason(area.denied, held=held, stable_for=self._stable))
        finally:
            source.working(None)
            self.progress, self.waiting = None, frozenset()
            await area.close()

    async def _look(self, area: Area, source: Source) -> Looked:
        self.listings += 1
        source.working("looking for files")
        complete, found = Completeness(self.settings, area), Found()
        now = self.moment(source)
        async with aclosing(area.listing()) as pages:
            async for page in pages:
                await self._page(complete.files(page), found, source, now)
        await self._missing(found, area, source)
        for path in found.tidy:
            await self._tidy(path, area, source)
        ready = sorted(found.ready)
        taken = 0
        self.waiting = frozenset(path for _, path in ready[:MOST_AT_ONCE])
        for _, path in ready:
            taken += await self._take(path, complete, source)
            self.waiting -= {path}
            if taken >= MOST_AT_ONCE:
                break
        more = taken >= MOST_AT_ONCE
        dated = dated_ahead(self.modified(found.newest), source.clock.now())
        return Looked(found.arrived, 0.0 if more else found.settling, dated)

    async def _page(self, page: Sequence[Listed], found: Found, source: Source, now: Moment) -> None:
        """Decide on some entries at once, and write what changed at once."""
        async with self.lock:
            known = await Ledger(source).known([listed.path for listed in page])
            changes: ledger.Changes = {}
            found.saw(page)
            for listed in page:
                before = known[listed.path]
                if before.open is not None:
                    found.on_their_way.add(hash(listed.path))
                match decide(listed, before, now, stable_for=self._stable):
                    case Note(entry, seconds):
                        changes |= ledger.opened(listed.path, entry)
                        found.settle(seconds)
                        found.arrived += before.open is None
                    case Close(entry):
                        changes |= ledger.closed(listed.path, entry)
                    case Settle(seconds):
                        found.settle(seconds)
                    case Take():
                        found.take(listed, all_of_them=self.settings.marker is not None or self.settings.checksum is not None)
                    case Tidy():
                        found.tidy.append(listed.path)
                    case Leave():
                        pass
            if changes:
                await durable(source, [], changes)

    async def _missing(self, found: Found, area: Area, source: Source) -> None:
        """Files on their way that a complete listing did not have left before they were read: that is said, not forgotten.

        What this look or a command noted meanwhile is judged by the next one.
        """
        async with self.lock:
            changes: ledger.Changes = {}
            async for path, entry in Ledger(source).on_their_way():
                noted = (entry.session, entry.listing) == (self.session, self.listings)
                if noted or hash(path) in found.on_their_way or any(path.startswith(folder + b"/") for folder in area.denied):
                    continue
                reason = "it left before it was read"
                if entry.state == PARSING:
                    reason = f"it left after record {entry.record} of {entry.records} was read"
                changes |= finished(path, entry, source=source, state=GONE, reason=reason)[1]
                if len(changes) >= 2 * MOST_AT_ONCE:
                    await durable(source, [], changes)
                    changes = {}
            if changes:
                await durable(source, [], changes)

    # ---- one file -------------------------------------------------------------------------------------------------------

    async def _take(self, path: bytes, complete: Completeness, source: Source) -> bool:
        """Read it, if it is all there; whether there was something to read."""
        async with self.lock:  # a command is written by now, or sees the progress
            entry = (await Ledger(source).known([path]))[path].open
            if entry is None:  # skipped meanwhile
                return False
            if (reason := complete.missing(path) or complete.too_large(entry.size, source.room())) is not None:
                if (entry.state, entry.reason) != (SEEN, reason):
                    await self._wait(path, entry, source, reason=reason, state=SEEN)
                return False
            self.progress = progress = Progress(path, source)
        try:
            entry, reason, state = await self.contents.read(path, entry, complete, source, progress)
            await self._over(path, entry, source, state=state, reason=reason)
            if state in {DONE, DUPLICATE}:
                await self._tidy(path, complete.area, source)
        except (NotWhole, Waits) as why:
            async with self.lock:
                await self._wait(path, entry, source, reason=str(why), state=SEEN if isinstance(why, NotWhole) else BLOCKED)
        except FileFault as why:
            if why.gone:
                await self._over(path, entry, source, state=GONE, reason=str(why))
            else:
                async with self.lock:
                    await self._wait(path, entry, source, reason=str(why), state=BLOCKED)
        finally:
            self.progress = None
        return True

    async def _wait(self, path: bytes, entry: Entry, source: Source, *, reason: str, state: str) -> None:
        """It stays on its way, and the ledger says why; the lock is held."""
        entry = sighted(entry, self.moment(source), reason=reason)
        tries = entry.tries + 1 if state == BLOCKED else 0
        await durable(source, [], ledger.opened(path, msgspec.structs.replace(entry, state=state, tries=tries)))

    async def _over(self, path: bytes, entry: Entry, source: Source, *, state: str, reason: str) -> None:
        entry, changes = finished(path, entry, source=source, state=state, reason=reason)
        async with self.lock:
            await durable(source, [], changes)
        self._log.info("file_finished", state=state, records=entry.records, bytes=entry.size, rejected=entry.bad)

    async def _tidy(self, path: bytes, area: Area, source: Source) -> None:
        """Do what the settings want done with a file that was read; what the other side refuses is said once."""
        known = (await Ledger(source).known([path]))[path]
        if (entry := known.over) is None or known.open is not None:  # told meanwhile to be read again
            return
        after, refused = await self._tidying.tidy(path, entry, area)
        if refused is not None:
            self._log.warning("file_stays", state=entry.state, reason="refused")
            entry = msgspec.structs.replace(entry, reason=refused)
        async with self.lock:
            changed = msgspec.structs.replace(entry, after=after)
            await durable(source, [], {OVER + path: ledger.closed(path, changed)[OVER + path]})

    async def sample(self, source: Source, tell: Callable[[str], None], *, given: Path | None = None) -> None:
        """See ``cdmd.contracts.SamplingConnector``: the file that would be read first, or the one that is given."""
        await sampling.sample(self, source, tell, given=given)

    async def erase(self, values: Collection[str], source: Source) -> int:
        """See ``cdmd.contracts.ErasingConnector``: rows of the register by their keys, else of the ledger by files' names.

        A register's ledger stays: a file that was forgotten would be applied again in place of newer ones.
        """
        if self._register is not None:
            return await self._register.erase(values, source)
        return await erasing.erase(values, source, self.lock)

    # ---- what is shown --------------------------------------------------------------------------------------------------

    @property
    def shelves(self) -> Sequence[Shelf]:
        """Its files."""
        files = Shelf(kind="files", commands=showing.COMMANDS)
        return (files,) if self._register is None else (files, Shelf(kind="snapshots", commands=registering.COMMANDS))

    async def rows(self, kind: str, source: Source, *, state: str | None, limit: int) -> Sequence[Mapping[str, Any]]:
        """See ``cdmd.contracts.ShowingConnector``."""
        if kind == "files":
            return await showing.rows(self, source, state=state, limit=limit)
        found = [] if self._register is None else await self._register.rows(source)
        return [row for row in found if state in {None, row["state"]}]

    async def command(self, kind: str, command: str, source: Source, *, names: Sequence[str]) -> int:
        """Let files be read again, or never, and held removals be or not. Raises ``NotFound`` and ``BadArguments``."""
        if kind == "snapshots" and self._register is not None:
            return await self._register.command(command, source, names=names)
        if command not in showing.COMMANDS:
            raise BadArguments(f"files can be told to: {', '.join(showing.COMMANDS)}")
        return await showing.command(self, source, command=command, names=names)

    def moment(self, source: Source) -> Moment:
        """Now, as far as files are concerned."""
        clock = source.clock
        return Moment(self.session, clock.monotonic(), to_micros(clock.now()), self.listings)

    def described(self) -> list[str]:
        """What there is to say of the place, once it was looked at."""
        return []

    @abstractmethod
    def modified(self, mtime: int) -> datetime | None:
        """A file's time of change, as the other side has it."""
