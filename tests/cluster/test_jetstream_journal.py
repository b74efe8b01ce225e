"""The journal on a real nats-server: the contract, and what the server can do to it."""

import itertools
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeAlias

import anyio
import msgspec
import pytest

from cdmd.cluster.beside import changes_of
from cdmd.cluster.commits import Commits, Frame, read_frame
from cdmd.cluster.connection import Access, Link
from cdmd.cluster.division import Division
from cdmd.cluster.entries import cut, decode_piece, encode_piece
from cdmd.cluster.journal import JetStreamJournal
from cdmd.cluster.place import Place
from cdmd.cluster.stream import Shape, Stream
from cdmd.contracts import Append, Holding
from cdmd.errors import CdmdError, Damaged, NotDurable
from cdmd.kit.secret import Secret
from cdmd.models import Entry, Seq, encode_entry, to_micros, tombstone
from cdmd.store.journal import SqliteJournal
from tests.cluster.servers import NatsServer, needed, serving
from tests.store.contract_journal import JournalContract, erasing, filled
from tests.store.killing import run_and_kill
from tests.store.samples import START, HandClock, append_of, entry, event

pytestmark = [needed, pytest.mark.anyio, pytest.mark.timeout(120)]

Reopen: TypeAlias = Callable[..., AbstractAsyncContextManager[JetStreamJournal]]
_IDS = itertools.count()


def opening(server: NatsServer, home: Path, clock: HandClock, *, name: str, **options: Any) -> Reopen:
    """Opens one journal as often as asked, each time as a new daemon would."""

    def reopen(**more: Any) -> AbstractAsyncContextManager[JetStreamJournal]:
        place = Place(access=Access(servers=(server.url,)), name=name, **options)
        return JetStreamJournal.open(place, clock=clock, mark_path=home / "mark", new_id=lambda: f"w{next(_IDS)}", **more)

    return reopen


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def name() -> str:
    return f"t{next(_IDS)}"


@pytest.fixture
def reopen(nats: NatsServer, tmp_path: Path, clock: HandClock, name: str) -> Reopen:
    return opening(nats, tmp_path, clock, name=name)


class TestJetStreamJournal(JournalContract):
    pytestmark = pytest.mark.anyio

    @pytest.fixture
    def reopen(self, nats: NatsServer, tmp_path: Path, clock: HandClock, name: str) -> Reopen:
        return opening(nats, tmp_path, clock, name=name)


class TestDividedJournal(JournalContract):
    """The same in lanes that entries of one commit alternate between."""

    pytestmark = pytest.mark.anyio

    @pytest.fixture
    def reopen(self, nats: NatsServer, tmp_path: Path, clock: HandClock, name: str, monkeypatch: pytest.MonkeyPatch) -> Reopen:
        monkeypatch.setattr(
            Division, "of", lambda _, entries: [n * max(3, len(entries) // 20) // 3 % 3 for n in range(len(entries))]
        )
        return opening(nats, tmp_path, clock, name=name, lanes=3)


# ---- two daemons, and what was told to have failed ----------------------------------------------------------------------


async def test_of_two_daemons_only_the_one_that_opened_last_writes(reopen: Reopen) -> None:
    async with reopen() as first:
        await first.append([append_of(1)])
        async with reopen() as second:
            await second.append([append_of(2, state={b"who": b"second"})])
            for _ in range(2):
                with pytest.raises(NotDurable, match="another daemon has opened the journal"):
                    await first.append([append_of(9)])
                assert await second.append([append_of(9, state={b"who": b"still"})]) == second.head
            with pytest.raises(NotDurable, match="another daemon"):
                await first.append([Append(connector="shop", state={b"who": b"first"})])
    async with reopen() as third:
        assert [one.entry for one in await third.read(Seq(0), limit=9)] == [entry(n) for n in (1, 2, 9, 9)]
        assert await third.get("shop", [b"who"]) == {b"who": b"still"}
        assert await third.verify() == []


async def test_writers_that_are_called_the_same_do_not_take_each_others_messages_for_their_own(
    nats: NatsServer, tmp_path: Path, clock: HandClock, name: str
) -> None:
    place = Place(access=Access(servers=(nats.url,)), name=name)
    for number in range(1, 4):
        opened = JetStreamJournal.open(place, clock=clock, mark_path=tmp_path / "mark", new_id=lambda: "always")
        async with opened as journal:
            assert await journal.append([append_of(number)]) == number
            assert [one.entry for one in await journal.read(Seq(0), limit=9)] == [entry(n) for n in range(1, number + 1)]


async def test_what_was_not_acknowledged_and_arrived_all_the_same_is_found_before_the_next(
    tmp_path: Path, clock: HandClock
) -> None:
    with serving(tmp_path / "server") as server:
        async with opening(server, tmp_path, clock, name="a")(patience=0.6) as journal:
            await journal.append([append_of(1, counts={"accepted": 1})])
            await anyio.to_thread.run_sync(server.pause)
            with pytest.raises(NotDurable, match="did not answer"):
                await journal.append([append_of(2, 3, counts={"accepted": 2})])
            assert (journal.head, journal.failure is None) == (1, False)
            server.go_on()
            first = await appended(journal, append_of(4, state={b"row": b"4"}, counts={"accepted": 1}))
            found = [one.entry for one in await journal.read(Seq(0), limit=9)]
            assert found == [entry(n) for n in ((1, 2, 3, 4) if first == 4 else (1, 4))]
            assert await journal.counts() == {("shop", "accepted"): len(found)}
            assert journal.failure is None
            assert await journal.verify() == []


async def test_a_commit_of_several_messages_is_there_whole_or_not_at_all(
    reopen: Reopen, nats: NatsServer, name: str, tmp_path: Path
) -> None:
    """A writer that dies between two of them, and a message that arrives after its commit was given up."""
    async with reopen() as journal:
        await journal.append([append_of(1)])
    written = to_micros(START)
    parts = [
        encode_piece(one)
        for one in cut(Seq(2), [encode_entry(entry(n)) for n in (2, 3, 4)], written=written, most=400, counts=())
    ]
    assert len(parts) == 3
    async with streams(nats, name) as (entries, _, _):
        last = (await entries.info()).state.last_seq
        for part, body in enumerate(parts[:2]):
            assert await put(entries, Frame("dead", part, False, body), after=last + part) == last + part + 1
        async with reopen() as journal:
            assert journal.head == 1
            assert [one.seq for one in await journal.read(Seq(0), limit=9)] == [1]
            last = (await entries.info()).state.last_seq
            assert await put(entries, Frame("dead", 2, True, parts[2]), after=last) == last + 1
        async with reopen() as journal:
            assert await journal.append([append_of(2)]) == 2
            assert [one.entry for one in await journal.read(Seq(0), limit=9)] == [entry(1), entry(2)]
            assert await journal.verify() == []


async def test_the_state_of_a_commit_moves_as_a_whole(reopen: Reopen, nats: NatsServer, name: str) -> None:
    async with reopen() as journal:
        await journal.append([append_of(1, state={b"a": b"old", b"b": b"old"})])
    bodies = changes_of([Append(connector="shop", state={b"a": b"new", b"b": b"new"})], most=1, counts=())
    assert len(bodies) == 2
    async with streams(nats, name) as (_, changes, _):
        last = (await changes.info()).state.last_seq
        await put(changes, Frame("dead", 0, False, bodies[0]), after=last)
    async with reopen() as journal:
        assert await journal.get("shop", [b"a", b"b"]) == {b"a": b"old", b"b": b"old"}


async def test_after_a_crash_state_and_counters_are_those_of_the_last_commit(
    nats: NatsServer, tmp_path: Path, clock: HandClock, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever had been brought into the bucket: it ends in the midst of that, too."""
    reopen = opening(nats, tmp_path, clock, name=name)
    for dies_after in (0, 1, 3, 5, 99):
        with monkeypatch.context() as patched:
            async with reopen() as journal:
                for n in range(3):
                    state = {b"n": b"%d" % n, b"gone": None if n == 2 else b"x", b"%d" % n: b"", b"same": b"%d" % dies_after}
                    await journal.append([append_of(journal.head + 1, state=state, counts={"accepted": 1})])
                left = [dies_after]

                async def replace(self: Stream, *args: Any, left: list[int] = left, **options: Any) -> int | None:
                    left[0] -= 1
                    if left[0] < 0:
                        raise NotDurable("the process is gone")
                    return await _REPLACE(self, *args, **options)

                async def erase(self: Stream, seq: int, left: list[int] = left) -> None:
                    if left[0] < 0:
                        raise NotDurable("the process is gone")
                    await _ERASE(self, seq)

                patched.setattr(Stream, "replace", replace)
                patched.setattr(Stream, "erase", erase)
        async with reopen() as journal:
            assert await journal.counts() == {("shop", "accepted"): journal.head}
            wanted = {b"n": b"2", b"0": b"", b"1": b"", b"2": b"", b"same": b"%d" % dies_after}
            assert dict([pair async for pair in journal.scan("shop", b"")]) == wanted


# ---- the server fails ---------------------------------------------------------------------------------------------------


async def test_a_server_that_is_killed_again_and_again_loses_nothing_acknowledged(tmp_path: Path, clock: HandClock) -> None:
    with serving(tmp_path / "server") as server:
        reopen = opening(server, tmp_path, clock, name="a")
        acknowledged = list[int]()

        async def write(journal: JetStreamJournal) -> None:
            for number in itertools.count(1):
                try:
                    first = await journal.append([append_of(number, state={b"row": b"%d" % number}, counts={"accepted": 1})])
                except NotDurable:
                    await anyio.sleep(0.01)
                else:
                    assert (await journal.read(Seq(first - 1), limit=1))[0].entry == entry(number)
                    acknowledged.append(number)

        async with reopen(patience=0.2) as journal, anyio.create_task_group() as tasks:
            tasks.start_soon(write, journal)
            for _ in range(3):
                goal = len(acknowledged) + 30
                await until(lambda goal=goal: len(acknowledged) >= goal)
                server.kill()
                await anyio.sleep(0.3)
                with pytest.raises(NotDurable):
                    await journal.append([append_of(0)])
                assert (await journal.statistics()).failure
                await anyio.to_thread.run_sync(server.start)
            await appended(journal, append_of(0))
            tasks.cancel_scope.cancel()
        async with reopen() as journal:
            found = [one.entry.event.data["total"] for one in await journal.read(Seq(0), limit=100_000)]
            assert [number for number in found if number in set(acknowledged)] == acknowledged
            assert await journal.counts() == {("shop", "accepted"): len([number for number in found if number])}
            assert int((await journal.get("shop", [b"row"]))[b"row"]) >= acknowledged[-1]
            assert await journal.verify() == []


async def test_a_daemon_that_is_killed_loses_nothing_acknowledged_and_its_state_is_never_ahead(
    reopen: Reopen, nats: NatsServer, name: str, tmp_path: Path
) -> None:
    for kill_after in (1, 7, 60):
        acknowledged = await run_and_kill(_CHILD, nats.url, name, tmp_path, lines=kill_after)
        async with reopen() as journal:
            assert journal.head >= acknowledged
            found = await journal.read(Seq(0), limit=100_000)
            assert [one.entry for one in found] == [entry(n) for n in range(1, journal.head + 1)]
            assert acknowledged <= int((await journal.get("shop", [b"last"]))[b"last"]) <= journal.head
            assert await journal.verify() == []


_CHILD = """
import sys, uuid
from pathlib import Path
import anyio
from cdmd.cluster.connection import Access
from cdmd.cluster.journal import JetStreamJournal
from cdmd.cluster.place import Place
from cdmd.kit.clock import SystemClock
from tests.store.samples import append_of

async def main():
    place = Place(access=Access(servers=(sys.argv[1],)), name=sys.argv[2])
    mark = Path(sys.argv[3]) / "mark"
    opened = JetStreamJournal.open(place, clock=SystemClock(), mark_path=mark, new_id=lambda: uuid.uuid4().hex)
    async with opened as journal:
        while True:
            numbers = range(journal.head + 1, journal.head + 4)
            await journal.append([append_of(*numbers, state={b"last": b"%d" % numbers[-1]})])
            print(journal.head, flush=True)

anyio.run(main)
"""


async def test_a_full_stream_takes_nothing_until_it_is_pruned(
    nats: NatsServer, tmp_path: Path, clock: HandClock, name: str
) -> None:
    async with opening(nats, tmp_path, clock, name=name, max_bytes=60_000)() as journal:
        refused = None
        while refused is None:
            try:
                await journal.append([append_of(*range(20))])
            except NotDurable as error:
                refused = error
        assert "maximum bytes exceeded" in str(refused)
        assert refused.retry_after == 30
        head = journal.head
        await journal.prune(before=to_micros(clock.now() + timedelta(days=1)), upto=Seq(head - 20))
        assert await journal.append([append_of(1)]) == head + 1
        assert await journal.verify() == []


LARGE = b"\0cdmd\0" + b"x" * 2_500_000
"""A value that no message can hold, and that begins as if it were wrapped."""


def large(number: int) -> Append:
    entries = [entry(number), Entry(event(number + 1, traits={"text": "y" * 2_500_000})), entry(number + 2)]
    encoded = [encode_entry(one) for one in entries]
    return Append(connector="shop", entries=entries, encoded=encoded, state={b"row": LARGE}, counts={"accepted": 3})


async def test_what_no_message_can_hold_is_kept_in_several_and_hinders_nobody(reopen: Reopen) -> None:
    beside = append_of(4, connector="other", state={b"k": LARGE[:6], b"l": b"1"})
    async with reopen() as journal:
        assert await journal.append([large(1), beside]) == 1
        assert await journal.get("shop", [b"row"]) == {b"row": LARGE}
        assert await journal.append([append_of(5)]) == 5
    for _ in range(2):  # from the changes, then from the bucket
        async with reopen() as journal:
            found = [one.entry for one in await journal.read(Seq(0), limit=9)]
            assert found == [*large(1).entries, entry(4), entry(5)]
            assert [one.entry for one in await journal.read(Seq(2), limit=9)] == found[2:]
            assert [row async for row in journal.scan("shop", b"")] == [(b"row", LARGE)]
            assert await journal.get("other", [b"k", b"l"]) == {b"k": LARGE[:6], b"l": b"1"}
            assert await journal.counts() == {("shop", "accepted"): 3}
            assert await journal.verify() == []
            await journal.check(Seq(0))


async def test_what_lies_in_several_messages_is_exchanged_replaced_and_pruned_whole(
    reopen: Reopen, nats: NatsServer, name: str, clock: HandClock
) -> None:
    async with reopen() as journal, streams(nats, name) as (_, _, kept):
        await journal.append([large(1)])
        await journal.settled()
        assert len(await kept.subjects(f"$KV.{name}.large.>")) == 3
        await journal.append([Append(connector="shop", state={b"row": b"small"})])
        await journal.settled()
        assert await kept.subjects(f"$KV.{name}.large.>") == []
        last, exchanged = await journal.revise(erasing(2), holding=Holding(None), after=Seq(0))
        assert (last, exchanged) == (3, 1)
        found = [one.entry for one in await journal.read(Seq(0), limit=9)]
        assert found == [entry(1), tombstone(large(1).entries[1]), entry(3)]
        assert await journal.verify() == []
    async with reopen() as journal, streams(nats, name) as (_, _, kept):
        assert [one.entry for one in await journal.read(Seq(0), limit=9)] == found
        await journal.append([append_of(4)])
        await journal.prune(before=to_micros(clock.now() + timedelta(days=1)), upto=Seq(3))
        assert (await journal.statistics()).first == 4
        assert await kept.subjects(f"$KV.{name}.patch.*") == []
        assert [one.entry for one in await journal.read(Seq(3), limit=9)] == [entry(4)]
        assert await journal.verify() == []


@pytest.mark.parametrize("length", [1_900, 1_901, 20_000])
async def test_a_key_may_be_of_any_length(reopen: Reopen, length: int) -> None:
    keys = [b"a/" + bytes([n]) * (length - 2) for n in range(3)]
    state = {key: str(n).encode() for n, key in enumerate(keys)}
    async with reopen() as journal:
        await journal.append([Append(connector="shop", state={**state, b"a/x": b"short"})])
    async with reopen() as journal:
        assert await journal.owners() == ["shop"]
        assert await journal.get("shop", keys) == state
        assert [row async for row in journal.scan("shop", b"a/\1")] == [(keys[1], b"1")]
        assert [key async for key, _ in journal.scan("shop", b"a/")] == [*keys, b"a/x"]
        assert await journal.forget("shop") == 4
    async with reopen() as journal:
        assert await journal.owners() == []


async def test_what_comes_while_the_end_is_looked_for_is_adopted_once(nats: NatsServer, name: str) -> None:
    """The end was told, then what lay in front of it turned out to be erased and something had come behind it."""
    adopted = list[int]()

    async def unchanged() -> bool:
        return True

    async with streams(nats, name) as (entries, _, _):
        await entries.ensure()
        commits = Commits(entries, writer="w", adopt=lambda at, _: adopted.append(at))
        await commits.open(0, still=unchanged)
        for part, ends in enumerate((False, True)):
            await entries.publish(entries.subject, msgspec.msgpack.encode(Frame("w", part, ends, b"x")), headers={})
        asked = entries.info

        async def told_late() -> Any:
            found = await asked()
            entries.info = asked  # type: ignore[method-assign]
            await entries.erase(2)
            await entries.erase(3)
            await entries.publish(entries.subject, msgspec.msgpack.encode(Frame("w", 0, ends=True, body=b"y")), headers={})
            return found

        entries.info = told_late  # type: ignore[method-assign]
        for _ in range(2):
            await commits._settle()
        assert (adopted, commits.end) == ([4], 4)


async def test_a_server_that_is_not_there_or_lets_nobody_in_is_named(tmp_path: Path, clock: HandClock) -> None:
    with pytest.raises(NotDurable, match=r"127\.0\.0\.1:1: "):
        await opens(Place(access=Access(servers=("nats://127.0.0.1:1",))), tmp_path, clock)
    secret = Secret(b"right", reference="env:NATS")
    allowed = '{ publish: ["cdmd.>", "$KV.cdmd.>", "$KV.cdmd_leases.>", "$JS.API.>"], subscribe: ["_INBOX.>"] }'
    config = f"authorization {{ users: [ {{ user: cdmd, password: right, permissions: {allowed} }} ] }}"
    with serving(tmp_path / "server", config=config) as server:
        await refused(Place(access=Access(servers=(server.url,))), tmp_path, clock, saying=r"(?i)authorization")
        place = Place(access=Access(servers=(server.url,), username="cdmd", password=secret), holder="me")
        async with AsyncExitStack() as stack:
            journal = await let_in(place, tmp_path, clock, stack)
            await filled(journal)
            await journal.revise(erasing(5), holding=Holding(None), after=Seq(0))
            await journal.prune(before=to_micros(clock.now() + timedelta(days=1)), upto=Seq(3))
            assert await journal.verify() == []


async def test_a_stream_that_somebody_removed_takes_nothing_and_ends_nothing(
    reopen: Reopen, nats: NatsServer, name: str
) -> None:
    async with reopen(patience=0.2) as journal, streams(nats, name) as (entries, _, _):
        await journal.append([append_of(1)])
        await entries.link.ask(f"STREAM.DELETE.{entries.name}")
        for _ in range(2):
            with pytest.raises(NotDurable):
                await journal.append([append_of(2)])
        assert "stream not found" in ((await journal.statistics()).failure or "")


async def test_copies_on_more_servers_than_there_are_cannot_be_had(nats: NatsServer, tmp_path: Path, clock: HandClock) -> None:
    with pytest.raises(CdmdError, match="cannot be made or changed"):
        await opens(Place(access=Access(servers=(nats.url,)), name="three", replicas=3), tmp_path, clock)


# ---- what was lost, and what must not be found any more -----------------------------------------------------------------


async def test_a_journal_that_lost_what_was_acknowledged_is_damaged(
    reopen: Reopen, nats: NatsServer, name: str, tmp_path: Path
) -> None:
    async with reopen() as journal:
        await filled(journal)
    mark = (tmp_path / "mark").read_bytes()
    (tmp_path / "mark").write_bytes(mark.replace(b":39", b":40"))
    with pytest.raises(Damaged, match="ends at 39, but it once reached 40"):
        await opens_again(reopen)
    (tmp_path / "mark").write_bytes(mark.replace(b'"w', b'"other'))
    with pytest.raises(Damaged, match="not the one"):
        await opens_again(reopen)
    (tmp_path / "mark").write_bytes(mark)
    async with streams(nats, name) as (entries, _, _):
        await entries.link.ask(f"STREAM.DELETE.{entries.name}")
    with pytest.raises(Damaged, match="lost acknowledged messages"):
        await opens_again(reopen)


async def test_a_message_that_is_missing_or_another_is_found(reopen: Reopen, nats: NatsServer, name: str) -> None:
    async with reopen(tail_events=1) as journal, streams(nats, name) as (entries, _, kept):
        await filled(journal)
        piece = decode_piece(read_frame((await entries.get(5)).data, "").body, "")
        other = msgspec.structs.replace(piece, body=piece.body.replace(b"user11", b"user12"))
        await kept.publish(f"$KV.{name}.patch.5", encode_piece(Frame("x", 0, True, encode_piece(other))), headers={})
        await entries.erase(5)
        assert [line for line in await journal.verify() if "checksum" in line]
        with pytest.raises(Damaged, match="checksum"):
            await journal.check(Seq(6))
        await journal.check(Seq(12))
        await kept.replace(f"$KV.{name}.patch.5", None)
        assert await journal.verify() == ["journal: the journal is damaged: the entries between 9 and 13 are missing"]
        for after in (5, 9, 10):
            with pytest.raises(Damaged, match="missing"):
                await journal.read(Seq(after), limit=9)
        assert [one.seq for one in await journal.read(Seq(12), limit=2)] == [13, 14]


async def test_nothing_is_left_on_the_servers_disk_of_what_was_exchanged_or_removed(tmp_path: Path, clock: HandClock) -> None:
    with serving(tmp_path / "server") as server:
        async with opening(server, tmp_path, clock, name="a")() as journal:
            await filled(journal)
            await journal.append([append_of(40, state={b"pending/user5@": b"user5@example.com", b"kept": b"here"})])
            await journal.settled()
            await journal.append([Append(connector="shop", state={b"pending/user5@": b"user5@ again"})])
            with anyio.fail_after(30):
                while not await anyio.to_thread.run_sync(server.holds, b"user5@"):  # noqa: ASYNC110 - another process gets there
                    await anyio.sleep(0.01)
            for _ in range(2):
                await journal.revise(erasing(4, 5), holding=Holding([b"user5@"]), after=Seq(0))
            await journal.append([Append(connector="shop", state={b"pending/user5@": None})])
            assert await journal.settled()
            assert await anyio.to_thread.run_sync(server.holds, b"user6@")
            assert await journal.get("shop", [b"kept", b"pending/user5@"]) == {b"kept": b"here"}
            assert not await anyio.to_thread.run_sync(server.holds, b"user5@")
            assert not await anyio.to_thread.run_sync(server.holds, b"user5@".hex().encode())


async def test_a_copy_is_a_journal_of_sqlite(reopen: Reopen, tmp_path: Path, clock: HandClock) -> None:
    async with reopen() as journal:
        await filled(journal)
        await journal.append([append_of(40, state={b"a/b": b"1", b"c": b""}, counts={"accepted": 40})])
        await journal.revise(erasing(20), holding=Holding(None), after=Seq(0))
        await journal.prune(before=to_micros(clock.now() + timedelta(days=1)), upto=Seq(6))
        await journal.backup(tmp_path / "copy.db")
        known = journal.id
    opened = SqliteJournal.open(tmp_path / "copy.db", clock=clock, mark_path=tmp_path / "mark", new_id=lambda: "new")
    async with opened as copy:
        assert (copy.id, copy.head, (await copy.statistics()).first) == (known, 40, 7)
        found = [one.entry for one in await copy.read(Seq(0), limit=99)]
        assert found == [tombstone(entry(n)) if n == 20 else entry(n) for n in range(7, 41)]
        assert await copy.owners() == ["b", "shop"]
        assert await copy.get("shop", [b"a/b", b"c"]) == {b"a/b": b"1", b"c": b""}
        assert await copy.counts() == {("shop", "accepted"): 40}
        assert await copy.append([append_of(41)]) == 41
        assert await copy.verify() == []


async def test_a_copy_that_cannot_be_written_leaves_nothing(reopen: Reopen, tmp_path: Path) -> None:
    async with reopen() as journal:
        (tmp_path / "there.db").touch()
        with pytest.raises(CdmdError, match="could not be written"):
            await journal.backup(tmp_path / "there.db")


async def test_state_that_grows_is_brought_into_the_bucket_now_and_then(
    reopen: Reopen, nats: NatsServer, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cdmd.cluster.journal._CHECKPOINT_BYTES", 1_000)
    async with reopen() as journal, streams(nats, name) as (_, changes, kept):
        await journal.append([Append(connector="shop", state={b"%d" % n: b"x" * 100 for n in range(30)})])
        assert (await kept.info()).state.messages == 1
        await journal.write_mark()
        assert (await kept.info()).state.messages == 31
        assert (await changes.info()).state.messages == 0
        await journal.append([Append(connector="shop", state={b"%d" % n: b"y" * 100 for n in range(60)})])
        await journal.append([append_of(1)])
        assert (await kept.info()).state.messages == 61, "an append waits where too much is held in memory"
        assert (await journal.get("shop", [b"0"]))[b"0"] == b"y" * 100


async def test_what_could_not_be_brought_into_the_bucket_is_with_the_next_look(
    reopen: Reopen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cdmd.cluster.journal._CHECKPOINT_MESSAGES", 2)
    async with reopen() as journal:
        for number in range(3):
            await journal.append([Append(connector="shop", state={b"%d" % number: b"x"})])
        with monkeypatch.context() as patched:
            patched.setattr(Stream, "replace", away)
            with pytest.raises(NotDurable):
                await journal.write_mark()
        assert journal._beside.messages == 3
        await journal.write_mark()
        assert journal._beside.messages == 0


async def away(*_: Any, **__: Any) -> None:
    raise NotDurable("no server answers")


def test_nothing_of_it_is_imported_where_the_journal_lies_here() -> None:
    loaded = "; print([name for name in sys.modules if name.split('.')[0] == 'nats' or name.startswith('cdmd.cluster')])"
    modules = "cdmd.daemon.assembly, cdmd.cli.daemon_run, cdmd.cli.daemon_checking, cdmd.cli.control_commands"
    command = [sys.executable, "-c", f"import sys, {modules}{loaded}"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == "[]"


# ---- means --------------------------------------------------------------------------------------------------------------

_REPLACE, _ERASE = Stream.replace, Stream.erase
_LONG = 90.0
"""Seconds: only what never happens takes as long."""


@asynccontextmanager
async def streams(server: NatsServer, name: str) -> AsyncIterator[tuple[Stream, Stream, Stream]]:
    """The streams as somebody else sees them: entries, changes, bucket."""
    async with Link.open(Access(servers=(server.url,)), name="test") as link:
        names = (f"{name}_entries", f"{name}_changes", f"KV_{name}")
        entries, changes, kept = (Stream(link, Shape(name=one, subjects=(one.replace("_", "."),))) for one in names)
        yield entries, changes, kept


async def put(stream: Stream, frame: Frame, *, after: int) -> int | None:
    subject = stream.name.replace("_", ".")
    return await stream.publish(subject, encode_piece(frame), headers={"Nats-Expected-Last-Sequence": str(after)})


async def until(look: Callable[[], bool]) -> None:
    with anyio.fail_after(_LONG):
        while not look():  # noqa: ASYNC110 - another task gets there
            await anyio.sleep(0.01)


async def appended(journal: JetStreamJournal, append: Append) -> int:
    """Once the journal takes it again."""
    with anyio.fail_after(_LONG):
        while True:
            try:
                return await journal.append([append])
            except NotDurable:
                await anyio.sleep(0.02)


async def opens(place: Place, home: Path, clock: HandClock) -> None:
    async with JetStreamJournal.open(place, clock=clock, mark_path=home / "mark", new_id=lambda: "w"):
        pass


async def refused(place: Place, home: Path, clock: HandClock, *, saying: str) -> None:
    """In these words; on a machine that is out of breath the server is first said not to answer."""
    with anyio.fail_after(_LONG):
        while True:
            with pytest.raises(NotDurable) as caught:
                await opens(place, home, clock)
            if re.search(saying, str(caught.value)):
                return


async def let_in(place: Place, home: Path, clock: HandClock, stack: AsyncExitStack) -> JetStreamJournal:
    """Once the server is quick enough to do so; the test's own deadline ends it otherwise."""
    while True:
        opened = JetStreamJournal.open(place, clock=clock, mark_path=home / "mark", new_id=lambda: "w")
        with suppress(NotDurable):
            return await stack.enter_async_context(opened)


async def opens_again(reopen: Reopen) -> None:
    async with reopen():
        pass
