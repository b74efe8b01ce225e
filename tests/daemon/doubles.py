"""A daemon's parts over real databases, with connectors of the tests' own."""

import secrets
import ssl
import types
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import anyio
import anyio.to_thread
import httpx
import msgspec

import cdmd
import cdmd.builtin
from cdmd.config.loading import load
from cdmd.config.naming import Names
from cdmd.config.schema import Config
from cdmd.contracts import Source
from cdmd.daemon import Given
from cdmd.daemon.parts import Parts
from cdmd.errors import ConfigInvalid
from cdmd.kit.clock import SystemClock
from cdmd.kit.listener import listen
from cdmd.kit.logs import Logs
from cdmd.kit.serving import bind
from cdmd.kit.systemd import Systemd
from cdmd.models import Answer, Record, Request, Route
from cdmd.plugins import Plugins
from cdmd.store.files import StateDirectory
from cdmd.store.opening import open_state
from cdmd.supervisor import Policy, Supervisor


class ShiftedClock(SystemClock):
    """Real time, moved by hand."""

    def __init__(self) -> None:
        self.shift = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.shift

    def monotonic(self) -> float:
        return super().monotonic() + self.shift.total_seconds()


class FetcherSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    mode: str = "works"
    note: str = ""


class Fetcher:
    """Looks once an hour or when it is poked, and brings an event each time; other modes fail in their own ways."""

    Settings: ClassVar[Any] = FetcherSettings
    type: ClassVar[str] = "fetcher"
    made: ClassVar[dict[str, "Fetcher"]] = {}

    def __init__(self, name: str, settings: FetcherSettings) -> None:
        if settings.mode == "impossible":
            raise ConfigInvalid([f"connectors.{name}.mode: is impossible"])
        if settings.mode == "broken":
            raise KeyError("joe@example.com")
        self.mode, self.runs, self.release = settings.mode, 0, anyio.Event()
        self.exchanging, self.told = False, 0
        self.source: Source | None = None
        self.emitted = anyio.Event()
        Fetcher.made[name] = self

    async def run(self, source: Source) -> None:
        self.runs += 1
        self.source = source
        if self.mode == "dies":
            raise RuntimeError("joe@example.com")
        if self.mode == "silent":
            await anyio.sleep_forever()
        if self.mode == "stuck":
            await source.idle(source.clock.now(), "nothing")
            await self._stay()
            return
        while True:
            await source.idle(source.clock.now() + timedelta(hours=1), "the next look")
            await self.bring()

    async def bring(self) -> None:
        assert self.source is not None
        seen = await self.source.get([b"cursor"])
        number = int(seen.get(b"cursor", b"0")) + 1
        await self.source.emit([record(f"e{number}")], state={b"cursor": str(number).encode()})
        self.emitted.set()
        self.emitted = anyio.Event()

    async def _stay(self) -> None:
        while not self.release.is_set():
            try:
                await self.release.wait()
            except anyio.get_cancelled_exc_class():
                self.told += 1
                if self.exchanging and self.told == 3:  # it has more time by now than any other
                    await self.bring()
                    return


class Told:
    """A push connector at ``/told/NAME``; the body says what becomes of the request."""

    class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
        path: str | None = None
        verify: str | None = None

    type: ClassVar[str] = "told"
    routes: Sequence[Route] = ()

    def __init__(self, name: str, settings: Any) -> None:
        self.routes = [Route(path=settings.path or f"/told/{name}")]

    async def answer(self, request: Request, source: Source) -> Answer:
        if request.body == b"fail":
            raise KeyError("joe@example.com")
        await source.emit([record(request.body.decode() or "one")])
        return Answer(body=b"taken")


class Both(Told):
    """Told and fetching: what it is told it brings in by its own task; the body may also say how it is."""

    type: ClassVar[str] = "both"
    made: ClassVar[dict[str, "Both"]] = {}

    class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
        path: str | None = None
        fetches: bool = True

    def __init__(self, name: str, settings: Any) -> None:
        super().__init__(name, settings)
        self.fetches, self.waiting_since, self.to_fetch = settings.fetches, None, 3
        self.source: Source | None = None
        self.emitted = anyio.Event()
        Both.made[name] = self

    async def run(self, source: Source) -> None:
        self.source = source
        while True:
            await source.idle(source.clock.now() + timedelta(hours=1), "what it is told")
            await source.emit([record(f"fetched-{source.clock.now().isoformat()}")])
            self.emitted.set()


def record(id: str, email: str | None = "joe@example.com", type: str = "seen", **identifiers: str) -> Record:
    said = identifiers if email is None else {"email": email, **identifiers}
    return Record(
        value={"id": id, "type": type, "identifiers": said, "data": {"n": 1}},
        received=datetime.now(UTC),
        fallback_id=id,
    )


def hooks(**given: Any) -> types.SimpleNamespace:
    found = {name: cdmd.hookimpl(value) for name, value in given.items()}
    for name, function in found.items():
        function.__name__ = name
    return types.SimpleNamespace(**found)


class World:
    """One state directory and one configuration file; ``parts`` opens and runs all rooms over them."""

    def __init__(self, folder: Path, text: str = "", *, extra: dict[str, object] | None = None) -> None:
        self.folder, self.file, self.clock = folder, folder / "cdmd.toml", ShiftedClock()
        mine = hooks(cdmd_connectors=lambda: [Fetcher, Told, Both])
        self.plugins = Plugins.load([], {}, modules={"builtin": cdmd.builtin, "tests": mine, **(extra or {})})
        self.environment: dict[str, str] = {}
        self.logged: list[bytes] = []
        self.checked = True
        self.policy = Policy(stop=0.05, retry=60.0)
        self.configure(text)
        Fetcher.made.clear()

    def configure(self, text: str) -> None:
        head = f'[daemon]\nstate_dir = "{self.folder}/state"\ndrain = "2s"\n[journal]\nreserve = "1MiB"\n'
        head += "" if "[http]" in text else '[http]\nlisten = ["127.0.0.1:0"]\n'
        head += "" if "[control]" in text else f'[control]\nsocket = "{self.folder}/c.sock"\n'
        self.file.write_text(head + text)
        self.file.chmod(0o600)

    def read(self) -> Config:
        types_ = {name: kind.Settings for name, kind in self.plugins.connector_types().items()}
        targets = {name: kind.Settings for name, kind in self.plugins.target_types().items()}
        kinds = self.plugins.target_types() if self.checked else {}
        checks = {name: kind.check for name, kind in kinds.items() if hasattr(kind, "check")}
        given: dict[str, Any] = {"types": types_, "targets": targets, "target_checks": checks, "environment": {}}
        return load(self.file, **given, randomness=secrets.token_bytes)

    def given(self, **more: Any) -> Given:
        logs = Logs(clock=self.clock, render=lambda line: repr(line).encode(), write=self.logged.append)
        defaults: dict[str, Any] = {
            "config": self.read(),
            "plugins": self.plugins,
            "logs": logs,
            "systemd": Systemd(self.environment, pid=1),
            "read_config": self.read,
            "ready": lambda config, addresses: None,
            "clock": self.clock,
        }
        return Given(**{**defaults, **more})

    @asynccontextmanager
    async def parts(self) -> AsyncIterator[Parts]:
        """Everything but the listeners, running."""
        given, trust = await anyio.to_thread.run_sync(self.given), await anyio.to_thread.run_sync(ssl.create_default_context)
        config = given.config
        names, directory = Names(config.connectors), StateDirectory(config.state_dir)
        with anyio.fail_after(30):
            async with (
                directory.hold(),
                open_state(
                    directory,
                    clock=self.clock,
                    new_id=lambda: uuid.uuid4().hex,
                    random=secrets.token_bytes,
                    named=names.earliest,
                ) as opened,
            ):
                counts = await opened.journal.counts()
                parts = Parts(given, opened, names=names, trust=trust, counts=counts)
                parts.supervisor = Supervisor(
                    clock=self.clock, random=lambda: 0.0, on_change=parts._child_changed, policy=self.policy
                )
                plan, targets = await parts.connectors.plan(config), parts.outbound.plan(config)
                await parts.outbound.load()
                parts.outbound.take(targets, parts.audiences, config)
                parts.take(config, kinds=parts.kinds, audiences=parts.audiences, pull=plan.pull)
                await parts.upkeep.look_at_disk()
                await parts.deriving.load()
                await parts.privacy.load()
                await parts.refill_door()
                await parts.connectors.load()
                await parts.budgets.load()
                async with anyio.create_task_group() as tasks:
                    tasked = (parts.queue, parts.pipeline, parts.supervisor, parts.privacy.removing, parts.outbound)
                    for run in (one.run for one in tasked):
                        await tasks.start(run)
                    await parts.outbound.carry_out(targets)
                    await parts.connectors.carry_out(plan)
                    parts.state = "running"
                    yield parts
                    for one in Fetcher.made.values():
                        one.release.set()
                    await parts.connectors.close()
                    await parts.outbound.close()
                    tasks.cancel_scope.cancel()


async def until(parts: Parts, name: str, *states: str) -> None:
    """Return when the connector is in one of these states."""
    while parts.supervisor.state(name).state not in states:
        await parts.connectors._moved.wait()


async def applied(parts: Parts) -> None:
    """Return when all that is journaled is in the store."""
    assert await parts.pipeline.drain(5)


async def fetched(parts: Parts, name: str) -> None:
    """Let the connector look once and wait for what it brings."""
    await until(parts, name, "running")
    fetcher = Fetcher.made[name]
    waiting = fetcher.emitted
    await parts.connectors.poll(name)
    await waiting.wait()


@asynccontextmanager
async def asked(parts: Parts) -> AsyncIterator[httpx.AsyncClient]:
    """The edge, listening on loopback."""
    bound = await anyio.to_thread.run_sync(bind, "127.0.0.1:0")
    host, port = bound.getsockname()
    async with anyio.create_task_group() as group:
        await group.start(lambda task_status: listen(parts.edge, [bound], task_status=task_status))
        async with httpx.AsyncClient(base_url=f"http://{host}:{port}") as client:
            yield client
        group.cancel_scope.cancel()


def verdicts(rows: Sequence[Any]) -> dict[str, str]:
    return {row.name: row.verdict for row in rows}
