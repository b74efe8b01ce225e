"""Files that name somebody who is to be forgotten, and registers with such keys."""

from pathlib import Path

import pytest

from cdmd.connectors.formats.csvs import Csv, CsvSettings
from cdmd.contracts import ChosenFormat, ErasingConnector
from tests.connectors.files.driving import driven, folder, lines

pytestmark = pytest.mark.anyio
JOE, NOBODY = "joe@example.com", "nobody@example.com"


async def test_the_ledger_forgets_files_by_the_words_in_their_names(tmp_path: Path) -> None:
    for name, content in {
        f"order_{JOE.upper()}.x": lines(1),
        f"dear-{JOE}": lines(2),
        f"not{JOE}": lines(3),
        "copy": lines(1),
        "z": lines(4),
    }.items():
        (tmp_path / name).write_bytes(content)
    async with driven(folder(tmp_path)) as watch:
        await watch.settled()
        assert isinstance(watch.watcher, ErasingConnector)
        assert await watch.watcher.erase([], watch.source) == await watch.watcher.erase([" "], watch.source) == 0
        assert await watch.watcher.erase([NOBODY], watch.source) == 0
        assert len(await watch.files()) == 5
        for name in (f"order_{JOE.upper()}.x", f"dear-{JOE}"):
            (tmp_path / name).unlink()
        assert await watch.watcher.erase([NOBODY, JOE], watch.source) == 2
        assert set(await watch.files()) == {f"not{JOE}", "copy", "z"}
        state = b"".join(key + value for key, value in watch.source.state.items()).lower()
        assert state.count(JOE.encode()) == state.count(b"not" + JOE.encode()) > 0
        before = len(watch.source.events)
        (tmp_path / "again").write_bytes(lines(2))
        await watch.settled()
        assert (await watch.files())["again"]["reason"] == "its content came before, as another file"
        assert len(watch.source.events) == before


async def test_a_file_on_its_way_is_forgotten_and_was_not_delivered(tmp_path: Path) -> None:
    (tmp_path / JOE).write_bytes(lines(1))
    async with driven(folder(tmp_path)) as watch:
        assert await watch.watcher.erase([JOE], watch.source) == 1
        assert await watch.files() == {}
        await watch.settled()
        assert watch.source.numbers == [1], "it lies there still: it is a new file"


async def test_a_register_forgets_its_rows_and_keeps_its_ledger(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(f"email,n\n{JOE},1\nann@example.com,2\n")
    watcher = folder(tmp_path, mode="snapshot", key=("email",), format=ChosenFormat(Csv, CsvSettings()))
    async with driven(watcher) as watch:
        await watch.settled()
        assert await watch.watcher.erase([JOE, "a.csv"], watch.source) == 1
        (row,) = await watch.watcher.rows("snapshots", watch.source, state=None, limit=10)
        assert row["rows"] == 1
        assert list(await watch.files()) == ["a.csv"]
        events = len(watch.source.events)
        await watch.settled()
        assert len(watch.source.events) == events
