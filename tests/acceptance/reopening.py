"""Opens state directories with the daemon itself, lets it apply what is left, and says what it then serves.

``python -m tests.acceptance.reopening CONFIG FOLDER=CUSTOMER,CUSTOMER...`` prints one JSON line for each folder: all in one
process, because starting an interpreter for each of hundreds would take most of the time.
"""

import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from time import monotonic
from typing import Any

import anyio
import msgspec

from cdmd.cli.loading import Loaded, load_all
from cdmd.config.schema import Config
from cdmd.control.client import Client
from cdmd.daemon import Given, run
from cdmd.errors import CdmdError, NotFound
from cdmd.kit.clock import SystemClock
from cdmd.kit.logs import Logs
from cdmd.kit.systemd import Systemd
from tests.acceptance.looking import held

_SECONDS = 10.0


def reopened(loaded: Loaded, state: Path, *, customers: Sequence[int]) -> dict[str, Any]:
    """What the daemon says and holds: ``error``, ``faults``, ``public`` ids by customer, and how often each id lies where."""
    found = {"error": None, "faults": [], "public": {}} | served(loaded, state, lambda client, _: _seen(client, customers))
    damaged = found["error"] is not None or found["faults"]
    journal, activities, dead, parked = ({}, {}, {}, {}) if damaged else held(state)
    return found | {"journal": journal, "activities": activities, "dead": dead, "parked": parked}


def served(loaded: Loaded, state: Path, ask: Callable[[Client, str], dict[str, Any]]) -> dict[str, Any]:
    """What ``ask`` (its control socket, where it listens) finds while the daemon runs on ``state``; or ``error``."""
    found: dict[str, Any] = {"error": None}

    def look(config: Config, addresses: Sequence[str]) -> None:
        try:
            found.update(ask(Client([str(config.control_socket)]), addresses[0]))
        except CdmdError as error:
            found["error"] = str(error)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    logs = Logs(clock=SystemClock(), render=lambda line: b"", write=lambda line: None, level="critical")
    logs.install()
    given = Given(
        config=msgspec.structs.replace(loaded.config, state_dir=state),
        plugins=loaded.plugins,
        logs=logs,
        systemd=Systemd({}, pid=os.getpid()),
        read_config=loaded.again,
        ready=look,
    )
    try:
        anyio.run(run, given)
    except CdmdError as error:
        found["error"] = str(error)
    finally:
        logs.close()
    return found


def _seen(client: Client, customers: Sequence[int]) -> dict[str, Any]:
    until = monotonic() + _SECONDS
    while client.get("/v1/status")["journal"]["backlog"] and monotonic() < until:
        threading.Event().wait(0.005)
    public = {customer: _public(client, customer) for customer in customers}
    return {"public": public, "faults": client.post("/v1/verify")["problems"]}


def _public(client: Client, customer: int) -> str | None:
    try:
        profile = client.get("/v1/profile", {"identifier": f"customer_no:c{customer}", "activities": 0})
    except NotFound:
        return None
    return str(profile["id"])


def main() -> None:
    """Arguments: the configuration file, then the folders."""
    loaded = load_all(Path(sys.argv[1]))
    for argument in sys.argv[2:]:
        folder, _, named = argument.partition("=")
        result = reopened(loaded, Path(folder), customers=[int(one) for one in named.split(",") if one])
        sys.stdout.write(json.dumps(result) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
