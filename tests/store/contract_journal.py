"""What any ``Journal`` must do. A second implementation subclasses ``JournalContract`` with its own ``reopen`` fixture."""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from pathlib import Path
from typing import TypeAlias

import anyio
import pytest

from cdmd.contracts import Append, Holding, Journal, Revise
from cdmd.models import Entry, Journaled, Micros, Seq, to_micros, tombstone
from tests.store.samples import START, HandClock, append_of, entry

Reopen: TypeAlias = Callable[[], AbstractAsyncContextManager[Journal]]


def erasing(*numbers: int, shown: list[Seq] | None = None) -> Revise:
    def revise(rows: Sequence[Journaled]) -> dict[Seq, Entry]:
        if shown is not None:
            shown.extend(row.seq for row in rows)
        return {row.seq: tombstone(row.entry) for row in rows if row.seq in numbers}

    return revise


async def filled(journal: Journal) -> None:
    """With 39 entries in 13 commits."""
    for start in range(1, 40, 3):
        await journal.append([append_of(start, start + 1, start + 2, state={b"row": b"1"}, connector="b")])


class JournalContract:
    """Each test opens the same journal as often as it likes through ``reopen``."""

    @pytest.fixture
    def clock(self) -> HandClock:
        return HandClock()

    @pytest.fixture
    def reopen(self) -> Reopen:
        raise NotImplementedError

    async def test_an_empty_journal_has_head_zero_and_nothing_to_read(self, reopen: Reopen) -> None:
        async with reopen() as journal:
            assert journal.head == 0
            assert await journal.read(Seq(0), limit=10) == []

    async def test_numbers_are_consecutive_from_one(self, reopen: Reopen) -> None:
        async with reopen() as journal:
            assert await journal.append([append_of(1, 2), append_of(3)]) == 1
            assert await journal.append([append_of(4)]) == 4
            assert journal.head == 4

    async def test_entries_come_back_in_order_and_whole(self, reopen: Reopen) -> None:
        async with reopen() as journal:
            await journal.append([append_of(1, 2), append_of(3)])
            found = await journal.read(Seq(0), limit=10)
        assert [(one.seq, one.entry) for one in found] == [(n, entry(n)) for n in (1, 2, 3)]

    async def test_entries_that_come_without_encoding_are_encoded(self, reopen: Reopen) -> None:
        async with reopen() as journal:
            await journal.append([Append(connector="shop", entries=[entry(1)])])
        async with reopen() as journal:
            assert [one.entry for one in await journal.read(Seq(0), limit=1)] == [entry(1)]

    @pytest.mark.parametrize("count", [1, 15, 16, 70_000])
    async def test_a_commit_of_any_size_comes_back(self, reopen: Reopen, count: int) -> None:
        async with reopen() as journal:
            await journal.append([append_of(*range(1, count + 1))])
        async with reopen() as journal:
            assert journal.head == count
            (last,) = await journal.read(Seq(count - 1), limit=5)
            assert (last.seq, last.entry) == (count, entry(count))

    async def test_after_reopening_everything_is_there(self, reopen: Reopen) -> None:
        async with reopen() as journal:
            known = journal.id
            await journal.append([append_of(1, 2, state={b"cursor": b"7"}, counts={"accepted": 2})])
        async with reopen() as journal:
            assert (journal.id, journal.head) == (known, 2)
            assert [one.entry for one in await journal.read(Seq(0), limit=10)] == [entry(1), entry(2)]
            assert await journal.get("shop", [b"cursor", b"other"]) == {b"cursor": b"7"}
            assert await journal.counts() == {("shop", "accepted"): 2}

    async def test_a_limit_cuts_within_and_across_commits(self, reopen: Reopen) -> None:
        async with reopen() as journal:
            for start in range(1, 41, 4):
                await journal.append([append_of(*range(start, start + 4))])
        async with reopen() as journal:
            for after in (0, 1, 3, 4, 17):
                for limit in (1, 3, 4, 5, 30):
                    found = await journal.read(Seq(after), limit=limit)
                    assert [one.seq for one in found] == list(range(after + 1, min(after + limit, 40) + 1))

    async def test_waiting_ends_with_the_next_commit(self, reopen: Reopen) -> None:
        async with reopen() as journal:
            await journal.append([append_of(1)])
            await journal.wait(Seq(0))
            with anyio.fail_after(30):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(journal.wait, Seq(2))
                    await journal.append([append_of(2)])
                    await journal.append([append_of(3)])

    async def test_state_alone_is_kept_and_moves_no_number(self, reopen: Reopen) -> None:
        async with reopen() as journal:
            await journal.append([Append(connector="crm", state={b"a": b"1", b"b": b"2"})])
            await journal.append([Append(connector="crm", state={b"a": None, b"b": b"3"})])
            assert journal.head == 0
            assert await journal.get("crm", [b"a", b"b"]) == {b"b": b"3"}

    async def test_state_that_is_only_removed_is_gone(self, reopen: Reopen) -> None:
        async with reopen() as journal:
            await journal.append([Append(connector="crm", state={b"a": b"1"})])
            await journal.append([Append(connector="crm", state={b"a": None})])
            assert await journal.get("crm", [b"a"]) == {}

    async def test_state_is_scanned_by_prefix_in_key_order(self, reopen: Reopen) -> None:
        many = {b"file/%04d" % n: b"%d" % n for n in range(1_203)}
        async with reopen() as journal:
            await journal.append([Append(connector="crm", state=many | {b"filf": b"x", b"a": b"x", b"file/\xff\xff": b"y"})])
            await journal.append([Append(connector="other", state={b"file/0": b"not mine"})])
            found = [pair async for pair in journal.scan("crm", b"file/")]
            assert found == [*sorted(many.items()), (b"file/\xff\xff", b"y")]
            assert [pair async for pair in journal.scan("crm", b"\xff")] == []

    async def test_many_keys_are_fetched_at_once(self, reopen: Reopen) -> None:
        many = {b"%d" % n: b"v" for n in range(1_201)}
        async with reopen() as journal:
            await journal.append([Append(connector="crm", state=many)])
            assert await journal.get("crm", [*many, b"absent"]) == many

    async def test_counters_add_up_by_connector(self, reopen: Reopen) -> None:
        async with reopen() as journal:
            counting = Append(connector="shop", counts={"received": 3, "refused": 1})
            await journal.append([counting, counting, Append(connector="crm", counts={"received": 5})])
            assert await journal.counts() == {("shop", "received"): 6, ("shop", "refused"): 2, ("crm", "received"): 5}

    async def test_forgetting_a_connector_drops_its_state_only(self, reopen: Reopen) -> None:
        async with reopen() as journal:
            await journal.append(
                [Append(connector="a", state={b"1": b"", b"2": b""}), Append(connector="b", state={b"1": b""})]
            )
            assert await journal.forget("a") == 2
            assert await journal.get("a", [b"1", b"2"]) == {}
            assert await journal.get("b", [b"1"]) == {b"1": b""}

    async def test_pruning_takes_what_is_old_and_applied_and_keeps_the_rest(self, reopen: Reopen, clock: HandClock) -> None:
        async with reopen() as journal:
            for n in range(1, 101):
                await journal.append([append_of(n)])
                clock.moment += timedelta(minutes=1)
            half_an_hour = to_micros(START + timedelta(minutes=30))
            assert await journal.prune(before=half_an_hour, upto=Seq(20)) == 20
            assert await journal.prune(before=half_an_hour, upto=Seq(100)) == 10
            assert (await journal.statistics()).first == 31
        async with reopen() as journal:
            assert [one.seq for one in await journal.read(Seq(0), limit=2)] == [31, 32]
            assert await journal.verify() == []

    async def test_numbers_go_on_after_everything_was_pruned(self, reopen: Reopen, clock: HandClock) -> None:
        async with reopen() as journal:
            await journal.append([append_of(1, 2, 3)])
            assert await journal.prune(before=to_micros(clock.now() + timedelta(days=1)), upto=Seq(3)) == 3
        async with reopen() as journal:
            assert journal.head == 3
            assert (await journal.statistics()).first == 4
            assert await journal.append([append_of(4)]) == 4
            assert await journal.verify() == []

    async def test_a_cancelled_appender_breaks_nothing(self, reopen: Reopen) -> None:
        async with reopen() as journal:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(journal.append, [append_of(1)])
                await anyio.lowlevel.checkpoint()
                tasks.cancel_scope.cancel()
            with anyio.fail_after(30):
                await journal.append([append_of(2)])
                found = await journal.read(Seq(0), limit=10)
            assert [one.seq for one in found] == list(range(1, journal.head + 1))
            assert found[-1].entry == entry(2)

    async def test_statistics_show_what_is_kept(self, reopen: Reopen) -> None:
        async with reopen() as journal:
            await journal.append([append_of(1, 2)])
            shown = await journal.statistics()
        assert (shown.first, shown.head, shown.failure) == (1, 2, None)
        assert shown.bytes > 0

    async def test_an_entry_that_is_exchanged_keeps_its_number_and_nothing_else(self, reopen: Reopen) -> None:
        async with reopen() as journal:
            await filled(journal)
            shown: list[Seq] = []
            assert await journal.revise(erasing(5, shown=shown), holding=Holding([b"user5@"]), after=Seq(0)) == (39, 1)
            assert 5 in shown
            assert 39 not in shown, "only what holds one of the texts need be looked at"
            assert await journal.settled()
        async with reopen() as journal:
            found = await journal.read(Seq(3), limit=3)
            assert [one.entry for one in found] == [entry(4), tombstone(entry(5)), entry(6)]
            assert await journal.verify() == []
            assert await journal.append([append_of(40)]) == 40

    async def test_entries_that_were_exchanged_may_be_again_and_the_newest_too(self, reopen: Reopen) -> None:
        async with reopen() as journal:
            await filled(journal)
            for number in (38, 37, 39):
                assert (await journal.revise(erasing(number), holding=Holding([], [Seq(number)]), after=Seq(0)))[1] == 1
            assert await journal.append([append_of(40)]) == 40
        async with reopen() as journal:
            found = [one.entry for one in await journal.read(Seq(36), limit=9)]
            assert found == [*(tombstone(entry(n)) for n in (37, 38, 39)), entry(40)]

    async def test_all_entries_are_looked_through_from_a_number_on(self, reopen: Reopen) -> None:
        async with reopen() as journal:
            await filled(journal)
            shown: list[Seq] = []
            assert (await journal.revise(erasing(shown=shown), holding=Holding([], [Seq(7), Seq(99)]), after=Seq(0)))[1] == 0
            assert 7 in shown
            shown.clear()
            await journal.revise(erasing(shown=shown), holding=Holding(None), after=Seq(30))
            assert shown == list(range(31, 40))
            assert await journal.revise(erasing(), holding=Holding(None), after=Seq(39)) == (39, 0)

    async def test_what_was_exchanged_is_pruned_like_the_rest(self, reopen: Reopen, clock: HandClock) -> None:
        async with reopen() as journal:
            await filled(journal)
            await journal.revise(erasing(5, 20), holding=Holding(None), after=Seq(0))
            assert await journal.prune(before=to_micros(clock.now() + timedelta(days=1)), upto=Seq(18)) == 18
            assert [one.seq for one in await journal.read(Seq(0), limit=2)] == [19, 20]
            assert await journal.verify() == []

    async def test_nothing_is_pruned_or_exchanged_while_a_copy_is_made(self, reopen: Reopen) -> None:
        async with reopen() as journal:
            await filled(journal)
            async with anyio.create_task_group() as group, journal.unpruned():
                group.start_soon(lambda: journal.revise(erasing(5), holding=Holding(None), after=Seq(0)))
                group.start_soon(lambda: journal.prune(before=Micros(2**60), upto=Seq(3)))
                await anyio.wait_all_tasks_blocked()
                assert [one.entry for one in await journal.read(Seq(3), limit=2)] == [entry(4), entry(5)]
                assert (await journal.statistics()).first == 1
            assert (await journal.read(Seq(4), limit=1))[0].entry == tombstone(entry(5))
            assert (await journal.statistics()).first == 4

    async def test_the_journal_says_whose_state_it_has(self, reopen: Reopen) -> None:
        async with reopen() as journal:
            await journal.append([Append(connector=name, state={b"1": b""}) for name in ("b", "daemon:x", "gone")])
            await journal.append([Append(connector="gone", state={b"1": None})])
            assert await journal.owners() == ["b", "daemon:x"]
        async with reopen() as journal:
            assert await journal.owners() == ["b", "daemon:x"]

    async def test_what_is_there_can_be_checked_from_a_number_on(self, reopen: Reopen) -> None:
        async with reopen() as journal:
            await filled(journal)
            for after in (0, 20, 39):
                await journal.check(Seq(after))

    async def test_state_with_any_bytes_comes_back_after_reopening(self, reopen: Reopen) -> None:
        state = {b"": b"empty", b"/": b"1", b"a//b/": b"2", b"a/.*>": b"3", bytes(range(256)): bytes(range(256)), b"none": b""}
        async with reopen() as journal:
            await journal.append([Append(connector="sm\u00f6rg\u00e5s.*>/ bord", state=state)])
            assert [pair async for pair in journal.scan("sm\u00f6rg\u00e5s.*>/ bord", b"")] == sorted(state.items())
        async with reopen() as journal:
            assert [pair async for pair in journal.scan("sm\u00f6rg\u00e5s.*>/ bord", b"")] == sorted(state.items())
            assert [key async for key, _ in journal.scan("sm\u00f6rg\u00e5s.*>/ bord", b"a/")] == [b"a/.*>", b"a//b/"]

    async def test_a_backup_is_a_journal_of_its_own_moment(self, reopen: Reopen, tmp_path: Path) -> None:
        async with reopen() as journal:
            await journal.append([append_of(1, 2)])
            await journal.backup(tmp_path / "copy.db")
            await journal.append([append_of(3)])
            assert (tmp_path / "copy.db").stat().st_mode & 0o777 == 0o600
            assert await journal.verify() == []
