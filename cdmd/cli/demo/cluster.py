"""``cdmd demo --cluster``: three nodes on one journal and one store, one of them killed while orders arrive.

Not here: the two servers (``servers``).
"""

import secrets
import shlex
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from time import monotonic
from typing import Any, Final, NamedTuple, TypeVar

import click
from typing_extensions import override

from cdmd.cli.demo.servers import found_programs, nats_server, postgres_server
from cdmd.cli.demo.telling import Telling, took
from cdmd.cli.running import FAILED
from cdmd.errors import CdmdError
from cdmd.testing.process import DaemonProcess

_NODES: Final = ("n1", "n2", "n3")
_LEADS, _KILLED = "n1", "n3"
_LANES: Final = 6
_SENDERS: Final = 3
_CUSTOMERS: Final = 30
_ORDERS: Final = 600
_KILLED_AFTER: Final = 200
_AGAIN: Final = 60
_SECONDS: Final = 120.0
_EVERY: Final = 3.0
_PAUSE: Final = 0.05
T = TypeVar("T")

_CONFIG: Final = """\
# The same on all nodes.
[journal]
url = "{nats}"
reserve = "1MiB"
partitions = {lanes}

[store]
url = "{store}"

[connectors.shop]
type = "webhook"
verify = "none"
[connectors.shop.event]
id = "{{id}}"
type = "order.paid"
identifiers = {{ email = "{{email}}" }}
data = {{ n = "{{n}}" }}

[indicators.orders]
on = ["order.paid"]
compute = "count"
[indicators.latest]
on = ["order.paid"]
value = "{{data.n}}"
compute = "last"
"""


class Cluster(NamedTuple):
    """What runs."""

    folder: Path
    nodes: dict[str, DaemonProcess]
    started: float

    def status(self, name: str = _LEADS) -> Any:
        """The status that a node shows."""
        return self.nodes[name].control.get("/v1/status")

    def lanes(self) -> dict[str, int]:
        """How many each node has."""
        rows = self.status()["nodes"]
        return {_short(row["name"]): len(row["lanes"]) for row in rows if not row["lost"]}


class Shop(threading.Thread):
    """Sends orders of its own customers one after the other, each again until it is acknowledged."""

    def __init__(self, node: DaemonProcess, first: int, count: int) -> None:
        super().__init__(daemon=True)
        self._node, self._orders = node, [order(number) for number in range(first, first + count * _SENDERS, _SENDERS)]
        self.acknowledged: list[dict[str, Any]] = []

    @override
    def run(self) -> None:
        """One order after the other."""
        pause = threading.Event()
        for one in self._orders:
            while not self._took(one):
                pause.wait(_PAUSE)
            self.acknowledged.append(one)

    def _took(self, one: dict[str, Any]) -> bool:
        try:
            self._node.send("/hooks/shop", one)
        except CdmdError:
            return False
        return True


def order(number: int) -> dict[str, Any]:
    """One; a customer's orders come from one sender, in the order of their numbers."""
    return {"id": f"order-{number}", "email": f"customer{number % _CUSTOMERS}@example.com", "n": number}


def play(telling: Telling, *, once: bool) -> int:
    """All of it; returns the exit status. Raises ``NotFound`` where a server is not installed."""
    programs = found_programs()
    with ExitStack() as stack:
        telling.heading("cdmd demo: three nodes, one journal on NATS, one store in PostgreSQL, all on this machine")
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cdmd-demo-")))
        nats = stack.enter_context(nats_server(programs.nats, folder))
        store = stack.enter_context(postgres_server(programs))
        telling.fact("journal", f"{nats}, JetStream")
        telling.fact("store", store)
        cluster = stack.enter_context(_nodes(folder, _CONFIG.format(nats=nats, store=store, lanes=_LANES)))
        _introduce(cluster, telling)
        sent = _kill_one(cluster, telling)
        lacking = _count(cluster, telling, sent)
        for sentence in lacking:
            telling.bad(f"missing: {sentence}")
        if not lacking:
            telling.good("Everything that was acknowledged is there, each order once and in its customer's order.")
        if not once:
            _stay(cluster, telling, len(sent))
    return FAILED if lacking else 0


@contextmanager
def _nodes(folder: Path, config: str) -> Iterator[Cluster]:
    """Started beside each other, as three machines would be; those that only apply wait for the one that makes the journal."""
    key, begun = secrets.token_bytes(32), monotonic()
    made = {name: _made(folder / name, config, key) for name in _NODES}
    with ExitStack() as stack, ThreadPoolExecutor(len(made)) as threads:
        for one in made.values():
            stack.push(one)
        list(threads.map(DaemonProcess.start, made.values()))
        yield Cluster(folder, made, monotonic() - begun)


def _made(folder: Path, config: str, key: bytes) -> DaemonProcess:
    role = "all" if folder.name == _LEADS else "process"
    keys = folder / "state/keys"
    keys.mkdir(parents=True)
    for place in (keys, keys.parent):
        place.chmod(0o700)
    (keys / "digest.key").touch(mode=0o600)
    (keys / "digest.key").write_bytes(key)
    return DaemonProcess(folder, config, options=("--role", role), patience=_SECONDS)


def _introduce(cluster: Cluster, telling: Telling) -> None:
    share = _LANES // len(_NODES)
    _until("the nodes did not share the lanes", lambda: cluster.lanes() == dict.fromkeys(_NODES, share))
    for name, one in cluster.nodes.items():
        does = "takes, applies and delivers" if name == _LEADS else "applies"
        telling.fact(name, f"process {one.process.pid if one.process else '-'}, {does}; {share} of {_LANES} lanes")
    telling.fact("ready", f"after {took(cluster.started)}")


def _kill_one(cluster: Cluster, telling: Telling) -> list[dict[str, Any]]:
    """Everything that was acknowledged."""
    telling.scene(f"{_ORDERS} orders of {_CUSTOMERS} customers arrive, and in their midst {_KILLED} is killed (kill -9)")
    shops = [Shop(cluster.nodes[_LEADS], first, _ORDERS // _SENDERS) for first in range(_SENDERS)]
    for shop in shops:
        shop.start()
    _until("the orders were not acknowledged", lambda: _sent(shops) >= _KILLED_AFTER)
    told, killed = _sent(shops), monotonic()
    cluster.nodes[_KILLED].kill()
    telling.fact("killed", f"after {told} acknowledgements")
    _until("the orders were not acknowledged", lambda: _sent(shops) == _ORDERS)
    telling.fact("acknowledged", f"{_ORDERS} orders, none refused for want of {_KILLED}")
    again = [one for shop in shops for one in shop.acknowledged][:_AGAIN]
    for one in again:
        cluster.nodes[_LEADS].send("/hooks/shop", one)
    telling.fact("sent again", f"{len(again)} of them, as from senders that saw no answer")
    _until("nobody took its lanes", lambda: cluster.lanes() == {"n1": _LANES // 2, "n2": _LANES // 2})
    telling.fact("its lanes", f"went to the other two {took(monotonic() - killed)} after that")
    return [one for shop in shops for one in shop.acknowledged]


def _sent(shops: list[Shop]) -> int:
    return sum(len(shop.acknowledged) for shop in shops)


def _count(cluster: Cluster, telling: Telling, sent: list[dict[str, Any]]) -> list[str]:
    """What is not as it has to be, as a node says that did not take them."""
    telling.scene("What n2 says of it")
    _until("not everything was applied", lambda: cluster.status("n2")["journal"]["backlog"] == 0)
    # What is applied is counted when it is written; the door's figures follow with the journal.
    row = _until("the sums did not come out", lambda: next(iter(_balanced(cluster, len(sent) + _AGAIN)), None))
    telling.fact("received", f"{row['received']} = {row['accepted']} accepted + {row['refused']} refused")
    telling.fact(
        "accepted", f"{row['accepted']} = {row['applied']} applied + {row['repeats']} repeats + {row['backlog']} waiting"
    )
    lacking = [] if row["applied"] == len(sent) else [f"{len(sent)} orders were acknowledged and {row['applied']} applied"]
    wrong = [email for email, expected in _expected(sent).items() if _known(cluster, email) != expected]
    lacking += [f"the orders of {email}" for email in wrong]
    telling.fact("customers", f"{_CUSTOMERS - len(wrong)} of {_CUSTOMERS} with as many orders as they sent, the last one last")
    for node in cluster.status("n2")["nodes"]:
        state = "lost" if node["lost"] else f"{len(node['lanes'])} lanes, {node['state']}"
        telling.fact(_short(node["name"]), state + ("; leads" if node["leads"] else ""))
    return lacking


def _balanced(cluster: Cluster, received: int) -> list[Any]:
    return [row for row in cluster.status("n2")["connectors"] if row["received"] == received and row["backlog"] == 0]


def _expected(sent: list[dict[str, Any]]) -> dict[str, tuple[int, int]]:
    """How many orders of each customer, and which was the last."""
    found: dict[str, tuple[int, int]] = {}
    for one in sent:
        count, latest = found.get(one["email"], (0, 0))
        found[one["email"]] = count + 1, max(latest, one["n"])
    return found


def _known(cluster: Cluster, email: str) -> tuple[int, int]:
    customer = cluster.nodes["n2"].control.get("/v1/profile", {"identifier": f"email:{email}", "activities": 0})
    return int(customer["indicators"]["orders"]), int(customer["indicators"]["latest"])


def _stay(cluster: Cluster, telling: Telling, number: int) -> None:
    telling.heading(f"It goes on, with an order every {_EVERY:g} seconds. Look for yourself, from another terminal:")
    for name in ("n1", "n2"):
        click.echo(f"   cdmctl --socket {shlex.quote(str(cluster.nodes[name].socket))} status")
    telling.heading("Ctrl-C ends it.")
    pause = threading.Event()
    while not pause.wait(_EVERY):
        cluster.nodes[_LEADS].send("/hooks/shop", order(number))
        number += 1


def _short(name: str) -> str:
    """A node is called by its machine and its folder."""
    return Path(name.partition(":")[2]).parent.name


def _until(complaint: str, look: Callable[[], T | None]) -> T:
    """What ``look`` finds once it finds something. Raises ``CdmdError``."""
    until, pause = monotonic() + _SECONDS, threading.Event()
    while not (found := look()):
        if monotonic() > until:
            raise CdmdError(f"{complaint} within {_SECONDS:g} seconds")
        pause.wait(_PAUSE)
    return found
