"""``Journal`` on NATS JetStream for the node that writes it, also for what other nodes bring.

Not here: the journal itself (``journal``), and how others ask (``forwarding``).
"""

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import anyio
from typing_extensions import override

from cdmd.cluster.connection import Link
from cdmd.cluster.fences import OWNER, Fences
from cdmd.cluster.forwarding import Answers, subject_of
from cdmd.cluster.handing import Serving
from cdmd.cluster.heads import AGAIN
from cdmd.cluster.journal import JetStreamJournal
from cdmd.cluster.lanes import LaneReader, forget_others
from cdmd.cluster.place import Place
from cdmd.contracts import Answering, Append, Clock, Divided, Take
from cdmd.models import Journaled, Seq
from cdmd.store.tail import Tail


class LeadingJournal(JetStreamJournal, Answering, Divided):
    """Refuses what comes from a node that fetches no more for its connector, its own included."""

    def __init__(self, link: Link, place: Place, *, writer: str, clock: Clock, mark_path: Path, tail: Tail) -> None:
        super().__init__(link, place, writer=writer, clock=clock, mark_path=mark_path, tail=tail)
        self._subject, self._fences, self._fencing = subject_of(place.name), Fences(), anyio.Lock()
        self._reader = LaneReader(self._streams.entries, self._entries, known=self._reached)

    @override
    async def _begin(self, new_id: Callable[[], str]) -> bool:
        if not await super()._begin(new_id):
            return False
        self._fences.load({key: value async for key, value in self.scan(OWNER, b"")})
        await forget_others(self._streams.entries, self._division.number)
        return True

    @property
    @override
    def readable(self) -> bool:
        return self._link.connected

    @override
    async def append(self, appends: Sequence[Append]) -> Seq:
        async with self._fencing:
            first = await super().append(self._fences.guarded(appends))
            self._fences.passed(appends)
        return first

    @override
    async def read_lanes(
        self, lanes: Collection[int], number: int, after: Seq, *, limit: int
    ) -> tuple[list[Journaled], Seq] | None:
        """What is in memory is all lanes'."""
        if held := self._tail.read(after, limit):
            await self._reader.rest(lanes, number)
            return held, held[-1].seq
        return await self._reader.read(lanes, number, after, limit=limit)

    @override
    async def answer(self, take: Take, public: Any = None) -> None:
        serve = None if public is None else Serving(public, most=self._link.max_payload).serve
        answers = Answers(take, serve)

        async def answered(message: bytes) -> bytes | None:
            said = await answers.answer(message)
            return said if self._leads() else None  # whoever leads by now was asked, too

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._tell_again)
            await self._link.answer(self._subject, answered)
            tasks.cancel_scope.cancel()

    async def _tell_again(self) -> None:
        while True:
            await anyio.sleep(AGAIN)
            if self._leads():
                await self._tell()

    def _leads(self) -> bool:
        """Whether nobody else can have opened it yet, or has as far as is known."""
        return self._held() and not (self._lane.ousted or self._log.ousted)
