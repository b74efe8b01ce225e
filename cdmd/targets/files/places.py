"""Where batch files are put: under a name that nobody looks for until they are whole, then renamed."""

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from glob import escape
from pathlib import Path
from secrets import token_hex
from typing import Final, Protocol

import anyio.to_thread
from typing_extensions import override

from cdmd.contracts import Outlet
from cdmd.errors import SourceUnavailable
from cdmd.targets.files.settings import FolderTargetSettings

_PIECE: Final = 2**18


class Opened(Protocol):
    """A place that can be written to."""

    async def put(self, file: Path, name: str) -> None:
        """Have the content of ``file`` there under ``name``, in place of what is there. Raises ``SourceUnavailable``."""
        ...


class Place(Protocol):
    """A place for files."""

    def opened(self, outlet: Outlet) -> AbstractAsyncContextManager[Opened]:
        """The place for as long as it is written to. Raises ``SourceUnavailable`` and ``SourceBlocked``."""
        ...


class FolderPlace(Place, Opened):
    """A folder of this machine, or one that is mounted."""

    def __init__(self, settings: FolderTargetSettings) -> None:
        self._folder = Path(settings.path)

    @override
    @asynccontextmanager
    async def opened(self, outlet: Outlet) -> AsyncIterator[Opened]:
        yield self

    @override
    async def put(self, file: Path, name: str) -> None:
        part = self._folder / f".{name}.{token_hex(4)}.part"
        try:
            await anyio.to_thread.run_sync(self._copy, file, part, name)
            # No thread can be cancelled: one whose target was stopped copies on, but what it copied is given no name.
            await anyio.to_thread.run_sync(self._name, part, name)
        except FileNotFoundError:
            raise SourceUnavailable(f"the folder {self._folder} does not exist") from None
        except OSError as error:
            raise SourceUnavailable(f"{self._folder} cannot be written to: {error.strerror}") from error

    def _copy(self, file: Path, part: Path, name: str) -> None:
        for other in self._folder.glob(f".{escape(name)}.????????.part"):
            other.unlink(missing_ok=True)
        with file.open("rb") as source, part.open("xb") as target:
            shutil.copyfileobj(source, target, _PIECE)
            target.flush()
            os.fsync(target.fileno())

    def _name(self, part: Path, name: str) -> None:
        part.replace(self._folder / name)
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
