"""Keeps this daemon one of several that apply the journal: says that it is there, and takes and gives up lanes.

Not here: whose each lane is (the store's ``Lanes``), and what is applied (``cdmd.pipeline``).
"""

from collections.abc import Sequence
from typing import Any, Final, Protocol

import anyio
import msgspec
import structlog
from typing_extensions import override

from cdmd.batches.sharing import Share, Shares
from cdmd.config import alike
from cdmd.config.schema import Config
from cdmd.contracts import Clock, Divided, Journal, Lanes
from cdmd.daemon.given import Given
from cdmd.daemon.outbound import Outbound
from cdmd.daemon.privacy import UNTOLD, Privacy
from cdmd.errors import CdmdError
from cdmd.identity.identifiers import Kinds
from cdmd.identity.partition import Partition
from cdmd.models import Seq
from cdmd.pipeline import Pipeline
from cdmd.plugins import Plugins
from cdmd.store.keys import Digester
from cdmd.store.stored import StoredStore

LOOK: Final = 0.5
"""Seconds: a twentieth of how long a node may be silent."""
_CUT_OFF: Final = 10.0
"""Seconds without a way to the journal's servers after which others apply what this node would: as if it were gone."""
_NOTE: Final = "suppressions"
_TOLD: Final = "suppressions told"
_SETTINGS: Final = "settings"
"""A digest of those of the node that leads: what all go by."""
_PLACES: Final = "settings in detail"
"""Their digests one by one."""
_OWNER: Final = "daemon:lanes"
"""Whose key an event's lane is chosen with; no connector can have this name."""


class Whole(Protocol):
    """The daemon's parts that this needs (``Parts`` fulfils it)."""

    given: Given
    kinds: Kinds
    clock: Clock
    store: StoredStore
    journal: Journal
    digester: Digester
    privacy: Privacy
    config: Config
    plugins: Plugins

    @property
    def pipeline(self) -> Pipeline:
        """The way of a batch."""
        ...

    @property
    def outbound(self) -> Outbound:
        """What is sent."""
        ...


def laning_of(whole: Whole) -> "Laning | None":
    """Of a daemon that is one of several; None where it is alone."""
    return Laning(whole, whole.store) if isinstance(whole.store, Lanes) else None


def settings_of(config: Config, plugins: Plugins) -> dict[str, str]:
    """What has to be the same on all nodes, as digests."""
    return alike.digests(config, {row.name: row.version or "" for row in plugins.rows() if row.state != "disabled"})


class Laning(Shares):
    """One node's part of the journal.

    A node whose settings are not those of the one that leads has no part until they are: what it made of an event would be
    something else than what the others make of the next one.
    """

    def __init__(self, whole: Whole, lanes: Lanes) -> None:
        self._whole, self._lanes, self._clock = whole, lanes, whole.clock
        self._number = whole.config.journal.partitions  # as the store was opened with: another one waits for a restart
        self.resumes = whole.given.leads
        self.partition = Partition(whole.digester.secret(_OWNER, "lanes"), lambda: whole.kinds)
        """Which lane an event goes into."""
        self._list: str | None = None
        self._untold: str | None = None
        self._trouble: str | None = None
        self._differing: Sequence[str] = ()
        self._woken = anyio.Event()
        self._read_at = whole.clock.monotonic()
        self._log: Any = structlog.get_logger()
        self._go_by(whole.config)
        if self.resumes:
            lanes.tells(self._version)

    @property
    def problem(self) -> str | None:
        """What is wrong with the store, or with this node's settings, in words for the administrator."""
        if self._trouble is None and self._differing:
            return (
                "this node applies nothing, because its settings are not those of the node that leads: "
                f"{alike.sentence(self._differing)}; make them the same and reload"
            )
        return self._trouble

    async def configure(self, config: Config) -> None:
        """To be called just before everything uses ``config``: who leads stops the others, until they have the same one."""
        self._go_by(config)
        self._woken.set()
        if self.resumes:
            try:
                await self._say_settings()
            except CdmdError as error:  # it is said again with the next look
                self._failed(error)

    def _go_by(self, config: Config) -> None:
        self._settings = settings_of(config, self._whole.plugins)
        self._digest, self._said = alike.whole(self._settings), False
        self._lanes.settled(self._digest)

    async def _say_settings(self) -> None:
        await self._whole.store.note(_PLACES, msgspec.json.encode(self._settings).decode())
        await self._whole.store.note(_SETTINGS, self._digest)
        self._said = True

    async def _compare(self) -> None:
        in_force, theirs = await self._whole.store.noted(_SETTINGS), dict[str, str]()
        if in_force not in {None, self._digest}:
            theirs = msgspec.json.decode(await self._whole.store.noted(_PLACES) or "{}", type=dict[str, str])
        found = alike.differing(self._settings, theirs) if theirs else []
        if found != self._differing:
            self._differing = found
            self._log.warning("settings_differ", count=len(found)) if found else self._log.info("settings_alike")

    def _version(self) -> str:
        return str(self._whole.privacy.suppressions.version)

    @property
    @override
    def own(self) -> Seq:
        """See ``Lanes.own``."""
        return self._lanes.own

    @override
    async def agreed(self) -> Share:
        """See ``Shares.agreed``."""
        while True:
            self._rest()
            try:
                lanes = await self._lanes.balance()
                await self._catch_up()
            except CdmdError as error:
                self._failed(error)
                await self._clock.sleep(LOOK)
            else:
                self._trouble = None
                self._log.info("lanes_agreed", count=len(lanes))
                return Share(lanes, self._number, self._lanes.undivided)

    @override
    async def changed(self) -> None:
        """See ``Shares.changed``."""
        while True:
            self._woken = anyio.Event()
            self._rest()
            try:
                if await self._lanes.look():
                    return
                await self._catch_up()
                await self._everywhere()
            except CdmdError as error:
                self._failed(error)
            else:
                self._trouble = None
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._wake, tasks.cancel_scope)
                await self._clock.sleep(LOOK)
                tasks.cancel_scope.cancel()

    def _rest(self) -> None:
        """One that cannot read the journal, and is heard of by the others, would keep its lanes from them for ever."""
        now, journal = self._clock.monotonic(), self._whole.journal
        if not isinstance(journal, Divided) or journal.readable:
            self._read_at = now
        self._lanes.rests(resting=now - self._read_at >= _CUT_OFF)

    @override
    def refused(self) -> None:
        """See ``Shares.refused``: it is looked at at once."""
        self._woken.set()

    async def _wake(self, sleep: anyio.CancelScope) -> None:
        await self._woken.wait()
        sleep.cancel()

    async def _catch_up(self) -> None:
        """Let all nodes go by the list of suppressed people that is in force, and by the same settings."""
        store = self._whole.store
        if self.resumes:
            if not self._said:
                await self._say_settings()
            if (mine := self._version()) != self._list:
                await store.note(_TOLD, mine)  # the others are told with whatever is written
                self._list = mine
        elif (noted := await store.noted(_NOTE) or "") != self._list:
            await self._whole.privacy.listed.load()
            self._list = noted
            self._lanes.goes_by(noted)
        if not self.resumes:
            await self._compare()
            if (untold := await store.noted(UNTOLD)) != self._untold:
                self._whole.outbound.dispatcher.refresh()
                self._untold = untold

    async def _everywhere(self) -> None:
        """What others applied is applied, and what they put into the outbox is to be sent."""
        await self._whole.pipeline.everywhere()
        self._whole.store.outbox.written({live.built.config.name for live in self._whole.outbound.dispatcher})

    def _failed(self, error: CdmdError) -> None:
        if self._trouble is None:
            self._log.warning("lanes_failed", error=error)
        self._trouble = f"this node may lose its lanes: {error}"
