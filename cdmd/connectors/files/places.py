"""The connector types: one for each kind of place that files are watched in."""

from datetime import datetime
from pathlib import Path
from typing import ClassVar

import msgspec
from typing_extensions import override

from cdmd.connectors.files.area import Area
from cdmd.connectors.files.connector import Watcher
from cdmd.connectors.files.folder import Folder
from cdmd.connectors.files.settings import FolderSettings
from cdmd.contracts import Source
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


def _moment(micros: int) -> datetime | None:
    try:
        return from_micros(micros)
    except OverflowError:  # the other side's clock says anything
        return None
