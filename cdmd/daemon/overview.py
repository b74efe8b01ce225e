"""What ``cdmctl status`` shows, measured: every connector's counters with the sums of promise P9, freshness, disk, plugins."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

import anyio.lowlevel
import msgspec

from cdmd import __version__
from cdmd.config.roles import DELIVER, PROCESS, PULL
from cdmd.contracts import JournalStatistics, Lanes, Node, StoreTotals
from cdmd.control.audience_shapes import AudiencesRow
from cdmd.control.privacy_shapes import ErasuresRow
from cdmd.control.protocol import (
    ConnectorRow,
    DiskRow,
    JournalReplicaRow,
    JournalRow,
    QueueRow,
    Status,
    StoreRow,
    StreamRow,
    Totals,
)
from cdmd.control.target_shapes import TargetRow
from cdmd.daemon.gate import Live
from cdmd.daemon.gathering import Gathered, Report, counted, gather
from cdmd.daemon.parts import Parts
from cdmd.daemon.plugin_rows import plugin_rows
from cdmd.errors import CdmdError
from cdmd.kit.secret import Secret
from cdmd.plugins import saying

_AT_ONCE: Final = 50
_WELL: Final = frozenset(("running", "paused", "starting"))


class Overview:
    """Remembers the store's last figures, so that there is an answer also when the store cannot be read."""

    def __init__(self, parts: Parts, *, rebuilding: Callable[[], str | None] = lambda: None) -> None:
        self._parts, self._rebuilding = parts, rebuilding
        self._expiry_lag = 0.0
        self._targets: list[TargetRow] = []
        self._held: Mapping[str, int] = {}
        self._gathered = Gathered()
        self._applied: Mapping[tuple[str, str], int] = {}
        self._totals = StoreTotals(events=0, profiles=0, activities=0, dead_letters=0, parked=0, bytes=0, parked_bytes=0)

    async def report(self, *, uptime: float) -> Report:
        """What this node has to say to the others."""
        found = await self.status(uptime=uptime, alone=True)
        return Report(
            state=found.state,
            uptime=found.uptime_seconds,
            warnings=found.warnings,
            connectors=found.connectors,
            freshness=self._parts.pipeline.freshness.measured(self._parts.clock.now()),
            erasures=found.erasures,
            working=found.store.working,
        )

    async def status(self, *, uptime: float, alone: bool = False) -> Status:
        """The whole of it. ``uptime`` in seconds. Of several nodes all, or this one ``alone``.

        The store is asked before the door: what is applied in between makes a backlog look larger for a moment, never negative.
        """
        parts, now = self._parts, self._parts.clock.monotonic()
        unread = await self._ask_store(alone=alone)
        journal, totals, queue = await parts.journal.statistics(), self._totals, parts.queue.statistics()
        rows = [row async for row in _connectors(parts, self._applied)]
        gathered = Gathered() if alone else self._gathered
        if gathered.nodes:
            rows = [_latest(row, gathered.late(row.name)) for row in rows]
            rows += gathered.elsewhere(parts, [row.name for row in rows], self._applied)
        plugins = plugin_rows(parts, self._held)
        warnings = _warnings(parts, {"journal": journal.failure, "store": unread or parts.store.failure})
        warnings += gathered.warnings()
        warnings += _lacking(gathered.nodes)
        unwell = warnings or any(row.state not in _WELL for row in rows) or any(row.error for row in plugins)
        unwell = unwell or any(_is_unwell(row) for row in self._targets)
        return Status(
            version=__version__,
            state="degraded" if parts.state == "running" and unwell else parts.state,
            uptime_seconds=round(uptime, 3),
            queue=QueueRow(events=queue.events, max_events=queue.max_events, bytes=queue.bytes, max_bytes=queue.max_bytes),
            journal=_journal(journal, backlog=parts.pipeline.statistics().backlog),
            store=StoreRow(
                bytes=totals.bytes,
                parked=totals.parked,
                parked_bytes=totals.parked_bytes,
                process=None if parts.store.process is None else parts.store.process.pid,
                working="; ".join(filter(None, (parts.deriving.progress, parts.counting.progress, self._rebuilding()))) or None,
            ),
            disk=DiskRow(free_bytes=parts.disk.free, reserve_bytes=parts.disk.reserve, days_left=parts.disk.days_left(now)),
            connectors=rows,
            plugins=plugins,
            totals=Totals(
                events=totals.events,
                profiles=totals.profiles,
                activities=totals.activities,
                dead_letters=totals.dead_letters,
                deliveries_pending=sum(row.waiting for row in self._targets),
            ),
            targets=self._targets,
            audiences=AudiencesRow(
                expiry_lag_seconds=round(self._expiry_lag, 3),
                clock_lag_seconds=parts.counting.lag(),
                counting=parts.counting.progress,
            ),
            erasures=self._erasures(gathered),
            nodes=gathered.rows(parts.journal.head),
            warnings=warnings,
        )

    def _erasures(self, gathered: Gathered) -> ErasuresRow:
        """Who only applies knows of none by itself."""
        privacy = self._parts.privacy
        said = gathered.erasures() if not self._parts.given.leads else None
        return said or ErasuresRow(pending=len(privacy.erasures.pending), progress=privacy.removing.progress)

    async def _ask_store(self, *, alone: bool) -> str | None:
        """The store's figures; why they are not today's where it cannot be read."""
        try:
            self._applied, self._totals = await self._parts.store.counts(), await self._parts.store.totals()
            self._expiry_lag = await self._parts.expiry.lag()
            self._targets = await self._parts.outbound.rows()
            self._held = await self._parts.store.waiting_for() if self._totals.parked else {}
            if not alone:
                self._gathered = await gather(self._parts)
            if not self._parts.given.leads:  # what the door counts is another node's to count
                self._parts.tally.reload(await self._parts.journal.counts())
        except CdmdError as error:
            return f"the store cannot be read, its figures are those of before: {error}"
        return None


def _latest(row: ConnectorRow, late: float | None) -> ConnectorRow:
    """With what the slowest of several nodes says."""
    if late is None:
        return row
    return msgspec.structs.replace(row, freshness_seconds=round(max(row.freshness_seconds or 0.0, late), 3))


def _journal(found: JournalStatistics, *, backlog: int) -> JournalRow:
    copies = [JournalReplicaRow(server=one.server, current=one.current, lag=one.lag) for one in found.copies]
    return JournalRow(
        backlog=backlog,
        bytes=found.bytes,
        failure=found.failure,
        server=found.server,
        copies=copies,
        process=found.process,
    )


def _is_unwell(row: TargetRow) -> bool:
    """What is disabled by somebody is as it should be."""
    hopeless = row.state == "disabled" and row.failing_since is not None
    return row.state == "failing" or row.full_since is not None or hopeless


async def _connectors(parts: Parts, applied: Mapping[tuple[str, str], int]) -> AsyncIterator[ConnectorRow]:
    """A row for each, some at a time: many of them must not keep the loop from what arrives."""
    for number, live in enumerate(filter(parts.connectors.works_here, parts.connectors), start=1):
        yield _connector(parts, live, applied)
        if number % _AT_ONCE == 0:
            await anyio.lowlevel.checkpoint()


def _connector(parts: Parts, live: Live, applied: Mapping[tuple[str, str], int]) -> ConnectorRow:
    name, frame = live.config.name, live.config.frame
    child, fresh = parts.supervisor.state(name), freshness(parts, live, parts.clock.now())

    return ConnectorRow(
        name=name,
        type=frame.type,
        state=child.state,
        since=parts.clock.now() - timedelta(seconds=parts.clock.monotonic() - child.since),
        freshness_objective_seconds=_objective(live),
        freshness_seconds=None if fresh is None else round(fresh, 3),
        **counted(parts, name, applied),
        refusals=parts.tally.refusals(name),
        to_fetch=saying.to_fetch(live.connector),
        last_event=parts.pipeline.freshness.last_event(name),
        next=live.working.next_look,
        detail=_detail(live, child.detail, paused=child.state == "paused"),
        streams=_streams(live),
        error=child.error,
        pull=live.puller is not None,
        node=parts.store.name if isinstance(parts.store, Lanes) else None,
    )


def _streams(live: Live) -> list[StreamRow]:
    return [
        StreamRow(
            name=one.name,
            freshness_objective_seconds=one.freshness,
            freshness_seconds=None if one.measured is None else round(one.measured, 3),
            looked=one.looked,
            next=one.next,
            why=one.why,
            shortfall=one.shortfall,
        )
        for one in saying.outlook(live.connector)
    ]


def _objective(live: Live) -> float | None:
    """The connector's own, else the strictest of its streams."""
    if live.config.frame.freshness is not None:
        return live.config.frame.freshness.seconds
    return min((one.freshness for one in saying.streams(live.connector).values() if one.freshness is not None), default=None)


def freshness(parts: Parts, live: Live, now: datetime) -> float | None:
    """The 95th percentile, or what is longer: since a pull connector last looked, since a told one has not fetched something.

    None when nothing came.
    """
    measured = parts.pipeline.freshness.seconds(live.config.name, now)
    looked = live.source.looked if live.gate is None else None
    since = saying.waiting_since(live.connector, otherwise=looked)
    return measured if since is None else max(measured or 0.0, (now - since).total_seconds())


def _detail(live: Live, detail: str | None, *, paused: bool) -> str | None:
    """What it does or waits for, and for one that is told how its senders prove who they are."""
    does = live.working.waiting_for or live.working.working_on or detail
    if paused:
        does = detail  # what it was last at is over
    proven = _verified(live) if live.gate is not None else None
    return "; ".join(part for part in (does, proven) if part) or None


def _verified(live: Live) -> str | None:
    """For a push connector: whether senders have to prove anything, and which secret the last one used."""
    if not saying.verifies(live.connector):
        return "unsigned: anybody who can reach it may send"
    used = saying.verified_by(live.connector)
    if used is None:
        return None
    settings = live.config.settings
    secrets = getattr(settings, str(getattr(settings, "told_apart_by", "secrets")), ())
    named = secrets[used] if isinstance(secrets, list | tuple) and 0 <= used < len(secrets) else None
    return f"last verified by secret {used + 1}" + (f" ({named.reference})" if isinstance(named, Secret) else "")


def _warnings(parts: Parts, failures: Mapping[str, str | None]) -> list[str]:
    background = (
        None if parts.laning is None else parts.laning.problem,
        None if parts.dividing is None else parts.dividing.problem,
        parts.expiry.problem,
        parts.counting.problem,
        *parts.privacy.problems,
        *parts.background.problems.values(),
    )
    reasons = (parts.disk.blocked(), parts.pipeline.failure, *background, parts.outbound.dispatcher.settling.problem)
    found = [*parts.upkeep.problems.values(), *(reason for reason in reasons if reason)]
    return found + [_named(database, failure) for database, failure in failures.items() if failure]


_IDLE: Final = {
    PULL: "nothing is fetched",
    PROCESS: "nothing that arrives is applied",
    DELIVER: "nothing is sent to targets",
}


def _lacking(nodes: Sequence[Node]) -> list[str]:
    """Work that no node does, where several divide it."""
    roles = {role for one in nodes if not one.lost for role in one.roles}
    return [
        f"no node has the role {role}: {so} (cdmd run --role {role})"
        for role, so in _IDLE.items()
        if nodes and role not in roles
    ]


def _named(database: str, failure: str) -> str:
    """SQLite's own words do not say which database they are about."""
    return failure if failure.startswith("the ") else f"the {database} cannot be used now: {failure}"
