"""The demo's sandbox: a folder that goes away, a contract service, the real daemon as a process, and what is known in it."""

import secrets
import subprocess
import tempfile
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from importlib.metadata import entry_points
from pathlib import Path
from time import monotonic
from typing import Any, Final, NamedTuple, Self

from cdmd.cli.demo_contracts import ContractService
from cdmd.cli.demo_sending import EMAIL, SERIAL, Delivery, Keys
from cdmd.errors import NotFound
from cdmd.testing.process import DaemonProcess

PLUGIN: Final = "warranty"
_STOP_SECONDS: Final = 5.0
TERMS: Final = {"covered": True, "until": "2027-06-30"}

_CONFIG: Final = """\
# The demo's configuration. Everything here works in yours.
[http]
listen = ["{listen}"]

[identity.identifiers]
customer_no = {{ priority = 1, limit = 1 }}
email = {{ priority = 2, limit = 5 }}
serial = {{ priority = 3, limit = 10 }}
user_id = {{ priority = 4, limit = 1 }}

[indicators.tv_hours]
on = "tv.runtime"
value = "{{data.hours}}"
compute = "max"

[indicators.tv_readings]
on = "tv.runtime"

[connectors.shop]
type = "webhook"
verify = "standard-webhooks"
secrets = ["file:shop.secret"]
[connectors.shop.event]
identifiers = {{ customer_no = "{{data.customer.number}}", email = "{{data.customer.email}}", serial = "{{data.serial}}" }}
traits = {{ first_name = "{{data.customer.name}}" }}
data = {{ total = "{{data.total}}" }}

[connectors.support]
type = "webhook"
verify = "github"
secrets = ["file:support.secret"]
[connectors.support.event]
identifiers = {{ email = "{{sender.email}}" }}
data = {{ title = "{{issue.title}}" }}

[connectors.tv]
type = "webhook"
verify = "bearer"
secrets = ["file:tv.token"]
[connectors.tv.event]
id = "{{id}}"
type = "tv.runtime"
identifiers = {{ serial = "{{serial}}" }}
data = {{ hours = "{{hours}}" }}

[connectors.app]
type = "application"
write_keys = ["file:app.key"]
"""


class Answered(NamedTuple):
    """What a sender was told, after how many seconds."""

    document: Any
    seconds: float


class Sandbox:
    """A context manager: everything runs inside, and nothing is left after it."""

    def __init__(self) -> None:
        self.plugin = any(point.name == PLUGIN for point in entry_points(group="cdmd"))
        self.keys = Keys(
            secrets.token_bytes(24), secrets.token_hex(16).encode(), secrets.token_urlsafe(24), secrets.token_hex(16)
        )
        self.contracts = ContractService({SERIAL: TERMS})
        self._stack = ExitStack()
        self.folder: Path
        self.daemon: DaemonProcess

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cdmd-demo-")))
            stack.enter_context(self.contracts)
            self._write_secrets()
            self.daemon = DaemonProcess(self.folder, self._config("127.0.0.1:0"))
            stack.push(self.daemon)  # whatever happens, it is ended; in good order first
            stack.callback(self._stop)
            self.daemon.start()
            # From now on it keeps its port, so that senders find it again after a restart.
            self.daemon.configure(self._config(self.daemon.url.removeprefix("http://")))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def now(self) -> datetime:
        """The moment at which senders sign."""
        return datetime.now(UTC)

    def deliver(self, delivery: Delivery) -> Answered:
        """Send it; raises CdmdError unless the daemon took it."""
        begun = monotonic()
        document = self.daemon.send(delivery.path, delivery.body, headers=delivery.headers)
        return Answered(document, monotonic() - begun)

    def customer(self) -> Any:
        """Joe's profile as ``cdmctl profile show --json`` prints it; None while nobody knows him."""
        try:
            return self.daemon.control.get("/v1/profile", {"identifier": f"email:{EMAIL}", "activities": 1000})
        except NotFound:
            return None

    def status(self) -> Any:
        """The daemon's status as ``cdmctl status --json`` prints it."""
        return self.daemon.control.get("/v1/status")

    def crash_and_restart(self) -> float:
        """Kill -9 and start again; returns the seconds from start to ready."""
        self.daemon.kill()
        begun = monotonic()
        self.daemon.start()
        return monotonic() - begun

    def _config(self, listen: str) -> str:
        plugin = f'\n[plugins.{PLUGIN}]\nurl = "{self.contracts.url}"\n' if self.plugin else ""
        return _CONFIG.format(listen=listen) + plugin

    def _write_secrets(self) -> None:
        for name, value in (
            ("shop.secret", self.keys.shop_text),
            ("support.secret", self.keys.support.decode()),
            ("tv.token", self.keys.tv),
            ("app.key", self.keys.app),
        ):
            file = self.folder / name
            file.touch(mode=0o600)
            file.write_text(value)

    def _stop(self) -> None:
        if self.daemon.process is not None and self.daemon.process.poll() is None:
            with suppress(subprocess.TimeoutExpired):
                self.daemon.stop(seconds=_STOP_SECONDS)
