"""Several real nodes on one nats-server and one PostgreSQL, and a random sequence of faults, several at once.

Two nodes with all roles (one leads, one stands by) and a third one; senders that deliver again what was not acknowledged, a
folder, an API that is asked, a webhook target, an extension that lets orders wait. Each node is started again when it ends, as
systemd does. When all is up again and nothing waits any more, ``shortcomings`` says what is lost, double or told wrong.
Run: python -m tests.cluster.chaos [--seconds 60] [--seed 1] [--folder FOLDER]; a seed says the whole sequence.
"""

import json
import random
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from shutil import copytree
from time import monotonic
from typing import Final, NamedTuple

import click

from cdmd.errors import CdmdError
from cdmd.testing import DaemonProcess
from tests.acceptance.daemons import ROOT
from tests.acceptance.served_api import ServedApi
from tests.acceptance.test_deliveries import Receiver, target
from tests.bench.declared import contacts, folder
from tests.cluster.afterwards import GONE, Truth, said, shortcomings
from tests.cluster.living import CONFIG, ROWS, Node, Sender
from tests.cluster.servers import NatsServer, eventually, free_port
from tests.connectors.rest.api import Api
from tests.store.postgres import Database, running

OTHERWISE: Final = '[indicators.more]\non = ["order.*"]\n'
NODES: Final = ("one", "two", "three")
CONNECTORS: Final = ("inbox", "files", "api")
ROLES: Final = (
    ("all", "process"),
    ("all", "pull,process,deliver"),
    ("all", "pull,deliver"),
    ("ingest,process", "pull,process,deliver"),
    ("ingest,pull", "process,deliver"),
    ("ingest", "pull,process,deliver"),
)
"""Of the two of whom one leads, and of the third."""
KINDS: Final = {
    "kill": 4, "stop": 2, "freeze": 4, "postgres-killed": 2, "postgres-stopped": 1, "postgres-frozen": 1, "nats-killed": 3,
    "nats-frozen": 1, "reload": 1, "differs": 1, "hold": 2, "erase": 3, "rebuild": 1, "verify": 1, "receiver-ill": 1,
}  # fmt: skip


class Fault(NamedTuple):
    """What happens to whom, so many seconds after the beginning, and how long it lasts."""

    at: float
    kind: str
    whom: str
    lasts: float

    def __str__(self) -> str:
        return f"{self.at:6.1f} s {self.kind} {self.whom} for {self.lasts:.1f} s"


def sequence(seconds: float, chance: random.Random) -> list[Fault]:
    """What a seed comes to; whoever is away is not struck again before he is back."""
    faults, free, at = list[Fault](), dict[str, float](), 0.5
    while (at := at + chance.expovariate(1.0)) < seconds:
        (kind,) = chance.choices([*KINDS], [*KINDS.values()])
        server = kind.partition("-")[0] if "-" in kind else None
        whom = server or chance.choice(CONNECTORS if kind == "hold" else NODES)
        lasts = min(seconds, chance.uniform(1, 15) if kind in {"freeze", "hold", "differs"} else chance.uniform(0.1, 6))
        if free.get(whom, 0.0) <= at:
            faults.append(Fault(at, kind, whom, lasts))
            free[whom] = at + lasts
    return faults


class Chaos:
    """All parts, and what befalls them."""

    def __init__(self, folder: Path, stack: ExitStack, *, seed: int, hurried: bool) -> None:
        self.chance, self.receiver, self.api = random.Random(seed), Receiver(), Api(limit=10**9, page=200)
        self._folder, self.findings, self.erased = folder, list[str](), set[str]()
        (folder / "in").mkdir(parents=True)
        self.nats, self.postgres = NatsServer(folder / "nats"), stack.enter_context(running())
        self.nats.start()
        stack.callback(self.nats.kill)
        self.database: Database = self.postgres.database()
        api, hook = stack.enter_context(ServedApi(self.api).served()), stack.enter_context(self.receiver.served())
        ports = [free_port() for _ in NODES]
        self._told = {name: self._config(port, api.url, hook) for name, port in zip(NODES, ports, strict=True)}
        self.nodes: dict[str, Node] = {}
        two, three = self.chance.choice(ROLES)
        for name, role in zip(NODES, (two, two, three), strict=True):
            (folder / name).mkdir()
            plugins = {"waiting": "tests.cluster.waiting_plugin"}
            if hurried:
                plugins["hurrying"] = "tests.cluster.counting_plugin"
            options = ("--role", role)
            one = DaemonProcess(folder / name, self._told[name], plugins=plugins, paths=[ROOT], options=options, patience=1e6)
            self.nodes[name] = Node(one)
        stack.callback(lambda: [one.end() for one in self.nodes.values()])
        for name, node in self.nodes.items():
            if name != "one":
                eventually(lambda: (self.nodes["one"].daemon.state_dir / "keys/digest.key").exists() and self.answers("one"))
                copytree(self.nodes["one"].daemon.state_dir / "keys", node.daemon.state_dir / "keys")
                node.daemon.state_dir.chmod(0o700)
            node.begin()
        eventually(lambda: self.answers("three"))
        self.senders = [Sender(number, ports[:2], seed) for number in range(4)]
        self.rows = 0

    def _config(self, port: int, api: str, hook: str) -> str:
        config = CONFIG.format(port=port, nats=self.nats.url, store=json.dumps(self.database.url))
        config += folder("files", self._folder / "in", every="1s", more=ROWS) + contacts("api", api, more='freshness = "2s"')
        return config + target(hook, f"retry = {json.dumps(['1s'] * 100)}", 'timeout = "5s"')

    def answers(self, name: str) -> bool:
        with suppress(CdmdError, OSError):
            return bool(self.nodes[name].daemon.control.get("/v1/status"))
        return False

    def bring(self) -> None:
        """A file and some contacts more."""
        made = self._folder / "made"
        made.write_text("email,n\n" + "".join(f"r{n % 30}@example.com,{n}\n" for n in range(self.rows, self.rows + 20)))
        made.rename(self._folder / f"in/{self.rows}.csv")
        self.api.add(5, start=len(self.api.contacts))
        self.rows += 20

    def befall(self, fault: Fault) -> None:
        """It happens, lasts, and is over."""
        try:
            with self._during(fault):
                threading.Event().wait(fault.lasts)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is told with the fault
            self.findings.append(f"{fault}: {error!r}")

    @contextmanager
    def _during(self, fault: Fault) -> Iterator[None]:
        begin, end = self._ways(fault)
        begin()
        yield
        end()

    def _ways(self, fault: Fault) -> tuple[Callable[[], object], Callable[[], object]]:
        node, nothing = self.nodes.get(fault.whom, self.nodes["one"]), lambda: None
        ask = self._insist
        ways: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
            "kill": (lambda: node.signal(signal.SIGKILL), nothing),
            "stop": (lambda: node.signal(signal.SIGTERM), nothing),
            "freeze": (lambda: node.signal(signal.SIGSTOP), lambda: node.signal(signal.SIGCONT)),
            "postgres-killed": (self.postgres.kill, self.postgres.start),
            "postgres-stopped": (self.postgres.stop, self.postgres.start),
            "postgres-frozen": (self.postgres.freeze, self.postgres.thaw),
            "nats-killed": (self.nats.kill, self.nats.start),
            "nats-frozen": (self.nats.pause, self.nats.go_on),
            "reload": (lambda: self._reload(fault.whom, ""), nothing),
            "differs": (lambda: self._reload(fault.whom, OTHERWISE), lambda: self._reload(fault.whom, "")),
            "hold": (lambda: ask(f"/v1/connectors/{fault.whom}/pause"), lambda: ask(f"/v1/connectors/{fault.whom}/resume")),
            "erase": (lambda: self._erase(GONE.format(int(fault.at * 10) % 8)), nothing),
            "rebuild": (lambda: ask("/v1/identity/rebuild"), nothing),
            "verify": (self._verify, nothing),
            "receiver-ill": (lambda: setattr(self.receiver, "ill", True), lambda: setattr(self.receiver, "ill", False)),
        }
        return ways[fault.kind]

    def _reload(self, name: str, more: str) -> None:
        one = self.nodes[name].daemon
        one.configure(self._told[name] + more)
        with suppress(CdmdError, OSError):
            one.control.post("/v1/reload")

    def _erase(self, email: str) -> None:
        self._insist("/v1/erasures", {"identifier": f"email:{email}"})
        self.erased.add(email)

    def _verify(self) -> None:
        with suppress(CdmdError, OSError):
            if found := self.anyone().control.post("/v1/verify", timeout=60)["problems"]:
                self.findings.append(f"in the midst of it verify said {found}")

    def anyone(self) -> DaemonProcess:
        """One that can be asked, the leading one first."""
        found = eventually(lambda: [name for name in NODES if self.answers(name)])
        return self.nodes[found[0]].daemon

    def _insist(self, path: str, body: dict[str, str] | None = None) -> None:
        """Whoever can be asked is, until it is done."""

        def done() -> bool:
            with suppress(CdmdError, OSError):
                self.anyone().control.post(path, body or {})
                return True
            return False

        eventually(done)


def trial(folder: Path, *, seconds: float, seed: int, hurried: bool = False) -> list[str]:
    """What is wrong afterwards; says on standard output what happened."""
    with ExitStack() as stack:
        chaos = Chaos(folder, stack, seed=seed, hurried=hurried)
        faults, began = sequence(seconds, chaos.chance), monotonic()
        sys.stdout.writelines([f"seed {seed}, {seconds:g} s\n", *(f"  {fault}\n" for fault in faults)])
        for sender in chaos.senders:
            sender.start()
        befalling = list[threading.Thread]()
        for fault in faults:
            chaos.bring()
            threading.Event().wait(max(0.0, began + fault.at - monotonic()))
            befalling.append(threading.Thread(target=chaos.befall, args=[fault]))
            befalling[-1].start()
        threading.Event().wait(max(0.0, began + seconds - monotonic()))
        for one in befalling:
            one.join(200)
        for sender in chaos.senders:
            sender.ended.set()
        for sender in chaos.senders:
            sender.join(60)
        sent = [order for sender in chaos.senders for order in sender.sent]
        truth = Truth(sent, chaos.erased, chaos.rows, len(chaos.api.contacts), chaos.receiver.got)
        sys.stdout.write(f"  {len(sent)} sent, all acknowledged: {not any(map(threading.Thread.is_alive, chaos.senders))}\n")
        found = [*chaos.findings, *shortcomings(chaos.anyone, chaos.database, truth)]
        found += [f"{name} said {line}" for name, node in chaos.nodes.items() for line in said(node.daemon.log_file)]
        found += [f"{name} ended with {node.exits}" for name, node in chaos.nodes.items() if {*node.exits} - {0, 1, -9, -15}]
        return found


@click.command()
@click.option("--seconds", default=60.0, show_default=True)
@click.option("--seed", default=1, show_default=True)
@click.option("--hurried", is_flag=True, help="Leases are short.")
@click.option("--folder", type=click.Path(path_type=Path), help="Where logs stay.")
def main(seconds: float, seed: int, hurried: bool, folder: Path | None) -> None:
    """Print the sequence and what came of it; exit with 1 where something is wrong."""
    with tempfile.TemporaryDirectory() as made:
        found = trial(folder or Path(made), seconds=seconds, seed=seed, hurried=hurried)
    sys.stdout.writelines(f"  {one}\n" for one in found or ["nothing is wrong"])
    raise SystemExit(bool(found))


if __name__ == "__main__":
    main()
