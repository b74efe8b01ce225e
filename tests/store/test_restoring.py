"""One file that holds both databases, and the way back."""

import io
import os
import resource
import shutil
import tarfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import msgspec
import pytest

from cdmd.errors import CdmdError, Damaged, InUse
from cdmd.store.files import StateDirectory
from cdmd.store.keys import KEY_BYTES
from cdmd.store.opening import Opened, open_state
from cdmd.store.restoring import Manifest, backup, kept_state, restore
from tests.store.contract_feeds import written
from tests.store.contract_store import applied, give
from tests.store.samples import HandClock, append_of

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def running(state: StateDirectory, *, new_id: str = "one") -> AsyncIterator[Opened]:
    async with state.hold(), open_state(state, clock=HandClock(), new_id=lambda: new_id, random=os.urandom) as opened:
        yield opened


@pytest.fixture
def state(tmp_path: Path) -> StateDirectory:
    return StateDirectory(tmp_path / "state")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "backup.tar"


async def back_up(opened: Opened, file: Path) -> Manifest:
    return await backup(opened.journal, opened.store, opened.feeds, file, clock=HandClock(), version="0.1.0")


async def put_back(file: Path, state: StateDirectory) -> Manifest:
    return await anyio.to_thread.run_sync(restore, file, state)


async def filled(state: StateDirectory, file: Path) -> Manifest:
    async with running(state) as opened:
        await written(opened.feeds, b"a row")
        await opened.journal.append([append_of(1, 2, 3)])
        await give(opened.store, applied(1, 2))
        return await back_up(opened, file)


def entries_of(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def rewrite(file: Path, change: dict[str, bytes | None]) -> None:
    """The same backup with some members replaced or (None) left out."""
    with tarfile.open(file) as tar:
        members = {info.name: tar.extractfile(info).read() for info in tar}  # type: ignore[union-attr]
    with tarfile.open(file, "w") as tar:
        for name, content in (members | change).items():
            if content is not None:
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))


async def test_a_backup_says_what_is_in_it_and_is_private(state: StateDirectory, file: Path) -> None:
    made = await filled(state, file)
    assert (made.version, made.journal_id, made.head, made.position) == ("0.1.0", "one", 3, 2)
    assert made.created == "2026-11-24T12:00:00Z"
    assert os.stat(file).st_mode & 0o777 == 0o600  # noqa: PTH116
    assert not [name for name in entries_of(state.root) if name.startswith("scratch-")]


async def test_a_restored_directory_is_as_it_was_and_the_old_one_is_kept_aside(state: StateDirectory, file: Path) -> None:
    made = await filled(state, file)
    async with running(state) as opened:
        await opened.journal.append([append_of(4, 5)])
    assert await put_back(file, state) == made
    async with running(state) as opened:
        assert (opened.journal.head, opened.store.position) == (3, 2)
        assert await opened.journal.verify() == await opened.store.verify() == await opened.feeds.verify() == []
        assert await opened.feeds.get(1, [0]) == [b"a row"]
        await opened.journal.append([append_of(4)])
    assert {"journal.db", "store.db", "mark"} <= entries_of(state.root / "before-restore-1")
    await put_back(file, state)
    assert "before-restore-2" in entries_of(state.root)


async def test_a_backup_restores_into_an_empty_directory_that_has_the_key(
    state: StateDirectory, file: Path, tmp_path: Path
) -> None:
    await filled(state, file)
    other = StateDirectory(tmp_path / "other")
    await put_back(file, other)
    with pytest.raises(Damaged, match=r"digest\.key is missing"):
        async with running(other):
            pass
    other.key.parent.mkdir(exist_ok=True)
    other.key.write_bytes(b"x" * KEY_BYTES)
    with pytest.raises(Damaged, match="another digest key"):
        async with running(other):
            pass
    other.key.write_bytes(state.key.read_bytes())
    async with running(other) as opened:
        assert (opened.journal.head, opened.store.position) == (3, 2)


async def test_a_backup_of_a_version_without_feeds_is_restored_and_what_is_there_goes_aside(
    state: StateDirectory, file: Path
) -> None:
    made = await filled(state, file)
    checksums = {name: sum_ for name, sum_ in made.checksums.items() if name != "feeds.db"}
    older = msgspec.json.encode(msgspec.structs.replace(made, checksums=checksums))
    rewrite(file, {"feeds.db": None})
    with pytest.raises(Damaged, match=r"not whole: feeds\.db is missing"):
        await put_back(file, state)
    rewrite(file, {"manifest.json": older})
    await put_back(file, state)
    async with running(state) as opened:
        assert (opened.journal.head, await opened.feeds.size(1)) == (3, None)
    assert "feeds.db" in entries_of(state.root / "before-restore-1")


async def test_a_restored_journal_is_another_one_so_that_its_numbers_name_nobody_twice(
    state: StateDirectory, file: Path
) -> None:
    made = await filled(state, file)
    found = {made.journal_id}
    for _ in range(2):
        await put_back(file, state)
        async with running(state) as opened:
            assert opened.journal.head == made.head
            found.add(opened.journal.id)
    assert len(found) == 3


async def test_nothing_is_restored_while_a_daemon_runs(state: StateDirectory, file: Path) -> None:
    await filled(state, file)
    async with running(state):
        with pytest.raises(InUse):
            await put_back(file, state)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"store.db": None}, "store.db is missing"),
        ({"manifest.json": None}, "manifest.json is missing"),
        ({"manifest.json": b"{"}, "cannot be read"),
        ({"journal.db": b"other"}, "journal.db does not match its checksum"),
    ],
)
async def test_a_backup_that_is_not_whole_changes_nothing(
    state: StateDirectory, file: Path, change: dict[str, bytes | None], sentence: str
) -> None:
    await filled(state, file)
    rewrite(file, change)
    with pytest.raises(Damaged, match=sentence):
        await put_back(file, state)
    async with running(state) as opened:
        assert opened.journal.head == 3


async def test_a_backup_of_another_format_is_refused(state: StateDirectory, file: Path) -> None:
    made = await filled(state, file)
    rewrite(file, {"manifest.json": msgspec.json.encode(msgspec.structs.replace(made, format=2))})
    with pytest.raises(Damaged, match="format 2"):
        await put_back(file, state)


async def test_a_backup_of_a_damaged_store_is_not_put_in_place(state: StateDirectory, file: Path, tmp_path: Path) -> None:
    async with running(state) as opened:
        await opened.journal.append([append_of(1)])
        await opened.journal._writer.run(lambda connection: connection.execute("UPDATE blocks SET written = 1").rowcount)
        await back_up(opened, file)
    with pytest.raises(Damaged, match="do not match their checksum"):
        await put_back(file, StateDirectory(tmp_path / "other"))


@pytest.mark.parametrize("content", [b"", b"no tar at all" * 100])
def test_a_file_that_is_no_backup_is_refused(state: StateDirectory, file: Path, content: bytes) -> None:
    file.write_bytes(content)
    with pytest.raises(Damaged, match="cannot be read"):
        restore(file, state)


async def test_a_truncated_backup_is_refused(state: StateDirectory, file: Path) -> None:
    await filled(state, file)
    os.truncate(file, 100_000)
    with pytest.raises(Damaged):
        await put_back(file, state)


async def test_a_backup_never_overwrites_and_a_failed_one_leaves_nothing(
    state: StateDirectory, file: Path, tmp_path: Path
) -> None:
    await filled(state, file)
    async with running(state) as opened:
        with pytest.raises(CdmdError, match="File exists; nothing of it is left; a backup never takes the place of another"):
            await back_up(opened, file)
        with pytest.raises(CdmdError, match=r"could not be written: No such file or directory; .*; make its folder first"):
            await back_up(opened, tmp_path / "missing" / "backup.tar")
        with pytest.raises(CdmdError, match=r"File name too long; .*; name it shorter"):
            await back_up(opened, tmp_path / ("b" * 300))


async def test_a_backup_of_what_cannot_be_copied_says_where_to_look(
    state: StateDirectory, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await filled(state, file)

    def damaged(source: Path, target: Path) -> None:
        raise Damaged("the store is damaged")

    monkeypatch.setattr("cdmd.store.restoring.copy_database", damaged)
    async with running(state) as opened:
        with pytest.raises(CdmdError, match=r"could not be written: the store is damaged; .*; try again, .* cdmctl verify"):
            await back_up(opened, file.with_name("second.tar"))
    assert not file.with_name("second.tar").exists()


async def test_a_backup_that_finds_no_space_leaves_no_file(state: StateDirectory, file: Path, tmp_path: Path) -> None:
    await filled(state, file)
    enough = os.stat(file).st_size  # noqa: PTH116
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    async with running(state) as opened:
        resource.setrlimit(resource.RLIMIT_FSIZE, (enough - 4_096, before[1]))
        try:
            with pytest.raises(CdmdError, match="File too large"):
                await back_up(opened, tmp_path / "second.tar")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert "second.tar" not in entries_of(tmp_path)
        assert not [name for name in entries_of(state.root) if name.startswith("scratch-")]


async def test_a_crash_between_aside_and_in_place_is_not_started(state: StateDirectory, file: Path) -> None:
    await filled(state, file)
    aside = state.root / "before-restore-1"
    aside.mkdir()
    state.journal.rename(aside / "journal.db")
    state.store.rename(aside / "store.db")
    with pytest.raises(Damaged, match=r"there is no .*journal\.db, but there was a journal"):
        async with running(state, new_id="two"):
            pass


OWNER = "daemon:privacy"
SUPPRESSED = {b"s/1": b"a"}
LAID = {(OWNER, key): value for key, value in SUPPRESSED.items()}


async def suppressed_and_killed(state: StateDirectory) -> None:
    """What is kept lies in the write-ahead log, as a kill leaves it."""
    names = [state.journal.with_name(f"journal.db{suffix}") for suffix in ("", "-wal", "-shm")]
    async with running(state) as opened:
        await opened.journal.append([append_of(4, connector=OWNER, state=dict(SUPPRESSED))])
        left = {path: await anyio.Path(path).read_bytes() for path in names}
    for path, content in left.items():
        await anyio.Path(path).write_bytes(content)


async def cut_off(file: Path, state: StateDirectory, monkeypatch: pytest.MonkeyPatch, *, after: int) -> None:
    """A restore that is killed when it has moved so many files."""
    moved: list[Path] = []
    rename = Path.rename

    def renamed(path: Path, target: Path) -> Path:
        found = rename(path, target)
        moved.append(path)
        if len(moved) == after:
            raise KeyboardInterrupt
        return found

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", renamed)
        with pytest.raises(KeyboardInterrupt):
            await anyio.to_thread.run_sync(lambda: restore(file, state, state=LAID))


@pytest.mark.parametrize("after", range(1, 9))
async def test_a_restore_that_was_cut_off_still_knows_what_was_kept(
    state: StateDirectory, file: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    await filled(state, file)
    await suppressed_and_killed(state)
    await cut_off(file, state, monkeypatch, after=after)
    for _ in range(2):
        assert await anyio.to_thread.run_sync(kept_state, state, OWNER) == SUPPRESSED
        await cut_off(file, state, monkeypatch, after=1)  # and once more
    await anyio.to_thread.run_sync(lambda: restore(file, state, state=LAID))
    assert await anyio.to_thread.run_sync(kept_state, state, OWNER) == SUPPRESSED


async def test_of_several_that_were_put_aside_the_last_one_is_asked_and_none_is_not_nothing(
    state: StateDirectory, file: Path
) -> None:
    await filled(state, file)
    (state.root / "before-restore-old").mkdir()
    for number, value in ((9, b"old"), (10, b"new")):
        async with running(state) as opened:
            await opened.journal.append([append_of(4, connector=OWNER, state={b"s/1": value})])
        await anyio.to_thread.run_sync(shutil.copytree, state.root, state.root.parent / f"before-restore-{number}")
    for number in (9, 10):
        (state.root.parent / f"before-restore-{number}").rename(state.root / f"before-restore-{number}")
    state.journal.unlink()
    assert await anyio.to_thread.run_sync(kept_state, state, OWNER) == {b"s/1": b"new"}
    await put_back(file, state)
    assert "before-restore-11" in entries_of(state.root)
    state.journal.unlink()
    for aside in state.root.glob("before-restore-1*"):
        (aside / "journal.db").unlink(missing_ok=True)
    (state.root / "before-restore-9" / "journal.db").unlink()
    assert await anyio.to_thread.run_sync(kept_state, state, OWNER) is None, "there was a journal"


async def test_what_an_earlier_restore_put_aside_is_not_taken_for_a_journal_that_was_lost(
    state: StateDirectory, file: Path
) -> None:
    await filled(state, file)
    async with running(state) as opened:
        await opened.journal.append([append_of(4, connector=OWNER, state=dict(SUPPRESSED))])
    await put_back(file, state)
    state.journal.unlink()
    log = anyio.Path(state.journal.with_name("journal.db-wal"))
    await log.write_bytes(b"of the one that is lost")
    assert await anyio.to_thread.run_sync(kept_state, state, OWNER) is None
    assert await log.exists()
    state.mark.write_bytes(b"no mark")
    assert await anyio.to_thread.run_sync(kept_state, state, OWNER) is None


async def test_what_was_kept_beside_the_entries_can_be_laid_over_a_backup(state: StateDirectory, file: Path) -> None:
    assert await anyio.to_thread.run_sync(kept_state, state, "daemon:privacy") == {}
    await filled(state, file)
    async with running(state) as opened:
        await opened.journal.append([append_of(4, connector="daemon:privacy", state={b"s/1": b"a", b"s/2": b"b"})])
    kept = await anyio.to_thread.run_sync(kept_state, state, "daemon:privacy")
    assert kept == {b"s/1": b"a", b"s/2": b"b"}
    laid = {("daemon:privacy", key): value for key, value in kept.items()}
    await anyio.to_thread.run_sync(lambda: restore(file, state, state=laid, new_id=lambda: "two"))
    async with running(state, new_id="two") as opened:
        assert opened.journal.head == 3
        assert await opened.journal.get("daemon:privacy", [b"s/2"]) == {b"s/2": b"b"}
    await anyio.Path(state.journal).write_bytes(b"no database at all, and long enough to be one" * 100)
    assert await anyio.to_thread.run_sync(kept_state, state, "daemon:privacy") is None
