"""The demo's television: it reports its hours with a bearer token and knows its serial number only.

Beside it a contract service that knows which television is under warranty: where the plugin ``warranty`` is installed each
reading is stored with the contract's terms. It plays on when the others are done (``Readings``), also through a crash.
"""

import json
import secrets
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

from typing_extensions import override

from cdmd.cli.demo.part import SERIAL, Delivery, Expected, Sender, Stage, secret_file
from cdmd.cli.demo.serving import JsonServer
from cdmd.errors import CdmdError
from cdmd.kit.measures import several

PLUGIN: Final = "warranty"
TERMS: Final = {"covered": True, "until": "2027-06-30"}
FIRST_HOURS: Final = 10_000
_PATIENCE: Final = 10.0

_CONFIG: Final = """
[connectors.tv]
type = "webhook"
verify = "bearer"
secrets = ["file:tv.token"]
[connectors.tv.event]
id = "{id}"
type = "tv.runtime"
identifiers = { serial = "{serial}" }
data = { hours = "{hours}" }

[indicators.tv_hours]
on = "tv.runtime"
value = "{data.hours}"
compute = "max"

[indicators.tv_readings]
on = "tv.runtime"
"""


class Television(Sender):
    """Reading after reading; ``sent`` counts the different ones."""

    def __init__(self) -> None:
        self.plugin = any(point.name == PLUGIN for point in entry_points(group="cdmd"))
        self.contracts = JsonServer(contract)
        self._token, self.sent = secrets.token_urlsafe(24), 0

    @override
    @contextmanager
    def opened(self, folder: Path) -> Iterator[str]:
        secret_file(folder, "tv.token", self._token)
        with self.contracts:
            yield _CONFIG + (f'\n[plugins.{PLUGIN}]\nurl = "{self.contracts.url}"\n' if self.plugin else "")

    @property
    @override
    def facts(self) -> Mapping[str, str]:
        service = f"{self.contracts.url}, a small HTTP service that knows which television is under warranty"
        absent = f"{PLUGIN} is not installed, so readings are stored without their terms (install cdmd-warranty to see them)"
        return {"contracts": service} | ({} if self.plugin else {"plugin": absent})

    @override
    def play(self, stage: Stage) -> None:
        stage.telling.scene(f"The television {SERIAL}: more than 10,000 hours; it knows its serial number only (bearer token)")
        self.deliver(stage, self.next_reading())
        if self.plugin:
            found = (one["data"].get("warranty") for one in stage.customer()["activities"] if one["type"] == "tv.runtime")
            terms = next(found, None)
            covered = f"covered until {terms['until']}" if terms else "nothing"
            stage.telling.fact("plugin", f"{PLUGIN} asked the contract service before the event was stored: {covered}")

    def next_reading(self) -> Delivery:
        """A reading that was not sent before."""
        self.sent += 1
        return reading(self._token, self.sent)

    @property
    @override
    def expected(self) -> Expected:
        return Expected(self.sent, frozenset({("serial", SERIAL)}))

    @override
    def lacking(self, customer: Any, status: Any) -> list[str]:
        """Indicators that miss a reading, readings without their terms."""
        found = []
        for name, must in (("tv_hours", FIRST_HOURS + self.sent), ("tv_readings", self.sent)):
            if (there := customer["indicators"].get(name)) != must:
                found.append(f"the indicator {name} is {there} instead of {must}")
        terms = TERMS if self.plugin else None
        readings = [one for one in customer["activities"] if one["type"] == "tv.runtime"]
        if without := sum(one["data"].get("warranty") != terms for one in readings):
            found.append(f"without the contract's terms: {several(without, 'readings')}")
        return found


class Readings:
    """More readings, one after the other in a thread; what was not acknowledged is sent again, as a real sender does."""

    def __init__(self, television: Television, stage: Stage, *, count: int) -> None:
        self._television, self._stage, self._count = television, stage, count
        self._told = threading.Condition()
        self.acknowledged = self.repeated = 0
        self._over = False
        self._thread = threading.Thread(target=self._send_all, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def wait_for(self, count: int) -> None:
        """Return once so many are acknowledged; raises CdmdError."""
        with self._told:
            if not self._told.wait_for(lambda: self.acknowledged >= count, _PATIENCE):
                self._over = True
                raise CdmdError(f"only {self.acknowledged} of {count} readings were acknowledged in {_PATIENCE:g} s")

    def _send_all(self) -> None:
        for _ in range(self._count):
            delivery = self._television.next_reading()
            while not self._sent(delivery):
                if self._over:
                    return

    def _sent(self, delivery: Delivery) -> bool:
        try:
            self._stage.deliver(delivery)
        except CdmdError:
            with self._told:
                self.repeated += 1
                self._told.wait(0.05)
            return False
        with self._told:
            self.acknowledged += 1
            self._told.notify_all()
        return True


def reading(token: str, number: int) -> Delivery:
    """The ``number``-th reading (from 1) as the television sends it: its serial number and its hours."""
    body = json.dumps({"id": f"reading-{number}", "serial": SERIAL, "hours": FIRST_HOURS + number}).encode()
    return Delivery("/hooks/tv", body, {"authorization": f"Bearer {token}"})


def contract(path: str, headers: Mapping[str, str]) -> tuple[int, Any]:
    """``GET /contracts/SERIAL``: the terms, or 404."""
    known = unquote(path.removeprefix("/contracts/")) == SERIAL
    return (200, TERMS) if known else (404, {"error": "no contract"})
