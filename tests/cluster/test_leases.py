"""Leases on a real nats-server."""

import itertools
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from cdmd.cluster import holding
from cdmd.cluster.connection import Access, Link
from cdmd.cluster.journal import JetStreamJournal
from cdmd.cluster.leases import JetStreamLeases
from cdmd.cluster.place import Place
from cdmd.cluster.stream import Stream
from cdmd.contracts import Clock, Lease, Leases
from cdmd.errors import InUse, NotDurable
from cdmd.kit.clock import SystemClock
from tests.cluster.contract_leases import Joining, LeasesContract
from tests.cluster.servers import NatsServer, needed, serving
from tests.store.samples import HandClock, append_of

pytestmark = [needed, pytest.mark.anyio, pytest.mark.timeout(120)]
_IDS = itertools.count()


@pytest.fixture
async def joining(nats: NatsServer) -> AsyncIterator[Joining]:
    bucket = f"l{next(_IDS)}"
    async with Link.open(Access(servers=(nats.url,)), name="test", patience=10.0) as link:

        async def join(name: str, clock: Clock) -> Leases:
            leases = JetStreamLeases(link, name=bucket, replicas=1, holder=name, clock=clock)
            await leases.ensure()
            return leases

        yield join


class TestJetStreamLeases(LeasesContract):
    pytestmark = pytest.mark.anyio

    @pytest.fixture
    def joining(self, joining: Joining) -> Joining:
        return joining


async def test_a_renewal_that_was_not_answered_costs_no_lease(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        async with Link.open(Access(servers=(server.url,)), name="test", patience=0.3) as link:
            leases = JetStreamLeases(link, name="l", replicas=1, holder="a", clock=HandClock())
            await leases.ensure()
            lease = await leases.take("crm", seconds=10)
            assert lease is not None
            await anyio.to_thread.run_sync(server.pause)
            with pytest.raises(NotDurable):
                await leases.renew(lease)
            server.go_on()
            for _ in range(2):
                assert await renewed(leases, lease) == lease
            assert leases.holds(lease)


async def test_nor_does_one_that_was_written_and_after_which_nobody_says_what_is_there(
    nats: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As while the servers elect who leads the bucket."""
    async with Link.open(Access(servers=(nats.url,)), name="test", patience=0.3) as link:
        leases = JetStreamLeases(link, name=f"l{next(_IDS)}", replicas=1, holder="a", clock=HandClock())
        await leases.ensure()
        lease = await leases.take("crm", seconds=10)
        assert lease is not None
        publish = Stream.publish

        async def unheard(*args: Any, **options: Any) -> int | None:
            await publish(*args, **options)
            raise NotDurable("not acknowledged")

        async def silent(*_: Any) -> None:
            raise NotDurable("no leader")

        with monkeypatch.context() as patched:
            patched.setattr(Stream, "publish", unheard)
            with pytest.raises(NotDurable, match="not acknowledged"):
                await leases.renew(lease)
        with monkeypatch.context() as patched:
            patched.setattr(Stream, "last", silent)
            with pytest.raises(NotDurable, match="no leader"):
                await leases.renew(lease)
        assert await leases.renew(lease) == lease
        assert leases.holds(lease)


async def renewed(leases: Leases, lease: Lease) -> Lease | None:
    """Once the server answers again."""
    while True:
        with suppress(NotDurable):
            return await leases.renew(lease)


async def test_who_reads_long_when_it_opens_a_journal_keeps_its_turn_meanwhile(
    nats: NatsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As long as it likes; otherwise two of them would oust each other without end."""
    clock, begin = HandClock(), JetStreamJournal._begin
    place = Place(access=Access(servers=(nats.url,)), name=f"l{next(_IDS)}", holder="a")

    async def slowly(journal: JetStreamJournal, new_id: Any) -> bool:
        other = JetStreamLeases(journal._link, name=place.name, replicas=1, holder="b", clock=clock)
        until = clock.monotonic() + 5 * holding.SECONDS
        while clock.monotonic() < until:
            assert await other.take("journal", seconds=holding.SECONDS) is None
            await clock.sleep(0.5)
        return await begin(journal, new_id)

    monkeypatch.setattr(JetStreamJournal, "_begin", slowly)
    async with JetStreamJournal.open(place, clock=clock, mark_path=tmp_path / "mark", new_id=lambda: "w") as journal:
        assert await journal.append([append_of(1)]) == 1
        assert journal._held()


async def test_who_cannot_open_a_journal_says_why_and_leaves_its_turn_to_another_one(
    nats: NatsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place(access=Access(servers=(nats.url,)), name=f"l{next(_IDS)}", holder="a")
    opening = partial(JetStreamJournal.open, clock=HandClock(), mark_path=tmp_path / "mark", new_id=lambda: "w")

    async def fails(_: JetStreamJournal, new_id: Any) -> bool:
        raise NotDurable(f"{new_id()} cannot read it") from KeyError("why")

    with monkeypatch.context() as patched:
        patched.setattr(JetStreamJournal, "_begin", fails)
        with pytest.raises(NotDurable, match="w cannot read it") as caught:
            async with opening(place):
                pass
        assert isinstance(caught.value.__cause__, KeyError)
    async with Link.open(place.access, name="test") as link:
        other = JetStreamLeases(link, name=place.name, replicas=1, holder="b", clock=HandClock())
        assert await other.take("journal", seconds=10) is not None


# ---- a process that is stopped, and wakes when its lease is gone --------------------------------------------------------

_CHILD = """
import sys, uuid
from pathlib import Path
import anyio
from cdmd.cluster import holding
from cdmd.cluster.connection import Access
from cdmd.cluster.journal import JetStreamJournal
from cdmd.cluster.place import Place
from cdmd.errors import NotDurable
from cdmd.kit.clock import SystemClock
from tests.store.samples import append_of

holding.SECONDS = 3.0

async def main():
    place = Place(access=Access(servers=(sys.argv[1],)), holder="child")
    mark = Path(sys.argv[2]) / "mark"
    async with JetStreamJournal.open(place, clock=SystemClock(), mark_path=mark, new_id=lambda: uuid.uuid4().hex) as journal:
        while True:
            try:
                await journal.append([append_of(journal.head + 1, connector="child")])
                print("took", journal.head, flush=True)
                await anyio.sleep(0.002)
            except NotDurable as error:
                print("refused", error, flush=True)
                await anyio.sleep(0.05)

anyio.run(main)
"""


@pytest.mark.slow
@pytest.mark.timeout(400)
async def test_a_process_that_wakes_when_its_lease_is_gone_writes_nothing_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped in the midst of its writing; whoever waits has the journal when the lease has run out, and not before."""
    monkeypatch.setattr(holding, "SECONDS", 3.0)
    with serving(tmp_path / "server") as server:
        command = [sys.executable, "-c", _CHILD, server.url, str(tmp_path)]
        started = partial(subprocess.Popen, command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2])
        child = await anyio.to_thread.run_sync(started)
        try:
            assert child.stdout is not None
            for _ in range(50):
                assert (await anyio.to_thread.run_sync(child.stdout.readline)).startswith(b"took")
            place = Place(access=Access(servers=(server.url,)), holder="parent")
            opening = partial(
                JetStreamJournal.open, place, clock=SystemClock(), mark_path=tmp_path / "other", new_id=lambda: "p"
            )
            with pytest.raises(InUse, match="is written by child: stop that one"):
                async with opening():
                    pass
            child.send_signal(signal.SIGSTOP)
            async with opening() as journal:
                taken_over = journal.head
                assert taken_over >= 50
                assert await journal.append([append_of(1, connector="parent")]) == taken_over + 1
                child.send_signal(signal.SIGCONT)
                said = b""
                while b"another daemon has opened the journal" not in said:
                    said = await anyio.to_thread.run_sync(child.stdout.readline)
                    if said.startswith(b"took"):
                        assert int(said.split()[1]) <= taken_over, "it was acknowledged before it was stopped"
                assert await journal.append([append_of(2, connector="parent")]) == taken_over + 2
                assert await journal.verify() == []
        finally:
            child.kill()
            child.wait(60)
            assert child.stdout is not None
            child.stdout.close()
