"""The figures of ``status`` in the Prometheus text format. Never a customer, never an event as a label."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from cdmd.control.protocol import Status
from cdmd.daemon.parts import Parts

_AT_DOOR = (("received", "received"), ("refused", "refused"), ("accepted", "accepted"), ("filtered", "filtered_at_door"))
_APPLIED = ("applied", "repeats", "suppressed")
_REMARKS = (
    "unattributed",
    "unusable",
    "kept_apart",
    "id_conflicts",
    "clock_ahead",
    "ignored_traits",
    "skipped_values",
    "missed",
)
_CURRENT = ("dead_letters", "parked", "backlog")


class _Snapshot:
    """One status as a collector."""

    def __init__(self, status: Status, parts: Parts) -> None:
        self._status, self._parts = status, parts

    def collect(self) -> Iterator[Metric]:
        yield from self._daemon()
        yield from self._events()
        yield from self._connectors()
        yield from self._targets()
        yield from self._plugins()

    def _daemon(self) -> Iterator[Metric]:
        status, parts = self._status, self._parts
        for name, text, value in (
            ("cdmd_queue_depth", "Events waiting for the journal.", status.queue.events),
            ("cdmd_queue_capacity", "Events that may wait for the journal.", status.queue.max_events),
            ("cdmd_journal_backlog", "Events acknowledged and not yet applied or parked.", status.journal.backlog),
            ("cdmd_journal_bytes", "Bytes of the journal on disk.", status.journal.bytes),
            ("cdmd_store_bytes", "Bytes of the store on disk.", status.store.bytes),
            ("cdmd_disk_free_bytes", "Free bytes of the state directory's disk.", status.disk.free_bytes),
            ("cdmd_profiles", "Profiles.", status.totals.profiles),
            ("cdmd_dlq_depth", "Dead letters.", status.totals.dead_letters),
            ("cdmd_parked_depth", "Events that wait for an extension.", status.store.parked),
            ("cdmd_expiry_lag_seconds", "How long the most overdue window is due.", status.audiences.expiry_lag_seconds),
            ("cdmd_loop_lag_seconds", "The longest that anything blocked the event loop since the start.", parts.watch.longest),
            ("cdmd_uptime_seconds", "Seconds since the start.", status.uptime_seconds),
            ("cdmd_ready", "1 while events can be taken (as /readyz says).", float(parts.readiness()[0])),
        ):
            yield GaugeMetricFamily(name, text, value=value)
        log = GaugeMetricFamily("cdmd_sqlite_wal_bytes", "Bytes of a database's write-ahead log.", labels=["database"])
        for database, size in parts.disk.log_bytes.items():
            log.add_metric([database], size)
        yield log

    def _events(self) -> Iterator[Metric]:
        events = CounterMetricFamily(
            "cdmd_events", "Events by connector, stage and what became of them.", labels=["connector", "stage", "result"]
        )
        remarks = CounterMetricFamily(
            "cdmd_remarks", "What was noticed about events beside what became of them.", labels=["connector", "remark"]
        )
        refusals = CounterMetricFamily("cdmd_refusals", "What was refused, by reason.", labels=["connector", "reason"])
        current = GaugeMetricFamily("cdmd_events_current", "Events by connector in a state now.", labels=["connector", "state"])
        for row in self._status.connectors:
            for name, field in _AT_DOOR:
                events.add_metric([row.name, "door", name], getattr(row, field))
            events.add_metric([row.name, "store", "filtered"], row.filtered - row.filtered_at_door)
            for name in _APPLIED:
                events.add_metric([row.name, "store", name], getattr(row, name))
            for name in _REMARKS:
                remarks.add_metric([row.name, name], getattr(row, name))
            for name, count in row.refusals.items():
                refusals.add_metric([row.name, name], count)
            for name in _CURRENT:
                current.add_metric([row.name, name], getattr(row, name))
        yield from (events, remarks, refusals, current)

    def _connectors(self) -> Iterator[Metric]:
        def gauge(name: str, text: str) -> GaugeMetricFamily:
            return GaugeMetricFamily(f"cdmd_connector_{name}", text, labels=["connector"])

        up = gauge("up", "1 while the connector runs.")
        fresh = gauge("freshness_seconds", "How late its events show, as in status.")
        expected = gauge("expected_interval_seconds", "The configured freshness objective.")
        success = gauge("last_success_timestamp_seconds", "When it last looked, or its last event became visible.")
        for row in self._status.connectors:
            up.add_metric([row.name], float(row.state == "running"))
            if row.freshness_seconds is not None:
                fresh.add_metric([row.name], row.freshness_seconds)
            if row.freshness_objective_seconds is not None:
                expected.add_metric([row.name], row.freshness_objective_seconds)
        for live in self._parts.connectors:
            name = live.config.name
            looked = live.source.looked or self._parts.pipeline.freshness.last_event(name)
            if looked is not None:
                success.add_metric([name], looked.timestamp())
        yield from (up, fresh, expected, success)

    def _targets(self) -> Iterator[Metric]:
        counted = CounterMetricFamily(
            "cdmd_deliveries", "Deliveries by target and what became of them.", labels=["target", "result"]
        )
        attempts = CounterMetricFamily("cdmd_delivery_attempts", "Attempts to deliver.", labels=["target"])
        waiting = GaugeMetricFamily("cdmd_deliveries_pending", "Deliveries that wait.", labels=["target"])
        size = GaugeMetricFamily("cdmd_deliveries_pending_bytes", "Bytes of them.", labels=["target"])
        aside = GaugeMetricFamily("cdmd_deliveries_failed", "Deliveries that are set aside.", labels=["target"])
        state = GaugeMetricFamily("cdmd_target_state", "1 for the state that the target is in.", labels=["target", "state"])
        for row in self._status.targets:
            for name in ("delivered", "dropped", "untold"):
                counted.add_metric([row.name, name], getattr(row, name))
            attempts.add_metric([row.name], row.attempts)
            waiting.add_metric([row.name], row.waiting)
            size.add_metric([row.name], row.waiting_bytes)
            aside.add_metric([row.name], row.failed)
            state.add_metric([row.name, row.state], 1.0)
        yield from (counted, attempts, waiting, size, aside, state)

    def _plugins(self) -> Iterator[Metric]:
        labels = ["plugin", "extension"]
        calls = CounterMetricFamily("cdmd_plugin_calls", "Calls of an extension.", labels=labels)
        errors = CounterMetricFamily("cdmd_plugin_errors", "Calls that failed.", labels=labels)
        state = GaugeMetricFamily("cdmd_plugin_breaker_state", "1 while it is not called after failures.", labels=labels)
        for one in self._parts.extensions.states():
            calls.add_metric([one.plugin, one.extension], one.calls)
            errors.add_metric([one.plugin, one.extension], one.failures)
            state.add_metric([one.plugin, one.extension], float(one.open_until is not None))
        yield from (calls, errors, state)


def render(status: Status, parts: Parts) -> bytes:
    """The text format, version 0.0.4."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Snapshot(status, parts))
    return generate_latest(registry)
