"""The store's writer in a process of its own: the contracts, decisions made there, and what the end of the process means."""

import errno
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, TypeAlias

import anyio
import anyio.lowlevel
import anyio.to_thread
import msgspec
import pytest
from typing_extensions import override

from cdmd.batches.crossing import DecisionCrossing
from cdmd.batches.deciding import Decision
from cdmd.batches.preparing import prepare
from cdmd.config.outbound import TargetConfig, TargetFrame
from cdmd.contracts import Decide
from cdmd.deliveries.subscribing import Subscriptions
from cdmd.errors import NotDurable
from cdmd.models import Apply, Bury, Changes, Discard, Entry, Event, Extended, Fault, Item, Known, Micros, Outcome, Seq, Wanted
from cdmd.privacy.suppressions import Suppressions
from cdmd.profiles.telling import ToldValues
from cdmd.store.database import connect_writer
from cdmd.store.files import StateDirectory
from cdmd.store.process import StoreProcess, started
from cdmd.store.remote import Own, OwnProcess, RemoteTables
from cdmd.store.served import OPEN
from cdmd.store.store import SqliteStore
from tests.store.contract_directory import DirectoryContract
from tests.store.contract_forgetting import ForgettingContract
from tests.store.contract_membership import MembershipContract
from tests.store.contract_outbox import OutboxContract
from tests.store.contract_store import DIGESTER, StoreContract, give
from tests.store.deciding import RULES, decision, order, resumed, side_by_side, store_in, tables
from tests.store.own_process import OWN, InThread, in_thread, kept, reopening, store_there
from tests.store.samples import Disk, HandClock

pytestmark = pytest.mark.anyio

Reopen: TypeAlias = Callable[[], AbstractAsyncContextManager[SqliteStore]]


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture(scope="module")
def own() -> Iterator[Own]:
    """Starting one takes longer than what most of the contracts ask."""
    process = kept()
    yield OWN._replace(start=lambda module, keep: process)
    StoreProcess.end(process)


@pytest.fixture
def reopen(tmp_path: Path, clock: HandClock, own: Own) -> Reopen:
    return reopening(tmp_path / "store.db", clock, own)


class TestStore(StoreContract):
    pytestmark = pytest.mark.anyio

    @pytest.fixture
    def reopen(self, tmp_path: Path, clock: HandClock, own: Own) -> Reopen:
        return reopening(tmp_path / "store.db", clock, own)


class TestStoreInThread(StoreContract):
    """The same over the same socket, where what is done at its other end can be seen."""

    pytestmark = pytest.mark.anyio

    @pytest.fixture
    def reopen(self, tmp_path: Path, clock: HandClock) -> Reopen:
        return reopening(tmp_path / "store.db", clock, OWN._replace(start=in_thread))


class TestForgetting(ForgettingContract):
    pytestmark = pytest.mark.anyio


class TestOutbox(OutboxContract):
    pytestmark = pytest.mark.anyio


class TestMembership(MembershipContract):
    pytestmark = pytest.mark.anyio


class TestDirectory(DirectoryContract):
    pytestmark = pytest.mark.anyio


@pytest.fixture(params=["process", "thread"])
def there(request: pytest.FixtureRequest) -> Own:
    return OWN if request.param == "process" else OWN._replace(start=in_thread)


# ---- decisions that are made there ----------------------------------------------------------------------------------


BREAKING = msgspec.structs.replace(RULES, parked_max="x")
"""What they say cannot be compared with a number of events."""


def several() -> list[Decision]:
    """One after the other, about every kind of item."""
    listed = Suppressions(key=b"k", naming=lambda: RULES.kinds)
    listed.load([listed.digest(("email", "gone@example.com"))])
    rules = msgspec.structs.replace(RULES, screen=listed)
    waiting, plain = order("2", email="b@example.com"), order("3", email="c@example.com", user_id="u")
    odd: list[tuple[Event, Outcome, dict[str, Any]]] = [
        (plain, Apply(), {}),
        (plain, Apply(), {}),
        (order("4", email="c@example.com"), Discard("not wanted"), {}),
        (order("5", email="c@example.com"), Bury(Fault("code", "message", path="x")), {"retry": True, "attempts": 3}),
        (order("6", email="gone@example.com", user_id="v"), Apply(), {}),
        (order("7", email="gone@example.com"), Apply(), {}),
        (order("8", email="c@example.com"), Apply(), {"trace": (Extended("x", 0.5, "extended", ["more"]),)}),
    ]
    work = []
    for seq, (event, outcome, more) in enumerate(odd, 3):
        seen = event.enriched(more=1) if "trace" in more else event
        work.append((Item(seq=Seq(seq), entry=Entry(seen), outcome=outcome, **more), event))
    return [
        decision(1, order("1", email="a@example.com"), waiting, parked=("2",), rules=rules),
        resumed(2, waiting),
        Decision(prepare(rules, work), position=Seq(9), parked=0, now=Micros(5)),
        decision(10, order("10", email="a@example.com", user_id="u"), rules=rules),
    ]


async def test_what_is_decided_there_comes_to_what_is_decided_here(tmp_path: Path, there: Own) -> None:
    """Side by side, with what is parked, taken up again, filtered, dead, repeated, suppressed, and extended."""
    (tmp_path / "here").mkdir()
    async with store_in(tmp_path / "here") as store:
        here = several()
        for one in here:
            await store.apply(one.wanted, one)
        kept = store.position
    async with store_there(tmp_path, there) as store:
        over = several()
        await side_by_side(store, over)
        assert store.position == kept
    assert [one.fates for one in over] == [one.fates for one in here]
    assert tables(tmp_path / "here") == tables(tmp_path)


async def test_what_it_goes_by_is_told_again_when_it_changes(tmp_path: Path, there: Own) -> None:
    listed = Suppressions(key=b"k", naming=lambda: RULES.kinds)
    listed.load(())
    rules = msgspec.structs.replace(RULES, screen=listed)
    async with store_there(tmp_path, there) as store:
        for seq, change in enumerate((None, "list", "rules"), 1):
            if change == "list":
                listed.change(added=[listed.digest(("email", "a@example.com"))])
            if change == "rules":
                rules = msgspec.structs.replace(rules, known_only=frozenset({"shop"}), screen=None)
            made = decision(seq, order(str(seq), email="a@example.com" if seq < 3 else "c@example.com"), rules=rules)
            await store.apply(made.wanted, made)
        counts = await store.counts()
    assert counts == {("shop", "applied"): 1, ("shop", "suppressed"): 1, ("shop", "filtered"): 1}


async def test_a_decision_that_breaks_there_is_told_here_and_stops_nobody(tmp_path: Path, there: Own) -> None:
    async with store_there(tmp_path, there) as store:
        broken = decision(1, order("1", email="a@example.com"), rules=BREAKING, parked=("1",))
        with pytest.raises(TypeError):
            await store.apply(broken.wanted, broken)
        assert isinstance(broken.broke, TypeError)
        event = order("1", email="a@example.com")
        item = Item(seq=Seq(1), entry=Entry(event.enriched(more=object())), outcome=Apply())
        held = Decision(prepare(RULES, [(item, event)]), position=Seq(1), parked=0, now=Micros(1))
        with pytest.raises(TypeError):
            await store.apply(held.wanted, held)
        assert isinstance(held.broke, TypeError)
        made = decision(1, order("1", email="a@example.com"))
        changes = await store.apply(made.wanted, made)
        assert (store.position, changes.position, changes.counts) == (1, 1, {("shop", "applied"): 1})


async def test_what_was_sent_behind_a_batch_that_was_not_written_is_not_written_either(tmp_path: Path, there: Own) -> None:
    async with store_there(tmp_path, there) as store:
        one = decision(1, order("1", email="a@example.com"))
        two = decision(2, order("2", email="a@example.com"), rules=BREAKING, parked=("2",))
        three, caught = decision(3, order("3", email="a@example.com")), list[str]()

        async def apply(made: Decision) -> None:
            try:
                await store.apply(made.wanted, made)
            except (TypeError, NotDurable) as error:
                caught.append(type(error).__name__)

        async with anyio.create_task_group() as tasks:
            for made in (one, two, three):
                tasks.start_soon(apply, made)
        assert caught == ["TypeError", "NotDurable"]
        assert store.position == 1


async def test_a_decision_made_there_and_one_made_here_come_one_after_the_other(tmp_path: Path, there: Own) -> None:
    async with store_there(tmp_path, there) as store:
        first, second, third = (decision(n, order(str(n), email="a@example.com")) for n in (1, 2, 3))

        def here(known: Known) -> Changes:
            return second(known)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(store.apply, first.wanted, first)
            tasks.start_soon(store.apply, second.wanted, here)
            tasks.start_soon(store.apply, third.wanted, third)
        found = await store.profile("email", "a@example.com", activities=9)
        assert found is not None
        assert [one.seq for one in found.activities] == [3, 2, 1]
        assert await store.forgetting.settled()


async def test_whoever_waits_for_what_it_sends_is_told(tmp_path: Path, there: Own) -> None:
    frame = TargetFrame(type="webhook", events=("order",), order="none")
    config = TargetConfig(name="crm", frame=frame, settings=None, file="cdmd.toml")
    wanted = Subscriptions([config], ToldValues(RULES.audiences, {}), journal_id="journal")
    async with store_there(tmp_path, there) as store:
        told = list[set[str]]()
        store.outbox.written = lambda targets: told.append(set(targets))
        made = decision(1, order("1", email="a@example.com"), rules=msgspec.structs.replace(RULES, subscriptions=wanted))
        await store.apply(made.wanted, made)
        assert told == [{"crm"}]
        assert len(await store.outbox.listed(target="crm", failed=None, limit=9)) == 1


async def test_an_error_that_cannot_come_over_is_told_by_its_name(tmp_path: Path, there: Own) -> None:
    async with store_there(tmp_path, there) as store:
        odd = decision(1, order("1"), rules=msgspec.structs.replace(RULES, parked_max=Incomparable()), parked=("1",))
        with pytest.raises(RuntimeError, match=r"^OddError$"):
            await store.apply(odd.wanted, odd)


class OddError(Exception):
    """It cannot be made again from what it says."""

    def __init__(self, one: str, other: str) -> None:
        super().__init__(one + other)


class Incomparable:
    def __le__(self, other: object) -> bool:
        raise OddError("a", "b")


async def test_rules_that_cannot_be_sent_are_no_fault_of_the_events(tmp_path: Path) -> None:
    async with store_there(tmp_path, OWN._replace(start=in_thread)) as store:
        made = decision(1, order("1"), rules=msgspec.structs.replace(RULES, reconciled={"x": lambda: None}))
        with pytest.raises(NotDurable, match=r"take store\.process away"):
            await store.apply(made.wanted, made)
        assert made.broke is None


class Unreadable:
    @override
    def __reduce__(self) -> tuple[Any, ...]:
        return refusing, ("joe@example.com",)


def refusing(said: str) -> None:
    raise ValueError(f"not {said}")


async def test_a_process_that_ends_by_a_fault_of_its_own_says_where_and_not_what(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    async with store_there(tmp_path) as store:
        made = decision(1, order("1"), rules=msgspec.structs.replace(RULES, reconciled={"x": Unreadable()}))
        with pytest.raises(NotDurable, match="ended with 1"):
            await store.apply(made.wanted, made)
    said = capfd.readouterr().err
    assert "ValueError" in said
    assert "joe" not in said


async def test_an_answer_that_cannot_be_read_is_told_to_its_sender_only(tmp_path: Path) -> None:
    class Deaf(DecisionCrossing):
        @override
        def answered(self, decide: Decide, answer: bytes) -> None:
            if decide is one:
                raise ValueError("this cannot be read")
            super().answered(decide, answer)

    one, two = decision(1, order("1")), decision(2, order("2"))
    async with store_there(tmp_path, Own("", Deaf(), start=in_thread)) as store:
        with pytest.raises(ValueError, match="cannot be read"):
            await store.apply(one.wanted, one)
        await store.apply(two.wanted, two)
        assert [fate.stage for fate in two.fates] == ["applied"]


async def test_a_batch_is_not_sent_behind_one_that_was_given_up(tmp_path: Path) -> None:
    async with store_there(tmp_path, OWN._replace(start=in_thread)) as store:
        go, made = threading.Event(), [decision(n, order(str(n), email="a@example.com")) for n in (1, 2, 3)]

        def held(known: Known) -> Changes:
            assert go.wait(60)
            return made[0](known)

        async def given_up() -> None:
            with anyio.CancelScope() as scope:
                scope.cancel()
                await store.apply(made[1].wanted, made[1])

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(store.apply, made[0].wanted, held)
            tasks.start_soon(given_up)
            await anyio.lowlevel.checkpoint()
            await anyio.lowlevel.checkpoint()
            tasks.start_soon(refused, store, made[2])
            await anyio.lowlevel.checkpoint()
            go.set()
        assert store.position == 1


async def refused(store: SqliteStore, made: Decision) -> None:
    with pytest.raises(NotDurable, match="not taken what came before"):
        await store.apply(made.wanted, made)


# ---- the disk fails there ----------------------------------------------------------------------------------------------


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    """Under the connection at the other end."""
    disk = Disk()
    monkeypatch.setattr(
        "cdmd.store.served.connect_writer", lambda path, plan, connect: connect_writer(path, plan, connect=disk.connect)
    )
    return disk


@pytest.mark.parametrize("statement", ["BEGIN", "COMMIT", "INSERT INTO activities", "UPDATE positions"])
async def test_a_failing_write_opens_the_store_anew(tmp_path: Path, disk: Disk, statement: str) -> None:
    async with store_there(tmp_path, OWN._replace(start=in_thread)) as store:
        one = decision(1, order("1", email="a@example.com"))
        await store.apply(one.wanted, one)
        for made in (
            decision(2, order("2", email="b@example.com")),
            lambda known: Changes(position=Seq(3), counts={("x", "y"): 1}),
        ):
            wanted = made.wanted if isinstance(made, Decision) else Wanted((), ())
            disk.fail_on = statement if isinstance(made, Decision) else "UPDATE positions"
            with pytest.raises(NotDurable, match="disk I/O error"):
                await store.apply(wanted, made)
            opened, disk.fail_on = disk.opened, None
            await store.apply(wanted, made)
            assert disk.opened == opened + 1
        assert (store.position, store.failure) == (3, None)


async def test_who_is_who_is_synced_where_an_extension_had_a_say_wherever_it_was_decided(tmp_path: Path, disk: Disk) -> None:
    normal, full = 1, 2
    async with store_there(tmp_path, OWN._replace(start=in_thread)) as store:
        disk.commits.clear()
        await give(store, Changes(swayed=True))
        there = decision(1, order("1", email="a@example.com"))
        await store.apply(there.wanted, there)
        assert disk.commits == [normal, normal, full]
        disk.commits.clear()
        parked = decision(2, order("2", email="b@example.com"), parked=("2",))
        await store.apply(parked.wanted, parked)
        here = decision(3, order("3", email="c@example.com"))

        def decided_here(known: Known) -> Changes:
            return here(known)

        await store.apply(here.wanted, decided_here)
        assert disk.commits == [normal, normal, full]


# ---- the process ends -----------------------------------------------------------------------------------------------


async def test_where_the_process_is_killed_nothing_counts_as_written_and_another_one_goes_on(tmp_path: Path) -> None:
    async with store_there(tmp_path) as store:
        assert store.process is not None
        one, two = decision(1, order("1", email="a@example.com")), decision(2, order("2", email="b@example.com"))
        await store.apply(one.wanted, one)
        os.kill(before := store.process.pid or 0, signal.SIGSTOP)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(killed_under_way, before)
            with pytest.raises(NotDurable, match="was ended by SIGKILL"):
                await store.apply(two.wanted, two)
        assert "SIGKILL" in str(store.failure)
        await store.apply(two.wanted, two)
        assert (store.position, store.failure) == (2, None)
        assert store.process.pid not in {None, before}
        with pytest.raises(ProcessLookupError):
            os.kill(before, 0)


async def killed_under_way(process: int) -> None:
    await anyio.sleep(0.05)
    os.kill(process, signal.SIGKILL)


async def test_a_batch_that_was_written_before_its_process_was_killed_is_not_written_again(tmp_path: Path) -> None:
    async with store_there(tmp_path) as store:
        assert store.process is not None
        made = decision(1, order("1", email="a@example.com"))
        await store.apply(made.wanted, made)
        store._position = Seq(0)  # as if its answer had never come
        os.kill(store.process.pid or 0, signal.SIGKILL)
        await anyio.to_thread.run_sync(os.waitid, os.P_PID, store.process.pid or 0, os.WEXITED | os.WNOWAIT)
        again = decision(1, order("1", email="a@example.com"))
        caught = 0
        while store.position < 1:
            try:
                await store.apply(again.wanted, again)
            except NotDurable:
                caught += 1
        assert (await store.totals()).activities == 1


async def test_the_process_is_gone_with_the_store(tmp_path: Path) -> None:
    async with store_there(tmp_path) as store:
        assert store.process is not None
        process = store.process.pid or 0
        for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(process, one)
        made = decision(1, order("1", email="a@example.com"))
        await store.apply(made.wanted, made)
        assert store.process.pid == process, "signals for both of them are for the daemon to follow"
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


def test_it_ends_at_once_when_the_daemon_is_gone_and_only_then_the_directory_is_free(tmp_path: Path) -> None:
    script = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from cdmd.store.files import StateDirectory\n"
        "from cdmd.store.remote import OwnProcess\n"
        "from tests.store.own_process import OWN\n"
        f"with StateDirectory(Path({str(tmp_path)!r})).held() as held:\n"
        "    own = OwnProcess(OWN._replace(keep=held.handles), held.store)\n"
        "    tables = own.open()\n"
        "    tables._call(type(None), 'begin')\n"
        "    os.kill(own.pid, 19)\n"
        "    os.waitid(os.P_PID, own.pid, os.WSTOPPED)\n"  # until then one of its threads may notice the end
        "    print(own.pid, flush=True)\n"
        "    sys.stdin.read()\n"
    )
    root = Path(__file__).parents[2]
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=root) as daemon:
        assert daemon.stdout is not None
        writer = int(daemon.stdout.readline())
        daemon.kill()
        daemon.wait()
    goes_on = threading.Event()

    def let_go_on() -> None:
        goes_on.set()
        os.kill(writer, signal.SIGCONT)

    on = threading.Timer(0.3, let_go_on)
    on.start()
    with StateDirectory(tmp_path).held() as held:
        assert goes_on.is_set(), "nobody else writes while it lives"
        assert held.lock.read_text() == f"{os.getpid()}\n"
    on.join()


async def test_a_process_that_cannot_be_started_is_told_as_a_store_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(NotDurable, match="the store's own process ended with 1"):
        async with SqliteStore.open(
            tmp_path / "store.db",
            clock=HandClock(),
            journal_id="one",
            digest=DIGESTER.occurrence,
            own=Own("cdmd.none", OWN.crossing),
        ):
            pass


async def test_a_process_that_does_not_end_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdmd.store.process._ENDS_WITHIN", 0.05)
    async with store_there(tmp_path) as store:
        assert store.process is not None
        os.kill(process := store.process.pid or 0, signal.SIGSTOP)
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


def test_whoever_asks_a_process_that_is_gone_is_told_so() -> None:
    process = started(OWN.module, ())
    os.kill(process.pid, signal.SIGKILL)
    while not process.gone:
        threading.Event().wait(0.01)
    with pytest.raises(sqlite3.OperationalError, match="was ended by SIGKILL"):
        process.ask(OPEN)
    process.end()


def test_what_cannot_be_started_is_an_error_of_the_database(tmp_path: Path) -> None:
    def refused(module: str, keep: Sequence[int]) -> StoreProcess:
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

    own = OwnProcess(OWN._replace(start=refused), tmp_path / "store.db")
    with pytest.raises(sqlite3.OperationalError, match="cannot be started: Resource temporarily"):
        own.open()
    assert (own.pid, own.seconds) == (None, 0.0)


def test_the_other_end_notices_that_nobody_is_there_any_more(tmp_path: Path) -> None:
    link, there = socket.socketpair()
    child = InThread(there)
    process = StoreProcess(link, child)
    tables = RemoteTables(process, tmp_path / "store.db", OWN.crossing)
    assert list(tables.each("kinds")) == []
    link.shutdown(socket.SHUT_RDWR)
    assert child.left.wait(60)
    with pytest.raises(sqlite3.OperationalError):
        tables.rows("kinds")
    process.end()


def test_one_whose_answers_are_not_heard_any_more_is_ended_and_everybody_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said, unheard = list[threading.ExceptHookArgs](), threading.Event()
    monkeypatch.setattr(threading, "excepthook", lambda given: (said.append(given), unheard.set()))
    process = started(OWN.module, ())
    process.tell(OPEN, os.fsencode(tmp_path / "store.db"))  # an answer comes that nobody waits for
    assert unheard.wait(10)
    with pytest.raises(sqlite3.OperationalError, match="was ended by SIGKILL"):
        process.send(OPEN, os.fsencode(tmp_path / "store.db"), read=bytes).result(10)
    process.end()
    assert [one.exc_type for one in said] == [IndexError]


def test_the_other_end_is_over_when_it_can_hear_nothing_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: socket.socket) -> None:
        raise MemoryError

    monkeypatch.setattr("cdmd.store.served.receive", full)
    said = list[threading.ExceptHookArgs]()
    monkeypatch.setattr(threading, "excepthook", said.append)
    link, there = socket.socketpair()
    with link:
        child = InThread(there)
        assert child.left.wait(60)
        child.wait(60)
        assert link.recv(1) == b""
    assert [one.exc_type for one in said] == [MemoryError]


async def test_the_process_is_gone_with_a_store_that_is_left_by_a_cancellation(tmp_path: Path) -> None:
    with anyio.CancelScope() as scope:
        async with store_there(tmp_path) as store:
            assert store.process is not None
            process = store.process.pid or 0
            scope.cancel()
            await anyio.lowlevel.checkpoint()
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


def test_one_that_could_not_be_started_leaves_nothing_open(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = socket.socketpair()
    monkeypatch.setattr(socket, "socketpair", lambda: pair)
    with pytest.raises(ValueError, match="fds_to_keep"):
        started(OWN.module, (-1,))
    assert [one.fileno() for one in pair] == [-1, -1]
