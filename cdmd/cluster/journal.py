"""``Journal`` on NATS JetStream. How its promises map to the servers' stands in ``cdmd.cluster``.

What an acknowledgement means here: the servers' quorum has it (``replicas``), in their operating systems' memory; how soon they
sync it is theirs to say. Not here: messages (``commits``, ``entries``, ``beside``).
"""

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Final, Self

import anyio
import anyio.to_thread
from typing_extensions import override

from cdmd.cluster.beside import Beside, Checkpoint, changes_of, counts_of, encode_checkpoint
from cdmd.cluster.commits import Commits
from cdmd.cluster.connection import Link
from cdmd.cluster.copying import copy_journal
from cdmd.cluster.division import Division
from cdmd.cluster.entries import Counted, Entries, Found, Piece, decode_piece
from cdmd.cluster.heads import say
from cdmd.cluster.holding import Meanwhile, begin, kept
from cdmd.cluster.place import Place, Streams
from cdmd.contracts import Append, Clock, Holding, Journal, JournalStatistics, Revise
from cdmd.errors import CdmdError, Damaged, NotDurable
from cdmd.models import Journaled, Micros, Seq, encode_entry, to_micros
from cdmd.store.blocks import unpack_after
from cdmd.store.mark import Mark, Marker
from cdmd.store.revising import revised
from cdmd.store.tail import Tail

_TRIES: Final = 3
_PAGE: Final = 500
_REVISED: Final = 5_000
_CHECKPOINT_MESSAGES: Final = 500
_CHECKPOINT_BYTES: Final = 4 * 2**20
_UNBEARABLE: Final = 4
"""Times that much is too much to hold in memory: the next append waits for the bucket."""


class JetStreamJournal(Journal):
    """``Journal`` on two streams and a bucket. ``tenure`` is greater than that of whoever wrote it before."""

    def __init__(self, link: Link, place: Place, *, writer: str, clock: Clock, mark_path: Path, tail: Tail) -> None:
        self._link, self._name, self._clock, self._tail = link, place.name, clock, tail
        self._streams = streams = Streams.of(place, link)
        self._beside = Beside(streams.kept, streams.bucket)
        self._entries = Entries(streams.entries, streams.kept, key=streams.bucket.patch)
        self._lane = Commits(streams.entries, writer=writer, adopt=self._adopt)
        self._log = Commits(streams.changes, writer=writer, adopt=self._beside.adopt)
        self.tenure, self._id, self._head, self._division = 0, "", Seq(0), Division(place.lanes)
        self._marker = Marker(mark_path)
        self._held: Callable[[], bool] = lambda: True
        self._failure: str | None = None
        self._grown, self._appending, self._pruning = anyio.Event(), anyio.Lock(), anyio.Lock()

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        place: Place,
        *,
        clock: Clock,
        mark_path: Path,
        new_id: Callable[[], str],
        tail_events: int = 4_000,
        tail_bytes: int = 32 * 2**20,
        patience: float = 3.0,
        meanwhile: Meanwhile | None = None,
    ) -> AsyncIterator[Self]:
        """Open or make the journal at ``place``; ``new_id`` names it, and who writes now. Whoever opened it before is ousted.

        Where another one writes it ``meanwhile`` is what is done until it is gone.
        Raises ``Damaged`` (the servers have less than was acknowledged), ``NotDurable`` (they cannot be reached), ``InUse``
        (another one writes it, where ``place`` names a holder) and ``CdmdError`` (they cannot keep it as configured).
        """
        tail = Tail(max_events=tail_events, max_bytes=tail_bytes)
        async with AsyncExitStack() as stack:
            link = await stack.enter_async_context(Link.open(place.access, name=f"cdmd {place.name}", patience=patience))
            writer, held = new_id(), await begin(link, place, clock=clock, meanwhile=meanwhile)
            if held is not None:
                await stack.enter_async_context(kept(*held, clock=clock, ends=meanwhile is not None))
            while True:
                journal = cls(link, place, writer=writer, clock=clock, mark_path=mark_path, tail=tail)
                if await journal._begin(new_id):
                    break
            journal._held = partial(held[0].holds, held[1]) if held is not None else journal._held
            await journal.write_mark()
            try:
                yield journal
            finally:
                with anyio.CancelScope(shield=True), suppress(CdmdError):
                    await journal._checkpoint()
                    await journal.write_mark()

    async def _begin(self, new_id: Callable[[], str]) -> bool:
        """False where whoever led brought more into the bucket meanwhile, and wiped what that came from."""
        streams = self._streams
        for stream in (streams.kept, streams.changes, streams.entries):
            await stream.ensure()
        checkpoint = await self._beside.load()
        if checkpoint is None:
            if (await streams.entries.info()).state.last_seq:
                raise Damaged(f"the stream {streams.entries.name} has entries, but {streams.kept.name} knows nothing of them")
            checkpoint = Checkpoint(new_id())
            await streams.kept.replace(streams.bucket.checkpoint, encode_checkpoint(checkpoint))
        self._id, self._head = checkpoint.journal_id, checkpoint.head
        self._entries.begin(checkpoint.begins, checkpoint.first)
        self._division = checkpoint.division.into(self._division.number, behind=checkpoint.head)
        still = partial(self._beside.is_last, checkpoint)
        self.tenure = await self._lane.open(checkpoint.entries, still=still) or 0
        if not self.tenure or not await self._log.open(checkpoint.changes, still=still) or not await still():
            return False
        await self._marker.check(lambda: Mark(self._id, self._head))
        if self._division.ends:  # before the first of its entries: from here on who knows of no lanes refuses it
            await self._checkpoint()
        await self._tell()
        return True

    async def _tell(self) -> None:
        """Let all who read know up to where it reaches."""
        await say(self._link, self._name, self._reached())

    @property
    @override
    def id(self) -> str:
        return self._id

    @property
    @override
    def head(self) -> Seq:
        return self._head

    @property
    @override
    def failure(self) -> str | None:
        return self._failure

    # ---- writing -----------------------------------------------------------------------------------------------------

    @override
    async def append(self, appends: Sequence[Append]) -> Seq:
        encoded = [body for append in appends for body in append.encoded or map(encode_entry, append.entries)]
        counts, beside = counts_of(appends), any(append.state for append in appends)
        async with self._appending:
            try:
                if self._beside.size > _CHECKPOINT_BYTES * _UNBEARABLE:
                    await self._checkpoint()
                first = await self._append_entries(appends, encoded, counts)
                if beside or (counts and not encoded):
                    await self._append_changes(appends, () if encoded else counts)
            except CdmdError as error:
                self._failure = str(error)
                wrong = f"the journal could not be written: {error}"
                raise error if isinstance(error, NotDurable) else NotDurable(wrong) from error
            self._failure = None
        return first

    async def _append_entries(self, appends: Sequence[Append], encoded: Sequence[bytes], counts: Sequence[Counted]) -> Seq:
        hasty, entries = self._failure is not None, [one for append in appends for one in append.entries]
        most, top = self._streams.entries.most, self._streams.entries.subject
        for tried in range(_TRIES):
            await self._lane.settle()
            first, at, now = Seq(self._head + 1), self._lane.end + 1, to_micros(self._clock.now())
            if not encoded:
                return first
            pieces, bodies = self._division.cut(first, entries, encoded, written=now, most=most, counts=counts, at=at)
            subjects = self._division.subjects(top, pieces)
            abreast = bool(self._division.ends) and not tried
            places = await self._lane.write(bodies, subjects=subjects, abreast=abreast, hasty=hasty)
            if places is not None:
                self._tail.extend(first, entries, [len(one) for one in encoded])
                self._take(places, pieces)
                await self._tell()
                return first
        raise NotDurable(f"the stream {self._streams.entries.name} is being written by another daemon")

    async def _append_changes(self, appends: Sequence[Append], counts: Sequence[Counted]) -> None:
        hasty = self._failure is not None
        bodies = changes_of(appends, most=self._streams.entries.most, counts=counts)
        for _ in range(_TRIES):
            await self._log.settle()
            places = await self._log.write(bodies, hasty=hasty)
            if places is not None:
                for at, body in zip(places, bodies, strict=True):
                    self._beside.adopt(at, body)
                return
        raise NotDurable(f"the stream {self._streams.changes.name} is being written by another daemon")

    def _adopt(self, at: int, body: bytes) -> None:
        piece = decode_piece(body, f"message {at} of {self._streams.entries.name}")
        if piece.first != self._head + 1:
            raise Damaged(f"the journal is damaged: the entries between {self._head} and {piece.first} are missing")
        self._take([at], [piece])

    def _take(self, places: Sequence[int], pieces: Sequence[Piece]) -> None:
        self._entries.note(pieces[-1].last, places[-1])
        for piece in pieces:
            self._beside.count(piece.counts)
        self._beside.messages += len(pieces)
        self._head, self._division = pieces[-1].last, self._division.taken(places, pieces)
        self._grown.set()
        self._grown = anyio.Event()

    async def _checkpoint(self) -> None:
        """Bring the state into the bucket, and wipe the changes that it came from. Not where another one writes them by now."""
        place = await self._beside.checkpoint(self._reached, self._lane.sure)
        changes, at = self._streams.changes, 1
        while (found := await changes.following(at)) is not None and found.seq <= place.changes:
            await changes.erase(found.seq)
            at = found.seq + 1

    def _reached(self, counts: tuple[Counted, ...] = ()) -> Checkpoint:
        return Checkpoint(
            journal_id=self._id,
            entries=self._lane.end,
            changes=self._log.end,
            head=self._head,
            begins=self._entries.begins,
            first=self._entries.first,
            counts=counts,
            division=self._division,
        )

    @override
    async def forget(self, connector: str) -> int:
        keys = await self._beside.keys(connector, b"")
        if keys:
            await self.append([Append(connector=connector, state=dict.fromkeys(keys))])
        return len(keys)

    @override
    async def prune(self, *, before: Micros, upto: Seq) -> int:
        async with self._pruning:
            stays, last = await self._entries.prunable(before=before, upto=upto, end=self._lane.end)
            if last is None:
                return 0
            pruned = last - self._entries.first + 1
            self._entries.begin(stays, Seq(last + 1))
            await self._checkpoint()
            await self._tell()
            await self._streams.drop(before=stays)
        return pruned

    @override
    async def revise(self, revise: Revise, *, holding: Holding, after: Seq) -> tuple[Seq, int]:
        async with self._pruning:
            found, last = list[Found](), after
            async for one in self._entries.behind(after, end=self._lane.end):
                found.append(one)
                last = one.piece.last
                if last - after >= _REVISED:
                    break
            others = await anyio.to_thread.run_sync(revised, [one.piece.block for one in found], revise, holding)
            where = {one.piece.last: one for one in found}
            if others.blocks:  # so nobody who opens it takes the commit that one is erased of for one that is torn
                await self._checkpoint()
            for block, _ in others.blocks:
                await self._entries.exchange(where[block.last], block, self._lane.sure)
                self._tail.clear()
        return last, others.entries

    @override
    async def settled(self) -> bool:
        await self._checkpoint()
        return True

    @asynccontextmanager
    @override
    async def unpruned(self) -> AsyncIterator[None]:
        async with self._pruning:
            yield

    # ---- reading -----------------------------------------------------------------------------------------------------

    @override
    async def read(self, after: Seq, *, limit: int) -> list[Journaled]:
        if after >= self._head:
            return []
        if (cached := self._tail.read(after, limit)) is not None:
            return cached
        blocks = await self._entries.read(after, limit=limit, end=self._lane.end)
        return await anyio.to_thread.run_sync(unpack_after, blocks, after, limit)

    @override
    async def wait(self, after: Seq) -> None:
        while self._head <= after:
            await self._grown.wait()

    @override
    async def get(self, connector: str, keys: Iterable[bytes]) -> dict[bytes, bytes]:
        return await self._beside.get(connector, keys)

    @override
    def scan(self, connector: str, prefix: bytes) -> AsyncIterator[tuple[bytes, bytes]]:
        return self._beside.scan(connector, prefix, page=_PAGE)

    @override
    async def owners(self) -> list[str]:
        return await self._beside.owners()

    @override
    async def counts(self) -> dict[tuple[str, str], int]:
        return self._beside.counts

    @override
    async def statistics(self) -> JournalStatistics:
        first, server = self._entries.first, self._link.server or ""
        try:
            infos = [await stream.info() for stream in self._streams[:3]]
        except CdmdError as error:
            return JournalStatistics(first=first, head=self._head, bytes=0, failure=self._failure or str(error), server=server)
        return JournalStatistics(
            first=first,
            head=self._head,
            bytes=sum(info.state.bytes for info in infos),
            failure=self._failure,
            server=server,
            copies=[one.copy for one in infos[0].cluster.replicas],
        )

    # ---- whole or damaged --------------------------------------------------------------------------------------------

    @override
    async def check(self, after: Seq) -> None:
        faults = [fault async for fault in self._entries.faults(after, head=self._head, end=self._lane.end)]
        if faults:
            raise Damaged(f"the journal is damaged: {faults[0]}; put a backup in place with: cdmd restore FILE")

    @override
    async def verify(self) -> list[str]:
        faults = [f"journal: {one}" async for one in self._entries.faults(Seq(0), head=self._head, end=self._lane.end)]
        try:
            await self._marker.check(lambda: Mark(self._id, self._head))
        except Damaged as error:
            faults.append(f"journal: {error}")
        return faults

    @override
    async def backup(self, target: Path) -> None:
        await copy_journal(self._entries, self._beside, target, place=self._reached)

    @override
    async def write_mark(self) -> None:
        """Write the high-water mark beside the store, and bring the state into the bucket where it has grown."""
        if self._beside.size > _CHECKPOINT_BYTES or self._beside.messages > _CHECKPOINT_MESSAGES:
            await self._checkpoint()
        await self._marker.write(Mark(self._id, self._head))
