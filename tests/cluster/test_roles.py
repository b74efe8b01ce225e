"""Real daemons that divide fetching and sending among themselves: one sleeps over its time, another one is killed."""

import json
import os
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from cdmd.testing import DaemonProcess
from tests.cluster.servers import NatsServer, eventually, needed
from tests.cluster.test_daemon_on_jetstream import ROOT, configuration, status
from tests.store.postgres import Database, Server

pytestmark = [needed, pytest.mark.timeout(180), pytest.mark.slow]
CONNECTORS = ("one", "two")
TARGETS = ("red", "blue")


class Asked(NamedTuple):
    """Which connector asked behind which number, from which process."""

    connector: str
    after: int
    process: int


class World:
    """What is asked and what is sent to: a port for each, so that nothing goes together because of its host."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.told: list[tuple[str, str]] = []
        self.erased: list[tuple[str, int]] = []
        world = self

        class Answers(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                _, connector, after, process = self.path.split("/")
                if after == "erased":
                    world.erased.append((connector, int(process)))
                else:
                    world.asked.append(Asked(connector, int(after), int(process)))
                self._answer()

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                world.told.append((self.path.strip("/"), body["data"]["event"]["id"]))
                self._answer()

            def _answer(self) -> None:
                self.send_response(204)
                self.end_headers()

            def log_message(self, format: str, *_: Any) -> None:
                """Nothing."""

        self.servers = [ThreadingHTTPServer(("127.0.0.1", 0), Answers) for _ in range(2)]
        for one in self.servers:
            threading.Thread(target=one.serve_forever, daemon=True).start()

    def url(self, number: int) -> str:
        return f"http://127.0.0.1:{self.servers[number].server_address[1]}"

    def behind(self, connector: str) -> list[int]:
        return [one.after for one in self.asked if one.connector == connector]

    def told_of(self, target: str) -> list[str]:
        return [id_ for name, id_ in self.told if name == target]

    def close(self) -> None:
        for one in self.servers:
            one.shutdown()
            one.server_close()


class Nodes(NamedTuple):
    leads: DaemonProcess
    n1: DaemonProcess
    n2: DaemonProcess
    database: Database
    world: World

    def has(self, kind: str) -> dict[str, str | None]:
        """Which node has which, by the name of its folder."""
        rows = self.database.run(
            "SELECT d.name, n.name FROM duties AS d LEFT JOIN nodes AS n ON n.id = d.node WHERE d.kind = %s ORDER BY 1", kind
        )
        return {name: node and Path(node.partition(":")[2]).parent.name for name, node in rows}

    def divided(self) -> bool:
        """Whether each has one of each kind."""
        return all(sorted(map(str, self.has(kind).values())) == ["n1", "n2"] for kind in ("pull", "deliver"))

    def all_at(self, node: str) -> bool:
        return all(set(self.has(kind).values()) == {node} for kind in ("pull", "deliver"))

    def fetching(self) -> list[tuple[str, int]]:
        """Which process fetches for each connector."""
        pids = {name: one.process.pid for name in ("n1", "n2") if (one := getattr(self, name)).process is not None}
        return [(name, pids[node]) for name, node in self.has("pull").items() if node is not None]

    def shown(self) -> set[str]:
        """Who fetches, as the node that leads says."""
        rows = {row["name"]: row["node"] or "//" for row in status(self.leads)["connectors"]}
        return {Path(rows[name].partition(":")[2]).parent.name for name in CONNECTORS}

    def further(self, count: int) -> None:
        """Wait until every connector asked, and every target was told, so many times more."""
        asked = {name: len(self.world.behind(name)) + count for name in CONNECTORS}
        told = {name: len(self.world.told_of(name)) + count for name in TARGETS}
        eventually(lambda: all(len(self.world.behind(name)) >= goal for name, goal in asked.items()))
        eventually(lambda: all(len(self.world.told_of(name)) >= goal for name, goal in told.items()))


def settings(nats: NatsServer, folder: Path, database: Database, world: World) -> str:
    told = configuration(nats.url, name=f"roles{os.getpid()}{folder.name[-3:]}".replace("_", ""), partitions=4)
    told += f"[store]\nurl = {json.dumps(database.url)}\n"
    for number, name in enumerate(CONNECTORS):
        told += f'[connectors.{name}]\ntype = "counting"\nurl = "{world.url(number)}"\n'
    for name in TARGETS:
        told += f'[targets.{name}]\ntype = "webhook"\nurl = "{world.url(0)}/{name}"\nevents = ["order.*"]\n'
        told += 'secret = "whsec_a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s="\nretry = ["1s", "1s", "1s"]\n'
    return told


@contextmanager
def nodes(folder: Path, nats: NatsServer, server: Server, *mutants: str) -> Iterator[Nodes]:
    database, world = server.database(), World()
    told = settings(nats, folder, database, world)
    plugins = {"counting": "tests.cluster.counting_plugin", **{one: f"tests.cluster.mutants.{one}" for one in mutants}}
    made: dict[str, DaemonProcess] = {}
    for name, roles in (("leads", "ingest,process"), ("n1", "pull,deliver"), ("n2", "pull,process,deliver")):
        (folder / name).mkdir()
        options = ("--role", roles)
        made[name] = DaemonProcess(folder / name, told, plugins=plugins, paths=[ROOT], options=options, patience=60)
    with ExitStack() as stack:
        stack.callback(world.close)
        leads = stack.enter_context(made["leads"])
        for one in (made["n1"], made["n2"]):
            keys = one.state_dir / "keys"
            keys.mkdir(parents=True, mode=0o700)
            one.state_dir.chmod(0o700)
            shutil.copy(leads.state_dir / "keys/digest.key", keys / "digest.key")
            stack.enter_context(one)
        yield Nodes(leads, made["n1"], made["n2"], database, world)


def test_what_one_node_fetched_and_sent_another_goes_on_with_and_nothing_is_done_twice(
    tmp_path: Path, nats: NatsServer, server: Server
) -> None:
    with nodes(tmp_path, nats, server) as all_:
        world = all_.world
        eventually(all_.divided)
        all_.further(5)
        eventually(lambda: all_.shown() == {"n1", "n2"})
        # Asked of one that fetches, done by the one that leads; what a connector keeps goes where it is fetched for.
        all_.n2.control.post("/v1/erasures", {"identifier": "email:gone@example.com"})
        eventually(lambda: [row["state"] for row in all_.n1.control.get("/v1/erasures")] == ["complete"])
        assert sorted(world.erased) == all_.fetching()
        sleeper = all_.n1.process
        assert sleeper is not None
        os.kill(sleeper.pid, signal.SIGSTOP)
        eventually(lambda: all_.all_at("n2"))
        all_.further(5)
        os.kill(sleeper.pid, signal.SIGCONT)
        eventually(all_.divided)
        all_.further(5)
        all_.n2.kill()
        eventually(lambda: all_.all_at("n1"))
        all_.further(5)
        assert all_.n1.stop() == 0
        eventually(lambda: status(all_.leads)["journal"]["backlog"] == 0)
        for name in CONNECTORS:
            behind = world.behind(name)
            assert behind == sorted(behind), "nobody asks anew for what is there already"
            assert len(behind) - len(set(behind)) <= 10, "what was under way may be asked for once more by who goes on"
        ((events,),) = all_.database.run("SELECT value FROM totals WHERE name = 'events'")
        assert all_.database.run("SELECT count(*) FROM seen") == [(events,)]
        counted = sum(max(world.behind(name)) for name in CONNECTORS)
        assert counted <= events <= counted + len(CONNECTORS), "nothing is lost, and nothing is there twice"
        assert all_.database.run("SELECT count(*) FROM activities WHERE before > seq") == [(0,)]


def test_that_one_goes_on_whose_time_is_over_and_is_not_refused_is_found_out(
    tmp_path: Path, nats: NatsServer, server: Server
) -> None:
    with nodes(tmp_path, nats, server, "unfenced") as all_:
        eventually(all_.divided)
        all_.further(2)
        sleeper = all_.n1.process
        assert sleeper is not None
        os.kill(sleeper.pid, signal.SIGSTOP)
        eventually(lambda: all_.all_at("n2"))
        all_.further(2)
        os.kill(sleeper.pid, signal.SIGCONT)
        eventually(lambda: any((behind := all_.world.behind(name)) != sorted(behind) for name in CONNECTORS))
