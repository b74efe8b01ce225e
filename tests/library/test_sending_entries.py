"""Each entry of the library that is sent to: what goes out, held against a server of the vendor's form."""

import base64
import json
import ssl
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import pytest

from cdmd.cli.daemon_commands import main
from cdmd.cli.loading import Loaded, load_all
from cdmd.config.library import Library
from cdmd.kit.addresses import hosts_in
from cdmd.kit.egress import GuardedHttp
from cdmd.models import Delivered, DeliveryVerdict, Later, Never
from cdmd.testing import DaemonProcess, RecordingOutlet
from tests.library.senders import put_secrets
from tests.library.vendors import Asked, Vendor, hubspot, mailchimp, vendor

LIBRARY = Library()
ENTRIES = [name for name in LIBRARY.names() if LIBRARY.entry(name).kind == "target"]
SECTIONS = ["On the vendor's side", "What goes out", "Limits", "Verified"]
VENDORS: dict[str, Callable[[Asked], Any]] = {"hubspot-contacts": hubspot, "mailchimp-members": mailchimp}
SECRET = "pat-na1-secret"


class Person(NamedTuple):
    email: str | None
    first: str | None = "Joe"

    def profile(self) -> dict[str, Any]:
        identifiers = [] if self.email is None else [{"kind": "email", "value": self.email}]
        return {"id": "01KB", "identifiers": identifiers, "traits": {} if self.first is None else {"first_name": self.first}}


@pytest.fixture
def pasted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Path]:
    """The file with what an entry's page proposes to paste, for a server on loopback."""

    def paste(entry: str, url: str) -> Path:
        snippet = LIBRARY.entry(entry).snippet
        put_secrets(entry, snippet, tmp_path)
        for file in (tmp_path / "credentials").iterdir():
            file.write_text(SECRET)
        monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "credentials"))
        monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
        lines = [line for line in snippet.splitlines() if not line.startswith("base_url")]
        path = LIBRARY.entry(entry).target.get("base_url", "https://us19.api.mailchimp.com/3.0/lists/a1b2c3d4e5")
        lines.insert(2, f'base_url = "{url}/{path.split("/", 3)[3] if path.count("/") > 2 else ""}"')
        file = tmp_path / "cdmd.toml"
        file.write_text("\n".join(lines))
        return file

    return paste


async def delivered(loaded: Loaded, entry: str, people: Sequence[Person]) -> list[DeliveryVerdict]:
    one = loaded.config.targets[entry]
    target: Any = loaded.plugins.target(one.frame.type, one.name, one.settings)
    assert len(people) <= target.batch
    async with GuardedHttp(hosts=hosts_in(one.settings), tls=ssl.create_default_context()) as http:
        outlet = RecordingOutlet(entry, client=http)
        some = [outlet.add("profile.updated", profile=person.profile()) for person in people]
        return list(await target.deliver(some, outlet))


@pytest.fixture
def send(pasted: Callable[[str, str], Path]) -> Callable[..., list[DeliveryVerdict]]:
    """What becomes of deliveries about these people by an entry, at its vendor."""

    def sent(entry: str, at: Vendor, *people: Person) -> list[DeliveryVerdict]:
        return anyio.run(delivered, load_all(pasted(entry, at.url)), entry, people)

    return sent


Send = Callable[..., list[DeliveryVerdict]]


def test_contacts_go_to_hubspot_together_and_are_named_by_their_address(send: Send) -> None:
    with vendor(hubspot) as at:
        verdicts = send("hubspot-contacts", at, Person("joe@example.com"), Person("ann+x@example.com", None))
        assert [type(one) for one in verdicts] == [Delivered, Delivered]
        (asked,) = at.asked
        assert (asked.method, asked.path) == ("POST", "/crm/v3/objects/contacts/batch/upsert")
        assert asked.headers["authorization"] == f"Bearer {SECRET}"
        assert asked.headers["content-type"] == "application/json"
        first, second = asked.json["inputs"]
        assert first["objectWriteTraceId"] != second["objectWriteTraceId"]
        assert {**first, "objectWriteTraceId": ""} == {
            "id": "joe@example.com", "idProperty": "email", "objectWriteTraceId": "", "properties": {"firstname": "Joe"},
        }  # fmt: skip
        assert at.people == {"joe@example.com": {"firstname": "Joe"}, "ann+x@example.com": {}}


@pytest.mark.parametrize("how", ["multi-status", "all"])
def test_of_many_contacts_the_one_that_hubspot_refuses_is_set_aside_alone(send: Send, how: str) -> None:
    with vendor(hubspot, how=how) as at:
        people = [
            Person("a@x.example"),
            Person("b@x.example"),
            Person("nonsense"),
            Person("c@x.example"),
            Person("d@x.example"),
        ]
        verdicts = send("hubspot-contacts", at, *people)
        assert [type(one) for one in verdicts] == [Delivered, Delivered, Never, Delivered, Delivered]
        refused: Any = verdicts[2]
        assert ("VALIDATION_ERROR" in refused.reason) is (how == "multi-status")
        assert "nonsense" not in refused.reason
        assert set(at.people) == {f"{name}@x.example" for name in "abcd"}


def test_a_hundred_contacts_are_one_request() -> None:
    assert (LIBRARY.entry("hubspot-contacts").target["batch"], LIBRARY.entry("hubspot-contacts").target["order"]) == (
        *(100, "per_profile"),
    )


def test_members_go_to_mailchimp_one_by_one_and_their_status_stays_theirs(send: Send) -> None:
    with vendor(mailchimp) as at:
        at.people["gone@example.com"] = {"status": "unsubscribed", "FNAME": "G"}
        for email, first in (("joe+tv@example.com", "Joe"), ("gone@example.com", "Gunnar"), ("ann@example.com", None)):
            assert [type(one) for one in send("mailchimp-members", at, Person(email, first))] == [Delivered]
        first_asked = at.asked[0]
        assert (first_asked.method, first_asked.path) == ("PUT", "/3.0/lists/a1b2c3d4e5/members/joe%2Btv%40example.com")
        assert first_asked.query == {"skip_merge_validation": ["true"]}
        assert first_asked.headers["authorization"] == "Basic " + base64.b64encode(f"cdmd:{SECRET}".encode()).decode()
        assert first_asked.json == {
            "email_address": "joe+tv@example.com", "status_if_new": "subscribed", "merge_fields": {"FNAME": "Joe"},
        }  # fmt: skip
        assert at.people["joe+tv@example.com"] == {"status": "subscribed", "FNAME": "Joe"}
        assert at.people["gone@example.com"] == {"status": "unsubscribed", "FNAME": "Gunnar"}
        (refused,) = send("mailchimp-members", at, Person("nonsense"))
        assert isinstance(refused, Never)
        assert (refused.status, "nonsense" in refused.reason) == (400, False)


def test_nobody_is_subscribed_by_default() -> None:
    assert LIBRARY.entry("mailchimp-members").target["record"]["status_if_new"] == "transactional"
    assert "status" not in LIBRARY.entry("mailchimp-members").target["record"]


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize(
    ("status", "holds"), [(429, True), (401, False), (403, False), (404, False), (500, False), (503, False)]
)
def test_what_is_no_fault_of_the_record_sets_nothing_aside(send: Send, entry: str, status: int, holds: bool) -> None:
    with vendor(VENDORS[entry], status=status) as at:
        (verdict,) = send(entry, at, Person("joe@example.com"))
        assert isinstance(verdict, Later)
        assert (verdict.holds, verdict.status) == (holds, status)


@pytest.mark.parametrize("entry", ENTRIES)
def test_an_entry_that_is_sent_to_is_whole(entry: str) -> None:
    found, page = LIBRARY.entry(entry), LIBRARY.page(entry)
    assert [line[3:] for line in page.splitlines() if line.startswith("## ")] == SECTIONS
    assert tomllib.loads(found.snippet)["targets"][entry]["use"] == entry
    assert LIBRARY.written_out(entry, called=entry).startswith(f"[targets.{entry}]")
    assert "could not be" in page
    assert entry in VENDORS


@pytest.mark.parametrize("entry", ENTRIES)
def test_what_a_page_proposes_can_be_pasted(entry: str, pasted: Callable[[str, str], Path]) -> None:
    file = pasted(entry, "http://127.0.0.1:9")
    assert main(["check", "--config", str(file)]) == 0


@pytest.mark.acceptance
@pytest.mark.parametrize("entry", ENTRIES)
def test_a_customer_of_the_real_daemon_arrives_at_the_vendor(
    entry: str, pasted: Callable[[str, str], Path], tmp_path: Path
) -> None:
    shop = """
[connectors.shop]
type = "webhook"
verify = "none"
[connectors.shop.event]
id = "{id}"
type = "order.paid"
identifiers = { email = "{email}" }
traits = { first_name = "{name}" }
data = { n = "{n}" }
"""
    with vendor(VENDORS[entry]) as at:
        # No purpose is asked for here: nobody of the tests was asked.
        text = pasted(entry, at.url).read_text().replace('required_purposes = ["newsletter"]', "")
        (tmp_path / "d").mkdir()
        with DaemonProcess(tmp_path / "d", shop + text) as daemon:
            for number, name in enumerate(["Joe", "Joe", "Joseph"]):
                daemon.send("/hooks/shop", {"id": f"e{number}", "email": "joe@example.com", "name": name, "n": number})
            daemon.send("/hooks/shop", {"id": "e9", "name": "Nobody", "n": 9})
            daemon.settle()
            at.wait(lambda: "Joseph" in json.dumps(at.people), seconds=30)
            (row,) = daemon.ask("targets")
            assert (row["type"], row["failed"], row["waiting"]) == ("rest", 0, 0)
        assert set(at.people) == {"joe@example.com"}
        assert len(at.asked) == 2, "an event that changes nothing of what is sent is no request"
