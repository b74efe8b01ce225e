"""One look at a stream: from page to page, each durable with the position that it allows, to the end or to what stops it.

The position goes in the transaction of the records that it stands for. It moves with every page only where records come in
ascending order, else when a walk has come to its end; whatever cuts a walk off is read again and known again.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from hashlib import blake2b
from typing import Any, Final, NamedTuple

import msgspec

from cdmd.connectors.durable import durable
from cdmd.connectors.rest.exporting import Stopped
from cdmd.connectors.rest.getting import Getting, Got, Lost, Means, Window
from cdmd.connectors.rest.looks import Look
from cdmd.connectors.rest.paging import At, Circle, End, Step, Stuck
from cdmd.connectors.rest.positions import Place, Value, less
from cdmd.connectors.rest.records import Edge, Fresh
from cdmd.connectors.rest.streams import DIGEST, Stream
from cdmd.contracts import Source
from cdmd.errors import TemplateFault, ValueRefused
from cdmd.kit.ratelimit_headers import http_date
from cdmd.models import from_micros, to_micros

_AT_ONCE: Final = 500
_MOST_TIMES: Final = 1_000


class About(NamedTuple):
    """What a walk is about: the fields of the ``parent``'s record, and the state that goes with its last page (``done``).

    ``most_pages`` ends a look early that only shows something.
    """

    parent: Mapping[str, Any] = {}
    done: Mapping[bytes, bytes | None] = {}
    most_pages: int | None = None


_ALL: Final = About()


class Walk:
    """One look: made at ``place``, which is then where the next one begins."""

    def __init__(self, stream: Stream, source: Source, means: Means, *, place: Place, about: About = _ALL) -> None:
        self.place, self.new = place, 0
        self._stream, self._source, self._about = stream, source, about
        self._getting = Getting(stream, source, means, parent=about.parent)
        self._times: list[datetime] = []
        self._warning: str | None = None
        self._conditional = ("", "", b"")
        self._reached: Value | None = None

    async def look(self) -> Look:
        """Walk to the end, or to what stops it. Never raises for what the other side does."""
        began, trouble, denied, perhaps_this, more = self._source.clock.now(), None, False, False, False
        try:
            more = await self._all()
        except Lost:
            trouble = "the source does not know the position, although all was asked for again"
        except Stopped as why:
            trouble, denied, perhaps_this = str(why), why.denied, why.perhaps_this
        except (TemplateFault, ValueRefused) as fault:
            trouble = f"the request cannot be made: {fault}"
        return Look(
            began=began,
            ended=self._source.clock.now(),
            records=self._getting.records,
            new=self.new,
            requests=self._getting.requests,
            times=tuple(self._times),
            asked=self._getting.asked,
            trouble=trouble,
            warning=self._warning,
            denied=denied,
            perhaps_this=perhaps_this,
            more=more,
        )

    async def _all(self) -> bool:
        """Whether there is more for the next look at once."""
        try:
            return await self._windows()
        except Lost:
            self._warning = "the source had lost the position: all was asked for again"
            self.place = Place()
            await durable(self._source, [], {self._stream.key: None})
            return await self._windows()

    async def _windows(self) -> bool:
        positions, since = self._stream.positions, self._stream.settings.since
        begin = None if positions is None else positions.since(self.place.position)
        if since is None or since.window is None or begin is None or isinstance(begin, str):
            return await self._walk(Window(begin, None, last=True))
        while True:
            until, now = begin + since.window.micros, to_micros(self._source.clock.now())
            more = await self._walk(Window(begin, min(until, now), last=until >= now))
            if more or until >= now:
                return more
            begin = until

    async def _walk(self, window: Window) -> bool:
        """One way from its first page to its last."""
        stream, began = self._stream, self.place.position
        self._reached = began
        edge, circle = Edge(self.place, floor=None if stream.asks_since else window.since), Circle()
        at, asked = stream.way.first(self.place.kept), window
        if self.place.kept is not None:  # a cursor that was kept says itself where it goes on
            asked = window._replace(since=None)
        while True:
            if (why := circle.step(at)) is not None:
                raise Stopped(why)
            got = await self._getting.page(at, asked, known=self.place if at.pages == 0 else None)
            if got is None:
                return False
            if at.pages == 0:
                self._remember(got)
            fresh = await stream.intake.fresh(got.page.records, edge, self._source, parent=self._about.parent)
            fresh += stream.intake.unreadable(got.page.faults, self._source)
            step = self._checked(stream.way.following(at, got.answer, full=self.place.full), at, circle, got)
            step = self._shortened(step, edge, window)
            place = self._moved(edge, step, got, window, began=began)
            await self._store(fresh, place, ended=isinstance(step, End))
            if isinstance(step, Stuck):
                raise Stopped(step.reason)
            if isinstance(step, End):
                return False
            at = step
            if at.pages >= stream.way.settings.max_pages:
                return self._paused(at, began)

    def _checked(self, step: Step, at: At, circle: Circle, got: Got) -> Step:
        values = got.page.records
        digest = blake2b(msgspec.msgpack.encode(values), digest_size=16).digest() if values else b""
        why = circle.page(at, digest)
        return step if why is None else Stuck(why)

    def _shortened(self, step: Step, edge: Edge, window: Window) -> Step:
        """The walk's end, where nothing more is wanted of what there is."""
        if isinstance(step, At) and (step.pages == self._about.most_pages or self._enough(edge, window)):
            return End()
        return step

    def _enough(self, edge: Edge, window: Window) -> bool:
        """Newest first, and what came last is older than what is wanted: the rest is known."""
        since = self._stream.settings.since
        if since is None or since.order != "desc" or window.since is None or edge.least is None or edge.rising:
            return False
        return less(edge.least, window.since)

    def _paused(self, at: At, began: Value | None) -> bool:
        since = self._stream.settings.since
        if since is not None and since.order == "asc" and (self.place.position != began or self.place.kept is not None):
            return True
        raise Stopped(f"there is no end after {at.pages} pages (`page.max_pages`): the walk was ended")

    # ---- storing -------------------------------------------------------------------------------------------------------

    def _remember(self, got: Got) -> None:
        """What makes the next request conditional; it counts once the walk has come to its end."""
        headers = got.answer.headers
        self._conditional = (headers.get("etag", ""), headers.get("last-modified", ""), got.request)

    def _moved(self, edge: Edge, step: Step, got: Got, window: Window, *, began: Value | None) -> Place:
        """The place that this page allows."""
        ended, place = isinstance(step, End), self._with_page_size(got)
        self._reach(edge, got)
        if not ended and (isinstance(step, Stuck) or not self._ascends(edge)):
            return msgspec.structs.replace(place, position=began) if self._is_ascending() and edge.falling else place
        kept = self._stream.way.keep(got.answer)
        if isinstance(kept, Stuck):
            raise Stopped(kept.reason)
        place = msgspec.structs.replace(place, kept=kept or place.kept)
        if (positions := self._stream.positions) is not None:
            if ended and not window.last:
                self._reached = positions.advanced(self._reached, window.until, now=self._their_now(got))
            edges = edge.kept(positions.edge(self._reached))
            place = msgspec.structs.replace(place, position=self._reached, edge=edges, kind=positions.kind)
        return self._ended(place, edge) if ended else place

    def _reach(self, edge: Edge, got: Got) -> None:
        """How far the walk came by now, which is not yet how far the position may move."""
        positions = self._stream.positions
        if positions is not None:
            now = self._their_now(got)
            for found in edge.met():
                self._reached = positions.advanced(self._reached, found, now=now)

    def _ended(self, place: Place, edge: Edge) -> Place:
        field = None if self._stream.settings.since is None else self._stream.settings.since.field
        if field is not None and edge.count and not edge.positioned:
            self._warning = f"no record has anything at {field} that is a position: it cannot move"
        etag, modified, request = self._conditional
        return msgspec.structs.replace(place, etag=etag, modified=modified, request=request)

    def _is_ascending(self) -> bool:
        since = self._stream.settings.since
        return since is not None and since.order == "asc"

    def _ascends(self, edge: Edge) -> bool:
        """Whether the position may move with every page; a source that breaks the order that was declared is told of."""
        if not self._is_ascending():
            return False
        if edge.falling:
            self._warning = 'records do not come in ascending order, so the position moves at a walk\'s end: set order = "none"'
        return not edge.falling

    def _with_page_size(self, got: Got) -> Place:
        limit = getattr(self._stream.way.settings, "limit", None)
        full = limit is not None and got.answer.length >= limit
        return msgspec.structs.replace(self.place, full=limit) if full else self.place

    def _their_now(self, got: Got) -> int:
        """The source's clock in microseconds; ours where it does not say."""
        said = http_date(got.answer.headers.get("date", ""))
        return to_micros(self._source.clock.now()) if said is None else round(said * 1_000_000)

    async def _store(self, fresh: Sequence[Fresh], place: Place, *, ended: bool) -> None:
        """All records of a page in a few commits, the place with the last of them, and with the last page what is done."""
        self._note_times(fresh)
        self.new += len(fresh)
        last: dict[bytes, bytes | None] = dict(self._about.done) if ended else {}
        if ended and self._stream.export is not None:
            last[self._stream.job] = None
        if place != self.place and not self._about.parent:
            last[self._stream.key] = self._stream.written(place)
        chunks = [fresh[start : start + _AT_ONCE] for start in range(0, len(fresh), _AT_ONCE)] or [()]
        for number, chunk in enumerate(chunks, 1):
            state = self._state(chunk)
            if number == len(chunks):
                state |= last
            if chunk or state:
                await durable(self._source, [one.record for one in chunk], state)
        self.place = place

    def _state(self, chunk: Sequence[Fresh]) -> dict[bytes, bytes | None]:
        state: dict[bytes, bytes | None] = {}
        for one in chunk:
            state |= one.state
            state |= dict(self._marks(one.record.value))
        return state

    def _marks(self, value: Any) -> Iterator[tuple[bytes, bytes]]:
        """A row for each stream that has to ask about this record."""
        for child in self._stream.children:
            fields = child.fields(value)
            if fields is not None:
                value = msgspec.msgpack.encode(fields, order="sorted")
                yield child.stream.mark(blake2b(value, digest_size=DIGEST).digest()), value

    def _note_times(self, fresh: Sequence[Fresh]) -> None:
        positions = self._stream.positions
        for one in fresh[: _MOST_TIMES - len(self._times)]:
            at = None if positions is None or not positions.timed else positions.of(one.record.value)
            moment = from_micros(int(at)) if at is not None and not isinstance(at, str) else self._stream.time(one.record.value)
            if moment is not None:
                self._times.append(moment)
