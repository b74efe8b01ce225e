"""The demo's supplier: every night a file about all of its customers in an sftp area, of which only ours concern us.

Three registers: the first one, one with a change, and one that was cut in the middle, which must not remove anybody.
"""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any, Final

from typing_extensions import override

from cdmd.cli.demo.part import CUSTOMER, Expected, Part, Stage, secret_file
from cdmd.errors import CdmdError
from cdmd.testing.area import GUEST, sftp_area

ROWS: Final = 600
_OURS: Final = 500
_FIRST: Final = int(CUSTOMER) - _OURS
_SECONDS: Final = 10.0
_PAUSE: Final = 0.05

_CONFIG: Final = """
[connectors.supplier]
type = "sftp"
host = "127.0.0.1"
port = {area.port}
username = "{guest}"
password = "file:supplier.password"
host_key = "{area.fingerprint}"
path = "/"
files = ["customers_*.csv"]
format = {{ type = "csv", delimiter = ";", encoding = "cp1252" }}
stable_for = "0s"
every = "30s"
mode = "snapshot"
key = ["number"]
known_only = true
[connectors.supplier.event]
type = "supplier.{{change}}"
identifiers = {{ customer_no = "{{number}}" }}
traits = {{ city = "{{city}}" }}
"""


class Supplier(Part):
    """Registers over sftp; ``cut`` is what was said of the one that was cut."""

    def __init__(self) -> None:
        self.cut: Mapping[str, Any] = {}
        self._folder: Path
        self._place = ""

    @override
    @contextmanager
    def opened(self, folder: Path) -> Iterator[str]:
        self._folder = folder / "outgoing"
        self._folder.mkdir()
        with sftp_area(self._folder) as area:
            secret_file(folder, "supplier.password", area.password)
            self._place = f"sftp://127.0.0.1:{area.port}, its host key {area.fingerprint} is pinned"
            yield _CONFIG.format(area=area, guest=GUEST)

    @property
    @override
    def facts(self) -> Mapping[str, str]:
        return {"supplier": self._place}

    @override
    def play(self, stage: Stage) -> None:
        stage.telling.scene("The supplier: files about all its customers in an sftp area; only what concerns ours is kept")
        first = self._deliver(stage, "customers_1.csv", register("Lund"))
        stage.telling.fact("first register", f"{first['records']} rows; {_changes(first)}, and of the others nothing was kept")
        second = self._deliver(stage, "customers_2.csv", register("Malmö"))
        stage.telling.fact("next night", f"{second['records']} rows; {_changes(second)}")
        self.cut = self._deliver(stage, "customers_3.csv", cut(register("Malmö")))
        stage.telling.fact("cut in half", f"{self.cut['records']} rows; {_changes(self.cut)}: {self.cut['reason']}")
        stage.telling.known("known now", stage.customer())

    @property
    @override
    def expected(self) -> Expected:
        return Expected(2, frozenset({("customer_no", CUSTOMER)}))

    @override
    def lacking(self, customer: Any, status: Any) -> list[str]:
        """What the registers changed, and that the cut one changed nothing."""
        types = sorted(one["type"] for one in customer["activities"] if one["type"].startswith("supplier."))
        found = []
        if types != ["supplier.added", "supplier.changed"]:
            found.append(f"the supplier's events are {types} instead of one added and one changed")
        if customer["traits"].get("city") != "Malmö":
            found.append("the supplier's last city is not known")
        if not self.cut.get("held"):
            found.append("the register that was cut is not held")
        return found

    def _deliver(self, stage: Stage, name: str, content: bytes) -> Mapping[str, Any]:
        """Put the file there under another name, then under its own, and return the register once it was applied."""
        (self._folder / f"{name}.part").write_bytes(content)
        (self._folder / f"{name}.part").rename(self._folder / name)
        until, pause = monotonic() + _SECONDS, threading.Event()
        while True:
            stage.poll("supplier")
            found: list[Mapping[str, Any]] = [one for one in stage.shelf("snapshots") if one["name"] == name]
            if found:
                stage.settle()
                return found[0]
            if monotonic() > until:
                raise CdmdError(f"the supplier's file {name} was not read within {_SECONDS:g} seconds")
            pause.wait(_PAUSE)


def register(city: str) -> bytes:
    """All of the supplier's customers, as its old system writes them; Joe lives in ``city``."""
    others = ((_FIRST + place, "Uppsala") for place in range(ROWS))
    rows = (f"{number};{city if str(number) == CUSTOMER else town}\r\n" for number, town in others)
    return ("number;city\r\n" + "".join(rows)).encode("cp1252")


def cut(content: bytes) -> bytes:
    """Its first half, to the end of a line: nothing in it says that more was to come."""
    return content[: content.rindex(b"\n", 0, len(content) // 2) + 1]


def _changes(found: Mapping[str, Any]) -> str:
    told = [f"{found[name]} {name}" for name in ("added", "changed", "removed", "held") if found[name]]
    return ", ".join(told) or "nothing changed"
