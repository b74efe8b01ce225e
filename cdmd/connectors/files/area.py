"""What a place with files is to the watcher: a listing, a file's bytes, and what may be done with it afterwards.

Two places fulfil it: ``folder`` and ``sftp``. Paths are bytes from the place's own root, their parts joined by slashes.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Final, NamedTuple, Protocol, TypeAlias

PAGE: Final = 500
"""About how many entries of a listing come at once."""


class Version(NamedTuple):
    """What a listing says of a file's content: bytes, and its time of change in the place's own units and clock."""

    size: int
    mtime: int


class Listed(NamedTuple):
    """One entry of a listing; with a ``fault`` it is never read, and that says why."""

    path: bytes
    version: Version
    fault: str | None = None


class FileFault(Exception):
    """This one file cannot be had now; the sentence says why. ``gone``: it is no longer there."""

    def __init__(self, sentence: str, *, gone: bool = False) -> None:
        super().__init__(sentence)
        self.gone = gone


Sink: TypeAlias = Callable[[bytes], Awaitable[None]]
"""Takes the next bytes of a file."""


class Opened(Protocol):
    """A file held open: what it says of itself does not change when another takes its name."""

    async def version(self) -> Version:
        """Size and time of change now."""
        ...

    async def copy(self, start: int, end: int, sink: Sink) -> None:
        """Hand its bytes from ``start`` to ``end`` to ``sink`` in order; fewer where it ends before."""
        ...


class Area(Protocol):
    """A place with files. Raises ``SourceUnavailable`` where the place itself cannot be reached, ``FileFault`` for one file."""

    def listing(self) -> AsyncGenerator[Sequence[Listed], None]:
        """All that is there, in pages. A folder below the root that cannot be listed is in ``denied`` afterwards.

        Raises ``SourceUnavailable`` where the listing broke off: what did not come is not known to be gone.
        """
        ...

    @property
    def denied(self) -> Sequence[bytes]:
        """Folders that the last listing could not look into."""
        ...

    def opened(self, path: bytes) -> AbstractAsyncContextManager[Opened]:
        """Open a file, never through a link."""
        ...

    async def version(self, path: bytes) -> Version | None:
        """What is at that path now; None where nothing is, or no plain file."""
        ...

    async def remove(self, path: bytes) -> None:
        """Take the file away."""
        ...

    async def move(self, path: bytes, target: bytes) -> None:
        """Give it another path, making the folder; never over another file."""
        ...

    async def rest(self, seconds: float) -> None:
        """Nothing is wanted for that long: let go of what is not worth holding."""
        ...

    async def close(self) -> None:
        """Let go of everything, at once."""
        ...


async def read(file: Opened, start: int, end: int) -> bytes:
    """A few of its bytes at once."""
    found: list[bytes] = []

    async def keep(chunk: bytes) -> None:
        found.append(chunk)

    await file.copy(start, end, keep)
    return b"".join(found)
