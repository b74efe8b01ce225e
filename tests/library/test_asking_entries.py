"""Each entry of the library that asks: its requests and events held against answers in the vendor's form, without a network."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus

import anyio
import msgspec
import pytest

from cdmd.cli.daemon_commands import main
from cdmd.cli.loading import load_all
from cdmd.config.library import Library
from cdmd.config.schema import ConnectorConfig, IdentifierSettings, default_identifiers
from cdmd.connectors.fetching import Ask, Judge, Outcome
from cdmd.connectors.rest import Rest
from cdmd.connectors.rest.fixtures import Answered, Exchange, Fixture, Replay, decoded, walked
from cdmd.connectors.rest.getting import Means
from cdmd.connectors.rest.looks import Look
from cdmd.connectors.rest.walking import Walk
from cdmd.testing import ManualClock, RecordingSource
from tests.library.senders import put_secrets

LIBRARY = Library()
ENTRIES = [name for name in LIBRARY.names() if LIBRARY.entry(name).kind == "pull"]
RECORDINGS = Path(__file__).with_name("recordings")
STREAMS = [(entry, stream) for entry in ENTRIES for stream in LIBRARY.entry(entry).connector["streams"]]
SECTIONS = ["On the vendor's side", "What is asked", "What it becomes", "Verified"]
NOBODY = "kept by nobody"
"""Stands in the recordings wherever an entry has no business: free text, addresses, what people write."""

AGAIN = {
    ("github-api", "events"): ["/repos/acme/shop/events?per_page=100 ", 'if-none-match: W/"a18c3bded88eb5dbb5c849a489412bf3"'],
    ("hubspot-api", "contacts"): ['"operator":"GTE","value":"1795427832004"'],
    ("intercom-api", "contacts"): ['"operator":">","value":"1795327200"', '"pagination":{"per_page":150}'],
    ("mailchimp-api", "members"): ["&since_last_changed=2026-11-23T09:12:59+00:00&offset=0&count=500 "],
    ("qualtrics-api", "responses"): [
        '/export-responses {"format":"ndjson","compress":false,"startDate":"2026-11-23T08:19:59Z","endDate":"'
    ],
    ("salesforce-api", "contacts"): ["FROM Contact WHERE SystemModstamp >= 2026-11-23T09:20:00Z ORDER BY"],
    ("salesforce-api", "leads"): ["FROM Lead WHERE SystemModstamp >= 2026-11-22T07:35:00Z ORDER BY"],
    ("sap-commerce-api", "customers"): ["&$filter=modifiedtime ge datetime'2026-11-23T09:20:00'&$orderby=modifiedtime desc "],
    ("sap-sales-cloud-api", "contacts"): ["&$filter=EntityLastChangedOn ge datetimeoffset'2026-11-23T09:20:00.250Z'&"],
    ("sap-sales-cloud-api", "customers"): ["&$filter=EntityLastChangedOn ge datetimeoffset'2026-11-23T09:20:00.250Z'&"],
    ("shopify-api", "customers"): ["&updated_at_min=2026-11-22T12:58:00Z "],
    ("shopify-api", "orders"): ["&updated_at_min=2026-11-23T07:58:00Z "],
    ("stripe-api", "customers"): ["/v1/customers?limit=100&created[gte]=1795425900 "],
    ("stripe-api", "events"): ["/v1/events?limit=100&created[gte]=1795425900 "],
    ("zendesk-api", "tickets"): ["/incremental/tickets/cursor.json?per_page=500&cursor=MTU3NjYxMzU0MC4wfHw0Njh8 "],
    ("zendesk-api", "users"): ["/incremental/users/cursor.json?per_page=1000&cursor=MTU4NzY5NTAwMC4wfHwyODQ4OA== "],
}
"""What the second look asks for, after the one that was recorded."""


def recording(entry: str, stream: str) -> Fixture:
    return decoded((RECORDINGS / entry / f"{stream}.json").read_bytes())


@pytest.fixture
def pasted(tmp_path: Path) -> Any:
    """The file with what an entry's page proposes to paste."""

    def paste(entry: str) -> Path:
        file = tmp_path / "cdmd.toml"
        file.write_text(LIBRARY.entry(entry).snippet)
        return file

    return paste


class Hurried(ManualClock):
    """Waiting takes no time."""

    async def sleep(self, seconds: float) -> None:
        self.advance(seconds)


class Noting:
    """Gives one answer, and keeps what was asked as one text: address, body, headers."""

    def __init__(self, answer: Answered) -> None:
        self.asked: list[str] = []
        self._replay = Replay([Exchange(method="GET", url="", answer=answer)])
        self.means = Means(self._fetch, lambda: 0.0)

    async def _fetch(self, ask: Ask, judge: Judge) -> Outcome:
        headers = [f"{name}: {text}" for name, text in ask.headers.items()]
        self.asked.append(" ".join([unquote_plus(ask.url), json.dumps(ask.body, separators=(",", ":")), *headers]))
        return await self._replay.means.fetch(ask, judge)


def second_look(file: Path, entry: str, stream: str, answer: Answered, *, read: int | None = None) -> tuple[list[str], Look]:
    """What is asked after the look that was recorded, or after its first ``read`` answers, and how that look goes."""
    one, then = load_all(file, alone=entry).config.connectors[entry], recording(entry, stream)
    return anyio.run(_second_look, one, msgspec.structs.replace(then, exchanges=then.exchanges[:read]), stream, answer)


async def _second_look(one: ConnectorConfig, then: Fixture, stream: str, answer: Answered) -> tuple[list[str], Look]:
    entry = one.name
    built = Rest(entry, one.settings)
    source = RecordingSource(entry, frame=one.frame, clock=Hurried(then.recorded), streams=built.streams)
    _, place = await walked(built.declared[stream], source, Replay(then.exchanges).means, pages=then.pages)
    noting = Noting(answer)
    walk = Walk(built.declared[stream], source, noting.means, place=place)
    return noting.asked, await walk.look()


@pytest.mark.parametrize("entry", ENTRIES)
def test_what_is_pasted_asks_as_the_vendor_documents_and_brings_the_events_that_were_recorded(
    entry: str, pasted: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--config", str(pasted(entry)), "--fixtures", str(RECORDINGS / entry), "--json"]
    assert main(["studio", "test", entry, *arguments]) == 0, capsys.readouterr()
    rows = json.loads(capsys.readouterr().out)
    assert [row["stream"] for row in rows] == list(LIBRARY.entry(entry).connector["streams"])
    assert all(row["events"] and row["keeps"] and not row["differs"] for row in rows)


@pytest.mark.parametrize("entry", ENTRIES)
def test_what_is_pasted_is_checked_and_its_freshness_can_be_had_within_its_limits(
    entry: str, pasted: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = pasted(entry)
    put_secrets(entry, LIBRARY.entry(entry).snippet, file.parent)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(file.parent / "credentials"))
    assert main(["check", "--config", str(file)]) == 0, capsys.readouterr()


@pytest.mark.parametrize(("entry", "stream"), STREAMS)
def test_a_second_look_asks_for_what_is_new(entry: str, stream: str, pasted: Any) -> None:
    asked, _ = second_look(pasted(entry), entry, stream, Answered(status=403))
    assert [part for part in AGAIN[entry, stream] if part not in asked[0]] == [], asked
    assert "start_time" not in asked[0]


@pytest.mark.parametrize(
    ("stream", "cursor"), [("users", "MTU4NzY5NDk0NS4wfHwyODQ4Nw=="), ("tickets", "MTU3NjYxMzUzOS4wfHw0Njd8")]
)
def test_an_export_of_zendesk_that_was_cut_off_goes_on_where_it_was(stream: str, cursor: str, pasted: Any) -> None:
    asked, _ = second_look(pasted("zendesk-api"), "zendesk-api", stream, Answered(status=403), read=1)
    assert f"&cursor={cursor} " in asked[0]


def test_an_answer_304_of_github_is_a_look_that_costs_nothing(pasted: Any) -> None:
    file = pasted("github-api")
    answer = Answered(status=304, headers={"x-poll-interval": "120"})
    asked, look = second_look(file, "github-api", "events", answer)
    assert len(asked) == 1
    assert (look.trouble, look.new, look.asked) == (None, 0, 120)
    settings: Any = load_all(file, alone="github-api").config.connectors["github-api"].settings
    assert settings.free_304


@pytest.mark.parametrize("entry", ENTRIES)
def test_an_entry_that_asks_is_whole(entry: str) -> None:
    found, page = LIBRARY.entry(entry), LIBRARY.page(entry)
    assert [line[3:] for line in page.splitlines() if line.startswith("## ")] == SECTIONS
    table = tomllib.loads(found.snippet)["connectors"][entry]
    assert table["use"] == entry
    assert all("freshness" in stream for stream in found.connector["streams"].values())
    assert LIBRARY.written_out(entry, called=entry)
    for kind in found.kinds.values():
        msgspec.convert(kind, IdentifierSettings)
    mapped = {kind for stream in found.connector["streams"].values() for kind in stream["event"]["identifiers"]}
    assert mapped - set(default_identifiers()) == set(found.kinds)
    assert all(f"`{name}`" in page for name in mapped)


@pytest.mark.parametrize("entry", ENTRIES)
def test_entries_of_one_vendor_name_each_other_and_its_people_alike(entry: str) -> None:
    vendor = entry.removesuffix("-api")
    if vendor in LIBRARY.names():
        assert f"`{vendor}`" in LIBRARY.page(entry)
        assert f"`{entry}`" in LIBRARY.page(vendor)
        assert LIBRARY.entry(vendor).kinds == LIBRARY.entry(entry).kinds
    else:
        assert "No entry receives" in LIBRARY.page(entry)


@pytest.mark.parametrize("entry", ENTRIES)
def test_recorded_events_name_an_occurrence_and_keep_no_more_than_what_is_promised(entry: str) -> None:
    for stream in LIBRARY.entry(entry).connector["streams"]:
        then = recording(entry, stream)
        names = [event["id"] for event in then.events]
        assert len(set(names)) == len(names)
        assert all(event["id"] not in event["identifiers"].values() for event in then.events)
        assert all(event["identifiers"] and event["type"].startswith(f"{entry.removesuffix('-api')}.") for event in then.events)
        exported = "export" in LIBRARY.entry(entry).connector["streams"][stream]  # started, twice asked about, fetched
        assert (len(then.exchanges), then.pages) == (4 if exported else 2, 3)  # the way from page to page was gone, to its end
        assert NOBODY not in json.dumps(then.events)


def test_a_search_at_hubspot_goes_on_with_another_one_where_it_would_be_refused() -> None:
    """No page is asked for behind the 10,000 results that a search shows; what is in ascending order goes on by itself."""
    stream = LIBRARY.entry("hubspot-api").connector["streams"]["contacts"]
    assert stream["page"]["max_pages"] * stream["body"]["limit"] == 10_000
    assert stream["since"]["order"] == "asc"


@pytest.mark.parametrize(("entry", "stream"), [("stripe", "events"), ("sap-commerce", "customers")])
def test_what_is_asked_for_is_mapped_as_what_is_sent(entry: str, stream: str) -> None:
    """So that a webhook may name the stream that finds what it missed."""
    sent, asked = (
        LIBRARY.entry(entry).connector["event"],
        LIBRARY.entry(f"{entry}-api").connector["streams"][stream]["event"],
    )
    assert sent == asked


def test_every_recording_belongs_to_a_stream() -> None:
    found = {(file.parent.name, file.stem) for file in RECORDINGS.glob("*/*.json")}
    assert found == set(STREAMS) == set(AGAIN)
    assert all(re.fullmatch(r"[a-z-]+-api", entry) for entry in ENTRIES)
