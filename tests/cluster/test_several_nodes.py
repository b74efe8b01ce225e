"""Several real daemons on one real nats-server and one real PostgreSQL: one takes events, both apply them, and one is lost."""

import json
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from cdmd.testing import DaemonProcess
from tests.cluster.servers import NatsServer, eventually, needed
from tests.cluster.test_daemon_on_jetstream import HURRIED, ROOT, acknowledged, configuration, further, sending, status
from tests.peers.proxy import proxy
from tests.store.postgres import Database, Server

pytestmark = [needed, pytest.mark.timeout(400), pytest.mark.slow]


class Nodes(NamedTuple):
    leads: DaemonProcess
    helps: DaemonProcess
    database: Database

    def lanes(self) -> dict[str, list[int]]:
        rows = self.database.run(
            "SELECT n.name, p.lane FROM positions AS p JOIN nodes AS n ON n.id = p.node WHERE p.lane >= 0 ORDER BY p.lane"
        )
        found: dict[str, list[int]] = {}
        for name, lane in rows:
            found.setdefault(Path(name.partition(":")[2]).parent.name, []).append(lane)
        return found


@contextmanager
def nodes(folder: Path, nats: NatsServer, server: Server, *, way: str = "") -> Iterator[Nodes]:
    """``way`` is the one that helps has to the journal's server, where it is another one."""
    database = server.database()
    told = configuration(nats.url, name=f"lanes{os.getpid()}{folder.name[-3:]}".replace("_", ""), partitions=4)
    told += f"[store]\nurl = {json.dumps(database.url)}\n"
    made = {}
    for name, role in (("leads", "all"), ("helps", "process")):
        (folder / name).mkdir()
        config = told.replace(nats.url, way) if way and name == "helps" else told
        made[name] = DaemonProcess(folder / name, config, plugins=HURRIED, paths=[ROOT], options=("--role", role), patience=60)
    leads, helps = made["leads"], made["helps"]
    with leads:
        keys = helps.state_dir / "keys"
        keys.mkdir(parents=True, mode=0o700)
        helps.state_dir.chmod(0o700)
        shutil.copy(leads.state_dir / "keys/digest.key", keys / "digest.key")
        with helps:
            try:
                yield Nodes(leads, helps, database)
            finally:  # shown where it fails
                sys.stdout.writelines(f"--- {name}\n{one.log_file.read_text()}\n" for name, one in made.items())


def shared(lanes: dict[str, list[int]]) -> bool:
    return sorted(map(len, lanes.values())) == [2, 2]


def test_what_a_node_leaves_another_goes_on_with_and_nothing_is_done_twice(
    tmp_path: Path, nats: NatsServer, server: Server
) -> None:
    """One is stopped for longer than its lease, goes on, and then the one that takes events is killed, under load."""
    with nodes(tmp_path, nats, server) as both:
        eventually(both.lanes, shared)
        with sending(both.leads) as senders:
            further(senders, 50)
            assert both.helps.process is not None
            os.kill(both.helps.process.pid, signal.SIGSTOP)
            eventually(both.lanes, lambda lanes: lanes == {"leads": [0, 1, 2, 3]})
            further(senders, 50)
            os.kill(both.helps.process.pid, signal.SIGCONT)
            eventually(both.lanes, shared)
            further(senders, 50)
            both.leads.kill()
            both.leads.start()
            further(senders, 50)
        eventually(lambda: status(both.leads), lambda found: found["journal"]["backlog"] == 0)
        ((events,),) = both.database.run("SELECT value FROM totals WHERE name = 'events'")
        assert len(acknowledged(senders)) <= events <= len(acknowledged(senders)) + len(senders)
        assert both.database.run("SELECT count(*) FROM seen") == [(events,)]
        # A profile's activities are a chain in the order in which they were applied.
        assert both.database.run("SELECT count(*) FROM activities WHERE before > seq") == [(0,)]
        assert [(row["leads"], sorted(row["lanes"].values())) for row in status(both.helps)["nodes"]] in (
            [(False, [0, 0]), (True, [0, 0])],
            [(False, [0, 0, 0, 0]), (True, [])],
        )


def test_the_lanes_of_a_node_that_lost_its_way_to_the_journal_alone_go_to_the_others(
    tmp_path: Path, nats: NatsServer, server: Server
) -> None:
    """It is heard of all the time, as it reaches the database."""
    with proxy(nats.port) as way, nodes(tmp_path, nats, server, way=f"nats://127.0.0.1:{way.port}") as both:
        eventually(both.lanes, shared)
        way.close()
        eventually(both.lanes, lambda lanes: lanes == {"leads": [0, 1, 2, 3]})
        with sending(both.leads, 1) as senders:
            further(senders, 20)
        eventually(lambda: status(both.leads), lambda found: found["journal"]["backlog"] == 0)
        assert [(row["leads"], row["lost"]) for row in status(both.leads)["nodes"]] == [(False, False), (True, False)]
