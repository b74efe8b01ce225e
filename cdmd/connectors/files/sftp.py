"""An sftp area as a place with files, over one connection that is made when it is needed.

It is imported where one is set up: asyncssh takes long to import.

Reading keeps many requests on their way, so that distance costs one round trip and not one for each piece. What the server
does not answer within the idle deadline ends the connection: a transfer never hangs, and cancelling it stops it at once.
"""

from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Iterable, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any, Final, TypeVar

import anyio
import asyncssh
from asyncssh import FILEXFER_TYPE_DIRECTORY, FILEXFER_TYPE_REGULAR, FILEXFER_TYPE_SYMLINK, FILEXFER_TYPE_UNKNOWN
from typing_extensions import override

from cdmd.connectors.files.ahead import Ahead
from cdmd.connectors.files.area import PAGE, Area, FileFault, Listed, Opened, Sink, Version
from cdmd.connectors.files.names import Patterns, fault_of, shown
from cdmd.connectors.files.settings import SftpSettings
from cdmd.contracts import Source
from cdmd.errors import SourceUnavailable
from cdmd.kit.ssh import WINDOW, Login, Pinned, translated
from cdmd.kit.ssh_hosts import Host

_T = TypeVar("_T")
_PIECE: Final = 256 * 1024
_LEAST: Final = 32 * 1024
"""What every server reads at once (the protocol's draft, section 3)."""

_FAR: Final = 0.002
_NEAR: Final = 8
"""Pieces on their way where an answer comes within ``_FAR`` seconds: they fill any line, and the processor's caches hold them
(tests/bench/sftp.py)."""

_WORTH_HOLDING: Final = 60.0
_LINK: Final = "it is a link, and links are not followed"
_SPECIAL: Final = "it is no plain file"
_SIZELESS: Final = "the server does not say its size"


def pinned(ways: Iterable[tuple[Host, str]], *, timeout: float) -> list[Pinned]:
    """The hosts on the way, each with its place in the configuration; ``timeout`` in seconds. Raises ConfigInvalid."""
    return [Pinned(one, key=key, login=Login.of(one, key=key), timeout=timeout) for one, key in ways]


class SftpArea(Area):
    """Files below ``settings.path`` that match. ``hosts``: the one with the files, and before it those on the way there."""

    def __init__(
        self, source: Source, settings: SftpSettings, *, hosts: Sequence[Pinned], wanted: Patterns, skip: Sequence[bytes]
    ) -> None:
        self._source, self._settings, self._hosts, self._wanted = source, settings, hosts, wanted
        self._root, self._skip = settings.path.encode(), frozenset(skip)
        self._connections: list[asyncssh.SSHClientConnection] = []
        self._sftp: asyncssh.SFTPClient | None = None
        self._denied: list[bytes] = []

    @property
    @override
    def denied(self) -> Sequence[bytes]:
        return self._denied

    # ---- the connection -------------------------------------------------------------------------------------------------

    async def client(self) -> asyncssh.SFTPClient:
        """The client, connected. Raises ``SourceUnavailable`` and ``SourceBlocked``."""
        if self._sftp is not None and not self._connections[-1].is_closed():
            return self._sftp
        await self.close()
        try:
            through: asyncssh.SSHClientConnection | None = None
            for host in self._hosts:
                through = await host.connect(self._source, through)
                self._connections.append(through)
            assert through is not None  # noqa: S101 - there is at least one host
            self._sftp = await self.ask(through.start_sftp_client(path_encoding=None))
        except asyncssh.KeyExchangeFailed as error:
            await self.close()
            raise SourceUnavailable(f"{self._settings.host} and we have no way of encrypting in common") from error
        except BaseException:
            await self.close()
            raise
        return self._sftp

    async def ask(self, answer: Awaitable[_T]) -> _T:
        """What the server answers, within the idle deadline. Raises ``FileFault`` and ``SourceUnavailable``."""
        seconds = self._settings.idle_timeout.seconds
        with anyio.move_on_after(seconds):
            return await self.told(answer)
        await self.close()
        raise SourceUnavailable(f"{self._settings.host} said nothing for {seconds:g} seconds")

    async def told(self, answer: Awaitable[_T]) -> _T:
        """The same without a deadline, for what is waited for elsewhere."""
        try:
            return await answer
        except (asyncssh.Error, OSError, ValueError) as error:
            raise _ours(error, self._settings.host, self._settings.username) from error

    @override
    async def rest(self, seconds: float) -> None:
        if seconds <= _WORTH_HOLDING:
            return
        for connection in self._connections:
            connection.close()
        with anyio.move_on_after(1):
            for connection in self._connections:
                await connection.wait_closed()
        await self.close()

    @override
    async def close(self) -> None:
        connections, self._connections, self._sftp = self._connections, [], None
        for connection in reversed(connections):
            connection.abort()

    # ---- what is there --------------------------------------------------------------------------------------------------

    @override
    async def listing(self) -> AsyncGenerator[Sequence[Listed], None]:
        self._denied = []
        await self.client()
        folders: deque[tuple[bytes, int]] = deque([(b"", 0)])
        while folders:
            below, depth = folders.popleft()
            async with aclosing(self._folder(below)) as pages:
                async for page, inner in pages:
                    folders += [(one, depth + 1) for one in inner if depth < self._settings.depth and one not in self._skip]
                    yield page

    async def _folder(self, below: bytes) -> AsyncGenerator[tuple[list[Listed], list[bytes]], None]:
        """One folder's entries that match, and the folders in it, page by page."""
        client = await self.client()
        try:
            entries: Any = client.scandir(self._at(below))
            async with aclosing(entries):
                while True:
                    names = await self.ask(_some(entries))
                    found = [_listed(below, name) for name in names if name.filename not in {b".", b".."}]
                    folders = [one.path for one, name in zip(found, _real(names), strict=True) if _is_folder(name, one)]
                    yield [one for one in found if one.path not in folders and self._wanted.matches(one.path)], folders
                    if len(names) < PAGE:
                        return
        except FileFault as fault:
            if not below:
                raise SourceUnavailable(f"{shown(self._root)} cannot be listed: {fault}") from fault
            self._denied.append(below)

    @override
    async def version(self, path: bytes) -> Version | None:
        client = await self.client()
        try:
            return _version(await self.ask(client.lstat(self._at(path))))
        except FileFault:
            return None

    # ---- one file -------------------------------------------------------------------------------------------------------

    @override
    @asynccontextmanager
    async def opened(self, path: bytes) -> AsyncIterator[Opened]:
        client = await self.client()
        asked = self._source.clock.monotonic()
        attributes = await self.ask(client.lstat(self._at(path)))
        far = self._source.clock.monotonic() - asked > _FAR
        if (fault := _kind_fault(attributes)) is not None:
            raise FileFault(fault)
        # Without a block size of its own a read is one request, and how many are on their way is ours to say.
        file = await self.ask(client.open(self._at(path), "rb", block_size=0))
        try:
            yield _OpenedFile(self, file, piece=min(max(client.limits.max_read_len, _LEAST), _PIECE), far=far)
        except Exception:
            await self._shut(file)
            raise
        await self._shut(file)

    async def _shut(self, file: asyncssh.SFTPClientFile) -> None:
        if self._sftp is not None and not self._connections[-1].is_closed():
            await self.ask(file.close())

    @override
    async def remove(self, path: bytes) -> None:
        client = await self.client()
        await self.ask(client.remove(self._at(path)))

    @override
    async def move(self, path: bytes, target: bytes) -> None:
        client = await self.client()
        folder = b""
        for part in target.split(b"/")[:-1]:
            folder = folder + part + b"/"
            try:
                await self.ask(client.mkdir(self._at(folder)))
            except FileFault:
                continue  # most likely it is there; if not, the move says so
        if await self.ask(client.lexists(self._at(target))):
            raise FileFault("there is a file of that name already")
        await self.ask(client.rename(self._at(path), self._at(target)))

    def _at(self, path: bytes) -> bytes:
        return self._root.rstrip(b"/") + b"/" + path if path else self._root


class _OpenedFile(Opened):
    def __init__(self, area: SftpArea, file: Any, *, piece: int, far: bool) -> None:
        self._area, self._file, self._piece = area, file, piece
        self._most = max(16, min(WINDOW // piece, 128)) if far else _NEAR

    @override
    async def version(self) -> Version:
        return _version(await self._area.ask(self._file.stat())) or Version(-1, -1)

    @override
    async def copy(self, start: int, end: int, sink: Sink) -> None:
        ahead = Ahead(self._read, piece=self._piece, most=self._most, patience=self._area.ask)
        await ahead.copy(start, end, sink)

    async def _read(self, at: int, size: int) -> bytes:
        data: bytes = await self._area.told(self._file.read(size, at))
        return data


def _ours(error: Exception, host: str, username: str) -> Exception:
    """A foreign exception as one of ours: about one file, or about the connection."""
    match error:
        case asyncssh.SFTPNoSuchFile() | asyncssh.SFTPNoSuchPath():
            return FileFault("it is not there", gone=True)
        case asyncssh.SFTPPermissionDenied() | asyncssh.SFTPWriteProtect():
            return FileFault("permission denied")
        case asyncssh.SFTPConnectionLost() | asyncssh.SFTPNoConnection() | asyncssh.SFTPBadMessage():
            return SourceUnavailable(f"the connection to {host} was lost")
        case asyncssh.SFTPError():
            return FileFault(f"the server refuses ({type(error).__name__.removeprefix('SFTP')})")
        case _:
            return translated(error, host, username)


async def _some(entries: Any) -> list[asyncssh.SFTPName]:
    found = []
    async for entry in entries:
        found.append(entry)
        if len(found) >= PAGE:
            break
    return found


def _real(names: Sequence[asyncssh.SFTPName]) -> list[asyncssh.SFTPName]:
    return [name for name in names if name.filename not in {b".", b".."}]


def _listed(below: bytes, name: asyncssh.SFTPName) -> Listed:
    filename: Any = name.filename
    path = below + b"/" + filename if below else filename
    version = _version(name.attrs) or Version(-1, -1)
    return Listed(path, version, fault_of(filename) or _kind_fault(name.attrs) or (_SIZELESS if version.size < 0 else None))


def _is_folder(name: asyncssh.SFTPName, listed: Listed) -> bool:
    return name.attrs.type == FILEXFER_TYPE_DIRECTORY and fault_of(listed.path.rpartition(b"/")[2]) is None


def _kind_fault(attributes: asyncssh.SFTPAttrs) -> str | None:
    if attributes.type in {FILEXFER_TYPE_REGULAR, FILEXFER_TYPE_UNKNOWN}:
        return None
    return _LINK if attributes.type == FILEXFER_TYPE_SYMLINK else _SPECIAL


def _version(attributes: asyncssh.SFTPAttrs) -> Version | None:
    return None if attributes.size is None else Version(attributes.size, attributes.mtime or 0)
