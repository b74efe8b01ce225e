"""All predefined connectors that receive, at once in one real daemon: deliveries arrive as the page of each entry promises."""

import hmac
import json
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import pytest

from cdmd.config.library import Library
from cdmd.testing import DaemonProcess
from tests.acceptance.trial import Reply, check_sums, control, post, rows, settled, status, until
from tests.library.senders import Delivery, deliveries, put_secrets, secret, sent
from tests.peers.serving import serving

pytestmark = [pytest.mark.acceptance]

LIBRARY = Library()
ENTRIES = [name for name in LIBRARY.names() if LIBRARY.entry(name).kind in {"fat", "thin"}]
NAMELESS = {"dropbox"}  # whose notices have no identity: each one counts
FETCHED = {entry for entry in ENTRIES if "fetch" in LIBRARY.entry(entry).connector}
PUBLIC = "https://in.example.com"
PATH = r"/API/v3/surveys/SV_\w+/responses/R_\w+"
DEFAULT_KINDS = """
[identity.identifiers]
user_id = { priority = 1, limit = 1 }
customer_no = { priority = 2, limit = 1 }
email = { priority = 3, limit = 5 }
phone = { priority = 4, limit = 5 }
anonymous_id = { priority = 9, limit = 50 }
"""
ENTRY_OF_A_PLUGIN = """
title = "Till"
kind = "fat"
summary = "Receipts of our tills"
verified = "against a till of model 7"
snippet = "use"
[connector]
type = "webhook"
verify = "bearer"
event = { id = "{receipt}", type = "till.sold", identifiers = { customer_no = "{customer}" }, data = { total = "{total}" } }
"""


class Api(BaseHTTPRequestHandler):
    """The API that a notified connector asks: what the deliveries of Qualtrics say that it answers, to who has the key."""

    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        name = self.path.rpartition("/")[2]
        answer = next((one.answer for one in deliveries("qualtrics") if name in one.answer), "")
        known = self.headers.get("x-api-token") == secret("qualtrics") and re.fullmatch(PATH, self.path) and answer
        self.asked.append(self.path if known else f"{self.path} as a stranger")
        body = (answer if known else '{"meta":{"httpStatus":"401"}}').encode()
        self.send_response(200 if known else 401)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture(scope="module")
def api() -> Iterator[str]:
    with serving(Api) as url:
        yield url


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory, api: str) -> Iterator[DaemonProcess]:
    """A daemon whose configuration is what all pages propose to paste, but takes every event and asks ``api``."""
    folder = tmp_path_factory.mktemp("library")
    entries = {name: LIBRARY.entry(name) for name in ENTRIES}
    for name, entry in entries.items():
        put_secrets(name, entry.snippet, folder)
    config = f'[http]\nlisten = ["127.0.0.1:0"]\npublic_url = "{PUBLIC}"\n'
    config += "".join(re.sub(r"^accept = .*$", "", entry.snippet, flags=re.MULTILINE) for entry in entries.values())
    config = re.sub(r"https://DATACENTER[^/]*", api, config)
    kinds = {kind: settings for entry in entries.values() for kind, settings in entry.kinds.items()}
    config += DEFAULT_KINDS + "".join(
        f"{kind} = {{ {', '.join(f'{key} = {json.dumps(value)}' for key, value in settings.items())} }}\n"
        for kind, settings in kinds.items()
    )
    with DaemonProcess(folder, config, environment={"CREDENTIALS_DIRECTORY": str(folder / "credentials")}) as running:
        yield running


def send_all(daemon: DaemonProcess, entry: str) -> list[Reply]:
    now, path = datetime.now(UTC), f"/hooks/{entry}"
    out = [sent(entry, one, now=now, url=f"{PUBLIC}{path}") for one in deliveries(entry)]
    return [post(f"{daemon.url}{path}{one.suffix}", one.body, one.headers) for one in out]


def expected(entry: str) -> dict[str, dict[str, Any]]:
    """The events by id (those that are fetched by their type): what one entry's deliveries say twice is one event."""
    return {event.get("id", event["type"]): event for one in deliveries(entry) for event in one.events}


def fetched(daemon: DaemonProcess, times: int) -> None:
    """Wait until every thin entry has asked that often and what it was told is applied."""
    until(lambda: len(Api.asked) >= times * len(FETCHED), what="fetching")
    until(lambda: all(rows(daemon)[entry]["applied"] for entry in FETCHED), what="applying what was fetched")


def stored(daemon: DaemonProcess, entry: str, named: str) -> dict[str, Any]:
    (trace,) = control(daemon).get("/v1/event", {"id": named, "source": entry, "reveal": True})["traces"]
    assert trace["state"] == "applied"
    document: dict[str, Any] = trace["event"]
    return document


@pytest.mark.parametrize("entry", ENTRIES)
def test_a_stranger_is_refused(daemon: DaemonProcess, entry: str) -> None:
    path, before = f"/hooks/{entry}", status(daemon)["totals"]
    one = sent(entry, deliveries(entry)[0], now=datetime.now(UTC), url=f"{PUBLIC}{path}")
    altered, headers = one.body.replace(b"a", b"b"), dict(one.headers)
    if "authorization" in headers:
        headers["authorization"] = "Bearer somebody-elses-token"
    if "x-gigya-sig-jwt" in headers:
        headers["x-gigya-sig-jwt"] = headers["x-gigya-sig-jwt"][:-8]
    reply = post(f"{daemon.url}{path}{one.suffix and one.suffix + 'x'}", altered, headers)
    assert reply.status == (404 if one.suffix else 401)
    settled(daemon)
    assert status(daemon)["totals"] == before


class Question(NamedTuple):
    """What a vendor asks before it delivers, signed as its deliveries are, and the answer that satisfies it."""

    method: str
    suffix: str = ""
    headers: Mapping[str, str] = {}
    body: str = ""
    answer: str = ""
    header: tuple[str, str] | None = None


CHALLENGE = "3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P"
PLAIN_TOKEN = "qgg8vlvZRS6UYooatFL8Aw"
SEALED = hmac.new(secret("zoom").encode(), PLAIN_TOKEN.encode(), "sha256").hexdigest()
PLAIN_TEXT = ("content-type", "text/plain; charset=utf-8")
ASKED = {
    "cloudevents": Question(
        "OPTIONS",
        headers={"webhook-request-origin": "events.example.com", "webhook-request-rate": "120"},
        header=("webhook-allowed-origin", "*"),
    ),
    "dropbox": Question("GET", "?challenge=a1b2c3", answer="a1b2c3", header=("x-content-type-options", "nosniff")),
    "intercom": Question("HEAD"),
    "mailchimp": Question("GET", f"/{secret('mailchimp')}", {"user-agent": "MailChimp.com WebHook Validator"}),
    "mandrill": Question("HEAD"),
    "qualtrics": Question("GET"),
    "meta": Question(
        "GET",
        f"?hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token={secret('meta')}",
        answer="1158201444",
        header=PLAIN_TEXT,
    ),
    "slack": Question(
        "POST",
        body=json.dumps({"token": "t", "challenge": CHALLENGE, "type": "url_verification"}),
        answer=CHALLENGE,
        header=PLAIN_TEXT,
    ),
    "zoom": Question(
        "POST",
        body=json.dumps(
            {"payload": {"plainToken": PLAIN_TOKEN}, "event_ts": 1654503849680, "event": "endpoint.url_validation"}
        ),
        answer=f'{{"plainToken":"{PLAIN_TOKEN}","encryptedToken":"{SEALED}"}}',
        header=("content-type", "application/json"),
    ),
}


def test_every_entry_with_a_handshake_or_probes_is_asked_here() -> None:
    asking = {name for name in ENTRIES if {"handshake", "probes"} & set(LIBRARY.entry(name).connector)}
    assert asking == set(ASKED)


@pytest.mark.parametrize("entry", ASKED)
def test_a_vendor_that_asks_first_is_answered_and_nothing_is_stored(daemon: DaemonProcess, entry: str) -> None:
    asked, path, before = ASKED[entry], f"/hooks/{entry}", status(daemon)["totals"]
    headers = asked.headers
    if asked.body:
        delivery = Delivery("the question", headers, None, asked.body, [])
        headers = sent(entry, delivery, now=datetime.now(UTC), url=f"{PUBLIC}{path}").headers
    reply = post(f"{daemon.url}{path}{asked.suffix}", asked.body.encode(), headers, method=asked.method)
    assert (reply.status, reply.body.decode()) == (200, asked.answer)
    assert asked.header is None or reply.headers[asked.header[0]] == asked.header[1]
    settled(daemon)
    assert status(daemon)["totals"] == before


def test_every_entrys_deliveries_are_stored_and_a_repeat_has_no_second_effect(daemon: DaemonProcess) -> None:
    first = {entry: send_all(daemon, entry) for entry in ENTRIES}
    assert {(entry, reply.status) for entry, replies in first.items() for reply in replies} == {(name, 200) for name in ENTRIES}
    fetched(daemon, 1)
    settled(daemon)
    named = [entry for entry in ENTRIES if entry not in NAMELESS | FETCHED]
    for source, event in [(entry, event) for entry in named for event in expected(entry).values()]:
        found = stored(daemon, source, event["id"])
        assert found["type"] == event["type"]
        assert found["identifiers"] == event.get("identifiers", {})
        assert found["traits"] == event.get("traits", {})
        assert found["data"] == event.get("data", {})
        assert (found.get("time") or "") == event.get("time", "")
    counted = sum(len(expected(entry)) for entry in ENTRIES)
    assert status(daemon)["totals"]["events"] == counted

    again = {entry: send_all(daemon, entry) for entry in ENTRIES}
    assert {entry: [reply.body for reply in replies] for entry, replies in again.items()} == {
        entry: [reply.body for reply in replies] for entry, replies in first.items()
    }
    fetched(daemon, 2)
    by_name = settled(daemon)
    counted += sum(len(expected(entry)) for entry in NAMELESS)
    totals = status(daemon)["totals"]
    assert (totals["events"], totals["activities"], totals["dead_letters"]) == (counted, counted, 0)
    for entry in ENTRIES:
        check_sums(by_name[entry])
        assert by_name[entry]["applied"] == len(expected(entry)) * (2 if entry in NAMELESS else 1)


def test_what_was_only_notified_is_fetched_and_mapped(daemon: DaemonProcess) -> None:
    (event,) = deliveries("qualtrics")[0].events
    send_all(daemon, "qualtrics")
    until(lambda: rows(daemon)["qualtrics"]["applied"], what="fetching")
    profile = control(daemon).get("/v1/profile", {"identifier": "email:anna.lead@example.com", "activities": 50})
    (activity,) = [one for one in profile["activities"] if one["source"] == "qualtrics"]
    assert (activity["type"], activity["time"], activity["data"]) == (event["type"], event["time"], event["data"])
    assert profile["traits"]["first_name"] == "Anna"
    assert {one["kind"]: one["value"] for one in profile["identifiers"]} == event["identifiers"]
    assert set(Api.asked) == {"/API/v3/surveys/SV_1234567890abcde/responses/R_1l9mcVuXubb4aGm"}


def test_customers_are_known_by_the_kinds_that_the_pages_propose(daemon: DaemonProcess) -> None:
    for entry in ENTRIES:
        send_all(daemon, entry)
    settled(daemon)
    for entry in ENTRIES:
        for kind in LIBRARY.entry(entry).kinds:
            value = next(
                event["identifiers"][kind] for event in expected(entry).values() if kind in event.get("identifiers", {})
            )
            profile = control(daemon).get("/v1/profile", {"identifier": f"{kind}:{value}", "activities": 50})
            assert any(activity["source"] == entry for activity in profile["activities"]), kind


def test_a_person_who_asks_a_shop_for_erasure_is_named_in_a_reserved_event(daemon: DaemonProcess) -> None:
    send_all(daemon, "shopify")
    settled(daemon)
    asked = [event for event in expected("shopify").values() if event["type"].startswith("privacy.")]
    assert sorted(event["type"] for event in asked) == ["privacy.access_requested", "privacy.erasure_requested"]
    for event in asked:
        found = stored(daemon, "shopify", event["id"])
        assert found["identifiers"]["email"] == "john@example.com"
        assert found["identifiers"]["shopify_customer"] == "191167"


def test_an_entry_of_a_plugin_is_used_overridden_reloaded_and_shown(tmp_path: Path) -> None:
    entries = tmp_path / "cdmd_till" / "library"
    entries.mkdir(parents=True)
    (tmp_path / "cdmd_till" / "__init__.py").write_text("")
    (entries / "till.toml").write_text(ENTRY_OF_A_PLUGIN)
    config = '[connectors.north]\nuse = "till/till"\nsecrets = ["env:TILL"]\n'
    environment = {"TILL": "a-token-of-the-tills"}
    plugins = {"till": "cdmd_till"}
    with DaemonProcess(tmp_path, config, environment=environment, plugins=plugins, paths=[tmp_path]) as daemon:
        bearer = {"authorization": "Bearer a-token-of-the-tills"}
        daemon.send("/hooks/north", {"receipt": "1", "customer": "4711", "total": 5, "shop": "N"}, headers=bearer)
        daemon.configure(config + 'event = { data = { total = "", shop = "{shop}" } }\n')
        daemon.cdmctl("reload")
        daemon.send("/hooks/north", {"receipt": "2", "customer": "4711", "total": 6, "shop": "N"}, headers=bearer)
        daemon.settle()
        profile = daemon.ask("profile", "show", "customer_no:4711")
        shown = daemon.ask("config", "show")["connectors"]["north"]
    assert {activity["id"]: activity["data"] for activity in profile["activities"]} == {"1": {"total": 5}, "2": {"shop": "N"}}
    assert (shown["use"], shown["verify"], shown["secrets"]) == ("till/till", "bearer", ["env:TILL"])
    assert shown["event"]["data"] == {"shop": "{shop}"}
