"""Connectors that fetch, where several nodes divide them among themselves: which this one has, and who has the others.

Those that ask the same host go together: their limits are counted by one node. What is sent to us belongs to the node that
leads, with what it fetches because of it. Not here: whose they are (``dividing``), and how one is started (``live``).
"""

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from hashlib import blake2b
from typing import Protocol

from typing_extensions import override

from cdmd.config.together import grouped
from cdmd.contracts import PULL, Append, Duties, Feeds, Holder, Journal
from cdmd.daemon.budgets import Budgets
from cdmd.daemon.gate import Fetching, Live
from cdmd.daemon.live import LiveConnectors
from cdmd.errors import CdmdError
from cdmd.intake.source import IntakeSource
from cdmd.intake.tally import Tally


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
    """``cdmd.daemon.dividing.Work`` of fetching, of one ``kind``.

    Of the kind ``PULL`` is what any node with that role may have. What asks a host that is also asked because of what is sent
    to us goes with that to the node that leads (``INGEST``): one node counts how many requests went there.
    """

    def __init__(self, whole: Fetched, duties: Duties, kind: str = PULL) -> None:
        self._whole, self._duties, self._kind = whole, duties, kind
        self._fences: dict[str, int] = {}
        self._begun: dict[str, Sequence[str]] = {}
        self._holders: Mapping[str, Holder] = {}
        self._known: Mapping[str, Sequence[str]] = {}
        self._known_of: Sequence[Live] | None = None

    # ---- what there is ---------------------------------------------------------------------------------------------------

    @property
    def names(self) -> Collection[str]:
        """Groups, each by a name of its own: one that somebody joins or leaves is another one, with a token of its own."""
        return self._groups().keys()

    @property
    def here(self) -> Collection[str]:
        """See ``Work.here``."""
        return self._fences.keys()

    @property
    def followed(self) -> Collection[str]:
        """See ``Work.followed``."""
        overtaken = {live.config.name for live in self._whole.connectors if live.puller is not None and live.puller.followed}
        return [name for name, members in self._begun.items() if overtaken.intersection(members)]

    def _groups(self) -> Mapping[str, Sequence[str]]:
        """As they were before, while connectors are being exchanged."""
        lives = list(self._whole.connectors)
        if lives != self._known_of and (self._known_of is None or not self._whole.connectors.changing.busy):
            self._known, self._known_of = self._grouped(lives), lives
        return self._known

    def _grouped(self, lives: Sequence[Live]) -> Mapping[str, Sequence[str]]:
        fetching = {live.config.name for live in lives if live.gate is None}
        groups = list[list[str]]()
        for names in grouped(live.config for live in lives):
            fetch = [name for name in names if name in fetching]
            if fetch and (self._kind == PULL) == (len(fetch) == len(names)):
                groups.append(fetch)
        return {_called(names): names for names in groups}

    def group_of(self, name: str) -> str | None:
        """The group in which the connector of that name is; None where it is of the other kind."""
        return next((group for group, members in self._groups().items() if name in members), None)

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
        try:
            await self._whole.connectors.renew(members)
        except CdmdError:
            del self._fences[name], self._begun[name]  # what is not here is begun again
            raise

    async def end(self, name: str) -> None:
        """See ``Work.end``."""
        del self._fences[name]
        await self._whole.connectors.renew(self._begun.pop(name))

    def let_in(self, live: Live, puller: IntakeSource) -> bool:
        """See ``Fetching.let_in``."""
        group = self.group_of(live.config.name)
        token = None if group is None else self._fences.get(group)
        if group is None or token is None:
            return False
        puller.fence, puller.may = token, partial(self._may, group, token)
        return True

    def _may(self, group: str, fence: int) -> bool:
        return self._fences.get(group) == fence and self._duties.holds(self._kind, group)

    # ---- what is shown ---------------------------------------------------------------------------------------------------

    def seen(self, holders: Mapping[str, Holder]) -> None:
        """See ``Work.seen``."""
        self._holders = holders

    def said(self, name: str) -> str:
        """See ``Work.said``."""
        return ""

    def holder(self, group: str) -> Holder | None:
        """Who has it, as of the last look."""
        return self._holders.get(group)


class Fetches(Fetching):
    """Whose each connector is, of both kinds. ``leads``: what is sent to us comes to this node."""

    def __init__(self, pulling: Pulling, led: Pulling, *, leads: bool) -> None:
        self._both, self._leads = (pulling, led), leads

    @override
    def let_in(self, live: Live) -> bool:
        if live.gate is not None or live.puller is None:
            return self._leads
        return any(kind.let_in(live, live.puller) for kind in self._both)

    @override
    def node_of(self, live: Live) -> str | None:
        if live.gate is not None:
            return None
        holders = [kind.holder(group) for kind in self._both if (group := kind.group_of(live.config.name)) is not None]
        return next((holder.node for holder in holders if holder is not None), None)

    @override
    def works_here(self, live: Live) -> bool:
        if live.gate is not None:
            return self._leads
        return any(kind.group_of(live.config.name) in kind.here for kind in self._both)

    @override
    def elsewhere(self, live: Live) -> str | None:
        if self.works_here(live):
            return None
        if live.gate is not None:
            return "belongs to the node that leads: give the command there (cdmctl status shows which that is)"
        node = self.node_of(live)
        if node is None:
            return "is fetched by no node now: start one with the role pull (cdmctl status shows them)"
        return f"is fetched by the node {node}: give the command there"


def _called(names: Sequence[str]) -> str:
    """By the name of the one, or of the first and a digest of all."""
    if len(names) == 1:
        return names[0]
    return f"{names[0]}+{blake2b(' '.join(names).encode(), digest_size=8).hexdigest()}"
