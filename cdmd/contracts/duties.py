"""What one node at a time does, of several daemons on one journal: fetching for a connector, sending to a target."""

from collections.abc import Collection, Mapping, Sequence
from typing import Final, Protocol, runtime_checkable

import msgspec

PULL: Final = "pull"
"""The duty of fetching for a connector, and the role of who does."""
DELIVER: Final = "deliver"
"""The duty of sending to a target, and the role of who does."""


class Holder(msgspec.Struct, frozen=True):
    """Which node has a duty (None: nobody now), and what it says of how that goes."""

    node: str | None
    said: str = ""


class Part(msgspec.Struct, frozen=True):
    """Duties of one kind as a node finds them.

    ``mine`` are its own, each with its token; ``surplus`` those of them that are too many, ``free`` those that it may take.
    ``holders``: all of them with who has them.
    """

    mine: Mapping[str, int]
    surplus: Sequence[str]
    free: Sequence[str]
    holders: Mapping[str, Holder]


@runtime_checkable
class Duties(Protocol):
    """A store that several nodes share (``Lanes`` beside).

    Promise: a duty is one node's at a time; each of its holders has a greater token than all before, and what is written of it
    by one that is not its holder any more is refused or left out. Who is not heard of for some seconds loses all of its own.
    Raise ``NotDurable``.
    """

    async def part(self, kind: str, names: Collection[str]) -> Part:
        """How these are spread over the nodes that have the role; those that nobody is heard of with are free."""
        ...

    async def take(self, kind: str, name: str) -> int | None:
        """Have one that is free, with a new token; None where another node was quicker."""
        ...

    async def let_go(self, kind: str, names: Collection[str]) -> None:
        """Let others have these: nothing of them may be under way here."""
        ...

    async def say(self, kind: str, name: str, said: str) -> None:
        """How it goes, for all nodes to show. Nothing happens where it is this node's no more."""
        ...

    def holds(self, kind: str, name: str) -> bool:
        """Whether it is ours by our own steady clock, with a margin: to be asked right before what only its holder may do."""
        ...
