"""Reads some lanes of a journal without the others: each through a named durable consumer of the server.

What is applied stands in the store. The consumer only brings the messages, and shows an administrator what is not read yet:
whoever takes a lane makes its consumer anew, from where the store has come to. Nothing rests on what it brings: every message
names the lane's one in front of it, so that what is missing is seen and fetched by its number, and what is not of a whole
commit is seen from what follows on it, or from the lane's end that whoever writes tells. Not here: whose a lane is.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import chain
from typing import Final, NamedTuple

import anyio
import anyio.to_thread
import msgspec

from cdmd.cluster.abreast import abreast
from cdmd.cluster.beside import Checkpoint
from cdmd.cluster.commits import Frame, joined, read_frame
from cdmd.cluster.connection import Heard, Refused
from cdmd.cluster.entries import Entries, Piece, decode_piece
from cdmd.cluster.stream import Stream
from cdmd.errors import CdmdError, Damaged, NotDurable
from cdmd.models import Journaled, Seq
from cdmd.store.blocks import Block, reach, unpack_after

_CONSUMER: Final = "lane-"
_BATCH: Final = 64
_BYTES: Final = 8 * 2**20
"""Of all lanes together: about what is held of them, and what is handed out at once."""
_LASTS: Final = 30.0
"""Seconds that a consumer is asked for."""
_EXPIRES: Final = int(_LASTS * 10**9)
_OVER: Final = "408"
"""What a server says when those are over."""
_MOMENT: Final = 0.005
"""Seconds in which something more comes where there is more: what is far behind is handed out by as much as is wanted."""
_QUIET: Final = 1.0
"""Seconds without anything to hand out after which it is fetched. That more is told of meanwhile (``heads``) is no progress."""


class _Names(msgspec.Struct, frozen=True):
    consumers: tuple[str, ...] | None = None


class Got(NamedTuple):
    """A piece of a lane: the message in which it begins, the one in which its commit does, the one in front of it."""

    at: int
    commit: int
    before: int
    block: Block

    @classmethod
    def of(cls, at: int, frame: Frame, piece: Piece) -> "Got":
        """What begins in message ``at`` with that frame."""
        return cls(at, at - frame.part, piece.before, piece.block)


class Lane:
    """What came of one lane and was not handed out, behind message ``base``. ``asked``: what its consumer is still to bring."""

    def __init__(self, number: int, subject: str, *, base: int) -> None:
        self.number, self.subject, self.base = number, subject, base
        self.came = list[Got]()
        self.consumer, self.asked, self.asked_at = "", 0, 0.0
        self._parts = list[tuple[int, Frame]]()

    @property
    def reached(self) -> int:
        """The last message of it."""
        return self.came[-1].at if self.came else self.base

    def bring(self, seq: int, frame: Frame, where: str) -> None:
        """One message that follows. Raises ``Damaged``."""
        if not frame.of and not frame.more:
            self.put(Got.of(seq, frame, decode_piece(frame.body, where)))
            return
        if not frame.of:
            self._parts.clear()
        elif not self._parts or self._parts[-1][0] + 1 != seq:
            return  # what it goes on with did not come; the whole of it is fetched
        self._parts.append((seq, frame))
        if not frame.more:
            for at, body in joined(self._parts):
                self.put(Got.of(at, self._parts[0][1], decode_piece(body, where)))
            self._parts.clear()

    def full(self, most: int) -> bool:
        """Whether enough of it came: many pieces, or ``most`` bytes, of more commits than the one that may go on."""
        if not self.came or self.came[0].commit == self.came[-1].commit:
            return False
        return len(self.came) > 2 * _BATCH or sum(len(got.block.body) for got in self.came) > most

    def put(self, got: Got) -> None:
        """What it does not follow on was of a commit that was given up."""
        if got.at <= self.reached:
            return
        while self.came and self.came[-1].at > got.before:
            self.came.pop()
        self.came.append(got)

    def gap(self, begins: int) -> tuple[int, Got] | None:
        """A message behind which something is missing, of all from ``begins`` on, and what follows on that."""
        before = max(self.base, begins - 1)
        for got in self.came:
            if got.before > before:
                return before, got
            before = max(before, got.at)
        return None

    def fill(self, missing: Collection[Got], got: Got) -> None:
        """Put what was missing in front of that, if it is still there."""
        if got in self.came:
            place = self.came.index(got)
            self.came[place:place] = missing

    def take(self, some: Sequence[Got]) -> None:
        """Those, which are the first, are handed out."""
        if some:
            self.base = some[-1].at
            del self.came[: len(some)]

    def sure(self, ends: int) -> tuple[int, bool]:
        """How much of what came is of whole commits, where the lane ends in message ``ends``; and whether that is all."""
        places = [got.at for got in self.came]
        if ends <= self.base:
            return 0, True
        if ends in places:
            return places.index(ends) + 1, True
        newest = self.came[-1].commit if self.came else 0
        return sum(got.commit != newest for got in self.came if got.at < ends), False


class LaneReader:
    """Several lanes at a time. ``known`` says up to where the journal reaches; ``wake`` it when that is another place."""

    def __init__(self, stream: Stream, entries: Entries, *, known: Callable[[], Checkpoint]) -> None:
        self._link, self._stream, self._entries, self._known = stream.link, stream, entries, known
        self._lanes: dict[int, Lane] = {}
        self._number, self._after = 0, Seq(0)
        self._resting: tuple[int, Collection[int]] | None = None
        self._inbox = ""
        self._stop: Callable[[], Awaitable[None]] | None = None
        self._came, self._waits = anyio.Event(), False
        self._fault: CdmdError | None = None

    def wake(self) -> None:
        """There may be more to read."""
        if self._waits:
            self._came.set()
            self._came, self._waits = anyio.Event(), False

    async def read(self, lanes: Collection[int], number: int, after: Seq, *, limit: int) -> tuple[list[Journaled], Seq] | None:
        """See ``contracts.Divided``. Raises ``Damaged`` and ``NotDurable``."""
        division = self._known().division
        if number != division.number or after < division.since or not division.ends:
            return None
        if (number, after) != (self._number, self._after) or lanes != self._lanes.keys():
            await self._begin(lanes, number, after)
        seen, until = after, anyio.current_time() + _QUIET
        while (head := self._known().head) > after:
            came, self._waits = self._came, True
            self._tell()
            some, upto = await self._sure(limit)
            if upto > after:
                if upto in {seen, head} or sum(got.block.last - got.block.first + 1 for got in chain(*some.values())) >= limit:
                    return await self._hand_out(some, upto), upto
                seen = upto
                await anyio.sleep(_MOMENT)
                continue
            with anyio.CancelScope(deadline=until) as waited:
                await came.wait()
            if waited.cancelled_caught:
                await self._fetch()
                until = anyio.current_time() + _QUIET
        return [], after

    def _tell(self) -> None:
        if self._fault is not None:
            fault, self._fault, self._number = self._fault, None, 0
            raise fault

    async def _begin(self, lanes: Collection[int], number: int, after: Seq) -> None:
        """From behind that entry, with consumers that bring what lies there."""
        self._resting = None
        await self._leave()
        known, top = self._known(), self._stream.subject
        base = await self._entries.begin_behind(after, end=known.entries) - 1
        self._lanes = {lane: Lane(lane, known.division.subject(top, lane), base=base) for lane in lanes}
        self._inbox, self._fault = self._link.inbox(), None
        self._stop = await self._link.listen(f"{self._inbox}.*", partial(self._heard, self._lanes))
        await abreast(partial(self._make, lane, number) for lane in self._lanes.values())
        self._number, self._after = number, after

    async def rest(self, lanes: Collection[int], number: int) -> None:
        """Leave no consumers of these lanes behind, whoever made them: what is read from now on comes from elsewhere."""
        if self._resting == (number, lanes):
            return
        await self._leave()
        self._resting = number, frozenset(lanes)
        for lane in lanes:
            with suppress(CdmdError):
                await self._link.ask(f"CONSUMER.DELETE.{self._stream.name}.{_CONSUMER}{number}-{lane}")

    async def _leave(self) -> None:
        """Hold nothing of what came, and hear no more."""
        self._lanes, self._number = {}, 0
        if self._stop is not None:
            await self._stop()
            self._stop = None

    # ---- what came -----------------------------------------------------------------------------------------------------

    async def _sure(self, limit: int) -> tuple[dict[int, list[Got]], Seq]:
        """Each lane's next pieces of whole commits, and the entry up to which that is all.

        About ``limit`` entries and ``_BYTES`` of all lanes together, at least one block.
        """
        while (gap := self._gap()) is not None:
            await self._fill(*gap)
        known, sure = self._known(), dict[int, list[Got]]()
        upto = known.head
        for lane in self._lanes.values():
            count, whole = lane.sure(known.division.ends[lane.number])
            sure[lane.number] = lane.came[:count]
            if not whole:
                upto = min(upto, sure[lane.number][-1].block.last if count else self._after)
        blocks = sorted([got.block for some in sure.values() for got in some if got.block.last <= upto])
        sizes = [(one.last - max(one.first - 1, self._after), one.last, len(one.body)) for one in blocks]
        if blocks and (last := reach(sizes, limit=limit, most=_BYTES)) < blocks[-1].last:
            upto = Seq(last)
        return {lane: [got for got in some if got.block.last <= upto] for lane, some in sure.items()}, upto

    def _gap(self) -> tuple[Lane, int, Got] | None:
        begins = self._known().begins
        return next(((lane, *found) for lane in self._lanes.values() if (found := lane.gap(begins))), None)

    async def _hand_out(self, some: dict[int, list[Got]], upto: Seq) -> list[Journaled]:
        blocks = sorted([got.block for lane in some.values() for got in lane if got.block.last > self._after])
        entries = await anyio.to_thread.run_sync(unpack_after, blocks, self._after, upto - self._after) if blocks else []
        self._after = upto
        for number, taken in some.items():
            self._lanes[number].take(taken)
        for lane in self._lanes.values():
            await self._ask(lane)
        return entries

    async def _fill(self, lane: Lane, before: int, got: Got) -> None:
        """What is missing between message ``before`` and that: it was exchanged, or went astray on its way here."""
        missing, at = list[Got](), got.before
        while at > before:
            missing.insert(0, await self._one(at))
            at = missing[0].before
        lane.fill(missing, got)

    async def _one(self, at: int) -> Got:
        found = await self._entries.at(at)
        if found is None or found.piece.before >= at:
            raise Damaged(f"the journal is damaged: message {at} of {self._stream.name} is missing")
        return Got.of(found.at, found.frame, found.piece)

    async def _fetch(self) -> None:
        """The next piece of each lane that should have come, and consumers for what is behind it: requests may be lost."""
        ends = self._known().division.ends
        for lane in self._lanes.values():
            if not lane.sure(ends[lane.number])[1]:
                lane.put(await self._one(await self._next(lane, ends[lane.number])))
            await self._make(lane, self._number)

    async def _next(self, lane: Lane, ends: int) -> int:
        """The message in which its next piece begins; what stands in for the last one has no message, and is that."""
        at = lane.reached
        while (found := await self._stream.following(at + 1, lane.subject)) is not None and found.seq < ends:
            at, frame = found.seq, read_frame(found.data, f"message {found.seq} of {self._stream.name}")
            if not frame.of:
                return at
        return ends

    # ---- consumers -----------------------------------------------------------------------------------------------------

    async def _make(self, lane: Lane, number: int) -> None:
        """Its consumer, to bring what is behind what came."""
        name = f"{_CONSUMER}{number}-{lane.number}"
        with suppress(Refused):  # there was none
            await self._link.ask(f"CONSUMER.DELETE.{self._stream.name}.{name}")
        config = {
            "durable_name": name,
            "deliver_policy": "by_start_sequence",
            "opt_start_seq": lane.reached + 1,
            "ack_policy": "none",
            "filter_subject": lane.subject,
            "replay_policy": "instant",
        }
        body = {"stream_name": self._stream.name, "config": config}
        await self._link.ask(f"CONSUMER.DURABLE.CREATE.{self._stream.name}.{name}", body)
        lane.consumer, lane.asked = name, 0
        await self._ask(lane)

    async def _ask(self, lane: Lane) -> None:
        """For more, where there is room for it and less is on its way."""
        now = anyio.current_time()
        if now - lane.asked_at > _LASTS:
            lane.asked = 0
        most = _BYTES // max(1, len(self._lanes))
        if lane.asked > _BATCH // 4 or lane.full(most):
            return
        # The largest message there can be fits: where the next one did not, the same would be asked for again at once.
        body = msgspec.json.encode({"batch": _BATCH, "max_bytes": max(most // 2, self._link.max_payload), "expires": _EXPIRES})
        lane.asked, lane.asked_at = lane.asked + _BATCH, now
        where = f"$JS.API.CONSUMER.MSG.NEXT.{self._stream.name}.{lane.consumer}"
        with suppress(NotDurable):  # what does not come is fetched
            await self._link.say(where, body, reply=f"{self._inbox}.{lane.number}")

    async def _heard(self, lanes: Mapping[int, Lane], said: Heard) -> None:
        if lanes is not self._lanes:  # it was on its way when these were left
            return
        lane = lanes[int(said.subject.rpartition(".")[2])]
        if said.status:
            lane.asked = 0
            if said.status == _OVER or "MaxBytes" in said.told:
                await self._ask(lane)
            return
        lane.asked -= 1
        try:
            seq = said.seq
            where = f"message {seq} of {self._stream.name}"
            lane.bring(seq, read_frame(said.data, where), where)
        except Damaged as error:
            self._fault = error
        if lane.asked <= _BATCH // 4:
            await self._ask(lane)
        self.wake()


async def forget_others(stream: Stream, number: int) -> None:
    """Remove the consumers of lanes that there are no more, now that there are ``number``."""
    names = msgspec.json.decode(await stream.link.ask(f"CONSUMER.NAMES.{stream.name}"), type=_Names).consumers or ()
    for name in names:
        if name.startswith(_CONSUMER) and not name.startswith(f"{_CONSUMER}{number}-"):
            with suppress(Refused):
                await stream.link.ask(f"CONSUMER.DELETE.{stream.name}.{name}")
