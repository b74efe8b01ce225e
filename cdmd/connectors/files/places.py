"""The connector types: one for each kind of place that files are watched in."""

from datetime import datetime
from pathlib import Path
from typing import ClassVar

import msgspec
from typing_extensions import override

from cdmd.connectors.files.area import Area
from cdmd.connectors.files.connector import Watcher
from cdmd.connectors.files.folder import Folder
from cdmd.connectors.files.settings import FolderSettings, SftpSettings
from cdmd.connectors.files.sftp import SftpArea
from cdmd.contracts import Source
from cdmd.kit.ssh import Login, Pinned
from cdmd.kit.ssh_hosts import hosts
from cdmd.models import from_micros


class FolderFiles(Watcher):
    """A pull connector for files in a local folder."""

    Settings: ClassVar[type[msgspec.Struct]] = FolderSettings
    type: ClassVar[str] = "folder"
    settings: FolderSettings

    @override
    def area(self, source: Source) -> Area:
        return Folder(Path(self.settings.path), wanted=self.wanted, depth=self.settings.depth, skip=self.skipped)

    @override
    def modified(self, mtime: int) -> datetime | None:
        return _moment(mtime // 1000)


class SftpFiles(Watcher):
    """A pull connector for files in an sftp area."""

    Settings: ClassVar[type[msgspec.Struct]] = SftpSettings
    type: ClassVar[str] = "sftp"
    settings: SftpSettings

    def __init__(self, name: str, settings: SftpSettings) -> None:
        super().__init__(name, settings)
        seconds = settings.timeout.seconds
        ways = hosts(settings, f"connectors.{name}")
        self._hosts = [Pinned(one, key=key, login=Login.of(one, key=key), timeout=seconds) for one, key in ways]

    @override
    def area(self, source: Source) -> SftpArea:
        return SftpArea(source, self.settings, hosts=self._hosts, wanted=self.wanted, skip=self.skipped)

    @override
    def described(self) -> list[str]:
        return [host.sentence() for host in self._hosts]

    @override
    def modified(self, mtime: int) -> datetime | None:
        return _moment(mtime * 1_000_000)


def _moment(micros: int) -> datetime | None:
    try:
        return from_micros(micros)
    except OverflowError:  # the other side's clock says anything
        return None
