"""A block is one commit of the journal: consecutive entries packed into one row with a checksum over all of it.

One row per commit instead of one per entry: it halves the cost of an append (tests/bench/bench_store.py).
"""

import hashlib
import struct
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from cdmd.errors import Damaged
from cdmd.models import Entry, Journaled, Micros, Seq

_DECODER: Final = msgspec.msgpack.Decoder(list[Entry])
_RESTORE: Final = "put a backup in place with: cdmd restore FILE"
_FIX, _SHORT = 15, 0xFFFF


class Block(NamedTuple):
    """A row of ``blocks``: entries ``first`` to ``last``, when they were written, a 16-byte checksum, the packed entries."""

    last: Seq
    first: Seq
    written: Micros
    checksum: bytes
    body: bytes


def pack(first: Seq, encoded: Sequence[bytes], *, written: Micros) -> Block:
    """The block of these encoded entries, the first of which is number ``first``."""
    last, pieces = Seq(first + len(encoded) - 1), [_array_header(len(encoded)), *encoded]
    return Block(last, first, written, checksum(first, last, written, pieces), b"".join(pieces))


def unpack(block: Block) -> list[Entry]:
    """The entries of a block. Raises ``Damaged`` where they are not what was written, or none that can be read."""
    fault = examine(block)
    if fault is not None:
        raise Damaged(f"the journal is damaged: {fault}; {_RESTORE}")
    try:
        return _DECODER.decode(block.body)
    except msgspec.DecodeError as error:
        fault = f"the entries {block.first} to {block.last} are as they were written, but cannot be read: {error}"
        raise Damaged(f"the journal is damaged: {fault}; {_RESTORE}") from error


def unpack_after(rows: Sequence[Sequence[Any]], after: Seq, limit: int) -> list[Journaled]:
    """Up to ``limit`` entries after ``after`` out of consecutive blocks. Raises ``Damaged``."""
    found: list[Journaled] = []
    for row in rows:
        block = Block(*row)
        found += [Journaled(Seq(n), entry) for n, entry in enumerate(unpack(block), block.first) if n > after]
    return found[:limit]


def reach(blocks: Sequence[tuple[int, int, int]], *, limit: int, most: int) -> int:
    """The last number to read: of (entries, last number, bytes) in order, up to ``limit`` entries and ``most`` bytes.

    At least one block, so that a large one is read, too.
    """
    upto = entries = size = 0
    for count, last, length in blocks:
        if upto and (entries >= limit or size + length > most):
            break
        upto, entries, size = last, entries + count, size + length
    return upto


def examine(block: Block) -> str | None:
    """What is wrong with a block, or None."""
    if checksum(block.first, block.last, block.written, [block.body]) != block.checksum:
        return f"the entries {block.first} to {block.last} do not match their checksum"
    return None


def examine_run(rows: Sequence[Sequence[Any]], *, before: Seq | None) -> list[str]:
    """What is wrong with consecutive blocks, also between them; ``before`` is the last number in front of them if known."""
    faults: list[str] = []
    for row in rows:
        block = Block(*row)
        if before is not None and block.first != before + 1:
            faults.append(f"the entries between {before} and {block.first} are missing")
        fault = examine(block)
        faults += [fault] if fault else []
        before = block.last
    return faults


def checksum(first: int, last: int, written: int, pieces: Iterable[bytes]) -> bytes:
    """BLAKE2b over all that a block says.

    Piece by piece: for more than 2 KiB at once the interpreter is let go of, and has to be waited for.
    """
    digest = hashlib.blake2b(struct.pack(">qqq", first, last, written), digest_size=16)
    for piece in pieces:
        digest.update(piece)
    return digest.digest()


def _array_header(count: int) -> bytes:
    """The MessagePack header of an array (https://github.com/msgpack/msgpack/blob/master/spec.md#array-format-family)."""
    if count <= _FIX:
        return bytes((0x90 | count,))
    return struct.pack(">BH", 0xDC, count) if count <= _SHORT else struct.pack(">BI", 0xDD, count)
