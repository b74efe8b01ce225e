"""The figures of ``status`` in the Prometheus text format. Never a customer, never an event as a label."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from cdmd.control.protocol import Status
from cdmd.daemon.parts import Parts

_COUNTED = ("received", "refused", "accepted", "applied", "repeats", "filtered", "suppressed")
_CURRENT = ("dead_letters", "parked", "backlog")


class _Snapshot:
    """One status as a collector."""

    def __init__(self, status: Status, parts: Parts) -> None:
        self._status, self._parts = status, parts

    def collect(self) -> Iterator[Metric]:
        status, parts = self._status, self._parts
        yield from self._connectors()
        yield from self._extensions()
        for name, text, value in (
            ("cdmd_queue_depth", "Events waiting for the journal.", status.queue.events),
            ("cdmd_queue_capacity", "Events that may wait for the journal.", status.queue.max_events),
            ("cdmd_journal_backlog", "Events acknowledged and not yet applied or parked.", status.journal.backlog),
            ("cdmd_journal_bytes", "Bytes of the journal on disk.", status.journal.bytes),
            ("cdmd_store_bytes", "Bytes of the store on disk.", status.store.bytes),
            ("cdmd_disk_free_bytes", "Free bytes of the state directory's disk.", status.disk.free_bytes),
            ("cdmd_profiles", "Profiles.", status.totals.profiles),
            ("cdmd_dead_letters", "Dead letters.", status.totals.dead_letters),
            ("cdmd_loop_longest_stall_seconds", "The longest that anything blocked the event loop.", parts.watch.longest),
            ("cdmd_uptime_seconds", "Seconds since the start.", status.uptime_seconds),
        ):
            yield GaugeMetricFamily(name, text, value=value)

    def _connectors(self) -> Iterator[Metric]:
        events = CounterMetricFamily(
            "cdmd_events", "Events by connector and what became of them.", labels=["connector", "result"]
        )
        current = GaugeMetricFamily("cdmd_events_current", "Events by connector in a state now.", labels=["connector", "state"])
        fresh = GaugeMetricFamily(
            "cdmd_connector_freshness_seconds",
            "95th percentile over the last hour of applied minus received.",
            labels=["connector"],
        )
        up = GaugeMetricFamily("cdmd_connector_up", "1 while the connector runs.", labels=["connector"])
        for row in self._status.connectors:
            for name in _COUNTED:
                events.add_metric([row.name, name], getattr(row, name))
            for name in _CURRENT:
                current.add_metric([row.name, name], getattr(row, name))
            if row.freshness_seconds is not None:
                fresh.add_metric([row.name], row.freshness_seconds)
            up.add_metric([row.name], float(row.state == "running"))
        yield from (events, current, fresh, up)

    def _extensions(self) -> Iterator[Metric]:
        calls = CounterMetricFamily("cdmd_extension_calls", "Calls of an extension.", labels=["plugin", "extension"])
        failures = CounterMetricFamily("cdmd_extension_failures", "Calls that failed.", labels=["plugin", "extension"])
        opened = GaugeMetricFamily("cdmd_extension_breaker_open", "1 while it is not called.", labels=["plugin", "extension"])
        for one in self._parts.extensions.states():
            labels = [one.plugin, one.extension]
            calls.add_metric(labels, one.calls)
            failures.add_metric(labels, one.failures)
            opened.add_metric(labels, float(one.open_until is not None))
        yield from (calls, failures, opened)


def render(status: Status, parts: Parts) -> bytes:
    """The text format, version 0.0.4."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Snapshot(status, parts))
    return generate_latest(registry)
