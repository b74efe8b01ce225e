"""Commits on a stream: each is one message or several, whole or not there, written by one daemon at a time.

What no message can hold is said in several, one behind the other, and read as one again (``joined``).

Every message says which place it expects. So an acknowledgement that got lost is found out about before the next commit
(``settle``); and whoever opens the stream puts a message there, after which nobody who opened it before can write.
"""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Final, TypeAlias

import msgspec

from cdmd.cluster.connection import StreamFull
from cdmd.cluster.stream import Stream
from cdmd.errors import Damaged, NotDurable

Adopt: TypeAlias = Callable[[int, bytes], None]
"""Told of each part that is durable, in order: its number in the stream, and what it says."""

Still: TypeAlias = Callable[[], Awaitable[bool]]
"""Whether it is still so."""

_OPENINGS: Final = 5


class Frame(msgspec.Struct, frozen=True, array_like=True):
    """One message: who wrote it, which part of its commit it is and whether the last, what it says (an opening nothing).

    ``of`` counts the messages in front of it that begin what it says, ``more``: the next one goes on with it.
    """

    writer: str
    part: int
    ends: bool
    body: bytes
    of: int = 0
    more: bool = False


_ENCODE: Final = msgspec.msgpack.Encoder().encode
_DECODER: Final = msgspec.msgpack.Decoder(Frame)


def read_frame(data: bytes, where: str) -> Frame:
    """The frame of a message. Raises ``Damaged``."""
    try:
        return _DECODER.decode(data)
    except msgspec.DecodeError as error:
        raise Damaged(f"{where} is not a message of cdmd's journal: {error}") from error


def split(body: bytes, most: int) -> list[bytes]:
    """``body`` in pieces of at most ``most`` bytes; one where it is empty."""
    return [body[start : start + most] for start in range(0, len(body), most)] or [b""]


def joined(frames: Iterable[tuple[int, Frame]]) -> Iterator[tuple[int, bytes]]:
    """What whole messages say, each with the number of the message in which it begins."""
    at, bodies = 0, list[bytes]()
    for seq, frame in frames:
        if not frame.of:
            at, bodies = seq, []
        bodies.append(frame.body)
        if not frame.more:
            yield at, b"".join(bodies)


class Commits:
    """The commits of one stream. ``end`` is the number of the last message that belongs to a whole commit or was looked at."""

    def __init__(self, stream: Stream, *, writer: str, adopt: Adopt) -> None:
        self._stream, self._writer, self._adopt = stream, writer, adopt
        self.end = 0
        self._written = 0
        self._commits = 0
        self._uncertain = False
        self._opened = False
        self.ousted = False

    async def open(self, end: int, *, still: Still) -> int | None:
        """Adopt what lies behind ``end``, and let nobody write who opened it before; returns the number of this opening.

        None where ``end`` is ``still`` the place to begin at no more when something behind it looks torn: it was exchanged
        then. Raises ``Damaged`` and ``NotDurable``.
        """
        self.end = self._written = end
        for _ in range(_OPENINGS):
            if not await self._settled(still):
                return None
            if await self._put(b"", ends=True, part=0):
                self._opened, self.end = True, self._written
                return self.end
        raise NotDurable(f"the stream {self._stream.name} is being written by another daemon")

    async def settle(self) -> None:
        """Find out what the last commit came to, if that is not known. To be called before each ``write``."""
        self._refuse_ousted()
        if self._uncertain:
            await self._erase(await self._settle())

    async def sure(self) -> None:
        """Raise ``NotDurable`` where another daemon has opened it since: for what is written elsewhere, and expects no place.

        Whoever opened it last wrote the last message; that may be pruned by now.
        """
        end = (await self._stream.info()).state.last_seq
        if end > self._written:
            last = await self._stream.last()
            ours = last is not None and self._is_ours(last.seq, last.data)
            # One of ours that was on its way when the stream was asked for its end is known of by now, or is the last one.
            self.ousted = self.ousted or not (ours or end <= self._written)
        self._refuse_ousted()

    def _is_ours(self, seq: int, data: bytes) -> bool:
        return read_frame(data, f"message {seq} of {self._stream.name}").writer == self._writer

    def _refuse_ousted(self) -> None:
        if self.ousted:
            raise NotDurable(f"another daemon has opened the journal (stream {self._stream.name}): stop one of them")

    async def follow(self) -> None:
        """Adopt the whole commits that another one wrote behind ``end``; never writes, nor erases."""
        begun, at = list[tuple[int, Frame]](), self.end
        while (found := await self._stream.following(at + 1)) is not None:
            at, frame = found.seq, read_frame(found.data, f"message {found.seq} of {self._stream.name}")
            if begun and not _goes_on(begun[-1][1], frame):
                begun.clear()
            begun.append((at, frame))
            if frame.ends and begun[0][1].part == 0:
                self._take(begun)
                begun.clear()

    async def write(
        self, bodies: Sequence[bytes], *, subjects: Sequence[str] = (), abreast: bool = False, hasty: bool = False
    ) -> list[int] | None:
        """Write one commit; the numbers where its bodies begin. None where the stream did not end where it should.

        Then ``settle``, and decide again. Raises ``NotDurable``; then what it came to is found out by the next ``settle``.
        ``subjects`` are the bodies' own. ``abreast``: only the last message is waited for, as each goes by the one in front of
        it; why one was not taken is then not known.
        """
        self._commits += 1
        self._uncertain = True
        written, messages = list[int](), [split(body, self._stream.most) for body in bodies]
        part, parts, sure = 0, sum(map(len, messages)), self._written
        try:
            for number, pieces in enumerate(messages):
                subject = subjects[number] if subjects else self._stream.subject
                for of, piece in enumerate(pieces):
                    more, ends = of < len(pieces) - 1, part == parts - 1
                    put = self._send if abreast and not ends else partial(self._put, hasty=hasty)
                    if not await put(piece, ends=ends, part=part, of=of, more=more, subject=subject):
                        return None
                    part += 1
                written.append(self._written - len(pieces) + 1)
            self._uncertain, self.end = False, self._written
        finally:
            if self._uncertain and abreast:
                self._written = sure  # of what nobody waited for nothing is known
        return written

    async def _put(
        self,
        body: bytes,
        *,
        ends: bool,
        part: int,
        of: int = 0,
        more: bool = False,
        subject: str | None = None,
        hasty: bool = False,
    ) -> bool:
        payload = _ENCODE(Frame(self._writer, part, ends, body, of, more))
        where, headers = subject or self._stream.subject, self._expecting(part)
        seq = await self._stream.publish(where, payload, headers=headers, hasty=hasty)
        if seq is None:
            return False
        if seq != self._written + 1:
            raise NotDurable(f"the stream {self._stream.name} took another message for this one: it is at {seq}")
        self._written = seq
        return True

    async def _send(self, body: bytes, *, ends: bool, part: int, of: int, more: bool, subject: str) -> bool:
        """Without waiting. Whether it was taken says what becomes of the message behind it."""
        payload = _ENCODE(Frame(self._writer, part, ends, body, of, more))
        headers = self._expecting(part)
        if part:
            del headers["Nats-Expected-Last-Sequence"]  # the name of the one in front of it says as much
        await self._stream.say(subject, payload, headers=headers)
        self._written += 1
        return True

    def _expecting(self, part: int) -> dict[str, str]:
        """That is by number; behind another one of its commit also by that one's name: it may be of one that was given up."""
        name = f"{self._writer}.{self._written}.{self._commits}.{part}"
        headers = {"Nats-Expected-Last-Sequence": str(self._written), "Nats-Msg-Id": name}
        if part:
            headers["Nats-Expected-Last-Msg-Id"] = f"{self._writer}.{self._written - 1}.{self._commits}.{part - 1}"
        return headers

    async def _settled(self, still: Still) -> bool:
        """``settle`` for who opens it: nothing is erased, or called damaged, but what is so from the right place on."""
        try:
            torn = await self._settle()
        except Damaged:
            if await still():
                raise
            return False
        if torn and not await still():
            return False
        await self._erase(torn)
        return True

    async def _settle(self) -> list[int]:
        """Adopt what is whole; returns the numbers of what is not, and can become so no more."""
        last = (await self._stream.info()).state.last_seq
        if last < self._written:
            if not self._opened:
                raise Damaged(
                    f"the stream {self._stream.name} ends at {last}, but it once reached {self._written}: the NATS server lost "
                    "acknowledged messages; put a backup in place with: cdmd restore FILE"
                )
            raise NotDurable(f"the stream {self._stream.name} is not yet where it was: the NATS server has not caught up")
        begun, orphans, at = list[tuple[int, Frame]](), list[int](), self.end
        for _ in range(_OPENINGS):
            while at < last and (found := await self._stream.following(at + 1)) is not None:
                at, frame = found.seq, read_frame(found.data, f"message {found.seq} of {self._stream.name}")
                if self._opened and frame.writer != self._writer:
                    self.ousted = True
                    self._refuse_ousted()
                if begun and not _goes_on(begun[-1][1], frame):
                    orphans += [seq for seq, _ in begun]
                    begun.clear()
                begun.append((at, frame))
                if frame.ends and begun[0][1].part == 0:
                    self._take(begun)
                    begun.clear()
            # What came after the question where it ends was read, too, where all that was left in front of it is erased.
            self._written = max(last, at)
            if not begun or await self._given_up():
                break
            last = (await self._stream.info()).state.last_seq
        else:
            raise NotDurable(f"the stream {self._stream.name} is being written by another daemon")
        return [*orphans, *(seq for seq, _ in begun)]

    async def _erase(self, torn: Iterable[int]) -> None:
        for seq in torn:
            await self._stream.erase(seq)
        self.end = self._written
        self._uncertain = False

    async def _given_up(self) -> bool:
        """Take the place of what the last commit lacks, so that it cannot arrive any more: who follows might take it for whole.

        False where something arrived there.
        """
        try:
            return await self._put(b"", ends=True, part=0)
        except StreamFull:
            return True  # nor does it take what is longer; what is erased now makes room

    def _take(self, commit: Sequence[tuple[int, Frame]]) -> None:
        for seq, body in joined(commit):
            if body:
                self._adopt(seq, body)
        self.end = commit[-1][0]


def _goes_on(before: Frame, frame: Frame) -> bool:
    """Whether it is the next part of the same commit. A part that arrives when its commit was given up is none."""
    return before.writer == frame.writer and before.part + 1 == frame.part and not before.ends
