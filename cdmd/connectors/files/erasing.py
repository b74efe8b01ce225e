"""Files whose names name somebody who is to be forgotten: their rows go out of the ledger.

That their content was delivered is still known, by its digest: where such a file lies there again it is a duplicate.
"""

import re
from collections.abc import Collection
from typing import Final

import anyio
import msgspec

from cdmd.connectors.files import ledger
from cdmd.connectors.files.ledger import Delivered, Entry, Ledger
from cdmd.contracts import Source

_AT_ONCE: Final = 1_000


async def erase(values: Collection[str], source: Source, lock: anyio.Lock) -> int:
    """Remove the rows of files whose path has one of ``values`` in it as a word; how many. Raises ``NotDurable``."""
    words = [re.escape(value.strip()) for value in values if value.strip()]
    if not words:
        return 0
    named = re.compile(rf"(?<![^\W_])(?:{'|'.join(words)})(?![^\W_])", re.IGNORECASE)
    return await _Erasing(named, source).all(lock)


class _Erasing:
    def __init__(self, named: re.Pattern[str], source: Source) -> None:
        self._named, self._source, self._ledger = named, source, Ledger(source)

    async def all(self, lock: anyio.Lock) -> int:
        count, changes = 0, ledger.Changes()
        async with lock:
            async for key, path, entry in self._ledger.rows():
                if self._names(path):
                    changes |= {key: None} | await self._content(entry)
                    count += 1
                elif self._named.search(entry.reason):  # it names the file that this one repeats
                    changes[key] = ledger.encoded(msgspec.structs.replace(entry, reason=""))
                if len(changes) >= _AT_ONCE:
                    await self._source.emit([], state=changes)
                    changes = {}
            await self._source.emit([], state=changes)
        return count

    async def _content(self, entry: Entry) -> ledger.Changes:
        """Its content without the name that it was delivered under."""
        delivered = await self._ledger.content(entry.digest) if entry.digest else None
        if delivered is None or not self._names(delivered.path):
            return {}
        return {ledger.CONTENT + entry.digest: ledger.encoded(Delivered(b"", delivered.since))}

    def _names(self, path: bytes) -> bool:
        return self._named.search(path.decode("utf-8", "replace")) is not None
