"""The journal's entries in a stream: blocks as SQLite's journal has them, a message each, found by their entries' numbers.

A block that had to be exchanged lies in the bucket, by the number of the message that was erased. Not here: writing
(``commits``), and which entries are exchanged.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from typing import Final, NamedTuple

import msgspec

from cdmd.cluster.abreast import abreast
from cdmd.cluster.commits import Frame, read_frame, split
from cdmd.cluster.stream import Stream
from cdmd.errors import Damaged, NotDurable
from cdmd.models import Micros, Seq, encode_entry
from cdmd.store.blocks import Block, examine, pack, unpack

_ABREAST: Final = 8
_MOST: Final = 32
_SMALL: Final = 2**20
"""Bytes: where so many messages have fewer, as many again are asked for at a time, so that little ones cost less each."""
_PLACES: Final = 64
_READ_BYTES: Final = 8 * 2**20
Counted = tuple[str, str, int]


class Piece(msgspec.Struct, frozen=True, array_like=True):
    """What one message says: a block, and what the door counted with it: (connector, counter, value).

    All entries are of that ``lane`` of ``lanes`` (1: of any), and ``before`` is the message in which the one in front of it
    begins in the same lane (0: there is none).
    """

    last: Seq
    first: Seq
    written: Micros
    checksum: bytes
    body: bytes
    counts: tuple[Counted, ...] = ()
    lanes: int = 1
    lane: int = 0
    before: int = 0

    @property
    def block(self) -> Block:
        """The same as a row of SQLite's journal."""
        return Block(self.last, self.first, self.written, self.checksum, self.body)


class Found(NamedTuple):
    """A piece, the numbers of its first and its last message; ``frame`` is what the first was wrapped in."""

    at: int
    last: int
    frame: Frame
    piece: Piece


_LOOKS: Final = 5
_EXCHANGED: Final = Found(0, 0, Frame("", 0, ends=False, body=b""), Piece(Seq(0), Seq(0), Micros(0), b"", b""))
encode_piece: Final = msgspec.msgpack.Encoder().encode
_DECODER: Final = msgspec.msgpack.Decoder(Piece)


def decode_piece(body: bytes, where: str) -> Piece:
    """Raises ``Damaged``."""
    try:
        return _DECODER.decode(body)
    except msgspec.DecodeError as error:
        raise Damaged(f"{where} is not one of cdmd's journal: {error}") from error


def cut(
    first: Seq,
    encoded: Sequence[bytes],
    *,
    written: Micros,
    most: int,
    counts: Sequence[Counted],
    lanes: Sequence[int] = (),
) -> list[Piece]:
    """Entries numbered from ``first`` as pieces of at most ``most`` bytes, the counts with the last of them.

    An entry that is larger is a piece of its own. ``lanes``: of each entry; what is of another one is another piece.
    """
    pieces, start = list[Piece](), 0
    while start < len(encoded):
        end, size = start, 0
        while end < len(encoded) and size + len(encoded[end]) <= most and (not lanes or lanes[end] == lanes[start]):
            size += len(encoded[end])
            end += 1
        end = max(end, start + 1)
        block = pack(Seq(first + start), encoded[start:end], written=written)
        pieces.append(Piece(*block, counts=tuple(counts) if end == len(encoded) else ()))
        start = end
    return pieces


def pieces_of(block: Block, *, most: int) -> list[Piece]:
    """The pieces of another journal's block, with the numbers and the time that it has. Raises ``Damaged``."""
    if len(block.body) <= most:
        return [Piece(*block)]
    encoded = [encode_entry(entry) for entry in unpack(block)]
    return cut(block.first, encoded, written=block.written, most=most, counts=())


class Entries:
    """Reads a stream of pieces. ``patches`` is the bucket, ``key`` the subject of a message's stand-in there.

    ``begins`` is the first message that counts, ``first`` the first entry: the stream may begin later, where that was erased.
    """

    def __init__(self, stream: Stream, patches: Stream, *, key: Callable[[int], str]) -> None:
        self._stream, self._patches, self._key = stream, patches, key
        self._places: dict[Seq, int] = {}
        self.begins, self.first = 1, Seq(1)

    def note(self, last: Seq, at: int) -> None:
        """Entries after ``last`` lie behind message ``at``."""
        self._places.pop(last, None)
        self._places[last] = at
        while len(self._places) > _PLACES:
            del self._places[next(iter(self._places))]

    def begin(self, at: int, first: Seq) -> None:
        """What is in front of that message, and of that entry, is gone."""
        self.begins, self.first = at, first
        self._places.clear()

    async def at(self, seq: int) -> Found | None:
        """What begins in message ``seq`` now; None where that never was whole, says nothing, or goes on with another.

        Raises ``Damaged``.
        """
        for _ in range(_LOOKS):
            found = await self._look(seq)
            if found is not _EXCHANGED:
                return found
        raise Damaged(f"the journal is damaged: what begins in message {seq} of {self._stream.name} does not end")

    async def _look(self, seq: int) -> Found | None:
        """``_EXCHANGED`` where a part of it is not there: it is being exchanged."""
        own = await self._stream.get(seq)
        message = own or await self._patches.last(self._key(seq))
        if message is None:
            return None
        where = f"message {seq} of {self._stream.name}"
        first = frame = read_frame(message.data, where)
        if frame.of or not frame.body:
            return None
        bodies, last = [frame.body], seq
        while frame.more:
            last += 1
            further = await (self._stream.get(last) if own is not None else self._patches.last(self._key(last)))
            if further is None:
                return _EXCHANGED
            frame = read_frame(further.data, where)
            bodies.append(frame.body)
        return Found(seq, last, first, decode_piece(b"".join(bodies), where))

    async def behind(self, after: Seq, *, end: int) -> AsyncIterator[Found]:
        """Pieces in order from the one that holds the entry after ``after``, up to message ``end``. Raises ``Damaged``."""
        begin = await self.begin_behind(after, end=end)
        before = max(after, Seq(self.first - 1))
        start, many = begin, _ABREAST
        while start <= end:
            some = await self._several(range(start, min(start + many, end + 1)))
            start, small = start + many, sum(len(found.piece.body) for found in some) < _SMALL
            many = min(2 * many, _MOST) if small else _ABREAST
            for found in some:
                piece = found.piece
                if piece.last <= after:
                    continue
                if piece.first > before + 1:
                    raise Damaged(f"the journal is damaged: the entries between {before} and {piece.first} are missing")
                before = piece.last
                yield found

    async def begin_behind(self, after: Seq, *, end: int) -> int:
        """The first message that may hold an entry after ``after``, one behind message ``end`` at the most."""
        at = self._places.get(after)
        return at + 1 if at is not None else await self._boundary(lambda piece: piece.last <= after, end)

    async def _several(self, seqs: Sequence[int]) -> list[Found]:
        found: dict[int, Found] = {}

        async def fetch(seq: int) -> None:
            if (one := await self.at(seq)) is not None:
                found[seq] = one

        await abreast(partial(fetch, seq) for seq in seqs)
        return [found[seq] for seq in seqs if seq in found]

    async def read(self, after: Seq, *, limit: int, end: int) -> list[Block]:
        """Blocks with up to ``limit`` entries after ``after`` and about ``_READ_BYTES``, at least one if there is one."""
        blocks, size, entries = list[Block](), 0, 0
        async for found in self.behind(after, end=end):
            block = found.piece.block
            if blocks and size + len(block.body) > _READ_BYTES:
                break
            blocks.append(block)
            self.note(block.last, found.last)
            size += len(block.body)
            entries += block.last - max(block.first - 1, after)
            if entries >= limit:
                break
        return blocks

    async def faults(self, after: Seq, *, head: Seq, end: int) -> AsyncIterator[str]:
        """What is wrong with the entries after ``after`` up to ``head``, which message ``end`` holds at the latest."""
        reached = after
        try:
            async for found in self.behind(after, end=end):
                reached = found.piece.last
                if fault := examine(found.piece.block):
                    yield fault
        except Damaged as error:
            yield str(error)
            return
        if max(reached, self.first - 1) < head:
            yield f"the entries between {reached} and {head} are missing"

    async def prunable(self, *, before: Micros, upto: Seq, end: int) -> tuple[int, Seq | None]:
        """The first message that has to stay, and the last entry in front of it; a later one is never older."""
        last: list[Seq] = []

        def goes(piece: Piece) -> bool:
            if piece.written < before and piece.last <= upto:
                last.append(piece.last)
                return True
            return False

        return await self._boundary(goes, end), max(last, default=None)

    async def _boundary(self, behind: Callable[[Piece], bool], end: int) -> int:
        """By halves: the number after the last message that is ``behind``, as all in front of it are."""
        low, high = self.begins, end + 1
        while low < high:
            middle = (low + high) // 2
            found = await self._from(middle, high)
            if found is None or not behind(found.piece):
                high = middle
            else:
                low = found.last + 1
        return low

    async def _from(self, seq: int, high: int) -> Found | None:
        """The first piece from message ``seq`` on and in front of ``high``."""
        for at in range(seq, high):
            if (found := await self.at(at)) is not None:
                return found
        return None

    async def exchange(self, found: Found, block: Block, sure: Callable[[], Awaitable[None]]) -> None:
        """Put ``block`` in place of what was found, and erase that. Raises ``NotDurable``, also where it is a larger one.

        ``sure``: see ``Beside.checkpoint``.
        """
        piece = msgspec.structs.replace(found.piece, checksum=block.checksum, body=block.body)
        pieces = split(encode_piece(piece), self._stream.most)
        messages = found.last - found.at + 1
        if len(pieces) > messages:
            raise NotDurable(f"what stands in for entry {block.first} is larger than that")
        places = [await self._patches.places(self._key(found.at + of)) for of in range(messages)]
        await sure()
        for of in range(messages):
            body, more = (pieces[of] if of < len(pieces) else b""), of < len(pieces) - 1
            frame = Frame(found.frame.writer, found.frame.part + of, found.frame.ends, body, of, more)
            await self._patches.replace(self._key(found.at + of), encode_piece(frame), places=places[of])
        # The first one first: from then on all of the others' stand-ins count.
        for at in range(found.at, found.last + 1):
            await self._stream.erase(at)
