"""What one of several daemons asks another one to do."""

from typing import Protocol

import msgspec


class Errand(msgspec.Struct, frozen=True, kw_only=True):
    """How far one is: ``answer`` once it is done, ``begun`` once somebody does it, ``there`` while that one is."""

    answer: bytes | None
    begun: bool
    there: bool


class Errands(Protocol):
    """Between nodes of one store. What is asked and answered is bytes that nobody else has to understand.

    Promise: an errand is taken at most once, and by the one that it is for. Raise ``NotDurable``.
    """

    async def ask(self, node: str | None, asked: bytes) -> int | None:
        """Leave one for the node of that name, by default the one that leads; None where there is no such node."""
        ...

    async def look(self, number: int) -> Errand | None:
        """How far it is; None where it is not there any more."""
        ...

    async def withdraw(self, number: int) -> bool:
        """Whether nobody has begun it, and nobody will."""
        ...

    async def forget(self, number: int) -> None:
        """Its answer was read, or is not waited for."""
        ...

    async def waiting(self) -> bool:
        """Whether there is any for this node."""
        ...

    async def take(self) -> list[tuple[int, bytes]]:
        """All that there are for this node, each with its number: they are begun."""
        ...

    async def answer(self, number: int, answer: bytes) -> None:
        """What came of it."""
        ...
