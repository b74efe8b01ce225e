"""cdmd as a service of the booted machine: its package, its unit, its configuration, and how it is asked."""

import hashlib
import hmac
import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Final

from tests.boot.machine import Machine

UNITS: Final = ("cdmd.service", "cdmd-http.socket", "cdmd-control.socket")
SECRET: Final = "the secret of the shop"
CONFIGURATION: Final = """
[journal]
reserve = "1MiB"
[connectors.shop]
type = "webhook"
verify = "github"
secrets = ["credential:shop"]
[connectors.open]
type = "webhook"
verify = "none"
"""
_HTTP: Final = "http://127.0.0.1:8787"


class Service:
    """The package file ``package`` (a path on this machine) and the service that it becomes on ``machine``."""

    def __init__(self, machine: Machine, package: Path) -> None:
        self.machine, self._package = machine, package

    @property
    def package(self) -> str:
        """Its path inside the machine."""
        return self._hand_over(self._package)

    def newer(self) -> str:
        """The same with the next revision, as its path inside the machine."""
        with tempfile.TemporaryDirectory() as folder:
            tree, out = Path(folder, "tree"), Path(folder, "newer.deb")
            subprocess.run(["dpkg-deb", "-R", str(self._package), str(tree)], check=True)
            control = tree / "DEBIAN/control"
            text = control.read_text()
            assert "-1\n" in text
            control.write_text(text.replace("-1\n", "-2\n", 1))
            subprocess.run(
                ["dpkg-deb", "--root-owner-group", "-Znone", "-b", str(tree), str(out)], check=True, capture_output=True
            )
            return self._hand_over(out)

    def _hand_over(self, file: Path) -> str:
        inside = f"/var/tmp/{file.name}"
        (self.machine.root / inside.lstrip("/")).write_bytes(file.read_bytes())
        return inside

    # ---- its unit ------------------------------------------------------------------------------------------------------

    def shows(self, name: str) -> str:
        """A property of the service."""
        return self.machine.shows("cdmd.service", name)

    def pid(self) -> int:
        """The daemon's process, as the machine numbers it."""
        return int(self.shows("MainPID"))

    def until_active(self) -> None:
        """Wait until systemd counts it as started."""
        self.machine.until(lambda: self.shows("ActiveState") == "active", seconds=30, what="the start of the service")

    def drop_in(self, name: str, text: str | None) -> None:
        """Put a drop-in beside the unit, or take it away."""
        file = f"/etc/systemd/system/cdmd.service.d/{name}.conf"
        if text is None:
            self.machine.run("rm", file)
        else:
            self.machine.write(file, text)
        self.machine.run("systemctl", "daemon-reload")

    def journal(self) -> str:
        """What was logged of late, the control commands' words too."""
        return self.machine.says("journalctl", "-u", "cdmd", "-o", "cat", "--no-pager", "-n", "100")

    # ---- what it is told and asked -----------------------------------------------------------------------------------

    def configure(self, text: str) -> None:
        """Write the connectors' file; it is not read before a reload or a start."""
        self.machine.write("/etc/cdmd/conf.d/boot.toml", text)
        self.machine.run("chgrp", "cdmd", "/etc/cdmd/conf.d/boot.toml")
        self.machine.run("chmod", "640", "/etc/cdmd/conf.d/boot.toml")

    def ask(self, *arguments: str) -> Any:
        """``cdmctl ... --json`` as root."""
        return json.loads(self.machine.says("cdmctl", *arguments, "--json"))

    def connectors(self) -> set[str]:
        """Their names."""
        return {row["name"] for row in self.ask("connectors")}

    def counted(self, event_type: str) -> int:
        """How many events of the connector for that type are applied."""
        row = next(one for one in self.ask("connectors") if one["name"] == {"hammer": "open"}[event_type])
        return int(row["applied"])

    def total(self) -> int:
        """Distinct events ever applied."""
        return int(self.ask("status")["totals"]["events"])

    def applied_all(self) -> None:
        """Wait until nothing waits."""
        self.machine.until(lambda: self.ask("status")["journal"]["backlog"] == 0, what="applying the backlog")

    def signed(self, secret: str, delivery: str) -> int:
        """The status of a request to ``shop``, signed as GitHub signs."""
        body = json.dumps({"id": delivery, "action": "opened"})
        digest = hmac.new(secret.encode(), body.encode(), hashlib.sha256).hexdigest()
        headers = {"X-Hub-Signature-256": f"sha256={digest}", "X-GitHub-Event": "issues", "X-GitHub-Delivery": delivery}
        options = [part for name, value in headers.items() for part in ("-H", f"{name}: {value}")]
        line = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-H", "Content-Type: application/json", *options]
        return int(self.machine.says(*line, "--max-time", "30", "-d", body, f"{_HTTP}/hooks/shop"))

    def as_user(self, user: str, *command: str) -> "subprocess.CompletedProcess[str]":
        """A command by somebody who is not root."""
        return self.machine.run("runuser", "-u", user, "--", *command, check=False)

    def readable_by(self, user: str, path: str) -> bool:
        """Whether that user can read the file."""
        return self.as_user(user, "cat", path).returncode == 0
