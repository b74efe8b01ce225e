"""The composition root: a list of parts, each made from the parts that it names.

What each part does stands in its own room. Not here: starting and stopping them (``assembly``, ``stopping``).
"""

import random
import ssl
import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Final

import structlog

from cdmd.config.naming import Names, guarded, reconciled
from cdmd.config.plugins import own_keys
from cdmd.config.schema import Config
from cdmd.contracts import Extension, Witness
from cdmd.control.protocol import DaemonState
from cdmd.daemon.background import Background
from cdmd.daemon.blaming import Blaming
from cdmd.daemon.budgets import Budgets
from cdmd.daemon.counting import Counting
from cdmd.daemon.deriving import Deriving
from cdmd.daemon.disk import Disk
from cdmd.daemon.dividing import dividing_of
from cdmd.daemon.expiring import Expiry
from cdmd.daemon.given import Given
from cdmd.daemon.isolating import Isolating
from cdmd.daemon.laning import laning_of
from cdmd.daemon.listening import proxies
from cdmd.daemon.live import LiveConnectors
from cdmd.daemon.outbound import Outbound
from cdmd.daemon.privacy import Privacy
from cdmd.daemon.rekeying import splits_of
from cdmd.daemon.remembering import in_order
from cdmd.daemon.tracing import Tracing, tracing
from cdmd.daemon.upkeep import Upkeep
from cdmd.deliveries.subscribing import Subscriptions
from cdmd.errors import CdmdError
from cdmd.extensions import Extensions, LeakWatch, LoopWatch, PluginContext, Registered
from cdmd.extensions.leakwatch import LeakLimits
from cdmd.identity.identifiers import Kinds
from cdmd.intake.admission import EdgeLimits
from cdmd.intake.courtesy import AHEAD, AHEAD_OF_ANOTHER, Courtesy
from cdmd.intake.door import Door
from cdmd.intake.edge import Edge
from cdmd.intake.queue import JournalQueue
from cdmd.intake.recent import Recent
from cdmd.intake.shared import Intake
from cdmd.intake.tally import Tally
from cdmd.kit.addresses import hosts_in, parse_networks
from cdmd.kit.egress import GuardedHttp
from cdmd.kit.memory import resident
from cdmd.kit.trusting import trust_of
from cdmd.models import Entry, Event, Fault, Seq
from cdmd.pipeline import Pipeline, PipelineSettings
from cdmd.profiles.audiences import Audiences
from cdmd.profiles.projection import Projection
from cdmd.store.files import StateDirectory
from cdmd.store.opening import Opened
from cdmd.supervisor import ChildState, Supervisor

RECENT_IDS: Final = 200_000
BUILTIN: Final = "builtin"
LEAK_LIMITS: Final = LeakLimits()
_DOOR_PAGE: Final = 2_000


class Parts:
    """Everything that runs, by name; each is made when it is first asked for.

    ``absent`` are extensions whose plugin is not there. ``state``, ``config``, ``kinds`` and ``projection`` change while it
    runs (``take``). ``trust`` are the certificates that outgoing connections are checked with, ``counts`` what the door had
    counted before.
    """

    def __init__(
        self, given: Given, opened: Opened, *, names: Names, trust: ssl.SSLContext, counts: Mapping[tuple[str, str], int]
    ) -> None:
        self.given, self.names, self._trust, self._counts = given, names, trust, counts
        self.journal, self.store, self.digester, self.feeds = opened.journal, opened.store, opened.digester, opened.feeds
        self.clock, self.plugins, self.logs, self.systemd = given.clock, given.plugins, given.logs, given.systemd
        self.state: DaemonState = "starting"
        self.background = Background(given.clock)
        self.config = given.config
        self.kinds = Kinds(given.config.identity, splits_of(opened.digester))
        self.privacy = Privacy(opened, self)
        self.projection = Projection(given.config.indicators, given.config.traits, given.config.privacy)
        self.audiences = Audiences(given.config.audiences, self.projection)
        self.absent: Sequence[tuple[str, Extension]] = ()
        self.laning = laning_of(self)
        self.dividing = dividing_of(self)
        self.log: Any = structlog.get_logger()

    # ---- on the way in ---------------------------------------------------------------------------------------------

    @cached_property
    def disk(self) -> Disk:
        """The state directory's disk."""
        return Disk(self.config.state_dir, reserve=self.config.journal.reserve.bytes)

    @cached_property
    def tally(self) -> Tally:
        """What the door counts."""
        return Tally(self._counts)

    @cached_property
    def door(self) -> Door:
        """Who is known."""
        return Door(
            usable=self._usable, ask=self.store.known, guarded=guarded(self.config), incomplete=self.deriving.incomplete
        )

    @cached_property
    def queue(self) -> JournalQueue:
        """What waits for the journal."""
        return JournalQueue(
            self.journal,
            max_events=self.config.queue.max_events,
            max_bytes=self.config.queue.max_bytes.bytes,
            blocked=self.disk.blocked,
            committed=self._recount,
            alone=lambda: self.tally.uncertain,
        )

    @cached_property
    def intake(self) -> Intake:
        """What every source shares."""
        return Intake(
            journal=self.journal,
            feeds=self.feeds,
            queue=self.queue,
            tally=self.tally,
            recent=Recent(size=RECENT_IDS),
            door=self.door,
            screen=self.privacy.suppressions,
            digests=self.digester,
            clock=self.clock,
            journaled=self._journaled,
            credit=self.pipeline.wait_for_credit,
            courtesy=self.courtesy,
            budgets=self.budgets,
            public_url=self.config.http.public_url and self.config.http.public_url.rstrip("/"),
            scratch=StateDirectory(self.config.state_dir).scratch,
            room=self.disk.room,
            observe=self.privacy.minimising.observe,
            partition=None if self.laning is None else self.laning.partition,
            lanes=1 if self.laning is None else self.config.journal.partitions,
        )

    @cached_property
    def courtesy(self) -> Courtesy:
        """How bulk gives way."""
        ahead = AHEAD_OF_ANOTHER if self.config.store.process == "own" else AHEAD
        return Courtesy(self.clock, self.pipeline.wait_for_credit, ahead=ahead)

    @cached_property
    def budgets(self) -> Budgets:
        """How many requests may go where."""
        return Budgets(self.journal, digests=self.digester, clock=self.clock)

    @cached_property
    def edge(self) -> Edge:
        """What the public listeners call."""
        return Edge(
            clock=self.clock,
            ready=self.readiness,
            degraded=self._degraded,
            limits=EdgeLimits(max_body=self.config.http.max_body.bytes),
            proxies=proxies(self.config.http.proxies),
        )

    # ---- behind the journal ----------------------------------------------------------------------------------------

    @cached_property
    def plugin_clients(self) -> dict[str, GuardedHttp]:
        """Each plugin's client, by the plugin's name; to be entered before the extensions run."""
        return {row.name: self.http(self.config.plugins.get(row.name, {})) for row in self.plugins.rows()}

    @cached_property
    def contexts(self) -> dict[str, PluginContext]:
        """What each plugin is handed, by its name."""
        given = self.config.plugins
        return {name: PluginContext(own_keys(given.get(name)), http, self.clock) for name, http in self.plugin_clients.items()}

    @cached_property
    def registered(self) -> list[Registered]:
        """Every extension with its context, and what stands in for those that are not there."""
        found, isolating = in_order([*self.plugins.extensions(), *self.absent]), self.isolating
        return [Registered(plugin, isolating.extension(plugin, one), self.contexts[plugin]) for plugin, one in found]

    @cached_property
    def isolating(self) -> Isolating:
        """The processes of those that are kept apart."""
        return Isolating(self.plugins, self.config, private=self.given.private, clock=self.clock)

    @cached_property
    def extensions(self) -> Extensions:
        """Calls them."""
        return Extensions(self.registered, clock=self.clock)

    @cached_property
    def pipeline(self) -> Pipeline:
        """The way of a batch."""
        parked, own = self.config.parked, self.config.store.process == "own"
        return Pipeline(
            self.journal,
            self.store,
            self.extensions,
            kinds=self.kinds,
            audiences=self.audiences,
            digester=self.digester,
            remap=self._remap,
            clock=self.clock,
            screen=self.privacy.suppressions,
            known_only=guarded(self.config),
            reconciled=reconciled(self.config.connectors),
            settings=PipelineSettings(parked_max=parked.max_events, parked_keep=parked.keep.seconds, apart=own),
            applied=self.door.applied,
            lengthen=self.given.lengthen,
            witness=self._witness,
            used=self._used,
            shares=self.laning,
        )

    @cached_property
    def deriving(self) -> Deriving:
        """Completes profiles when the kinds of digests change."""
        return Deriving(self.store, kinds=lambda: self.kinds, clock=self.clock)

    @cached_property
    def expiry(self) -> Expiry:
        """Lets windows expire by the clock."""
        return Expiry(
            self.store, self.journal, audiences=lambda: self.audiences, clock=self.clock, subscriptions=self.subscriptions
        )

    @cached_property
    def counting(self) -> Counting:
        """Counts the stored past for what is new or changed."""
        return Counting(
            self.store,
            journal_id=self.journal.id,
            audiences=lambda: self.audiences,
            clock=self.clock,
            subscriptions=self.subscriptions,
        )

    @cached_property
    def outbound(self) -> Outbound:
        """Brings what leaves to the targets."""
        return Outbound(
            self.store,
            journal_id=self.journal.id,
            plugins=self.plugins,
            http=self.http,
            clock=self.clock,
            scratch=StateDirectory(self.config.state_dir).scratch,
            audiences=self.audiences,
            witness=self._witness,
        )

    @cached_property
    def tracing(self) -> Tracing | None:
        """Tells the ways of events; to be entered before anything is received."""
        return tracing(self.config.opentelemetry, journal_id=self.journal.id, clock=self.clock)

    @property
    def _witness(self) -> Witness | None:
        return None if self.tracing is None else self.tracing.witness

    # ---- what keeps it going ---------------------------------------------------------------------------------------

    @cached_property
    def supervisor(self) -> Supervisor:
        """Keeps connectors alive."""
        return Supervisor(clock=self.clock, random=random.random, on_change=self._child_changed)

    @cached_property
    def connectors(self) -> LiveConnectors:
        """The connectors that are live."""
        return LiveConnectors(
            intake=self.intake,
            supervisor=self.supervisor,
            edge=self.edge,
            http=self.http,
            plugins=self.plugins,
            names=self.names,
            began=self.pipeline.freshness.begin,
        )

    @cached_property
    def watch(self) -> LoopWatch:
        """Notices what blocks the loop."""
        blaming, owner = self.blaming, self.plugins.owner
        return LoopWatch(self.registered, clock=self.clock, notice=blaming.stalled, report=blaming.free_again, owner=owner)

    @cached_property
    def leaks(self) -> LeakWatch:
        """Notices that the process grows."""
        return LeakWatch(
            owner=self._foreign, resident=resident, clock=self.clock, report=self.blaming.leaks, limits=LEAK_LIMITS
        )

    @cached_property
    def blaming(self) -> Blaming:
        """Says who does."""
        return Blaming(self.plugins, self.extensions, self.isolating)

    @cached_property
    def upkeep(self) -> Upkeep:
        """The timers."""
        return Upkeep(
            config=lambda: self.config,
            journal=self.journal,
            store=self.store,
            intake=self.intake,
            disk=self.disk,
            clock=self.clock,
            systemd=self.systemd,
            well=self.supervisor.healthy,
        )

    def http(self, settings: object) -> GuardedHttp:
        """A client that reaches the hosts which ``settings`` name."""
        allowed = parse_networks(self.config.network.allow_addresses)
        return GuardedHttp(hosts=hosts_in(settings), allowed=allowed, tls=trust_of(settings) or self._trust)

    # ---- what changes while it runs --------------------------------------------------------------------------------

    def take(self, config: Config, *, kinds: Kinds, audiences: Audiences, pull: frozenset[str]) -> None:
        """Let everything use ``config`` from now on, at once; ``pull`` names its pull connectors."""
        self.config, self.kinds, self.projection, self.audiences = config, kinds, audiences.projection, audiences
        self.names.configure(config.connectors)
        self.disk.reserve = config.journal.reserve.bytes
        self.door.guarded = guarded(config)
        self.pipeline.configure(
            kinds=kinds,
            audiences=audiences,
            known_only=guarded(config),
            reconciled=reconciled(config.connectors),
            pull=pull,
            subscriptions=self.subscriptions(),
        )
        self.deriving.configured()
        self.counting.configured()

    async def refill_door(self) -> None:
        """Tell the door who is journaled and not applied. Raises ``Damaged`` and ``NotDurable``."""
        after = self.store.position
        while self.door.guarded and (page := await self.journal.read(after, limit=_DOOR_PAGE)):
            self.door.journaled(page[0].seq, [one.entry for one in page])
            after = page[-1].seq

    def readiness(self) -> tuple[bool, list[str]]:
        """``/readyz``: the journal takes events, and a store that is here goes on; one failing supplier changes nothing."""
        found = [self.disk.blocked(), self.journal.failure]
        found += [self.store.failure, self.pipeline.failure] if self.store.here else []
        if self.state in {"starting", "draining"}:
            found.append(f"the daemon is {self.state}")
        problems = [reason for reason in found if reason]
        return not problems, problems or ["ok"]

    # ---- what one part tells another -------------------------------------------------------------------------------

    def _journaled(self, first: Seq, entries: Sequence[Entry]) -> None:
        self.pipeline.journaled(first, entries, live=self.courtesy.journaled(entries))
        self.door.journaled(first, entries)
        self.door.applied(self.store.position)  # the pipeline may have been quicker

    async def _recount(self) -> None:
        if self.tally.uncertain:
            try:
                self.tally.reload(await self.journal.counts())
            except CdmdError as error:
                self.log.warning("counts_unknown", error=error)

    def subscriptions(self) -> Subscriptions | None:
        """What targets want to be told; None where there is nothing."""
        return self.outbound.dispatcher.subscriptions or None

    def _foreign(self, module: str) -> str | None:
        return None if (owner := self.plugins.owner(module)) == BUILTIN else owner

    def _usable(self, identifiers: Mapping[str, str]) -> Sequence[tuple[str, str]]:
        return self.kinds.forms(identifiers).pairs  # the kinds as they are configured at that moment

    def _used(self) -> float:
        beside = self.store.process
        return time.process_time() + (0.0 if beside is None else beside.seconds)

    def _remap(self, entry: Entry) -> Event | Fault | None:
        return self.connectors.again(entry)

    def _degraded(self, name: str, error: str) -> None:
        self.connectors.degraded(name, error)

    def _child_changed(self, child: ChildState) -> None:
        self.connectors.changed(child)
