"""A bounded memory of recent ids that keeps obvious repeats out of the journal.

An id enters only after its commit; a repeat of one in flight waits for that commit and shares its fate. What it does not
remember, the store's exact ``seen`` finds. The same id with other content is not a repeat here: the store counts it.
"""

import asyncio
from collections.abc import Iterable

from cdmd.models import Digest, Seq


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
    """Digests of (source, id) with a digest of their content, at most ``size`` of them (oldest half forgotten at once)."""

    def __init__(self, *, size: int) -> None:
        self._half = max(1, size // 2)
        self._young: dict[Digest, int] = {}
        self._old: dict[Digest, int] = {}
        self._flying: dict[Digest, tuple[int, Flight]] = {}

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def met(self, digest: Digest, content: int) -> Flight | bool:
        """Whether the same occurrence with the same content is durable already; the commit that carries it just now."""
        known = self._young.get(digest)
        if known is None:
            known = self._old.get(digest)
        if known == content:
            return True
        flying = self._flying.get(digest)
        return flying[1] if flying is not None and flying[0] == content else False

    def depart(self, occurrences: Iterable[tuple[Digest, int]], flight: Flight) -> None:
        """These are being committed."""
        for digest, content in occurrences:
            self._flying.setdefault(digest, (content, flight))

    def land(self, occurrences: Iterable[tuple[Digest, int]], flight: Flight, seq: Seq) -> None:
        """Their commit succeeded."""
        for digest, content in occurrences:
            self._arrive(digest, flight)
            if len(self._young) >= self._half:
                self._young, self._old = {}, self._young
            self._young[digest] = content
        flight.land(seq)

    def crash(self, occurrences: Iterable[tuple[Digest, int]], flight: Flight, error: BaseException) -> None:
        """Their commit failed: whoever shares the fate fails too."""
        for digest, _ in occurrences:
            self._arrive(digest, flight)
        flight.crash(error)

    def _arrive(self, digest: Digest, flight: Flight) -> None:
        flying = self._flying.get(digest)
        if flying is not None and flying[1] is flight:
            del self._flying[digest]
