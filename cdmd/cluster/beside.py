"""The connectors' state and the door's counters, on JetStream: a stream of changes, and a bucket that they are brought into.

A commit's changes are one commit of the stream, so they are there together or not at all. What was changed since the last
``checkpoint`` is held in memory; a checkpoint writes it to the bucket, a message for each key, then the place in both streams
that the bucket goes with, and wipes the changes from the stream. After a crash what lies behind that place is read again.
Not here: when (``journal``).
"""

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Final

import anyio
import msgspec

from cdmd.cluster.abreast import abreast
from cdmd.cluster.bucket import Bucket, digest, is_long
from cdmd.cluster.commits import split
from cdmd.cluster.division import Division
from cdmd.cluster.entries import Counted
from cdmd.cluster.stream import Stream
from cdmd.contracts import Append
from cdmd.errors import CdmdError, Damaged
from cdmd.models import Seq

Change = tuple[str, bytes, bytes | None]
Changed = dict[str, dict[bytes, bytes | None]]


class Changes(msgspec.Struct, frozen=True, array_like=True):
    """What one message says: changes of state (connector, key, value or gone), and counts that came with no entry."""

    state: tuple[Change, ...]
    counts: tuple[Counted, ...] = ()


class Checkpoint(msgspec.Struct, frozen=True):
    """What the bucket goes with: the last message of both streams, the last entry, and what was counted until then.

    ``begins`` and ``first``: the first message of the entries that counts, and its first entry. ``division``: see there.
    """

    journal_id: str
    entries: int = 0
    changes: int = 0
    head: Seq = Seq(0)
    begins: int = 1
    first: Seq = Seq(1)
    counts: tuple[Counted, ...] = ()
    division: Division = Division()


_DIVIDED: Final = b"divided "
"""How a checkpoint begins behind which entries are in lanes: who knows of none cannot read it, and so never goes on there."""
_WRAPPED: Final = b"\0cdmd\0"
"""How a message of the bucket begins that is not simply a value."""
_LOOKS: Final = 5
_ENCODE: Final = msgspec.msgpack.Encoder().encode
_CHANGES: Final = msgspec.msgpack.Decoder(Changes)
_CHECKPOINT: Final = msgspec.json.Decoder(Checkpoint)


def encode_checkpoint(place: Checkpoint) -> bytes:
    """As a message of the bucket."""
    return (_DIVIDED if place.division.ends else b"") + msgspec.json.encode(place)


def decode_checkpoint(data: bytes, where: str) -> Checkpoint:
    """Raises ``Damaged``; ``where`` is the stream."""
    try:
        return _CHECKPOINT.decode(data.removeprefix(_DIVIDED))
    except msgspec.DecodeError as error:
        raise Damaged(f"the checkpoint in {where} cannot be understood: {error}") from error


def changes_of(appends: Sequence[Append], *, most: int, counts: Sequence[Counted]) -> list[bytes]:
    """What is written of these for the state, in messages of about ``most`` bytes at most; empty where nothing is."""
    bodies, some, size = list[bytes](), list[Change](), 0
    for append in appends:
        for key, value in append.state.items():
            if some and size + len(key) + len(value or b"") > most:
                bodies.append(_ENCODE(Changes(tuple(some))))
                some, size = [], 0
            some.append((append.connector, key, value))
            size += len(append.connector) + len(key) + len(value or b"") + 16
    if some or counts:
        bodies.append(_ENCODE(Changes(tuple(some), tuple(counts))))
    return bodies


def counts_of(appends: Sequence[Append]) -> list[Counted]:
    """What all of them counted, each counter once."""
    counts: Counter[tuple[str, str]] = Counter()
    for append in appends:
        for name, value in append.counts.items():
            counts[append.connector, name] += value
    return [(*key, value) for key, value in counts.items()]


class Kept(msgspec.Struct, frozen=True, array_like=True):
    """What stands behind ``_WRAPPED`` in a message of the bucket: a key that no subject can hold, and a value.

    ``chunks``: the value lies in so many messages of their own instead, under that ``version``.
    """

    key: bytes | None
    value: bytes = b""
    chunks: int = 0
    version: int = 0


_KEPT: Final = msgspec.msgpack.Decoder(Kept)


class Beside:
    """State and counters as they are now."""

    def __init__(self, stream: Stream, bucket: Bucket) -> None:
        self._stream, self._bucket = stream, bucket
        self._changed: Changed = {}
        self._leaving: Changed = {}
        self._counts: Counter[tuple[str, str]] = Counter()
        self._flushing = anyio.Lock()
        self.size = 0
        """Bytes of changes since the last checkpoint."""
        self.messages = 0
        """Messages since the last checkpoint, of both streams."""

    async def load(self) -> Checkpoint | None:
        """The last checkpoint; its counts hold from now on. Raises ``Damaged``."""
        found = await self._stream.last(self._bucket.checkpoint)
        if found is None:
            return None
        checkpoint = decode_checkpoint(found.data, self._stream.name)
        self.count(checkpoint.counts)
        return checkpoint

    async def is_last(self, checkpoint: Checkpoint | None) -> bool:
        """Whether no other one came since. Raises ``Damaged``."""
        found = await self._stream.last(self._bucket.checkpoint)
        return (None if found is None else decode_checkpoint(found.data, self._stream.name)) == checkpoint

    def adopt(self, at: int, body: bytes) -> None:
        """Changes that are durable."""
        try:
            found = _CHANGES.decode(body)
        except msgspec.DecodeError as error:
            raise Damaged(f"change {at} beside {self._stream.name} cannot be understood: {error}") from error
        for connector, key, value in found.state:
            self._changed.setdefault(connector, {})[key] = value
            self.size += len(key) + len(value or b"")
        self.count(found.counts)
        self.messages += 1

    def count(self, counts: Iterable[Counted]) -> None:
        """Add to the counters."""
        for connector, name, value in counts:
            self._counts[connector, name] += value

    def forget_counts(self) -> None:
        """Nothing was counted."""
        self._counts.clear()

    @property
    def counts(self) -> dict[tuple[str, str], int]:
        """The door's counters."""
        return dict(self._counts)

    # ---- reading -----------------------------------------------------------------------------------------------------

    async def get(self, connector: str, keys: Iterable[bytes]) -> dict[bytes, bytes]:
        """The connector's state at those keys."""
        changed, wanted = self._changes(connector), list(keys)
        found = await self._values(connector, [key for key in wanted if key not in changed])
        changed = changed | self._changes(connector)
        return found | {key: value for key in wanted if (value := changed.get(key)) is not None}

    async def scan(self, connector: str, prefix: bytes, *, page: int) -> AsyncIterator[tuple[bytes, bytes]]:
        """The connector's state under ``prefix`` in key order."""
        keys = await self.keys(connector, prefix)
        for start in range(0, len(keys), page):
            some = keys[start : start + page]
            found = await self.get(connector, some)
            for key in some:
                if key in found:
                    yield key, found[key]

    async def keys(self, connector: str, prefix: bytes) -> list[bytes]:
        """The keys under ``prefix``, sorted."""
        before = self._changes(connector)
        subjects = await self._stream.subjects(self._bucket.under(connector, prefix))
        kept = {key for _, key in map(self._bucket.read, subjects) if key is not None and key.startswith(prefix)}
        kept |= {key for key in await self._long_keys(connector) if key.startswith(prefix)}
        changed = before | self._changes(connector)
        kept |= {key for key, value in changed.items() if value is not None and key.startswith(prefix)}
        return sorted(kept - {key for key, value in changed.items() if value is None})

    async def owners(self) -> list[str]:
        """Whose state there is."""
        kept = {self._bucket.read(subject)[0] for subject in await self._stream.subjects(self._bucket.everyone)}
        asked = kept | self._changed.keys() | self._leaving.keys()
        return sorted([name for name in asked if await self.keys(name, b"")])

    def _changes(self, connector: str) -> dict[bytes, bytes | None]:
        return self._leaving.get(connector, {}) | self._changed.get(connector, {})

    async def _values(self, connector: str, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        values: dict[bytes, bytes] = {}

        async def fetch(key: bytes) -> None:
            value = await self._value(self._bucket.key(connector, key))
            if value is not None:
                values[key] = value

        await abreast(partial(fetch, key) for key in keys)
        return values

    async def _long_keys(self, connector: str) -> list[bytes]:
        found = list[bytes]()
        for subject in await self._stream.subjects(self._bucket.long(connector)):
            message = await self._stream.last(subject)
            if message is not None and (key := _unwrapped(message.data).key) is not None:
                found.append(key)
        return found

    async def _value(self, subject: str) -> bytes | None:
        """Raises ``Damaged`` where a part of it stays missing."""
        for _ in range(_LOOKS):
            message = await self._stream.last(subject)
            if message is None:
                return None
            if not message.data.startswith(_WRAPPED):
                return message.data
            kept = _unwrapped(message.data)
            if not kept.chunks:
                return kept.value
            parts = [await self._stream.last(self._bucket.chunk(subject, kept.version, n)) for n in range(kept.chunks)]
            whole = [part.data for part in parts if part is not None]
            if len(whole) == kept.chunks:
                return b"".join(whole)
            # It is being replaced by another one.
        raise Damaged(f"a part of a connector's state in {self._stream.name} is missing")

    # ---- into the bucket ---------------------------------------------------------------------------------------------

    async def checkpoint(
        self, take: Callable[[tuple[Counted, ...]], Checkpoint], sure: Callable[[], Awaitable[None]]
    ) -> Checkpoint:
        """Bring everything into the bucket; ``take`` says which place that is, at once. Raises ``NotDurable``.

        ``sure`` raises where another daemon writes by now, and is asked between looking what each subject has and writing: so
        what another one writes, however long this process then stands still, comes behind what was seen, and stays.
        """
        async with self._flushing:
            place = take(tuple((*key, value) for key, value in self._counts.items()))
            leaving, self._changed, self._leaving = self._changed, {}, self._changed
            size, self.size, messages, self.messages = self.size, 0, self.messages, 0
            try:
                await self._write(leaving, place, sure)
            except BaseException:
                self._changed = _over(leaving, self._changed)
                self.size, self.messages = self.size + size, self.messages + messages
                raise
            finally:
                self._leaving = {}
        return place

    async def _write(self, leaving: Changed, place: Checkpoint, sure: Callable[[], Awaitable[None]]) -> None:
        values = {self._bucket.key(name, key): (key, value) for name, keys in leaving.items() for key, value in keys.items()}
        places, new = dict[str, list[int]](), list[int]()

        async def look(subject: str) -> None:
            places[subject] = await self._stream.places(subject)

        async def keep(subject: str) -> None:
            kept = await self._keep(subject, *values[subject], places[subject], place.changes)
            if kept is not None and not places[subject]:
                new.append(kept)

        await abreast(partial(look, subject) for subject in [*values, self._bucket.checkpoint])
        await sure()
        try:
            await abreast(partial(keep, subject) for subject in values)
            await self._drop_chunks(values, before=place.changes)
            await sure()
        except BaseException:
            # Where there was nothing before another one may have wiped the same key meanwhile, which looks as before.
            with anyio.CancelScope(shield=True), suppress(CdmdError):
                for seq in new:
                    await self._stream.erase(seq)
            raise
        checkpoint = self._bucket.checkpoint
        await self._stream.replace(checkpoint, encode_checkpoint(place), places=places[checkpoint])

    async def _keep(self, subject: str, key: bytes, value: bytes | None, places: Sequence[int], version: int) -> int | None:
        """Let the bucket have that value: as it is, or wrapped where a message or a subject cannot hold it so."""
        put, most = self._stream.replace, self._stream.most
        if value is not None and (is_long(key) or len(value) > most or value.startswith(_WRAPPED)):
            chunks = split(value, most) if len(value) + len(key) > most else []
            for number, chunk in enumerate(chunks):
                await put(self._bucket.chunk(subject, version, number), chunk)
            kept = Kept(key if is_long(key) else None, b"" if chunks else value, len(chunks), version)
            value = _WRAPPED + _ENCODE(kept)
        return await put(subject, value, places=places)

    async def _drop_chunks(self, subjects: Iterable[str], *, before: int) -> None:
        """Erase parts of what these subjects had before that version."""
        there = await self._stream.subjects(self._bucket.chunks)
        if there:
            ours = {digest(subject.encode()) for subject in subjects}
            for chunk in there:
                *_, whose, version, _ = chunk.split(".")
                if whose in ours and int(version) < before:
                    await self._stream.replace(chunk, None)


def _unwrapped(data: bytes) -> Kept:
    return _KEPT.decode(data[len(_WRAPPED) :])


def _over(before: Mapping[str, Mapping[bytes, bytes | None]], after: Changed) -> Changed:
    return {name: {**before.get(name, {}), **after.get(name, {})} for name in before.keys() | after.keys()}
