"""Who was added, changed or removed since the last file: two registers in the order of their keys, compared as they pass.

A register is kept in parts of text; of each member it has the key, the public id and a keyed digest of the row.
"""

import base64
import hashlib
import struct
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Final, NamedTuple

PART: Final = 1_000
_ENTRY: Final = struct.Struct(">q26s16s")


class Entry(NamedTuple):
    """A member as the register remembers it."""

    key: int
    public: str
    digest: bytes


def digest(row: bytes, secret: bytes) -> bytes:
    """Of a row as it is written."""
    return hashlib.blake2b(row, digest_size=16, key=secret, person=b"cdmd batch row").digest()


def packed(entries: Sequence[Entry]) -> str:
    """A part of a register as text."""
    return base64.b85encode(b"".join(_ENTRY.pack(one.key, one.public.encode(), one.digest) for one in entries)).decode()


def unpacked(text: str) -> Iterator[Entry]:
    """The entries of a part. Raises ValueError where it is none."""
    try:
        for key, public, sum_ in _ENTRY.iter_unpack(base64.b85decode(text)):
            yield Entry(key, public.rstrip(b"\0").decode(), sum_)
    except struct.error as error:
        raise ValueError(str(error)) from error


class Comparison:
    """Feed it the members of now in the order of their keys; ``before`` are those of the last file in the same order."""

    def __init__(self, before: AsyncIterator[Entry]) -> None:
        self._before = before
        self._next: Entry | None = None
        self._begun = False

    async def of(self, member: Entry) -> tuple[list[str], str | None]:
        """The public ids of those removed whose turn was before it; and what it is: added, changed, or None as it was."""
        removed = [gone.public async for gone in self._until(member.key)]
        known = self._next
        if known is None or known.key != member.key:
            return removed, "added"
        self._next = await anext(self._before, None)
        return removed, None if known.digest == member.digest and known.public == member.public else "changed"

    async def rest(self) -> list[str]:
        """The public ids of those removed behind the last member."""
        return [gone.public async for gone in self._until(None)]

    async def _until(self, key: int | None) -> AsyncIterator[Entry]:
        if not self._begun:
            self._begun, self._next = True, await anext(self._before, None)
        while self._next is not None and (key is None or self._next.key < key):
            yield self._next
            self._next = await anext(self._before, None)
