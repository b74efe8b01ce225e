"""The state directory, the digest key, and both databases opened together."""

import errno
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import anyio
import pytest

from cdmd.contracts import Append
from cdmd.errors import CdmdError, Damaged, InUse, NotDurable
from cdmd.models import Micros, Seq
from cdmd.store.database import emptied
from cdmd.store.files import StateDirectory
from cdmd.store.keys import Digester, load_key
from cdmd.store.opening import Server, check_place, check_together, open_state
from tests.store.contract_store import applied, give
from tests.store.samples import HandClock, append_of, event


def test_the_directory_is_made_private_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with StateDirectory(tmp_path / "a" / "state").held() as state:
            assert state.root.stat().st_mode & 0o777 == 0o700
            assert state.key.parent.stat().st_mode & 0o777 == 0o700
            assert state.lock.stat().st_mode & 0o777 == 0o600
    finally:
        os.umask(before)


def test_a_disk_without_room_for_the_lock_or_the_key_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(NotDurable, match=r"digest\.key cannot be read or made: No space left"):
        load_key(tmp_path / "digest.key", random=os.urandom)
    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(CdmdError, match="cannot be used: No space left"), StateDirectory(tmp_path / "state").held():
        pass
    monkeypatch.undo()
    with StateDirectory(tmp_path / "state").held():
        pass


def test_a_second_daemon_is_refused_with_the_process_of_the_first(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from cdmd.store.files import StateDirectory\n"
        f"with StateDirectory(Path({str(tmp_path)!r})).held(): print('in', flush=True); sys.stdin.read()"
    )
    root = Path(__file__).parents[2]
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=root) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"in\n"
        with pytest.raises(InUse, match=f"process {other.pid}"), StateDirectory(tmp_path).held():
            pass
        other.kill()
    with StateDirectory(tmp_path).held() as state:
        assert state.lock.read_text() == f"{os.getpid()}\n"


def test_a_directory_that_cannot_be_made_is_told_plainly(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CdmdError, match="cannot be used"), StateDirectory(tmp_path / "file").held():
        pass


def test_the_key_is_made_once_and_private(tmp_path: Path) -> None:
    key = load_key(tmp_path / "key", random=os.urandom)
    assert len(key) == 32
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    assert load_key(tmp_path / "key", random=os.urandom) == key


def test_a_key_of_another_size_is_damage(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"short")
    with pytest.raises(Damaged, match="32 bytes"):
        load_key(tmp_path / "key", random=os.urandom)


def test_occurrences_differ_by_source_id_and_key() -> None:
    digester = Digester(b"k" * 32)
    names = [("a", "bc"), ("ab", "c"), ("", "abc"), ("abc", "")]
    digests = {digester.occurrence(*name) for name in names} | {Digester(b"x" * 32).occurrence("a", "bc")}
    assert len(digests) == 5
    assert {len(one) for one in digests} == {16}
    assert digester.occurrence("a", "bc") == Digester(b"k" * 32).occurrence("a", "bc")


def test_ids_that_are_numbered_begin_alike_and_are_none_the_less_all_different() -> None:
    digester, ids = Digester(b"k" * 32), [f"file:{number}" for number in (999, 1000, 1001, 1999, 2000, 11_000)]
    found = {(source, one): digester.occurrence(source, one) for one in ids for source in ("a", "b")}
    assert len(set(found.values())) == len(found)
    begun = {name: digest[:6] for name, digest in found.items()}
    assert begun["a", ids[1]] == begun["a", ids[2]] == begun["a", ids[3]]
    assert len(set(begun.values())) == len(found) - 2 * 2, "others, of another source, of another thousand, begin otherwise"
    for order in (sorted(found), sorted(found, reverse=True)):
        assert all(Digester(b"k" * 32).occurrence(*name) == digester.occurrence(*name) == found[name] for name in order)


def test_content_ignores_the_receipt_and_the_order_of_keys_and_sees_all_else() -> None:
    digester = Digester(b"k" * 32)
    same = [event(1, traits={"a": 1, "b": 2}), event(1, traits={"b": 2, "a": 1})]
    assert len({digester.content(one) for one in same}) == 1
    different = [event(1), event(2), event(1, traits={"a": 1}), event(1, kind="order.sent"), event(1).enriched(more=1)]
    numbers = {digester.content(one) for one in different}
    assert len(numbers) == 5
    assert all(-(2**63) <= number < 2**63 for number in numbers)


@pytest.mark.anyio
async def test_both_databases_open_together_and_go_on_together(tmp_path: Path) -> None:
    async with StateDirectory(tmp_path / "state").hold() as state:
        for expected in (0, 2):
            async with open_state(state, clock=HandClock(), new_id=lambda: "one", random=os.urandom) as opened:
                assert (opened.journal.head, opened.store.position, opened.store.synced) == (expected, expected, expected)
                if not expected:
                    await opened.journal.append([append_of(1, 2)])
                    await give(opened.store, applied(1, 2))
        modes = modes_below(state.root)
    assert set(modes.values()) == {0o600}
    assert {"journal.db", "store.db", "mark", "lock", "digest.key"} <= modes.keys()


def modes_below(root: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mode & 0o777 for path in root.rglob("*") if path.is_file()}


@pytest.mark.anyio
async def test_a_store_that_is_gone_while_the_journal_was_pruned_is_not_made_anew(tmp_path: Path) -> None:
    async with StateDirectory(tmp_path / "state").hold() as state:
        async with open_state(state, clock=HandClock(), new_id=lambda: "one", random=os.urandom) as opened:
            await opened.journal.append([append_of(1)])
            await opened.journal.append([append_of(2)])
            await opened.journal.prune(before=Micros(2**60), upto=Seq(1))
        state.store.unlink()
        with pytest.raises(Damaged, match="begins at 2"):
            async with open_state(state, clock=HandClock(), new_id=lambda: "one", random=os.urandom):
                pass


@pytest.mark.parametrize(
    ("first", "head", "position", "fits"),
    [(1, 0, 0, True), (1, 9, 0, True), (5, 9, 4, True), (5, 9, 9, True), (10, 9, 9, True), (5, 9, 3, False), (1, 9, 10, False)],
)
def test_store_and_journal_fit_when_no_event_lies_in_neither(first: int, head: int, position: int, fits: bool) -> None:
    if fits:
        check_together(first=Seq(first), head=Seq(head), position=Seq(position))
    else:
        with pytest.raises(Damaged):
            check_together(first=Seq(first), head=Seq(head), position=Seq(position))


def test_a_store_is_looked_for_only_where_it_was(tmp_path: Path) -> None:
    directory, server = StateDirectory(tmp_path), Server("postgresql://db/cdmd", None)
    for either in (None, server):
        check_place(directory, either)
    directory.elsewhere.touch()
    check_place(directory, server)
    with pytest.raises(CdmdError, match="does not name one"):
        check_place(directory, None)
    directory.elsewhere.unlink()
    directory.store.touch()
    check_place(directory, None)
    with pytest.raises(CdmdError, match="does not move to"):
        check_place(directory, server)


@pytest.mark.anyio
async def test_a_writer_that_nobody_waits_for_any_more_goes_on(tmp_path: Path) -> None:
    async with (
        StateDirectory(tmp_path / "state").hold() as state,
        open_state(state, clock=HandClock(), new_id=lambda: "one", random=os.urandom) as opened,
    ):
        with anyio.move_on_after(0):
            await opened.journal.append([append_of(1)])
        await opened.journal.append([Append(connector="shop", state={b"a": b"1"})])
        assert await opened.journal.get("shop", [b"a"]) == {b"a": b"1"}


def test_what_a_killed_backup_left_goes_with_the_next_start(tmp_path: Path) -> None:
    (tmp_path / "scratch-x").mkdir()
    (tmp_path / "scratch-x" / "store.db").write_bytes(b"personal")
    with StateDirectory(tmp_path).held() as state:
        assert not (state.root / "scratch-x").exists()


@pytest.mark.anyio
async def test_a_directory_with_a_journal_of_its_own_is_not_opened_with_a_shared_one(tmp_path: Path) -> None:
    async with StateDirectory(tmp_path / "state").hold() as state:
        how = {"clock": HandClock(), "new_id": lambda: "one", "random": os.urandom}
        async with open_state(state, **how):
            pass
        with pytest.raises(CdmdError, match=r"has a journal of its own, and journal\.url names another"):
            async with open_state(state, **how, shared=lambda _: pytest.fail("it is asked for")):
                pass


def test_a_log_that_cannot_be_synced_is_not_said_to_be_empty(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "some.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE one (n)")
        assert emptied(connection)
        (tmp_path / "some.db-wal").unlink()
        with pytest.raises(sqlite3.OperationalError, match="the log cannot be synced: No such file"):
            emptied(connection)
