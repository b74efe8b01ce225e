"""The ledger: what is known of every file, one row a path, in the connector's own state. Nothing is held in memory.

``p/PATH`` is a file on its way (seen, settling, parsing), ``f/PATH`` the last one of that path that is over and done with,
``c/DIGEST`` a content that was delivered. Not here: what to do about a file (``watching``).
"""

from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Final

import msgspec

from cdmd.connectors.files.area import Version
from cdmd.contracts import Source

OPEN: Final = b"p/"
OVER: Final = b"f/"
CONTENT: Final = b"c/"

SEEN: Final = "seen"
PARSING: Final = "parsing"
DONE: Final = "done"
DUPLICATE: Final = "duplicate"
QUARANTINED: Final = "quarantined"
BLOCKED: Final = "blocked"
SKIPPED: Final = "skipped"
GONE: Final = "gone"

KEPT: Final = "kept"
DELETED: Final = "deleted"
MOVED: Final = "moved"
REFUSED: Final = "refused"
REPLACED: Final = "replaced"

Changes = dict[bytes, bytes | None]


class Entry(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """A file in the ledger. ``size`` and ``mtime`` as the listing had them; ``since`` (microseconds) when the state began.

    While it settles: ``session`` and ``sighted`` say when it was first seen like this, in monotonic seconds of one process, and
    ``listing`` at which of its listings. Once fetched: ``digest`` (SHA-256) of its content, ``record`` up to which its records
    are durable, of ``records``; ``taken``, ``filtered`` and ``bad`` what became of them. ``after`` is what became of the file
    at the other side; ``again`` says that it is read although its content was delivered before. ``tries`` is how often in a row
    it was read in vain.
    """

    state: str
    size: int
    mtime: int
    since: int
    generation: int = 1
    reason: str = ""
    session: bytes = b""
    sighted: float = 0.0
    listing: int = 0
    digest: bytes = b""
    record: int = 0
    records: int = 0
    taken: int = 0
    filtered: int = 0
    bad: int = 0
    after: str = ""
    again: bool = False
    tries: int = 0

    @property
    def version(self) -> Version:
        """What the listing said of it."""
        return Version(self.size, self.mtime)


class Delivered(msgspec.Struct, frozen=True, array_like=True):
    """Where a content was first delivered from."""

    path: bytes
    since: int


_ENCODE: Final = msgspec.msgpack.Encoder().encode
_ENTRY: Final = msgspec.msgpack.Decoder(Entry).decode
_DELIVERED: Final = msgspec.msgpack.Decoder(Delivered).decode


class Known(msgspec.Struct, frozen=True):
    """What the ledger has of one path: the file on its way, and the last one that is over."""

    open: Entry | None = None
    over: Entry | None = None


def encoded(row: Entry | Delivered) -> bytes:
    """A row as it is kept."""
    return _ENCODE(row)


def opened(path: bytes, entry: Entry) -> Changes:
    """The file is on its way."""
    return {OPEN + path: _ENCODE(entry)}


def closed(path: bytes, entry: Entry) -> Changes:
    """The file is over and done with."""
    return {OVER + path: _ENCODE(entry), OPEN + path: None}


def delivered(path: bytes, entry: Entry) -> Changes:
    """All of its records are durable: its content is known from now on."""
    return {**closed(path, entry), CONTENT + entry.digest: _ENCODE(Delivered(path, entry.since))}


class Ledger:
    """Reads the ledger; changes are written with ``Source.emit``, together with the records they belong to."""

    def __init__(self, source: Source) -> None:
        self._source = source

    async def known(self, paths: Iterable[bytes]) -> Mapping[bytes, Known]:
        """What is known of each of those paths."""
        wanted = list(paths)
        found = await self._source.get([prefix + path for prefix in (OPEN, OVER) for path in wanted])
        return {path: Known(_entry(found.get(OPEN + path)), _entry(found.get(OVER + path))) for path in wanted}

    async def content(self, digest: bytes) -> Delivered | None:
        """Where a content was delivered from, or None."""
        found = await self._source.get([CONTENT + digest])
        return _DELIVERED(found[CONTENT + digest]) if found else None

    async def on_their_way(self) -> AsyncIterator[tuple[bytes, Entry]]:
        """Every file that is not over, by path."""
        async for key, value in self._source.scan(OPEN):
            yield key.removeprefix(OPEN), _ENTRY(value)

    async def rows(self) -> AsyncIterator[tuple[bytes, bytes, Entry]]:
        """Every file with its key in the state, its path, and its row."""
        for place in (OPEN, OVER):
            async for key, value in self._source.scan(place):
                yield key, key.removeprefix(place), _ENTRY(value)

    async def all(self) -> AsyncIterator[tuple[bytes, Entry]]:
        """Every file: first those on their way, then those that are over."""
        async for one in self.on_their_way():
            yield one
        async for key, value in self._source.scan(OVER):
            yield key.removeprefix(OVER), _ENTRY(value)


def _entry(encoded: bytes | None) -> Entry | None:
    return None if encoded is None else _ENTRY(encoded)
