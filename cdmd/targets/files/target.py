"""Targets of batch files: at each moment that is due one file is made, put in its place, and then counts as delivered.

The order of things: rows are spooled, the file is put under its final name, its manifest follows, then what it held is noted.
Interrupted before that, the same file is made again under the same name.
"""

import builtins
import secrets as randomness
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterable, Mapping
from datetime import datetime, timedelta
from importlib import import_module
from typing import Any, ClassVar, Final

import anyio.to_thread
import msgspec
import structlog
from typing_extensions import override

from cdmd.contracts import Outlet
from cdmd.errors import ConfigInvalid, SourceUnavailable, TemplateFault, ValueRefused
from cdmd.kit import ssh_hosts
from cdmd.kit.backoff import Backoff
from cdmd.kit.daily import At
from cdmd.models import Delivered, Never
from cdmd.targets.files.comparing import PART, Comparison, Entry, digest, packed, unpacked
from cdmd.targets.files.places import FolderPlace, Place
from cdmd.targets.files.rows import encoded
from cdmd.targets.files.settings import (
    BatchSettings,
    FolderTargetSettings,
    SftpTargetSettings,
    file_name,
    problems,
)
from cdmd.targets.files.slots import Progress, Slots
from cdmd.targets.files.writing import Finished, Spool
from cdmd.targets.seen import of_delivery

_PAGE: Final = 1_000
_AGAIN: Final = Backoff(first=30.0, cap=1_800.0)
_PROGRESS: Final = "progress"
_KEY: Final = "key of the digests"


class BatchTarget(ABC):
    """A target that makes files. ``place`` is where they go."""

    type: ClassVar[str]
    Settings: ClassVar[builtins.type[msgspec.Struct]]

    def __init__(self, name: str, settings: Any) -> None:
        self._name, self._settings = name, settings
        if found := self.check(name, settings):
            raise ConfigInvalid([f"targets.{name}.{problem}" for problem in found])
        every = settings.every
        self._slots = Slots(at=At.each(settings.at), every=None if every is None else every.seconds)
        self._place = self.place()
        self._log: Any = structlog.get_logger()

    @classmethod
    def check(cls, name: str, settings: BatchSettings) -> list[str]:
        """What a struct cannot express."""
        return problems(settings)

    @abstractmethod
    def place(self) -> Place:
        """Where the files go."""

    async def run(self, outlet: Outlet) -> None:
        """Make each file that is due, until cancelled."""
        progress, last, failures = await self._begin(outlet), "", 0
        asked: datetime | None = None
        while True:
            now = outlet.clock.now()
            progress = progress.begun(self._slots, now)  # the clock may have been wrong
            slot = progress.owed(self._slots, now) or asked
            if slot is None:
                upcoming = self._slots.next(now)
                await outlet.idle(upcoming, f"{last}next file {file_name(self._settings, self._name, upcoming)}")
                asked = progress.unasked(outlet.clock.now()) if now <= outlet.clock.now() < upcoming else None
                continue
            try:
                progress, last = await self._make(outlet, slot, progress)
            except (SourceUnavailable, ConfigInvalid, ValueRefused, OSError) as error:
                failures += 1
                again = outlet.clock.now() + timedelta(seconds=_AGAIN.ceiling(failures))
                name = file_name(self._settings, self._name, slot)
                outlet.unwell(f"{name} is not delivered: {_reason(error)}")
                await outlet.idle(again, f"trying again to deliver {name}")
                continue
            failures, asked = 0, None

    async def _begin(self, outlet: Outlet) -> Progress:
        kept = await outlet.get(_PROGRESS)
        before = Progress() if kept is None else msgspec.json.decode(kept, type=Progress)
        if before.settling is not None:
            before = await self._settled(outlet, before)
        progress = before.begun(self._slots, outlet.clock.now())
        if progress != before:
            await _keep(outlet, progress)
        return progress

    # ---- one file ------------------------------------------------------------------------------------------------------

    async def _make(self, outlet: Outlet, slot: datetime, progress: Progress) -> tuple[Progress, str]:
        """The file of that moment; returns the progress with it, and what is to be said of it."""
        name, making = file_name(self._settings, self._name, slot), _Making(outlet, self._settings)
        await making.begin()
        try:
            if self._settings.audience is None:
                upto, kept = await making.waiting(), progress.kept
            else:
                upto, kept = None, await making.members(self._settings.audience, progress.kept)
            if making.spool.rows or self._settings.empty:
                await self._put(outlet, name, slot, await making.finish())
        finally:
            await making.end()
        owed = progress.slot if self._slots.last(slot) != slot else slot
        progress = Progress(slot=owed, written=slot, settling=upto, kept=kept)
        await _keep(outlet, progress)
        if upto is not None:
            progress = await self._settled(outlet, progress)
        rows = making.spool.rows
        outlet.unwell(None if making.fault is None else f"{name} lacks {making.faults} rows: {making.fault}")
        self._log.info("batch_file_written", target=self._name, file=name, rows=rows)
        return progress, f"{name} with {rows:,} rows was written; "

    async def _put(self, outlet: Outlet, name: str, slot: datetime, finished: Finished) -> None:
        async with self._place.opened(outlet) as opened:
            await opened.put(finished.path, name)
            if self._settings.manifest:
                path = finished.path.with_name("manifest")
                await anyio.to_thread.run_sync(path.write_bytes, _manifest(self._settings, name, slot, finished))
                await opened.put(path, f"{name}.manifest.json")

    async def _settled(self, outlet: Outlet, progress: Progress) -> Progress:
        """Note of all that the last file held that it is delivered; what no row could be made of is set aside."""
        after, upto = 0, progress.settling or 0
        making = _Making(outlet, self._settings)
        while rows := [one for one in await outlet.waiting(limit=_PAGE, after=after) if one.n <= upto]:
            faults = {one.n: fault for one in rows if (fault := making.fault_of(of_delivery(one))) is not None}
            await outlet.settle([one for one in rows if one.n not in faults], Delivered())
            for one in rows:
                if one.n in faults:
                    await outlet.settle([one], Never(reason=faults[one.n]))
            after = rows[-1].n
        progress = msgspec.structs.replace(progress, settling=None)
        await _keep(outlet, progress)
        return progress


class _Making:
    """A file in the making. ``faults`` of its rows could not be made, for ``fault`` the first time."""

    spool: Spool

    def __init__(self, outlet: Outlet, settings: BatchSettings) -> None:
        self._outlet, self._settings = outlet, settings
        self._columns = Spool.columns_of(settings)
        self.faults = 0
        self.fault: str | None = None

    async def begin(self) -> None:
        """Make room for rows. Raises OSError."""
        self.spool = await anyio.to_thread.run_sync(Spool, self._outlet.scratch, self._settings)

    async def finish(self) -> Finished:
        """The file. Raises OSError and ``SourceUnavailable``."""
        return await anyio.to_thread.run_sync(self.spool.finish)

    async def end(self) -> None:
        """Leave nothing behind."""
        await anyio.to_thread.run_sync(self.spool.remove)

    async def waiting(self) -> int | None:
        """Spool all that waits; up to which place that is."""
        after: int | None = None
        while page := await self._outlet.waiting(limit=_PAGE, after=after or 0):
            await self._add(self._rows(of_delivery(one) for one in page))
            after = page[-1].n
        return after

    async def members(self, audience: str, kept: tuple[int, int]) -> tuple[int, int]:
        """Spool the members, or what changed among them since the register ``kept``; which register is the new one."""
        if self._settings.mode == "full":
            async for page in _pages(self._outlet, audience):
                await self._add(self._rows(profile for _, profile in page))
            return kept
        return await self._changes(audience, kept)

    async def _changes(self, audience: str, kept: tuple[int, int]) -> tuple[int, int]:
        generation, parts, entries = 1 - kept[0], 0, list[Entry]()
        secret, comparison = await _secret(self._outlet), Comparison(_register(self._outlet, kept))
        async for page in _pages(self._outlet, audience):
            rows: list[dict[str, Any]] = []
            for key, profile in page:
                row = self._row(profile)
                if row is None:
                    continue
                entry = Entry(key, profile["id"], digest(encoded(row), secret))
                removed, change = await comparison.of(entry)
                rows += [_removed(public) for public in removed]
                rows += [] if change is None else [{"change": change, "id": entry.public, **row}]
                entries.append(entry)
                if len(entries) >= PART:
                    parts, entries = await self._keep_part(generation, parts, entries), []
            await self._add(rows)
        await self._add([_removed(public) for public in await comparison.rest()])
        return generation, await self._keep_part(generation, parts, entries) if entries else parts

    async def _keep_part(self, generation: int, number: int, entries: list[Entry]) -> int:
        await self._outlet.put(_part(generation, number), packed(entries))
        return number + 1

    async def _add(self, rows: Iterable[Mapping[str, Any]]) -> None:
        await anyio.to_thread.run_sync(self.spool.add, list(rows))

    def _rows(self, told: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
        return [row for one in told if (row := self._row(one)) is not None]

    def _row(self, told: Mapping[str, Any]) -> dict[str, Any] | None:
        try:
            return self._columns.row(told)
        except TemplateFault as fault:
            self.faults, self.fault = self.faults + 1, self.fault or str(fault)
            return None

    def fault_of(self, told: Mapping[str, Any]) -> str | None:
        """Why no row can be made of it."""
        try:
            self._columns.row(told)
        except TemplateFault as fault:
            return str(fault)
        return None


async def _pages(outlet: Outlet, audience: str) -> AsyncIterator[list[tuple[int, Mapping[str, Any]]]]:
    after: int | None = 0
    while after is not None:
        members, after = await outlet.members(audience, after=after, limit=_PAGE)
        yield [(one.key, one.profile) for one in members]


def _removed(public: str) -> dict[str, Any]:
    return {"change": "removed", "id": public}


async def _register(outlet: Outlet, kept: tuple[int, int]) -> AsyncIterator[Entry]:
    """The register of the last file. Where a part is not there, those in it count as new."""
    generation, parts = kept
    for number in range(parts):
        part = await outlet.get(_part(generation, number)) or ""
        for entry in unpacked(part):
            yield entry


def _part(generation: int, number: int) -> str:
    return f"register {generation}.{number}"


async def _secret(outlet: Outlet) -> bytes:
    kept = await outlet.get(_KEY)
    if kept is None:
        kept = randomness.token_hex(32)
        await outlet.put(_KEY, kept)
    return bytes.fromhex(kept)


async def _keep(outlet: Outlet, progress: Progress) -> None:
    await outlet.put(_PROGRESS, msgspec.json.encode(progress).decode())


def _manifest(settings: BatchSettings, name: str, slot: datetime, finished: Finished) -> bytes:
    about: dict[str, Any] = {
        "file": name, "bytes": finished.bytes, "sha256": finished.sha256, "rows": finished.rows, "time": slot,
        "format": settings.format, "compress": settings.compress, "encrypted": settings.encrypt is not None,
    }  # fmt: skip
    if settings.audience is not None:
        about |= {"audience": settings.audience, "mode": settings.mode}
    return msgspec.json.format(msgspec.json.encode(about), indent=2) + b"\n"


def _reason(error: Exception) -> str:
    return f"no place for it on this machine ({error.strerror})" if isinstance(error, OSError) else str(error)


class FolderFileTarget(BatchTarget):
    """Batch files in a folder of this machine."""

    type: ClassVar[str] = "folder"
    Settings: ClassVar[builtins.type[msgspec.Struct]] = FolderTargetSettings

    @override
    def place(self) -> Place:
        return FolderPlace(self._settings)


class SftpFileTarget(BatchTarget):
    """Batch files in an sftp area."""

    type: ClassVar[str] = "sftp"
    Settings: ClassVar[builtins.type[msgspec.Struct]] = SftpTargetSettings

    @classmethod
    @override
    def check(cls, name: str, settings: BatchSettings) -> list[str]:
        assert isinstance(settings, SftpTargetSettings)  # noqa: S101 - its own settings
        return [*problems(settings), *ssh_hosts.mistakes(settings)]

    @override
    def place(self) -> Place:
        sftp: Any = import_module("cdmd.targets.files.sftp")  # with asyncssh, which takes long to import
        place: Place = sftp.SftpPlace(self._settings, key=f"targets.{self._name}")
        return place
