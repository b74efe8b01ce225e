"""Connectors that fetch, where several nodes divide them among themselves: which this one has, and who has the others.

Those that ask the same host go together: their limits are counted by one node. What is sent to us belongs to the node that
leads, with what it fetches because of it. Not here: whose they are (``dividing``), and how one is started (``live``).
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from hashlib import blake2b
from typing import Protocol

from cdmd.contracts import PULL, Append, Duties, Feeds, Holder, Journal
from cdmd.daemon.budgets import Budgets
from cdmd.daemon.gate import Live
from cdmd.daemon.live import LiveConnectors
from cdmd.intake.tally import Tally
from cdmd.kit.addresses import hosts_in


class Fetched(Protocol):
    """The daemon's parts that this needs (``Parts`` fulfils it)."""

    journal: Journal
    feeds: Feeds

    @property
    def connectors(self) -> LiveConnectors:
        """All of them."""
        ...

    @property
    def budgets(self) -> Budgets:
        """How many requests may go where."""
        ...

    @property
    def tally(self) -> Tally:
        """What the door counts."""
        ...


class Pulling:
    """``cdmd.daemon.dividing.Work`` of fetching. ``leads``: what is sent to us comes to this node."""

    def __init__(self, whole: Fetched, duties: Duties, *, leads: bool) -> None:
        self._whole, self._duties, self._leads = whole, duties, leads
        self._fences: dict[str, int] = {}
        self._begun: dict[str, Sequence[str]] = {}
        self._holders: Mapping[str, Holder] = {}
        self._known: Mapping[str, Sequence[str]] = {}

    # ---- what there is ---------------------------------------------------------------------------------------------------

    @property
    def names(self) -> Collection[str]:
        """Groups, each by a name of its own: one that somebody joins or leaves is another one, with a token of its own."""
        return self._groups().keys()

    @property
    def here(self) -> Collection[str]:
        """See ``Work.here``."""
        return self._fences.keys()

    def _groups(self) -> Mapping[str, Sequence[str]]:
        """As they were before, while connectors are being exchanged."""
        if not self._known or not self._whole.connectors.carrying.locked():
            self._known = grouped(sorted(self._pullers(), key=lambda live: live.config.name))
        return self._known

    def _pullers(self) -> list[Live]:
        return [live for live in self._whole.connectors if live.gate is None]

    def _group_of(self, name: str) -> str:
        return next((group for group, members in self._groups().items() if name in members), name)

    # ---- what this node does ---------------------------------------------------------------------------------------------

    async def begin(self, name: str, token: int) -> None:
        """See ``Work.begin``: from here on nobody who had it before writes, and what those wrote is what it goes on from."""
        if not (members := self._groups().get(name, ())):
            return  # the configuration is another one by now
        await self._whole.feeds.fenced(token).hold(members)
        await self._whole.journal.append([Append(connector=one, fence=token) for one in members])
        await self._whole.connectors.load()
        await self._whole.budgets.load()
        self._whole.tally.uncertain = True
        self._fences[name], self._begun[name] = token, members
        await self._whole.connectors.renew(members)

    async def end(self, name: str) -> None:
        """See ``Work.end``."""
        del self._fences[name]
        await self._whole.connectors.renew(self._begun.pop(name))

    def let_in(self, live: Live) -> bool:
        """See ``Fetching.let_in``."""
        if live.gate is not None or live.puller is None:
            return self._leads
        group = self._group_of(live.config.name)
        token = self._fences.get(group)
        if token is None:
            return False
        live.puller.fence, live.puller.may = token, partial(self._may, group, token)
        return True

    def _may(self, group: str, fence: int) -> bool:
        return self._fences.get(group) == fence and self._duties.holds(PULL, group)

    # ---- what is shown ---------------------------------------------------------------------------------------------------

    def seen(self, holders: Mapping[str, Holder]) -> None:
        """See ``Work.seen``."""
        self._holders = holders

    def said(self, name: str) -> str:
        """See ``Work.said``."""
        return ""

    def node_of(self, live: Live) -> str | None:
        """Who fetches for it."""
        holder = self._holders.get(self._group_of(live.config.name)) if live.gate is None else None
        return None if holder is None else holder.node

    def works_here(self, live: Live) -> bool:
        """Whether this node is the one that takes or fetches it."""
        return self._leads if live.gate is not None else self._group_of(live.config.name) in self._fences

    def elsewhere(self, live: Live) -> str | None:
        """See ``Fetching.elsewhere``."""
        if self.works_here(live):
            return None
        if live.gate is not None:
            return "belongs to the node that leads: give the command there (cdmctl status shows which that is)"
        node = self.node_of(live)
        if node is None:
            return "is fetched by no node now: start one with the role pull (cdmctl status shows them)"
        return f"is fetched by the node {node}: give the command there"


def grouped(lives: Sequence[Live], *, hosts: Callable[[object], Collection[object]] = hosts_in) -> dict[str, list[str]]:
    """Names of connectors that ask the same host, by the name of the one, or of the first and a digest of all."""
    groups: list[tuple[set[object], list[str]]] = []
    for live in lives:
        asked, names = set(hosts(live.config.settings)), [live.config.name]
        for group in [one for one in groups if one[0] & asked]:
            groups.remove(group)
            asked |= group[0]
            names = [*group[1], *names]
        groups.append((asked, sorted(names)))
    return {_called(names): names for names in sorted(names for _, names in groups)}


def _called(names: Sequence[str]) -> str:
    if len(names) == 1:
        return names[0]
    return f"{names[0]}+{blake2b(' '.join(names).encode(), digest_size=8).hexdigest()}"
