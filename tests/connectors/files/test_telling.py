"""What an administrator tells of files while the watcher looks: it is done, whenever it comes."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from typing_extensions import override

from cdmd.connectors.files.area import Area, Listed
from cdmd.connectors.files.folder import Folder
from cdmd.connectors.files.ledger import OPEN, OVER
from cdmd.connectors.files.places import FolderFiles
from cdmd.contracts import Source
from tests.connectors.files.driving import SteppedSource, driven, folder, lines, names

pytestmark = pytest.mark.anyio

Then = Callable[[], Awaitable[Any]]


class HeldFolder(Folder):
    """Does ``then`` once, when all that its listing has was looked at and the listing has not ended."""

    then: Then | None = None

    @override
    async def listing(self) -> AsyncGenerator[Sequence[Listed], None]:
        async for page in super().listing():
            yield page
        then, self.then = self.then, None
        if then is not None:
            await then()


class Held(FolderFiles):
    """Watches a ``HeldFolder``."""

    place: HeldFolder
    first: Then | None = None

    @override
    def area(self, source: Source) -> Area:
        self.place = HeldFolder(Path(self.settings.path), wanted=self.wanted, depth=self.settings.depth, skip=self.skipped)
        self.place.then = self.first
        return self.place


class Turning(SteppedSource):
    """Does ``then`` when ``a.jsonl`` alone is asked for, and is slow to write that a file is over and done with."""

    then: Callable[[], None] | None = None

    @override
    async def get(self, keys: Iterable[bytes]) -> dict[bytes, bytes]:
        wanted = list(keys)
        if self.then is not None and wanted == [OPEN + b"a.jsonl", OVER + b"a.jsonl"]:
            self.then()
            self.then = None
            await turns(5)
        return await super().get(wanted)

    @override
    async def emit(self, records: Sequence[Any], *, state: Any = None) -> Any:
        if None in (state or {}).values():
            await turns(50)
        return await super().emit(records, state=state)


async def turns(count: int) -> None:
    """Let the others go on."""
    for _ in range(count):
        await anyio.lowlevel.checkpoint()


def held(root: Path, **given: Any) -> Held:
    return Held("sup", folder(root, **given).settings)


@pytest.mark.parametrize(("before", "command"), [("done", "replay"), ("skipped", "retry")])
async def test_a_file_told_to_be_read_again_while_the_watcher_looks_is_read_at_its_next_look(
    before: str, command: str, tmp_path: Path
) -> None:
    (tmp_path / "a.jsonl").write_bytes(lines(1))
    watcher = held(tmp_path)
    async with driven(watcher) as watch:
        if before == "skipped":
            await watch.tell("skip", "a.jsonl")
        await watch.settled()
        assert await watch.states() == {"a.jsonl": before}
        read = len(watch.source.numbers)
        watcher.place.then = lambda: watch.tell(command, "a.jsonl")
        await watch.look()
        assert (await watch.files())["a.jsonl"]["state"] == "seen", "the look that was under way does not know of it"
        await watch.look()
        assert watch.source.numbers == [1] * (read + 1)


async def test_one_that_is_not_there_any_more_is_said_to_be_gone_at_the_next_look(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(lines(1))
    watcher = held(tmp_path)
    async with driven(watcher) as watch:
        await watch.settled()
        (tmp_path / "a.jsonl").unlink()
        watcher.place.then = lambda: watch.tell("replay", "a.jsonl")
        await watch.look()
        await watch.look()
        assert (await watch.files())["a.jsonl"]["reason"] == "it left before it was read"


async def test_a_file_told_to_be_skipped_just_before_its_turn_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(lines(1))
    (tmp_path / "b.jsonl").write_bytes(lines(2))
    watcher, source = held(tmp_path), Turning()
    async with anyio.create_task_group() as group, driven(watcher, source) as watch:

        async def skip() -> None:
            await watch.tell("skip", "a.jsonl")
            source.then = lambda: group.start_soon(watch.tell, "skip", "b.jsonl")

        watcher.place.then = skip
        await watch.look()
        assert source.then is None
        assert (source.numbers, await watch.states()) == ([], {"a.jsonl": "skipped", "b.jsonl": "skipped"})


async def test_a_file_told_to_be_read_again_stays_where_it_is_until_it_was(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(lines(1))
    source = SteppedSource()
    source.stops = {4: True}  # noted, what the look taught, the batch, done
    with pytest.raises(BaseExceptionGroup):
        async with driven(held(tmp_path, after="delete"), source) as watch:
            await watch.settled()
    watcher = held(tmp_path, after="delete")
    assert names(tmp_path) == ["a.jsonl"], "done, and not yet deleted"
    watcher.first = lambda: watcher.command("files", "replay", source, names=["a.jsonl"])
    async with driven(watcher, source) as watch:
        assert names(tmp_path) == ["a.jsonl"]
        await watch.settled()
        assert (source.numbers, names(tmp_path)) == ([1, 1], [])
        assert await watch.states() == {"a.jsonl": "done"}
