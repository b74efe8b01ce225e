"""The daemon's listener as a process of its own, with as much behind it as is asked for, so that each layer has its peer.

``bare`` answers without looking, ``mapping`` verifies and maps but journals nothing, ``durable`` is the real intake: queue,
journal on disk, the door; ``own`` is that with the journal written by a process of its own. Nothing is applied here.
Run: python -m tests.bench.server KIND FOLDER
"""

import json
import secrets
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Self

import anyio
import anyio.lowlevel
import anyio.to_thread

from cdmd.cli.daemon_run import tune_interpreter
from cdmd.cli.loading import load_all
from cdmd.config.schema import Config
from cdmd.connectors.registered import cdmd_connectors
from cdmd.daemon.budgets import Budgets
from cdmd.identity.identifiers import Kinds
from cdmd.intake.courtesy import Courtesy
from cdmd.intake.door import Door
from cdmd.intake.edge import Edge
from cdmd.intake.mapping import Mapper
from cdmd.intake.queue import JournalQueue
from cdmd.intake.recent import Recent
from cdmd.intake.routes import E
from cdmd.intake.shared import Intake
from cdmd.intake.source import IntakeSource
from cdmd.intake.tally import Tally
from cdmd.kit.clock import SystemClock
from cdmd.kit.exchanges import Exchange
from cdmd.kit.listener import listen
from cdmd.kit.serving import bind
from cdmd.models import Accepted, Filtered, Verdict
from cdmd.privacy.suppressions import Suppressions
from cdmd.store.files import StateDirectory
from cdmd.store.opening import Apart, open_state
from tests.bench.setup import CONFIG

KINDS = ("bare", "mapping", "durable", "own")
_HEADERS, _BODY = (("content-type", "application/json"),), b'{"accepted":1,"filtered":0}'


class Bare:
    """The same answer for nothing: what the listener alone costs."""

    def begin(self, exchange: Exchange) -> None:
        """Whatever it is."""

    def piece(self, exchange: Exchange, data: bytes) -> None:
        """Whatever it says."""

    def complete(self, exchange: Exchange) -> None:
        exchange.answer(200, _HEADERS, _BODY)

    def left(self, exchange: Exchange) -> None:
        """Nothing was begun."""


class MapsOnly:
    """A source that maps and forgets."""

    name, clock = "shop", SystemClock()
    public_url: str | None = None

    def __init__(self, config: Config) -> None:
        self._mapper = Mapper("shop", config.connectors["shop"].frame, raw=True)

    def take(self, several: Sequence[E]) -> Sequence[E]:
        for one in several:
            verdicts: list[Verdict] = []
            for record in one.wanted.records:
                decided = self._mapper.decide(record)
                assert not isinstance(decided, Filtered)
                entry, _ = self._mapper.encode(decided)
                verdicts.append(Accepted(entry.event.id))
            one.settle(verdicts, None)
        return ()

    def refuse(self, count: int, reason: str) -> None:
        raise AssertionError(reason)


@asynccontextmanager
async def durable(config: Config, folder: Path, *, own: bool) -> AsyncIterator[IntakeSource]:
    """The real source on a real journal."""
    clock, directory = SystemClock(), StateDirectory(folder)
    async with AsyncExitStack() as stack:
        directory = stack.enter_context(directory.held())
        opened = await stack.enter_async_context(
            open_state(
                directory, clock=clock, new_id=lambda: uuid.uuid4().hex, random=secrets.token_bytes, apart=Apart(journal=own)
            )
        )
        queue = JournalQueue(
            opened.journal,
            max_events=config.queue.max_events,
            max_bytes=config.queue.max_bytes.bytes,
            blocked=lambda: None,
            committed=anyio.lowlevel.checkpoint,
            alone=lambda: False,
        )
        door = Door(usable=Kinds(config.identity).usable, ask=opened.store.known, guarded=frozenset())
        nobody = Suppressions(key=b"k", naming=lambda: Kinds(config.identity))
        nobody.load(())
        intake = Intake(
            journal=opened.journal, feeds=opened.feeds, queue=queue, tally=Tally({}), recent=Recent(size=200_000), door=door,
            screen=nobody, digests=opened.digester, clock=clock, journaled=door.journaled,
            credit=lambda name: anyio.lowlevel.checkpoint(),
            courtesy=Courtesy(clock, lambda name, limit: anyio.lowlevel.checkpoint()),
            budgets=Budgets(opened.journal, digests=opened.digester, clock=clock),
        )  # fmt: skip
        tasks = await stack.enter_async_context(anyio.create_task_group())
        await tasks.start(queue.run)
        mapper = Mapper("shop", config.connectors["shop"].frame, raw=True)
        yield IntakeSource("shop", intake=intake, mapper=mapper, http=None, push=True)  # type: ignore[arg-type]
        tasks.cancel_scope.cancel()


def _connector(config: Config) -> Any:
    one = config.connectors["shop"]
    return {found.type: found for found in cdmd_connectors()}[one.frame.type](one.name, one.settings)


async def run(kind: str, folder: Path, config: Config) -> None:
    stop = anyio.Event()
    async with AsyncExitStack() as stack:
        handler: Any = Bare()
        if kind != "bare":
            opening = durable(config, folder, own=kind == "own")
            source: Any = MapsOnly(config) if kind == "mapping" else await stack.enter_async_context(opening)
            handler = Edge(clock=SystemClock(), ready=lambda: (True, ["ok"]), degraded=print)
            handler.swap([(_connector(config), source)])
        tasks = await stack.enter_async_context(anyio.create_task_group())
        bound = bind("127.0.0.1:0")
        await tasks.start(lambda task_status: listen(handler, [bound], stop=stop, task_status=task_status))
        print(json.dumps({"port": bound.getsockname()[1]}), flush=True)
        await anyio.to_thread.run_sync(sys.stdin.readline)
        tasks.cancel_scope.cancel()


class Server:
    """The process; a context manager that ends it. ``port`` is where it listens."""

    def __init__(self, kind: str, folder: Path, *, config: str = CONFIG, module: str = "tests.bench.server") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "cdmd.toml").write_text(config)
        self._command = [sys.executable, "-m", module, kind, str(folder)]

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        self.pid, self.port = self._process.pid, json.loads(self._process.stdout.readline())["port"]
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()


def main() -> None:
    kind, folder = sys.argv[1], Path(sys.argv[2])
    config = load_all(folder / "cdmd.toml").config
    tune_interpreter()
    anyio.run(run, kind, folder / "state", config, backend="asyncio", backend_options={"use_uvloop": True})


if __name__ == "__main__":
    main()
