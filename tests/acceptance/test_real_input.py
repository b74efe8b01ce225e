"""Real payloads, signed as their senders sign them, through the real daemon: from the request to the customer."""

import json
import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

import pytest
from standardwebhooks import Webhook

from cdmd.testing import DaemonProcess
from tests.acceptance.trial import (
    JSON,
    Reply,
    Sender,
    check_sums,
    control,
    github,
    hits,
    install,
    post,
    rows,
    settled,
    status,
    until,
)
from tests.peers import npm

pytestmark = [pytest.mark.acceptance]

PACKAGE = "@octokit/webhooks-examples"
VERSION = "7.6.1"
OCTOKIT_PAYLOADS = 329
GITHUB_SECRET = "It's a Secret to Everybody"
STANDARD_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
CANARY = "canary-7f3a9b21c4"
CONFIG = """
[connectors.code]
type = "webhook"
verify = "github"
secrets = ["env:GITHUB_SECRET"]
freshness = "5s"
[connectors.code.event]
identifiers = { github_login = "{sender.login}", email = "{repository.owner.email}" }
traits = { login = "{sender.login}", account = "{sender.type}" }
data = { action = "{action}", repository = "{repository.full_name}" }

[connectors.billing]
type = "webhook"
verify = "standard-webhooks"
secrets = ["env:STANDARD_SECRET"]
[connectors.billing.event]
type = "billing.{type}"
time = "{timestamp}"
identifiers = { email = "{data.email}", github_login = "{data.login}" }
data = { total = "{data.total}" }

[connectors.probe]
type = "webhook"
verify = "none"

[identity.identifiers]
github_login = { priority = 1, limit = 1 }
email = { priority = 2, limit = 5 }

[indicators.billed]
on = ["billing.invoice.paid"]
value = "{data.total}"
compute = "sum"

[plugins.trial]
word = "the plugin"
"""


class Delivery(NamedTuple):
    """One webhook as GitHub would deliver it, and again when asked to."""

    event: str
    id: str
    body: bytes
    login: str | None

    def headers(self) -> dict[str, str]:
        return github(GITHUB_SECRET, self.body, event=self.event, delivery=self.id)


def _deliveries(examples: Sequence[tuple[str, dict[str, Any]]]) -> list[Delivery]:
    found = []
    for place, (name, payload) in enumerate(examples):
        sender = payload.get("sender") or {}
        body = json.dumps({**payload, "unmapped": CANARY}, separators=(",", ":")).encode()
        found.append(Delivery(name, str(uuid.uuid5(uuid.NAMESPACE_URL, str(place))), body, sender.get("login")))
    return found


def _octokit(config: pytest.Config, tmp: Path) -> list[tuple[str, dict[str, Any]]]:
    """The package's examples, fetched with npm once and kept where pytest keeps its own cache."""
    folder = npm.installed(config, tmp, "octokit", [f"{PACKAGE}@{VERSION}"])
    index = folder / "node_modules" / PACKAGE / "api.github.com" / "index.json"
    return [(one["name"], example) for one in json.loads(index.read_bytes()) for example in one["examples"]]


def _written() -> list[tuple[str, dict[str, Any]]]:
    """The same paths without npm: several senders, one with an address, one without a sender, names that are not ASCII."""
    mona = {"login": "mona", "id": 1, "type": "User", "node_id": "unmapped-node-id"}
    bot = {"login": "dépendabot[bot]", "id": 2, "type": "Bot"}
    shop = {"full_name": "mona/shop", "owner": {"login": "mona", "email": "Mona@Example.com"}}
    found: list[tuple[str, dict[str, Any]]] = [("ping", {"zen": "Speak like a human.", "sender": mona})]
    issue = {"issue": {"number": 1}, "repository": shop, "sender": mona}
    found += [("issues", {"action": action, **issue}) for action in ("opened", "edited", "closed")]
    found += [
        ("push", {"ref": "refs/heads/main", "repository": shop, "sender": mona, "commits": [{"id": "a" * 40}] * 20}),
        ("star", {"action": "created", "repository": shop, "sender": bot}),
        ("star", {"action": "created", "repository": shop, "sender": bot}),
        ("security_advisory", {"action": "published", "security_advisory": {"ghsa_id": "GHSA-1"}}),
    ]
    return found


class Landed(NamedTuple):
    """The daemon after everything was sent once: the deliveries, their answers, and the lines of ``cdmctl tail``."""

    daemon: DaemonProcess
    deliveries: list[Delivery]
    answers: list[Reply]
    tail: list[dict[str, Any]]

    @property
    def busiest(self) -> str:
        """Who sent most."""
        return Counter(one.login for one in self.deliveries if one.login).most_common(1)[0][0]


@pytest.fixture(scope="module", params=["written", "octokit"])
def landed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Landed]:
    folder = tmp_path_factory.mktemp(request.param)
    examples = _written() if request.param == "written" else _octokit(request.config, folder)
    deliveries = _deliveries(examples)
    environment = {**install(folder / "plugins"), "GITHUB_SECRET": GITHUB_SECRET, "STANDARD_SECRET": STANDARD_SECRET}
    with DaemonProcess(folder, CONFIG, environment=environment) as daemon, _tailing(daemon) as tail:
        with Sender(daemon.url) as sender:
            answers = [sender.send("/hooks/code", one.body, one.headers()) for one in deliveries]
        settled(daemon)
        until(lambda: sum(line["stage"] == "applied" for line in tail) >= len(deliveries), what="the tail")
        yield Landed(daemon, deliveries, answers, tail)


@contextmanager
def _tailing(daemon: DaemonProcess) -> Iterator[list[dict[str, Any]]]:
    """``cdmctl tail --json`` as a process; its lines without those that only tried whether it listens."""
    command = [sys.executable, "-m", "cdmd.cli.control_commands", "--socket", str(daemon.socket), "tail", "--json"]
    lines: list[dict[str, Any]] = []
    probes: list[dict[str, Any]] = []

    def read(texts: Iterable[str]) -> None:
        for line in map(json.loads, texts):
            (probes if line["event"]["source"] == "probe" else lines).append(line)

    def listens() -> bool:
        post(f"{daemon.url}/hooks/probe", json.dumps({"type": "probe", "id": uuid.uuid4().hex}).encode())
        return bool(probes)

    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=daemon.environment) as process,
        ThreadPoolExecutor(1) as reader,
    ):
        assert process.stdout is not None
        reader.submit(read, process.stdout)
        try:
            until(listens, what="the tail's first line")
            yield lines
        finally:
            process.terminate()


def test_every_payload_is_answered_as_accepted(landed: Landed) -> None:
    assert {(one.status, one.body) for one in landed.answers} == {(200, b'{"accepted":1,"filtered":0}')}


def test_the_package_holds_the_payloads_that_are_promised(landed: Landed, request: pytest.FixtureRequest) -> None:
    expected = OCTOKIT_PAYLOADS if "octokit" in request.node.name else len(_written())
    assert len(landed.deliveries) == len(landed.answers) == expected


def test_the_tail_shows_each_of_them_with_its_delivery_as_id_and_its_event_as_type(landed: Landed) -> None:
    applied = {line["event"]["id"]: line["event"]["type"] for line in landed.tail if line["stage"] == "applied"}
    assert applied == {one.id: f"github.{one.event}" for one in landed.deliveries}
    assert {line["event"]["id"] for line in landed.tail if line["stage"] == "accepted"} == applied.keys()
    assert not sum(line["lost"] for line in landed.tail)


def test_the_tail_shows_nobodys_name(landed: Landed) -> None:
    assert landed.busiest not in json.dumps([line["event"] for line in landed.tail])


def test_an_event_can_be_followed_from_its_receipt_to_the_store(landed: Landed) -> None:
    opened = next(one for one in landed.deliveries if one.event == "issues")
    (trace,) = landed.daemon.ask("events", "show", opened.id, "--reveal")["traces"]
    assert (trace["id"], trace["source"], trace["state"]) == (opened.id, "code", "applied")
    assert [step["step"] for step in trace["steps"]] == ["received", "accepted", "journaled", "extended", "resolved", "stored"]
    extended = next(step for step in trace["steps"] if step["step"] == "extended")
    assert extended["facts"]["extension"] == "trial.weigh"
    assert set(extended["facts"]["added"]) == {"weight", "asked"}
    assert trace["event"]["identifiers"]["github_login"] == opened.login
    assert trace["event"]["data"]["asked"] == "the plugin"


def test_the_profile_holds_what_its_customer_did(landed: Landed) -> None:
    shown = landed.daemon.ask("profile", "show", f"github_login:{landed.busiest}", "--activities", "1000")
    own = {one.id: one.event for one in landed.deliveries if one.login == landed.busiest}
    assert own.items() <= {row["id"]: row["type"].removeprefix("github.") for row in shown["activities"]}.items()
    assert shown["traits"]["login"] == landed.busiest
    assert set(shown["activities"][0]["data"]) <= {"action", "repository", "weight", "asked"}


def test_an_address_leads_to_the_same_customer_as_the_login(landed: Landed) -> None:
    address = next(
        found
        for one in landed.deliveries
        if (found := (json.loads(one.body).get("repository") or {}).get("owner", {}).get("email"))
    )
    by_address = landed.daemon.ask("profile", "show", f"email:{address.upper()}")
    by_login = landed.daemon.ask("profile", "show", f"github_login:{landed.busiest}")
    assert by_address["id"] == by_login["id"]


def test_the_sums_of_the_status_are_what_was_sent(landed: Landed) -> None:
    whole = status(landed.daemon)
    row = next(row for row in whole["connectors"] if row["name"] == "code")
    check_sums(row)
    assert (row["received"] - row["repeats"], row["applied"], row["refused"]) == (len(landed.deliveries),) * 2 + (0,)
    assert (row["dead_letters"], row["parked"], row["filtered"], row["backlog"]) == (0, 0, 0, 0)
    assert whole["totals"]["events"] == sum(row["applied"] for row in whole["connectors"])
    assert row["freshness_seconds"] is not None
    assert row["freshness_seconds"] < 30
    assert whole["state"] == "running"


def test_what_is_not_mapped_is_in_no_file(landed: Landed) -> None:
    state = landed.daemon.state_dir
    assert hits(landed.busiest, [state]), "what is mapped is found, so that the search means something"
    for needle in (CANARY, "unmapped", "node_id", "It's a Secret", STANDARD_SECRET.removeprefix("whsec_")):
        assert not hits(needle, [state, landed.daemon.log_file])


def test_a_form_with_a_payload_is_the_same_webhook(landed: Landed) -> None:
    first = landed.deliveries[0]
    body = urlencode({"payload": first.body.decode()}).encode()
    headers = github(GITHUB_SECRET, body, event=first.event, delivery=first.id)
    before = rows(landed.daemon)["code"]["repeats"]
    reply = post(f"{landed.daemon.url}/hooks/code", body, {**headers, "content-type": "application/x-www-form-urlencoded"})
    assert (reply.status, reply.body) == (200, b'{"accepted":1,"filtered":0}')
    assert settled(landed.daemon)["code"]["repeats"] == before + 1


def test_events_signed_by_the_standards_own_library_join_the_customer(landed: Landed) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    for number, total in enumerate((10.5, 20.25)):
        data = {"login": landed.busiest, "total": total, "iban": CANARY}
        payload = {"type": "invoice.paid", "timestamp": now.isoformat(), "data": data}
        assert _bill(landed.daemon, f"msg_{number}", payload, now).body == b'{"accepted":1,"filtered":0}'
    settled(landed.daemon)
    shown = landed.daemon.ask("profile", "show", f"github_login:{landed.busiest}", "--activities", "1000")
    billed = [row for row in shown["activities"] if row["source"] == "billing"]
    assert {(row["id"], row["type"]) for row in billed} == {
        ("msg_0", "billing.invoice.paid"),
        ("msg_1", "billing.invoice.paid"),
    }
    assert shown["indicators"]["billed"] == pytest.approx(30.75)
    assert not hits(CANARY, [landed.daemon.state_dir])


def _bill(daemon: DaemonProcess, id: str, payload: dict[str, Any], now: datetime) -> Reply:
    body = json.dumps(payload)
    headers = {
        "webhook-id": id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(STANDARD_SECRET).sign(id, now, body),
    }
    return post(f"{daemon.url}/hooks/billing", body.encode(), {**JSON, **headers})


def test_delivering_everything_again_changes_nothing_even_after_a_restart(landed: Landed) -> None:
    daemon, count = landed.daemon, len(landed.deliveries)
    before, shown = settled(daemon)["code"], _profiles(landed)
    totals = status(daemon)["totals"]
    for again in (1, 2):
        with Sender(daemon.url) as sender:
            replies = [sender.send("/hooks/code", one.body, one.headers()) for one in landed.deliveries]
        assert {(one.status, one.body) for one in replies} == {(200, b'{"accepted":1,"filtered":0}')}
        row = settled(daemon)["code"]
        check_sums(row)
        assert row["applied"] == before["applied"]
        assert row["repeats"] == before["repeats"] + again * count
        assert status(daemon)["totals"] == totals
        assert _profiles(landed) == shown
        if again == 1:
            assert daemon.stop() == 0
            daemon.start()


def _profiles(landed: Landed) -> list[Any]:
    """The customers as they are, but for when they were last seen."""
    logins = sorted({one.login for one in landed.deliveries if one.login})
    found = []
    for login in logins[:5]:
        shown = control(landed.daemon).get("/v1/profile", {"identifier": f"github_login:{login}", "activities": 1000})
        found.append([shown[key] for key in ("id", "identifiers", "traits", "indicators", "activities", "updated")])
    return found
