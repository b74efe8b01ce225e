"""A hub for ``cdmctl tail``: what passes by, for whoever looks. Costs nothing while nobody does.

Lossy by design: a subscriber that is slower than the events misses some, and is told how many. Not for: delivery.
"""

from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Final

import anyio
import msgspec

from cdmd.models import Event

_BUFFER: Final = 1000


class Passing(msgspec.Struct, frozen=True):
    """An event that passed a stage (``cdmd.control.protocol.STAGES``), and a word about it.

    ``lost`` is how many the subscriber missed right before it.
    """

    stage: str
    event: Event
    detail: str = ""
    lost: int = 0


class Subscriber:
    """An iterator over what passes from now on; ``dropped`` counts what its buffer had no place for."""

    def __init__(self, buffer: int) -> None:
        self._waiting: deque[Passing] = deque()
        self._buffer = buffer
        self._filled = anyio.Event()
        self._lost = 0
        self._closed = False
        self.dropped = 0

    def offer(self, passing: Passing) -> None:
        """Keep it unless the buffer is full."""
        if len(self._waiting) >= self._buffer:
            self.dropped += 1
            self._lost += 1
            return
        if self._lost:
            passing, self._lost = Passing(passing.stage, passing.event, passing.detail, self._lost), 0
        self._waiting.append(passing)
        self._filled.set()

    def take_dropped(self) -> int:
        """How many were dropped since this was asked last."""
        dropped, self.dropped = self.dropped, 0
        return dropped

    async def __aiter__(self) -> AsyncIterator[Passing]:
        while True:
            while self._waiting:
                yield self._waiting.popleft()
            if self._closed:
                return
            self._filled = anyio.Event()
            await self._filled.wait()

    def close(self) -> None:
        """End after what is waiting."""
        self._closed = True
        self._filled.set()


class Tail:
    """Hands what is published to every subscriber."""

    def __init__(self) -> None:
        self._subscribers: list[Subscriber] = []

    @property
    def watched(self) -> bool:
        """Whether anybody looks."""
        return bool(self._subscribers)

    def publish(self, stage: str, event: Event, detail: str = "") -> None:
        """Show that ``event`` passed ``stage``; never waits."""
        if self._subscribers:
            passing = Passing(stage, event, detail)
            for subscriber in self._subscribers:
                subscriber.offer(passing)

    def close(self) -> None:
        """Let everybody who looks now come to an end."""
        for subscriber in self._subscribers:
            subscriber.close()

    @contextmanager
    def subscribe(self, *, buffer: int = _BUFFER) -> Iterator[Subscriber]:
        """Look from now until the context is left; ``buffer`` is in events."""
        subscriber = Subscriber(buffer)
        self._subscribers.append(subscriber)
        try:
            yield subscriber
        finally:
            self._subscribers.remove(subscriber)
