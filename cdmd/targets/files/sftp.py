"""An sftp area that batch files are put into. It is imported where one is set up: asyncssh takes long to import."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread
import asyncssh
from typing_extensions import override

from cdmd.contracts import Outlet
from cdmd.errors import SourceBlocked, SourceUnavailable
from cdmd.kit.ssh import Login, Pinned, translated
from cdmd.kit.ssh_hosts import hosts
from cdmd.targets.files.places import Opened, Place
from cdmd.targets.files.settings import SftpTargetSettings

_PIECE: Final = 2**18
_LEAST: Final = 2**15
"""What every server takes at once (the protocol's draft, section 3)."""

_ON_THEIR_WAY: Final = 16


class SftpPlace(Place):
    """A folder of an sftp area, reached for each file anew. ``key``: its place in the configuration."""

    def __init__(self, settings: SftpTargetSettings, *, key: str) -> None:
        self._settings, self._key = settings, key

    @override
    @asynccontextmanager
    async def opened(self, outlet: Outlet) -> AsyncIterator[Opened]:
        settings, seconds = self._settings, self._settings.login_timeout.seconds
        ways = hosts(settings, self._key)
        logins = await anyio.to_thread.run_sync(lambda: [Login.of(one, key=key) for one, key in ways])
        connection: asyncssh.SSHClientConnection | None = None
        async with AsyncExitStack() as stack:
            for (host, key), login in zip(ways, logins, strict=True):
                try:
                    connection = await Pinned(host, key=key, login=login, timeout=seconds).connect(outlet, connection)
                except asyncssh.KeyExchangeFailed as error:
                    raise translated(error, settings.host, settings.username) from error
                stack.callback(connection.abort)
            assert connection is not None  # noqa: S101 - there is at least one host
            yield await self._client(connection)

    async def _client(self, connection: asyncssh.SSHClientConnection) -> "_SftpOpened":
        opened = _SftpOpened(self._settings)
        async with opened.asking("open the area"):
            opened.client = await connection.start_sftp_client()
        return opened


class _SftpOpened(Opened):
    client: asyncssh.SFTPClient

    def __init__(self, settings: SftpTargetSettings) -> None:
        self._settings = settings

    @override
    async def put(self, file: Path, name: str) -> None:
        folder = self._settings.path.rstrip("/") or "/"
        part, whole = f"{folder.rstrip('/')}/.{name}.part", f"{folder.rstrip('/')}/{name}"
        size = (await anyio.Path(file).stat()).st_size
        await self._write(file, part)
        async with self.asking(f"say how large {name} became"):
            written = (await self.client.stat(part)).size
        if written != size:
            raise SourceUnavailable(f"of {name} {written} bytes of {size} arrived")
        async with self.asking(f"rename {name}"):
            await self._rename(part, whole)

    async def _write(self, file: Path, path: str) -> None:
        async with self.asking(f"take files in {self._settings.path}"):
            with suppress(asyncssh.SFTPError):  # what still arrives of an attempt that broke off is written to that file
                await self.client.remove(path)
            remote = await self.client.open(path, "wb", block_size=0)
        places, size = anyio.Semaphore(_ON_THEIR_WAY), min(max(self.client.limits.max_write_len, _LEAST), _PIECE)
        async with await anyio.open_file(file, "rb") as local:
            try:
                async with anyio.create_task_group() as tasks:
                    at = 0
                    while piece := await local.read(size):
                        await places.acquire()
                        tasks.start_soon(self._piece, remote, piece, at, places)
                        at += len(piece)
            except* SourceUnavailable as several:
                raise several.exceptions[0] from None
        async with self.asking("keep what was written"):
            await self._sync(remote)
            await remote.close()

    async def _piece(self, remote: asyncssh.SFTPClientFile, piece: bytes, at: int, places: anyio.Semaphore) -> None:
        async with self.asking("take what is written"):
            await remote.write(piece, at)
        places.release()

    async def _sync(self, remote: asyncssh.SFTPClientFile) -> None:
        try:
            await remote.fsync()
        except asyncssh.SFTPOpUnsupported:
            return  # only some servers can be asked for it

    async def _rename(self, part: str, whole: str) -> None:
        try:
            await self.client.posix_rename(part, whole)
        except asyncssh.SFTPOpUnsupported:
            if await self.client.exists(whole):
                await self.client.remove(whole)
            await self.client.rename(part, whole)

    @asynccontextmanager
    async def asking(self, what: str) -> AsyncIterator[None]:
        """What the server is asked to do, within the idle deadline; its refusals as ours."""
        host, seconds = self._settings.host, self._settings.idle_timeout.seconds
        try:
            with anyio.fail_after(seconds):
                yield
        except TimeoutError:
            raise SourceUnavailable(f"{host} said nothing for {seconds:g} seconds") from None
        except (asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath):
            raise SourceBlocked(f"{host} cannot {what}: there is no such folder") from None
        except asyncssh.SFTPPermissionDenied:
            raise SourceBlocked(f"{host} does not let {self._settings.username} {what}") from None
        except (asyncssh.SFTPConnectionLost, asyncssh.SFTPNoConnection):
            raise SourceUnavailable(f"the connection to {host} was lost") from None
        except asyncssh.SFTPError as error:
            kind = type(error).__name__.removeprefix("SFTP")
            raise SourceUnavailable(f"{host} does not {what} ({kind}): is its disk full?") from None
        except (asyncssh.Error, OSError, ValueError) as error:
            raise translated(error, host, self._settings.username) from error
