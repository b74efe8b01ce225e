"""What waits for targets (``cdmd.contracts.Outbox``): reads over the readers' connections, changes on the writer's thread."""

from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any, Final, TypeAlias, TypeVar

import msgspec
from typing_extensions import override

from cdmd.contracts import AttemptFilter, Outbox
from cdmd.errors import NotDurable
from cdmd.models import (
    Activity,
    Attempt,
    Delivery,
    Micros,
    Outgoing,
    ProfileKey,
    ProfileState,
    Queued,
    Seq,
    Settled,
    TargetNote,
    TargetTotals,
)
from cdmd.store import outgoing
from cdmd.store.looking import winner
from cdmd.store.rows import read_activity, read_attempt, read_queued
from cdmd.store.tables import Reading, Tables, Write

T = TypeVar("T")
Held: TypeAlias = Callable[[Tables, Collection[str]], Collection[str]]
SENT_ELSEWHERE: Final = "another node sends to this target by now"
_MOST_BYTES: Final = 4 * 2**20
_NOTE: Final = msgspec.json.Decoder(TargetNote)
_TOTALS: Final = (
    *("name", "waiting", "bytes", "failed", "delivered", "never", "attempts", "dropped", "full_since", "untold", "fault"),
)


class StoredOutbox(Outbox):
    """``written`` is told, in the loop, the targets for which something was written. ``beside`` writes beside batches."""

    def __init__(self, reading: Reading, write: Write, beside: Write) -> None:
        self._reading, self._write, self._beside = reading, write, beside
        self.written: Callable[[Collection[str]], None] = lambda targets: None

    def wrote(self, made: Outgoing | None) -> None:
        """A batch was written that sends this."""
        if made is not None and made.deliveries:
            self.written({one.target for one in made.deliveries})

    @override
    async def ready(self, target: str, now: Micros, *, limit: int, without: Collection[int] = ()) -> list[Delivery]:
        said = {"target": target, "now": now, "limit": limit, "without": msgspec.json.encode(list(without)).decode()}
        return await self._deliveries("ready", said)

    @override
    async def lane(self, target: str, lane: int, *, limit: int, after: int = 0) -> list[Delivery]:
        return await self._deliveries("lane", {"target": target, "lane": lane, "limit": limit, "after": after})

    @override
    async def waiting(self, target: str, *, limit: int, after: int = 0) -> list[Delivery]:
        return await self._deliveries("waiting", {"target": target, "limit": limit, "after": after})

    async def _deliveries(self, name: str, said: dict[str, Any]) -> list[Delivery]:
        rows = await self._reading.rows(f"outbox.{name}", {**said, "most": _MOST_BYTES})
        return [read_queued(row).delivery for row in rows]

    @override
    async def next_due(self, target: str) -> Micros | None:
        rows = await self._reading.rows("outbox.next_due", (target,))
        return Micros(rows[0][0]) if rows else None

    @override
    async def put(self, made: Outgoing, *, now: Micros) -> int:
        kept = await self._write(partial(_put, made, now))
        self.wrote(made)
        return kept

    @override
    async def settle(self, settled: Sequence[Settled]) -> None:
        await self._beside(partial(_settle, settled))

    @override
    async def totals(self) -> list[TargetTotals]:
        return [TargetTotals(**dict(zip(_TOTALS, row, strict=True))) for row in await self._reading.rows("outbox.targets")]

    @override
    async def notes(self) -> dict[str, TargetNote]:
        return {name: _NOTE.decode(note) for name, note in await self._reading.rows("outbox.target_notes")}

    @override
    async def note(self, target: str, note: TargetNote) -> None:
        await self._write(partial(_note, target, msgspec.json.encode(note).decode()))

    @override
    async def listed(self, *, target: str | None, failed: bool | None, limit: int) -> list[Queued]:
        said = {"target": target, "limit": limit}
        found: list[Queued] = []
        for name, wanted in (("listed_failed", failed is not False), ("listed_waiting", failed is not True)):
            if wanted:
                found += [read_queued(row) for row in await self._reading.rows(f"outbox.{name}", said)]
        return sorted(found, key=lambda one: one.delivery.n)[:limit]

    @override
    async def find(self, first: str, last: str) -> list[Queued]:
        return [read_queued(row) for row in await self._reading.rows("outbox.queued_between", (first, last))]

    @override
    async def retry(self, *, target: str | None, id: str | None, limit: int, now: Micros) -> int:
        count = await self._write(partial(outgoing.retry, target=target, id=id, limit=limit, now=now))
        self.written({target} if target is not None else {one.name for one in await self.totals()})
        return count

    @override
    async def attempts(self, which: AttemptFilter) -> list[Attempt]:
        said = {"target": which.target, "outcome": which.outcome, "limit": which.limit}
        if which.ids is None:
            rows = await self._reading.rows("outbox.attempts", said)
        else:
            first, last = which.ids
            rows = await self._reading.rows("outbox.attempts_between", {**said, "first": first, "last": last})
        return [read_attempt(row) for row in rows]

    @override
    async def applied(self, after: Seq, *, limit: int) -> list[tuple[Activity, ProfileState | None]]:
        found = [read_activity(row) for row in await self._reading.rows("outbox.activities_after", (after, limit))]
        states: dict[ProfileKey, ProfileState] = {}
        for key in sorted({one.profile for one in found if one.profile is not None}):
            owner = await winner(self._reading, key)
            states.update({} if owner is None else {key: owner[1]})
        return [(one, None if one.profile is None else states.get(one.profile)) for one in found]

    @override
    async def expire(self, *, before: Micros) -> int:
        return await self._all(lambda tables: outgoing.expire(tables, before))

    @override
    async def forget(self, target: str) -> int:
        return await self._all(lambda tables: outgoing.forget(tables, target))

    async def _all(self, some: Callable[[Tables], int]) -> int:
        """A slice at a time, so that no batch waits for long."""
        total = 0
        while went := await self._write(some):
            total += went
        return total


class SharedOutbox(StoredOutbox):
    """Where several nodes send: ``held`` says, within a transaction, which of some targets are this one's until its end."""

    def __init__(self, reading: Reading, write: Write, beside: Write, *, held: Held) -> None:
        super().__init__(reading, write, beside)
        self._held = held

    @override
    async def settle(self, settled: Sequence[Settled]) -> None:
        await self._beside(partial(_settle, settled, held=self._held))

    @override
    async def note(self, target: str, note: TargetNote) -> None:
        await self._write(partial(_note, target, msgspec.json.encode(note).decode(), held=self._held))


def _put(made: Outgoing, now: Micros, tables: Tables) -> int:
    with tables.transaction():
        return outgoing.write_outgoing(tables, made, now=now)


def _note(target: str, note: str, tables: Tables, *, held: Held | None = None) -> None:
    with tables.transaction():
        if held is not None and target not in held(tables, [target]):
            raise NotDurable(SENT_ELSEWHERE)
        tables.run("outbox.note_target", (target, note))


def _settle(settled: Sequence[Settled], tables: Tables, *, held: Held | None = None) -> None:
    outgoing.settle(tables, settled, held=held)
