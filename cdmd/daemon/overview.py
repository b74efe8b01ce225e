"""What ``cdmctl status`` shows, measured: every connector's counters with the sums of promise P9, freshness, disk, plugins."""

from collections.abc import Mapping

from cdmd import __version__
from cdmd.control.protocol import (
    ConnectorRow,
    DaemonState,
    DiskRow,
    JournalRow,
    PluginRow,
    QueueRow,
    Status,
    StoreRow,
    Totals,
)
from cdmd.daemon.live import Live
from cdmd.daemon.parts import Parts
from cdmd.models import Count

_WELL = frozenset(("running", "paused", "starting"))


async def overview(parts: Parts, *, state: DaemonState, uptime: float) -> Status:
    """The whole of it. ``uptime`` in seconds."""
    applied, totals, journal = await parts.store.counts(), await parts.store.totals(), await parts.journal.statistics()
    size, now = journal.bytes + totals.bytes, parts.clock.monotonic()
    parts.disk.sample(now, size)
    rows = [_connector(parts, live, applied) for live in parts.connectors]
    plugins = _plugins(parts)
    queue = parts.intake.queue.statistics()
    warnings = _warnings(parts, journal.failure)
    unwell = warnings or any(row.state not in _WELL for row in rows) or any(row.error for row in plugins)
    return Status(
        version=__version__,
        state="degraded" if state == "running" and unwell else state,
        uptime_seconds=round(uptime, 3),
        queue=QueueRow(events=queue.events, max_events=queue.max_events, bytes=queue.bytes, max_bytes=queue.max_bytes),
        journal=JournalRow(backlog=parts.pipeline.statistics().backlog, bytes=journal.bytes, failure=journal.failure),
        store=StoreRow(bytes=totals.bytes, parked=totals.parked, parked_bytes=totals.parked_bytes),
        disk=DiskRow(free_bytes=parts.disk.free, reserve_bytes=parts.disk.reserve, days_left=parts.disk.days_left(now, size)),
        connectors=rows,
        plugins=plugins,
        totals=Totals(
            events=totals.events, profiles=totals.profiles, activities=totals.activities, dead_letters=totals.dead_letters
        ),
        warnings=warnings,
    )


def _connector(parts: Parts, live: Live, applied: Mapping[tuple[str, str], int]) -> ConnectorRow:
    name, frame = live.config.name, live.config.frame
    child, now = parts.supervisor.state(name), parts.clock.now()

    def door(counter: str) -> int:
        return parts.intake.tally.of(name, counter)

    def store(counter: str) -> int:
        return applied.get((name, counter), 0)

    repeats = door(Count.REPEATS) + store(Count.REPEATS)
    settled = sum(store(one) for one in (Count.APPLIED, Count.FILTERED, Count.SUPPRESSED, Count.DEAD, Count.PARKED))
    return ConnectorRow(
        name=name,
        type=frame.type,
        state=child.state,
        freshness_objective_seconds=frame.freshness.seconds if frame.freshness else None,
        freshness_seconds=parts.pipeline.freshness.seconds(name, now),
        received=door(Count.RECEIVED),
        refused=door(Count.REFUSED),
        accepted=door(Count.ACCEPTED),
        applied=store(Count.APPLIED),
        duplicates=repeats,
        repeats=repeats,
        filtered=door(Count.FILTERED) + store(Count.FILTERED),
        filtered_at_door=door(Count.FILTERED),
        suppressed=store(Count.SUPPRESSED),
        dead_letters=store(Count.DEAD),
        parked=store(Count.PARKED),
        backlog=door(Count.ACCEPTED) - repeats - settled,
        last_event=parts.pipeline.freshness.last_event(name),
        detail=live.source.waiting_for or child.detail or _verified(live),
        error=child.error,
    )


def _verified(live: Live) -> str | None:
    """For a push connector: whether senders have to prove anything, and which secret the last one used."""
    if getattr(live.connector, "verifies", True) is False:
        return "unsigned: anybody who can reach it may send"
    used = getattr(live.connector, "verified_by", None)
    return None if used is None else f"last verified by secret {used + 1}"


def _plugins(parts: Parts) -> list[PluginRow]:
    found = []
    states = parts.extensions.states()
    for row in parts.plugins.rows():
        own = [one for one in states if one.plugin == row.name]
        errors = [row.error, *(f"{one.extension}: {one.error}" for one in own if one.error)]
        found.append(
            PluginRow(
                name=row.name,
                version=row.version,
                state=row.state,
                error="; ".join(one for one in errors if one) or None,
                brings=tuple(f"extension {one.extension}" for one in own),
            )
        )
    return found


def _warnings(parts: Parts, failure: str | None) -> list[str]:
    found = [*parts.upkeep.problems.values()]
    found += [reason for reason in (parts.disk.blocked(), parts.pipeline.failure, failure) if reason]
    return found
