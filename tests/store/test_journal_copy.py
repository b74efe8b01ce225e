"""A journal of another kind written down as SQLite's: whole, or not there."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cdmd.errors import CdmdError
from cdmd.models import Micros, Seq, encode_entry
from cdmd.store.blocks import pack
from cdmd.store.journal import SqliteJournal
from cdmd.store.journal_copy import JournalCopy
from cdmd.store.sql import Migration
from tests.store.samples import HandClock, append_of, entry

BLOCKS = [pack(Seq(first), [encode_entry(entry(first)), encode_entry(entry(first + 1))], written=Micros(1)) for first in (7, 9)]


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    path = tmp_path / "journal.db"
    copy = JournalCopy.begin(path)
    copy.blocks(BLOCKS)
    copy.state("shop", [(b"a", b"1")])
    copy.finish(journal_id="other", head=Seq(12), counts={("shop", "accepted"): 12})
    return path


@pytest.fixture
async def opened(copied: Path) -> AsyncIterator[SqliteJournal]:
    opening = SqliteJournal.open(copied, clock=HandClock(), mark_path=copied.with_name("mark"), new_id=lambda: "new")
    async with opening as journal:
        yield journal


@pytest.mark.anyio
async def test_a_copy_goes_on_where_the_journal_was(opened: SqliteJournal) -> None:
    assert (opened.id, opened.head, (await opened.statistics()).first) == ("other", 12, 7)
    assert [one.entry for one in await opened.read(Seq(0), limit=9)] == [entry(n) for n in (7, 8, 9, 10)]
    assert await opened.get("shop", [b"a"]) == {b"a": b"1"}
    assert await opened.counts() == {("shop", "accepted"): 12}
    assert await opened.append([append_of(13)]) == 13


def test_what_cannot_be_written_is_said_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "journal.db"
    with pytest.raises(CdmdError, match="No such file"):
        JournalCopy.begin(tmp_path / "missing" / "journal.db")
    copy = JournalCopy.begin(path)
    with pytest.raises(CdmdError, match="could not be written"):
        copy.blocks([BLOCKS[0], BLOCKS[0]])
    copy.drop()
    assert not path.exists()
    monkeypatch.setattr("cdmd.store.journal_copy.load_migrations", lambda name: [Migration(1, "CREATE nothing;")])
    with pytest.raises(CdmdError, match="could not be written"):
        JournalCopy.begin(path)
    assert not path.exists()
