"""What the commands need of the daemon. Not here: the shapes that it answers with (``protocol``)."""

from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from cdmd.config.schema import Config
from cdmd.contracts import Clock, DeadLetterFilter, Feeds, Journal, Store
from cdmd.control.carrying import Carrier
from cdmd.control.needs import Counted, Governance, Identities, Shown, Targets
from cdmd.control.profile_shapes import SplitReport
from cdmd.control.protocol import PluginInfo, ReloadReport, Status, TailFilter, TailItem
from cdmd.control.watching_shapes import HistoryReport, LastReload
from cdmd.identity.identifiers import Kinds, Pair
from cdmd.profiles.audiences import Audiences


class Hour(Protocol):
    """The last hour, sampled (``History`` fulfils it)."""

    def report(self, names: Collection[str] = (), series: Collection[str] = ()) -> HistoryReport:
        """The samples of the daemon, and those ``series`` (all by default) of the connectors among ``names`` that have any."""
        ...


class Place(NamedTuple):
    """Which of several nodes something is for: this one, the ``node`` of that name, or without a name the one that leads."""

    here: bool
    node: str | None = None


class Runtime(Protocol):
    """The running daemon as the commands see it. Names are connectors' names as configured now.

    ``carrier`` takes requests to other nodes; None for a daemon that is alone.
    """

    @property
    def carrier(self) -> Carrier | None:
        """The way to other nodes."""
        ...

    async def place(self, connector: str | None, *, target: str | None = None, shelf: str | None = None) -> Place:
        """Whose it is to do something with that connector, target or shelf, or what only the node does that leads.

        Raises ``NotDurable``.
        """
        ...

    @property
    def config(self) -> Config:
        """The effective configuration."""
        ...

    @property
    def journal(self) -> Journal:
        """The open journal."""
        ...

    @property
    def store(self) -> Store:
        """The open store."""
        ...

    @property
    def feeds(self) -> Feeds:
        """The open feeds."""
        ...

    @property
    def clock(self) -> Clock:
        """The daemon's clock."""
        ...

    @property
    def kinds(self) -> Kinds:
        """The configured identifier kinds."""
        ...

    @property
    def shown(self) -> Shown:
        """For showing a profile's traits and indicators."""
        ...

    @property
    def audiences(self) -> Audiences:
        """The configured audiences."""
        ...

    @property
    def counted(self) -> Counted:
        """How far the stored past is counted for them."""
        ...

    @property
    def governance(self) -> Governance:
        """What is done with people's data."""
        ...

    @property
    def targets(self) -> Targets:
        """Where deliveries go."""
        ...

    @property
    def history(self) -> Hour:
        """The last hour."""
        ...

    @property
    def last_reload(self) -> LastReload | None:
        """The last reload since the start; None where there was none."""
        ...

    async def status(self) -> Status:
        """Everything that ``status`` shows, measured now."""
        ...

    async def plugin(self, name: str) -> PluginInfo:
        """All about one plugin. Raises ``NotFound``."""
        ...

    async def pause(self, name: str) -> str | None:
        """Hold a connector back till ``resume``; returns a warning where its sender will not try again. Raises ``NotFound``."""
        ...

    async def resume(self, name: str) -> None:
        """Let a paused connector go on from its position. Raises ``NotFound``."""
        ...

    async def poll(self, name: str) -> None:
        """Wake a waiting pull connector now. Raises ``NotFound``, and ``BadArguments`` for one that only listens."""
        ...

    async def take_back(self, which: DeadLetterFilter) -> int:
        """Let connectors take up those of these dead letters that they retry themselves; returns how many are dead no more."""
        ...

    async def gone(self) -> list[str]:
        """The connectors that left the configuration and whose state is still there."""
        ...

    async def forget(self, name: str) -> int:
        """Drop the state of a connector that left the configuration; returns how many keys went.

        Raises ``NotFound``, and ``BadArguments`` while it is still configured.
        """
        ...

    async def shelf(self, kind: str, *, connector: str | None, state: str | None, limit: int) -> list[Mapping[str, Any]]:
        """What connectors show of that kind (files, say), at most ``limit`` of each. Raises ``NotFound``, ``BadArguments``."""
        ...

    async def tell_shelf(self, kind: str, command: str, *, connector: str | None, names: Sequence[str]) -> tuple[str, int]:
        """Have it done to the rows of those names; the connector and to how many. Raises ``NotFound``, ``BadArguments``."""
        ...

    @property
    def identities(self) -> Identities:
        """The job about who is who."""
        ...

    async def split(self, first: Pair, second: Pair, *, apply: bool) -> SplitReport:
        """Make two people of the one that has both identifiers, or say what would come of it.

        Raises ``NotFound`` and ``BadArguments``.
        """
        ...

    async def lift(self, first: Pair, second: Pair) -> SplitReport:
        """Let two people who are kept apart be joined again. Raises ``NotFound`` and ``BadArguments``."""
        ...

    async def reload(self) -> ReloadReport:
        """Read the configuration again, apply what changed, wait. Raises ``ConfigInvalid``; then the old one stays in force."""
        ...

    def tail(self, wanted: TailFilter) -> AsyncGenerator[TailItem, None]:
        """Live events from now on; ends when the daemon drains, and is closed when the reader leaves.

        Bounded: a slow reader loses items, which are counted.
        """
        ...

    def set_log_level(self, level: str, seconds: float | None) -> None:
        """Log from ``level`` up, for ``seconds`` or until told otherwise."""
        ...

    async def metrics(self) -> bytes:
        """The Prometheus text format."""
        ...

    async def backup(self, target: Path) -> int:
        """Write a backup to the new file ``target`` (mode 0600); returns its bytes."""
        ...
