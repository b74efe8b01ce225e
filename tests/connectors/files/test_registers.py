"""Files that are whole registers: what changed becomes events, and half a register removes nobody."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import override

from cdmd.config.schema import ConnectorFrame, EventSettings
from cdmd.connectors.files.places import FolderFiles
from cdmd.connectors.formats.csvs import Csv, CsvSettings
from cdmd.contracts import ChosenFormat
from cdmd.errors import BadArguments, ConfigInvalid, NotFound
from cdmd.kit.quantities import Duration
from tests.connectors.files.driving import Crash, Driven, SteppedSource, driven, folder, names

pytestmark = pytest.mark.anyio
FRAME = ConnectorFrame(
    type="folder",
    event=EventSettings(type="customer.{change}", identifiers={"customer_no": "{no}"}, data={"changed": "{changed}"}),
)


def watching(area: Path, **given: Any) -> FolderFiles:
    standing = {"mode": "snapshot", "key": ("no",), "format": ChosenFormat(Csv, CsvSettings())}
    return folder(area, **{"stable_for": Duration.parse("1s"), **standing, **given})


def kept(**given: Any) -> SteppedSource:
    return SteppedSource(frame=FRAME, **given)


def register(*numbers: int, **other: str) -> bytes:
    rows = [f"{number},{other.get(f'e{number}', f'u{number}@example.com')}\n" for number in numbers]
    return "".join(["no,email\n", *rows]).encode()


def said(source: SteppedSource) -> list[tuple[str, str]]:
    """Changes and customer numbers since the last call."""
    events, source.events = source.events, []
    return [(event.type.removeprefix("customer."), event.identifiers["customer_no"]) for event in events]


async def snapshot(watch: Driven) -> dict[str, Any]:
    (row,) = await watch.watcher.rows("snapshots", watch.source, state=None, limit=9)
    return dict(row)


async def test_a_register_becomes_the_events_of_what_changed(tmp_path: Path) -> None:
    file = tmp_path / "customers.csv"
    file.write_bytes(register(1, 2, 3))
    async with driven(watching(tmp_path), kept()) as watch:
        await watch.settled()
        assert said(watch.source) == [("added", "1"), ("added", "2"), ("added", "3")]
        file.write_bytes(register(1, 3, 4, e3="new@example.com"))
        await watch.settled()
        assert sorted(said(watch.source)) == [("added", "4"), ("changed", "3"), ("removed", "2")]
        row = (await watch.files())["customers.csv"]
        assert (row["state"], row["generation"], row["records"], row["accepted"]) == ("done", 2, 3, 3)
        assert (await snapshot(watch))["state"] == "applied"


async def test_only_the_last_register_again_is_a_duplicate_and_an_earlier_one_goes_back(tmp_path: Path) -> None:
    async with driven(watching(tmp_path), kept()) as watch:
        for name, content in (("a", register(2)), ("b", register(1, 2)), ("c", register(1, 2)), ("d", register(2))):
            (tmp_path / name).write_bytes(content)
            await watch.settled()
        assert said(watch.source) == [("added", "2"), ("added", "1"), ("removed", "1")]
        row = (await watch.files())["c"]
        assert (row["state"], row["reason"]) == ("duplicate", "it is the register that was applied last")


async def test_a_register_cut_anywhere_removes_nobody_until_it_is_approved(tmp_path: Path) -> None:
    whole = register(*range(1, 101))
    for cut in range(0, len(whole) - 1, len(whole) // 50):
        area = tmp_path / f"{cut}"
        area.mkdir()
        (area / "a").write_bytes(whole)
        async with driven(watching(area), kept()) as watch:
            await watch.settled()
            said(watch.source)
            (area / "b").write_bytes(whole[:cut])
            await watch.settled()
            removed = [number for change, number in said(watch.source) if change == "removed"]
            assert removed == [], f"cut at {cut}"


async def test_held_removals_are_shown_and_approved_or_rejected_by_the_registers_name(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(register(*range(1, 101)))
    for command, expected in (("reject", 0), ("approve", 60)):
        async with driven(watching(tmp_path), kept()) as watch:
            await watch.settled()
            (tmp_path / "b.csv").write_bytes(register(*range(1, 41)))
            await watch.settled()
            said(watch.source)
            row = await snapshot(watch)
            assert (row["state"], row["held"], row["rows"]) == ("held", 60, 100)
            assert watch.source.reason.endswith("; 60 removals wait for approval (cdmctl snapshot)")
            assert (await watch.files())["b.csv"]["reason"].startswith("60 removals are held: the rows that it lacks")
            with pytest.raises(NotFound, match="no such register"):
                await watch.watcher.command("snapshots", command, watch.source, names=["a.csv"])
            assert await watch.watcher.command("snapshots", command, watch.source, names=["b.csv"]) == 60
            assert len(said(watch.source)) == expected
            await watch.look()
            assert "approval" not in watch.source.reason
            with pytest.raises(BadArguments, match="no removals wait"):
                await watch.watcher.command("snapshots", command, watch.source, names=["b.csv"])
            (tmp_path / "b.csv").unlink()


class Cut(SteppedSource):
    """Crashes once, ``cut`` after its next records are durable."""

    cut = False

    @override
    async def emit(self, records: Sequence[Any], *, state: Any = None) -> Any:
        found = await super().emit(records, state=state)
        if self.cut and records:
            self.cut = False
            raise Crash
        return found


@pytest.mark.parametrize("command", ["approve", "reject", "erase"])
async def test_a_register_that_was_begun_goes_on_to_the_letter_whatever_was_told_of_the_last_one_meanwhile(
    tmp_path: Path, command: str
) -> None:
    source, new = Cut(frame=FRAME), range(1001, 1801)

    async def interrupted() -> None:
        async with driven(watching(tmp_path), source) as watch:
            (tmp_path / "a").write_bytes(register(*range(1, 101)))
            await watch.settled()
            (tmp_path / "b").write_bytes(register(*range(1, 41)))
            await watch.settled()
            assert (await snapshot(watch))["held"] == 60
            said(source)
            (tmp_path / "c").write_bytes(register(*range(1, 41), *new))
            source.cut = True
            await watch.settled()

    with pytest.raises(BaseExceptionGroup):
        await interrupted()
    assert len(source.events) == 500
    watcher = watching(tmp_path)
    if command == "erase":
        assert await watcher.erase(["7"], source) == 1
    else:
        assert await watcher.command("snapshots", command, source, names=["b"]) == 60
    async with driven(watcher, source) as watch:
        await watch.settled()
        assert (await watch.states())["c"] == "done"
    added = {event.id: event for event in source.events if event.type == "customer.added"}
    assert sorted(int(one.identifiers["customer_no"]) for one in added.values()) == [*([7] * (command == "erase")), *new]
    removed = {event.id for event in source.events if event.type == "customer.removed"}
    assert len(removed) == 60 * (command == "approve")


async def test_what_was_looked_at_is_approved_and_not_what_came_in_its_place_by_the_same_name(tmp_path: Path) -> None:
    file = tmp_path / "customers.csv"
    file.write_bytes(register(*range(1, 101)))
    async with driven(watching(tmp_path), kept()) as watch:
        await watch.settled()
        file.write_bytes(register(*range(1, 61)))
        await watch.settled()
        looked_at = await snapshot(watch)
        file.write_bytes(register(*range(1, 21)))
        await watch.settled()
        said(watch.source)
        with pytest.raises(NotFound, match="no such register any more"):
            await watch.watcher.command("snapshots", "approve", watch.source, names=[looked_at["run"]])
        assert said(watch.source) == []
        now = await snapshot(watch)
        assert (looked_at["name"], looked_at["held"]) == (now["name"], 40)
        assert await watch.watcher.command("snapshots", "approve", watch.source, names=[now["run"]]) == now["held"] == 80


async def test_what_was_looked_at_is_not_approved_where_its_content_came_again_after_another(tmp_path: Path) -> None:
    file = tmp_path / "customers.csv"
    async with driven(watching(tmp_path), kept()) as watch:
        shown = []
        for numbers in (range(1, 101), range(1, 61), range(1, 201), range(1, 61)):
            file.write_bytes(register(*numbers))
            await watch.settled()
            shown.append(await snapshot(watch))
        looked_at, now = shown[1], shown[3]
        assert (looked_at["sha256"], looked_at["held"], now["held"]) == (now["sha256"], 40, 140)
        with pytest.raises(NotFound, match="no such register any more"):
            await watch.watcher.command("snapshots", "approve", watch.source, names=[looked_at["run"]])
        assert await watch.watcher.command("snapshots", "approve", watch.source, names=[now["run"]]) == 140


@pytest.mark.parametrize("durable", [False, True])
async def test_a_crash_at_any_write_repeats_a_register_to_the_letter(tmp_path: Path, durable: bool) -> None:
    for stop in range(1, 30):
        area = tmp_path / f"{stop}"
        area.mkdir()
        (area / "a").write_bytes(register(*range(1, 21)))
        source = kept()
        source.stops = {stop: durable}
        done = False
        while not done:
            try:
                async with driven(watching(area), source) as watch:
                    await watch.settled()
                    if "b" not in names(area):
                        (area / "b").write_bytes(register(*range(2, 22), e5="new@example.com"))
                    await watch.settled()
                    await watch.settled()
                    assert (await watch.states()) == {"a": "done", "b": "done"}, f"crash at write {stop}"
                    done = True
            except BaseExceptionGroup as group:
                if group.split(Crash)[1] is not None:
                    raise
        ids = {event.id: event for event in source.events}
        changes = sorted((event.type.partition(".")[2], event.identifiers["customer_no"]) for event in ids.values())
        added = [("added", str(number)) for number in range(1, 22)]
        assert changes == sorted([*added, ("changed", "5"), ("removed", "1")]), f"crash at write {stop}"
        if source.emits < stop:
            return


async def test_an_empty_file_and_one_of_another_shape_are_no_register(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(register(1, 2))
    async with driven(watching(tmp_path), kept()) as watch:
        await watch.settled()
        said(watch.source)
        (tmp_path / "b").touch()
        (tmp_path / "c").write_bytes(b"id;mail\n1;x\n")
        await watch.settled()
        assert said(watch.source) == []
        files = await watch.files()
        assert (files["b"]["state"], files["b"]["reason"]) == ("quarantined", "an empty file is no register")
        assert files["c"]["state"] == "quarantined"


async def test_a_register_of_which_too_many_records_are_refused_is_not_applied(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(register(1, 2, 3))
    async with driven(watching(tmp_path, max_bad="1"), kept()) as watch:
        await watch.settled()
        said(watch.source)
        (tmp_path / "b").write_bytes(register(1) + b"2,x,y,z\n3,x,y,z\n")
        await watch.settled()
        assert said(watch.source) == []
        row = (await watch.files())["b"]
        assert (row["state"], "no row was removed" in row["reason"]) == ("quarantined", True)
        assert (await snapshot(watch))["name"] == "a"


def test_a_register_needs_its_key_and_only_a_register_has_one(tmp_path: Path) -> None:
    for given, problem in (
        ({"key": ()}, r"key: is missing"),
        ({"mode": "events"}, r"only a register has one"),
        ({"max_removed": "many"}, r"max_removed: 'many' is neither"),
    ):
        with pytest.raises(ConfigInvalid, match=problem):
            watching(tmp_path, **given)
