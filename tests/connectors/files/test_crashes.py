"""A process that ends at any of its writes: no row is lost and none is emitted twice, whichever file it was at."""

from pathlib import Path

import pytest

from cdmd.connectors.files import taking
from cdmd.kit.quantities import Duration
from tests.connectors.files.driving import Crash, SteppedSource, driven, folder, lines, names

pytestmark = pytest.mark.anyio


async def finish(area: Path, source: SteppedSource) -> int:
    """Start anew, as often as it takes, until all is quiet; how often it crashed."""
    crashes = 0
    while True:
        try:
            async with driven(folder(area, stable_for=Duration.parse("1s"), after="move:done"), source) as watch:
                for _ in range(4):
                    await watch.look()
                return crashes
        except BaseExceptionGroup as group:
            if group.split(Crash)[1] is not None:
                raise
            crashes += 1


@pytest.mark.parametrize("durable", [False, True])
async def test_a_crash_at_any_write_neither_loses_nor_doubles_a_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, durable: bool
) -> None:
    monkeypatch.setattr(taking, "BATCH", 10)
    for stop in range(1, 13):
        area = tmp_path / f"{stop}"
        area.mkdir()
        (area / "a").write_bytes(lines(*range(35)))
        (area / "b").write_bytes(lines(*range(35, 55)))
        source = SteppedSource()
        source.stops = {stop: durable}
        crashes = await finish(area, source)
        assert sorted(source.numbers) == list(range(55)), f"crash at write {stop}"
        assert crashes == 1, f"write {stop} was never made"
        assert names(area / "done") == ["a", "b"]


async def test_a_file_that_was_replaced_after_a_crash_is_read_from_its_first_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(taking, "BATCH", 10)
    file = tmp_path / "a"
    file.write_bytes(lines(*range(35)))
    source = SteppedSource()
    source.stops = {4: True}  # noted, what the look taught, two batches
    with pytest.raises(BaseExceptionGroup):
        async with driven(folder(tmp_path), source) as watch:
            await watch.settled()
    assert source.numbers == list(range(20))
    file.write_bytes(lines(*range(100, 103)))
    async with driven(folder(tmp_path), source) as watch:
        row = (await watch.files())["a"]
        assert (row["state"], row["reason"]) == ("seen", "it replaces one that was read up to record 20")
        await watch.settled()
        assert source.numbers == [*range(20), 100, 101, 102]
        row = (await watch.files())["a"]
        assert (row["state"], row["generation"], row["reason"]) == ("done", 2, "it replaces one that was read up to record 20")


async def test_a_file_that_left_after_a_crash_is_said_to_be_half_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(taking, "BATCH", 10)
    (tmp_path / "a").write_bytes(lines(*range(35)))
    source = SteppedSource()
    source.stops = {4: True}  # noted, what the look taught, two batches
    with pytest.raises(BaseExceptionGroup):
        async with driven(folder(tmp_path), source) as watch:
            await watch.settled()
    (tmp_path / "a").unlink()
    async with driven(folder(tmp_path), source) as watch:
        row = (await watch.files())["a"]
        assert (row["state"], row["reason"]) == ("gone", "it left after record 20 of 35 was read")


async def test_files_that_were_away_for_a_moment_are_read_when_they_are_back_from_where_they_were_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(taking, "BATCH", 10)
    area, away = tmp_path / "in", tmp_path / "away"
    area.mkdir()
    (area / "half").write_bytes(lines(*range(35)))
    source = SteppedSource()
    source.stops = {4: True}  # noted, what the look taught, two batches
    with pytest.raises(BaseExceptionGroup):
        async with driven(folder(area), source) as watch:
            await watch.settled()
    source.stops = {}
    (area / "new").write_bytes(lines(99))
    away.mkdir()
    for name in ("half", "new"):
        (area / name).rename(away / name)
    async with driven(folder(area), source) as watch:
        (away / "new").rename(area / "new")
        await watch.look()
        (area / "new").rename(away / "new")
        await watch.look()
        assert await watch.states() == {"half": "gone", "new": "gone"}
        for name in ("half", "new"):
            (away / name).rename(area / name)
        for _ in range(3):
            await watch.look()
        assert await watch.states() == {"half": "done", "new": "done"}
        assert (await watch.files())["half"]["accepted"] == 35
    assert source.numbers == [*range(35), 99]
