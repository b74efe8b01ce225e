"""What waits for targets, in SQLite."""

import sqlite3
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TypeAlias

import pytest

from cdmd.contracts import AttemptFilter
from cdmd.models import Changes, Micros, ProfileKey
from cdmd.store.outgoing import erase_outgoing
from cdmd.store.store import SqliteStore
from cdmd.store.tables import Tables
from tests.store.contract_outbox import OutboxContract, delivery, ended, ready, sending, total
from tests.store.contract_store import DIGESTER, NOW, give
from tests.store.samples import HandClock

pytestmark = pytest.mark.anyio

Opening: TypeAlias = Callable[[], AbstractAsyncContextManager[SqliteStore]]


@pytest.fixture
def reopen(tmp_path: Path) -> Opening:
    def opening() -> AbstractAsyncContextManager[SqliteStore]:
        return SqliteStore.open(tmp_path / "store.db", clock=HandClock(), journal_id="one", digest=DIGESTER.occurrence)

    return opening


class TestSqliteOutbox(OutboxContract):
    pytestmark = pytest.mark.anyio


async def test_whoever_sends_is_told_of_what_is_written_but_not_of_nothing(reopen: Opening) -> None:
    told: list[set[str]] = []
    async with reopen() as store:
        store.outbox.written = lambda targets: told.append(set(targets))
        await give(store, Changes())
        await give(store, Changes(outgoing=sending(delivery(1), delivery(2, target="mail"))))
        await store.outbox.put(sending(delivery(3)), now=Micros(NOW))
        await store.outbox.retry(target=None, id=None, limit=1, now=Micros(NOW))
    assert told == [{"crm", "mail"}, {"crm"}, {"crm", "mail"}]


async def test_damage_in_the_outbox_is_found(reopen: Opening, tmp_path: Path) -> None:
    async with reopen() as store:
        await store.outbox.put(sending(delivery(1), delivery(2)), now=Micros(NOW))
        with sqlite3.connect(tmp_path / "store.db") as connection:
            connection.execute("UPDATE outbox SET body = zeroblob(length(body)) WHERE n = 1")
            connection.execute("DELETE FROM outbox WHERE n = 2")
        connection.close()
        problems = await store.verify()
        assert problems == [
            f"store: delivery {delivery(1).id} does not match its checksum",
            "store: 2 deliveries should wait for the target crm, but there are 1",
        ]


async def test_of_whoever_is_erased_nothing_waits_and_no_attempt_says_a_word(reopen: Opening) -> None:
    async with reopen() as store:
        rows = [delivery(1, lane=0), delivery(2, lane=0), delivery(3), delivery(4)]
        await store.outbox.put(sending(*rows), now=Micros(NOW))
        first, third, _ = await store.outbox.ready("crm", Micros(NOW), limit=9)
        await store.outbox.settle([ended(first, "later", due=NOW), ended(third)])
        await store.outbox.settle([ended((await store.outbox.ready("crm", Micros(NOW), limit=9))[1], "never", failed=True)])

        def erase(tables: Tables) -> int:
            with tables.transaction():
                return erase_outgoing(tables, [ProfileKey(1), ProfileKey(3), ProfileKey(4)])

        assert await store._write(erase) == 5
        assert await ready(store) == [2]
        kept = await total(store)
        assert (kept.waiting, kept.failed, kept.delivered) == (1, 0, 1)
        assert {(row.id, row.profile, row.seq) for row in await store.outbox.attempts(AttemptFilter())} == {("", None, None)}
        assert await store.verify() == []
