"""Keys that name somebody who is to be forgotten: they are not fetched any more, and go from memory and disk.

What is being fetched just now is delivered or tried again once more; what is delivered is the intake's to keep out.
"""

import re
from collections.abc import Collection
from typing import Final
from urllib.parse import unquote

import msgspec

from cdmd.connectors.thin_keys import MARKS, Keys, Mark, read_mark_row, trouble_row
from cdmd.contracts import Source

_AT_ONCE: Final = 1_000


async def erase(values: Collection[str], keys: Keys, source: Source) -> int:
    """Remove the marks whose key or address has one of ``values`` in it as a word; how many. Raises ``NotDurable``."""
    words = [re.escape(value.strip()) for value in values if value.strip()]
    if not words:
        return 0
    named = re.compile(rf"(?<![^\W_])(?:{'|'.join(words)})(?![^\W_])", re.IGNORECASE)
    state: dict[bytes, bytes | None] = {}
    count = 0
    async for row, value in source.scan(MARKS):
        mark = msgspec.msgpack.decode(value, type=Mark)
        if named.search(mark.key) or named.search(unquote(mark.target)):
            digest, _ = read_mark_row(row)
            state |= {row: None, trouble_row(digest): None}
            keys.forget(digest)
            count += 1
        if len(state) >= _AT_ONCE:
            await source.emit([], state=state)
            state = {}
    await source.emit([], state=state)
    return count
