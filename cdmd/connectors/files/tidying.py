"""What becomes of a file at the other side after it was read: it stays, goes, or moves. The ledger decides success, not this.

A file that is not the one that was read any more is left alone: a new one has come under its name.
"""

from cdmd.connectors.files.area import Area, FileFault
from cdmd.connectors.files.ledger import DELETED, KEPT, MOVED, REFUSED, REPLACED, Entry


class Tidying:
    """``keep``, ``delete`` or ``move:FOLDER``."""

    def __init__(self, after: str) -> None:
        self._what, _, folder = after.partition(":")
        self.folder = folder.strip("/").encode()

    async def tidy(self, path: bytes, entry: Entry, area: Area) -> tuple[str, str | None]:
        """What became of it, and the sentence of a refusal. Raises ``SourceUnavailable``."""
        if self._what == "keep":
            return KEPT, None
        if await area.version(path) != entry.version:
            return REPLACED, None
        try:
            if self._what == "delete":
                await area.remove(path)
                return DELETED, None
            await self._move(path, entry, area)
        except FileFault as refusal:
            return REFUSED, f"it was read; it could not be {'deleted' if self._what == 'delete' else 'moved'}: {refusal}"
        return MOVED, None

    async def _move(self, path: bytes, entry: Entry, area: Area) -> None:
        """Under its own name, or with a part of its digest where the archive has that name already."""
        target = self.folder + b"/" + path
        try:
            await area.move(path, target)
        except FileFault:
            if await area.version(target) is None:
                raise
            await area.move(path, target + b"." + entry.digest[:6].hex().encode())
