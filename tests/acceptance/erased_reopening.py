"""Opens state directories in which somebody is being erased with the daemon itself, and says how that goes on.

``python -m tests.acceptance.erased_reopening CONFIG FOLDER...`` prints one JSON line for each folder.
"""

import json
import sqlite3
import sys
import threading
import urllib.request
from pathlib import Path
from time import monotonic
from typing import Any, Final

from cdmd.cli.loading import load_all
from cdmd.control.client import Client
from cdmd.errors import CdmdError, NotFound
from tests.acceptance.reopening import served
from tests.acceptance.test_erasure import left_in

MAIL: Final = "canary-joe@example.com"
OTHERS: Final = 12
_SECONDS: Final = 20.0


def looked(client: Client, address: str, state: Path) -> dict[str, Any]:
    """How the erasure stands at once, what lies in the files whenever it is said to be complete, and what others have."""
    first = client.get("/v1/erasures")
    found: dict[str, Any] = {"asked": len(first), "known": _known(client)}
    found["complete at once"] = bool(first) and all(row["done"] for row in first)
    found["left at once"] = _left(state) if found["complete at once"] else []
    until, pause = monotonic() + _SECONDS, threading.Event()
    while not (rows := client.get("/v1/erasures")) or any(row["done"] is None for row in rows):
        if not first or monotonic() > until:
            break
        pause.wait(0.02)
    found["complete"] = bool(rows) and all(row["done"] for row in rows)
    found["left"] = _left(state) if found["complete"] else []
    if first:
        _send(address, {"id": "again", "type": "order.paid", "email": MAIL, "customer_no": "canary-4711"})
        while client.get("/v1/status")["journal"]["backlog"] and monotonic() < until:
            pause.wait(0.01)
        found["known again"] = _known(client)
    found["others"] = sum(_known(client, f"email:other{number}@example.com") for number in range(OTHERS))
    found["faults"] = client.post("/v1/verify")["problems"]
    return found


def _left(state: Path) -> list[str]:
    """The files that have any of it in them; what cannot be read at all is said, too."""
    try:
        return list(left_in(state))
    except (sqlite3.Error, CdmdError) as error:
        return [f"what cannot be read ({type(error).__name__})"]


def _known(client: Client, identifier: str = f"email:{MAIL}") -> bool:
    try:
        client.get("/v1/profile", {"identifier": identifier, "activities": 0})
    except NotFound:
        return False
    return True


def _send(address: str, document: Any) -> None:
    request = urllib.request.Request(
        f"http://{address}/hooks/shop", json.dumps(document).encode(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=10):
        pass


def main() -> None:
    """Arguments: the configuration file, then the folders."""
    loaded = load_all(Path(sys.argv[1]))
    for argument in sys.argv[2:]:
        state = Path(argument)
        result = served(loaded, state, lambda client, address, state=state: looked(client, address, state))  # type: ignore[misc]
        result["left after it"] = _left(state) if result.get("complete") else []
        sys.stdout.write(json.dumps(result) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
