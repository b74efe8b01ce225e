"""Exchanging entries of the journal: what was there is gone from the file, and the journal is whole."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import anyio
import pytest

from cdmd.contracts import Holding
from cdmd.models import Entry, Journaled, Seq, tombstone
from cdmd.store.feeds import SqliteFeeds
from cdmd.store.journal import SqliteJournal
from tests.store.samples import HandClock, append_of, entry

pytestmark = pytest.mark.anyio


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[SqliteJournal]:
    opening = SqliteJournal.open(tmp_path / "journal.db", clock=HandClock(), mark_path=tmp_path / "mark", new_id=lambda: "one")
    async with opening as opened:
        for start in range(1, 40, 3):
            await opened.append([append_of(start, start + 1, start + 2, state={b"row": b"1"}, connector="b")])
        yield opened


def erasing(*numbers: int, shown: list[Seq] | None = None):
    def revise(rows: Sequence[Journaled]) -> dict[Seq, Entry]:
        if shown is not None:
            shown.extend(row.seq for row in rows)
        return {row.seq: tombstone(row.entry) for row in rows if row.seq in numbers}

    return revise


async def test_an_entry_leaves_its_place_and_its_number_and_nothing_else(journal: SqliteJournal, tmp_path: Path) -> None:
    shown: list[Seq] = []
    assert await journal.revise(erasing(5, shown=shown), holding=Holding([b"user5@"]), after=Seq(0)) == (39, 1)
    assert shown == [4, 5, 6], "only the block that holds one of the texts is looked at"
    found = await journal.read(Seq(3), limit=3)
    assert [one.entry for one in found] == [entry(4), tombstone(entry(5)), entry(6)]
    assert await journal.verify() == []
    await journal.append([append_of(40)])
    assert [one.seq for one in await journal.read(Seq(38), limit=9)] == [39, 40]
    assert await journal.settled()
    kept = (tmp_path / "journal.db").read_bytes() + (tmp_path / "journal.db-wal").read_bytes()
    assert b"user5@" not in kept
    assert b"user6@" in kept


async def test_entries_are_looked_for_by_their_number_or_everywhere(journal: SqliteJournal) -> None:
    shown: list[Seq] = []
    assert (await journal.revise(erasing(shown=shown), holding=Holding([], [Seq(7), Seq(99)]), after=Seq(0)))[1] == 0
    assert shown == [7, 8, 9]
    shown.clear()
    await journal.revise(erasing(shown=shown), holding=Holding(None), after=Seq(30))
    assert shown == list(range(31, 40))
    assert await journal.revise(erasing(), holding=Holding(None), after=Seq(39)) == (39, 0)


async def test_nothing_is_exchanged_while_a_copy_is_made(journal: SqliteJournal) -> None:
    async with anyio.create_task_group() as group, journal.unpruned():
        group.start_soon(lambda: journal.revise(erasing(5), holding=Holding(None), after=Seq(0)))
        await anyio.wait_all_tasks_blocked()
        assert (await journal.read(Seq(4), limit=1))[0].entry == entry(5)
    assert (await journal.read(Seq(4), limit=1))[0].entry == tombstone(entry(5))


async def test_the_journal_says_whose_state_it_has(journal: SqliteJournal) -> None:
    assert await journal.owners() == ["b"]


async def test_the_log_of_big_tables_can_be_emptied(tmp_path: Path) -> None:
    async with SqliteFeeds.open(tmp_path / "feeds.db") as feeds:
        await feeds.begin("erp", "rows", keep=None)
        assert await feeds.settled()
        assert (tmp_path / "feeds.db-wal").stat().st_size == 0
