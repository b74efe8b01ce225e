"""The connector types: one for each kind of place that files are watched in."""

from datetime import datetime
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

import msgspec
from typing_extensions import override

from cdmd.connectors.files.area import Area
from cdmd.connectors.files.connector import Watcher
from cdmd.connectors.files.folder import Folder
from cdmd.connectors.files.settings import FolderSettings, SftpSettings
from cdmd.contracts import Source
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
        self._sftp: Any = import_module("cdmd.connectors.files.sftp")  # with asyncssh, which takes long to import
        self._hosts = self._sftp.pinned(hosts(settings, f"connectors.{name}"), timeout=settings.timeout.seconds)

    @override
    def area(self, source: Source) -> Area:
        area: Area = self._sftp.SftpArea(source, self.settings, hosts=self._hosts, wanted=self.wanted, skip=self.skipped)
        return area

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
