"""A daemon whose store is in PostgreSQL: either of them is killed, or away, and nothing acknowledged is lost or done twice."""

import json
import random
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import monotonic

import pytest

from cdmd.errors import CdmdError
from cdmd.testing import DaemonProcess
from tests.acceptance.checks import lost, shortcomings
from tests.acceptance.daemons import HOLDING, asking, daemon, mutant, start_fault, wait_until_applied
from tests.acceptance.killing import kill_often
from tests.acceptance.senders import Ledger, Load
from tests.acceptance.workload import CONFIG
from tests.sizes import size
from tests.store import postgres
from tests.store.postgres import Database, Server

KILLS = size("CDMD_KILLS", short=6, long=300)
SEED = 20261130
server, database = postgres.server, postgres.database

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(120 + 10 * KILLS)]


def stored_in(database: Database) -> str:
    return f'{CONFIG}\n[store]\nurl = "{database.url}"\n'


class Trial:
    """A daemon under load whose server things happen to; ``findings`` is empty where it bore all of it."""

    def __init__(self, folder: Path, database: Database, *, plugins: Sequence[str] = ()) -> None:
        self.one = daemon(folder, plugins=[HOLDING, *plugins], config=stored_in(database))
        self.ledger, self.findings, self._seed = Ledger(), list[str](), SEED
        self.chance = random.Random(SEED)

    def under_load(self) -> Iterator["tuple[DaemonProcess, Load]"]:
        """The daemon and its senders; what is left is settled and looked at in the end."""
        with self.one, Load(self.ledger, seed=SEED, pause=0.01) as load:
            load.to(self.one.url)
            yield self.one, load
            self.findings += [] if load.settle(seconds=60) else ["not everything was acknowledged in the end"]
            self.findings += self._looked_at() if not self.findings else []
        refused = {status: number for status, number in self.ledger.answers.items() if status != 200}
        self.findings += [f"senders were refused: {refused}"] if refused else []
        sys.stdout.write(f"{len(self.ledger.acknowledged)} acknowledged, {self.findings[:3]}\n")

    def _looked_at(self) -> list[str]:
        try:
            damage = asking(self.one).post("/v1/verify")["problems"]
            return [*damage, *shortcomings(self.one, self.ledger.promised(), seconds=60)]
        except CdmdError as error:
            return [str(error)]

    def acknowledged_since(self, moment: float) -> None:
        """Something new was, however the server is."""
        if self.ledger.acknowledgement_after(moment, seconds=30) is None:
            self.findings.append("nothing was acknowledged while the server was away")

    def breathe(self, longest: float = 0.6) -> None:
        """For a random while all goes on."""
        threading.Event().wait(self.chance.uniform(0.05, longest))


def test_nothing_is_lost_or_double_however_often_the_daemon_is_killed(tmp_path: Path, database: Database) -> None:
    report = kill_often(tmp_path, kills=KILLS, seed=SEED, config=stored_in(database))
    sys.stdout.write(f"{report}\n")
    assert not report.findings, str(report)


def kill_the_server(trial: Trial, server: Server, *, kills: int) -> None:
    for _, _load in trial.under_load():
        for _ in range(kills):
            trial.breathe()
            server.kill()
            trial.acknowledged_since(monotonic())
            server.start()


def test_nothing_is_lost_or_double_however_often_the_server_is_killed_and_nobody_who_sends_notices(
    tmp_path: Path, server: Server, database: Database
) -> None:
    trial = Trial(tmp_path, database)
    kill_the_server(trial, server, kills=KILLS)
    assert not trial.findings


def test_both_may_be_killed_one_in_the_absence_of_the_other(tmp_path: Path, server: Server, database: Database) -> None:
    trial = Trial(tmp_path, database)
    for one, load in trial.under_load():
        for _ in range(max(2, KILLS // 2)):
            trial.breathe()
            server.kill()
            trial.breathe(0.2)
            one.kill()
            load.hold()
            server.start()
            trial.findings += lost(one.state_dir, trial.ledger.promised())
            fault = start_fault(one)
            trial.findings += [fault] if fault else []
            load.to(one.url)
    assert not trial.findings


def test_a_server_that_is_out_of_breath_is_waited_for_and_what_comes_meanwhile_is_acknowledged(
    tmp_path: Path, server: Server, database: Database
) -> None:
    trial = Trial(tmp_path, database)
    for _ in trial.under_load():
        trial.breathe()
        server.freeze()
        try:
            frozen = monotonic()
            while monotonic() < frozen + 3:
                trial.acknowledged_since(monotonic())
        finally:
            server.thaw()
    assert not trial.findings


def test_the_loop_catches_a_daemon_that_commits_effects_before_what_says_that_they_happened(
    tmp_path: Path, server: Server
) -> None:
    for loop in range(12):
        plugins = [mutant("postgres_effects_first")]
        config = stored_in(server.database())
        report = kill_often(tmp_path / str(loop), kills=3, seed=SEED + loop, plugins=plugins, settle=4, config=config)
        if any("should have" in finding for finding in report.findings):
            return
    pytest.fail(f"it was not caught: {report}")


def test_the_loop_catches_a_daemon_that_leaves_it_to_the_server_when_commits_are_on_its_disk(
    tmp_path: Path, server: Server, database: Database
) -> None:
    trial = Trial(tmp_path, database, plugins=[mutant("postgres_lazy_commits")])
    kill_the_server(trial, server, kills=2)
    assert trial.findings


def test_only_who_is_taken_for_being_known_has_to_wait_for_the_server(tmp_path: Path, server: Server) -> None:
    guarded = '[connectors.known]\ntype = "webhook"\nverify = "none"\nknown_only = true\n'
    one = daemon(tmp_path, config=f"{guarded}{stored_in(server.database())}")

    def sent(connector: str) -> int:
        event = {"id": "1", "type": "order.paid", "identifiers": {"email": f"{connector}@example.com"}}
        body = json.dumps(event).encode()
        request = urllib.request.Request(f"{one.url}/hooks/{connector}", body, {"content-type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code

    with one:
        server.kill()
        try:
            assert (sent("plain"), sent("known")) == (200, 503)
        finally:
            server.start()
        wait_until_applied(one, seconds=60)
        assert sent("known") == 200
