"""What a child stream still has to ask about: a row of the state for each new record of its parent, gone with its answer.

One parent that fails does not hold up the others: it is tried less and less, and set aside as a dead letter once it failed five
times while others did not.
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
from cdmd.contracts import Source
from cdmd.models import Fault, Record

TRIES: Final = 5
_AT_ONCE: Final = 100
_MOST_FAILING: Final = 10_000


class Worked(NamedTuple):
    """What a round was like: how many parents were asked about, how many of them well, and one that failed."""

    asked: int
    succeeded: int
    failed: Look | None


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
        """Ask about a part of what is due, one after the other."""
        succeeded, failed, rows = 0, None, await self._rows()
        for row, fields in rows:
            await self._opened()
            walk = Walk(self._stream, self._source, self._means, place=Place(), about=About(fields, {row: None}))
            look = await walk.look()
            if look.trouble is None:
                succeeded += 1
                self._succeeded += 1
                self._failing.pop(row, None)
                continue
            failed = look
            if look.denied:
                break
            await self._failed(row, fields, look)
        return Worked(len(rows), succeeded, failed)

    async def _rows(self) -> list[tuple[bytes, Mapping[str, Any]]]:
        now, found = self._source.clock.now(), list[tuple[bytes, Mapping[str, Any]]]()
        async for row, value in self._source.scan(self._stream.due):
            failing = self._failing.get(row)
            if failing is None or failing.due <= now:
                found.append((row, msgspec.msgpack.decode(value)))
                if len(found) >= _AT_ONCE:
                    break
        return found

    async def _failed(self, row: bytes, fields: Mapping[str, Any], look: Look) -> None:
        known, trouble = self._failing.pop(row, None), look.trouble or ""
        tries = 1 if known is None else known.tries + 1
        before = self._succeeded if known is None else known.before
        if tries >= TRIES and self._succeeded > before:
            await self._set_aside(row, fields, trouble)
        elif len(self._failing) < _MOST_FAILING:
            due = look.ended + timedelta(seconds=FAILED[min(tries, len(FAILED)) - 1])
            self._failing[row] = _Failing(tries, due, look.began if known is None else known.since, before, trouble)

    async def _set_aside(self, row: bytes, fields: Mapping[str, Any], trouble: str) -> None:
        fault = Fault("parent_failed", f"{TRIES} tries to ask about this record of its parent failed; the last one: {trouble}")
        name = f"{self._stream.name}:{row[len(self._stream.due) :].hex()}"
        record = Record(
            value=dict(fields),
            received=self._source.clock.now(),
            fallback_id=name,
            id=name,
            stream=self._stream.name,
            fault=fault,
        )
        await durable(self._source, [record], {row: None})
