"""Exchanging entries of the journal: what was there is gone from the file, and the journal is whole."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cdmd.contracts import Holding
from cdmd.models import Seq, tombstone
from cdmd.store.feeds import SqliteFeeds
from cdmd.store.journal import SqliteJournal
from tests.store.contract_journal import erasing
from tests.store.samples import HandClock, append_of, entry

pytestmark = pytest.mark.anyio


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[SqliteJournal]:
    opening = SqliteJournal.open(tmp_path / "journal.db", clock=HandClock(), mark_path=tmp_path / "mark", new_id=lambda: "one")
    async with opening as opened:
        for start in range(1, 40, 3):
            await opened.append([append_of(start, start + 1, start + 2, state={b"row": b"1"}, connector="b")])
        yield opened


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


async def test_the_log_of_big_tables_can_be_emptied(tmp_path: Path) -> None:
    async with SqliteFeeds.open(tmp_path / "feeds.db") as feeds:
        await feeds.begin("erp", "rows", keep=None)
        assert await feeds.settled()
        assert (tmp_path / "feeds.db-wal").stat().st_size == 0
