"""A request on its way through the edge, from its head to its answer. Not here: what is done with it (``edge``)."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from cdmd.errors import Overloaded
from cdmd.intake.routes import Mounted
from cdmd.kit.exchanges import Exchange
from cdmd.models import Answer, Emission, Verdict


class Answering(Protocol):
    """The edge, as a request needs it."""

    def settle(self, visit: "Visit", verdicts: list[Verdict] | None, error: Overloaded | None) -> None:
        """What it wanted on the disk is there, or is not: answer."""
        ...

    def give_up(self, visit: "Visit") -> None:
        """Its time is up."""
        ...


class Visit:
    """A request on its way through the edge: for whom, what it holds of the bytes in flight, and what waits for its commit."""

    __slots__ = (
        "_edge",
        "answer",
        "due",
        "ended",
        "exchange",
        "gzipped",
        "mounted",
        "named",
        "pieces",
        "plain",
        "size",
        "wanted",
    )

    wanted: Emission
    """What its connector wants on the disk; nothing there where it only answers, nor once that is on its way."""

    answer: Callable[[Sequence[Verdict]], Answer]
    """What makes its answer of the verdicts; as ``wanted``."""

    plain: Callable[[], bytes]
    """Gives the body of one that is ``gzipped``, or raises why there is none."""

    def __init__(self, edge: Answering, exchange: Exchange, mounted: Mounted, named: Mapping[str, str], gzipped: bool) -> None:
        self._edge, self.exchange, self.mounted, self.named, self.gzipped = edge, exchange, mounted, named, gzipped
        self.pieces: list[bytes] = []
        self.size = self.due = 0
        self.ended = False

    def settle(self, verdicts: list[Verdict] | None, error: Overloaded | None) -> None:
        """What it wanted is durable, or is not."""
        if not self.ended:
            self._edge.settle(self, verdicts, error)

    def expire(self) -> None:
        """The answer took too long."""
        self._edge.give_up(self)
