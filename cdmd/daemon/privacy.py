"""The parts that keep and forget people's data, each made from the databases and from what is configured."""

import os
import secrets
from collections.abc import AsyncGenerator, Iterable, Sequence
from functools import partial
from typing import Any, Final, Protocol

from cdmd.batches.unnaming import Unnaming
from cdmd.config.schema import Config
from cdmd.contracts import Clock, Lanes
from cdmd.control import exporting
from cdmd.control.actors import Actor, Role
from cdmd.control.runtime import Runtime
from cdmd.daemon.erasing import Erasures
from cdmd.daemon.erasing_elsewhere import Elsewhere
from cdmd.daemon.live import LiveConnectors
from cdmd.daemon.minimising import Minimising
from cdmd.daemon.outbound import Outbound
from cdmd.daemon.rekeying import Rekeying
from cdmd.daemon.removing import Holder, Removing
from cdmd.daemon.requesting import EXPORTS, Requests
from cdmd.daemon.retaining import Retaining
from cdmd.daemon.suppressing import OWNER, PURPOSE, SuppressionList
from cdmd.deliveries.subscribing import Subscriptions
from cdmd.deliveries.telling import Telling
from cdmd.identity.identifiers import Kinds
from cdmd.models import Entry, Micros, ProfileKey, to_micros
from cdmd.pipeline import Pipeline
from cdmd.privacy.erasure import Erasure
from cdmd.privacy.retention import Retention
from cdmd.privacy.screening import Pair
from cdmd.privacy.suppressions import Suppressions
from cdmd.privacy.traces import Traces
from cdmd.profiles.audiences import Audiences
from cdmd.store.opening import Opened

UNTOLD: Final = "untold"
"""Another one whenever something that waited for targets was removed or rewritten."""


class Whole(Protocol):
    """The daemon's parts that these need (``Parts`` fulfils it)."""

    kinds: Kinds
    clock: Clock
    config: Config
    audiences: Audiences

    @property
    def connectors(self) -> LiveConnectors:
        """The connectors that are live."""
        ...

    def subscriptions(self) -> Subscriptions | None:
        """What targets want to be told."""
        ...

    @property
    def outbound(self) -> Outbound:
        """What is sent to targets."""
        ...

    @property
    def pipeline(self) -> Pipeline:
        """The way of a batch."""
        ...


class Privacy:
    """``suppressions`` is asked by whoever takes events, ``listed`` is where the list is kept.

    ``erasures`` are what was asked for, ``removing`` does them; ``retaining`` takes away what is too old,
    ``rekeying`` what could be found out without the key.
    """

    def __init__(self, opened: Opened, whole: Whole) -> None:
        journal, store, clock = opened.journal, opened.store, whole.clock
        self._whole, self._store, self._journal_id = whole, store, journal.id
        self._requests: Requests | None = None
        self.away: Elsewhere | None = None
        """Who asks other nodes, where several divide what fetches."""
        self.suppressions = Suppressions(key=opened.digester.secret(OWNER, PURPOSE), naming=lambda: whole.kinds)
        self.listed = SuppressionList(journal, self.suppressions, clock=clock)
        self.erasures = Erasures(journal, store, self.listed, self.suppressions, untold=self._untold, clock=clock)
        self.minimising = Minimising(lambda: whole.config)
        self.retaining = Retaining(
            store,
            retention=lambda: Retention(whole.config.privacy),
            erasing=lambda: bool(self.erasures.pending),
            kinds=lambda: whole.kinds,
            exports=whole.config.state_dir / EXPORTS,
            clock=clock,
        )
        self.rekeying = Rekeying(store, kinds=lambda: whole.kinds, clock=clock)
        self.removing = Removing(
            self.erasures,
            journal=journal,
            store=store,
            feeds=opened.feeds,
            kinds=lambda: whole.kinds,
            holders=self._holders,
            applied=self._applied,
            told=self._told,
            untold=self._untold,
            unnaming=self._unnaming,
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
        requests = None if self._requests is None else self._requests.problem
        return self.removing.problem, self.retaining.problem, requests

    def conceals(self, entry: Entry) -> bool:
        """Whether the entry is of somebody who is being erased."""
        return self.erasures.conceals(entry, self._whole.kinds)

    async def _applied(self, seconds: float) -> bool:
        return await self._whole.pipeline.drain(seconds)

    def requests(self, runtime: Runtime) -> Requests:
        """What answers requests that arrive as events, as ``runtime`` sees people; made once."""

        async def export(pair: Pair) -> AsyncGenerator[dict[str, Any], None]:
            actor = Actor(uid=os.getuid(), user="event", role=Role.ADMIN)
            return await exporting.export(runtime, actor, ":".join(pair))

        self._requests = Requests(
            self._store,
            self.erasures,
            settings=lambda: self._whole.config.privacy,
            naming=lambda: self._whole.kinds,
            export=export,
            folder=self._whole.config.state_dir / EXPORTS,
            clock=self._whole.clock,
        )
        return self._requests

    async def _untold(self) -> None:
        """What was read ahead of what waits is read again, by this node and by all others that send."""
        self._whole.outbound.dispatcher.refresh()
        if isinstance(self._store, Lanes):
            await self._store.note(UNTOLD, secrets.token_hex(8))

    def _unnaming(self, keys: Sequence[ProfileKey], traces: Traces) -> Unnaming:
        whole = self._whole
        now, wanted = to_micros(whole.clock.now()), whole.subscriptions()
        return Unnaming(keys, traces, whole.audiences, journal_id=self._journal_id, now=now, subscriptions=wanted)

    async def _told(self, erased: Sequence[Erasure]) -> Sequence[str]:
        """Tell the targets that want to know; their names. They are told the ids of profiles, and nothing else."""
        subscriptions = self._whole.subscriptions()
        if not subscriptions:
            return ()
        telling = Telling(subscriptions)
        for one in erased:
            for public in one.publics:
                telling.erased(public, Micros(one.asked))
        outgoing = telling.outgoing()
        if outgoing is None:
            return ()
        await self._store.outbox.put(outgoing, now=to_micros(self._whole.clock.now()))
        return sorted({one.target for one in outgoing.deliveries})

    def _holders(self) -> Iterable[Holder]:
        connectors = self._whole.connectors
        away = self.away
        return [
            Holder(
                live.config.name,
                live.connector,
                connectors.desk(live),
                None if away is None or connectors.works_here(live) else partial(away.erase, live),
            )
            for live in connectors
        ]
