"""Hours of mixed load with something going wrong all the time: whether memory, files and databases stay what they are.

Webhooks, an application, thin notices that are fetched, an API that is asked, a register that is new with each round,
audiences, a target; and in turn forged and cut requests, an API that is ill, a target that is gone, a torn register, erasures,
reloads, backups. What is acknowledged is applied; the figures of the last third are held against those of the one before.
Run: python -m tests.bench.soak [--seconds 86400] [--rate 500] [--folder FOLDER]. A minute by default, which shows that it
works; slopes mean something after an hour. However slow the machine is, each of them goes wrong once.
"""

import base64
import random
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from statistics import linear_regression, median
from typing import NamedTuple

from cdmd.errors import CdmdError, NotFound
from cdmd.testing import DaemonProcess
from tests.acceptance.served_api import ServedApi
from tests.acceptance.survey_api import Api as Survey
from tests.bench.declared import contacts, folder
from tests.bench.deliveries import TARGET, Receiver
from tests.bench.figures import Report, options, working_folder
from tests.bench.load import WRITE_KEY, Generator, Outcome, Plan
from tests.bench.setup import RICH, with_extension
from tests.connectors.rest.api import Api

MORE = """
[connectors.app]
type = "application"
write_keys = ["{write_key}"]
[connectors.survey]
type = "webhook"
verify = "none"
[connectors.survey.fetch]
url = "{survey}/things/{{id}}"
key = "{{id}}"
auth = {{ type = "bearer", token = "sesame" }}
limits = "100/1s"
[connectors.survey.event]
type = "thing.changed"
identifiers = {{ customer_no = "{{_fetch.key}}" }}
traits = {{ n = "{{n}}" }}
[privacy]
retention = [{{ events = ["page"], keep = "10m" }}]
[dead_letters]
keep = "10m"
[deliveries]
keep = "10m"
{more}
"""
REGISTERS = """
mode = "snapshot"
key = ["customer_no"]
[connectors.erp.event]
type = "customer.{change}"
identifiers = { customer_no = "{customer_no}", email = "{email}" }
traits = "*"
"""

CUSTOMERS, REGISTER, KEYS = 20_000, 2_000, 50
KEY = base64.b64encode(f"{WRITE_KEY}:".encode()).decode()
ASKED = (
    "/v1/connectors", "/v1/history", "/v1/dead-letters", "/v1/dead-letters/causes", "/v1/plugins", "/v1/config", "/v1/audit",
    "/v1/targets", "/v1/audiences", "/v1/audience-changes", "/v1/erasures", "/v1/suppressions", "/v1/minimisation",
    "/v1/shelves/files", "/v1/shelves/snapshots",
)  # fmt: skip
OWN = '[journal]\nprocess = "own"\nreserve = "1MiB"\n[store]\nprocess = "own"\n'
BECAME = ("applied", "repeats", "filtered", "suppressed", "dead_letters", "parked", "backlog")
WORDS = ("Lund", "Umeå", "Visby", "Kalmar")


class Sample(NamedTuple):
    """What a round ended with; ``memory`` resident now, in MiB, databases in MiB."""

    at: float
    memory: float
    files: int
    threads: int
    journal: float
    store: float
    seen: Outcome


class Soak:
    """One daemon, what sends to it, and what befalls it."""

    def __init__(self, folder: Path, *, rate: float, length: float, own: bool, stack: ExitStack) -> None:
        self._folder, self._rate, self._length, self._own = folder, rate, length, own
        self._rng = random.Random(1)
        self._round = 0
        self.api = Api(limit=10**9, page=200)
        self.survey = Survey(limit=10**9)
        stack.enter_context(self.survey.served())
        self._served = stack.enter_context(ServedApi(self.api).served())
        (folder / "in").mkdir()
        self._receiver = Receiver()
        stack.callback(lambda: self._receiver.end())  # noqa: PLW0108 - whichever it is by then
        self._more = ""
        self.daemon = DaemonProcess(folder, self._config(), environment=with_extension(folder), patience=60)
        stack.enter_context(self.daemon)
        self.befell: list[str] = []
        self.acknowledged = 0

    def _config(self) -> str:
        more = MORE.format(write_key=WRITE_KEY, survey=self.survey.url, more=self._more)
        pulled = contacts("crm", self._served.url, more='freshness = "10s"')
        pulled += folder("erp", self._folder / "in", every="2s", more=REGISTERS)
        return (OWN if self._own else "") + RICH + pulled + more + TARGET.format(port=self._receiver.port)

    def round(self) -> Sample:
        """Send for as long as a round takes, everything else beside it."""
        self._round += 1
        count = int(self._rate * self._length)
        port = int(self.daemon.url.rpartition(":")[2])
        plan = Plan(
            port=port, events=count, seconds=self._length + 5, rate=self._rate, profiles=CUSTOMERS, run=f"r{self._round}"
        )
        load, seen = Generator(plan), list[Outcome]()
        sending = threading.Thread(target=lambda: seen.append(load.go()))
        sending.start()
        try:
            self._beside()
            what = self._what_befalls()[self._round % len(self._what_befalls())]
            what()
            self.befell.append(what.__name__.strip("_"))
        finally:
            sending.join()
        assert not seen[0].failed, f"{seen[0].failed} answers were not 200"
        self.acknowledged += seen[0].answered
        return self._sample(seen[0])

    def _beside(self) -> None:
        """What comes in by the other ways."""
        calls = [
            {
                "type": "track",
                "event": "page",
                "userId": f"C{self._rng.randrange(CUSTOMERS)}",
                "messageId": f"m{self._round}-{n}",
            }
            for n in range(200)
        ]
        self.daemon.send("/v1/batch", {"batch": calls}, headers={"authorization": f"Basic {KEY}"})
        for number in range(KEYS):
            self.survey.things[f"k{number}"] = {"n": self._round}
            self.daemon.send("/hooks/survey", {"id": f"k{number}"})
        self.api.add(50, start=50 * self._round)
        self.api.log.clear()
        self._register(REGISTER)

    def _register(self, rows: int) -> None:
        """A new register, of which about a hundredth has changed."""
        lines = ["customer_no,email,city"]
        for number in range(rows):
            city = WORDS[(number + (self._round if number % 100 == self._round % 100 else 0)) % len(WORDS)]
            lines.append(f"R{number},r{number}@example.com,{city}")
        made = self._folder / "register.tmp"
        made.write_text("\n".join(lines) + "\n")
        made.replace(self._folder / "in" / f"register-{self._round}-{rows}.csv")

    # ---- what befalls it -----------------------------------------------------------------------------------------------

    @property
    def kinds(self) -> int:
        """How many different things befall it."""
        return len(self._what_befalls())

    def _what_befalls(self) -> Sequence[Callable[[], None]]:
        return (
            self._asked, self._forged, self._ill, self._unreachable, self._erased, self._torn, self._reloaded, self._backed_up,
        )  # fmt: skip

    def _asked(self) -> None:
        """Everything that can be asked is."""
        someone = {"identifier": f"customer_no:C{self._rng.randrange(CUSTOMERS)}"}
        with suppress(NotFound):
            for path in ("/v1/profile", "/v1/profile/events"):
                self.daemon.control.get(path, someone)
            self.daemon.cdmctl("profile", "export", someone["identifier"])
        for path in ASKED:
            self.daemon.control.get(path)
        self.daemon.control.text("/v1/metrics")
        self.daemon.cdmctl("doctor", check=False)

    def _forged(self) -> None:
        """Requests that are refused, and some that end in the middle."""
        for number in range(200):
            with suppress(CdmdError):
                self.daemon.send(
                    "/hooks/shop", b"{" * (number + 1), headers={"webhook-id": "x", "webhook-signature": "v1,AAAA"}
                )
        host, port = "127.0.0.1", int(self.daemon.url.rpartition(":")[2])
        for _ in range(50):
            with socket.create_connection((host, port)) as cut:
                cut.sendall(b"POST /hooks/shop HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n{")

    def _ill(self) -> None:
        """What the thin notices are fetched from fails, and is well again."""
        for number in range(KEYS):
            self.survey.ways[f"k{number}"] = self._rng.choice(("broken", "nonsense", "page", "gone", "redirect"))
            self.daemon.send("/hooks/survey", {"id": f"k{number}"})
        self._rest(self._length / 3)
        self.survey.ways.clear()

    def _unreachable(self) -> None:
        """The target is gone, and another one is there."""
        self._receiver.end()
        self._rest(self._length / 3)
        self._receiver = Receiver()
        self._reload()

    def _erased(self) -> None:
        """Some customers are forgotten, and what is old."""
        for _ in range(20):
            self.daemon.control.post("/v1/erasures", {"identifier": f"customer_no:C{self._rng.randrange(CUSTOMERS)}"})
        self.daemon.control.post("/v1/retention/run", {"trust_clock": False}, timeout=600)

    def _torn(self) -> None:
        """Half of a register: what is missing is held back."""
        self._register(REGISTER // 2)

    def _reloaded(self) -> None:
        """An audience more or less."""
        self._more = "" if self._more else '[audiences.any]\nwhere = "indicators.orders >= 1"\n'
        self._reload()
        for name in ("erp", "crm"):
            self.daemon.control.post(f"/v1/connectors/{name}/pause")
            self.daemon.control.post(f"/v1/connectors/{name}/resume")

    def _reload(self) -> None:
        self.daemon.configure(self._config())
        self.daemon.cdmctl("reload")

    def _backed_up(self) -> None:
        """A copy is made, and the one before it goes."""
        for one in self._folder.glob("backup-*"):
            one.unlink()
        self.daemon.cdmctl("backup", str(self._folder / f"backup-{self._round}"))

    def end(self) -> tuple[int, list[str]]:
        """Once all is applied: how many of the acknowledged webhooks are not there, and what else is wrong."""
        self.daemon.settle(held=True)
        rows, faults = self.daemon.control.get("/v1/status")["connectors"], list[str]()
        for row in rows:
            became = {name: row[name] for name in BECAME}
            if row["received"] != row["refused"] + sum(became.values()):
                faults.append(f"{row['name']}: {row['received']} received, {row['refused']} refused, {became}")
        (there,) = [sum(row[name] for name in BECAME) for row in rows if row["name"] == "shop"]
        faults += self.daemon.control.post("/v1/verify", timeout=600)["problems"]
        assert self.daemon.stop() == 0
        return self.acknowledged - there, faults

    @staticmethod
    def _rest(seconds: float) -> None:
        threading.Event().wait(seconds)

    # ---- what is seen ----------------------------------------------------------------------------------------------------

    def _sample(self, seen: Outcome) -> Sample:
        assert self.daemon.process is not None
        status, pid = self.daemon.control.get("/v1/status"), self.daemon.process.pid
        told = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        return Sample(
            at=time.monotonic(),
            memory=int(told["VmRSS"].split()[0]) / 1024,
            files=len([*Path(f"/proc/{pid}/fd").iterdir()]),
            threads=int(told["Threads"]),
            journal=status["journal"]["bytes"] / 2**20,
            store=status["store"]["bytes"] / 2**20,
            seen=seen,
        )


def _halves(samples: Sequence[Sample]) -> tuple[Sequence[Sample], Sequence[Sample]]:
    """The second third of them and the last: before that it is warming up."""
    third = len(samples) // 3
    return samples[third : 2 * third], samples[2 * third :]


def _say(report: Report, samples: Sequence[Sample], *, long: bool) -> None:
    """What it was at the end beside what it was in the middle; ``long``: for long enough that a slope is one."""
    middle, last = _halves(samples)
    hours = [(one.at - samples[0].at) / 3600 for one in (*middle, *last)]
    slope = linear_regression(hours, [one.memory for one in (*middle, *last)]).slope
    report.line("resident memory at the end", last[-1].memory, "MiB")
    report.line("its slope behind the first third", slope, "MiB/h", at_most=1 if long else None)
    report.line(
        "open files, last third to the one before", max(one.files for one in last) - max(one.files for one in middle), at_most=5
    )
    report.line("threads, the same", max(one.threads for one in last) - max(one.threads for one in middle), at_most=2)
    drift = median(one.seen.p99 for one in last) / median(one.seen.p99 for one in middle)
    report.line("acknowledgement p99, the same as a ratio", drift, at_most=1.2 if long else None)
    report.note(f"journal {last[-1].journal:.0f} MiB, store {last[-1].store:.0f} MiB")


def main(arguments: list[str] | None = None) -> int:
    """Print the table; returns how many figures are beyond their budget."""
    parser = options("soak", long_help="an hour")
    parser.add_argument("--seconds", type=float, help="for how long (default: 60, with --long 3,600)")
    parser.add_argument("--rate", type=float, default=200.0, help="webhooks a second")
    parser.add_argument("--own", action="store_true", help="journal and store are written by processes of their own")
    given = parser.parse_args(arguments)
    seconds = given.seconds or (3600.0 if given.long else 60.0)
    length = min(30.0, seconds / 12)
    report = Report(f"{seconds:,.0f} s of mixed load at {given.rate:g} webhooks a second, something going wrong all the time")
    with working_folder(given.folder) as folder, ExitStack() as stack:
        soak = Soak(folder, rate=given.rate, length=length, own=given.own, stack=stack)
        samples, until = list[Sample](), time.monotonic() + seconds
        while time.monotonic() < until or len(samples) < soak.kinds:
            samples.append(one := soak.round())
            if len(samples) % max(1, round(seconds / length / 12)) == 0:
                told = f"{one.memory:.0f} MiB, {one.files} files, {one.threads} threads, p99 {one.seen.p99:.1f} ms"
                report.note(f"{soak.befell[-1]:<12} {told}, journal {one.journal:.0f} MiB, store {one.store:.0f} MiB")
        _say(report, samples, long=seconds >= 3600)
        left, faults = soak.end()
        report.line("acknowledged and not applied, or applied twice", abs(left), at_most=0)
        report.line("counts that do not add up, and damage", len(faults), at_most=0)
        for fault in faults:
            report.note(fault)
    return report.beyond


if __name__ == "__main__":
    raise SystemExit(main())
