"""Everything that runs, by name, for what shows and commands it."""

from collections.abc import Callable
from typing import Any

import msgspec

from cdmd.config.schema import Config
from cdmd.contracts import Clock
from cdmd.daemon.live import LiveConnectors
from cdmd.daemon.naming import Names
from cdmd.daemon.upkeep import Disk, Upkeep
from cdmd.extensions import Extensions, LoopWatch
from cdmd.identity.identifiers import Kinds
from cdmd.intake.edge import Edge
from cdmd.intake.source import Intake
from cdmd.kit.logs import Logs
from cdmd.kit.systemd import Systemd
from cdmd.pipeline import Pipeline
from cdmd.plugins import Plugins
from cdmd.profiles.projection import Projection
from cdmd.store.journal import SqliteJournal
from cdmd.store.store import SqliteStore
from cdmd.supervisor import Supervisor


class Parts(msgspec.Struct, kw_only=True):
    """Everything that runs, by name."""

    config: Config
    read_config: Callable[[], Config]
    journal: SqliteJournal
    store: SqliteStore
    clock: Clock
    kinds: Kinds
    projection: Projection
    names: Names
    intake: Intake
    pipeline: Pipeline
    extensions: Extensions
    supervisor: Supervisor
    connectors: LiveConnectors
    edge: Edge
    plugins: Plugins
    watch: LoopWatch
    upkeep: Upkeep
    disk: Disk
    logs: Logs
    systemd: Systemd
    log: Any
