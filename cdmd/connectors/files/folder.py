"""A local folder as a place with files: dropped there by hand, by another program, or mounted.

Links are never followed, and only plain files are read: a pipe or a device would hold up a thread for ever. All calls of the
file system run in threads.
"""

import os
import stat
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread
from typing_extensions import override

from cdmd.connectors.files.area import PAGE, Area, FileFault, Listed, Opened, Sink, Version
from cdmd.connectors.files.names import Patterns
from cdmd.errors import SourceUnavailable

_CHUNK: Final = 1024 * 1024
_LINK: Final = "it is a link, and links are not followed"
_SPECIAL: Final = "it is no plain file"


class Folder(Area):
    """Files below ``root`` that match, down to ``depth`` folders below it. ``skip``: folders that are never looked into."""

    def __init__(self, root: Path, *, wanted: Patterns, depth: int, skip: Sequence[bytes] = ()) -> None:
        self._root, self._wanted, self._depth, self._skip = root, wanted, depth, frozenset(skip)
        self._denied: list[bytes] = []

    @property
    @override
    def denied(self) -> Sequence[bytes]:
        return self._denied

    @override
    async def listing(self) -> AsyncGenerator[Sequence[Listed], None]:
        self._denied = []
        walk = self._walk(b"", self._depth)
        try:
            while page := await anyio.to_thread.run_sync(_page, walk):
                yield page
        except OSError as error:
            raise SourceUnavailable(f"the folder cannot be listed: {error.strerror}") from error

    @override
    @asynccontextmanager
    async def opened(self, path: bytes) -> AsyncIterator[Opened]:
        handle = await anyio.to_thread.run_sync(self._open, path)
        try:
            yield _OpenedFile(handle)
        finally:
            os.close(handle)

    @override
    async def version(self, path: bytes) -> Version | None:
        try:
            found = await anyio.to_thread.run_sync(os.lstat, self._at(path))
        except OSError:
            return None
        return _version(found) if stat.S_ISREG(found.st_mode) else None

    @override
    async def remove(self, path: bytes) -> None:
        await anyio.to_thread.run_sync(_told, self._at(path).unlink)

    @override
    async def move(self, path: bytes, target: bytes) -> None:
        await anyio.to_thread.run_sync(_told, partial(_move, self._at(path), self._at(target)))

    @override
    async def rest(self, seconds: float) -> None:
        """Nothing is held."""

    @override
    async def close(self) -> None:
        """Nothing is held."""

    def _at(self, path: bytes) -> Path:
        return self._root / os.fsdecode(path)

    def _walk(self, below: bytes, depth: int) -> Iterator[Listed]:
        with os.scandir(os.fsencode(self._at(below))) as entries:
            folders = []
            for entry in entries:
                path = below + entry.name
                if entry.is_dir(follow_symlinks=False):
                    folders.append(path)
                elif self._wanted.matches(path) and (listed := _listed(path, entry)) is not None:
                    yield listed
        for folder in sorted(folders) if depth else ():
            if folder not in self._skip:
                yield from self._below(folder, depth - 1)

    def _below(self, folder: bytes, depth: int) -> Iterator[Listed]:
        try:
            yield from self._walk(folder + b"/", depth)
        except OSError:
            self._denied.append(folder)

    def _open(self, path: bytes) -> int:
        try:
            handle = os.open(self._at(path), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise _fault(error) from error
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            raise FileFault(_SPECIAL)
        return handle


class _OpenedFile(Opened):
    def __init__(self, handle: int) -> None:
        self._handle = handle

    @override
    async def version(self) -> Version:
        return _version(os.fstat(self._handle))

    @override
    async def copy(self, start: int, end: int, sink: Sink) -> None:
        while start < end:
            try:
                chunk = await anyio.to_thread.run_sync(os.pread, self._handle, min(_CHUNK, end - start), start)
            except OSError as error:
                raise _fault(error) from error
            if not chunk:
                return
            await sink(chunk)
            start += len(chunk)


def _page(walk: Iterator[Listed]) -> list[Listed]:
    return list(islice(walk, PAGE))


def _listed(path: bytes, entry: "os.DirEntry[bytes]") -> Listed | None:
    try:
        found = entry.stat(follow_symlinks=False)
    except OSError:  # it went while we looked
        return None
    fault = None if entry.is_file(follow_symlinks=False) else _LINK if entry.is_symlink() else _SPECIAL
    return Listed(path, _version(found), fault)


def _version(found: os.stat_result) -> Version:
    return Version(found.st_size, found.st_mtime_ns)


def _move(path: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(path, target, follow_symlinks=False)  # unlike a rename it never replaces another file
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        if target.exists():
            raise
        path.rename(target)
    else:
        path.unlink()


def _told(call: Callable[[], None]) -> None:
    try:
        call()
    except OSError as error:
        raise _fault(error) from error


def _fault(error: OSError) -> FileFault:
    return FileFault((error.strerror or "it cannot be read").lower(), gone=isinstance(error, FileNotFoundError))
