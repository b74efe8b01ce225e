"""A bounded memory of recent ids that keeps obvious repeats out of the journal.

An id enters only after its commit; a repeat of one in flight waits for that commit and shares its fate. What it does not
remember, the store's exact ``seen`` finds. The same id with other content is not a repeat here: the store counts it. Both are
known by Python's own keyed hash, two of 64 bits: they need to mean something as long as the process lives.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, TypeAlias

import msgspec

from cdmd.models import Event, Seq

Name: TypeAlias = int
"""What (source, id) is known by while the process lives."""

Occurrence: TypeAlias = tuple[Name, int]
"""With what it said."""

_ENCODE = msgspec.msgpack.Encoder().encode


def name_of(source: str, id: str) -> Name:  # noqa: A002 - an event's own word
    """What an occurrence is known by."""
    return hash((source, id))


def content_of(event: Event, *, adjusted: bool) -> int:
    """What all that an event says is known by, whenever it was received; without its time where that was ``adjusted``."""
    said: Any = (event.type, None if adjusted else event.time, event.identifiers, event.traits, event.data)
    return hash(_ENCODE(said))


class Flight:
    """A commit under way, for whoever brings the same meanwhile; most have nobody."""

    __slots__ = ("_fate",)

    def __init__(self) -> None:
        self._fate: asyncio.Future[Seq] | None = None

    def fate(self) -> "asyncio.Future[Seq]":
        """What becomes of it; to be asked while it is under way."""
        if self._fate is None:
            self._fate = asyncio.get_running_loop().create_future()
        return self._fate

    def land(self, seq: Seq) -> None:
        """It is durable."""
        if self._fate is not None:
            self._fate.set_result(seq)

    def crash(self, error: BaseException) -> None:
        """It is not."""
        if self._fate is not None:
            self._fate.set_exception(error)
            self._fate.exception()  # nobody may be waiting any more; that is no mistake


class Recent:
    """Names of occurrences with what they said, at most ``size`` of them (oldest half forgotten at once)."""

    def __init__(self, *, size: int) -> None:
        self._half = max(1, size // 2)
        self._young: dict[Name, int] = {}
        self._old: dict[Name, int] = {}
        self._flying: dict[Name, tuple[int, Flight]] = {}

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def depart(self, name: Name, content: int, flight: Flight, *, brief: bool = False) -> Flight | bool:
        """True where the same occurrence with the same content is durable already, or the commit that carries it just now.

        Else False, and ``flight`` carries it from now on; so it is where it is durable, but was named only ``brief``ly.
        """
        known = self._young.get(name)
        if known is None:
            known = self._old.get(name)
        if known == content and not brief:
            return True
        flying = self._flying.get(name)
        if flying is not None and flying[0] == content:
            return flying[1]
        if flying is None or flying[1] is flight:
            self._flying[name] = content, flight
        return False

    def land(self, occurrences: Sequence[Occurrence], flight: Flight, seq: Seq) -> None:
        """Their commit succeeded."""
        self.recall(occurrences, flight)
        young, half = self._young, self._half
        for name, content in occurrences:
            if len(young) >= half:
                self._old, young = young, {}
            young[name] = content
        self._young = young
        flight.land(seq)

    def crash(self, occurrences: Sequence[Occurrence], flight: Flight, error: BaseException) -> None:
        """Their commit failed: whoever shares the fate fails too."""
        self.recall(occurrences, flight)
        flight.crash(error)

    def recall(self, occurrences: Sequence[Occurrence], flight: Flight) -> None:
        """They are not, or no longer, under way."""
        flying = self._flying
        for name, _ in occurrences:
            known = flying.get(name)
            if known is not None and known[1] is flight:
                del flying[name]
