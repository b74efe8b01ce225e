"""The demo's agency: at night it fetches a file about a campaign's audience from an sftp area, and of nobody else."""

import csv
import hashlib
import io
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any, Final

from typing_extensions import override

from cdmd.cli.demo.part import EMAIL, Expected, Part, Stage, secret_file
from cdmd.errors import CdmdError
from cdmd.testing.area import GUEST, SftpArea, sftp_area

_SECONDS: Final = 10.0
_PAUSE: Final = 0.05

_CONFIG: Final = """
[audiences.warranty_offer]
where = "indicators.tv_hours >= 10000.0"
[targets.agency]
type = "sftp"
host = "127.0.0.1"
port = {area.port}
username = "{guest}"
password = "file:agency.password"
host_key = "{area.fingerprint}"
path = "/"
audience = "warranty_offer"
at = "02:30 Europe/Stockholm"
fields = ["identifiers.email", "indicators.tv_hours"]
columns = {{ mail = "{{identifiers.email}}", hours = "{{indicators.tv_hours}}" }}
manifest = true
"""


class Agency(Part):
    """Asked for before the night comes; ``rows`` are those of the file that was fetched."""

    def __init__(self) -> None:
        self._area: SftpArea
        self._folder: Path
        self.rows: list[dict[str, str]] = []

    @override
    @contextmanager
    def opened(self, folder: Path) -> Iterator[str]:
        self._folder = folder / "agency"
        self._folder.mkdir()
        with sftp_area(self._folder) as self._area:
            secret_file(folder, "agency.password", self._area.password)
            yield _CONFIG.format(area=self._area, guest=GUEST)

    @property
    @override
    def facts(self) -> Mapping[str, str]:
        return {"agency": f"sftp://127.0.0.1:{self._area.port}, where the file of an audience is put"}

    @override
    def play(self, stage: Stage) -> None:
        stage.telling.scene(
            "The agency: each night at 02:30 the file of a campaign's audience, fetched over sftp; now by command"
        )
        stage.send("agency")
        name = self._delivered()
        about, content = json.loads(self._area.fetch(f"{name}.manifest.json")), self._area.fetch(name)
        if (about["bytes"], about["sha256"]) != (len(content), hashlib.sha256(content).hexdigest()):
            raise CdmdError(f"the agency's {name} is not what its manifest says")
        self.rows = list(csv.DictReader(io.StringIO(content.decode())))
        stage.telling.fact("fetched", f"{name}, {about['rows']} row, whole by its manifest")
        for row in self.rows:
            stage.telling.fact("row", ", ".join(f"{key} {value}" for key, value in row.items()))

    @property
    @override
    def expected(self) -> Expected:
        return Expected(0)

    @override
    def lacking(self, customer: Any, status: Any) -> list[str]:
        mails = [row["mail"] for row in self.rows]
        return [] if mails == [EMAIL] else [f"the agency's file has {len(mails)} rows instead of Joe's"]

    def _delivered(self) -> str:
        """The name of the file whose manifest is there."""
        until, pause = monotonic() + _SECONDS, threading.Event()
        while True:
            found = sorted(self._folder.glob("agency_*.manifest.json"))
            if found:
                return found[-1].name.removesuffix(".manifest.json")
            if monotonic() > until:
                raise CdmdError(f"the agency's file was not there within {_SECONDS:g} seconds")
            pause.wait(_PAUSE)
