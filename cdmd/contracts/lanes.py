"""Several daemons that apply one journal side by side, each its lanes of it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, runtime_checkable

import msgspec

from cdmd.contracts.errands import Errands
from cdmd.models import Seq


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """One of them: what it is called, does, and has. One that ``leads`` writes the journal, and what is no batch.

    ``silent``: seconds since something was heard of it. ``report`` is what it said of itself last, empty where nothing.
    ``alike``: its settings are those in force. One that is ``lost`` was silent for too long and had not said that it stops.
    """

    name: str
    roles: Sequence[str]
    lanes: Sequence[int]
    leads: bool
    silent: float = 0.0
    report: str = ""
    alike: bool = True
    lost: bool = False


@runtime_checkable
class Lanes(Protocol):
    """A store that several write (``Store`` beside).

    Promise: a lane is applied by one node at a time, and what that one did of it stands in the position that the next one goes
    on from. Who is not heard of for some seconds loses its lanes, and whatever it writes after that is refused. Nobody waits
    for ever for another, and what several do comes to what it would come to one after the other. Raise ``NotDurable``.
    """

    errands: Errands

    @property
    def name(self) -> str:
        """What this node is called."""
        ...

    @property
    def own(self) -> Seq:
        """Up to where all lanes of this node are applied."""
        ...

    @property
    def undivided(self) -> Seq:
        """Up to where the journal reached when the store was divided: all until there is for the first lane.

        Nobody has another one before that is applied, so that a customer's events keep their order.
        """
        ...

    async def look(self) -> bool:
        """Say that this node is there; whether ``balance`` would change what it does. To be called every second or so."""
        ...

    async def balance(self) -> Mapping[int, Seq]:
        """Give up or take lanes, so that all nodes have their part: those of this one, each with up to where it is applied.

        Nothing of this node may be on its way into the store then.
        """
        ...

    async def nodes(self) -> list[Node]:
        """Who is at work, and who was lost of late."""
        ...

    async def report(self, said: str) -> None:
        """Let all nodes know that of this one."""
        ...

    def rests(self, *, resting: bool) -> None:
        """Whether this node can neither apply nor fetch, though it is there: then that is for others, from the next look on."""
        ...

    def settled(self, settings: str) -> None:
        """Which settings this node goes by, as a digest: it has no part while the one that leads has noted another one.

        That is what it notes as ``settings`` (``Store.note``).
        """
        ...

    async def reached(self) -> Mapping[int, Seq]:
        """Up to where each lane is applied."""
        ...

    def tells(self, suppressions: Callable[[], str]) -> None:
        """Of the one that leads: what says which list is in force. With whatever it writes next the others know it, too."""
        ...

    def goes_by(self, suppressions: str | None) -> None:
        """Which list of suppressed people this node goes by, None: its own. Batches are refused while another is in force."""
        ...
