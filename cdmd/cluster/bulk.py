"""A journal on servers as what is copied whole into another journal or from one.

Not here: when what is copied (``cdmd.moving``), and what a journal is for who uses it (``journal``).
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, NamedTuple, Self

from cdmd.cluster.beside import decode_checkpoint
from cdmd.cluster.connection import NO_STREAM, Link, Refused
from cdmd.cluster.division import Division
from cdmd.cluster.entries import encode_piece, pieces_of
from cdmd.cluster.journal import JetStreamJournal
from cdmd.cluster.place import Place, Streams
from cdmd.contracts import Clock
from cdmd.errors import NotDurable
from cdmd.models import Seq
from cdmd.store.blocks import Block
from cdmd.store.mark import Mark
from cdmd.store.moves import JOURNAL_OWNER

_PATIENCE: Final = 10.0
_BLOCK_ENTRIES: Final = 5_000


class Seen(NamedTuple):
    """What a journal's streams say without being opened: whose they are, about which entries, and bytes."""

    id: str
    first: Seq
    head: Seq
    bytes: int


async def look(place: Place) -> Seen | None:
    """What lies there; None where no journal does. Nothing is made or changed. Raises ``CdmdError``."""
    async with Link.open(place.access, name=f"cdmd migrate {place.name}", patience=_PATIENCE) as link:
        streams = Streams.of(place, link)
        size = 0
        try:
            found = await streams.kept.last(streams.bucket.checkpoint)
            for stream in streams[:3]:
                size += (await stream.info()).state.bytes
        except Refused as error:
            if error.fault.err_code == NO_STREAM:
                return None
            raise
    if found is None:
        return None
    checkpoint = decode_checkpoint(found.data, streams.kept.name)
    return Seen(checkpoint.journal_id, checkpoint.first, checkpoint.head, size)


class JetStreamBulk(JetStreamJournal):
    """A journal that nobody uses meanwhile: opened as a daemon opens it, so that none can."""

    @classmethod
    @asynccontextmanager
    async def open_as(cls, place: Place, *, id: str, writer: str, clock: Clock, mark_path: Path) -> AsyncIterator[Self]:  # noqa: A002
        """``id`` is what a new one is called, ``writer`` who writes now. Raises as ``open``."""
        names = iter((writer, id))
        opening = cls.open(
            place, clock=clock, mark_path=mark_path, new_id=lambda: next(names), tail_events=1, patience=_PATIENCE
        )
        async with opening as journal:
            yield journal

    @property
    def first(self) -> Seq:
        """The first entry that is kept, or the next one."""
        return self._entries.first

    async def blocks(self, after: Seq) -> list[Block]:
        """Some blocks behind ``after``, in order; empty where there are no more."""
        return await self._entries.read(after, limit=_BLOCK_ENTRIES, end=self._lane.end)

    async def begin_at(self, first: Seq) -> None:
        """Hold nothing any more but what it says of itself, and begin with entry ``first``. Raises ``NotDurable``."""
        for owner in await self.owners():
            if owner != JOURNAL_OWNER:
                await self.forget(owner)
        async with self._appending, self._pruning:
            await self._lane.settle()
            self._head, begins = Seq(first - 1), self._lane.end + 1
            self._division = Division.behind(self._head, number=self._division.number)
            self._entries.begin(begins, first)
            self._tail.clear()
            self._beside.forget_counts()
            # Before the checkpoint has the head that was put back: a kill between leaves a mark that nothing falls short of.
            await self._marker.write(Mark(self._id, self._head))
            await self._checkpoint()
            await self._streams.entries.purge(begins)

    async def put(self, blocks: Sequence[Block]) -> None:
        """Write the blocks of another journal that follow, with the numbers and times that they have there.

        Raises ``NotDurable``, and ``Damaged`` where one is not as it was written.
        """
        async with self._appending:
            await self._lane.settle()
            pieces = [piece for block in blocks for piece in pieces_of(block, most=self._streams.entries.most)]
            places = await self._lane.write([encode_piece(piece) for piece in pieces])
            if places is None:
                raise NotDurable(f"the stream {self._streams.entries.name} is being written by another daemon")
            self._take(places, pieces)
        await self.write_mark()
