"""What a server, its administrator and the way to it can do to the store in PostgreSQL."""

import os
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress
from pathlib import Path
from typing import Any, TypeAlias

import anyio
import anyio.lowlevel
import anyio.to_thread
import msgspec
import psycopg
import pytest

from cdmd.contracts import DeadLetterFilter
from cdmd.errors import CdmdError, ConfigInvalid, Damaged, NotDurable, SchemaUnknown
from cdmd.models import Changes, Digest, Micros, ProfileKey, Seen, Seq, TargetNote, Wanted
from cdmd.store.files import StateDirectory
from cdmd.store.keys import Digester
from cdmd.store.opening import Opened, Server, not_lost, open_state
from cdmd.store.postgres.connecting import connect
from cdmd.store.postgres.store import PostgresStore
from cdmd.store.postgres.tables import PostgresTables
from cdmd.store.postgres.texts import escaped, unescaped
from cdmd.store.restoring import backup
from tests.store.contract_store import (
    DIGESTER,
    EVERYTHING,
    NOTHING,
    applied,
    burying,
    dead,
    digest,
    give,
    look,
    parked,
)
from tests.store.postgres import Database
from tests.store.postgres import Server as RunningServer
from tests.store.samples import HandClock, append_of

pytestmark = pytest.mark.anyio

Opening: TypeAlias = Callable[..., AbstractAsyncContextManager[PostgresStore]]
_TYPE = "order.\0paid\U0010fffd0\U0010fffd"


@pytest.fixture
def opening(database: Database) -> Opening:
    def opens(
        *, url: str = database.url, journal_id: str = "one", digester: Digester = DIGESTER
    ) -> AbstractAsyncContextManager[PostgresStore]:
        return PostgresStore.open(url, clock=HandClock(), journal_id=journal_id, digest=digester.occurrence)

    return opens


async def run(database: Database, sql: str) -> list[tuple[Any, ...]]:
    return await anyio.to_thread.run_sync(database.run, sql)


# ---- opening ------------------------------------------------------------------------------------------------------


async def test_a_store_of_another_journal_or_another_key_is_not_started(opening: Opening) -> None:
    async with opening():
        pass
    with pytest.raises(Damaged, match="another journal"):
        async with opening(journal_id="two"):
            pass
    with pytest.raises(Damaged, match="another digest key"):
        async with opening(digester=Digester(b"x" * 32)):
            pass


async def test_who_does_not_belong_here_stops_nobody_from_writing(opening: Opening) -> None:
    async with opening() as store:
        with pytest.raises(Damaged, match="another journal"):
            async with opening(journal_id="two"):
                pass
        await give(store, applied(1))


async def test_a_state_directory_keeps_to_the_server_that_has_its_store(database: Database, tmp_path: Path) -> None:
    def opening(server: Server | None) -> AbstractAsyncContextManager[Opened]:
        return open_state(state, clock=HandClock(), new_id=lambda: "one", random=os.urandom, server=server)

    async with StateDirectory(tmp_path / "state").hold() as state:
        for expected in (0, 2):
            async with opening(Server(database.url, "unasked for")) as opened:
                assert (opened.journal.head, opened.store.position, opened.store.synced) == (expected, expected, expected)
                if not expected:
                    await opened.journal.append([append_of(1, 2)])
                    await give(opened.store, applied(1, 2))
                with pytest.raises(CdmdError, match="pg_dump"):
                    await backup(opened.journal, opened.store, opened.feeds, tmp_path / "x", clock=HandClock(), version="1")
        with pytest.raises(CdmdError, match="does not name one"):
            async with opening(None):
                pass
        # A database that was put back to an earlier moment: what is missing is applied again from the journal.
        await run(database, "UPDATE positions SET seq = 1, version = 3")
        async with opening(Server(database.url, None)) as opened:
            assert (opened.journal.head, opened.store.position) == (2, 1)
        with pytest.raises(CdmdError, match="start the node that leads"):
            async with opening(Server(database.url, None, lanes=2, name="b", roles=["process"])):
                pass
    assert not (state.root / "store.db").exists()
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("url", "guarded"),
    [
        ("postgresql://db.example/cdmd", True),
        ("postgresql://127.0.0.1,db.example/cdmd", True),
        ("postgresql://db.example/cdmd?sslmode=disable", False),
        ("postgresql://[::1]/cdmd", False),
        ("postgresql:///cdmd?host=/run/postgresql", False),
        ("postgresql:///cdmd", False),
    ],
)
def test_the_way_to_another_machine_is_guarded_unless_the_address_says_otherwise(
    url: str, guarded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: dict[str, Any] = {}

    def note(**options: Any) -> None:
        said.update(options)
        raise psycopg.OperationalError

    monkeypatch.setattr(psycopg, "connect", note)
    with pytest.raises(psycopg.OperationalError):
        connect(url, password="geheim")
    assert (said.get("sslmode") == "verify-full") == guarded
    assert said["password"] == "geheim"


async def test_a_newer_schema_is_refused(opening: Opening, database: Database) -> None:
    async with opening():
        pass
    await run(database, "INSERT INTO migrations (number) VALUES (99)")
    with pytest.raises(SchemaUnknown, match="99"):
        async with opening():
            pass


async def test_two_that_start_at_once_make_one_schema(opening: Opening) -> None:
    async def opens() -> None:
        with suppress(NotDurable):  # another one took it over meanwhile
            async with opening():
                pass

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(opens)
    async with opening() as store:
        assert await store.verify() == []


async def test_what_is_no_address_is_said_without_the_password(opening: Opening) -> None:
    with pytest.raises(ConfigInvalid, match=r"^store\.url: ") as caught:
        async with opening(url="postgresql://cdmd:secret@[host/cdmd"):
            pass
    assert "secret" not in str(caught.value)


async def test_where_nobody_answers_the_store_is_not_durable(opening: Opening) -> None:
    with pytest.raises(NotDurable, match="cannot be written now"):
        async with opening(url="postgresql://cdmd:secret@127.0.0.1:1/cdmd"):
            pass


async def test_whether_the_store_can_be_reached_is_known_without_opening_it(database: Database) -> None:
    assert await anyio.to_thread.run_sync(not_lost, Server(database.url, None)) is None
    away = await anyio.to_thread.run_sync(not_lost, Server("postgresql://cdmd@127.0.0.1:1/cdmd", "secret"))
    assert away is not None
    assert "refused" in away
    assert "secret" not in away
    assert database.run("SELECT 1 FROM pg_tables WHERE tablename = 'nodes' AND schemaname = current_schema()") == []


async def test_a_server_that_does_not_know_what_it_is_told_is_not_kept_waiting(
    opening: Opening, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cdmd.store.postgres.connecting._SESSION", {"no_such_thing": "on"})
    with pytest.raises(NotDurable, match="no_such_thing"):
        async with opening():
            pass
    left = "SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM pg_stat_activity WHERE application_name = 'cdmd')"
    await anyio.to_thread.run_sync(database.wait, left)


async def test_a_database_that_does_not_hold_every_character_is_refused(opening: Opening, database: Database) -> None:
    await run(database, "CREATE DATABASE narrow TEMPLATE template0 ENCODING 'LATIN1'")
    with pytest.raises(CdmdError, match="createdb"):
        async with opening(url=database.url.replace("/postgres?", "/narrow?")):
            pass


# ---- what is written ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "plain", _TYPE, "\0", "\U0010fffd", "\U0010fffd1\0"])
def test_text_comes_back_as_it_was_whatever_is_in_it(text: str) -> None:
    assert "\0" not in escaped(text)
    assert unescaped(escaped(text)) == text


async def test_a_type_with_a_character_that_the_server_does_not_hold_comes_back(opening: Opening) -> None:
    letters = [dead(1, kind=_TYPE), dead(2)]
    async with opening() as store:
        await give(store, burying(*letters))
        assert await store.dead_letters(EVERYTHING) == letters
        assert await store.dead_letters(DeadLetterFilter(type="*\0*")) == letters[:1]


async def test_no_message_of_the_servers_quotes_what_was_written(opening: Opening) -> None:
    async with opening() as store:
        await give(store, applied(1))
        twice = applied(1)
        twice.profiles[ProfileKey(7)] = twice.profiles[ProfileKey(1)]
        with pytest.raises(ValueError, match="do not fit the store") as caught:
            await give(store, twice)
        assert "public-1" not in str(caught.value)
        assert store.failure is None


async def test_damage_is_found(opening: Opening, database: Database) -> None:
    async with opening() as store:
        await give(store, applied(1, 2))
        await run(database, "UPDATE profiles SET body = body || '\\x00' WHERE id = 2")
        assert await store.verify() == ["store: profile 2 does not match its checksum"]
        await run(database, "DELETE FROM identifiers WHERE profile = 1")
        assert "store: 1 identifiers that profiles list belong to others or to nobody" in await store.verify()
        await run(database, "ALTER TABLE counts RENAME TO lost")
        with pytest.raises(Damaged, match="counts"):
            await store.counts()
        with pytest.raises(Damaged, match="counts"):
            await give(store, applied(3))
        assert store.failure is not None


async def test_a_store_that_does_not_say_where_it_stands_is_damaged(opening: Opening, database: Database) -> None:
    async with opening() as store:
        await run(database, "TRUNCATE positions")
        with pytest.raises(Damaged, match="up to where"):
            await give(store, applied(1))
    with pytest.raises(Damaged, match="up to where"):
        async with opening():
            pass


# ---- who may write ------------------------------------------------------------------------------------------------


async def test_who_was_taken_over_writes_nothing_any_more(opening: Opening) -> None:
    async with opening() as late:
        await give(late, applied(1))
        async with opening() as store:
            for attempt in (
                give(late, applied(2)),
                late.note("x", "y"),
                late.outbox.note("crm", TargetNote()),
                late.discard(EVERYTHING, now=Micros(0)),
            ):
                with pytest.raises(NotDurable, match="taken the store over"):
                    await attempt
            assert store.position == 1
            await give(store, applied(2))
            with pytest.raises(NotDurable, match="taken the store over"):
                await give(late, applied(3))
            assert await store.noted("x") is None
            assert await store.outbox.notes() == {}
            assert (await store.totals()).events == 2
            assert "taken the store over" in str(late.failure)


@pytest.mark.parametrize("changes", [applied(2), Changes(unparked=[Seq(1)])], ids=["with a position", "without"])
async def test_a_commit_whose_answer_was_lost_is_noticed_and_not_repeated(
    opening: Opening, monkeypatch: pytest.MonkeyPatch, changes: Changes
) -> None:
    lost: list[object] = []

    class Losing(psycopg.Connection[tuple[Any, ...]]):
        def execute(self, query: Any, *said: Any, **options: Any) -> Any:
            answer = super().execute(query, *said, **options)
            if query == "COMMIT" and lost:
                lost.clear()
                self.close()
                raise psycopg.OperationalError("server closed the connection unexpectedly")
            return answer

    monkeypatch.setattr(psycopg, "connect", Losing.connect)
    async with opening() as store:
        await give(store, Changes(position=Seq(1), parked=[parked(1)], seen={digest(1): Seen(Seq(1), 3, 1)}))
        lost.append(True)
        with pytest.raises(NotDurable, match="unexpectedly"):
            await give(store, changes)
        with pytest.raises(NotDurable, match="after all"):
            await give(store, changes)
        assert store.position == (changes.position or 1)
        await give(store, applied(3))
        assert (store.position, await store.verify()) == (3, [])
        assert (await store.totals()).events == len(changes.activities) + 1


async def test_a_transaction_that_still_runs_without_its_owner_is_waited_for(opening: Opening, database: Database) -> None:
    decided: list[object] = []

    def decide(known: object) -> Changes:
        decided.append(known)
        return Changes()

    async with opening() as store:
        await give(store, applied(1))
        with await anyio.to_thread.run_sync(psycopg.connect, database.url) as orphan:
            await anyio.to_thread.run_sync(orphan.execute, "UPDATE positions SET seq = 2, version = version + 1")
            async with anyio.create_task_group() as tasks:
                outcomes: list[str] = []

                async def apply() -> None:
                    with pytest.raises(NotDurable, match="position 2 after all"):
                        await store.apply(Wanted([digest(2)], []), decide)
                    outcomes.append("refused")

                tasks.start_soon(apply)
                await anyio.to_thread.run_sync(database.wait, "SELECT 1 FROM pg_locks WHERE NOT granted")
                assert (outcomes, decided) == ([], [])
                await anyio.to_thread.run_sync(orphan.commit)
        assert (outcomes, decided, store.position) == (["refused"], [], 2)


async def test_a_store_that_went_back_is_not_written_on(opening: Opening, database: Database) -> None:
    async with opening() as store:
        await give(store, applied(1, 2))
        await run(database, "UPDATE positions SET seq = 1, version = version - 1")
        for _ in range(2):
            with pytest.raises(Damaged, match="went back to position 1; restart"):
                await give(store, applied(3))
        assert store.position == 2


async def test_what_was_written_by_nobody_knows_whom_is_chosen_again(opening: Opening, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opening() as store:
        with monkeypatch.context() as patch:
            patch.setattr(PostgresTables, "run", lambda *_, **__: 0)
            with pytest.raises(NotDurable, match="written meanwhile"):
                await store.note("x", "y")
        await store.note("x", "z")
        assert await store.noted("x") == "z"


# ---- a server that goes and comes ---------------------------------------------------------------------------------


async def test_what_was_answered_survives_a_kill_of_the_server_and_the_store_goes_on_by_itself(
    opening: Opening, server: RunningServer
) -> None:
    async with opening() as store:
        await give(store, applied(1, 2))
        assert (await store.sync(), store.synced) == (2, 2)
        await anyio.to_thread.run_sync(server.kill)
        with pytest.raises(NotDurable, match="cannot be written now"):
            await give(store, applied(3))
        with pytest.raises(NotDurable, match="cannot be read now"):
            await store.counts()
        assert [line[:24] for line in await store.verify()] == ["store: it cannot be read"]
        with pytest.raises(NotDurable, match="cannot be written now"):
            await store.forgetting.settled()
        assert store.failure is not None
        await anyio.to_thread.run_sync(server.start)
        assert await store.seen([digest(1), digest(2), digest(3)]) == {
            digest(number): Seen(Seq(number), 1, number) for number in (1, 2)
        }
        await give(store, applied(3))
        assert (store.position, store.failure, await store.verify()) == (3, None, [])


async def test_a_server_that_gives_no_answer_does_not_keep_the_daemon_from_ending(
    opening: Opening, server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cdmd.store.postgres.store._STOP", 0.01)
    try:
        async with opening() as store, anyio.create_task_group() as tasks:
            await give(store, applied(1))
            server.freeze()
            tasks.start_soon(give, store, applied(2))
            await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()
    finally:
        server.thaw()
    async with opening() as store:
        assert store.position in {1, 2}


async def test_a_server_that_is_still_starting_is_waited_for(database: Database, server: RunningServer) -> None:
    class Starting(HandClock):
        async def sleep(self, seconds: float) -> None:
            await super().sleep(seconds)
            await anyio.to_thread.run_sync(server.start)

    await anyio.to_thread.run_sync(server.kill)
    store = PostgresStore.open(database.url, clock=Starting(), journal_id="one", digest=DIGESTER.occurrence)
    async with store as opened:
        assert (opened.position, opened.failure) == (0, None)


async def test_connections_that_the_server_ended_are_made_anew_and_no_question_notices(
    opening: Opening, database: Database
) -> None:
    async with opening() as store:
        await give(store, applied(1))
        await store.counts()
        await store.counts()
        await run(database, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'cdmd'")
        for _ in range(2):
            assert await store.counts() == {("shop", "applied"): 1}
        with pytest.raises(NotDurable):
            await give(store, applied(2))
        await give(store, applied(2))
        assert store.position == 2


async def test_batches_that_come_together_are_decided_upon_each_other(opening: Opening) -> None:
    known: dict[int, dict[Digest, Seen]] = {}

    async def apply(number: int) -> None:
        def decide(found: Any) -> Changes:
            known[number] = dict(found.seen)
            return applied(number, profile_of=lambda _: 1)

        await store.apply(Wanted([digest(n) for n in range(1, 6)], [("email", "user1@example.com")]), decide)

    async with opening() as store:
        async with anyio.create_task_group() as tasks:
            for number in range(1, 6):
                tasks.start_soon(apply, number)
        assert {number: len(found) for number, found in known.items()} == {number: number - 1 for number in range(1, 6)}
        assert await store.verify() == []
        found = await store.profile("email", "user1@example.com", activities=9)
        assert found is not None
        assert [one.seq for one in found.activities] == [5, 4, 3, 2, 1]


async def test_what_somebody_looks_at_is_not_settled(opening: Opening, database: Database) -> None:
    async with opening() as store:
        await give(store, applied(1))
        with await anyio.to_thread.run_sync(psycopg.connect, database.url) as reader:
            await anyio.to_thread.run_sync(reader.execute, "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            await anyio.to_thread.run_sync(reader.execute, "SELECT count(*) FROM profiles")
            await store.forgetting.hide([("email", "user1@example.com")])
            assert not await store.forgetting.settled()
        assert await store.forgetting.settled()


async def test_what_went_is_not_settled_while_somebody_writes_since_before(opening: Opening, database: Database) -> None:
    async with opening() as store:
        await give(store, applied(1))
        with psycopg.connect(database.url) as writer:
            writer.execute("SELECT pg_current_xact_id()")  # and looks at nothing until its next statement
            await store.forgetting.hide([("email", "user1@example.com")])
            assert not await store.forgetting.settled()
        assert await store.forgetting.settled()


async def test_who_looks_at_what_is_there_now_holds_nothing_up_however_many_look_at_any_time(
    opening: Opening, database: Database
) -> None:
    def looks(reader: psycopg.Connection[Any]) -> None:
        reader.rollback()
        reader.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        reader.execute("SELECT count(*) FROM profiles")

    async with opening() as store:
        await give(store, applied(1))
        with psycopg.connect(database.url) as one, psycopg.connect(database.url) as other:
            looks(one)
            await store.forgetting.hide([("email", "user1@example.com")])
            looks(other)  # before the first one ends
            looks(one)
            assert await store.forgetting.settled()
            assert database.run("SELECT last_vacuum IS NULL FROM pg_stat_user_tables WHERE relid = 'profiles'::regclass") == [
                (False,)
            ]


async def test_a_decision_of_nothing_moves_nothing(opening: Opening) -> None:
    async with opening() as store:
        before = await look(store)
        assert msgspec.structs.asdict(before) == msgspec.structs.asdict(await give(store, Changes(), NOTHING))
