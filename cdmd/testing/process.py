"""The real daemon as a process of its own, on a free loopback port and a state directory that is handed in."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from time import monotonic
from typing import Any, Final, Self

from cdmd.control.client import Client
from cdmd.errors import CdmdError
from cdmd.kit.measures import several

_READY: Final = "cdmd is ready"
_START_SECONDS: Final = 60.0


class DaemonProcess:
    """Starts ``cdmd run`` and returns when it is ready; a context manager that ends it.

    ``config`` is the TOML text of the configuration; where it does not name them, state directory, a free port, the control
    socket and a small disk reserve are added. ``plugins`` (name to module) are found by the daemon as if they were installed,
    where they are not; ``paths`` are folders their modules are in.
    ``options`` are those of ``cdmd run``. ``patience`` are the seconds it may take to start. ``url`` is where it listens.
    Nothing here is async: it is for tests outside the daemon's loop.
    """

    def __init__(
        self,
        folder: Path,
        config: str = "",
        *,
        environment: Mapping[str, str] | None = None,
        plugins: Mapping[str, str] | None = None,
        paths: Sequence[Path] = (),
        command: Sequence[str] = (sys.executable, "-m", "cdmd"),
        options: Sequence[str] = (),
        patience: float = _START_SECONDS,
    ) -> None:
        self.folder, self._command, self._patience, self._options = folder, tuple(command), patience, tuple(options)
        self.config_file = folder / "cdmd.toml"
        self.state_dir = folder / "state"
        self.socket = folder / "control.sock"
        self.environment = {**os.environ, **(environment or {})}
        if plugins or paths:
            self._announce(plugins or {})
            before = self.environment.get("PYTHONPATH")
            found = [str(folder / "plugins"), *(str(path) for path in paths), *([before] if before else [])]
            self.environment["PYTHONPATH"] = os.pathsep.join(found)
        self.url = ""
        self.process: subprocess.Popen[str] | None = None
        self.log_file = folder / "daemon.log"
        self.configure(config)

    def configure(self, config: str) -> None:
        """Write the configuration file; ``cdmctl("reload")`` applies it to a running daemon.

        It is exchanged whole, so that a reload at the same moment reads no half of it.
        """
        head = "" if "[daemon]" in config else f'[daemon]\nstate_dir = "{self.state_dir}"\n'
        head += "" if "[http]" in config else '[http]\nlisten = ["127.0.0.1:0"]\n'
        head += "" if "[control]" in config else f'[control]\nsocket = "{self.socket}"\n'
        head += "" if "[journal]" in config else '[journal]\nreserve = "1MiB"\n'
        written = self.config_file.with_suffix(".new")
        written.touch(0o600)
        written.write_text(head + config)
        written.replace(self.config_file)

    def start(self, *, wrapper: Sequence[str] = ()) -> Self:
        """Start it (behind ``wrapper``, a command such as strace) and wait until it is ready. Raises CdmdError."""
        with self.log_file.open("a") as log:
            self.process = subprocess.Popen(  # noqa: S603 - our own command
                [*wrapper, *self._command, "run", "--config", str(self.config_file), *self._options],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=self.environment,
            )
        overdue = threading.Timer(self._patience, self.process.kill)  # a daemon that hangs ends the reading below
        overdue.start()
        lines = []
        try:
            for line in self.process.stdout or ():
                lines.append(line)
                found = re.search(r"https?://\S+", line)
                if found and not self.url:
                    self.url = found[0].rstrip("/")
                if line.startswith(_READY):
                    return self
        finally:
            overdue.cancel()
            overdue.join()
        self.process.wait(self._patience)
        self._close()
        raise CdmdError(f"the daemon did not start: {''.join(lines)}{self.log_file.read_text()[-2000:]}")

    def kill(self) -> None:
        """SIGKILL, as a crash would."""
        self._end(signal.SIGKILL)

    def stop(self, *, seconds: float = 60.0) -> int:
        """SIGTERM; returns the exit status. Raises subprocess.TimeoutExpired."""
        return self._end(signal.SIGTERM, seconds=seconds)

    def cdmctl(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run ``cdmctl`` against it."""
        command = [sys.executable, "-m", "cdmd.cli.control_commands", "--socket", str(self.socket), *arguments]
        return subprocess.run(  # noqa: S603 - our own command
            command, capture_output=True, text=True, env=self.environment, check=check, timeout=60
        )

    def ask(self, *arguments: str) -> Any:
        """``cdmctl ... --json`` as one decoded document."""
        return json.loads(self.cdmctl(*arguments, "--json").stdout)

    @property
    def control(self) -> Client:
        """A client of its control socket."""
        return Client([str(self.socket)])

    def send(self, path: str, document: Any, *, headers: Mapping[str, str] | None = None) -> Any:
        """POST ``document`` (bytes as they are, anything else as JSON) and return the answer: decoded JSON, else its text.

        Raises CdmdError for every status but 200, and when nobody listens.
        """
        if not self.url:
            raise CdmdError("the daemon does not run")
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        given = {"content-type": "application/json", **(headers or {})}
        request = urllib.request.Request(f"{self.url}{path}", body, given)  # noqa: S310 - our own daemon
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
                text = answer.read().decode()
                return json.loads(text) if answer.headers.get_content_type().endswith("json") else text
        except urllib.error.HTTPError as error:
            with error:
                raise CdmdError(f"{path} answered {error.code} {error.read()[:500].decode(errors='replace')}".strip()) from None
        except OSError as error:
            raise CdmdError(f"{path} cannot be reached: {error}") from error

    def settle(self, *, seconds: float = 60.0, held: bool = False) -> None:
        """Return once all that was acknowledged is applied or parked; with ``held`` once nothing is parked either.

        Raises CdmdError when that takes longer.
        """
        until, pause = monotonic() + seconds, threading.Event()
        # Twice with `held`: what is parked is counted a moment before the backlog that it comes from.
        while waiting := self._waiting(held=held) or (held and self._waiting(held=held)):
            if monotonic() > until:
                raise CdmdError(f"after {seconds:g} seconds not applied yet: {several(waiting, 'events')}")
            pause.wait(0.02)

    def _waiting(self, *, held: bool) -> int:
        status = self.control.get("/v1/status")
        return int(status["journal"]["backlog"]) + (int(status["store"]["parked"]) if held else 0)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        if self.process is not None and self.process.poll() is None:
            self.kill()
        self._close()

    def _end(self, number: signal.Signals, *, seconds: float = 60.0) -> int:
        if self.process is None:
            raise CdmdError("the daemon was not started")
        self.process.send_signal(number)
        status = self.process.wait(seconds)
        self._close()
        return status

    def _close(self) -> None:
        self.url = ""
        if self.process is not None and self.process.stdout is not None:
            self.process.stdout.close()

    def _announce(self, plugins: Mapping[str, str]) -> None:
        """The metadata by which an installer would have announced them."""
        info = self.folder / "plugins" / "cdmd_testing_plugins-0.dist-info"
        info.mkdir(parents=True, exist_ok=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: cdmd-testing-plugins\nVersion: 0\n")
        installed = {point.name for point in entry_points(group="cdmd")}
        lines = [f"{name} = {module}" for name, module in plugins.items() if name not in installed]
        (info / "entry_points.txt").write_text("\n".join(["[cdmd]", *lines, ""]))
