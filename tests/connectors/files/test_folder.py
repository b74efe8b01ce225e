"""The traps that files lay, on a local folder; the same watcher serves an sftp area."""

import gzip
import hashlib
import os
import zipfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from cdmd.connectors.files import connector, contents, spool
from cdmd.connectors.files.area import Area
from cdmd.connectors.files.taking import fetch
from cdmd.contracts import ChosenFormat
from cdmd.errors import BadArguments, NotFound, ReaderEnded, SourceUnavailable
from cdmd.kit.quantities import Duration, Size
from cdmd.models import Row
from tests.connectors.files.driving import DAMAGED, Lines, SteppedSource, driven, folder, found, lines

pytestmark = pytest.mark.anyio


async def test_a_whole_file_is_read_once_and_said_to_be_done(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(lines(1, 2, 3))
    async with driven(folder(tmp_path)) as watch:
        assert await watch.states() == {"a.jsonl": "seen"}
        assert watch.source.events == []
        await watch.look(10)
        assert await watch.states() == {"a.jsonl": "settling"}
        assert (await watch.files())["a.jsonl"]["reason"] == "read once the same for 30 s"
        assert "files are settling (read once the same for 30 s)" in watch.source.reason
        assert watch.source.events == []
        await watch.look(25)
        assert watch.source.numbers == [1, 2, 3]
        (row,) = (await watch.files()).values()
        assert (row["state"], row["record"], row["records"], row["accepted"], row["bad"]) == ("done", 3, 3, 3, 0)
        assert row["sha256"] == hashlib.sha256(lines(1, 2, 3)).hexdigest()
        emits = watch.source.emits
        for _ in range(3):
            await watch.look()
        assert watch.source.numbers == [1, 2, 3]
        assert watch.source.emits == emits, "an area where nothing changes writes nothing"


async def test_events_are_named_by_content_and_record_and_say_which_file_they_are_from(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(lines(1, 2))
    async with driven(folder(tmp_path)) as watch:
        await watch.settled()
        digest = hashlib.sha256(lines(1, 2)).digest()[:16].hex()
        assert [event.id for event in watch.source.events] == [f"{digest}:1", f"{digest}:2"]
        assert watch.source.events[0].data["file"] == "a.jsonl"


async def test_a_growing_file_waits_until_it_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_bytes(lines(1))
    async with driven(folder(tmp_path)) as watch:
        for number in range(2, 6):
            file.write_bytes(file.read_bytes() + lines(number))
            await watch.look()
            assert watch.source.events == []
            assert (await watch.files())["a.jsonl"]["reason"] == "it is still growing"
        await watch.look()
        assert watch.source.numbers == [1, 2, 3, 4, 5]


async def test_an_old_file_time_makes_no_file_whole(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(lines(1))
    os.utime(tmp_path / "a.jsonl", (0, 0))
    async with driven(folder(tmp_path)) as watch:
        await watch.look(29)
        assert watch.source.events == []
        await watch.look(2)
        assert watch.source.numbers == [1]


@pytest.mark.parametrize(
    ("ahead", "said"),
    [
        (3 * 3600, "dated 3.0 h ahead of our clock"),
        (9 * 86400, "dated 9 days ahead of our clock"),
        (30, None),
        (-9000, None),
    ],
)
async def test_a_clock_that_is_ahead_is_told_of_and_makes_no_file_late(tmp_path: Path, ahead: int, said: str | None) -> None:
    (tmp_path / "old").write_bytes(lines(1))
    (tmp_path / "a").write_bytes(lines(2))
    os.utime(tmp_path / "old", (0, 0))
    source = SteppedSource()
    moment = source.clock.now().timestamp() + ahead + 5  # what these lines take is no hour's tenth
    os.utime(tmp_path / "a", (moment, moment))
    async with driven(folder(tmp_path), source) as watch:
        row = (await watch.files())["a"]
        assert row["dated"] == said
        assert ("; the newest file is " in watch.source.reason) is (said is not None)
        assert said is None or f"; the newest file is {said}: one of the two clocks is wrong" in watch.source.reason
        await watch.settled()
        assert watch.source.numbers == [1, 2]
        (tmp_path / "a").unlink()
        await watch.look()
        assert "clock" not in watch.source.reason


async def test_files_of_the_same_second_and_of_the_past_are_all_read(tmp_path: Path) -> None:
    for name, number in (("a", 1), ("b", 2), ("c", 3)):
        (tmp_path / name).write_bytes(lines(number))
        os.utime(tmp_path / name, (1000, 1000))
    async with driven(folder(tmp_path)) as watch:
        await watch.settled()
        (tmp_path / "late").write_bytes(lines(4))
        os.utime(tmp_path / "late", (10, 10))
        await watch.settled()
        assert watch.source.numbers == [1, 2, 3, 4]


async def test_the_same_name_with_another_content_is_a_new_generation(tmp_path: Path) -> None:
    file = tmp_path / "customers.jsonl"
    file.write_bytes(lines(1))
    async with driven(folder(tmp_path)) as watch:
        await watch.settled()
        file.write_bytes(lines(2, 3))
        await watch.settled()
        assert watch.source.numbers == [1, 2, 3]
        assert (await watch.files())["customers.jsonl"]["generation"] == 2


async def test_the_same_content_again_delivers_nothing_whatever_its_name(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(lines(1))
    async with driven(folder(tmp_path)) as watch:
        await watch.settled()
        (tmp_path / "b.jsonl").write_bytes(lines(1))
        (tmp_path / "a.jsonl").touch()
        await watch.settled()
        assert watch.source.numbers == [1]
        files = await watch.files()
        assert {name: row["state"] for name, row in files.items()} == {"a.jsonl": "duplicate", "b.jsonl": "duplicate"}
        assert files["b.jsonl"]["reason"] == "its content came before, as a.jsonl"


async def test_a_file_that_is_moved_in_under_its_final_name_is_read_once(tmp_path: Path) -> None:
    upload = tmp_path / "a.jsonl.tmp"
    upload.write_bytes(lines(1))
    async with driven(folder(tmp_path)) as watch:
        await watch.settled()
        assert await watch.states() == {}
        upload.rename(tmp_path / "a.jsonl")
        await watch.settled()
        assert watch.source.numbers == [1]


async def test_files_of_one_name_in_several_folders_are_several_files(tmp_path: Path) -> None:
    for day, number in (("2026-11-23", 1), ("2026-11-24", 2)):
        (tmp_path / day).mkdir()
        (tmp_path / day / "customers.jsonl").write_bytes(lines(number))
    async with driven(folder(tmp_path, depth=1)) as watch:
        await watch.settled()
        assert sorted(watch.source.numbers) == [1, 2]
        assert sorted(await watch.states()) == ["2026-11-23/customers.jsonl", "2026-11-24/customers.jsonl"]
    async with driven(folder(tmp_path)) as shallow:
        assert await shallow.states() == {}


async def test_a_marker_is_waited_for_and_never_read_itself(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(lines(1))
    async with driven(folder(tmp_path, marker="{name}.done")) as watch:
        await watch.settled()
        assert watch.source.events == []
        row = (await watch.files())["a.jsonl"]
        assert (row["state"], row["reason"]) == ("settling", "a.jsonl.done is not there yet")
        (tmp_path / "a.jsonl.done").touch()
        await watch.look()
        assert watch.source.numbers == [1]
        assert await watch.states() == {"a.jsonl": "done"}


@pytest.mark.parametrize("kind", ["md5", "sha1", "sha256", "sha512"])
async def test_a_checksum_is_held_against_the_content(tmp_path: Path, kind: str) -> None:
    (tmp_path / "a.jsonl").write_bytes(lines(1))
    wrong, right = (hashlib.new(kind, content).hexdigest() for content in (b"", lines(1)))
    sign = tmp_path / f"a.{kind}"
    sign.write_text(f"{wrong}  a.jsonl\n")
    async with driven(folder(tmp_path, checksum=f"{{stem}}.{kind}")) as watch:
        await watch.settled()
        row = (await watch.files())["a.jsonl"]
        assert (row["state"], row["reason"]) == ("blocked", f"its content is not what a.{kind} says")
        sign.write_text(f"{right.upper()}\n")
        await watch.settled()
        assert watch.source.numbers == [1]


async def test_a_file_that_is_read_in_vain_is_fetched_ever_more_seldom_and_keeps_nobody_from_being_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetches: list[bytes] = []

    async def counting(area: Area, path: bytes, *given: Any, **named: Any) -> None:
        fetches.append(path)
        await fetch(area, path, *given, **named)

    monkeypatch.setattr(contents, "fetch", counting)
    monkeypatch.setattr(connector, "MOST_AT_ONCE", 2)
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.jsonl").write_bytes(lines(1))
        (tmp_path / f"{name}.jsonl.sha256").write_text("0" * 64)
    async with driven(folder(tmp_path, checksum="{name}.sha256")) as watch:
        await watch.settled()
        (tmp_path / "z.jsonl").write_bytes(lines(7))
        (tmp_path / "z.jsonl.sha256").write_text(hashlib.sha256(lines(7)).hexdigest())
        for _ in range(30):
            await watch.look()
        assert watch.source.numbers == [7]
        assert [fetches.count(b"%c.jsonl" % one) for one in b"az"] == [6, 1]  # after 1, 2, 4, 8 and 15 minutes


async def test_a_manifest_names_several_files(tmp_path: Path) -> None:
    for name, number in (("a.jsonl", 1), ("b.jsonl", 2)):
        (tmp_path / name).write_bytes(lines(number))
    (tmp_path / "SHA256SUMS").write_text(f"{hashlib.sha256(lines(1)).hexdigest()} *a.jsonl\n# b comes later\n")
    async with driven(folder(tmp_path, checksum="SHA256SUMS")) as watch:
        await watch.settled()
        assert watch.source.numbers == [1]
        assert (await watch.files())["b.jsonl"]["reason"] == "SHA256SUMS holds no checksum of it"


async def test_a_file_that_leaves_before_it_was_read_is_said_to_be_gone(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(lines(1))
    async with driven(folder(tmp_path)) as watch:
        (tmp_path / "a.jsonl").unlink()
        await watch.look()
        row = (await watch.files())["a.jsonl"]
        assert (row["state"], row["reason"]) == ("gone", "it left before it was read")


async def test_a_folder_that_cannot_be_listed_is_an_error_and_no_empty_folder(tmp_path: Path) -> None:
    area = tmp_path / "in"
    area.mkdir()
    (area / "a.jsonl").write_bytes(lines(1))
    source = SteppedSource()
    async with driven(folder(area), source):
        pass
    area.rename(tmp_path / "away")
    with pytest.raises(SourceUnavailable, match="cannot be listed: No such file"):
        await folder(area).run(source)
    (tmp_path / "away").rename(area)
    async with driven(folder(area), source) as watch:
        assert await watch.states() == {"a.jsonl": "seen"}
        await watch.look()
        assert source.numbers == [1]


@pytest.mark.parametrize("after", ["delete", "move:archive/old"])
async def test_what_was_read_is_tidied_up_and_a_new_file_of_that_name_is_read(tmp_path: Path, after: str) -> None:
    file = tmp_path / "a.jsonl"
    async with driven(folder(tmp_path, after=after, depth=3)) as watch:
        for number in (1, 2):
            file.write_bytes(lines(number))
            await watch.settled()
            assert not file.exists()
        assert watch.source.numbers == [1, 2]
        archived = sorted(path.read_bytes() for path in found(tmp_path, "a.jsonl*"))
        assert archived == ([] if after == "delete" else [lines(1), lines(2)])


async def test_what_the_other_side_refuses_is_said_once_and_the_file_is_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path, missing_ok: bool = False) -> None:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "a.jsonl").write_bytes(lines(1))
    async with driven(folder(tmp_path, after="delete")) as watch:
        monkeypatch.setattr(Path, "unlink", refuse)
        await watch.settled()
        row = (await watch.files())["a.jsonl"]
        assert (row["state"], row["after"]) == ("done", "refused")
        assert row["reason"] == "it was read; it could not be deleted: permission denied"
        emits = watch.source.emits
        await watch.settled()
        assert (watch.source.numbers, watch.source.emits) == ([1], emits)


async def test_a_bad_row_is_set_aside_with_its_line_and_the_others_go_on(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(lines(1) + b"{oops\n" + lines(3, 4))
    async with driven(folder(tmp_path)) as watch:
        await watch.settled()
        assert watch.source.numbers == [1, 3, 4]
        ((_, fault),) = watch.source.faults
        assert (fault.code, fault.message) == ("not_json", "a.jsonl, line 2: the line is no JSON")
        assert (await watch.files())["a.jsonl"]["bad"] == 1


async def test_too_many_bad_rows_stop_the_file_before_its_first_row(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(lines(1) + b"{oops\n" * 3 + lines(3))
    async with driven(folder(tmp_path, max_bad="2")) as watch:
        await watch.settled()
        assert (watch.source.events, watch.source.faults) == ([], [])
        row = (await watch.files())["a.jsonl"]
        assert row["state"] == "quarantined"
        assert row["reason"] == "3 of 5 records cannot be read, the first one at line 2: the line is no JSON"


async def test_a_mapping_that_fits_nothing_stops_the_file_early(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"email": ["no text"], "n": 1}\n' * 5000)
    async with driven(folder(tmp_path)) as watch:
        await watch.settled()
        row = (await watch.files())["a.jsonl"]
        assert (row["state"], row["record"]) == ("quarantined", 1000)
        assert "cannot be mapped" in row["reason"]


async def test_a_file_that_is_damaged_at_its_end_gives_not_a_single_row(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(lines(*range(3000)) + DAMAGED)
    async with driven(folder(tmp_path)) as watch:
        await watch.settled()
        assert watch.source.events == []
        row = (await watch.files())["a.jsonl"]
        assert (row["state"], row["reason"]) == ("quarantined", "line 3001 says that it is damaged")


async def test_an_empty_file_is_done_and_counts_as_no_content(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).touch()
    async with driven(folder(tmp_path)) as watch:
        await watch.settled()
        assert {(row["state"], row["reason"]) for row in (await watch.files()).values()} == {("done", "it is empty")}


async def test_names_are_bytes_and_links_and_pipes_are_never_read(tmp_path: Path) -> None:
    secret, area = tmp_path / "secret", tmp_path / "in"
    area.mkdir()
    secret.write_bytes(lines(666))
    names = [b"a\nb", b"\x1b[2Jx", b"\xff\xfe.csv", b"n" * 250, "ö \u202e".encode(), b"-rf", b"a\\x41"]
    for number, name in enumerate(names):
        (area / os.fsdecode(name)).write_bytes(lines(number))
    (area / "link").symlink_to(secret)
    (area / "dangling").symlink_to("/nowhere")
    (area / "loop").symlink_to(area)
    os.mkfifo(area / "pipe")
    async with driven(folder(area, depth=5)) as watch:
        await watch.settled()
        assert sorted(watch.source.numbers) == list(range(len(names)))
        files = await watch.files()
        assert {name: files[name]["state"] for name in ("link", "dangling", "loop", "pipe")} == dict.fromkeys(
            ("link", "dangling", "loop", "pipe"), "blocked"
        )
        assert files["link"]["reason"] == "it is a link, and links are not followed"
        assert all(name.isprintable() for name in files)


async def test_a_file_too_large_for_the_settings_or_the_disk_waits_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(lines(*range(100)))
    source = SteppedSource()
    source.space = 100
    async with driven(folder(tmp_path), source) as watch:
        await watch.settled()
        row = (await watch.files())["a.jsonl"]
        assert "the state directory has room for 100 beyond journal.reserve" in row["reason"]
        source.space = 2**30
        await watch.settled()
        assert len(source.events) == 100
    (tmp_path / "b.jsonl").write_bytes(lines(*range(200)))
    async with driven(folder(tmp_path, max_size=Size.parse("1KiB")), source) as watch:
        await watch.settled()
        assert "more than max_size (1KiB)" in (await watch.files())["b.jsonl"]["reason"]


TRIED = "; it was tried 5 times, and is again with: cdmctl files retry"


async def test_a_file_whose_reader_is_ended_from_outside_again_and_again_is_set_aside_and_the_others_are_read(
    tmp_path: Path,
) -> None:
    class Ending(Lines):
        left = 5

        def rows(self, stream: BinaryIO) -> Iterator[Row]:
            for row in super().rows(stream):
                if row.value == {"email": "u3@example.com", "n": 3} and self.left:
                    self.left -= 1
                    raise ReaderEnded("it was ended; give it more memory")
                yield row

    (tmp_path / "a.jsonl").write_bytes(lines(1, 2, 3))
    (tmp_path / "b.jsonl").write_bytes(lines(4))
    watcher, source = folder(tmp_path, format=ChosenFormat(Ending, Lines.Settings())), SteppedSource()
    for _ in range(4):
        with pytest.raises(ExceptionGroup) as caught:
            async with driven(watcher, source) as watch:
                await watch.settled()
        assert caught.group_contains(ReaderEnded), "it is tried again"
        assert source.numbers == []
    async with driven(watcher, source) as watch:
        await watch.settled()
        files = await watch.files()
        assert {name: (row["state"], row["reason"]) for name, row in files.items()} == {
            "a.jsonl": ("quarantined", f"it was ended; give it more memory{TRIED}"),
            "b.jsonl": ("done", None),
        }
        assert await watch.tell("retry", "a.jsonl") == 1
        await watch.look(1)
        assert (await watch.states())["a.jsonl"] == "done"
        assert source.numbers == [4, 1, 2, 3]


async def test_a_quarantined_file_is_read_again_when_told(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(lines(1) + b"{oops\n" * 3)
    source = SteppedSource()
    async with driven(folder(tmp_path, max_bad="0"), source) as watch:
        await watch.settled()
        assert await watch.states() == {"a.jsonl": "quarantined"}
    async with driven(folder(tmp_path, max_bad="5"), source) as watch:
        await watch.settled()
        assert source.events == []
        assert await watch.tell("retry", "a.jsonl") == 1
        await watch.look(1)
        assert source.numbers == [1]
        assert len(source.faults) == 3


async def test_a_file_is_skipped_or_read_again_when_told_and_by_name_only(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(lines(1))
    (tmp_path / "b.jsonl").write_bytes(lines(2))
    async with driven(folder(tmp_path)) as watch:
        await watch.tell("skip", "a.jsonl")
        await watch.settled()
        assert watch.source.numbers == [2]
        assert await watch.states() == {"a.jsonl": "skipped", "b.jsonl": "done"}
        await watch.tell("replay", "b.jsonl")
        await watch.tell("retry", "a.jsonl")
        await watch.look(1)
        assert watch.source.numbers == [2, 1, 2]
        ids = [event.id for event in watch.source.events]
        assert ids[0] == ids[2], "what was taken before counts once"
        with pytest.raises(NotFound, match=r"no file c\.jsonl"):
            await watch.tell("retry", "c.jsonl")
        with pytest.raises(BadArguments, match=r"cdmctl files replay b\.jsonl"):
            await watch.tell("retry", "b.jsonl")
        with pytest.raises(BadArguments, match="retry, skip, replay"):
            await watch.tell("burn", "b.jsonl")
        with pytest.raises(BadArguments, match="no such state"):
            await watch.files("lost")
        assert set(await watch.files("done")) == {"a.jsonl", "b.jsonl"}


@pytest.mark.no_cover
async def test_many_files_are_listed_in_pages_and_taken_in_turns(tmp_path: Path) -> None:
    for number in range(1234):
        (tmp_path / f"{number:05}").write_bytes(lines(number))
    async with driven(folder(tmp_path, stable_for=Duration.parse("1s"))) as watch:
        await watch.look()
        assert len(watch.source.events) == 1000
        assert watch.source.until <= watch.source.clock.now() + timedelta(seconds=1), "it goes on at once"
        await watch.look()
        assert sorted(watch.source.numbers) == list(range(1234))


async def test_a_packed_file_is_read_by_its_content_and_a_cut_one_not_at_all(tmp_path: Path) -> None:
    packed = gzip.compress(lines(*range(5000)))
    (tmp_path / "whole.gz").write_bytes(packed)
    (tmp_path / "cut.gz").write_bytes(packed[:-20])
    async with driven(folder(tmp_path)) as watch:
        await watch.settled()
        assert watch.source.numbers == list(range(5000))
        files = await watch.files()
        assert (files["cut.gz"]["state"], files["cut.gz"]["record"]) == ("quarantined", 0)


async def test_the_entries_of_a_zip_follow_each_other(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name, content in (("b[1].jsonl", lines(3)), ("a.jsonl", lines(1, 2)), ("readme.txt", b"no json")):
            archive.writestr(name, content)
    async with driven(folder(tmp_path, entry="*.jsonl")) as watch:
        await watch.settled()
        assert watch.source.numbers == [1, 2, 3]
        assert [event.id.rpartition(":")[2] for event in watch.source.events] == ["1", "2", "3"]


async def test_a_full_disk_is_said_and_the_file_is_read_when_there_is_room_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.jsonl").write_bytes(lines(*range(100)))
    source = SteppedSource()
    watcher = folder(tmp_path)
    with monkeypatch.context() as full:
        full.setattr(spool, "_unnamed", lambda _: os.open("/dev/full", os.O_RDWR))
        with pytest.raises(BaseExceptionGroup) as caught:
            async with driven(watcher, source) as watch:
                await watch.look()
    assert "the disk is full: the file cannot be held" in str(caught.value.exceptions[0])
    assert source.events == []
    async with driven(watcher, source) as watch:
        await watch.look()
        assert len(source.events) == 100
