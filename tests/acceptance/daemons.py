"""A daemon for these tests: the workload's configuration, and plugins that only its process loads."""

import os
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import monotonic
from typing import Any

from cdmd.control.client import Client
from cdmd.errors import CdmdError
from cdmd.testing import DaemonProcess
from tests.acceptance.workload import CONFIG

ROOT = Path(__file__).parents[2]
HOLDING = "tests.acceptance.holding"
_PATIENCE = 60.0  # others may use the machine; how soon it starts is measured elsewhere


def mutant(name: str) -> str:
    """The plugin that sabotages the daemon in this way."""
    return f"tests.acceptance.mutants.{name}"


def daemon(
    folder: Path,
    *,
    plugins: Sequence[str] = (HOLDING,),
    config: str = CONFIG,
    environment: Mapping[str, str] | None = None,
    command: Sequence[str] = (sys.executable, "-m", "cdmd"),
) -> DaemonProcess:
    """A daemon below ``folder`` that is not started yet; ``plugins`` are modules of these tests."""
    folder.mkdir(parents=True, exist_ok=True)
    path = [str(install(folder / "plugins", plugins)), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    own = {"PYTHONPATH": os.pathsep.join(path), **(environment or {})}
    return DaemonProcess(folder, config, environment=own, command=command, patience=_PATIENCE)


def install(folder: Path, plugins: Sequence[str]) -> Path:
    """The least that makes a distribution: its name, and its entry points in the group ``cdmd``."""
    metadata = folder / "acceptance-1.dist-info"
    metadata.mkdir(parents=True, exist_ok=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: acceptance\nVersion: 1\n")
    points = [f"{module.rpartition('.')[2]} = {module}" for module in plugins]
    (metadata / "entry_points.txt").write_text("\n".join(["[cdmd]", *points, ""]))
    return folder


def asking(one: DaemonProcess) -> Client:
    """A client of its control socket in this process (a ``cdmctl`` per question would take most of a test's time)."""
    return Client([str(one.socket)], timeout=10)


def wait_until_applied(one: DaemonProcess, *, seconds: float) -> dict[str, Any]:
    """The status once nothing waits any more, or the last one looked at."""
    client, until = asking(one), monotonic() + seconds
    while True:
        status: dict[str, Any] = client.get("/v1/status")
        waiting = status["journal"]["backlog"] + status["store"]["parked"] + status["queue"]["events"]
        # The connectors' counters are read a moment before the rest.
        waiting += sum(row["parked"] + row["backlog"] for row in status["connectors"])
        if waiting == 0 or monotonic() > until:
            return status
        threading.Event().wait(0.02)


def start_fault(one: DaemonProcess) -> str | None:
    """Start it; why it did not start, or None."""
    try:
        one.start()
    except CdmdError as error:
        return str(error)
    return None
