"""The connectors that are live: built from the configuration, supervised, paused and resumed, exchanged by a reload.

A pull connector is a supervised task; a push connector is a set of routes at the edge. What is paused stays so over restarts
(a key beside the connectors' own state).
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Final, Protocol

import msgspec
import structlog

from cdmd.config.schema import Config, ConnectorConfig
from cdmd.contracts import Append, Connector, PullConnector, PushConnector, Source
from cdmd.control.protocol import ConnectorVerdict, ReloadRow
from cdmd.errors import BadArguments, ConfigInvalid, NotFound, Overloaded, Paused
from cdmd.intake.edge import Edge
from cdmd.intake.mapping import Mapper
from cdmd.intake.source import Intake, IntakeSource
from cdmd.kit.egress import GuardedHttp
from cdmd.models import Answer, Entry, Event, Fault, Request, Route, Seq
from cdmd.supervisor import Supervisor

OWNER: Final = "daemon:connectors"
"""Whose state the pauses are; no connector can have this name."""

_PAUSED: Final = b"paused/"
_IMPATIENT: Final = frozenset({"github"})
"""Verification presets of senders that never deliver again by themselves."""


class HttpMaker(Protocol):
    """Makes a guarded client for what ``settings`` name."""

    def __call__(self, settings: object) -> GuardedHttp:
        """The client; its owner enters and leaves it."""
        ...


class PushGate:
    """A push connector as the edge sees it: paused ones answer 503, and one that answers again is well again."""

    def __init__(self, name: str, connector: PushConnector, supervisor: Supervisor) -> None:
        self._name, self._connector, self._supervisor = name, connector, supervisor
        self.paused = False
        self.degraded = False

    @property
    def routes(self) -> Sequence[Route]:
        """The connector's routes."""
        return self._connector.routes

    async def answer(self, request: Request, source: Source) -> Answer:
        """The connector's answer. Raises ``Paused``."""
        if self.paused:
            source.refuse(1, "paused")
            raise Paused("this connector is paused", retry_after=60)
        answer = await self._connector.answer(request, source)
        if self.degraded:
            self.degraded = False
            self._supervisor.mark(self._name, "running")
        return answer


class Live(msgspec.Struct, kw_only=True):
    """One connector that is live."""

    config: ConnectorConfig
    connector: Connector
    mapper: Mapper
    source: IntakeSource
    resources: AsyncExitStack
    gate: PushGate | None


class LiveConnectors:
    """All of them. ``types`` are the connector types that plugins brought."""

    def __init__(
        self, *, intake: Intake, supervisor: Supervisor, edge: Edge, http: HttpMaker, types: Mapping[str, type[Connector]]
    ) -> None:
        self._intake, self._supervisor, self._edge, self._http, self._types = intake, supervisor, edge, http, types
        self._live: dict[str, Live] = {}
        self._paused: set[str] = set()
        self._log = structlog.get_logger()

    # ---- starting, exchanging and stopping -------------------------------------------------------------------------

    async def apply(self, config: Config) -> list[ReloadRow]:
        """Stop what left the configuration, exchange what changed, start what is new; one verdict for each.

        Raises ConfigInvalid where two push connectors claim one path; then nothing has changed.
        """
        wanted = config.connectors
        built = {name: self._build(one, config) for name, one in wanted.items() if not self._unchanged(one, config)}
        self._check_paths(wanted, built)
        await self._load_pauses()
        rows = [ReloadRow(name=name, verdict="stopped") for name in self._live if name not in wanted]
        for name in [name for name in self._live if name not in wanted or name in built]:
            verdict: ConnectorVerdict = "restarted" if name in built else "stopped"
            await self._stop(name)
            if verdict == "restarted":
                rows.append(ReloadRow(name=name, verdict="restarted"))
        known = {row.name for row in rows}
        for name, live in built.items():
            await self._start(live)
            if name not in known:
                rows.append(ReloadRow(name=name, verdict="started"))
        rows += [ReloadRow(name=name, verdict="unchanged") for name in wanted if name not in built]
        self._mount()
        return sorted(rows, key=lambda row: row.name)

    async def close(self) -> None:
        """Stop all of them."""
        for name in list(self._live):
            await self._stop(name)

    def _unchanged(self, one: ConnectorConfig, config: Config) -> bool:
        live = self._live.get(one.name)
        return (
            live is not None
            and (live.config.frame, live.config.settings) == (one.frame, one.settings)
            and live.mapper.raw == config.dead_letters.raw
        )

    def _build(self, one: ConnectorConfig, config: Config) -> Live:
        kind = self._types[one.frame.type]
        connector = kind(one.name, one.settings)
        push = isinstance(connector, PushConnector)
        mapper = Mapper(one.name, one.frame, raw=config.dead_letters.raw)
        http = self._http(one.settings)
        source = IntakeSource(one.name, intake=self._intake, mapper=mapper, http=http, push=push)
        resources = AsyncExitStack()
        resources.push_async_exit(http)
        gate = PushGate(one.name, connector, self._supervisor) if isinstance(connector, PushConnector) else None
        return Live(config=one, connector=connector, mapper=mapper, source=source, resources=resources, gate=gate)

    def _check_paths(self, wanted: Mapping[str, ConnectorConfig], built: Mapping[str, Live]) -> None:
        owners: dict[str, str] = {}
        problems = []
        for name in wanted:
            live = built.get(name) or self._live[name]
            for route in live.gate.routes if live.gate else ():
                owner = owners.setdefault(route.path, name)
                if owner != name:
                    problems.append(f"{live.config.file}: connectors.{name}: {route.path} is already answered by {owner}")
        if problems:
            raise ConfigInvalid(problems)

    async def _start(self, live: Live) -> None:
        name = live.config.name
        await live.resources.__aenter__()
        await live.source.http.__aenter__()  # type: ignore[attr-defined]  # made by ``_http``
        await self._inherit(live.config)
        self._live[name] = live
        paused = name in self._paused
        if live.gate is not None:
            live.gate.paused = paused
            self._supervisor.mark(name, "running", kind=live.config.frame.type)
            if paused:
                await self._supervisor.pause(name)
        elif isinstance(live.connector, PullConnector):
            run = live.connector.run
            self._supervisor.start(name, lambda: run(live.source), kind=live.config.frame.type, paused=paused)
        self._log.info("connector_started", connector=name)

    async def _stop(self, name: str) -> None:
        live = self._live.pop(name)
        await self._supervisor.stop(name)
        await live.resources.aclose()
        self._log.info("connector_stopped", connector=name)

    def _mount(self) -> None:
        self._edge.swap([(live.gate, live.source) for live in self._live.values() if live.gate is not None])

    async def _inherit(self, config: ConnectorConfig) -> None:
        """Take over the state of the connector's earlier names; the old keys go in the same transaction."""
        for old in config.frame.was:
            state = {key: value async for key, value in self._intake.journal.scan(old, b"")}
            if state:
                gone: dict[bytes, bytes | None] = dict.fromkeys(state)
                await self._intake.journal.append(
                    [Append(connector=config.name, state=state), Append(connector=old, state=gone)]
                )

    # ---- one connector ---------------------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[Live]:
        return iter(self._live.values())

    def get(self, name: str) -> Live:
        """The live connector of that name. Raises ``NotFound`` with the names there are."""
        try:
            return self._live[name]
        except KeyError:
            names = ", ".join(sorted(self._live)) or "none"
            raise NotFound(f"there is no connector {name!r}; configured are: {names}") from None

    def degraded(self, name: str, error: str) -> None:
        """The edge says that a push connector failed to answer."""
        live = self._live.get(name)
        if live is not None and live.gate is not None:
            live.gate.degraded = True
            self._supervisor.mark(name, "degraded", f"it failed to answer a request ({error})")

    async def pause(self, name: str) -> str | None:
        """Hold it back over restarts; a warning where its sender does not deliver again by itself."""
        live = self.get(name)
        await self._remember(name, paused=True)
        await self._supervisor.pause(name)
        if live.gate is None:
            return None
        live.gate.paused = True
        if getattr(live.config.settings, "verify", None) in _IMPATIENT:
            return "this sender does not try again by itself: what it sends meanwhile has to be redelivered there by hand"
        return "senders get 503 with Retry-After meanwhile; one that does not try again loses what it sends"

    async def resume(self, name: str) -> None:
        """Let it go on."""
        live = self.get(name)
        await self._remember(name, paused=False)
        if live.gate is not None:
            live.gate.paused = False
        self._supervisor.resume(name)

    async def poll(self, name: str) -> None:
        """Wake a pull connector. Raises ``BadArguments`` for one that only listens."""
        live = self.get(name)
        if live.gate is not None:
            raise BadArguments(f"{name} is told by its sender; there is nothing to poll")
        live.source.poke()

    async def forget(self, name: str) -> int:
        """Drop the state of a connector that is no longer configured."""
        if name in self._live:
            raise BadArguments(f"{name} is configured; take it out of the configuration and reload first")
        count = await self._intake.journal.forget(name)
        if count == 0:
            raise NotFound(f"nothing is kept of a connector {name!r}")
        return count

    def again(self, entry: Entry) -> Event | Fault | None:
        """Map a dead letter's record with today's configuration (see ``cdmd.contracts.Remap``)."""
        live = self._live.get(entry.event.connector)
        if live is None:
            return Fault("no_connector", f"the connector {entry.event.connector} is no longer configured")
        return live.mapper.again(entry)

    async def _load_pauses(self) -> None:
        self._paused = {key.removeprefix(_PAUSED).decode() async for key, _ in self._intake.journal.scan(OWNER, _PAUSED)}

    async def _remember(self, name: str, *, paused: bool) -> None:
        (self._paused.add if paused else self._paused.discard)(name)
        append = Append(connector=OWNER, state={_PAUSED + name.encode(): b"1" if paused else None})
        await self._intake.queue.submit(append, patience=1.0, settle=_unconcerned)


def _unconcerned(first: Seq | None, error: Overloaded | None) -> None:
    """The daemon's own state counts nothing."""
