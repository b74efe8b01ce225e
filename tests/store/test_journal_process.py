"""The journal's writer in a process of its own: the contract, what the disk can do to it, what the process's end means."""

import errno
import gc
import os
import pickle
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, TypeAlias

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from cdmd.contracts import Append
from cdmd.errors import NotDurable
from cdmd.models import Micros, Seq
from cdmd.store import journal_process
from cdmd.store.appending import Commit
from cdmd.store.frames import receive, send, sendable
from cdmd.store.journal import SqliteJournal
from cdmd.store.journal_process import END, FAILED, RUN, JournalServed
from cdmd.store.journal_remote import OwnJournal, OwnWriter
from cdmd.store.process import Child
from tests.store import test_sqlite_journal as here
from tests.store.contract_journal import JournalContract
from tests.store.killing import run_and_kill
from tests.store.own_process import journal_in_thread
from tests.store.samples import Disk, HandClock, append_of, entry

pytestmark = pytest.mark.anyio

Reopen: TypeAlias = Callable[..., AbstractAsyncContextManager[SqliteJournal]]


def reopening(home: Path, own: OwnJournal, clock: HandClock) -> Reopen:
    def opening(**options: int) -> AbstractAsyncContextManager[SqliteJournal]:
        path, mark = home / "journal.db", home / "mark"
        return SqliteJournal.open(path, clock=clock, mark_path=mark, new_id=lambda: "one", own=own, **options)

    return opening


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
def reopen(tmp_path: Path, clock: HandClock, disk: Disk) -> Reopen:
    return reopening(tmp_path, journal_in_thread(disk.connect), clock)


class TestJournal(JournalContract):
    pytestmark = pytest.mark.anyio

    @pytest.fixture
    def reopen(self, tmp_path: Path, clock: HandClock) -> Reopen:
        return reopening(tmp_path, journal_in_thread(), clock)


# What the disk can do to it, as where a thread writes it.
test_full = here.test_a_full_disk_acknowledges_nothing_and_recovers_without_a_restart
test_anew = here.test_after_a_failure_the_journal_is_opened_anew_before_the_next_append
test_numbered = here.test_a_commit_that_was_packed_while_one_before_it_failed_is_numbered_as_what_is_there
test_not_checkpointed = here.test_what_cannot_be_checkpointed_anew_is_not_acknowledged
test_lost = here.test_a_journal_that_lost_acknowledged_entries_takes_no_more
test_tail_damaged = here.test_a_journal_whose_tail_is_damaged_takes_no_more
test_newer = here.test_a_newer_schema_is_refused
test_no_database = here.test_a_file_that_is_no_database_is_damaged
test_private = here.test_files_are_private_whatever_the_umask
test_closed = here.test_a_closed_journal_takes_nothing
test_log = here.test_a_log_that_cannot_be_emptied_at_the_start_is_told
test_bad_state = here.test_appends_that_fail_in_python_leave_the_journal_as_it_was
test_unhindered = here.test_readers_and_the_appender_do_not_hinder_each_other


async def test_every_commit_is_synced_also_after_a_failure(reopen: Reopen, disk: Disk) -> None:
    async with reopen() as journal:
        await journal.append([append_of(1)])
        disk.fail_on = "COMMIT"
        with pytest.raises(NotDurable):
            await journal.append([append_of(2)])
        disk.fail_on = None
        disk.commits.clear()
        await journal.append([append_of(2)])
        await journal.append([append_of(3, state={b"cursor": b"3"})])
        assert disk.commits == [2, 2]


# ---- a real process ------------------------------------------------------------------------------------------------


@asynccontextmanager
async def real(home: Path) -> AsyncIterator[SqliteJournal]:
    async with reopening(home, OwnJournal(), HandClock())() as journal:
        yield journal


async def pid_of(journal: SqliteJournal) -> int:
    pid = (await journal.statistics()).process
    assert pid is not None
    return pid


async def test_what_was_acknowledged_is_there_however_often_the_process_is_killed(tmp_path: Path) -> None:
    taken = list[tuple[Seq, int]]()
    async with real(tmp_path) as journal:
        for number in range(1, 91):
            if number % 30:
                taken.append((await journal.append([append_of(number, state={b"last": b"%d" % number})]), number))
                continue
            os.kill(await pid_of(journal), signal.SIGKILL)
            with pytest.raises(NotDurable, match="the journal's own process was ended by SIGKILL"):
                await journal.append([append_of(number, state={b"last": b"%d" % number})])
            assert journal.failure is not None
        found = {one.seq: one.entry for one in await journal.read(Seq(0), limit=1_000)}
        assert [found[seq] for seq, _ in taken] == [entry(number) for _, number in taken]
        assert len(found) - len(taken) <= 3
        (last,) = (await journal.get("shop", [b"last"])).values()
        assert found[journal.head] == entry(int(last))
        assert await journal.verify() == []


async def test_whoever_waits_when_it_is_killed_is_told_and_the_next_one_is_written(tmp_path: Path) -> None:
    async with real(tmp_path) as journal:
        os.kill(process := await pid_of(journal), signal.SIGSTOP)
        waiting = [journal.append([append_of(n)]) for n in (1, 2)]
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(journal.append, [append_of(3)])
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
        os.kill(process, signal.SIGKILL)
        for one in waiting:
            with pytest.raises(NotDurable, match="was ended by SIGKILL"):
                await one
        assert await journal.append([append_of(4)]) == 1
        assert await pid_of(journal) != process
        assert [one.entry for one in await journal.read(Seq(0), limit=9)] == [entry(4)]


async def test_nothing_is_acknowledged_while_it_does_nothing(tmp_path: Path) -> None:
    async with real(tmp_path) as journal:
        os.kill(process := await pid_of(journal), signal.SIGSTOP)
        told = list[Seq]()

        async def append() -> None:
            told.append(await journal.append([append_of(*range(2_000))]))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(append)
            tasks.start_soon(append)
            await anyio.wait_all_tasks_blocked()
            assert (told, journal.head) == ([], 0)
            os.kill(process, signal.SIGCONT)
        assert (told, journal.head) == ([1, 2_001], 4_000)


async def test_one_that_does_not_end_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdmd.store.journal_remote._ENDS_WITHIN", 0.05)
    async with real(tmp_path) as journal:
        os.kill(process := await pid_of(journal), signal.SIGSTOP)
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


async def test_it_is_gone_with_a_journal_that_is_left_by_a_cancellation(tmp_path: Path) -> None:
    with anyio.CancelScope() as scope:
        async with real(tmp_path) as journal:
            process = await pid_of(journal)
            scope.cancel()
            await anyio.lowlevel.checkpoint()
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


@pytest.mark.timeout(60)
async def test_what_was_acknowledged_before_the_daemon_is_killed_is_there(
    tmp_path: Path,
) -> None:
    script = here.CHILD.replace('"one")', '"one", own=OwnJournal())').replace(
        "import anyio\n", "import anyio\nfrom cdmd.store.journal_remote import OwnJournal\n"
    )
    for kill_after in (1, 30):
        acknowledged = await run_and_kill(script, tmp_path, lines=kill_after)
        async with reopening(tmp_path, journal_in_thread(), HandClock())() as journal:
            assert journal.head >= acknowledged
            found = await journal.read(Seq(0), limit=100_000)
            assert [one.entry for one in found] == [entry(n) for n in range(1, journal.head + 1)]
            assert await journal.get("shop", [b"last"]) == {b"last": b"%d" % journal.head}
            assert await journal.verify() == []


# ---- parts of it ---------------------------------------------------------------------------------------------------


async def test_one_that_cannot_be_started_is_told_and_tried_again(tmp_path: Path) -> None:
    refusing = True
    working = journal_in_thread()

    def start(module: str, keep: Sequence[int]) -> tuple[socket.socket, Child]:
        if refusing:
            raise OSError(errno.EAGAIN, "Resource temporarily unavailable")
        return working.start(module, keep)

    reopen = reopening(tmp_path, OwnJournal(start=start), HandClock())
    with pytest.raises(NotDurable, match="own process cannot be started: Resource temporarily"):
        async with reopen():
            pass
    refusing = False
    async with reopen() as journal:
        assert await journal.append([append_of(1)]) == 1


async def test_one_that_is_not_heard_any_more_is_ended_and_whoever_waits_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cdmd.store.journal_remote._GOES_WITHIN", 0.05)
    killed = list[str]()

    class Silent:
        pid = os.getpid()

        def wait(self, timeout: float | None = None) -> int:
            if not killed:
                raise subprocess.TimeoutExpired("x", timeout or 0.0)
            return -signal.SIGKILL

        def kill(self) -> None:
            killed.append("killed")

    def start(module: str, keep: Sequence[int]) -> tuple[socket.socket, Child]:
        link, there = socket.socketpair()
        there.close()
        return link, Silent()

    async with OwnWriter(OwnJournal(start=start), tmp_path / "journal.db", lambda: Seq(0)) as writer:
        with pytest.raises(sqlite3.OperationalError, match="was ended by SIGKILL"):
            await writer.run(len)  # type: ignore[arg-type]
    assert killed == ["killed"]


class Over:
    """A process that has ended by itself."""

    pid = os.getpid()

    def wait(self, timeout: float | None = None) -> int:
        return 0

    def kill(self) -> None:
        raise AssertionError("it has ended")


async def test_an_answer_in_pieces_is_put_together(tmp_path: Path) -> None:
    link, there = socket.socketpair()
    async with OwnWriter(OwnJournal(start=lambda module, keep: (link, Over())), tmp_path / "x", lambda: Seq(0)) as writer:
        content = pickle.dumps("here")
        answer, asked = b"=" + len(content).to_bytes(4, "big") + content, list[Any]()

        async def ask() -> None:
            asked.append(await writer.run(len))  # type: ignore[arg-type]

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            while writer._link is None:
                await anyio.lowlevel.checkpoint()
            writer._readable(link)  # it may be called where there is nothing
            for piece in (answer[:2], answer[2:9], answer[9:]):
                there.send(piece)
                await anyio.wait_all_tasks_blocked()
        assert asked == ["here"]
        there.close()


async def test_a_callback_that_raises_keeps_no_other_from_its_answer(tmp_path: Path) -> None:
    """Seen to fail when it came out where answers are read: nobody was told any more."""
    link, there = socket.socketpair()
    async with OwnWriter(OwnJournal(start=lambda module, keep: (link, Over())), tmp_path / "x", lambda: Seq(0)) as writer:

        def broken(said: object) -> None:
            raise LookupError(said)

        first = writer._ask(RUN, len, broken)
        second = writer._ask(RUN, len, None)
        content = pickle.dumps("here")
        there.send((b"=" + len(content).to_bytes(4, "big") + content) * 2)
        with pytest.raises(LookupError), anyio.fail_after(30):
            await first
        assert await second == "here"
        there.close()


def test_what_was_not_told_its_database_says_so() -> None:
    link, there = socket.socketpair()
    with link, there:
        send(link, RUN, pickle.dumps(len))
        link.shutdown(socket.SHUT_WR)
        left = list[str]()
        JournalServed(there, lambda: left.append("left")).run()
        kind, content = receive(link) or (b"", b"")
    assert (kind, left) == (FAILED, ["left"])
    assert "was not told" in str(pickle.loads(content))


def test_what_cannot_be_made_again_is_told_by_its_name() -> None:
    class OddError(Exception):
        def __init__(self, one: str, other: str) -> None:
            super().__init__(one + other)

    assert str(sendable(OddError("a", "b"))) == "OddError"


def test_the_process_leaves_signals_to_the_daemon_and_says_no_data(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ignored, umask, thresholds = list[int](), os.umask(0o022), gc.get_threshold()
    monkeypatch.setattr(signal, "signal", lambda number, handler: ignored.append(number))
    monkeypatch.setattr(gc, "freeze", lambda: None)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    link, there = socket.socketpair()
    try:
        with link:
            send(link, END)
            journal_process.main(there.detach())
        assert os.umask(umask) == 0o077
    finally:
        os.umask(umask)
        gc.set_threshold(*thresholds)
    sys.excepthook(ValueError, ValueError("joe@example.com"), None)
    assert set(ignored) == {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    said = capsys.readouterr().err
    assert said.startswith("the journal's own process ended by a fault of its own: it raised ValueError")
    assert "joe" not in said


async def test_what_is_sent_of_an_append_is_not_its_entries(tmp_path: Path) -> None:
    link, there = socket.socketpair()
    async with OwnWriter(OwnJournal(start=lambda module, keep: (link, Over())), tmp_path / "x", lambda: Seq(7)) as writer:
        appends = [append_of(1, counts={"accepted": 1}), append_of(2)]
        future = writer.commit(Commit(appends, [b"1", b"2"], Seq(1), Micros(5)), then=lambda first: None)
        heard = await anyio.to_thread.run_sync(lambda: [receive(there), receive(there)])
        there.close()
        with pytest.raises(sqlite3.OperationalError):
            await future
    opened, committed = (pickle.loads(one[1]) for one in heard if one is not None)
    assert opened == (tmp_path / "x", 7)
    assert committed.appends == [Append(connector="shop", counts={"accepted": 1})]
