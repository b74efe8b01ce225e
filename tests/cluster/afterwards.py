"""What must hold of a cluster after whatever was done to it, once all is up again; what does not comes back in sentences."""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from time import monotonic
from typing import Any, Final, NamedTuple

from cdmd.errors import CdmdError, NotFound
from cdmd.store.rows import read_activity
from cdmd.testing import DaemonProcess
from tests.cluster.servers import eventually
from tests.store.postgres import Database

GONE: Final = "gone{}@example.com"
_KNOWN: Final = ("store_apply_failed", "pipeline_read_failed", "loop_blocked")
"""What may be an error while servers are away and processes stand still."""
_BECAME: Final = ("applied", "repeats", "filtered", "suppressed", "dead_letters", "parked", "backlog")


class Truth(NamedTuple):
    """What was sent and acknowledged, who was erased, how many rows and contacts there were, what the receiver got."""

    orders: Sequence[dict[str, Any]]
    erased: Collection[str]
    rows: int
    contacts: int
    told: Sequence[tuple[str, str]]

    def kept(self) -> list[dict[str, Any]]:
        return [one for one in self.orders if one.get("email") not in self.erased]


def shortcomings(anyone: Callable[[], DaemonProcess], database: Database, truth: Truth, *, seconds: float = 90.0) -> list[str]:
    """All of it. ``anyone`` finds a node that can be asked: at first one may find that another leads, and end."""
    found, until = list[str](), monotonic() + seconds
    for what, look in _RESTING.items():
        try:
            eventually(
                lambda look=look: look(anyone(), database, truth), lambda left: not left, seconds=max(1, until - monotonic())
            )
        except TimeoutError as error:
            found.append(f"{what}: {error}")
    one = anyone()
    return [*found, *_events(database, truth), *_customers(one, truth), *_told(truth), *_sums(one), *_verified(one)]


def _status(one: DaemonProcess) -> dict[str, Any]:
    try:
        found: dict[str, Any] = one.control.get("/v1/status")
    except (CdmdError, OSError) as error:
        return {
            "journal": {"backlog": repr(error)},
            "store": {"parked": 0},
            "totals": {"deliveries_pending": 0},
            "warnings": [],
        }
    return found


def _waits(one: DaemonProcess, _: Database, __: Truth) -> Any:
    found = _status(one)
    return found["journal"]["backlog"] or found["store"]["parked"] or found["totals"]["deliveries_pending"]


def _not_brought(_: DaemonProcess, database: Database, truth: Truth) -> Any:
    ((there,),) = database.run("SELECT count(*) FROM activities")
    least = len(truth.kept()) + truth.rows + truth.contacts
    return f"{there} of {least} are there" if there < least else ""


def _warned(one: DaemonProcess, _: Database, __: Truth) -> Any:
    found = _status(one)
    rows = {row["name"]: row["state"] for row in found.get("connectors", []) if row["state"] not in {"running", "waiting"}}
    ill = {row["name"]: row["state"] for row in found.get("targets", []) if row["state"] != "active"}
    return found["warnings"] or rows or ill


def _erasing(one: DaemonProcess, _: Database, __: Truth) -> Any:
    try:
        return [row["state"] for row in one.control.get("/v1/erasures") if row["state"] != "complete"]
    except (CdmdError, OSError) as error:
        return repr(error)


_RESTING: Final[dict[str, Any]] = {
    "not everything is there": _not_brought, "something waits": _waits, "erasures are under way": _erasing,
    "warned of": _warned,
}  # fmt: skip


def _events(database: Database, truth: Truth) -> Iterator[str]:
    """Every one is there once, and nothing of who was erased."""
    rows = database.run("SELECT seq, profile, time, sum, body FROM activities")
    events = [read_activity(row).event for row in rows]
    there = Counter(
        f"{one.type} {one.data['n'] if one.type == 'row.delivered' else one.id.partition(':')[0]}" for one in events
    )
    ought = Counter(f"order.paid {one['id']}" for one in truth.kept())
    ought += Counter(f"row.delivered {n}" for n in range(truth.rows))
    ought += Counter(f"contact.updated c{n}" for n in range(truth.contacts))
    for what, apart in (("missing", ought - there), ("too much", there - ought)):
        if apart:
            yield f"{apart.total()} activities are {what}: {[*apart][:5]}"


def _customers(one: DaemonProcess, truth: Truth) -> Iterator[str]:
    """Counts, sums and the last of each; nobody who was erased."""
    orders = defaultdict[str, list[int]](list)
    for order in truth.kept():
        whom = order.get("email") or f"{order['no']}@example.com"
        orders[whom].append(order["n"])
    for email, numbers in orders.items():
        try:
            profile = one.control.get("/v1/profile", {"identifier": f"email:{email}"})
        except CdmdError as error:
            yield f"{email} cannot be shown: {error}"
            continue
        found = profile["indicators"]
        is_ = (found.get("orders"), found.get("turnover"), found.get("last"), profile["traits"].get("newest"))
        ought = (len(numbers), sum(numbers), numbers[-1], numbers[-1])
        if is_ != ought:
            yield f"{email} has {is_} and should have {ought}"
    for email in truth.erased:
        try:
            one.control.get("/v1/profile", {"identifier": f"email:{email}"})
            yield f"{email} was erased and is there"
        except NotFound:
            pass


def _told(truth: Truth) -> Iterator[str]:
    """The receiver got all that is there, each under one id."""
    ids = defaultdict[str, set[str]](set)
    for delivery, event in truth.told:
        ids[event].add(delivery)
    if silent := [order["id"] for order in truth.kept() if order["id"] not in ids]:
        yield f"{len(silent)} were not delivered: {silent[:5]}"
    if several := {event: found for event, found in ids.items() if len(found) > 1}:
        yield f"{len(several)} were delivered under several ids: {[*several.items()][:3]}"


def _sums(one: DaemonProcess) -> Iterator[str]:
    found = _status(one)
    for row in found["connectors"]:
        became = {name: row[name] for name in _BECAME}
        if row["received"] != row["refused"] + sum(became.values()):
            yield f"{row['name']}: {row['received']} received, {row['refused']} refused, {became}"
    applied = sum(row["applied"] for row in found["connectors"])
    if found["totals"]["events"] != applied:
        yield f"totals.events is {found['totals']['events']}, applied are {applied}"


def _verified(one: DaemonProcess) -> Iterator[str]:
    yield from one.control.post("/v1/verify", timeout=600)["problems"]


def said(log: Path) -> list[str]:
    """What a node says that is a fault of its own, whatever is done to it."""
    lines = log.read_text().splitlines()
    errors = [line for line in lines if '"level":"error"' in line or '"level":"critical"' in line]
    unknown = [line for line in errors if not any(f'"event":"{known}"' in line for known in _KNOWN)]
    return [*unknown, *(line for line in lines if "fault of its own" in line or line.startswith("Traceback"))][:3]
