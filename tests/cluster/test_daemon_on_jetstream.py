"""The real daemon with its journal on a real nats-server: told by status and doctor, killed, and without its server."""

import http.client
import itertools
import json
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import anyio
import pytest

from cdmd.cluster.commits import read_frame
from cdmd.cluster.connection import Access, Link
from cdmd.cluster.entries import decode_piece
from cdmd.cluster.journal import JetStreamJournal
from cdmd.cluster.place import Place
from cdmd.cluster.stream import Shape, Stream
from cdmd.errors import CdmdError
from cdmd.kit.clock import SystemClock
from cdmd.models import Seq
from cdmd.store.blocks import unpack
from cdmd.testing import DaemonProcess
from tests.cluster.servers import NatsServer, eventually, needed, serving

pytestmark = [needed, pytest.mark.timeout(400), pytest.mark.slow]
_NUMBERS = itertools.count()
ROOT = Path(__file__).parents[2]
HURRIED = {"hurrying": "tests.cluster.hurrying_plugin"}
INBOX = """
[connectors.inbox]
type = "webhook"
verify = "none"
[connectors.inbox.event]
id = "{id}"
type = "order.paid"
identifiers = { email = "{email}" }
data = { n = "{n}" }
"""


def configuration(url: str, **more: Any) -> str:
    lines = "".join(f"{key} = {json.dumps(value)}\n" for key, value in more.items())
    return f'[journal]\nreserve = "1MiB"\nurl = "{url}"\n{lines}{INBOX}'


def daemon(folder: Path, url: str, *, plugins: Sequence[str] = (), **more: Any) -> DaemonProcess:
    folder.mkdir(exist_ok=True)
    found = HURRIED | {name: f"tests.cluster.mutants.{name}" for name in plugins}
    return DaemonProcess(folder, configuration(url, **more), plugins=found, paths=[ROOT], patience=60)


class Answer(NamedTuple):
    """What a sender was told, and when it had asked."""

    status: int
    retry_after: str | None
    asked: float


class Sender:
    """Sends orders one after the other until it is stopped; each again until it is acknowledged."""

    def __init__(self, number: int, url: Callable[[], str], *, rest: float) -> None:
        self._number, self._url, self._rest = number, url, rest
        self._ended = threading.Event()
        self.acknowledged: list[str] = []
        self.answers: list[Answer] = []
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        self._thread.join(60)

    def _run(self) -> None:
        count = 0
        while not self._ended.is_set():
            id_ = f"s{self._number}-{count}"
            if self._sent({"id": id_, "email": f"u{count % 50}@example.com", "n": count}):
                self.acknowledged.append(id_)
                count += 1
                self._ended.wait(self._rest)
            else:
                self._ended.wait(0.02)

    def _sent(self, order: dict[str, Any]) -> bool:
        began, parts = monotonic(), urlsplit(self._url())
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=10)
        try:
            connection.request("POST", "/hooks/inbox", json.dumps(order), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()
        self.answers.append(Answer(answer.status, answer.headers.get("Retry-After"), began))
        return answer.status == 200


@contextmanager
def sending(one: DaemonProcess, count: int = 3, *, rest: float = 0.01) -> Iterator[list[Sender]]:
    """Most of what is looked for needs no more than a few hundred a second: each rests so many seconds after an order."""
    senders = [Sender(next(_NUMBERS), lambda: one.url, rest=rest) for _ in range(count)]
    try:
        yield senders
    finally:
        for sender in senders:
            sender.stop()


def acknowledged(senders: Sequence[Sender]) -> set[str]:
    return {id_ for sender in senders for id_ in sender.acknowledged}


def further(senders: Sequence[Sender], count: int) -> None:
    """Wait until so many more are acknowledged."""
    goal = len(acknowledged(senders)) + count
    eventually(lambda: len(acknowledged(senders)) >= goal)


def status(one: DaemonProcess) -> dict[str, Any]:
    found: dict[str, Any] = one.control.get("/v1/status")
    return found


def journaled(server: NatsServer, folder: Path) -> list[str]:
    """The ids in the journal, in order, read when the daemon has ended."""

    async def read() -> list[str]:
        place = Place(access=Access(servers=(server.url,)))
        opened = JetStreamJournal.open(place, clock=SystemClock(), mark_path=folder / "state/mark", new_id=lambda: "reader")
        async with opened as journal:
            assert await journal.verify() == []
            return [one.entry.event.id for one in await journal.read(Seq(0), limit=1_000_000)]

    return anyio.run(read)


def shortcomings(one: DaemonProcess, server: NatsServer, senders: Sequence[Sender]) -> list[str]:
    """What is lost or double once everything is applied; ends the daemon."""
    eventually(lambda: status(one)["journal"]["backlog"] == 0)
    found = status(one)
    (row,) = found["connectors"]
    one.stop()
    held, promised = journaled(server, one.folder), acknowledged(senders)
    faults = [f"{len(promised - set(held))} acknowledged events are not in the journal"] if promised - set(held) else []
    if found["totals"]["activities"] != len(set(held)):
        faults.append(f"{len(set(held))} events arrived and {found['totals']['activities']} are stored")
    if row["accepted"] != row["applied"] + row["duplicates"] or row["accepted"] < len(promised):
        faults.append(f"the sums do not hold: {row}")
    return faults


def test_status_and_doctor_say_where_the_journal_lies_and_that_it_takes_nothing(tmp_path: Path) -> None:
    with serving(tmp_path / "server") as server, daemon(tmp_path / "one", server.url) as one:
        with sending(one, 1) as senders:
            further(senders, 20)
        assert one.cdmctl("verify").returncode == 0
        assert f"at 127.0.0.1:{server.port}" in one.cdmctl("status").stdout
        assert one.cdmctl("backup", str(tmp_path / "copy.tar")).returncode == 0
        server.kill()
        with sending(one, 1) as senders:
            refused = eventually(lambda: senders[0].answers)[0]
        assert refused[:2] == (503, "2")
        assert "NATS" in status(one)["journal"]["failure"]
        assert "no server" in one.cdmctl("status").stdout
        told = one.cdmctl("doctor", check=False)
        assert told.returncode == 1
        assert "mend the NATS servers" in told.stdout
        server.start()
        with sending(one, 1) as senders:
            further(senders, 1)
        assert status(one)["journal"]["failure"] is None
    copy = DaemonProcess(tmp_path, INBOX)
    assert cdmd(copy, "restore", str(tmp_path / "copy.tar")).returncode == 0


def test_nothing_acknowledged_is_lost_whoever_is_killed(tmp_path: Path) -> None:
    with serving(tmp_path / "server") as server, daemon(tmp_path / "one", server.url) as one:
        with sending(one, rest=0.0) as senders:  # so that whoever is killed is in the midst of something
            for _ in range(3):
                further(senders, 60)
                server.kill()
                threading.Event().wait(0.2)
                server.start()
                further(senders, 60)
                one.kill()
                one.start()
            further(senders, 60)
        assert shortcomings(one, server, senders) == []


def test_a_server_that_is_away_for_a_while_costs_nothing_but_answers(tmp_path: Path) -> None:
    """Every answer meanwhile is a 503 that says when to come again, and one that failed is not waited for again."""
    with serving(tmp_path / "server") as server, daemon(tmp_path / "one", server.url) as one:
        with sending(one) as senders:
            further(senders, 60)
            server.kill()
            killed = monotonic()

            def refusals(sender: Sender) -> list[Answer]:
                return [answer for answer in sender.answers if answer.asked > killed]

            # Three seconds for each of them would be more than twice as long.
            eventually(lambda: all(len(refusals(sender)) >= 20 for sender in senders), seconds=25)
            refused = [answer for sender in senders for answer in refusals(sender)]
            server.start()
            further(senders, 60)
        assert {answer.status for answer in refused} == {503}
        assert all(int(answer.retry_after or 0) >= 1 for answer in refused)
        assert shortcomings(one, server, senders) == []


def test_to_acknowledge_before_the_server_has_is_found_out(tmp_path: Path) -> None:
    with serving(tmp_path / "server") as server, daemon(tmp_path / "one", server.url, plugins=["acknowledge_early"]) as one:
        with sending(one, rest=0.0) as senders:  # so that whoever is killed is in the midst of something
            for _ in range(3):
                further(senders, 60)
                server.kill()
                threading.Event().wait(0.3)
                server.start()
                further(senders, 60)
        one.kill()
        assert acknowledged(senders) - published(server)


def published(server: NatsServer) -> set[str]:
    """The ids that are in any message of the entries."""

    async def read() -> set[str]:
        found, at = set[str](), 0
        async with Link.open(Access(servers=(server.url,)), name="test") as link:
            entries = Stream(link, Shape(name="cdmd_entries", subjects=("cdmd.entries",)))
            while (message := await entries.following(at + 1)) is not None:
                at, frame = message.seq, read_frame(message.data, "")
                found |= {one.event.id for one in unpack(decode_piece(frame.body, "").block)} if frame.body else set()
        return found

    return anyio.run(read)


def cdmd(one: DaemonProcess, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cdmd", *arguments, "--config", str(one.config_file)]
    return subprocess.run(command, capture_output=True, text=True, env=one.environment, timeout=60)


def test_a_second_daemon_begins_when_the_first_is_gone_and_the_first_acknowledges_nothing_when_it_wakes(tmp_path: Path) -> None:
    with serving(tmp_path / "server") as server, daemon(tmp_path / "one", server.url) as one:
        with sending(one, 1) as senders:
            further(senders, 5)
        two = daemon(tmp_path / "two", server.url)
        shutil.copytree(one.state_dir / "keys", two.state_dir / "keys")
        with pytest.raises(CdmdError, match=r"is written by .*/one/state: stop that one"):
            two.start()
        with sending(one, 1) as senders:
            further(senders, 5)
        assert one.process is not None
        one.process.send_signal(signal.SIGSTOP)
        with two:
            one.process.send_signal(signal.SIGCONT)
            with sending(one, 1) as senders:
                assert eventually(lambda: senders[0].answers)[-1][0] == 503
            assert "another daemon has opened the journal" in status(one)["journal"]["failure"]
            with sending(two, 1) as senders:
                further(senders, 5)
            assert two.stop() == 0
        one.kill()
        one.start()
        with sending(one, 1) as senders:
            further(senders, 1)


def test_a_state_directory_with_a_journal_of_its_own_is_not_mixed_up(tmp_path: Path) -> None:
    with serving(tmp_path / "server") as server:
        one = DaemonProcess(tmp_path, INBOX)
        with one:
            pass
        one.configure(configuration(server.url))
        with pytest.raises(CdmdError, match="has a journal of its own"):
            one.start()


def test_verify_and_restore_know_that_the_journal_is_not_here(tmp_path: Path) -> None:
    with serving(tmp_path / "server") as server, daemon(tmp_path / "one", server.url) as one:
        assert one.cdmctl("backup", str(tmp_path / "copy.tar")).returncode == 0
        one.stop()
        told = cdmd(one, "verify")
        assert (told.returncode, "the store is whole" in told.stdout, server.url in told.stderr) == (0, True, True)
        assert not (one.state_dir / "journal.db").exists()
        told = cdmd(one, "restore", str(tmp_path / "copy.tar"))
        assert told.returncode == 1
        assert "restore it into another directory" in told.stderr
        one.start()
