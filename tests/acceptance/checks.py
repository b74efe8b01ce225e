"""What must be true of a daemon and its state directory after whatever was done to it; what is not comes back in sentences."""

import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from cdmd.errors import CdmdError
from cdmd.testing import DaemonProcess
from tests.acceptance.daemons import asking, wait_until_applied
from tests.acceptance.looking import held, journaled
from tests.acceptance.workload import CONNECTORS, CUSTOMERS, Order

_SHOWN = 20


def lost(state: Path, promised: Iterable[Order]) -> list[str]:
    """Acknowledged orders that neither journal nor store hold on the disk, right after a kill.

    What an extension dropped leaves no row in the store; those are asked for only while the journal has not been pruned.
    """
    there = journaled(state)
    gone = [order for order in promised if order.kept and order.id not in there]
    if gone:
        _, activities, dead, parked = held(state)
        stored = activities + dead + parked
        gone = [order for order in gone if order.id not in stored and order.type != "order.dropped"]
    return [f"{len(gone)} acknowledged events are in neither journal nor store: {gone[0].id} and others"] if gone else []


def shortcomings(one: DaemonProcess, promised: list[Order], *, seconds: float = 60.0) -> list[str]:
    """What is wrong with a running daemon that all of ``promised``, and nothing else, was delivered to. Stops it."""
    status = wait_until_applied(one, seconds=seconds)
    found = [*_sums(status, promised), *_customers(one, promised), *_shown(one, promised)]
    status_of_exit = one.stop()
    found += [f"it exited with {status_of_exit}"] if status_of_exit else []
    return found + _stored(one.state_dir, promised) + verified(one)


def _sums(status: Mapping[str, Any], promised: list[Order]) -> list[str]:
    """Promise P9, to the event."""
    found = []
    for row in status["connectors"]:
        mine = [order for order in promised if order.connector == row["name"]]
        behind = row["filtered"] - row["filtered_at_door"]
        settled = row["applied"] + row["repeats"] + behind + row["suppressed"] + row["dead_letters"] + row["parked"]
        sums = {
            "received": (row["received"], row["refused"] + row["filtered_at_door"] + row["accepted"]),
            "accepted": (row["accepted"], settled + row["backlog"]),
            "backlog": (row["backlog"], 0),
            "applied": (row["applied"], sum(order.applied for order in mine)),
            "filtered": (behind, sum(order.type == "order.dropped" for order in mine)),
            "dead letters": (row["dead_letters"], sum(order.type == "order.rejected" for order in mine)),
        }
        found += [
            f"{row['name']}: {name} is {is_} and should be {ought}" for name, (is_, ought) in sums.items() if is_ != ought
        ]
    events = sum(order.applied for order in promised)
    if status["totals"]["events"] != events:
        found.append(f"totals.events is {status['totals']['events']} and should be {events}")
    if {row["name"] for row in status["connectors"]} != set(CONNECTORS):
        found.append("connectors are missing from status")
    return found


def _customers(one: DaemonProcess, promised: list[Order]) -> list[str]:
    """No effect missing, none double."""
    expected: dict[int, tuple[int, int]] = defaultdict(lambda: (0, 0))
    joined = set()
    for order in promised:
        if order.applied:
            count, total = expected[order.customer]
            expected[order.customer] = (count + 1, total + order.amount)
            joined |= {order.customer} if order.n % 3 == 0 else set()
    found, client = [], asking(one)
    for customer in sorted(joined):
        try:
            profile = client.get("/v1/profile", {"identifier": f"email:c{customer}@example.com"})
        except CdmdError as error:
            found.append(f"customer {customer} cannot be shown: {error}")
            continue
        effects = (profile["indicators"].get("orders", 0), profile["indicators"].get("turnover", 0))
        if effects != expected[customer]:
            found.append(f"customer {customer} has {effects} and should have {expected[customer]}")
    return found if len(joined) <= CUSTOMERS else [*found, "too many customers"]


def _shown(one: DaemonProcess, promised: list[Order]) -> list[str]:
    """A sample of ``events show``."""
    found, client = [], asking(one)
    for order in [order for order in promised if order.kept][:: max(1, len(promised) // _SHOWN)]:
        try:
            client.get("/v1/event", {"id": order.id})
        except CdmdError as error:
            found.append(f"events show of {order.id}: {error}")
    return found


def _stored(state: Path, promised: list[Order]) -> list[str]:
    there = held(state)
    wanted = {
        "activity": (there.activities, Counter(order.id for order in promised if order.applied)),
        "dead letter": (there.dead, Counter(order.id for order in promised if order.type == "order.rejected")),
        "parked event": (there.parked, Counter[str]()),
    }
    found = []
    for what, (is_, ought) in wanted.items():
        missing, extra = ought - is_, is_ - ought
        found += [f"{len(missing)} times an {what} is missing: {list(missing)[:3]}"] if missing else []
        found += [f"{len(extra)} times an {what} is too much: {list(extra)[:3]}"] if extra else []
    return found


def verified(one: DaemonProcess) -> list[str]:
    """What ``cdmd verify`` says of its state directory while it is down; nothing where it is whole."""
    ran = run_verify(one)
    return [] if ran.returncode == 0 else [f"cdmd verify: {ran.stdout}{ran.stderr}"]


def run_verify(one: DaemonProcess) -> subprocess.CompletedProcess[str]:
    """``cdmd verify`` on its state directory."""
    command = [sys.executable, "-m", "cdmd", "verify", "--state-dir", str(one.state_dir)]
    return subprocess.run(command, capture_output=True, text=True, env=one.environment, timeout=60, check=False)
