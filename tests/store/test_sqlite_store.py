"""The store in SQLite: the contract, and what the disk can do to it."""

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, closing
from itertools import permutations
from pathlib import Path
from typing import Any, TypeAlias

import anyio
import msgspec
import pytest
from typing_extensions import override

from cdmd.contracts import DeadLetterFilter
from cdmd.errors import Damaged, NotDurable, SchemaUnknown
from cdmd.models import (
    Changes,
    IdentifierState,
    Known,
    Merge,
    Micros,
    ProfileKey,
    ProfileState,
    Seen,
    SeenVerdict,
    Seq,
    Wanted,
)
from cdmd.store.batches import look_up
from cdmd.store.checking import verify_store
from cdmd.store.checkpoints import STEP
from cdmd.store.keys import Digester
from cdmd.store.sql import load_queries
from cdmd.store.sqlite_tables import SqliteTables
from cdmd.store.store import SqliteStore
from tests.store.contract_store import (
    DIGESTER,
    EVERYTHING,
    NOTHING,
    NOW,
    StoreContract,
    activity,
    applied,
    burying,
    dead,
    digest,
    give,
    look,
    parked,
    profile,
)
from tests.store.samples import Disk, HandClock

_CAUSES = load_queries("store")["dead_letter_causes"]
_ABOUT = [load_queries("outbox")[name] for name in ("outbox_about", "blank_attempts")]
pytestmark = pytest.mark.anyio

Reopen: TypeAlias = Callable[..., AbstractAsyncContextManager[SqliteStore]]


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
def reopen(tmp_path: Path, clock: HandClock, disk: Disk) -> Reopen:
    def opening(*, journal_id: str = "one", digester: Digester = DIGESTER) -> AbstractAsyncContextManager[SqliteStore]:
        path, digests = tmp_path / "store.db", digester.occurrence
        return SqliteStore.open(path, clock=clock, journal_id=journal_id, digest=digests, connect=disk.connect)

    return opening


class TestSqliteStore(StoreContract):
    pytestmark = pytest.mark.anyio

    @pytest.fixture
    def reopen(self, tmp_path: Path, clock: HandClock) -> Callable[[], AbstractAsyncContextManager[SqliteStore]]:
        def opening() -> AbstractAsyncContextManager[SqliteStore]:
            return SqliteStore.open(tmp_path / "store.db", clock=clock, journal_id="one", digest=DIGESTER.occurrence)

        return opening


async def test_a_backup_is_private_and_whole(reopen: Reopen, tmp_path: Path) -> None:
    async with reopen() as store:
        await give(store, applied(1, 2))
        await store.backup(tmp_path / "copy.db")
    assert (tmp_path / "copy.db").stat().st_mode & 0o777 == 0o600


def damage(path: Path, sql: str, *parameters: Any) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute(sql, parameters)
    connection.close()


async def examine(home: Path) -> list[str]:
    return await anyio.to_thread.run_sync(verify_store, home / "store.db")


# ---- opening ------------------------------------------------------------------------------------------------------


async def test_a_store_of_another_journal_is_not_started(reopen: Reopen) -> None:
    async with reopen():
        pass
    with pytest.raises(Damaged, match=r"another journal.*cdmd restore"):
        async with reopen(journal_id="two"):
            pass


async def test_a_store_without_its_digest_key_is_not_started(reopen: Reopen) -> None:
    async with reopen():
        pass
    with pytest.raises(Damaged, match="another digest key"):
        async with reopen(digester=Digester(b"x" * 32)):
            pass


@pytest.mark.parametrize(
    "sql", ["DELETE FROM positions", "DROP TABLE positions", "DROP TABLE meta", "UPDATE positions SET seq = 'x'"]
)
async def test_a_store_of_which_a_part_is_gone_is_damaged(reopen: Reopen, tmp_path: Path, sql: str) -> None:
    async with reopen():
        pass
    damage(tmp_path / "store.db", sql)
    with pytest.raises(Damaged, match="cdmd restore"):
        async with reopen():
            pass


async def test_a_newer_schema_is_refused(reopen: Reopen, tmp_path: Path) -> None:
    async with reopen():
        pass
    damage(tmp_path / "store.db", "PRAGMA user_version = 99")
    with pytest.raises(SchemaUnknown):
        async with reopen():
            pass


async def test_what_is_on_disk_at_the_start_counts_as_synced(reopen: Reopen) -> None:
    async with reopen() as store:
        await give(store, applied(1))
        assert store.synced == 0
    async with reopen() as store:
        assert store.synced == 1
        assert store.path.stat().st_mode & 0o777 == 0o600


async def test_who_is_who_is_synced_before_it_is_seen_where_an_extension_had_a_say_in_what_is_not(
    reopen: Reopen, disk: Disk
) -> None:
    normal, full = 1, 2
    async with reopen() as store:
        disk.commits.clear()
        await give(store, applied(1))
        await give(store, Changes(swayed=True))
        await give(store, applied(2))
        await give(store, applied(3))
        assert disk.commits == [normal, normal, normal, full, normal]
        merge = Merge(
            seq=Seq(4), time=NOW, winner=ProfileKey(1), loser=ProfileKey(2), identifiers=[], rule="merged", before=profile(2)
        )
        disk.commits.clear()
        await give(store, Changes(merges=[merge], swayed=True))
        await give(store, Changes(seen={digest(9): Seen(Seq(9), SeenVerdict.FILTERED, 9)}))
        assert disk.commits == [normal, full, normal]


async def test_what_failed_to_be_synced_is_synced_the_next_time(reopen: Reopen, disk: Disk) -> None:
    normal, full = 1, 2
    async with reopen() as store:
        disk.fail_on = "INSERT INTO activities"
        with pytest.raises(NotDurable):
            await give(store, msgspec.structs.replace(applied(1), swayed=True))
        disk.fail_on = None
        disk.commits.clear()
        await give(store, applied(1))
        await give(store, applied(2))
        assert disk.commits == [normal, full, normal]


# ---- the disk fails -----------------------------------------------------------------------------------------------


async def test_a_full_disk_loses_nothing_and_the_same_batch_goes_in_later(reopen: Reopen, disk: Disk) -> None:
    async with reopen() as store:
        await give(store, applied(1))
        disk.full = True
        for _ in range(2):
            with pytest.raises(NotDurable, match="SQLITE_FULL"):
                await give(store, applied(*range(2, 300)))
        assert "SQLITE_FULL" in str(store.failure)
        assert (store.position, (await store.totals()).events) == (1, 1)
        disk.full = False
        await give(store, applied(*range(2, 300)))
        assert (store.position, store.failure) == (299, None)
        assert await store.verify() == []


@pytest.mark.parametrize("statement", ["BEGIN", "COMMIT", "INSERT INTO activities", "UPDATE positions"])
async def test_a_failing_write_opens_the_store_anew(reopen: Reopen, disk: Disk, statement: str) -> None:
    async with reopen() as store:
        await give(store, applied(1))
        disk.fail_on = statement
        with pytest.raises(NotDurable):
            await give(store, applied(2))
        opened, disk.fail_on = disk.opened, None
        await give(store, applied(2))
        assert (disk.opened, store.position) == (opened + 1, 2)


async def test_a_batch_that_went_in_after_all_is_not_applied_twice(reopen: Reopen, disk: Disk, tmp_path: Path) -> None:
    async with reopen() as store:
        await give(store, applied(1))
        disk.fail_on = "COMMIT"
        with pytest.raises(NotDurable):
            await give(store, applied(2))
        disk.fail_on = None
        damage(tmp_path / "store.db", "UPDATE positions SET seq = 2")
        with pytest.raises(NotDurable, match="reached position 2 after all"):
            await give(store, applied(2))
        assert store.position == 2
        await give(store, applied(3))
        assert (store.position, (await store.totals()).events) == (3, 2)


async def test_a_store_that_went_back_is_damaged(reopen: Reopen, disk: Disk, tmp_path: Path) -> None:
    async with reopen() as store:
        await give(store, applied(1, 2))
        disk.fail_on = "COMMIT"
        with pytest.raises(NotDurable):
            await give(store, applied(3))
        disk.fail_on = None
        damage(tmp_path / "store.db", "UPDATE positions SET seq = 1")
        with pytest.raises(Damaged, match="from position 2 to 1"):
            await give(store, applied(3))


async def test_changes_that_contradict_the_store_are_the_callers_fault_and_leave_nothing(reopen: Reopen) -> None:
    async with reopen() as store:
        await give(store, applied(1))
        with pytest.raises(ValueError, match="UNIQUE"):
            await give(store, Changes(position=Seq(9), activities=applied(1).activities))
        assert (store.position, store.failure) == (1, None)
        await give(store, applied(2))
        assert await store.verify() == []


async def test_a_writer_that_meets_a_damaged_file_says_so(reopen: Reopen, disk: Disk) -> None:
    async with reopen() as store:
        disk.fail_on, disk.failure = "INSERT INTO activities", sqlite3.DatabaseError("database disk image is malformed")
        with pytest.raises(Damaged, match="malformed"):
            await give(store, applied(1))
        assert "malformed" in str(store.failure)
        disk.fail_on = None
        await give(store, applied(1))
        assert (store.position, store.failure) == (1, None)


async def test_a_long_read_holds_back_what_counts_as_synced(reopen: Reopen, tmp_path: Path) -> None:
    async with reopen() as store:
        await give(store, applied(1))
        assert await store.sync() == 1
        await give(store, applied(2))
        reader = sqlite3.connect(tmp_path / "store.db", isolation_level=None)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM profiles").fetchall()
        await give(store, applied(*range(3, 500)))
        assert await store.sync() == 1
        assert store.synced == 1
        reader.close()
        assert await store.sync() == 499


async def checkpointed(store: SqliteStore) -> None:
    """After the checkpoint that is under way."""
    await store._checkpoints.run(lambda connection: None)


async def test_what_is_applied_reaches_the_database_beside_the_writer_without_being_asked(reopen: Reopen) -> None:
    async with reopen() as store:
        await give(store, applied(*range(1, STEP // 2)))
        assert store.synced == 0
        await give(store, applied(*range(STEP // 2, STEP)))
        await checkpointed(store)
        assert store.synced == STEP - 1


async def test_a_checkpoint_that_fails_stops_nobody_and_is_made_good(reopen: Reopen, disk: Disk) -> None:
    async with reopen() as store:
        await give(store, applied(1))
        disk.fail_on = "PRAGMA wal_checkpoint"
        for first in range(1, 4):
            await give(store, applied(*range(first * STEP, (first + 1) * STEP)))
        assert store.position == 4 * STEP - 1
        with pytest.raises(NotDurable, match="disk I/O error"):
            await store.sync()
        assert store.synced == 0
        disk.fail_on = None
        assert await store.sync() == 4 * STEP - 1
        await give(store, applied(*range(4 * STEP, 5 * STEP)))
        await checkpointed(store)
        assert store.synced == 5 * STEP - 1


async def test_a_store_that_failed_is_not_well_again_before_its_writer_could_be_opened(reopen: Reopen, disk: Disk) -> None:
    async with reopen() as store:
        await give(store, applied(1))
        disk.fail_on = "INSERT INTO activities"
        with pytest.raises(NotDurable):
            await give(store, applied(2))
        disk.fail_on = "PRAGMA journal_mode"
        with pytest.raises(NotDurable, match="disk I/O error"):
            await store.sync()
        assert "disk I/O error" in str(store.failure)
        disk.fail_on = None
        await store.sync()
        assert store.failure is None


async def test_an_expired_quarter_goes_slice_by_slice_so_that_batches_have_their_turn_between(
    reopen: Reopen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cdmd.store.seen.SLICE", 10)
    later = Micros(NOW + 400 * 86_400_000_000)
    forgotten = {digest(n): Seen(Seq(n), SeenVerdict.FILTERED, 0) for n in range(1, 96)}
    turns: list[object] = []
    async with reopen() as store:
        await give(store, Changes(seen=forgotten))
        alone = store._write

        async def counted(fn: Callable[[sqlite3.Connection], Any]) -> Any:
            turns.append(await alone(fn))
            return turns[-1]

        monkeypatch.setattr(store, "_write", counted)
        assert await store.expire(dead_before=Micros(0), seen_before=later) == 95
        assert turns == [*[10] * 9, 5, 0, None, 0]
        assert await store.seen(list(forgotten)) == {}
        await give(store, applied(200))
        assert await store.verify() == []


async def test_an_expired_quarter_stays_from_its_first_kept_event_on(reopen: Reopen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdmd.store.seen.SLICE", 10)
    later = Micros(NOW + 400 * 86_400_000_000)
    async with reopen() as store:
        everything = sorted(digest(n) for n in range(1, 50))
        number = {digest(n): n for n in range(1, 50)}
        kept = number[everything[25]]
        await give(store, applied(kept))
        await give(
            store, Changes(seen={digest(n): Seen(Seq(n), SeenVerdict.FILTERED, 0) for n in number.values() if n != kept})
        )
        assert await store.expire(dead_before=Micros(0), seen_before=later) == 20
        assert set(await store.seen(everything)) == set(everything[20:])


async def test_a_connection_beside_the_writer_that_cannot_be_prepared_is_closed(reopen: Reopen, disk: Disk) -> None:
    async with reopen() as store:
        await give(store, applied(1))
        disk.fail_on = "PRAGMA synchronous"
        with pytest.raises(NotDurable, match="disk I/O error"):
            await store.sync()
        disk.fail_on = None
        assert await store.sync() == 1


async def test_a_store_that_cannot_be_read_says_so(reopen: Reopen, tmp_path: Path) -> None:
    async with reopen() as store:
        damage(tmp_path / "store.db", "DROP TABLE dead_letters")
        with pytest.raises(NotDurable, match="cannot be read now"):
            await store.dead_letters(EVERYTHING)


# ---- damage -------------------------------------------------------------------------------------------------------

DAMAGES = [
    ("UPDATE profiles SET body = zeroblob(length(body)) WHERE id = 1", "profile 1 does not match"),
    ("UPDATE profiles SET public = 'somebody' WHERE id = 1", "profile 1 does not match"),
    ("UPDATE activities SET time = time + 1 WHERE seq = 1", "activity 1 does not match"),
    ("UPDATE activities SET profile = 2 WHERE seq = 1", "activity 1 does not match"),
    ("UPDATE dead_letters SET code = 'other'", "dead letter 5 does not match"),
    ("UPDATE parked SET due = due + 1", "parked event 6 does not match"),
    ("UPDATE identifiers SET profile = 1 WHERE profile = 2", "identifier of profile 1 does not match"),
    ("UPDATE identifiers SET value = 'x' WHERE profile = 2", "identifier of profile 2 does not match"),
    ("DELETE FROM profiles WHERE id = 2", "1 identifiers belong to profiles that are not there"),
    ("DELETE FROM identifiers WHERE profile = 2", "1 identifiers that profiles list belong to others or to nobody"),
    ("UPDATE identifiers SET profile = 2", "1 identifiers that profiles list belong to others or to nobody"),
    ("DELETE FROM activities WHERE seq = 2", "activities should be 2, but there are 1"),
    ("DELETE FROM parked", "parked should be 1, but there are 0"),
    ("UPDATE profiles SET newest = 3 WHERE id = 1", "1 activities are not found from their profiles"),
    ("UPDATE profiles SET newest = NULL WHERE id = 2", "1 activities are not found from their profiles"),
]


@pytest.mark.parametrize(("sql", "sentence"), DAMAGES)
async def test_damage_to_any_row_is_noticed(reopen: Reopen, tmp_path: Path, sql: str, sentence: str) -> None:
    async with reopen() as store:
        await give(store, applied(1, 2))
        await give(store, burying(dead(5)))
        await give(store, Changes(parked=[parked(6)]))
        assert await store.verify() == []
        damage(tmp_path / "store.db", sql)
        assert sentence in "\n".join(await store.verify())


async def test_an_identifier_that_its_profile_does_not_list_is_noticed(reopen: Reopen) -> None:
    async with reopen() as store:
        changes = applied(1, 2)
        changes.owners["user_id", "unlisted"] = ProfileKey(2)
        await give(store, changes)
        assert "1 identifiers belong to profiles that do not list them" in "\n".join(await store.verify())


async def test_a_chain_of_activities_that_is_broken_or_closed_is_noticed_and_ends(reopen: Reopen, tmp_path: Path) -> None:
    async with reopen() as store:
        await give(store, applied(1, 5, profile_of=lambda _: 1))
        await give(store, applied(3, profile_of=lambda _: 1))  # it came back from an extension
        await give(store, Changes(activities=[activity(6, 1)]))  # its profile was neither asked for nor changed
        assert await store.verify() == []

        async def shown() -> list[int]:
            found = await store.profile("email", "user1@example.com", activities=9)
            assert found is not None
            return [one.seq for one in found.activities]

        assert await shown() == [6, 5, 3, 1]
        damage(tmp_path / "store.db", "UPDATE activities SET before = 6 WHERE seq = 1")
        assert await shown() == [6, 5, 3, 1]
        damage(tmp_path / "store.db", "UPDATE activities SET before = 1 WHERE seq = 3")
        assert await shown() == [6, 3, 1]
        assert "1 activities are not found from their profiles" in "\n".join(await store.verify())


async def test_every_flipped_bit_in_an_activity_is_noticed(reopen: Reopen, tmp_path: Path) -> None:
    async with reopen() as store:
        await give(store, Changes(activities=applied(1).activities))
    path = tmp_path / "store.db"
    whole = path.read_bytes()
    at = whole.index(b"user1@example.com")
    for bit in range(0, 17 * 8, 5):
        flipped = bytearray(whole)
        flipped[at + bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        assert await examine(tmp_path), bit


async def test_a_damaged_profile_is_neither_shown_nor_written_back(reopen: Reopen, tmp_path: Path) -> None:
    async with reopen() as store:
        await give(store, applied(1))
        damage(tmp_path / "store.db", "UPDATE profiles SET body = zeroblob(length(body))")
        with pytest.raises(Damaged, match="profile 1"):
            await look(store, identifiers=[("email", "user1@example.com")])
        with pytest.raises(Damaged, match="profile 1"):
            await store.profile("email", "user1@example.com", activities=1)


async def test_an_identifier_of_nobody_is_damage_when_somebody_asks(reopen: Reopen) -> None:
    async with reopen() as store:
        await give(store, Changes(owners={("email", "lost@example.com"): ProfileKey(9)}))
        with pytest.raises(Damaged, match="not there"):
            await look(store, identifiers=[("email", "lost@example.com")])
        assert await store.profile("email", "lost@example.com", activities=1) is None


class Asked(SqliteTables):
    """Tables that note which identifiers they were asked for."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        super().__init__(connection)
        self.kinds = {number: name for name, number in self.rows("kinds")}
        self.asked: set[tuple[str, str]] = set()

    @override
    def owners(self, kind: int, values: Sequence[str]) -> Iterable[tuple[str, ProfileKey]]:
        self.asked |= {(self.kinds[kind], value) for value in values}
        return super().owners(kind, values)


async def test_whose_an_identifier_is_is_not_asked_where_a_profile_found_before_says_so(reopen: Reopen, tmp_path: Path) -> None:
    """Known by three kinds, by two, merged into another one, and by one alone; and what nobody has."""
    of = {1: ("no:1", "email:1", "phone:1"), 2: ("no:2", "email:2"), 3: (), 4: ("email:4",), 5: ("no:3", "email:5")}
    people = {ProfileKey(key): named(key, *pairs) for key, pairs in of.items()}
    people[ProfileKey(3)].merged_into = 5
    owners = {pair(one): ProfileKey(key) for key, pairs in of.items() for one in pairs}
    everybody = {ProfileKey(key): people[ProfileKey(key)] for key in (1, 2, 4, 5)}
    async with reopen() as store:
        await give(store, Changes(profiles=people, owners=owners | {pair("no:3"): ProfileKey(3)}))
        for kinds in permutations(["no", "email", "phone", "fax"]):
            wanted = sorted([*owners, *map(pair, ["email:nobody", "phone:5", "fax:1"])], key=lambda one: kinds.index(one[0]))
            known, asked = await anyio.to_thread.run_sync(looked_up, tmp_path / "store.db", wanted)
            assert (known.owners, known.profiles) == (owners, everybody)
            told = {one for pairs in of.values() for one in [one for one in wanted if ":".join(one) in pairs][1:]}
            assert asked == {one for one in wanted if one[0] != "fax"} - told


def looked_up(path: Path, wanted: Sequence[tuple[str, str]]) -> tuple[Known, set[tuple[str, str]]]:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        tables = Asked(connection)
        return look_up(tables, Wanted([], wanted)).known, tables.asked


def pair(text: str) -> tuple[str, str]:
    kind, _, value = text.partition(":")
    return kind, value


def named(key: int, *pairs: str) -> ProfileState:
    made = [IdentifierState(*pair(one), 1, 1, "shop") for one in pairs]
    return msgspec.structs.replace(profile(key), identifiers=made)


async def test_profiles_merged_in_a_circle_are_damage(reopen: Reopen) -> None:
    async with reopen() as store:
        one, two = profile(1, merged_into=2), profile(2, merged_into=1)
        owners = {("email", "user1@example.com"): ProfileKey(1)}
        await give(store, Changes(profiles={ProfileKey(1): one, ProfileKey(2): two}, owners=owners))
        with pytest.raises(Damaged, match="not there"):
            await look(store, identifiers=list(owners))
        with pytest.raises(Damaged, match="circle"):
            await store.profile("email", "user1@example.com", activities=1)


# ---- readers, slices ----------------------------------------------------------------------------------------------


async def test_readers_see_whole_batches_while_they_are_applied(reopen: Reopen) -> None:
    async def watch(store: SqliteStore) -> None:
        while store.position < 400:
            seen = await store.seen([digest(n) for n in range(1, 401)])
            assert len(seen) % 20 == 0

    async with reopen() as store:
        with anyio.fail_after(30):
            async with anyio.create_task_group() as tasks:
                for _ in range(3):
                    tasks.start_soon(watch, store)
                for start in range(1, 401, 20):
                    await give(store, applied(*range(start, start + 20)))


async def test_more_dead_letters_than_a_slice_expire(reopen: Reopen) -> None:
    async with reopen() as store:
        await give(store, burying(*(dead(n, since=NOW - 5) for n in range(1, 1_101))))
        assert await store.expire(dead_before=Micros(NOW), seen_before=Micros(0)) == 1_100
        assert (await store.totals()).dead_letters == 0
        assert await store.discard(DeadLetterFilter(), now=NOW) == 0


async def test_many_are_unparked_at_once_and_counted_once(reopen: Reopen) -> None:
    async with reopen() as store:
        everything = [parked(n) for n in range(1, 1_201)]
        await give(store, Changes(parked=everything))
        await give(store, Changes(unparked=[one.seq for one in everything] * 2, parked=[parked(1_200)]))
        assert (await store.totals()).parked == 1
        assert await store.verify() == []


async def test_an_unasked_digest_keeps_its_one_row(reopen: Reopen, tmp_path: Path) -> None:
    async with reopen() as store:
        await give(store, Changes(seen={digest(1): Seen(Seq(1), 4, 1)}))
        await give(store, Changes(seen={digest(1): Seen(Seq(1), 1, 1)}), Wanted([digest(2)], []))
        await give(store, Changes(), NOTHING)
    connection = sqlite3.connect(tmp_path / "store.db")
    assert connection.execute("SELECT verdict FROM seen").fetchall() == [(1,)]
    connection.close()


async def test_what_is_due_at_once_is_bounded_in_bytes(reopen: Reopen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdmd.store.looking._DUE_BYTES", 1_500)
    async with reopen() as store:
        await give(store, Changes(parked=[parked(n) for n in range(1, 20)]))
        found = await store.due(NOW, limit=19)
        assert 1 < len(found) < 6
        monkeypatch.setattr("cdmd.store.looking._DUE_BYTES", 1)
        assert [one.seq for one in await store.due(NOW, limit=19)] == [1]


def as_earlier(path: Path, version: int) -> None:
    """Take back what later migrations did: the store is as the first release (schema 2), or one before it, left it."""
    script = """
        CREATE INDEX activities_of ON activities (profile);
        ALTER TABLE activities DROP COLUMN before;
        ALTER TABLE profiles DROP COLUMN newest;
        DROP TABLE due;
        DROP TABLE audiences;
        DROP TABLE members;
        DROP TABLE notices;
        DROP TABLE targets;
        DROP TABLE outbox;
        DROP TABLE attempts;
        DROP INDEX dead_letters_by_cause;
    """
    if version < 2:
        script += "DROP INDEX parked_turns; ALTER TABLE parked DROP COLUMN extension;"
    connection = sqlite3.connect(path)
    connection.executescript(f"{script} PRAGMA user_version = {version};")
    connection.close()


async def test_what_is_about_whoever_goes_is_found_without_reading_all_that_waits(reopen: Reopen, tmp_path: Path) -> None:
    async with reopen():
        pass
    connection = sqlite3.connect(tmp_path / "store.db")
    for statement, table, index in zip(_ABOUT, ("outbox", "attempts"), ("outbox_about", "attempts_about"), strict=True):
        (plan,) = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement.format('?, ?')}", (1, 2))]
        assert plan == f"SEARCH {table} USING INDEX {index} (profile=?)"
    connection.close()


async def test_a_store_of_the_first_release_shows_and_goes_on_with_all_that_its_people_did(
    reopen: Reopen, tmp_path: Path
) -> None:
    def one_of_two(seq: int) -> int:
        return 1 + seq % 2

    async with reopen() as store:
        await give(store, applied(*range(1, 8), profile_of=one_of_two))
        await give(store, Changes(activities=[activity(8, None)]))
    as_earlier(tmp_path / "store.db", 2)
    async with reopen() as store:
        assert await store.verify() == []
        found = await store.profile("email", "user1@example.com", activities=9)
        assert found is not None
        assert [one.seq for one in found.activities] == [6, 4, 2]
        await give(store, applied(9, 10, profile_of=one_of_two))
        found = await store.profile("email", "user2@example.com", activities=9)
        assert found is not None
        assert [one.seq for one in found.activities] == [9, 7, 5, 3, 1]
        assert await store.verify() == []


async def test_causes_of_dead_letters_are_counted_without_reading_them(reopen: Reopen, tmp_path: Path) -> None:
    async with reopen():
        pass
    with closing(sqlite3.connect(tmp_path / "store.db")) as connection:
        plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {_CAUSES}", (100,))]
    assert plan[0] == "SCAN dead_letters USING COVERING INDEX dead_letters_by_cause"


async def test_what_an_earlier_version_parked_comes_back(reopen: Reopen, tmp_path: Path) -> None:
    async with reopen() as store:
        await give(store, Changes(parked=[parked(1)]))
    as_earlier(tmp_path / "store.db", 1)
    async with reopen() as store:
        assert await store.due(NOW, limit=9) == [parked(1)]
        assert await store.verify() == []
