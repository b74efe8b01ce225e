"""Keeps this daemon one of several that apply the journal: says that it is there, and takes and gives up lanes.

Not here: whose each lane is (the store's ``Lanes``), and what is applied (``cdmd.pipeline``).
"""

from typing import Any, Final, Protocol

import structlog
from typing_extensions import override

from cdmd.batches.sharing import Share, Shares
from cdmd.config.schema import Config
from cdmd.contracts import Clock, Lanes
from cdmd.daemon.given import Given
from cdmd.daemon.outbound import Outbound
from cdmd.daemon.privacy import Privacy
from cdmd.errors import CdmdError
from cdmd.identity.identifiers import Kinds
from cdmd.identity.partition import Partition
from cdmd.models import Seq
from cdmd.pipeline import Pipeline
from cdmd.store.keys import Digester
from cdmd.store.stored import StoredStore

LOOK: Final = 0.5
"""Seconds: a twentieth of how long a node may be silent."""
_NOTE: Final = "suppressions"
_TOLD: Final = "suppressions told"
_OWNER: Final = "daemon:lanes"
"""Whose key an event's lane is chosen with; no connector can have this name."""


class Whole(Protocol):
    """The daemon's parts that this needs (``Parts`` fulfils it)."""

    given: Given
    kinds: Kinds
    clock: Clock
    store: StoredStore
    digester: Digester
    privacy: Privacy
    config: Config

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


class Laning(Shares):
    """One node's part of the journal. ``problem`` says what is wrong with the store, in words for the administrator."""

    def __init__(self, whole: Whole, lanes: Lanes) -> None:
        self._whole, self._lanes, self._clock = whole, lanes, whole.clock
        self._number = whole.config.journal.partitions  # as the store was opened with: another one waits for a restart
        self.resumes = not whole.given.applies_only
        self.partition = Partition(whole.digester.secret(_OWNER, "lanes"), lambda: whole.kinds)
        """Which lane an event goes into."""
        self._list: str | None = None
        self.problem: str | None = None
        self._log: Any = structlog.get_logger()
        if self.resumes:
            lanes.tells(self._version)

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
            try:
                lanes = await self._lanes.balance()
                await self._catch_up()
            except CdmdError as error:
                self._failed(error)
                await self._clock.sleep(LOOK)
            else:
                self.problem = None
                self._log.info("lanes_agreed", count=len(lanes))
                return Share(lanes, self._number)

    @override
    async def changed(self) -> None:
        """See ``Shares.changed``."""
        while True:
            try:
                if await self._lanes.look():
                    return
                await self._catch_up()
                await self._everywhere()
            except CdmdError as error:
                self._failed(error)
            else:
                self.problem = None
            await self._clock.sleep(LOOK)

    async def _catch_up(self) -> None:
        """Let all nodes go by the list of suppressed people that is in force."""
        store = self._whole.store
        if self.resumes:
            if (mine := self._version()) != self._list:
                await store.note(_TOLD, mine)  # the others are told with whatever is written
                self._list = mine
        elif (noted := await store.noted(_NOTE) or "") != self._list:
            await self._whole.privacy.listed.load()
            self._list = noted
            self._lanes.goes_by(noted)

    async def _everywhere(self) -> None:
        """What others applied is applied, and what they put into the outbox is to be sent."""
        await self._whole.pipeline.everywhere()
        if self.resumes:
            self._whole.store.outbox.written({live.built.config.name for live in self._whole.outbound.dispatcher})

    def _failed(self, error: CdmdError) -> None:
        if self.problem is None:
            self._log.warning("lanes_failed", error=error)
        self.problem = f"this node may lose its lanes: {error}"
