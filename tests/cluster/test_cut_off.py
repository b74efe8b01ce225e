"""A node in a network of its own that is cut off from the servers and comes back: others do its work, nothing is done twice."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cdmd.testing import DaemonProcess
from tests.cluster.servers import NatsServer, eventually, needed, serving
from tests.cluster.test_daemon_on_jetstream import HURRIED, ROOT, acknowledged, configuration, further, sending, status
from tests.cluster.test_several_nodes import Nodes
from tests.store.postgres import Database, running

pytestmark = [
    needed,
    pytest.mark.timeout(600),
    pytest.mark.slow,
    pytest.mark.skipif(os.getuid() != 0 or not shutil.which("ip"), reason="networks of their own are made by root with ip"),
]


class Network:
    """A name space with one way out: a pair of interfaces, of which the outer one may be taken down."""

    def __init__(self, number: int) -> None:
        self.name, self.outer = f"cdmd{number}", f"cdmd{number}o"
        self.address, self._inner = (f"10.213.{number % 250}.{host}" for host in (1, 2))

    def make(self) -> None:
        inner = f"{self.name}i"
        for command in (
            f"netns add {self.name}",
            f"link add {self.outer} type veth peer name {inner} netns {self.name}",
            f"addr add {self.address}/24 dev {self.outer}",
            f"link set {self.outer} up",
            f"-n {self.name} addr add {self._inner}/24 dev {inner}",
            f"-n {self.name} link set {inner} up",
            f"-n {self.name} link set lo up",
        ):
            self._ip(command)

    def cut(self) -> None:
        self._ip(f"link set {self.outer} down")

    def mend(self) -> None:
        self._ip(f"link set {self.outer} up")

    def remove(self) -> None:
        subprocess.run(["ip", "netns", "del", self.name], capture_output=True)

    def _ip(self, command: str) -> None:
        done = subprocess.run(["ip", *command.split()], capture_output=True, text=True)
        if done.returncode and "not permitted" in done.stderr:
            pytest.skip(f"no network of its own can be made here: {done.stderr.strip()}")
        assert not done.returncode, (command, done.stderr)


@contextmanager
def network() -> Iterator[Network]:
    found = Network(os.getpid() % 10_000)
    try:
        found.make()
        yield found
    finally:
        found.remove()


@contextmanager
def apart(folder: Path, nats: NatsServer, there: Network, here: Database, over: Database) -> Iterator[Nodes]:
    """One node beside the servers, and one in the other network."""
    made = {}
    for name, role, url, store in (
        ("leads", "all", nats.url, here.url),
        ("helps", "process", f"nats://{there.address}:{nats.port}", over.url),
    ):
        (folder / name).mkdir()
        told = configuration(url, partitions=4) + f"[store]\nurl = {json.dumps(store)}\n"
        inside = ("ip", "netns", "exec", there.name) if name == "helps" else ()
        command = (*inside, sys.executable, "-m", "cdmd")
        made[name] = DaemonProcess(
            folder / name, told, plugins=HURRIED, paths=[ROOT], options=("--role", role), patience=90, command=command
        )
    leads, helps = made["leads"], made["helps"]
    with leads:
        keys = helps.state_dir / "keys"
        keys.mkdir(parents=True, mode=0o700)
        helps.state_dir.chmod(0o700)
        shutil.copy(leads.state_dir / "keys/digest.key", keys / "digest.key")
        with helps:
            yield Nodes(leads, helps, here)


def test_a_node_that_is_cut_off_and_comes_back_does_nothing_twice(tmp_path: Path) -> None:
    with (
        network() as there,
        serving(tmp_path / "nats", "-a", "0.0.0.0") as nats,
        running(listens=there.address, trusts=f"{there.address}/24") as server,
    ):
        here = server.database()
        over = Database(
            here.url.replace("@/", f"@{there.address}/").partition("?")[0] + "?sslmode=disable&" + here.url.partition("&")[2]
        )
        with apart(tmp_path, nats, there, here, over) as both:
            eventually(lambda: sorted(map(len, both.lanes().values())) == [2, 2])
            with sending(both.leads) as senders:
                further(senders, 50)
                there.cut()
                eventually(lambda: both.lanes() == {"leads": [0, 1, 2, 3]})
                eventually(lambda: [row["lost"] for row in status(both.leads)["nodes"]] == [True, False])
                further(senders, 50)
                there.mend()
                # What was sent meanwhile is sent again when the kernel thinks so: after a long cut not at once.
                eventually(lambda: sorted(map(len, both.lanes().values())) == [2, 2], seconds=240)
                further(senders, 50)
            eventually(lambda: status(both.leads)["journal"]["backlog"] == 0)
            ((events,),) = here.run("SELECT value FROM totals WHERE name = 'events'")
            assert len(acknowledged(senders)) <= events <= len(acknowledged(senders)) + len(senders)
            assert here.run("SELECT count(*) FROM seen") == [(events,)]
            assert here.run("SELECT count(*) FROM activities WHERE before > seq") == [(0,)]
            assert not any(row["lost"] for row in status(both.helps)["nodes"])
