"""A state directory whose journal lies on a NATS server, and maybe its store on another one: what is opened, and what not."""

import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TypeAlias

import anyio.to_thread
import pytest

import cdmd.store.postgres.store  # noqa: F401 - it reads its files when it is imported, which would block the loop
from cdmd.cluster.opening import journal_at
from cdmd.config.sharing import JournalSettings
from cdmd.contracts import Clock
from cdmd.errors import CdmdError, Damaged
from cdmd.kit.clock import SystemClock
from cdmd.models import Seq
from cdmd.store.files import StateDirectory
from cdmd.store.opening import Opened, Server, open_state
from tests.cluster.servers import NatsServer, needed
from tests.store.contract_store import applied, give
from tests.store.postgres import Database, running
from tests.store.samples import append_of

pytestmark = [needed, pytest.mark.anyio, pytest.mark.timeout(120)]
_IDS = itertools.count()

Opening: TypeAlias = Callable[..., AbstractAsyncContextManager[Opened]]


@pytest.fixture
def name() -> str:
    return f"s{next(_IDS)}"


@pytest.fixture
def opening(nats: NatsServer, name: str) -> Opening:
    """Opens a held directory; its journal is on the NATS server unless it is said to be ``here``."""

    def opens(
        state: StateDirectory,
        *,
        url: str = nats.url,
        here: bool = False,
        server: Server | None = None,
        clock: Clock | None = None,
    ) -> AbstractAsyncContextManager[Opened]:
        clock = clock or SystemClock()
        settings = JournalSettings(url=url, name=name)
        shared = journal_at(settings, holder="me", clock=clock, new_id=lambda: f"w{next(_IDS)}")
        return open_state(
            state, clock=clock, new_id=lambda: "new", random=os.urandom, shared=None if here else shared, server=server
        )

    return opens


@pytest.fixture
def database() -> Iterator[Database]:
    with running() as server:
        yield server.database()


async def test_journal_and_store_may_both_lie_on_servers(opening: Opening, database: Database, tmp_path: Path) -> None:
    server = Server(database.url, None)
    async with StateDirectory(tmp_path / "state").hold() as state:
        for expected in (0, 2):
            async with opening(state, server=server) as opened:
                assert (opened.journal.head, opened.store.position) == (expected, expected)
                if not expected:
                    await opened.journal.append([append_of(1, 2)])
                    await give(opened.store, applied(1, 2))
        assert not state.journal.exists()
        assert not state.store.exists()


async def test_a_journal_is_looked_for_only_where_it_was_and_nothing_is_made_elsewhere(
    opening: Opening, tmp_path: Path
) -> None:
    async with StateDirectory(tmp_path / "state").hold() as state:
        async with opening(state) as opened:
            await opened.journal.append([append_of(1)])
        with pytest.raises(Damaged, match=r"name them again as journal\.url.*cdmd restore"):
            async with opening(state, here=True):
                pass
        assert not state.journal.exists()
        async with opening(state) as opened:
            assert opened.journal.head == 1
    async with StateDirectory(tmp_path / "other").hold() as state:
        async with opening(state, here=True):
            pass
        with pytest.raises(CdmdError, match="has a journal of its own"):
            async with opening(state):
                pass


async def test_another_key_than_the_journal_began_with_is_refused(opening: Opening, tmp_path: Path) -> None:
    """It would know nobody who was suppressed."""
    async with StateDirectory(tmp_path / "one").hold() as one:
        async with opening(one) as opened:
            await opened.journal.append([append_of(1)])
        async with StateDirectory(tmp_path / "two").hold() as two:
            for _ in range(2):
                with pytest.raises(CdmdError, match="another digest key"):
                    async with opening(two):
                        pass
            assert not two.store.exists()
            two.key.write_bytes(one.key.read_bytes())
            async with opening(two) as opened:
                assert (opened.journal.head, opened.store.position) == (1, Seq(0))


async def test_servers_that_are_still_starting_are_waited_for(opening: Opening, tmp_path: Path) -> None:
    server, waited = NatsServer(tmp_path / "server"), list[float]()

    class Starting(SystemClock):
        async def sleep(self, seconds: float) -> None:
            if waited:
                await super().sleep(seconds)
            else:
                waited.append(seconds)
                await anyio.to_thread.run_sync(server.start)

    try:
        async with (
            StateDirectory(tmp_path / "state").hold() as state,
            opening(state, url=server.url, clock=Starting()) as opened,
        ):
            assert opened.journal.head == 0
    finally:
        server.kill()
