"""What is measured, by name: every metric with its kind, its labels and what it says.

Metrics are rendered from this table and documented from it (systemd/README.md): neither has one that the other has not.
A label never holds what came with an event: only names from the configuration, words of our own, and reasons that a connector
gave. Not here: where the figures come from (``metrics``).
"""

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

LABELS: Final = frozenset(
    ("connector", "database", "extension", "plugin", "reason", "remark", "result", "stage", "state", "target")
)
"""Every label that a metric may have."""


class Family(NamedTuple):
    """One metric. A counter's name ends with ``_total``."""

    name: str
    kind: Literal["gauge", "counter", "histogram"]
    text: str
    labels: Sequence[str] = ()


_CONNECTOR: Final = ("connector",)
_TARGET: Final = ("target",)
_EXTENSION: Final = ("plugin", "extension")

FAMILIES: Final[tuple[Family, ...]] = (
    Family("cdmd_uptime_seconds", "gauge", "Seconds since the start."),
    Family("cdmd_ready", "gauge", "1 while events can be taken (as /readyz says)."),
    Family("cdmd_loop_lag_seconds", "gauge", "The longest that anything blocked the event loop since the start."),
    Family("cdmd_spans_total", "counter", "Spans of events' ways by what became of them (`sent`, `dropped`).", ("result",)),
    Family("cdmd_queue_depth", "gauge", "Events waiting for the journal."),
    Family("cdmd_queue_capacity", "gauge", "Events that may wait for the journal."),
    Family("cdmd_journal_backlog", "gauge", "Events acknowledged and not yet applied or parked."),
    Family("cdmd_journal_backlog_seconds", "gauge", "How long ago the oldest of them was received."),
    Family("cdmd_event_visible_seconds", "histogram", "How late events became visible, as freshness is measured."),
    Family("cdmd_journal_bytes", "gauge", "Bytes of the journal on disk."),
    Family("cdmd_store_bytes", "gauge", "Bytes of the store on disk."),
    Family("cdmd_sqlite_wal_bytes", "gauge", "Bytes of a database's write-ahead log.", ("database",)),
    Family("cdmd_disk_free_bytes", "gauge", "Free bytes of the state directory's disk."),
    Family("cdmd_profiles", "gauge", "Profiles."),
    Family("cdmd_dlq_depth", "gauge", "Dead letters."),
    Family("cdmd_parked_depth", "gauge", "Events that wait for an extension."),
    Family("cdmd_expiry_lag_seconds", "gauge", "How long the most overdue window is due."),
    Family("cdmd_erasures_pending", "gauge", "Erasures that are asked for and not done."),
    Family("cdmd_events_total", "counter", "Events by what became of them.", ("connector", "stage", "result")),
    Family("cdmd_remarks_total", "counter", "What was noticed about events beside that.", ("connector", "remark")),
    Family("cdmd_refusals_total", "counter", "What was refused since the start, by reason.", ("connector", "reason")),
    Family("cdmd_events_current", "gauge", "Events that are in a state now.", ("connector", "state")),
    Family("cdmd_connector_up", "gauge", "1 while the connector runs.", _CONNECTOR),
    Family(
        "cdmd_connector_freshness_seconds",
        "gauge",
        "How late its events show, as in status; of one that looks never less than since its last look that went well.",
        _CONNECTOR,
    ),
    Family("cdmd_connector_expected_interval_seconds", "gauge", "The configured freshness objective.", _CONNECTOR),
    Family(
        "cdmd_connector_last_success_timestamp_seconds",
        "gauge",
        "When it last looked, or its last event became visible.",
        _CONNECTOR,
    ),
    Family(
        "cdmd_connector_silence_seconds",
        "gauge",
        "Seconds since it last looked, or its last event became visible; until there is such a moment, since the start.",
        _CONNECTOR,
    ),
    Family("cdmd_connector_source_lag_seconds", "gauge", "Seconds since the newest of its events happened.", _CONNECTOR),
    Family("cdmd_connector_next_look_seconds", "gauge", "Seconds until one that looks will look again.", _CONNECTOR),
    Family("cdmd_connector_to_fetch", "gauge", "What was notified and is not fetched yet.", _CONNECTOR),
    Family("cdmd_deliveries_total", "counter", "Deliveries by what became of them.", ("target", "result")),
    Family("cdmd_delivery_attempts_total", "counter", "Attempts to deliver.", _TARGET),
    Family("cdmd_deliveries_pending", "gauge", "Deliveries that wait.", _TARGET),
    Family("cdmd_deliveries_pending_bytes", "gauge", "Bytes of them.", _TARGET),
    Family("cdmd_deliveries_failed", "gauge", "Deliveries that are set aside.", _TARGET),
    Family("cdmd_target_state", "gauge", "1 for the state that the target is in.", ("target", "state")),
    Family("cdmd_plugin_calls_total", "counter", "Calls of an extension.", _EXTENSION),
    Family("cdmd_plugin_errors_total", "counter", "Calls that failed.", _EXTENSION),
    Family("cdmd_plugin_seconds", "gauge", "The 95th percentile of how long its last 512 calls took.", _EXTENSION),
    Family("cdmd_plugin_breaker_state", "gauge", "1 while it is not called after failures.", _EXTENSION),
)


def metric_table() -> str:
    """Markdown: a row for each metric."""
    rows = [
        f"| `{one.name}` | {one.kind} | {', '.join(f'`{label}`' for label in one.labels)} | {one.text} |" for one in FAMILIES
    ]
    return "\n".join(["| metric | kind | labels | says |", "|---|---|---|---|", *rows])
