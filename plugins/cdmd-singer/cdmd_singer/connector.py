"""The connector: run the tap, store what it says with its STATE, rest, run it again from there."""

import shutil
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Final

import anyio
import anyio.to_thread
import msgspec

import cdmd
from cdmd_singer import catalog
from cdmd_singer.gathering import STATE_KEY, Gathered
from cdmd_singer.messages import Line
from cdmd_singer.process import Limits, Tap, outcome, running, silent
from cdmd_singer.settings import SingerSettings, config_of, problems

_LINGER: Final = 0.25
_LARGEST_CATALOG: Final = 64 * 2**20


class Singer:
    """A pull connector for every program that speaks Singer."""

    Settings: ClassVar[type[msgspec.Struct]] = SingerSettings
    type: ClassVar[str] = "singer"

    def __init__(self, name: str, settings: SingerSettings) -> None:
        found = problems(settings)
        if found:
            raise cdmd.ConfigInvalid([f"connectors.{name}.{problem}" for problem in found])
        self.settings = settings
        self._limits = Limits(settings.timeout.seconds, settings.memory.bytes, settings.max_line.bytes)

    @property
    def streams(self) -> Mapping[str, cdmd.StreamFrame]:
        """Every stream by its name."""
        return {
            name: cdmd.StreamFrame(event=stream.event, freshness=stream.freshness.seconds if stream.freshness else None)
            for name, stream in self.settings.streams.items()
        }

    async def run(self, source: cdmd.Source) -> None:
        """Run the tap again and again until cancelled. Raises ``cdmd.SourceUnavailable`` where a run fails."""
        every = self.settings.every
        while True:
            source.unwell(await self.once(source))
            await source.idle(source.clock.now() + timedelta(seconds=every.seconds), f"every {every}")

    async def sample(self, source: cdmd.Source, tell: Callable[[str], None], *, given: Path | None = None) -> None:
        """One run, until enough was seen; a tap changes nothing at the other side."""
        if given is not None:
            raise cdmd.SourceBlocked("a tap is tried by running it; leave --input out")
        tell(await self.once(source) or "the tap ended well")

    async def once(self, source: cdmd.Source) -> str | None:
        """One whole run; in words what is not well about one that ended. Raises ``cdmd.SourceUnavailable``."""
        with anyio.move_on_after(self.settings.max_run.seconds) as deadline:
            try:
                return await self._once(source)
            finally:
                source.working(None)
        if deadline.cancelled_caught:
            raise cdmd.SourceUnavailable(f"the run took longer than {self.settings.max_run} (max_run) and was ended")
        return None

    async def _once(self, source: cdmd.Source) -> str | None:
        source.working("it prepares the tap")
        async with _folder(source) as folder:
            arguments = await self._prepared(source, folder)
            gathered = Gathered(self.settings.streams, key=source.secret("record"))
            async with self._started(arguments, folder, self._limits) as tap:
                await self._read(tap, gathered, source)
        return _short(gathered, tap)

    async def _prepared(self, source: cdmd.Source, folder: Path) -> list[str]:
        """The files that the tap reads, as its arguments."""
        arguments = ["--config", await _written(folder / "config.json", config_of(self.settings))]
        if self.settings.discover:
            chosen = await self._choose(arguments, folder)
            arguments += [self.settings.catalog_option, await _written(folder / "catalog.json", chosen)]
        known = await source.get([STATE_KEY])
        if STATE_KEY in known:
            arguments += ["--state", await _written(folder / "state.json", msgspec.Raw(known[STATE_KEY]))]
        return arguments

    def _started(self, arguments: list[str], folder: Path, limits: Limits) -> AbstractAsyncContextManager[Tap]:
        command = [*self.settings.command, *arguments]
        return running(command, limits, folder=folder, environment=self.settings.environment)

    async def _choose(self, arguments: list[str], folder: Path) -> dict[str, Any]:
        """What the tap has, with the wanted streams selected. Raises ``cdmd.SourceBlocked`` where it lacks one."""
        found, size, limits = list[bytes](), 0, msgspec.structs.replace(self._limits, line=_LARGEST_CATALOG)
        async with self._started([*arguments, "--discover"], folder, limits) as tap:
            while (line := await self._next(tap)) is not None and not line.cut and size < _LARGEST_CATALOG:
                found.append(line.content)
                size += len(line.content)
            wrong = None if line is not None else outcome(await tap.end())
            found.append(tap.rest())
        if wrong:
            raise cdmd.SourceUnavailable(f"discovery: {wrong}")
        try:
            whole = msgspec.json.decode(b"\n".join(found), type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise cdmd.SourceUnavailable("discovery: the tap gave no catalog; is it one that needs discover = false?") from None
        lacking = sorted(self.settings.streams.keys() - set(catalog.names_of(whole)))
        if lacking:
            there = ", ".join(catalog.names_of(whole)[:20]) or "none"
            raise cdmd.SourceBlocked(f"the tap has no stream {', '.join(lacking)}; there are {there}")
        return catalog.select(whole, self.settings.streams)

    async def _read(self, tap: Tap, gathered: Gathered, source: cdmd.Source) -> None:
        """Store all that it says, then look how it ended. What came whole before a bad end is stored, too."""
        try:
            while (line := await self._next_stored(tap, gathered, source)) is not None:
                now = source.clock.now()
                gathered.take(line, now)
                if gathered.due(now):
                    await _store(gathered, source)
            wrong = outcome(await self._end(tap))
            if tap.rest() and wrong is None:  # a tap that ended well may leave out the last line's end
                gathered.take(Line(tap.rest()), source.clock.now())
            elif tap.rest():
                gathered.refused["line_cut_off"] += 1
        finally:
            for reason, count in gathered.refused.items():
                source.refuse(count, reason)
        await _store(gathered, source)
        if wrong:
            raise cdmd.SourceUnavailable(f"{wrong}; records before that: {gathered.records.total()}")

    async def _next_stored(self, tap: Tap, gathered: Gathered, source: cdmd.Source) -> Line | None:
        """The next line; what waits is stored first where that takes a moment."""
        try:
            return await tap.next(within=None if gathered.empty else _LINGER)
        except TimeoutError:
            if gathered.empty:
                raise silent(self._limits) from None
        await _store(gathered, source)
        return await self._next(tap)

    async def _next(self, tap: Tap) -> Line | None:
        try:
            return await tap.next()
        except TimeoutError:
            raise silent(self._limits) from None

    async def _end(self, tap: Tap) -> int:
        try:
            return await tap.end()
        except TimeoutError:
            raise silent(self._limits) from None


async def _store(gathered: Gathered, source: cdmd.Source) -> None:
    """Records and the STATE after them in one go: both are on disk, or neither."""
    if not gathered.empty:
        records, state = gathered.take_out()
        await source.emit(records, state=state)
        source.working(f"records that the tap brought in this run: {gathered.records.total()}")


def _short(gathered: Gathered, tap: Tap) -> str | None:
    """Where the tap says that it wrote more than came. It may count streams of its own that nobody wants."""
    found = [
        f"the tap counted {said} records of {stream}, {gathered.records[stream]} came"
        for stream, said in sorted(tap.counted.items())
        if stream in gathered.records and said > gathered.records[stream]
    ]
    return "; ".join(found) or None


@asynccontextmanager
async def _folder(source: cdmd.Source) -> AsyncIterator[Path]:
    """A private folder for one run: secrets are in it, so it goes whatever happens."""
    folder = source.scratch / "singer"
    await anyio.Path(folder).mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        yield folder
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(partial(shutil.rmtree, folder, ignore_errors=True))


async def _written(path: Path, content: Any) -> str:
    """A file for the tap that nobody else may read; its path."""
    file = anyio.Path(path)
    await file.unlink(missing_ok=True)
    await file.touch(mode=0o600)
    await file.write_bytes(msgspec.json.encode(content))
    return str(path)
