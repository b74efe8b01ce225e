"""The shapes that the control socket speaks: every answer is one of these structs as JSON.

Not here: how it is served (``server``), who may ask (``actors``), or what the commands need of the daemon (``runtime``).
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Literal, TypeAlias

import msgspec

from cdmd.control.audience_shapes import AudiencesRow
from cdmd.control.node_shapes import NodeRow
from cdmd.control.privacy_shapes import ErasuresRow
from cdmd.control.target_shapes import TargetRow
from cdmd.models import Event

DaemonState: TypeAlias = Literal["starting", "running", "degraded", "draining"]
ConnectorVerdict: TypeAlias = Literal["unchanged", "started", "stopped", "restarted", "failed"]


class _Shape(msgspec.Struct, frozen=True, kw_only=True):
    """A JSON object; fields may be added, never renamed."""


# ---- status --------------------------------------------------------------------------------------------------------


class QueueRow(_Shape, frozen=True, kw_only=True):
    """What waits in memory for the journal."""

    events: int
    max_events: int
    bytes: int
    max_bytes: int


class JournalReplicaRow(_Shape, frozen=True, kw_only=True):
    """A server that has the journal, too: ``lag`` counts what it has still to write."""

    server: str
    current: bool
    lag: int = 0


class JournalRow(_Shape, frozen=True, kw_only=True):
    """The journal: ``backlog`` counts events acknowledged and not yet applied or parked.

    On servers (``journal.url``): the one that is talked to (empty: none), and those that have copies; ``process``: its own one.
    """

    backlog: int
    bytes: int = 0
    failure: str | None = None
    server: str | None = None
    copies: Sequence[JournalReplicaRow] = ()
    process: int | None = None


class StoreRow(_Shape, frozen=True, kw_only=True):
    """The store's bytes on disk, how many events (and bytes of them) are parked, and what it is busy with for long.

    ``process`` is the number of its own process, where one writes it (``store.process``).
    """

    bytes: int
    parked: int
    parked_bytes: int
    working: str | None = None
    process: int | None = None


class DiskRow(_Shape, frozen=True, kw_only=True):
    """The file system under the state directory; ``days_left`` at today's rate, None while there is no rate to judge by."""

    free_bytes: int
    reserve_bytes: int
    days_left: float | None = None


class StreamRow(_Shape, frozen=True, kw_only=True):
    """One stream of a connector that looks: when it was looked at last and is next, ``why`` then, and what it falls short of.

    ``freshness_seconds`` is the 95th percentile of what happened since the start, at most the last 200.
    """

    name: str
    freshness_objective_seconds: float | None = None
    freshness_seconds: float | None = None
    looked: datetime | None = None
    next: datetime | None = None
    why: str | None = None
    shortfall: str | None = None


class ConnectorRow(_Shape, frozen=True, kw_only=True):
    """One connector. received = refused + applied + repeats + filtered + suppressed + dead_letters + parked + backlog.

    Of these, ``filtered_at_door`` and ``refused`` were never acknowledged as stored; the others together are ``accepted``.
    All exact over restarts. ``duplicates`` is ``repeats``: deliveries recognised as repeats, at the door or when applied.
    Beside the sums: ``unattributed`` applied events that name nobody, ``unusable`` those with an identifier that is blocked or
    cannot be read, ``kept_apart`` those that had one given up, ``id_conflicts`` repeats with other content, ``clock_ahead``
    times too far ahead, ``ignored_traits`` that a full profile had no place for, ``skipped_values`` that no indicator could
    use, ``missed`` what only a stream found (``reconcile``), ``to_fetch`` what was notified and not fetched. ``refusals`` says
    how often for each reason since the start (``signature_mismatch``, ``too_large`` ...), ``detail`` what it does or waits
    for, ``next`` when it will look again, ``since`` when its ``state`` is what it is, ``node`` who of several fetches, ``pull``
    whether ``poll`` lets it look.
    """

    name: str
    type: str
    state: str
    since: datetime | None = None
    freshness_objective_seconds: float | None = None
    freshness_seconds: float | None = None
    received: int = 0
    refused: int = 0
    accepted: int = 0
    applied: int = 0
    duplicates: int = 0
    repeats: int = 0
    filtered: int = 0
    filtered_at_door: int = 0
    suppressed: int = 0
    dead_letters: int = 0
    parked: int = 0
    backlog: int = 0
    unattributed: int = 0
    unusable: int = 0
    kept_apart: int = 0
    id_conflicts: int = 0
    clock_ahead: int = 0
    ignored_traits: int = 0
    skipped_values: int = 0
    missed: int = 0
    to_fetch: int = 0
    refusals: dict[str, int] = {}
    last_event: datetime | None = None
    next: datetime | None = None
    detail: str | None = None
    streams: list[StreamRow] = []
    error: str | None = None
    pull: bool = False
    node: str | None = None


class ProcessRow(_Shape, frozen=True, kw_only=True):
    """The process of a plugin that is isolated: its state (``starting``, ``running``, ``degraded``, ``failed``) and memory.

    ``memory_bytes`` is resident; ``reason`` is why the last one ended, ``kernel`` whether the kernel keeps it from our files,
    ``signals`` from signalling other processes.
    """

    state: str
    pid: int | None = None
    memory_bytes: int | None = None
    max_memory_bytes: int | None = None
    restarts: int = 0
    reason: str | None = None
    kernel: bool = False
    signals: bool = False


class PluginRow(_Shape, frozen=True, kw_only=True):
    """One plugin and its state (``enabled``, ``disabled``, ``load error``, ``bad config``, ``failed``).

    ``calls``, ``failures`` and ``seconds`` are of its extensions together since the start; ``error`` is why it is not well.
    ``process`` is null unless it is isolated.
    ``held`` events wait on disk for its extensions; ``withheld`` are the types of event that all wait, because it is not there
    or not well configured.
    """

    name: str
    version: str | None = None
    state: str
    error: str | None = None
    brings: tuple[str, ...] = ()
    calls: int = 0
    failures: int = 0
    seconds: float = 0.0
    process: ProcessRow | None = None
    held: int = 0
    withheld: tuple[str, ...] = ()


class ExtensionRow(_Shape, frozen=True, kw_only=True):
    """One extension: what it listens to, its declaration and its figures since the start.

    ``held`` events wait on disk for it; ``withheld`` is why it is not called at all.
    """

    name: str
    on: tuple[str, ...]
    timeout: float
    on_failure: str
    calls: int
    failures: int
    seconds: float
    p95_seconds: float | None = None
    running: int = 0
    waiting: int = 0
    not_called_until: datetime | None = None
    error: str | None = None
    held: int = 0
    withheld: str | None = None


class PluginInfo(PluginRow, frozen=True, kw_only=True):
    """All about one plugin. ``example`` is TOML to paste: its table, and one of each type that it brings."""

    extensions: tuple[ExtensionRow, ...] = ()
    example: str = ""


class Totals(_Shape, frozen=True, kw_only=True):
    """Sums. ``events`` counts distinct events ever applied, filtered ones and repeats not among them."""

    events: int
    profiles: int
    activities: int
    dead_letters: int
    deliveries_pending: int = 0


class Status(_Shape, frozen=True, kw_only=True):
    """``cdmctl status``. ``warnings`` are sentences about what is not well beside the rows."""

    version: str
    state: DaemonState
    uptime_seconds: float
    queue: QueueRow
    journal: JournalRow
    store: StoreRow
    disk: DiskRow
    connectors: list[ConnectorRow]
    plugins: list[PluginRow]
    totals: Totals
    targets: list[TargetRow] = []
    audiences: AudiencesRow = AudiencesRow()
    erasures: ErasuresRow = ErasuresRow()
    nodes: list[NodeRow] = []
    warnings: list[str] = []


# ---- what a change answers -----------------------------------------------------------------------------------------


class Done(_Shape, frozen=True, kw_only=True):
    """A change was made: what, to what, how many, and a warning where it has a consequence that is easily missed."""

    done: str
    name: str | None = None
    count: int | None = None
    warning: str | None = None


class ReloadRow(_Shape, frozen=True, kw_only=True):
    """What a reload did to one connector or target."""

    name: str
    verdict: ConnectorVerdict
    problem: str | None = None


class ReloadReport(_Shape, frozen=True, kw_only=True):
    """A reload that was applied. ``problems`` are sentences about what failed to start or needs a restart of the daemon."""

    connectors: list[ReloadRow]
    targets: list[ReloadRow] = []
    problems: list[str] = []
    warnings: list[str] = []


class BackupReport(_Shape, frozen=True, kw_only=True):
    """A backup that was written."""

    path: str
    bytes: int


class VerifyReport(_Shape, frozen=True, kw_only=True):
    """Every damage found in journal, store and feeds, one sentence each."""

    whole: bool
    problems: list[str]


class AuditRow(_Shape, frozen=True, kw_only=True):
    """Who did what over the control socket; arguments never hold personal data."""

    time: datetime
    uid: int
    user: str
    role: str
    command: str
    arguments: str
    outcome: str


# ---- events --------------------------------------------------------------------------------------------------------


STAGES: Final = ("accepted", "extended", "failed", "applied", "filtered", "repeated", "dead", "parked")
"""What a live event may have passed; ``failed``: a call of an extension."""


class TailFilter(_Shape, frozen=True, kw_only=True):
    """Which live events: by connector, type glob and stage; all of them where nothing is said."""

    connector: str | None = None
    type: str | None = None
    stage: str | None = None


class TailItem(_Shape, frozen=True, kw_only=True):
    """One event at one stage as it passes. ``lost`` counts items this reader was too slow for since the last one."""

    stage: str
    time: datetime
    event: Event
    detail: str | None = None
    lost: int = 0


class TraceStep(_Shape, frozen=True, kw_only=True):
    """One station of an event. Only what that station knows is filled in."""

    step: str
    text: str
    time: datetime | None = None
    seconds: float | None = None
    facts: Mapping[str, Any] = {}


class EventTrace(_Shape, frozen=True, kw_only=True):
    """What became of one occurrence: ``state`` is applied, parked, dead-letter, filtered, suppressed or waiting."""

    id: str
    source: str
    state: str
    summary: str
    profile: str | None = None
    steps: list[TraceStep]
    event: Mapping[str, Any] | None = None


class EventTraces(_Shape, frozen=True, kw_only=True):
    """``cdmctl events show``: the same id from several sources names several occurrences."""

    id: str
    traces: list[EventTrace]


class DeadLetterRow(_Shape, frozen=True, kw_only=True):
    """A dead letter in a list: its reason, and nothing of its content."""

    seq: int
    id: str
    source: str
    type: str
    stage: str
    since: datetime
    attempts: int
    code: str
    message: str
    expression: str | None = None
    path: str | None = None
    kind: str | None = None


class CauseRow(_Shape, frozen=True, kw_only=True):
    """Dead letters of one connector, event type and code; ``newest`` is the last one, and what it says is shown for all."""

    connector: str
    type: str
    code: str
    count: int
    first: datetime
    last: datetime
    newest: int
    message: str | None = None
    expression: str | None = None
    path: str | None = None


class DeadLetterShown(_Shape, frozen=True, kw_only=True):
    """One dead letter with what is known of its event; ``raw`` (the record) only when it was revealed."""

    letter: DeadLetterRow
    event: Mapping[str, Any]
    raw_bytes: int
    raw: Any = None
