"""``cdmd studio`` against an API that is really served: proposed, recorded, tested away from it."""

import json
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cdmd.cli import studio_probe
from cdmd.cli.daemon_commands import main
from tests.acceptance.served_api import ServedApi
from tests.connectors.rest.api import Api, Asked, answer, moment
from tests.connectors.rest.test_exports import EXPORT, Exports

ROOT = Path(__file__).resolve().parents[2]
CONFIG = """
[connectors.crm]
type = "rest"
base_url = "{url}"
auth = {{ type = "bearer", token = "env:CRM_TOKEN" }}
[connectors.crm.streams.contacts]
path = "/contacts"
records = "{{results[*]}}"
page = {{ type = "cursor", from = "{{paging.next.after}}", param = "after" }}
since = {{ field = "{{updated_at}}", param = "updated_since", order = "asc" }}
[connectors.crm.streams.contacts.event]
id = "{{id}}:{{updated_at}}"
type = "contact.updated"
identifiers = {{ email = "{{email}}" }}
data = {{ plan = "{{plan}}" }}
[connectors.crm.streams.orders]
path = "/orders"
records = "{{orders[*]}}"
page = {{ type = "link" }}
event = {{ id = "{{id}}", type = "order" }}
[connectors.crm.streams.items]
path = "/orders/{{parent.order}}/items"
records = "{{items[*]}}"
page = {{ type = "none" }}
parent = {{ stream = "orders", fields = {{ order = "{{id}}" }} }}
event = {{ id = "{{_parent.order}}:{{sku}}", type = "item" }}
"""


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(studio_probe, "_PAUSE", 0.0)


@pytest.fixture
def served() -> Iterator[ServedApi]:
    api = Api(token="sesame-open", page=3)
    api.add(7)
    for contact in api.contacts:
        contact |= {"plan": "gold", "access_token": "abcdef", "note": "calls often", "echo": "sesame-open"}
    api.orders = [{"id": f"o{n}", "updated_at": moment(n)} for n in range(4)]
    api.items = {"o0": [{"sku": "a"}]}
    with ServedApi(api).served() as serving:
        yield serving


@pytest.fixture
def config(tmp_path: Path, served: ServedApi, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CRM_TOKEN", "sesame-open")
    file = tmp_path / "cdmd.toml"
    file.write_text(CONFIG.format(url=served.url))
    return file


def test_a_recording_hides_who_is_meant_and_holds_no_credential(config: Path, served: ServedApi) -> None:
    assert main(["studio", "record", "crm", "--config", str(config), "--keep", "plan"]) == 0
    folder = config.parent / "fixtures" / "crm"
    assert sorted(file.name for file in folder.iterdir()) == ["contacts.json", "items.json", "orders.json"]
    text = (folder / "contacts.json").read_text()
    assert not [found for found in ("sesame", "c1@example.com", "abcdef", "calls often", served.url) if found in text]
    recorded = json.loads(text)
    assert [one["url"] for one in recorded["exchanges"]] == ["/contacts", "/contacts?after=3"]
    assert recorded["events"][1]["identifiers"] == {"email": "person2@example.com"}
    assert recorded["events"][1]["data"] == {"plan": "gold"}
    items = json.loads((folder / "items.json").read_text())
    assert [one["url"] for one in items["exchanges"]] == ["/orders/o0/items", "/orders/o1/items"]


def test_a_recording_is_tested_without_the_api_and_without_its_secrets(
    config: Path, served: ServedApi, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["studio", "record", "crm", "--config", str(config)])
    monkeypatch.delenv("CRM_TOKEN")
    config.write_text(CONFIG.format(url="https://crm.example.com"))
    asked = len(served.api.log)
    capsys.readouterr()
    assert main(["studio", "test", "crm", "--config", str(config), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["stream"], row["events"], row["differs"]) for row in rows] == [
        ("contacts", 6, []),
        ("orders", 4, []),
        ("items", 1, []),
    ]
    assert rows[0]["keeps"] == moment(5)
    assert len(served.api.log) == asked


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('type = "contact.updated"', 'type = "contact.changed"', "contacts: event 1 (c0:2026-01-01T00:00:00Z): type differ"),
        ('param = "after"', 'param = "next"', "GET /contacts?next=3 is asked; recorded was GET /contacts?after=3"),
        ("{results[*]}", "{result[*]}", "contacts: the answer holds nothing at {result[*]}"),
        ('{ type = "link" }', '{ type = "none" }', "orders: 1 recorded answers were not asked for"),
        ('id = "{id}:{updated_at}"', 'id = "{nothing}"', "contacts: record 1: null: id: a part of '{nothing}' is null"),
        ('field = "{updated_at}"', 'field = "{other}"', "contacts: it would keep nothing"),
    ],
)
def test_what_comes_out_in_another_way_than_recorded_is_told(
    config: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, said: str
) -> None:
    main(["studio", "record", "crm", "--config", str(config)])
    text = config.read_text()
    assert old in text
    config.write_text(text.replace(old, new))
    capsys.readouterr()
    assert main(["studio", "test", "crm", "--config", str(config)]) == 1
    assert said in capsys.readouterr().err


def test_an_export_is_recorded_line_by_line_without_who_is_meant_and_tested_without_waiting(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Seen to fail with lines recorded as they came, and with a replay that waits as the source made the recorder wait."""
    api = Exports(asks=1)
    for number, one in enumerate(api.answers):
        one["email"] = f"real{number}@person.example"
    with ServedApi(api).served() as served:
        text = EXPORT.replace("https://api.example", served.url).replace('every = "5s"', 'every = "1s"')
        table, _, streams = text.partition("[streams.")
        text = f'[connectors.survey]\ntype = "rest"\n{table}[streams.{streams}'.replace(
            "[streams.", "[connectors.survey.streams."
        )
        file = tmp_path / "cdmd.toml"
        file.write_text(text)
        assert main(["studio", "record", "survey", "--config", str(file)]) == 0
    assert "4 answers" not in capsys.readouterr().err, "it was done at once"
    kept = tmp_path / "fixtures" / "survey" / "responses.json"
    assert "real0" not in kept.read_text()
    assert "person1@example.com" in kept.read_text()
    file.write_text(text.replace('every = "1s"', 'every = "30s"'))
    assert main(["studio", "test", "survey", "--config", str(file)]) == 0, capsys.readouterr()
    assert "3 events" in capsys.readouterr().out


def test_a_change_that_was_meant_is_taken(config: Path) -> None:
    main(["studio", "record", "crm", "--config", str(config)])
    config.write_text(config.read_text().replace("contact.updated", "contact.changed"))
    assert main(["studio", "test", "crm", "--config", str(config), "--update"]) == 0
    assert main(["studio", "test", "crm", "--config", str(config)]) == 0


def test_what_cannot_be_tested_is_said(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["studio", "test", "crm", "--config", str(config)]) == 4
    assert "record it with: cdmd studio record" in capsys.readouterr().err
    assert main(["studio", "test", "nobody", "--config", str(config)]) == 4
    assert "are configured: crm" in capsys.readouterr().err
    folder = config.parent / "fixtures" / "crm"
    folder.mkdir(parents=True)
    (folder / "contacts.json").write_text("{")
    assert main(["studio", "test", "crm", "--config", str(config)]) == 1
    assert "cannot be read as a recording" in capsys.readouterr().err
    config.write_text('[connectors.shop]\ntype = "webhook"\nverify = "none"\n')
    assert main(["studio", "test", "shop", "--config", str(config)]) == 2
    assert 'connectors of type "rest"' in capsys.readouterr().err


def test_answers_in_which_nobody_can_be_hidden_are_recorded_only_when_somebody_says_so(
    config: Path, served: ServedApi, capsys: pytest.CaptureFixture[str]
) -> None:
    page = answer(200, body=b"<html>Sign in</html>", content_type="text/html")
    served.api.prepare("/contacts", page)
    assert main(["studio", "record", "crm", "--config", str(config)]) == 1
    assert "record it with --as-is" in capsys.readouterr().err
    served.api.prepare("/contacts", page)
    assert main(["studio", "record", "crm", "--config", str(config), "--as-is"]) == 0
    assert "contacts: the answer is a page (HTML)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("path", "stream", "expected"),
    [
        (
            "/contacts",
            "contacts",
            {
                "records": "{results[*]}",
                "page": {"type": "cursor", "from": "{paging.next.after}", "param": "after"},
                "since": {"field": "{updated_at}", "order": "asc", "param": "updated_since"},
            },
        ),
        ("/orders", "orders", {"records": "{orders[*]}", "page": {"type": "link"}}),
        ("/numbered?page=1", "numbered", {"page": {"type": "page", "param": "page", "more": "{has_more}"}}),
        (
            "/offset?offset=0&limit=3",
            "offset",
            {"page": {"type": "offset", "param": "offset", "limit_param": "limit", "limit": 3, "total": "{total}"}},
        ),
    ],
)
def test_a_connector_is_proposed_from_live_answers_and_works_as_it_was_pasted(
    served: ServedApi,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    path: str,
    stream: str,
    expected: dict[str, object],
) -> None:
    monkeypatch.setenv("API_TOKEN", "sesame-open")
    assert main(["studio", "probe", f"{served.url}{path}", "--bearer", "env:API_TOKEN", "--name", "crm"]) == 0
    text = capsys.readouterr().out
    proposed = tomllib.loads(text)["connectors"]["crm"]
    assert proposed["auth"] == {"type": "bearer", "token": "env:API_TOKEN"}
    found = proposed["streams"][stream]
    assert {key: found[key] for key in expected} == expected
    assert len(served.api.log) <= 10
    file = tmp_path / "cdmd.toml"
    file.write_text(text)
    assert main(["check", "--config", str(file)]) == 0
    assert main(["try", "crm", "--config", str(file), "--limit", "2"]) == 0


PROFILES = [
    {"id": f"01GDDK{number:03d}", "attributes": {"email": f"s{number}@example.com", "city": "Lund", "updated": moment(number)}}
    for number in range(5)
]


def _profiles(request: Asked) -> Any:
    """As a JSON:API with a header of its own and a language of filters has it."""
    if "revision" not in request.headers:
        return answer(400, body=b"The \x08revision header is required")
    if unknown := set(request.query) - {"filter", "page[cursor]"}:
        return answer(400, {"errors": [{"detail": f"{unknown} is not a valid field"}]})
    since = request.query.get("filter", "greater-than(updated,)")[21:-1]
    found = [one for one in PROFILES if one["attributes"]["updated"] > since]
    at = int(request.query.get("page[cursor]", "0"))
    more = f"{request.origin}/profiles?page[cursor]={at + 3}" if at + 3 < len(found) else None
    links = {"self": request.url, "next": more}
    return answer(200, {"data": found[at : at + 3], "links": links}, ratelimit_limit="750, 75;w=1, 750;w=60")


def test_a_stranger_s_api_is_proposed_with_its_headers_and_limits_and_says_itself_what_it_misses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    api = Api()
    api.prepare("/profiles", *[_profiles] * 40)
    monkeypatch.setenv("STRANGE_KEY", "Strange-API-Key pk_abc")
    monkeypatch.setenv("OTHER", "x")
    with ServedApi(api).served() as served:
        url, key = f"{served.url}/profiles", "Authorization:env:STRANGE_KEY"
        assert main(["studio", "probe", url, "--header", key]) == 1
        said = capsys.readouterr().err
        assert "revision header is required" in said
        assert "\x08" not in said
        assert (
            main(["studio", "probe", url, "--header", key, "--header", "revision:2026-10-15", "--header", "x:env:OTHER"]) == 0
        )
        text, said = capsys.readouterr()
        proposed = tomllib.loads(text)["connectors"]["api"]
        assert proposed["auth"] == {"type": "api_key", "in": "header", "name": "Authorization", "value": "env:STRANGE_KEY"}
        assert (proposed["headers"], proposed["limits"]) == ({"revision": "2026-10-15"}, ["75/1s", "750/60s"])
        assert "# x looks like a second secret" in text
        assert proposed["streams"]["profiles"]["event"]["traits"] == {"city": "{attributes.city}"}
        assert "cdmd check && cdmd try api" in said
        text = text.replace('order = "asc"', 'order = "asc", initial = "2026-01-01T00:00:01Z", inclusive = false')
        text = text.replace("records =", 'params = { filter = "greater-than(updated,{since})" }\nrecords =')
        file = tmp_path / "cdmd.toml"
        file.write_text(text)
        assert main(["try", "api", "--config", str(file)]) == 0
        out, said = capsys.readouterr()
        assert [json.loads(line)["id"] for line in out.splitlines()] == [
            f"{one['id']}:{one['attributes']['updated']}" for one in PROFILES[1:]
        ]
        file.write_text(text.replace("revision =", "revisio ="))
        main(["try", "api", "--config", str(file)])
        said = capsys.readouterr().err
        assert "the source says (status 400)" in said
        assert "\x08" not in said


def test_events_with_an_etag_and_a_next_address_are_proposed(served: ServedApi, capsys: pytest.CaptureFixture[str]) -> None:
    served.api.token = None
    served.api.events = [{"id": f"e{n}", "created": moment(n), "phone": "1"} for n in range(7)]
    assert main(["studio", "probe", f"{served.url}/events"]) == 0
    captured = capsys.readouterr()
    found = tomllib.loads(captured.out)["connectors"]["api"]["streams"]["events"]
    assert found["page"] == {"type": "next_url", "from": "{meta.next}"}
    assert found["since"] == {"field": "{created}", "order": "desc", "etag": True}
    assert found["event"]["identifiers"] == {"phone": "{phone}"}
    assert (found["event"]["traits"], found["event"]["data"]) == ({}, {})
    assert "no parameter was found" in captured.out


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["api.example"], 2, "is not an http or https URL"),
        (["http://127.0.0.1:1/x"], 1, "cannot be reached"),
        (["http://127.0.0.1:1/x", "--bearer", "env:NOBODY_SET_THIS"], 2, "is not set in the environment"),
        (["http://127.0.0.1:1/x", "--header", "nothing"], 2, "write NAME:SECRET"),
        (["http://127.0.0.1:1/x", "--query", "nothing"], 2, "write NAME=SECRET"),
    ],
)
def test_what_cannot_be_probed_is_said(
    arguments: list[str], status: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["studio", "probe", *arguments]) == status
    assert said in capsys.readouterr().err


def test_an_answer_without_records_proposes_nothing(served: ServedApi, capsys: pytest.CaptureFixture[str]) -> None:
    served.api.token = None
    served.api.prepare("/contacts", answer(200, {"status": "fine"}), answer(404, {}))
    assert main(["studio", "probe", f"{served.url}/contacts", "--header", "x-key: k"]) == 1
    assert "no list of objects" in capsys.readouterr().err
    assert main(["studio", "probe", f"{served.url}/contacts", "--query", "key=k"]) == 1
    assert "nothing at this address (status 404)" in capsys.readouterr().err


def test_cdmd_try_shows_two_pages_the_events_and_what_it_would_keep_and_keeps_nothing(
    config: Path, served: ServedApi, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["try", "crm", "--config", str(config), "--limit", "50"]) == 0
    captured = capsys.readouterr()
    events = [json.loads(line) for line in captured.out.splitlines()]
    assert [event["source"] for event in events] == ["crm.contacts"] * 6 + ["crm.orders"] * 4 + ["crm.items"]
    assert "contacts: 2 requests, 6 records" in captured.err
    assert f"contacts: it would keep: {moment(5)}" in captured.err
    assert "items: it would ask about 4 records of its parent" in captured.err
    given = config.parent / "answer.json"
    given.write_text(json.dumps({"results": [{"id": "z", "updated_at": moment(1), "email": "z@example.com"}]}))
    assert main(["try", "crm", "--config", str(config), "--input", str(given)]) == 0
    assert json.loads(capsys.readouterr().out)["id"] == f"z:{moment(1)}"
    given.write_text("<html>")
    assert main(["try", "crm", "--config", str(config), "--input", str(given)]) == 2
    assert "not JSON that can be taken" in capsys.readouterr().err
    served.api.token = "another"
    assert main(["try", "crm", "--config", str(config)]) == 1
    said = capsys.readouterr().err
    assert "contacts: the source refuses the credential (status 401)" in said
    assert "contacts: it would keep" not in said


@pytest.mark.parametrize(("connector", "events"), [("crm", [3]), ("orders", [3, 1]), ("events", [3])])
def test_the_worked_connectors_bring_what_their_recordings_say(
    connector: str, events: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["studio", "test", connector, "--config", str(ROOT / "etc" / "cdmd.toml"), "--json"]) == 0
    assert [row["events"] for row in json.loads(capsys.readouterr().out)] == events
