"""When batch files are made and what they hold, in a folder: full, by change, or what happened since the last one."""

import csv
import errno
import gzip
import hashlib
import json
import os
import shutil
import threading
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pyarrow.parquet
import pytest

from cdmd.contracts import RunningTarget, Target
from cdmd.errors import ConfigInvalid
from cdmd.kit.detached import detach, end
from cdmd.kit.quantities import Duration
from cdmd.models import Delivered, Never
from cdmd.targets.files import FolderFileTarget
from cdmd.targets.files.comparing import unpacked
from cdmd.targets.files.settings import FolderTargetSettings
from cdmd.targets.files.slots import Slots
from cdmd.testing import RecordingOutlet
from tests.targets.outlet import NOON, delivery, member, outlet_in, progress, public

pytestmark = pytest.mark.anyio


@pytest.fixture
def area(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


def target(area: Path, **keys: Any) -> FolderFileTarget:
    return FolderFileTarget("t", FolderTargetSettings(**{"path": str(area), "at": "02:30", **keys}))


async def ran(one: FolderFileTarget, outlet: RecordingOutlet) -> None:
    await outlet.run(one)


def names(area: Path) -> list[str]:
    return sorted(path.name for path in area.iterdir())


def table(path: Path, **dialect: Any) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as text:
        return list(csv.DictReader(text, **dialect))


def test_it_is_a_target_that_runs_by_itself(area: Path) -> None:
    one = target(area)
    assert isinstance(one, Target)
    assert isinstance(one, RunningTarget)


async def test_an_audience_is_written_whole_at_its_time_and_not_before(area: Path, tmp_path: Path) -> None:
    outlet = outlet_in(tmp_path)
    outlet.people = [member(1, "joe@example.com", city="Malmö", vip=True), member(2, "eve@example.com", points=7, tags=["a"])]
    await ran(target(area, audience="vip", name="vips_{date}"), outlet)
    assert names(area) == ["vips_2026-11-24.csv"]
    assert table(area / "vips_2026-11-24.csv") == [
        {"id": public(1), "identifiers.email": "joe@example.com", "traits.city": "Malmö", "traits.vip": "true",
         "audiences": '["vip"]', "traits.points": "", "traits.tags": ""},
        {"id": public(2), "identifiers.email": "eve@example.com", "traits.city": "", "traits.vip": "",
         "audiences": '["vip"]', "traits.points": "7", "traits.tags": '["a"]'},
    ]  # fmt: skip
    assert outlet.slept == [
        "next file vips_2026-11-24.csv",
        "vips_2026-11-24.csv with 2 rows was written; next file vips_2026-11-25.csv",
    ]
    assert not list(outlet.scratch.iterdir())


async def test_columns_and_dialect_are_chosen(area: Path, tmp_path: Path) -> None:
    outlet = outlet_in(tmp_path)
    outlet.people = [member(1, "joe@example.com", city="a;b")]
    columns = {"mail": "{identifiers.email}", "where": "{traits.city}", "who": "{id}!", "none": "{traits.zip}"}
    await ran(target(area, audience="vip", columns=columns, delimiter=";", name="x{time}"), outlet)
    path = area / "x20261124T023000Z.csv"
    assert table(path, delimiter=";") == [{"mail": "joe@example.com", "where": "a;b", "who": f"{public(1)}!", "none": ""}]


async def test_what_happened_since_the_last_file_is_written_and_then_counts_as_delivered(area: Path, tmp_path: Path) -> None:
    outlet = outlet_in(tmp_path, until=timedelta(hours=48))
    outlet.queue = [delivery(n, event={"data": {"total": n}}, profile={"id": "p"}) for n in range(1, 2_501)]
    await ran(target(area, format="jsonl"), outlet)
    assert names(area) == ["t_20261124T023000Z.jsonl", "t_20261125T023000Z.jsonl"]
    rows = [json.loads(line) for line in (area / "t_20261124T023000Z.jsonl").read_text().splitlines()]
    assert [row["event"]["data"]["total"] for row in rows] == list(range(1, 2_501))
    assert rows[0] == {"id": "d1", "type": "order.paid", "time": "2026-11-23T10:00:00Z", "event": {"data": {"total": 1}},
                       "profile": {"id": "p"}}  # fmt: skip
    assert (area / "t_20261125T023000Z.jsonl").read_text() == ""
    assert not outlet.queue
    assert len(outlet.settled) == 2_500
    assert progress(outlet)["settling"] is None


async def test_where_there_is_nothing_to_say_no_file_needs_to_be_written(area: Path, tmp_path: Path) -> None:
    await ran(target(area, empty=False), outlet_in(tmp_path))
    assert names(area) == []


async def test_only_what_changed_among_the_members_is_written(area: Path, tmp_path: Path) -> None:
    outlet = outlet_in(tmp_path, until=timedelta(hours=72))
    days = [
        [member(1, "a@x"), member(3, "c@x"), member(4, "d@x"), *(member(n, f"{n}@x") for n in range(10, 3_000))],
        [member(2, "b@x"), member(3, "c@x", city="Lund"), *(member(n, f"{n}@x") for n in range(10, 2_999))],
        [member(2, "b@x"), member(3, "c@x", city="Lund"), *(member(n, f"{n}@x") for n in range(10, 2_999))],
    ]

    async def next_day(one: RecordingOutlet) -> None:
        one.people = days.pop(0) if days else one.people

    outlet.asleep = next_day
    await ran(
        target(area, audience="vip", mode="changes", columns={"mail": "{identifiers.email}", "city": "{traits.city}"}), outlet
    )
    first, second, third = (table(area / name) for name in names(area))
    assert len(first) == 2_993
    assert {row["change"] for row in first} == {"added"}
    assert second == [
        {"change": "removed", "id": public(1), "mail": "", "city": ""},
        {"change": "added", "id": public(2), "mail": "b@x", "city": ""},
        {"change": "changed", "id": public(3), "mail": "c@x", "city": "Lund"},
        {"change": "removed", "id": public(4), "mail": "", "city": ""},
        {"change": "removed", "id": public(2_999), "mail": "", "city": ""},
    ]
    assert third == []


async def test_a_damaged_register_is_an_error_and_no_wrong_answer() -> None:
    with pytest.raises(ValueError, match="multiple"):
        list(unpacked("VPazp"))


def test_fixed_intervals_are_counted_alike_before_and_after_a_restart() -> None:
    slots = Slots(every=6 * 3600.0)
    assert slots.last(NOON) == NOON
    assert slots.next(NOON) == NOON + timedelta(hours=6)
    assert slots.last(NOON + timedelta(hours=5)) == NOON


async def test_a_file_can_be_had_at_fixed_intervals(area: Path, tmp_path: Path) -> None:
    outlet = outlet_in(tmp_path, until=timedelta(hours=13))
    await ran(target(area, at=None, every=Duration.parse("6h")), outlet)
    assert names(area) == ["t_20261123T180000Z.csv", "t_20261124T000000Z.csv"]


async def test_what_is_remembered_of_members_names_nobody(area: Path, tmp_path: Path) -> None:
    outlet = outlet_in(tmp_path)
    outlet.people = [member(1, "joe@example.com", city="Lund")]
    await ran(target(area, audience="vip", mode="changes"), outlet)
    assert not any("joe" in text or "Lund" in text for text in outlet.kept.values())


async def test_a_lost_part_of_the_register_means_that_its_members_are_told_anew(area: Path, tmp_path: Path) -> None:
    outlet = outlet_in(tmp_path, until=timedelta(hours=48))
    outlet.people = [member(1, "a@x")]

    async def lose(one: RecordingOutlet) -> None:
        one.kept = {key: text for key, text in one.kept.items() if not key.startswith("register")}

    outlet.asleep = lose
    await ran(target(area, audience="vip", mode="changes"), outlet)
    assert [row["change"] for name in names(area) for row in table(area / name)] == ["added", "added"]


async def test_after_days_of_standing_still_one_file_is_written_and_not_one_for_each(area: Path, tmp_path: Path) -> None:
    await ran(target(area), outlet := outlet_in(tmp_path))
    later = outlet_in(tmp_path, now=outlet.clock.now() + timedelta(days=9), until=timedelta(hours=1))
    later.kept = outlet.kept
    await ran(target(area), later)
    assert names(area) == ["t_20261124T023000Z.csv", "t_20261203T023000Z.csv"]


async def test_the_first_start_owes_nothing_and_a_wrong_clock_of_the_past_stops_nothing(area: Path, tmp_path: Path) -> None:
    outlet = outlet_in(tmp_path, until=timedelta(hours=1))
    await ran(target(area), outlet)
    assert names(area) == []
    far = outlet_in(tmp_path, now=outlet.clock.now() + timedelta(days=400))
    await ran(target(area), far)
    back = outlet_in(tmp_path)
    back.kept = far.kept
    await ran(target(area), back)
    assert "t_20261124T023000Z.csv" in names(area)


async def test_a_clock_that_was_ahead_for_a_moment_stops_nothing(area: Path, tmp_path: Path) -> None:
    outlet, jumps = outlet_in(tmp_path, until=timedelta(days=100)), [60, -60]

    async def wrong(one: RecordingOutlet) -> None:
        if jumps:
            one.clock.advance(timedelta(days=jumps.pop(0)).total_seconds())
            one.asked = 1
        elif len(one.slept) > 4:
            one.end = one.clock.now()

    outlet.asleep = wrong
    await ran(target(area), outlet)
    assert "t_20261124T023000Z.csv" in names(area)


async def test_whoever_asks_has_a_file_at_once_beside_those_that_are_due(area: Path, tmp_path: Path) -> None:
    outlet = outlet_in(tmp_path, until=timedelta(hours=15))
    outlet.asked = 2
    await ran(target(area), outlet)
    assert names(area) == ["t_20261123T120000Z.csv", "t_20261123T120001Z.csv", "t_20261124T023000Z.csv"]


async def test_a_file_that_cannot_be_delivered_is_tried_again_and_says_why(area: Path, tmp_path: Path) -> None:
    outlet = outlet_in(tmp_path)
    outlet.queue = [delivery(1)]
    await anyio.Path(area).rmdir()

    async def mend(one: RecordingOutlet) -> None:
        if len(one.problems) == 3:
            await anyio.Path(area).mkdir()

    outlet.asleep = mend
    await ran(target(area), outlet)
    assert outlet.problems[0] == f"t_20261124T023000Z.csv is not delivered: the folder {area} does not exist"
    assert outlet.problems[-1] is None
    assert len(outlet.problems) == 4
    assert names(area) == ["t_20261124T023000Z.csv"]
    assert [name for name, _ in outlet.settled] == ["d1"]


async def test_a_full_disk_is_said_and_nothing_counts_as_delivered(
    area: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(source: Any, into: Any, size: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("cdmd.targets.files.places.shutil.copyfileobj", full)
    outlet = outlet_in(tmp_path, until=timedelta(hours=15))
    outlet.queue = [delivery(1, text="x" * 1_000)]
    await ran(target(area, format="jsonl"), outlet)
    assert f"{area} cannot be written to: No space left on device" in (outlet.problems[0] or "")
    assert len(outlet.queue) == 1


async def test_a_file_that_is_still_copied_when_its_target_is_stopped_does_not_meet_the_next(
    area: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy, begun, go, done = shutil.copyfileobj, threading.Event(), threading.Event(), threading.Event()

    def slowly(source: Any, into: Any, size: int) -> None:
        if begun.is_set():
            copy(source, into, size)
            return
        into.write(source.read(4))
        begun.set()
        go.wait(10)
        copy(source, into, size)
        into.flush()
        done.set()

    monkeypatch.setattr("cdmd.targets.files.places.shutil.copyfileobj", slowly)
    outlet = outlet_in(tmp_path, until=timedelta(hours=15))
    outlet.people = [member(1, "joe@example.com")]
    stopped = detach(partial(outlet.run, target(area, audience="vip", columns={"text": "old" * 9})), name="the first")
    await anyio.to_thread.run_sync(begun.wait, 10)
    assert await end(stopped, seconds=5.0)
    await ran(target(area, audience="vip", columns={"text": "new"}), outlet)
    go.set()
    await anyio.to_thread.run_sync(done.wait, 10)
    assert names(area) == ["t_20261124T023000Z.csv"]
    assert (area / "t_20261124T023000Z.csv").read_text() == "text\nnew\n"


async def test_an_interruption_before_it_is_noted_repeats_the_file_under_its_name(area: Path, tmp_path: Path) -> None:
    outlet = outlet_in(tmp_path)
    outlet.queue = [delivery(1, a=1)]

    async def broken(key: str, value: str) -> None:
        if key in outlet.kept:
            raise RuntimeError("the power went")
        outlet.kept[key] = value

    keep, outlet.put = outlet.put, broken  # type: ignore[method-assign]
    with pytest.raises(RuntimeError):
        await target(area).run(outlet)
    outlet.put = keep  # type: ignore[method-assign]
    outlet.queue.append(delivery(2, a=2))
    await ran(target(area), outlet)
    assert [row["id"] for row in table(area / "t_20261124T023000Z.csv")] == ["d1", "d2"]
    assert names(area) == ["t_20261124T023000Z.csv"]


async def test_an_interruption_while_it_is_noted_writes_nothing_twice(area: Path, tmp_path: Path) -> None:
    outlet = outlet_in(tmp_path, until=timedelta(hours=48))
    outlet.queue = [delivery(n) for n in range(1, 1_501)]
    settle = outlet.settle

    async def broken(*args: Any, **keys: Any) -> None:
        if outlet.settled:
            raise RuntimeError("the power went")
        await settle(*args, **keys)

    outlet.settle = broken  # type: ignore[method-assign]
    with pytest.raises(RuntimeError):
        await target(area).run(outlet)
    outlet.settle = settle  # type: ignore[method-assign]
    outlet.queue.append(delivery(1_501))
    await ran(target(area), outlet)
    told = [row["id"] for name in names(area) for row in table(area / name)]
    assert told == [f"d{n}" for n in range(1, 1_502)]


async def test_what_no_row_can_be_made_of_is_set_aside_and_the_rest_is_written(area: Path, tmp_path: Path) -> None:
    outlet = outlet_in(tmp_path)
    outlet.queue = [delivery(1, a={"b": "x"}), delivery(2, a={"b": 7})]
    await ran(
        target(area, columns={"large": "{a.b.to_upper(@)}", "joined": "{join(',', a.b)}"} and {"n": "{abs(a.b)}"}), outlet
    )
    assert table(area / "t_20261124T023000Z.csv") == [{"n": "7"}]
    verdicts = dict(outlet.settled)
    assert isinstance(verdicts["d2"], Delivered)
    assert isinstance(verdicts["d1"], Never)
    assert "abs(a.b)" in verdicts["d1"].reason
    assert "lacks 1 rows" in (outlet.problems[0] or "")


async def test_what_is_called_as_the_identifiers_in_somebodys_data_is_written_as_it_is(area: Path, tmp_path: Path) -> None:
    outlet = outlet_in(tmp_path)
    people = [{"kind": "email", "value": "joe@x"}, {"kind": "email", "value": "old@x"}]
    outlet.queue = [delivery(1, event={"data": {"identifiers": ["a"]}}, profile={"id": "p", "identifiers": people})]
    await ran(target(area), outlet)
    (row,) = table(area / "t_20261124T023000Z.csv")
    assert (row["event.data.identifiers"], row["profile.identifiers.email"]) == ('["a"]', "joe@x")


async def test_too_many_different_entries_ask_for_columns(area: Path, tmp_path: Path) -> None:
    outlet = outlet_in(tmp_path, until=timedelta(hours=15))
    outlet.queue = [delivery(n, **{f"k{n}": 1}) for n in range(1, 1_200)]
    await ran(target(area), outlet)
    assert "more than 1000 different entries: configure `columns`" in (outlet.problems[0] or "")
    assert len(outlet.queue) == 1_199


async def test_a_manifest_says_what_the_file_must_be(area: Path, tmp_path: Path) -> None:
    outlet = outlet_in(tmp_path)
    outlet.people = [member(1, "joe@example.com")]
    await ran(target(area, audience="vip", compress="gzip", manifest=True), outlet)
    name = "t_20261124T023000Z.csv.gz"
    content = (area / name).read_bytes()
    assert json.loads((area / f"{name}.manifest.json").read_text()) == {
        "file": name, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest(), "rows": 1,
        "time": "2026-11-24T02:30:00Z", "format": "csv", "compress": "gzip", "encrypted": False, "audience": "vip",
        "mode": "full",
    }  # fmt: skip
    assert gzip.decompress(content).startswith(b"id,identifiers.email")


async def test_parquet_has_types_where_all_values_are_of_one(area: Path, tmp_path: Path) -> None:
    outlet = outlet_in(tmp_path)
    outlet.queue = [
        delivery(1, n=1, f=1, mixed=1, flag=True, text="å", big=1),
        delivery(2, n=2, f=1.5, mixed="two", flag=False, text=None, big=2**70),
        *(delivery(n, n=n) for n in range(3, 1_502)),
    ]
    await ran(target(area, format="parquet"), outlet)
    found = pyarrow.parquet.read_table(area / "t_20261124T023000Z.parquet")
    kinds = {field.name: str(field.type) for field in found.schema}
    assert kinds == {"id": "string", "type": "string", "time": "string", "n": "int64", "f": "double", "mixed": "string",
                     "flag": "bool", "text": "string", "big": "string"}  # fmt: skip
    rows = found.to_pylist()
    assert len(rows) == 1_501
    assert (rows[0]["f"], rows[1]["mixed"], rows[1]["text"], rows[1]["big"]) == (1.0, "two", None, str(2**70))


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({"at": None}, "targets.t.at: say when"),
        ({"every": "6h"}, "not both"),
        ({"every": "59s", "at": None}, "targets.t.every: at least 1m"),
        ({"at": "2:30"}, "targets.t.at: '2:30' is not a time of day"),
        ({"at": ()}, "targets.t.at: is empty"),
        ({"name": "a/b{time}"}, "targets.t.name: is the plain name of a file"),
        ({"name": "{when}"}, "targets.t.name: {when} is none of"),
        ({"name": "{time}}"}, "a brace stands alone"),
        ({"name": "daily"}, "a file takes the place of the one before"),
        ({"name": "{date}", "at": ("01:00", "02:00")}, "a file takes the place of the one before"),
        ({"name": "{audience}{time}"}, "there is no audience to name"),
        ({"name": "{time}" + "x" * 200}, "longer than 200 bytes"),
        ({"columns": {"a": "{b"}}, "targets.t.columns.a: column"),
        ({"mode": "changes"}, "targets.t.mode: changes are those of an audience"),
        ({"format": "parquet", "compress": "gzip"}, "targets.t.compress: parquet compresses by itself"),
        ({"delimiter": '"'}, "targets.t.delimiter"),
        ({"path": ""}, "targets.t.path: is empty"),
    ],
)
def test_what_cannot_be_meant_is_a_mistake(area: Path, keys: dict[str, Any], problem: str) -> None:
    keys = {key: Duration.parse(value) if key == "every" else value for key, value in keys.items()}
    with pytest.raises(ConfigInvalid) as refused:
        target(area, **keys)
    assert problem in str(refused.value)
