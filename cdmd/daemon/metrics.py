"""The figures of ``status`` in the Prometheus text format. Never a customer, never an event as a label.

What is measured stands in ``figures``; age and silence are judged by the clock, so that they grow also while nothing comes.
"""

from collections.abc import Iterator
from datetime import datetime

import anyio.to_thread
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from cdmd.control.protocol import Status
from cdmd.control.remarks import REMARKS
from cdmd.daemon.figures import FAMILIES
from cdmd.daemon.gate import Live
from cdmd.daemon.parts import Parts
from cdmd.models import from_micros

_AT_DOOR = (("received", "received"), ("refused", "refused"), ("accepted", "accepted"), ("filtered", "filtered_at_door"))
_APPLIED = ("applied", "repeats", "suppressed")
_CURRENT = ("dead_letters", "parked", "backlog")
_KINDS = {"gauge": GaugeMetricFamily, "counter": CounterMetricFamily, "histogram": HistogramMetricFamily}


class _Snapshot:
    """One status as a collector."""

    def __init__(self, status: Status, parts: Parts) -> None:
        self._status, self._parts, self._now = status, parts, parts.clock.now()
        self._families = {one.name: _KINDS[one.kind](one.name, one.text, labels=one.labels) for one in FAMILIES}

        self._daemon()
        self._events()
        self._connectors()
        self._targets()
        self._plugins()

    def collect(self) -> Iterator[Metric]:
        """Every family, also those without a row."""
        yield from self._families.values()

    def _add(self, name: str, value: float | None, *labels: str) -> None:
        """One row; none where there is no figure."""
        if value is not None:
            self._families[name].add_metric(labels, value)

    def _daemon(self) -> None:
        status, parts, add = self._status, self._parts, self._add
        oldest = parts.pipeline.oldest
        add("cdmd_queue_depth", status.queue.events)
        add("cdmd_queue_capacity", status.queue.max_events)
        add("cdmd_journal_backlog", status.journal.backlog)
        add("cdmd_journal_backlog_seconds", 0.0 if oldest is None else self._since(oldest))
        add("cdmd_journal_bytes", status.journal.bytes)
        add("cdmd_store_bytes", status.store.bytes)
        add("cdmd_disk_free_bytes", status.disk.free_bytes)
        add("cdmd_profiles", status.totals.profiles)
        add("cdmd_dlq_depth", status.totals.dead_letters)
        add("cdmd_parked_depth", status.store.parked)
        add("cdmd_expiry_lag_seconds", status.audiences.expiry_lag_seconds)
        add("cdmd_erasures_pending", status.erasures.pending)
        add("cdmd_loop_lag_seconds", parts.watch.longest)
        add("cdmd_uptime_seconds", status.uptime_seconds)
        add("cdmd_ready", float(parts.readiness()[0]))
        if parts.tracing is not None:
            add("cdmd_spans_total", parts.tracing.sent, "sent")
            add("cdmd_spans_total", parts.tracing.dropped, "dropped")
        for database, size in parts.disk.log_bytes.items():
            add("cdmd_sqlite_wal_bytes", size, database)
        buckets, total = parts.pipeline.freshness.distribution()
        self._families["cdmd_event_visible_seconds"].add_metric((), buckets, total)

    def _events(self) -> None:
        add = self._add
        for row in self._status.connectors:
            for name, field in _AT_DOOR:
                add("cdmd_events_total", getattr(row, field), row.name, "door", name)
            add("cdmd_events_total", row.filtered - row.filtered_at_door, row.name, "store", "filtered")
            for name in _APPLIED:
                add("cdmd_events_total", getattr(row, name), row.name, "store", name)
            for name in REMARKS:
                add("cdmd_remarks_total", getattr(row, name), row.name, name)
            for name, count in row.refusals.items():
                add("cdmd_refusals_total", count, row.name, name)
            for name in _CURRENT:
                add("cdmd_events_current", getattr(row, name), row.name, name)

    def _connectors(self) -> None:
        add, freshness = self._add, self._parts.pipeline.freshness
        lives = {live.config.name: live for live in self._parts.connectors}
        for row in self._status.connectors:
            add("cdmd_connector_up", float(row.state == "running"), row.name)
            add("cdmd_connector_expected_interval_seconds", row.freshness_objective_seconds, row.name)
            add("cdmd_connector_to_fetch", row.to_fetch, row.name)
            add("cdmd_connector_next_look_seconds", None if row.next is None else -self._since(row.next), row.name)
            newest = freshness.newest(row.name)
            add("cdmd_connector_source_lag_seconds", None if newest is None else self._since(from_micros(newest)), row.name)
            if row.name in lives:
                self._age(lives[row.name], row.freshness_seconds)

    def _age(self, live: Live, fresh: float | None) -> None:
        """How old what is known of it is; one that never had anything is as old as the daemon's run."""
        name, uptime = live.config.name, self._status.uptime_seconds
        last = live.source.looked or self._parts.pipeline.freshness.last_event(name)
        silence = uptime if last is None else self._since(last)
        looks = live.gate is None
        self._add("cdmd_connector_last_success_timestamp_seconds", None if last is None else last.timestamp(), name)
        self._add("cdmd_connector_silence_seconds", max(0.0, silence), name)
        self._add("cdmd_connector_freshness_seconds", silence if looks and live.source.looked is None else fresh, name)

    def _targets(self) -> None:
        add = self._add
        for row in self._status.targets:
            for name in ("delivered", "never", "dropped", "untold"):
                add("cdmd_deliveries_total", getattr(row, name), row.name, name)
            add("cdmd_delivery_attempts_total", row.attempts, row.name)
            add("cdmd_deliveries_pending", row.waiting, row.name)
            add("cdmd_deliveries_pending_bytes", row.waiting_bytes, row.name)
            add("cdmd_deliveries_failed", row.failed, row.name)
            add("cdmd_target_state", 1.0, row.name, row.state)

    def _plugins(self) -> None:
        add = self._add
        for one in self._parts.extensions.states():
            add("cdmd_plugin_calls_total", one.calls, one.plugin, one.extension)
            add("cdmd_plugin_errors_total", one.failures, one.plugin, one.extension)
            add("cdmd_plugin_seconds", one.p95_seconds, one.plugin, one.extension)
            add("cdmd_plugin_breaker_state", float(one.open_until is not None), one.plugin, one.extension)

    def _since(self, moment: datetime) -> float:
        return (self._now - moment).total_seconds()


async def render(status: Status, parts: Parts) -> bytes:
    """The text format, version 0.0.4; written in a thread, because with a thousand connectors it is more than a megabyte."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Snapshot(status, parts))
    return await anyio.to_thread.run_sync(generate_latest, registry)
