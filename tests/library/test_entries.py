"""Each entry that receives: deliveries in the vendor's form, signed as the vendor signs, through the real connector."""

import tomllib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from cdmd.cli.loading import Loaded, load_all
from cdmd.config.library import Library
from cdmd.config.schema import IdentifierSettings, default_identifiers
from cdmd.models import Answer, Event, Request, show_time
from cdmd.testing import RecordingSource
from tests.library.senders import DELIVERIES, Delivery, Sent, deliveries, put_secrets, sent

LIBRARY = Library()
ENTRIES = [name for name in LIBRARY.names() if LIBRARY.entry(name).kind in {"fat", "thin"}]
NOW = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)
PUBLIC = "https://in.example.com"
SECTIONS = ("On the vendor's side", "What arrives", "What it becomes", "Verified")
OWN_WORDS = {"cloudevents", "standard-webhooks"}  # whose events bring their whole type

CASES = [(entry, delivery) for entry in ENTRIES for delivery in deliveries(entry)]
IDS = [f"{entry}: {delivery.name}" for entry, delivery in CASES]


@pytest.fixture
def loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Loaded]:
    """The configuration that an entry's page proposes to paste, loaded as ``cdmd run`` would."""

    def load(entry: str) -> Loaded:
        put_secrets(entry, LIBRARY.entry(entry).snippet, tmp_path)
        monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "credentials"))
        monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
        file = tmp_path / "cdmd.toml"
        file.write_text(f'[http]\npublic_url = "{PUBLIC}"\n{LIBRARY.entry(entry).snippet}')
        return load_all(file)

    return load


async def answered(loaded: Loaded, entry: str, out: Sent) -> tuple[Answer, RecordingSource]:
    one = loaded.config.connectors[entry]
    connector: Any = loaded.plugins.connector(one.frame.type, one.name, one.settings)
    source = RecordingSource(one.name, frame=msgspec.structs.replace(one.frame, accept=("*",)), public_url=PUBLIC)
    request = Request(
        method="POST", path=f"/hooks/{entry}", query="", target=f"/hooks/{entry}{out.suffix}",
        headers=[(name, value) for name, value in out.headers.items()], body=out.body, peer="192.0.2.7", received=NOW,
    )  # fmt: skip
    return await connector.answer(request, source), source


def shown(event: Event) -> dict[str, Any]:
    """What is expected of an event: all of it but where and when it was received; nothing for what it has not."""
    said = {
        "id": event.id, "type": event.type, "time": None if event.time is None else show_time(event.time),
        "identifiers": event.identifiers, "traits": event.traits, "data": event.data,
    }  # fmt: skip
    return {name: value for name, value in said.items() if value not in (None, {})}


@pytest.mark.parametrize(("entry", "delivery"), CASES, ids=IDS)
def test_a_delivery_becomes_the_events_that_the_page_promises(
    entry: str, delivery: Delivery, loaded: Callable[[str], Loaded]
) -> None:
    out = sent(entry, delivery, now=NOW, url=f"{PUBLIC}/hooks/{entry}")
    answer, source = anyio.run(answered, loaded(entry), entry, out)
    assert answer.status == 200, source.refused
    assert source.faults == []
    assert [shown(event) for event in source.events] == ([] if delivery.answer else delivery.events)
    assert bool(source.state) == bool(delivery.answer)  # what only notifies marks what is to be fetched


@pytest.mark.parametrize("entry", ENTRIES)
def test_an_entry_is_whole(entry: str) -> None:
    found, page = LIBRARY.entry(entry), LIBRARY.page(entry)
    assert [line[3:] for line in page.splitlines() if line.startswith("## ")] == list(SECTIONS)
    assert tomllib.loads(found.snippet)["connectors"][entry]["use"] == entry
    assert deliveries(entry)
    assert all(one.events or "test" in one.name for one in deliveries(entry))
    assert "freshness" in found.connector
    globs = tomllib.loads(found.snippet)["connectors"][entry].get("accept", ())
    assert entry in OWN_WORDS or all(glob.startswith((f"{entry}.", "privacy.")) for glob in globs)
    assert LIBRARY.written_out(entry, called=entry)
    for kind in found.kinds.values():
        msgspec.convert(kind, IdentifierSettings)
    mapped = found.connector.get("event", {}).get("identifiers", {})
    assert set(mapped) - set(default_identifiers()) == set(found.kinds)
    assert all(name in page for name in mapped)


@pytest.mark.parametrize(("entry", "delivery"), CASES, ids=IDS)
def test_types_are_the_entrys_name_and_the_vendors_word(entry: str, delivery: Delivery) -> None:
    for event in delivery.events:
        assert entry in OWN_WORDS or event["type"].startswith((f"{entry}.", "privacy."))


@pytest.mark.parametrize("entry", ENTRIES)
def test_an_id_names_one_occurrence(entry: str) -> None:
    """Whatever has the same id over all deliveries is the same event, and nothing is named by its object alone."""
    found: dict[str, dict[str, Any]] = {}
    for delivery in deliveries(entry):
        for event in delivery.events if not delivery.answer else ():
            assert found.setdefault(event["id"], event) == event
            assert event["id"] not in event.get("identifiers", {}).values()


def test_every_delivery_belongs_to_an_entry() -> None:
    assert sorted(file.stem for file in DELIVERIES.glob("*.toml")) == sorted(ENTRIES)
