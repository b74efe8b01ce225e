"""A watcher driven look by look: its source keeps what it emits, its clock moves when it waits, it rests until it is told."""

import json
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import anyio
import anyio.lowlevel
import msgspec

from cdmd.config.schema import ConnectorFrame, EventSettings
from cdmd.connectors.files.connector import Watcher
from cdmd.connectors.files.places import FolderFiles
from cdmd.connectors.files.settings import FolderSettings
from cdmd.contracts import ChosenFormat
from cdmd.errors import FormatFault
from cdmd.kit.clock import SystemClock
from cdmd.kit.quantities import Duration
from cdmd.models import Fault, Row
from cdmd.testing import RecordingSource

FRAME = ConnectorFrame(
    type="folder",
    event=EventSettings(type="customer.seen", identifiers={"email": "{email}"}, data={"n": "{n}", "file": "{_file.name}"}),
)
DAMAGED = b"<this file is damaged as a whole>\n"


class QuickClock(SystemClock):
    """The real time and what was slept on top of it: sleeping takes none."""

    def __init__(self) -> None:
        super().__init__()
        self.slept = 0.0

    def now(self) -> datetime:
        return super().now() + timedelta(seconds=self.slept)

    def monotonic(self) -> float:
        return super().monotonic() + self.slept

    async def sleep(self, seconds: float) -> None:
        self.slept += seconds
        await anyio.lowlevel.checkpoint()


class Lines:
    """A format for these tests: a JSON object a line; DAMAGED as the last line spoils the whole file."""

    name: ClassVar[str] = "lines"

    class Settings(msgspec.Struct, frozen=True):
        pass

    def __init__(self, settings: Any) -> None:
        pass

    def rows(self, stream: BinaryIO) -> Iterator[Row]:
        for place, line in enumerate(stream, 1):
            if line == DAMAGED:
                raise FormatFault("damaged", f"line {place} says that it is damaged")
            try:
                yield Row(place, place, json.loads(line))
            except ValueError:
                yield Row(place, place, None, Fault("not_json", "the line is no JSON"), line)


class SteppedSource(RecordingSource):
    """Rests in ``idle`` until the next ``look``; ``stops`` crashes in the ``emit`` of that number, durable or not."""

    def __init__(self, **given: Any) -> None:
        super().__init__("sup", **{"frame": FRAME, "clock": QuickClock(), **given})
        self.resting, self.on = anyio.Event(), anyio.Event()
        self.reason, self.until = "", datetime(1970, 1, 1, tzinfo=UTC)
        self.emits = 0
        self.stops: dict[int, bool] = {}
        self.space = 2**40

    async def idle(self, until: datetime, reason: str) -> None:
        self.reason, self.until = reason, until
        self.resting.set()
        await self.on.wait()

    async def emit(self, records: Sequence[Any], *, state: Any = None) -> Any:
        self.emits += 1
        durable = self.stops.get(self.emits)
        if durable is False:
            raise Crash
        found = await super().emit(records, state=state or {})
        if durable:
            raise Crash
        return found

    def room(self) -> int:
        return self.space

    @property
    def numbers(self) -> list[Any]:
        """What the events say in ``n``, in order."""
        return [event.data.get("n") for event in self.events]


class Crash(BaseException):
    """The process ends here."""


class Driven:
    """``look`` lets the watcher look once more, ``seconds`` later."""

    def __init__(self, watcher: Watcher, source: SteppedSource) -> None:
        self.watcher, self.source = watcher, source

    async def look(self, seconds: float = 60.0) -> None:
        self.source.clock.slept += seconds  # type: ignore[attr-defined]
        on, self.source.on, self.source.resting = self.source.on, anyio.Event(), anyio.Event()
        on.set()
        with anyio.fail_after(30):
            await self.source.resting.wait()

    async def settled(self) -> None:
        """Two looks: what was new has settled, and was taken."""
        await self.look()
        await self.look()

    async def files(self, state: str | None = None) -> dict[str, Any]:
        """The files by name (the last generation of each that is listed first)."""
        found: dict[str, Any] = {}
        for row in await self.watcher.rows("files", self.source, state=state, limit=1000):
            found.setdefault(row["name"], row)
        return found

    async def states(self) -> dict[str, str]:
        return {name: row["state"] for name, row in (await self.files()).items()}

    async def tell(self, command: str, *names: str) -> int:
        return await self.watcher.command("files", command, self.source, names=names)


def folder(root: Path, **given: Any) -> FolderFiles:
    """A connector on a local folder."""
    given = {"stable_for": Duration.parse("30s"), "format": ChosenFormat(Lines, Lines.Settings()), **given}
    return FolderFiles("sup", FolderSettings(path=str(root), **given))


@asynccontextmanager
async def driven(watcher: Watcher, source: SteppedSource | None = None) -> AsyncIterator[Driven]:
    """It has looked once when this begins."""
    source = source or SteppedSource()
    source.resting, source.on = anyio.Event(), anyio.Event()
    one = Driven(watcher, source)
    async with anyio.create_task_group() as group:
        group.start_soon(partial(watcher.run, source))
        with anyio.fail_after(30):
            await source.resting.wait()
        yield one
        group.cancel_scope.cancel()


def names(folder: Path) -> list[str]:
    """What lies in a local folder."""
    return sorted(path.name for path in folder.iterdir())


def found(root: Path, glob: str) -> list[Path]:
    """What lies in it and in its folders under such a name."""
    return list(root.rglob(glob))


def lines(*numbers: int) -> bytes:
    """A file with these records."""
    return b"".join(json.dumps({"email": f"u{number}@example.com", "n": number}).encode() + b"\n" for number in numbers)
