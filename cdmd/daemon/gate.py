"""One connector that is live, and the gate before a push connector: paused or not started ones answer 503."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

import msgspec

from cdmd.config.schema import ConnectorConfig
from cdmd.contracts import Connector, DecidingConnector, PullConnector, PushConnector, SharingConnector, Source
from cdmd.errors import Overloaded, Paused
from cdmd.intake.mapping import Mapper
from cdmd.intake.source import IntakeSource
from cdmd.kit.egress import GuardedHttp
from cdmd.models import Answer, Emission, Request, Route
from cdmd.supervisor import Supervisor

_LATER = 60


class PushGate:
    """A push connector as the edge sees it. One that failed and answers again is well again.

    ``retired`` gates have a successor: what they still answer says nothing about the connector of that name. ``trouble`` is
    what a connector that also fetches says of itself: that it answers does not end it.
    """

    def __init__(self, name: str, connector: PushConnector, supervisor: Supervisor) -> None:
        self._name, self._connector, self._supervisor = name, connector, supervisor
        self.routes: Sequence[Route] = tuple(connector.routes)
        self.paused = self.unstarted = self.retired = False
        self.trouble: str | None = None
        self._degraded = False
        self._pages = any(route.origins for route in self.routes)
        self._decide = connector.decide if isinstance(connector, DecidingConnector) else None

    @property
    def degraded(self) -> bool:
        """Whether the last request was one that it failed to answer."""
        return self._degraded

    def recognises(self, request: Request) -> bool:
        """Whether the request is this connector's, on a path that it shares."""
        return isinstance(self._connector, SharingConnector) and self._connector.recognises(request)

    def decide(self, request: Request, source: Source) -> Answer | Emission | None:
        """What the connector decides at once; None for one that does not. Raises as ``answer`` does."""
        if self._decide is None:
            return None
        self._check(request, source)
        decided = self._decide(request, source)
        if self._degraded and decided is not None:
            self._well()
        return decided

    async def answer(self, request: Request, source: Source) -> Answer:
        """The connector's answer. Raises ``Paused``, and ``Overloaded`` for one that could not be started."""
        self._check(request, source)
        answer = await self._connector.answer(request, source)
        if self._degraded:
            self._well()
        return answer

    def _check(self, request: Request, source: Source) -> None:
        if self._pages and request.method == "OPTIONS":
            return  # a page has to be told that it may ask, or it cannot read what it is told then
        if self.paused:
            source.refuse(1, "paused")
            raise Paused("this connector is paused", retry_after=_LATER)
        if self.unstarted:
            source.refuse(1, "unstarted")
            raise Overloaded("this connector could not be started", retry_after=_LATER)

    def _well(self) -> None:
        if not self.retired:
            self._degraded = False
            self._supervisor.mark(self._name, "degraded" if self.trouble else "running", self.trouble)

    def failed(self, error: str) -> None:
        """It failed to answer a request; ``error`` is the fault's class."""
        if not self.retired:
            self._degraded = True
            self._supervisor.mark(self._name, "degraded", f"it failed to answer a request ({error})")


class Live(msgspec.Struct, kw_only=True, eq=False):
    """One connector that is live. ``unstarted`` says why it could not be started; it is tried again by ``resume``.

    ``source`` is what it answers with, ``puller`` what it fetches with: the same where it only fetches, None where it only
    answers.
    """

    config: ConnectorConfig
    connector: Connector
    mapper: Mapper
    source: IntakeSource
    http: GuardedHttp
    gate: PushGate | None
    puller: IntakeSource | None = None
    unstarted: str | None = None

    @property
    def working(self) -> IntakeSource:
        """The source that says what it does by itself."""
        return self.puller or self.source

    def exchanging(self) -> bool:
        """Whether it exchanges something that cannot be had again, and so gets time to end."""
        return bool(getattr(self.connector, "exchanging", False))

    def hold_back(self, *, closed: bool) -> None:
        """One that was stopped must not fetch anything any more; what its gate still answers is another matter."""
        if self.puller is not None:
            self.puller.closed = closed

    async def run(self) -> None:
        """One life of a connector that fetches; what it said of itself in the last one is over."""
        if self.puller is not None and isinstance(self.connector, PullConnector):
            self.puller.unwell(None)
            await self.connector.run(self.puller)


class HttpMaker(Protocol):
    """Makes a guarded client for what ``settings`` name."""

    def __call__(self, settings: object) -> GuardedHttp:
        """The client; its owner enters and leaves it."""
        ...


class Plan(NamedTuple):
    """A change that can be carried out: ``built`` are new or changed connectors, ``leaving`` the names that go.

    ``pull`` are the names of all that fetch by themselves.
    """

    wanted: Mapping[str, ConnectorConfig]
    built: Mapping[str, Live]
    leaving: Sequence[str] = ()
    pull: frozenset[str] = frozenset()

    @property
    def same(self) -> list[str]:
        """Names of those that nothing happens to."""
        return [name for name in self.wanted if name not in self.built]


class Fetching(Protocol):
    """Who fetches, where several nodes divide that among themselves (``cdmd.daemon.pulling``)."""

    def let_in(self, live: Live) -> bool:
        """Whether this one works here; then it may, with its token, for as long as that is so."""
        ...

    def elsewhere(self, live: Live) -> str | None:
        """Why it is not to be steered here; None where it is."""
        ...

    def works_here(self, live: Live) -> bool:
        """Whether this node takes or fetches for it."""
        ...

    def node_of(self, live: Live) -> str | None:
        """Who fetches for it."""
        ...


def mounts(lives: Iterable[Live]) -> list[tuple[PushGate, IntakeSource]]:
    """What the edge is to have."""
    return [(live.gate, live.source) for live in lives if live.gate is not None]
