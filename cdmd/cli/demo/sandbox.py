"""The demo's sandbox: a folder that goes away, the neighbours, the real daemon as a process, and what is known in it."""

import subprocess
import tempfile
import threading
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from time import monotonic
from typing import Any, Final, Self

from cdmd.cli.demo.part import EMAIL, Answered, Delivery, Part
from cdmd.cli.demo.telling import Telling
from cdmd.errors import CdmdError, NotFound
from cdmd.testing.process import DaemonProcess

_STOP_SECONDS: Final = 5.0
_SETTLE_SECONDS: Final = 10.0
_PAUSE: Final = 0.02

_CONFIG: Final = """\
# The demo's configuration. Everything here works in yours.
[http]
listen = ["{listen}"]

[identity.identifiers]
customer_no = {{ priority = 1, limit = 1 }}
email = {{ priority = 2, limit = 5 }}
serial = {{ priority = 3, limit = 10 }}
user_id = {{ priority = 4, limit = 1 }}
"""


class Sandbox:
    """A context manager: everything runs inside, and nothing is left after it. ``delivered`` is what the daemon took."""

    def __init__(self, parts: Sequence[Part], telling: Telling) -> None:
        self.parts, self.telling = parts, telling
        self.delivered: list[Delivery] = []
        self._stack = ExitStack()
        self.folder: Path
        self.daemon: DaemonProcess

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cdmd-demo-")))
            tables = "".join(stack.enter_context(part.opened(self.folder)) for part in self.parts)
            self.daemon = DaemonProcess(self.folder, _CONFIG.format(listen="127.0.0.1:0") + tables)
            stack.push(self.daemon)  # whatever happens, it is ended; in good order first
            stack.callback(self._stop)
            self.daemon.start()
            # From now on it keeps its port, so that senders find it again after a restart.
            self.daemon.configure(_CONFIG.format(listen=self.daemon.url.removeprefix("http://")) + tables)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def url(self) -> str:
        """Where the daemon listens."""
        return self.daemon.url

    def deliver(self, delivery: Delivery) -> Answered:
        """Send it; raises CdmdError unless the daemon took it."""
        begun = monotonic()
        document = self.daemon.send(delivery.path, delivery.body, headers=delivery.headers)
        self.delivered.append(delivery)
        return Answered(document, monotonic() - begun)

    def settle(self) -> None:
        """Return once all that was taken is stored and no part waits for anything; raises CdmdError."""
        until, pause = monotonic() + _SETTLE_SECONDS, threading.Event()
        while any(part.waits(self.status()) for part in self.parts):
            if monotonic() > until:
                raise CdmdError(f"not everything arrived within {_SETTLE_SECONDS:g} seconds: see {self.daemon.log_file}")
            pause.wait(_PAUSE)
        self.daemon.settle(held=True)

    def customer(self) -> Any:
        """Joe's profile as ``cdmctl profile show --json`` prints it; None while nobody knows him."""
        try:
            return self.daemon.control.get("/v1/profile", {"identifier": f"email:{EMAIL}", "activities": 1000})
        except NotFound:
            return None

    def status(self) -> Any:
        """The daemon's status as ``cdmctl status --json`` prints it."""
        return self.daemon.control.get("/v1/status")

    def poll(self, connector: str) -> None:
        """Let a connector that fetches look now."""
        self.daemon.control.post(f"/v1/connectors/{connector}/poll")

    def send(self, target: str) -> None:
        """Let a target that waits for a set time go now."""
        self.daemon.control.post(f"/v1/targets/{target}/send")

    def shelf(self, kind: str) -> list[Any]:
        """What connectors show of that kind."""
        found: list[Any] = self.daemon.control.get(f"/v1/shelves/{kind}")
        return found

    def crash_and_restart(self) -> float:
        """Kill -9 and start again; returns the seconds from start to ready."""
        self.daemon.kill()
        begun = monotonic()
        self.daemon.start()
        return monotonic() - begun

    def _stop(self) -> None:
        if self.daemon.process is not None and self.daemon.process.poll() is None:
            with suppress(subprocess.TimeoutExpired):
                self.daemon.stop(seconds=_STOP_SECONDS)
