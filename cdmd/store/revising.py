"""Exchanging entries of the journal: their blocks are written anew, with the same numbers and a checksum that fits again.

What an entry was is overwritten where it lay (``secure_delete``). Not here: which entries, and what stands in their place.
"""

import sqlite3
from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from cdmd.contracts import Holding, Revise
from cdmd.models import Journaled, Seq, encode_entry
from cdmd.store.blocks import Block, pack, unpack
from cdmd.store.database import transaction
from cdmd.store.sql import load_queries

_SQL: Final = load_queries("journal")


class Revised(NamedTuple):
    """Blocks as they have to be, each with the checksum that it had, and how many entries are others in them."""

    blocks: Sequence[tuple[Block, bytes]]
    entries: int


def revised(rows: Sequence[Sequence[Any]], revise: Revise, holding: Holding) -> Revised:
    """What has to be exchanged in consecutive blocks. It takes a while: for a thread. Raises ``Damaged``."""
    found, count, held = list[tuple[Block, bytes]](), 0, _held(holding)
    for row in rows:
        block = Block(*row)
        if not held(block):
            continue
        entries = unpack(block)
        changed = revise([Journaled(Seq(seq), entry) for seq, entry in enumerate(entries, block.first)])
        if changed:
            encoded = [encode_entry(changed.get(Seq(seq), entry)) for seq, entry in enumerate(entries, block.first)]
            found.append((pack(block.first, encoded, written=block.written), block.checksum))
            count += len(changed)
    return Revised(found, count)


def exchange(blocks: Sequence[tuple[Block, bytes]], connection: sqlite3.Connection) -> int:
    """Write them in place of what they were; one that was pruned meanwhile stays away. On the writer's thread."""
    with transaction(connection):
        return sum(
            connection.execute(_SQL["revise"], (block.checksum, block.body, block.last, was)).rowcount for block, was in blocks
        )


def _held(holding: Holding) -> Callable[[Block], bool]:
    texts, seqs = holding.texts, sorted(holding.seqs)

    def held(block: Block) -> bool:
        at = bisect_left(seqs, block.first)
        if texts is None or (at < len(seqs) and seqs[at] <= block.last):
            return True
        body = block.body.lower()
        return any(text in body for text in texts)

    return held
