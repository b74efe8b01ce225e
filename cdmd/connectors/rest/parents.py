"""What a child stream still has to ask about: a row of the state for each new record of its parent, gone with its answer.

One parent that fails does not hold up the others: it is tried less and less, and set aside as a dead letter once it failed five
times while others did not. A row that is written while its parent is being asked about is another one, so it stays.
"""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

import msgspec

from cdmd.connectors.durable import durable
from cdmd.connectors.rest.getting import Means
from cdmd.connectors.rest.looks import FAILED, Look
from cdmd.connectors.rest.positions import Place
from cdmd.connectors.rest.streams import Stream
from cdmd.connectors.rest.walking import About, Walk
from cdmd.connectors.streaks import EVERYBODYS
from cdmd.contracts import Source
from cdmd.models import Fault, Record

TRIES: Final = 5
_AT_ONCE: Final = 100
_MOST_FAILING: Final = 10_000


class Worked(NamedTuple):
    """What a round was like: how many parents were due, and the look that ended it because the others would end like it."""

    asked: int
    stopped: Look | None


class _Due(NamedTuple):
    """A parent's record to ask about: its digest, its rows, the generation of a row that comes meanwhile, its fields."""

    parent: bytes
    rows: list[bytes]
    following: int
    fields: Mapping[str, Any]


class _Failing(NamedTuple):
    """A parent that failed: how often, when it is tried again, since when, and how many others had succeeded before."""

    tries: int
    due: datetime
    since: datetime
    before: int
    trouble: str


class Parents:
    """Works off the rows of one child. ``opened`` returns when it is allowed to ask."""

    def __init__(self, stream: Stream, source: Source, means: Means, *, opened: Callable[[], Awaitable[object]]) -> None:
        self._stream, self._source, self._means, self._opened = stream, source, means, opened
        self._failing: dict[bytes, _Failing] = {}
        self._succeeded = 0

    @property
    def due(self) -> datetime | None:
        """When the next one that failed is tried again; None where none did."""
        return min((one.due for one in self._failing.values()), default=None)

    @property
    def since(self) -> datetime | None:
        """Since when one waits that failed."""
        return min((one.since for one in self._failing.values()), default=None)

    @property
    def trouble(self) -> str | None:
        """What fails, in words for ``status``."""
        count = len(self._failing)
        if count == 0:
            return None
        return f"{count} of its parents cannot be asked about: {next(iter(self._failing.values())).trouble}"

    async def work(self) -> Worked:
        """Ask about a part of what is due, one after the other, until what fails is not the parent's own."""
        found, alike = await self._found(), 0
        for due in found:
            await self._opened()
            look = await self._ask(due)
            if look.trouble is None:
                alike = 0
                self._succeeded += 1
                self._failing.pop(due.parent, None)
                continue
            if look.denied and not look.perhaps_this:
                return Worked(len(found), look)
            alike += await self._failed(due, look)
            if alike == EVERYBODYS:
                return Worked(len(found), look)
        return Worked(len(found), None)

    async def _ask(self, due: _Due) -> Look:
        """The rows go with the answer, but not one that is written meanwhile."""
        under_way = self._stream.under_way
        under_way[due.parent] = due.following
        try:
            about = About(due.fields, dict.fromkeys(due.rows))
            return await Walk(self._stream, self._source, self._means, place=Place(), about=about).look()
        finally:
            del under_way[due.parent]

    async def _found(self) -> list[_Due]:
        """Those that are due; those that failed come last, so that they hold up no other."""
        now, fresh, again = self._source.clock.now(), dict[bytes, _Due](), dict[bytes, _Due]()
        async for row, value in self._source.scan(self._stream.due):
            parent, generation = self._stream.marked(row)
            failing = self._failing.get(parent)
            if failing is not None and failing.due > now:
                continue
            into = fresh if failing is None else again
            known = into.get(parent)
            if known is not None:
                known.rows.append(row)
                into[parent] = known._replace(following=max(known.following, generation + 1))
            elif len(fresh) >= _AT_ONCE:
                break
            elif len(into) < _AT_ONCE:
                into[parent] = _Due(parent, [row], generation + 1, msgspec.msgpack.decode(value))
        return [*fresh.values(), *again.values()][:_AT_ONCE]

    async def _failed(self, due: _Due, look: Look) -> bool:
        """Whether nothing else succeeded since it failed first, so that it may not be its own trouble."""
        known, trouble = self._failing.pop(due.parent, None), look.trouble or ""
        tries = 1 if known is None else known.tries + 1
        before = self._succeeded if known is None else known.before
        if tries >= TRIES and self._succeeded > before:
            await self._set_aside(due, trouble)
        elif len(self._failing) < _MOST_FAILING:
            at = look.ended + timedelta(seconds=FAILED[min(tries, len(FAILED)) - 1])
            self._failing[due.parent] = _Failing(tries, at, look.began if known is None else known.since, before, trouble)
        return self._succeeded == before

    async def _set_aside(self, due: _Due, trouble: str) -> None:
        fault = Fault("parent_failed", f"{TRIES} tries to ask about this record of its parent failed; the last one: {trouble}")
        name = f"{self._stream.name}:{due.parent.hex()}"
        record = Record(
            value=dict(due.fields),
            received=self._source.clock.now(),
            fallback_id=name,
            id=name,
            stream=self._stream.name,
            fault=fault,
        )
        await durable(self._source, [record], dict.fromkeys(due.rows))
