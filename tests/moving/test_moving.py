"""What is moved, what is refused, and that a kill at any step leaves one installation that is whole and can go on."""

import contextlib
import errno
import itertools
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest

import cdmd.store.postgres.store  # noqa: F401 - it reads its files when it is imported, which would block the loop
from cdmd.cluster import holding
from cdmd.cluster.bulk import JetStreamBulk
from cdmd.cluster.opening import journal_at, place_of
from cdmd.config.sharing import JournalSettings
from cdmd.config.storing import StoreSettings
from cdmd.contracts import Append, Audit, DeadLetterFilter
from cdmd.errors import BadArguments, CdmdError, InUse, NotFound, SchemaUnknown
from cdmd.kit.clock import SystemClock
from cdmd.kit.frames import leaf
from cdmd.models import Changes, Entry, Micros, Seq, encode_entry, to_micros
from cdmd.moving import beside, migration, stores
from cdmd.moving.beside import take_along
from cdmd.moving.foreseeing import foresee
from cdmd.moving.journals import FileEnd
from cdmd.moving.migration import Moved, Plan, migrate
from cdmd.moving.places import TOKEN, Installation, asked, opened
from cdmd.store.blocks import pack
from cdmd.store.bulk import STAY, STAY_COLUMNS, Bulk, Table, moved, rows_of
from cdmd.store.files import StateDirectory
from cdmd.store.journal_bulk import FileJournal
from cdmd.store.keys import NEWEST
from cdmd.store.mark import Mark, read_mark
from cdmd.store.opening import Opened, Server, open_state
from cdmd.store.postgres.bulk import PostgresBulk
from cdmd.store.sql import load_migrations
from cdmd.store.sqlite_bulk import SqliteBulk
from tests.cluster.servers import NatsServer, needed
from tests.sizes import size
from tests.store.contract_membership import notice
from tests.store.contract_outbox import delivery, sending
from tests.store.contract_store import NOW, applied, burying, dead, give, parked
from tests.store.postgres import Database
from tests.store.postgres import Server as Postgres
from tests.store.samples import append_of, event

pytestmark = [needed, pytest.mark.anyio, pytest.mark.timeout(180)]
ROOT = Path(__file__).parents[2]
KILLS = size("CDMD_KILLS", short=6, long=1000)
BIG = 3 * 2**20
_IDS = itertools.count()


class Home:
    """State directories below one folder, and places on servers, named by letters."""

    def __init__(self, folder: Path, nats: NatsServer, postgres: Postgres) -> None:
        self.folder, self._nats, self._postgres = folder, nats, postgres
        self._names, self._databases = dict[str, str](), dict[str, Database]()

    def at(self, state: str, *, journal: str | None = None, store: str | None = None) -> Installation:
        """With journal and store in the directory ``state``, or in the named places on servers."""
        here, there = JournalSettings(), StoreSettings()
        if journal is not None:
            here = JournalSettings(url=self._nats.url, name=self._names.setdefault(journal, f"m{os.getpid()}x{next(_IDS)}"))
        if store is not None:
            there = StoreSettings(url=self.database(store).url)
        return Installation(StateDirectory(self.folder / state), here, there)

    def database(self, store: str) -> Database:
        return self._databases.setdefault(store, self._databases.get(store) or self._postgres.database())

    def configuration(self, one: Installation, name: str) -> Path:
        file = self.folder / f"{name}.toml"
        text = f'[daemon]\nstate_dir = "{one.root}"\n[journal]\nreserve = "1MiB"\n'
        text += f'url = "{one.journal.url}"\nname = "{one.journal.name}"\n' if one.journal.url else ""
        text += f'[store]\nurl = "{one.store.url}"\n' if one.store.url else ""
        file.write_text(text)
        file.chmod(0o600)
        return file


@pytest.fixture
def home(tmp_path: Path, nats: NatsServer, postgres: Postgres) -> Home:
    return Home(tmp_path, nats, postgres)


@contextlib.asynccontextmanager
async def opening(one: Installation, *, holder: str = "me") -> AsyncIterator[Opened]:
    """As the daemon does."""
    clock = SystemClock()
    shared = None
    if one.journal.url is not None:
        shared = journal_at(one.journal, holder=holder, clock=clock, new_id=lambda: f"w{next(_IDS)}")
    server = None if one.store.url is None else Server(one.store.url, None)
    try:
        async with (
            one.directory.hold() as held,
            open_state(
                held, clock=clock, new_id=lambda: f"j{next(_IDS)}", random=os.urandom, shared=shared, server=server
            ) as opened,
        ):
            yield opened
    except BaseExceptionGroup as group:
        raise leaf(group) from group


async def fill(one: Installation, *, more: int = 0) -> None:
    async with opening(one) as opened:
        journal, store = opened.journal, opened.store
        for start in range(1, 40, 3):
            state = {f"k/{start}".encode(): b"v" * start, b"moving": b"a connector's own"}
            await journal.append([append_of(start, start + 1, start + 2, state=state, counts={"received": 3})])
        large = [Entry(event(n, traits={"text": "x" * 400_000})) for n in range(40, 48)] if more else []
        if large:
            await journal.append([Append(connector="shop", entries=large, encoded=[encode_entry(one) for one in large])])
        await journal.append([Append(connector="api", state={bytes([n % 256, n // 256]): b"n" for n in range(700)})])
        await journal.append([Append(connector="api", state={bytes([3, 0]): None}, counts={"refused": 2})])
        await give(store, applied(*range(1, 21)))
        await give(store, burying(dead(21), dead(22)))
        await give(store, Changes(position=Seq(24), parked=[parked(23), parked(24)]))
        await give(store, Changes(outgoing=sending(*[delivery(n) for n in range(1, 6)]), notices=[notice(1), notice(2)]))
        await store.audit(Audit(time=Micros(NOW), uid=0, user="joe\0", role="admin", command="x", arguments="", outcome="done"))
        await store.note("a note", "text")
        generation = await opened.feeds.begin("sup", "rows", keep=None)
        await opened.feeds.put(generation, 0, [b"a" * 500, b"b"])
        await opened.feeds.finish(generation)
        await journal.prune(before=to_micros(SystemClock().now()) + 1, upto=Seq(9))


async def move(source: Installation, target: Installation) -> Moved:
    return await migrate(Plan(source=source, target=target, clock=SystemClock(), told=lambda _what, _count: None))


async def everything(one: Installation, *, holder: str = "me") -> dict[str, Any]:
    """What is found in it when it is used."""
    async with opening(one, holder=holder) as opened:
        journal, store = opened.journal, opened.store
        state = {owner: [row async for row in journal.scan(owner, b"")] for owner in await journal.owners()}
        state.pop("daemon:key", None)  # only a journal on servers says which key it goes with
        statistics = await journal.statistics()
        return {
            "id": journal.id,
            "reach": (statistics.first, journal.head, store.position),
            "entries": await journal.read(Seq(statistics.first - 1), limit=1_000),
            "state": state,
            "counts": await journal.counts(),
            "profile": await store.profile("email", "user7@example.com", activities=9),
            "totals": {**vars_of(await store.totals()), "bytes": 0},
            "parked": await store.parked(limit=9),
            "dead": await store.trace("evt-21"),
            "audits": await store.audits(limit=9),
            "note": await store.noted("a note"),
            "targets": await store.outbox.totals(),
            "feeds": await opened.feeds.get(1, [0, 1]),
            "faults": [*await journal.verify(), *await store.verify(), *await opened.feeds.verify()],
        }


def vars_of(struct: Any) -> dict[str, Any]:
    return {name: getattr(struct, name) for name in struct.__struct_fields__}


async def test_all_of_it_arrives_on_servers_and_comes_back(home: Home) -> None:
    here, there = home.at("state"), home.at("state", journal="j", store="s")
    await fill(here, more=1)
    before = await everything(here)
    assert before["faults"] == []
    assert before["reach"] == (10, 47, 24)
    report = await move(here, there)
    assert report.parts["store"]["profiles"].rows == 20
    assert report.parts["journal"]["entries"].rows == 38
    assert report.aside == here.root / "moved-1"
    assert await everything(there) == before
    with pytest.raises(CdmdError, match="is a database on a server"):
        await everything(here)
    # Numbers go on behind all that were given.
    await give_more(there, 48)
    after = await everything(there)
    report = await move(there, here)
    assert report.aside is None
    assert await everything(here) == after
    await give_more(here, 49)
    with pytest.raises(CdmdError, match="move it with cdmd migrate"):
        await everything(there)
    # What was moved away from there is written over.
    after = await everything(here)
    report = await move(here, there)
    assert report.aside == here.root / "moved-2"
    assert await everything(there) == after
    assert not here.directory.moving.exists()


async def give_more(one: Installation, number: int) -> None:
    async with opening(one) as opened:
        assert await opened.journal.append([append_of(number)]) == number
        await give(opened.store, applied(number))
        await give(opened.store, Changes(outgoing=sending(delivery(number)), notices=[notice(number)]))


async def test_by_which_digests_an_older_store_remembers_goes_along(home: Home) -> None:
    here, there = home.at("state"), home.at("state", journal="j", store="s")
    async with opening(here) as opened:
        assert opened.digester.form == NEWEST
        await opened.journal.append([append_of(1)])
        await give(opened.store, applied(1))
    with contextlib.closing(sqlite3.connect(here.directory.store, isolation_level=None)) as connection:
        connection.execute("UPDATE meta SET value = substr(value, 1, 32) WHERE name = 'key_check'")
    for source, target in ((here, there), (there, here)):
        await move(source, target)
        async with opening(target) as opened:
            assert opened.digester.form == ""


@pytest.mark.parametrize("places", [{"journal": "j"}, {"store": "s"}, {}], ids=["journal", "store", "directory"])
async def test_a_part_may_be_moved_alone_and_to_another_directory(home: Home, places: dict[str, str]) -> None:
    here, there = home.at("one"), home.at("two", **places)
    await fill(here)
    (here.root / "inbox.token").write_text("t")
    before = await everything(here)
    await move(here, there)
    assert await everything(there) == before
    assert (there.root / "inbox.token").read_text() == "t"
    with pytest.raises(CdmdError, match=r"was moved to .*to come back, stop it and run: cdmd migrate"):
        await everything(here)
    with pytest.raises(CdmdError, match="was moved to"):
        await move(here, home.at("three"))
    await move(there, here)
    assert await everything(here) == before
    assert (here.root / "moved-1" / "store.db").exists()


async def test_a_journal_may_go_from_servers_to_servers(home: Home) -> None:
    one, other = home.at("state", journal="a", store="a"), home.at("state", journal="b", store="b")
    await fill(one)
    before = await everything(one)
    await move(one, other)
    assert await everything(other) == before
    with pytest.raises(CdmdError, match="the journal was moved to"):
        await everything(one)


# ---- killed --------------------------------------------------------------------------------------------------------------


def killed_at(step: int, source: Path, target: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.moving.dying", str(step), "migrate", "--config", source, "--to", target]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60)


async def test_killed_at_any_step_it_goes_on_and_never_two_can_be_started(home: Home) -> None:
    """The source stays as it was until it cannot be started any more, and only then the target can."""
    here, there = home.at("state"), home.at("state", journal="j", store="s")
    await fill(here)
    before = await everything(here)
    files = home.configuration(here, "here"), home.configuration(there, "there")
    # A run goes on where the last one was ended: among the tables, in the end, when files are put in place.
    node = home.at("node", journal="j", store="s")
    node.directory.key.parent.mkdir(parents=True)
    shutil.copy(here.directory.key, node.directory.key)
    await killed_often(here, there, files, before, short=(12, 30, 9), node=node)
    await killed_often(there, here, files[::-1], before, short=(41, 7))


async def killed_often(
    source: Installation,
    target: Installation,
    files: tuple[Path, Path],
    before: dict[str, Any],
    *,
    short: Sequence[int],
    node: Installation | None = None,
) -> None:
    """``node`` would use what is filled from another machine."""
    places = (source, target) if node is None else (source, target, node)
    for step in short if KILLS < 50 else [n for n in range(1, 60) for _ in range(2)]:
        told = await anyio.to_thread.run_sync(killed_at, step, *files)
        if told.returncode != -signal.SIGKILL:
            assert told.returncode == 0, told.stderr
            break
        assert [await starts(one, before) for one in places].count(True) <= 1, f"step {step}"
    else:
        await move(source, target)
    assert not await starts(source, before)
    assert await starts(target, before)


async def starts(one: Installation, before: dict[str, Any]) -> bool:
    """Whether a daemon may be started with it; then everything is in it."""
    try:
        # A killed one leaves its lease: under the same name that is not waited for.
        found = await everything(one, holder=f"cdmd migrate:{socket.gethostname()}:{one.directory.moving}")
    except CdmdError:
        return False
    assert found == before
    return True


async def test_what_changed_between_two_runs_is_copied_again(home: Home) -> None:
    here, there = home.at("state"), home.at("state", journal="j", store="s")
    await fill(here)
    told = await anyio.to_thread.run_sync(
        killed_at, 26, home.configuration(here, "source"), home.configuration(there, "target")
    )
    assert told.returncode == -signal.SIGKILL
    async with opening(here) as opened:
        await opened.store.note("a note", "another text")
        await opened.store.discard(DeadLetterFilter(), now=Micros(NOW))
        await opened.journal.append([append_of(40, state={b"k/1": None, b"k/4": b"other"})])
        await opened.journal.prune(before=to_micros(SystemClock().now()) + 1, upto=Seq(15))
    before = await everything(here)
    assert before["reach"][0] == 16
    assert (await move(here, there)).resumed
    assert await everything(there) == before


# ---- compared ------------------------------------------------------------------------------------------------------------


async def test_a_mover_that_forgets_a_table_is_caught_and_the_source_can_be_started(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = stores.copy_table

    def forgetful(source: Bulk, target: Bulk, name: str, table: Table, **more: Any) -> None:
        if name != "identifiers":
            real(source, target, name, table, **more)

    for module in (stores, migration):
        monkeypatch.setattr(module, "copy_table", forgetful)
    here, there = home.at("state"), home.at("state", store="s")
    await fill(here)
    before = await everything(here)
    for _ in range(2):
        with pytest.raises(CdmdError, match=r"what arrived is not what was sent: identifiers has 20 rows"):
            await move(here, there)
    assert await everything(here) == before
    with pytest.raises(CdmdError, match="is not whole: cdmd migrate was filling it"):
        await everything(home.at("other", store="s"))


async def test_a_mover_that_forgets_a_part_of_the_journal_is_caught_and_a_better_one_makes_it_good(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    put, beside = FileJournal.put, FileJournal.put_beside
    here, there = home.at("one"), home.at("two")
    await fill(here)
    before = await everything(here)
    with monkeypatch.context() as patched:
        patched.setattr(FileJournal, "put", lambda self, blocks: put(self, blocks[1:]))
        with pytest.raises(CdmdError, match="the journal's entries has 30 rows"):
            await move(here, there)
    with monkeypatch.context() as patched:
        patched.setattr(FileJournal, "put_beside", lambda self, owner, *said: owner == "api" or beside(self, owner, *said))
        with pytest.raises(CdmdError, match="the journal's state has"):
            await move(here, there)
    assert (await move(here, there)).resumed
    assert await everything(there) == before


async def test_a_mover_that_would_give_numbers_out_again_is_caught(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PostgresBulk, "give_on", lambda _self, _numbers: None)
    here, there = home.at("state"), home.at("state", store="s")
    await fill(here)
    with pytest.raises(CdmdError, match=r"numbers of .*outbox.* would be given out again"):
        await move(here, there)


async def test_feeds_that_arrive_otherwise_and_another_key_are_noticed(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    here, there = home.at("one"), home.at("two")
    await fill(here)
    with monkeypatch.context() as patched:
        patched.setattr(beside, "copy_database", lambda _source, target: SqliteBulk.write(target).close())
        with pytest.raises(CdmdError, match=r"has schema|what arrived is not what was sent"):
            await move(here, there)
    there.directory.key.write_bytes(b"k" * 32)
    with pytest.raises(CdmdError, match="another one than"):
        await move(here, there)


# ---- every table ---------------------------------------------------------------------------------------------------------


def schemas(home: Home) -> tuple[SqliteBulk, PostgresBulk]:
    return SqliteBulk.write(home.folder / "s.db"), PostgresBulk.write(home.database("s").url, None)


def test_every_table_and_column_of_both_databases_is_moved_or_named_as_not_moved(home: Home) -> None:
    one, other = schemas(home)
    try:
        one.begin(["seen_202610"], "x")
        other.begin(["seen_202610"], "x")
        mine, theirs = one.tables(), other.tables()
        found = moved(mine, theirs)
        assert {*mine, *theirs} - {*found} <= {*STAY}
        columns = {(name, column) for tables in (mine, theirs) for name in found for column in tables[name].columns}
        assert columns - {(name, column) for name in found for column in found[name].columns} <= {*STAY_COLUMNS}
        assert all(found[name].key == theirs[name].key for name in found)
        assert {"profiles", "seen_202610", "outbox", "meta", "positions"} <= {*found}
        assert {name for _, name, _ in other.sequences()} >= {"outbox", "notices", "attempts", "audit"}
        assert (one.users(), other.users()) == ([], [])
    finally:
        one.close()
        other.close()


def test_several_lanes_are_moved_as_one_where_they_have_come_equally_far_and_refused_else(home: Home) -> None:
    one, other = schemas(home)
    try:
        home.database("s").run("INSERT INTO positions (lane, seq) VALUES (-1, 0), (1, 5), (2, 5)")
        home.database("s").run("UPDATE positions SET seq = 5 WHERE lane = 0")
        home.database("s").run("CREATE SEQUENCE IF NOT EXISTS profile_numbers")
        tables = moved(other.tables(), one.tables())
        assert [*rows_of(other, "positions", tables["positions"])] == [(0, 5)]
        assert [*rows_of(other, "positions", tables["positions"], after=(0,))] == []
        assert ("profile_numbers", "profiles", "id") in other.sequences()
        home.database("s").run("UPDATE positions SET seq = 6 WHERE lane = 0")
        with pytest.raises(CdmdError, match="not come equally far"):
            rows_of(other, "positions", tables["positions"])
    finally:
        one.close()
        other.close()


def test_a_table_a_column_or_a_sequence_that_nobody_accounts_for_is_refused(home: Home) -> None:
    one, other = schemas(home)
    try:
        home.database("s").run("CREATE TABLE more (id int)")
        home.database("s").run("ALTER TABLE audit ADD COLUMN why text")
        with pytest.raises(CdmdError, match=r"does not know how to move: audit\.why, more"):
            moved(one.tables(), other.tables())
        home.database("s").run("CREATE SEQUENCE tickets")
        with pytest.raises(CdmdError, match="does not know what the sequence tickets numbers"):
            other.sequences()
    finally:
        one.close()
        other.close()


def test_an_older_schema_is_not_changed_but_refused_and_a_newer_one_is_not_understood(home: Home) -> None:
    one, other = schemas(home)
    one.close()
    other.close()
    newest = load_migrations("store")[-1].number
    with sqlite3.connect(home.folder / "s.db") as connection:
        connection.execute(f"PRAGMA user_version = {newest - 1}")
    connection.close()
    with pytest.raises(CdmdError, match="start this version of cdmd with it once"):
        SqliteBulk.read(home.folder / "s.db")
    database = home.database("s")
    PostgresBulk.read(database.url, None).close()
    database.run("DELETE FROM migrations")
    with pytest.raises(CdmdError, match="start this version of cdmd with it once"):
        PostgresBulk.read(database.url, None)
    with pytest.raises(CdmdError, match="the tables of a store cannot be made"):
        PostgresBulk.write(database.url, None)
    database.run("INSERT INTO migrations (number) VALUES (999)")
    with pytest.raises(SchemaUnknown):
        PostgresBulk.write(database.url, None)


async def test_what_a_database_refuses_is_told_and_what_a_store_says_of_its_move_stays(home: Home) -> None:
    for bulk in await anyio.to_thread.run_sync(schemas, home):
        async with opened(lambda bulk=bulk: bulk):
            with pytest.raises(CdmdError, match=r"a store cannot be read or written: .*nothing"):
                await asked(lambda one: one.count("nothing"), bulk)
            for _ in range(2):
                await asked(lambda one: one.begin(["seen_202610"], "x"), bulk)
            await asked(lambda one: one.put("meta", one.tables()["meta"], [("a", "b")], last=("a",)), bulk)
            assert await asked(lambda one: one.progress(), bulk) == {"meta": ("a",)}
            for name in ("meta", "kinds"):
                await asked(lambda one, name=name: one.empty(name), bulk)
            assert await asked(lambda one: (one.meta(), one.progress()), bulk) == ({"moving": "x"}, {})
    journal = FileEnd(await anyio.to_thread.run_sync(FileJournal.write, home.folder / "j.db"), id="j")
    block = pack(Seq(1), [encode_entry(Entry(event(1)))], written=Micros(NOW))
    await journal.put([block])
    with pytest.raises(CdmdError, match="a journal cannot be read or written: UNIQUE"):
        await journal.put([block])


# ---- refused -------------------------------------------------------------------------------------------------------------


async def test_what_another_installation_has_is_never_written_over(home: Home) -> None:
    here = home.at("state")
    await fill(here)
    strangers = home.at("strange", journal="j", store="s")
    await fill(strangers)
    before = await everything(strangers)
    for target in (
        home.at("state", store="s"),
        home.at("state", journal="j"),
        home.at("state", journal="j", store="s"),
        home.at("strange", journal="other", store="another"),
    ):
        with pytest.raises(CdmdError, match=r"another installation's|another one than|there already"):
            await move(here, target)
    assert await everything(strangers) == before
    await fill(home.at("third"))
    with pytest.raises(CdmdError, match="there already"):
        await move(here, home.at("third"))


async def test_what_is_used_or_is_nothing_is_not_moved(home: Home) -> None:
    here, there = home.at("state"), home.at("state", journal="j", store="s")
    with pytest.raises(NotFound, match="there is no"):
        await move(here, there)
    here.root.mkdir()
    with pytest.raises(NotFound, match="there is no store in"):
        await move(here, there)
    await fill(here)
    with pytest.raises(BadArguments, match="there is nothing to move"):
        await move(here, home.at("state"))
    async with opening(here):
        with pytest.raises(InUse):
            await move(here, there)
    nowhere = there._replace(store=StoreSettings(url="postgresql://cdmd@/none?host=/nowhere"))
    with pytest.raises(CdmdError, match="cannot be reached"):
        await move(here, nowhere)
    await move(here, there)
    async with opening(there):
        with pytest.raises(InUse):
            await move(there, here)


async def test_a_journal_that_another_machine_writes_is_not_moved(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where only the store is: whoever writes the journal has it open."""
    monkeypatch.setattr(holding, "SECONDS", 2.0)
    monkeypatch.setattr(holding, "_LONGER", 0.2)
    one = home.at("one", journal="j", store="a")
    await fill(one)
    shutil.copytree(one.root, home.folder / "two")
    async with opening(one):
        with pytest.raises(InUse, match="is written by me"):
            await move(home.at("two", journal="j", store="a"), home.at("two", journal="j", store="b"))


async def test_a_store_that_nodes_apply_to_or_have_not_finished_is_not_moved(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nodes that only apply hold neither the directory nor the journal."""
    here, there = home.at("state", store="s"), home.at("state")
    await fill(here)
    joined = "INSERT INTO nodes (name, roles, until) VALUES ('gone', 'process', now() - interval '1s'), "
    joined += "('second', 'process', now() + interval '1h')"
    run = home.database("s").run
    await anyio.to_thread.run_sync(run, joined)
    with pytest.raises(InUse, match="is used by second: stop all nodes"):
        await move(here, there)
    assert not there.growing.folder.exists()
    await anyio.to_thread.run_sync(run, "DELETE FROM nodes")
    await anyio.to_thread.run_sync(run, "INSERT INTO positions (lane, seq) VALUES (1, 9999)")
    with pytest.raises(CdmdError, match="wait until the backlog is 0"):
        await move(here, there)
    assert not there.growing.folder.exists()
    await anyio.to_thread.run_sync(run, "DELETE FROM positions WHERE lane = 1")

    def joining(*given: Any, **named: Any) -> Any:
        found = stores.compare_stores(*given, **named)
        run(joined)
        return found

    with monkeypatch.context() as patched:
        patched.setattr(migration, "compare_stores", joining)
        with pytest.raises(InUse, match="is used by second"):
            await move(here, there)
    await anyio.to_thread.run_sync(run, "DELETE FROM nodes")
    async with opening(here) as opened:
        assert opened.store.position == 24, "it was not said to be moved"
    await move(here, there)


async def test_a_journal_on_servers_that_is_begun_anew_is_never_shorter_than_its_mark(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, mark, marks = home.at("one", journal="j"), home.folder / "mark", list[Mark | None]()
    place = place_of(one.journal, holder=None)
    async with JetStreamBulk.open_as(place, id="j", writer="w", clock=SystemClock(), mark_path=mark) as journal:
        await journal.append([append_of(1, 2, 3)])
        await journal.write_mark()
        checkpoint = journal._checkpoint

        async def marked() -> None:
            marks.append(await anyio.to_thread.run_sync(read_mark, mark))
            await checkpoint()

        monkeypatch.setattr(journal, "_checkpoint", marked)
        await journal.begin_at(Seq(1))
    assert marks[0] == Mark(journal.id, Seq(0))


def test_what_is_taken_along_is_there_whole_or_not_at_all_and_may_be_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = (
        Installation(StateDirectory(tmp_path / name), JournalSettings(), StoreSettings()) for name in ("here", "there")
    )
    for one in (here, there):
        one.directory.key.parent.mkdir(parents=True)
    here.directory.key.write_bytes(b"k" * 32)
    (there.root / TOKEN).write_bytes(b"t")

    def half(path: Path, other: Path) -> None:
        other.write_bytes(path.read_bytes()[:16])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(beside.shutil, "copy2", half)
        with pytest.raises(OSError, match="No space"):
            take_along(here, there)
    take_along(here, there)
    assert there.directory.key.read_bytes() == b"k" * 32
    assert (there.root / TOKEN).read_bytes() == b"t", "where nothing is moved, what is there stays"


# ---- foretold ------------------------------------------------------------------------------------------------------------


async def foretold(source: Installation, target: Installation) -> Any:
    return await foresee(Plan(source=source, target=target, clock=SystemClock(), told=lambda _what, _count: None))


async def test_what_would_go_is_told_while_the_daemon_runs_and_nothing_is_made(home: Home) -> None:
    here, there = home.at("state"), home.at("state", journal="j", store="s")
    await fill(here)
    async with opening(here):
        found = await foretold(here, there)
    assert found.refused is None
    assert found.parts["store"]["profiles"] == 20
    assert found.parts["journal"]["entries"] == 30
    assert found.bytes["store"] > 4_096
    assert home.database("s").run("SELECT 1 FROM pg_tables WHERE schemaname = current_schema()") == []
    strangers = home.at("strange", journal="k", store="t")
    await fill(strangers)
    assert "another installation's store" in (await foretold(here, home.at("state", store="t"))).refused
    assert "another installation's journal" in (await foretold(here, home.at("state", journal="k"))).refused
    await move(here, there)
    assert (await foretold(there, home.at("other"))).parts["journal"]["entries"] == 30
    with pytest.raises(NotFound):
        await foretold(home.at("nowhere"), there)
