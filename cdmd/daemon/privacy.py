"""The parts that keep and forget people's data, each made from the databases and from what is configured."""

from collections.abc import Iterable, Sequence
from typing import Protocol

from cdmd.config.schema import Config
from cdmd.contracts import Clock
from cdmd.daemon.erasing import Erasures
from cdmd.daemon.live import LiveConnectors
from cdmd.daemon.removing import Holder, Removing
from cdmd.daemon.retaining import Retaining
from cdmd.daemon.suppressing import OWNER, PURPOSE, SuppressionList
from cdmd.identity.identifiers import Kinds
from cdmd.models import Entry
from cdmd.pipeline import Pipeline
from cdmd.privacy.retention import Retention
from cdmd.privacy.suppressions import Suppressions
from cdmd.store.opening import Opened


class Whole(Protocol):
    """The daemon's parts that these need (``Parts`` fulfils it)."""

    kinds: Kinds
    clock: Clock
    config: Config

    @property
    def connectors(self) -> LiveConnectors:
        """The connectors that are live."""
        ...

    @property
    def pipeline(self) -> Pipeline:
        """The way of a batch."""
        ...


class Privacy:
    """``suppressions`` is asked by whoever takes events, ``listed`` is where the list is kept.

    ``erasures`` are what was asked for, ``removing`` does them; ``retaining`` takes away what is too old.
    """

    def __init__(self, opened: Opened, whole: Whole) -> None:
        journal, store, clock = opened.journal, opened.store, whole.clock
        self._whole = whole
        self.suppressions = Suppressions(key=opened.digester.secret(OWNER, PURPOSE), naming=lambda: whole.kinds)
        self.listed = SuppressionList(journal, self.suppressions, clock=clock)
        self.erasures = Erasures(journal, store, self.listed, self.suppressions, clock=clock)
        self.retaining = Retaining(
            store, retention=lambda: Retention(whole.config.privacy), erasing=lambda: bool(self.erasures.pending), clock=clock
        )
        self.removing = Removing(
            self.erasures,
            journal=journal,
            store=store,
            feeds=opened.feeds,
            naming=lambda: whole.kinds,
            holders=self._holders,
            applied=self._applied,
            told=_nobody,
            folder=whole.config.state_dir,
            clock=clock,
        )

    async def load(self) -> None:
        """Before anything listens. Raises ``NotDurable`` and ``Damaged``."""
        await self.listed.load()
        await self.erasures.load(self._whole.kinds)

    @property
    def problems(self) -> tuple[str | None, ...]:
        """What does not get on."""
        return self.removing.problem, self.retaining.problem

    def conceals(self, entry: Entry) -> bool:
        """Whether the entry is of somebody who is being erased."""
        return self.erasures.conceals(entry, self._whole.kinds)

    async def _applied(self, seconds: float) -> bool:
        return await self._whole.pipeline.drain(seconds)

    def _holders(self) -> Iterable[Holder]:
        connectors = self._whole.connectors
        return [Holder(live.config.name, live.connector, connectors.desk(live)) for live in connectors]


async def _nobody(publics: Sequence[str]) -> Sequence[str]:
    """There are no targets that could be told."""
    return ()
