"""The REST connector: an API declared in TOML. Every stream is read by a task of its own, all within one budget.

Not here: reading one stream (``reading``), what the settings cannot be (``checking``), requests and credentials (``fetching``).
"""

import random
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar, Final

import anyio
import msgspec

from cdmd.connectors.fetching import Fetcher
from cdmd.connectors.polling.planning import Wants
from cdmd.connectors.rest import checking, sampling, standing
from cdmd.connectors.rest.looks import Pace, wants
from cdmd.connectors.rest.reading import Reader
from cdmd.connectors.rest.settings import RestSettings
from cdmd.connectors.rest.streams import Stream, streams
from cdmd.contracts import Shelf, Source, StreamFrame, StreamOutlook
from cdmd.errors import BadArguments, ConfigInvalid
from cdmd.kit.quiet import Quiet

_BREATH: Final = 0.2
_FAR: Final = 600.0


class Rest:
    """A pull connector for APIs that speak HTTP."""

    Settings: ClassVar[type[msgspec.Struct]] = RestSettings
    type: ClassVar[str] = "rest"

    def __init__(self, name: str, settings: RestSettings) -> None:
        problems = self.check(name, settings)
        if problems:
            raise ConfigInvalid([f"connectors.{name}.{problem}" for problem in problems])
        self.settings = settings
        self._streams = streams(settings)
        self._moved = anyio.Event()
        self._readers: list[Reader] = []
        self._fetcher: Fetcher | None = None
        self._running, self._placing = False, anyio.Lock()

    @classmethod
    def check(cls, name: str, settings: RestSettings) -> list[str]:
        """Every mistake that the structs cannot express, as ``key: what is wrong``."""
        return checking.problems(settings)

    @property
    def declared(self) -> Mapping[str, Stream]:
        """Every stream, compiled."""
        return self._streams

    @property
    def streams(self) -> Mapping[str, StreamFrame]:
        """See ``cdmd.contracts.StreamingConnector``."""
        return {name: stream.frame for name, stream in self._streams.items()}

    @property
    def exchanging(self) -> bool:
        """Whether it is not to be cut off: a refresh token is being exchanged."""
        return self._fetcher is not None and self._fetcher.exchanging

    def fetcher(self, source: Source) -> Fetcher:
        """What all its streams fetch with."""
        settings = self.settings
        return Fetcher(
            source,
            origin=next(iter(self._streams.values())).asking.origin,
            auth=settings.auth,
            limits=settings.rates,
            timeout=settings.timeout.seconds,
            max_body=settings.max_body.bytes,
            free=(304,) if settings.free_304 else (),
        )

    async def run(self, source: Source) -> None:
        """Read all streams until cancelled."""
        fetcher, readers = self.fetcher(source), list[Reader]()
        self._fetcher = fetcher
        self._readers, wanted = readers, wants(self.settings, source.freshness)
        child = Wants(quiet=Quiet(self.settings.quiet))
        for name, stream in self._streams.items():
            pace = Pace(f"{source.name}.{name}", wanted.get(name, child), budget=fetcher.budget, key=stream.pace)
            readers.append(Reader(stream, source, fetcher, pace=pace, moved=self._move, chance=random.random))
        async with self._placing:
            self._running = True
        try:
            async with anyio.create_task_group() as group:
                for reader in readers:
                    if reader.stream.settings.parent is None:
                        group.start_soon(reader.run)
                    else:
                        group.start_soon(reader.work_off, lambda: self._moved)
                group.start_soon(self._speak, source, fetcher, readers)
        finally:
            self._running = False
            source.working(None)

    @property
    def shelves(self) -> Sequence[Shelf]:
        """See ``cdmd.contracts.ShowingConnector``."""
        return (standing.POSITIONS,)

    async def rows(self, kind: str, source: Source, *, state: str | None, limit: int) -> list[dict[str, Any]]:
        """Where its streams stand."""
        found = await standing.rows(self._streams, source)
        return [row for row in found if state in {None, row["state"]}][:limit]

    async def command(self, kind: str, command: str, source: Source, *, names: Sequence[str]) -> int:
        """Let streams go on elsewhere. Raises ``BadArguments`` while it runs, and what ``standing.move`` raises."""
        async with self._placing:
            if self._running:
                raise BadArguments(
                    f"{source.name} runs; hold it back first (cdmctl pause {source.name}), and let it go on afterwards"
                )
            return await standing.move(self._streams, source, command, names)

    @property
    def waiting_since(self) -> datetime | None:
        """Since when a stream has not been looked at."""
        return min((one.looked for one in self._readers if one.looked is not None), default=None)

    @property
    def outlook(self) -> list[StreamOutlook]:
        """See ``cdmd.contracts.LookingConnector``."""
        return [reader.outlook for reader in self._readers]

    async def sample(self, source: Source, tell: Callable[[str], None], *, given: Path | None = None) -> None:
        """See ``cdmd.contracts.SamplingConnector``: two pages of every stream, or the answer in the file ``given``."""
        await sampling.sample(self._streams, self.fetcher(source), source, tell, given=given)

    # ---- what it says --------------------------------------------------------------------------------------------------

    async def _speak(self, source: Source, fetcher: Fetcher, readers: list[Reader]) -> None:
        """Say in ``status`` what goes on and what is waited for, and hurry when an administrator asks for a look now."""
        while True:
            moved, (until, reason) = self._moved, _outlook(source, fetcher, readers)
            source.unwell("; ".join(_named(readers, one, one.trouble) for one in readers if one.trouble) or None)
            source.working(reason)
            if all(one.due is None for one in readers):  # nothing is known yet of whether it works
                await moved.wait()
                continue
            async with anyio.create_task_group() as group:
                group.start_soon(self._idle, source, until, reason, readers, group.cancel_scope)
                await moved.wait()
                group.cancel_scope.cancel()
            await source.clock.sleep(_BREATH)

    async def _idle(self, source: Source, until: datetime, reason: str, readers: list[Reader], over: anyio.CancelScope) -> None:
        await source.idle(until, reason)
        if source.clock.now() < until:
            for reader in readers:
                reader.hurry()
        over.cancel()

    def _move(self) -> None:
        self._moved.set()
        self._moved = anyio.Event()


def _outlook(source: Source, fetcher: Fetcher, readers: list[Reader]) -> tuple[datetime, str]:
    """Until when, and in which words, it waits."""
    now = source.clock.now()
    busy = [one for one in readers if one.doing is not None]
    if busy:
        at, why = fetcher.budget.next_at()
        seconds = 0.0 if at is None else at - source.clock.monotonic()
        said = "; ".join(_named(readers, one, one.doing or "") for one in busy)
        return now + timedelta(seconds=max(1.0, seconds)), f"{said}; {why}" if seconds > 1.0 else said
    following = min((one for one in readers if one.due is not None), key=lambda one: one.due or now, default=None)
    if following is None:
        return now + timedelta(seconds=_FAR), "it starts"
    short = [_named(readers, one, one.shortfall) for one in readers if one.shortfall]
    return following.due or now, "; ".join([_named(readers, following, following.reason), *short])


def _named(readers: list[Reader], one: Reader, what: str) -> str:
    return what if len(readers) == 1 else f"{one.stream.name}: {what}"
