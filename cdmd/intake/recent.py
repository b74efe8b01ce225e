"""A bounded memory of recent ids that keeps obvious repeats out of the journal.

An id enters only after its commit; a repeat of one in flight waits for that commit and shares its fate. What it does not
remember, the store's exact ``seen`` finds. The same id with other content is not a repeat here: the store counts it.
"""

import asyncio
from collections.abc import Iterable

from cdmd.models import Digest, Seq


class Recent:
    """Digests of (source, id) with a digest of their content, at most ``size`` of them (oldest half forgotten at once)."""

    def __init__(self, *, size: int) -> None:
        self._half = max(1, size // 2)
        self._young: dict[Digest, int] = {}
        self._old: dict[Digest, int] = {}
        self._flying: dict[Digest, tuple[int, asyncio.Future[Seq]]] = {}

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def holds(self, digest: Digest, content: int) -> bool:
        """Whether the same occurrence with the same content is durable already."""
        return self._young.get(digest, self._old.get(digest)) == content

    def flight(self, digest: Digest, content: int) -> "asyncio.Future[Seq] | None":
        """The commit that carries the same occurrence right now, if there is one."""
        flying = self._flying.get(digest)
        return flying[1] if flying is not None and flying[0] == content else None

    def depart(self, occurrences: Iterable[tuple[Digest, int]]) -> "asyncio.Future[Seq]":
        """These are being committed; the future is for those who bring the same meanwhile."""
        fate: asyncio.Future[Seq] = asyncio.get_running_loop().create_future()
        for digest, content in occurrences:
            self._flying.setdefault(digest, (content, fate))
        return fate

    def land(self, occurrences: Iterable[tuple[Digest, int]], fate: "asyncio.Future[Seq]", seq: Seq) -> None:
        """Their commit succeeded."""
        for digest, content in occurrences:
            self._arrive(digest, fate)
            if len(self._young) >= self._half:
                self._young, self._old = {}, self._young
            self._young[digest] = content
        fate.set_result(seq)

    def crash(self, occurrences: Iterable[tuple[Digest, int]], fate: "asyncio.Future[Seq]", error: BaseException) -> None:
        """Their commit failed: whoever shares the fate fails too."""
        for digest, _ in occurrences:
            self._arrive(digest, fate)
        fate.set_exception(error)
        fate.exception()  # nobody may be waiting; that is no mistake

    def _arrive(self, digest: Digest, fate: "asyncio.Future[Seq]") -> None:
        flying = self._flying.get(digest)
        if flying is not None and flying[1] is fate:
            del self._flying[digest]
