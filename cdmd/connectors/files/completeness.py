"""What says that a file is all there beside its being left alone: a marker file, a checksum file or manifest.

Not here: waiting until it is left alone (``watching``), and what its own records say (formats).
"""

import hashlib
import re
from collections.abc import Sequence
from typing import Final

import anyio.to_thread

from cdmd.connectors.files.area import Area, Listed, Version, read
from cdmd.connectors.files.names import Patterns, shown
from cdmd.connectors.files.settings import FileSettings
from cdmd.connectors.files.spool import Spool

_HEX: Final = {32: "md5", 40: "sha1", 64: "sha256", 128: "sha512"}
_LINE: Final = re.compile(rb"([0-9A-Fa-f]{32,128})(?:[ \t]+\*?(.*))?")
_LARGEST: Final = 4 * 2**20
_STEP: Final = 2**20


class Waits(Exception):
    """The file is not to be read yet; the sentence says what it waits for."""


class Completeness:
    """For one look at ``area``: which of its entries are files, which only say that a file is complete."""

    def __init__(self, settings: FileSettings, area: Area) -> None:
        self.area = area
        self._marker, self._checksum = settings.marker, settings.checksum
        self._wanted, self._excluded = Patterns(settings.files), Patterns(settings.exclude)
        self._beside, self._most = beside(settings), settings.max_size
        self._signs: dict[bytes, Version] = {}

    def files(self, page: Sequence[Listed]) -> list[Listed]:
        """The entries that are files to read; the others are remembered as signs."""
        found = []
        for listed in page:
            if self._beside.matches(listed.path):
                self._signs[listed.path] = listed.version
            elif self._wanted.matches(listed.path) and not self._excluded.matches(listed.path):
                found.append(listed)
        return found

    def missing(self, path: bytes) -> str | None:
        """What the file lacks, as the listing says; None where it lacks nothing."""
        for name in (self._marker, self._checksum):
            if name is not None and (sign := _sign(name, path)) not in self._signs:
                return f"{shown(sign.rpartition(b'/')[2])} is not there yet"
        return None

    def too_large(self, size: int, room: int) -> str | None:
        """Why a file of that many bytes is not fetched now; None where it may be."""
        if size > self._most.bytes:
            return f"it has {size} bytes, more than max_size ({self._most})"
        if size > room:
            return f"it has {size} bytes, and the state directory has room for {room} beyond journal.reserve"
        return None

    async def compare(self, path: bytes, spool: Spool) -> None:
        """Hold the content against its checksum file. Raises ``Waits``, ``FileFault``, ``SourceUnavailable``."""
        if self._checksum is None:
            return
        sign = _sign(self._checksum, path)
        expected = _digest_in(await self._read(sign), path.rpartition(b"/")[2])
        if expected is None:
            raise Waits(f"{shown(sign)} holds no checksum of it")
        kind = _HEX[len(expected)]
        digest = spool.digest.hex() if kind == "sha256" else await anyio.to_thread.run_sync(_hashed, spool, kind)
        if digest != expected:
            raise Waits(f"its content is not what {shown(sign)} says")

    async def _read(self, sign: bytes) -> bytes:
        size = min(self._signs[sign].size, _LARGEST)
        async with self.area.opened(sign) as file:
            return await read(file, 0, size)


def beside(settings: FileSettings) -> Patterns:
    """Names of files that only say something about others."""
    return Patterns(
        [text.replace("{name}", "*").replace("{stem}", "*") for text in (settings.marker, settings.checksum) if text]
    )


def _sign(name: str, path: bytes) -> bytes:
    folder, slash, last = path.rpartition(b"/")
    stem = last.partition(b".")[0]
    return folder + slash + name.encode().replace(b"{name}", last).replace(b"{stem}", stem)


def _digest_in(content: bytes, name: bytes) -> str | None:
    """The checksum in a file as ``sha256sum`` writes it: on the line with that name, else one that stands alone."""
    alone = None
    for line in content.splitlines():
        found = _LINE.fullmatch(line.strip())
        if found is None or len(found[1]) not in _HEX:
            continue
        if found[2] is not None and found[2].rpartition(b"/")[2] == name:
            return found[1].decode().lower()
        if found[2] is None:
            alone = found[1].decode().lower()
    return alone


def _hashed(spool: Spool, kind: str) -> str:
    digest = hashlib.new(kind, usedforsecurity=False)
    with spool.reader() as reader:
        while chunk := reader.read(_STEP):
            digest.update(chunk)
    return digest.hexdigest()
