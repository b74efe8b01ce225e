"""Dead letters that their connector retries itself: what it could not fetch is fetched again, not mapped again."""

import json
from collections.abc import Sequence
from typing import Any

import msgspec
import structlog

from cdmd.contracts import DeadLetterFilter, RetryingConnector, Store
from cdmd.daemon.gate import Live
from cdmd.daemon.live import LiveConnectors
from cdmd.models import DeadLetter, Micros


async def take_back(connectors: LiveConnectors, store: Store, which: DeadLetterFilter, *, now: Micros) -> int:
    """Hand those of ``which`` to their connectors; they are dead no more once that is durable. Returns how many."""
    count = 0
    for live in connectors:
        if isinstance(live.connector, RetryingConnector) and which.connector in {None, live.config.name}:
            for code in live.connector.retries:
                if which.code in {None, code}:
                    wanted = msgspec.structs.replace(which, connector=live.config.name, code=code)
                    count += await _taken(live, live.connector, await store.dead_letters(wanted), store, now)
    return count


async def _taken(live: Live, connector: RetryingConnector, letters: Sequence[DeadLetter], store: Store, now: Micros) -> int:
    """A crash between the two steps leaves a letter that is retried twice, never one that is lost."""
    kept = [letter for letter in letters if letter.entry.raw]
    if not kept:
        return 0
    taken = await connector.take_back([_value(letter) for letter in kept], live.source)
    seqs = [letter.seq for letter, back in zip(kept, taken, strict=True) if back]
    if not seqs:
        return 0
    structlog.get_logger().info("dead_letters_taken_back", connector=live.config.name, count=len(seqs))
    return await store.discard(DeadLetterFilter(seqs=seqs, limit=len(seqs)), now=now)


def _value(letter: DeadLetter) -> Any:
    """The record as its connector brought it; whatever was not kept whole is nothing that it could take up."""
    kept = json.loads(letter.entry.raw)
    return kept.get("value") if isinstance(kept, dict) else None
