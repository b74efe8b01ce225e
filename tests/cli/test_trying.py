"""``cdmd try`` on files, as an administrator tries a mapping before it goes live."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

import pytest

import cdmd
from cdmd.cli.daemon_commands import main
from cdmd.testing import DaemonProcess

ROOT = Path(cdmd.__file__).parents[1]
CONFIG = """
[connectors.shop]
type = "webhook"
verify = "standard-webhooks"
secrets = ["whsec_c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"]
records = "{orders}"
accept = ["order.*"]
[connectors.shop.event]
id = "{id}:{status}"
type = "{kind}.{status}"
identifiers = { email = "{email}" }
data = { total = "{total}" }

[connectors.github]
type = "webhook"
verify = "github"
secrets = ["secret-of-github"]
event = { identifiers = { github = "{sender.login}" }, data = { title = "{issue.title}" } }
"""


class Tried(NamedTuple):
    status: int
    events: list[dict[str, Any]]
    said: str


class Trying:
    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.state, self.config, self._capsys = folder / "state", folder / "cdmd.toml", capsys
        self.input = folder / "body"
        self.config.write_text(f'[daemon]\nstate_dir = "{self.state}"\n{CONFIG}')
        self.config.chmod(0o600)

    def __call__(self, connector: str, body: Any, *options: str) -> Tried:
        self.input.write_bytes(body if isinstance(body, bytes) else json.dumps(body).encode())
        return self.run(connector, "--input", str(self.input), *options)

    def run(self, connector: str, *options: str) -> Tried:
        status = main(["try", connector, "--config", str(self.config), *options])
        out, err = self._capsys.readouterr()
        return Tried(status, [json.loads(line) for line in out.splitlines()], err)


@pytest.fixture
def trying(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Trying:
    return Trying(tmp_path, capsys)


def order(number: int, **changed: Any) -> dict[str, Any]:
    return {
        "id": number,
        "status": "paid",
        "kind": "order",
        "email": "joe@example.com",
        "total": 99.5,
        "card": "4111",
    } | changed


def test_events_are_shown_as_they_would_be_kept_without_a_signature_and_nothing_is_stored(trying: Trying) -> None:
    tried = trying("shop", {"orders": [order(1), order(2)]})
    assert (tried.status, tried.said) == (0, "")
    first = tried.events[0]
    assert first.pop("received")
    wanted = {"id": "1:paid", "source": "shop", "type": "order.paid", "traits": {}, "data": {"total": 99.5}}
    assert first == {**wanted, "identifiers": {"email": "joe@example.com"}}
    assert [one["id"] for one in tried.events] == ["1:paid", "2:paid"]
    assert "4111" not in json.dumps(tried.events)
    assert not trying.state.exists()


def test_a_record_that_cannot_be_mapped_is_named_and_the_others_are_shown(trying: Trying) -> None:
    tried = trying("shop", {"orders": [order(1), order(2, id=None), order(3)]})
    assert tried.status == 1
    assert [one["id"] for one in tried.events] == ["1:paid", "3:paid"]
    assert "record 2: " in tried.said
    assert "id" in tried.said


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b'{"orders":', "status 400"),
        (b"[" * 100_000, "status 400"),
        (b'{"orders":{}}', "no_records"),
        (b"", "status 400"),
    ],
)
def test_a_body_that_would_be_refused_is_said_with_its_answer(trying: Trying, body: bytes, sentence: str) -> None:
    tried = trying("shop", body)
    assert tried.status == 1
    assert tried.events == []
    assert "the request would be refused: " in tried.said
    assert sentence in tried.said


def test_a_content_type_that_would_be_refused_is_said(trying: Trying) -> None:
    assert "status 415" in trying("shop", b"<xml/>", "--header", "Content-Type: text/xml").said


def test_headers_that_carry_id_and_type_may_be_given(trying: Trying) -> None:
    body = {"issue": {"title": "It flickers"}, "sender": {"login": "joe"}}
    headers = ["--header", "X-GitHub-Event: issues", "--header", "x-github-delivery:d-1"]
    tried = trying("github", body, *headers)
    assert tried.status == 0
    (event,) = tried.events
    assert (event["id"], event["type"]) == ("d-1", "github.issues")
    assert (event["identifiers"], event["data"]) == ({"github": "joe"}, {"title": "It flickers"})


def test_without_the_header_that_carries_it_the_type_is_the_connectors_own(trying: Trying) -> None:
    (event,) = trying("github", {"sender": {"login": "joe"}}).events
    assert event["type"] == "github.received"


def test_no_more_than_the_limit_is_shown_and_the_rest_is_counted(trying: Trying) -> None:
    tried = trying("shop", {"orders": [order(number) for number in range(30)]}, "--limit", "4")
    assert tried.status == 0
    assert len(tried.events) == 4
    assert "26 more events" in tried.said
    assert len(trying("shop", {"orders": [order(number) for number in range(30)]}).events) == 20


def test_what_is_not_wanted_is_counted(trying: Trying) -> None:
    tried = trying("shop", {"orders": [order(1), order(2, kind="refund")]})
    assert tried.status == 0
    assert len(tried.events) == 1
    assert "1 filtered" in tried.said


def test_a_body_may_come_from_standard_input(trying: Trying) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cdmd", "try", "shop", "--config", str(trying.config), "--input", "-"],
        input=json.dumps({"orders": [order(1)]}),
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["id"] == "1:paid"


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        (("shp", "--input", "/dev/null"), 4, "configured are: github, shop"),
        (("shop",), 2, "give a request body with --input FILE"),
        (("shop", "--input", "/dev/null", "--header", "nonsense"), 2, "write NAME:VALUE"),
        (("shop", "--input", "/dev/null", "--header", ": x"), 2, "write NAME:VALUE"),
        (("shop", "--input", "/nowhere/at/all"), 2, "No such file"),
        (("shop", "--limit", "0"), 2, "--limit"),
    ],
)
def test_wrong_usage_is_one_sentence(trying: Trying, arguments: tuple[str, ...], status: int, sentence: str) -> None:
    tried = trying.run(*arguments)
    assert tried.status == status
    assert sentence in tried.said


PLUGIN = """
import msgspec
import cdmd


class Settings(msgspec.Struct):
    pass


class Fetches:
    type = "fetches"
    Settings = Settings

    def __init__(self, name, settings):
        pass

    async def run(self, source):
        pass


class Told(Fetches):
    type = "told"
    routes = [cdmd.Route(path="/told")]
    run = None

    async def answer(self, request, source):
        await source.emit([cdmd.Record(value={}, received=request.received, fallback_id="1", type="told.it")])
        return cdmd.Answer()


@cdmd.hookimpl
def cdmd_connectors():
    return [Fetches, Told]
"""


def test_a_plugins_connector_is_tried_too_and_one_that_fetches_is_refused(trying: Trying, tmp_path: Path) -> None:
    (tmp_path / "told.py").write_text(PLUGIN)
    environment = DaemonProcess(tmp_path, plugins={"told": "told"}, paths=[tmp_path, ROOT]).environment
    trying.config.write_text('[connectors.a]\ntype = "told"\n[connectors.b]\ntype = "fetches"\n')
    shown = {}
    for name in ("a", "b"):
        shown[name] = subprocess.run(
            [sys.executable, "-m", "cdmd", "try", name, "--config", str(trying.config), "--input", "/dev/null"],
            capture_output=True,
            text=True,
            env=environment,
            timeout=60,
        )
    assert json.loads(shown["a"].stdout)["type"] == "told.it", shown["a"].stderr
    assert shown["b"].returncode == 1
    assert "fetches by itself" in shown["b"].stderr


def test_a_webhook_that_only_notifies_shows_what_it_would_fetch_and_fetches_nothing(trying: Trying) -> None:
    survey = """
[connectors.survey]
type = "webhook"
verify = "qualtrics"
secrets = ["secret-of-qualtrics"]
[connectors.survey.fetch]
url = "https://api.survey.example/surveys/{SurveyID}/responses/{ResponseID}"
auth = { type = "bearer", token = "secret-of-the-api" }
key = "{ResponseID}"
settle = "2s"
limits = ["60/1m", "5/1s"]
"""
    trying.config.write_text(trying.config.read_text() + survey)
    told = urlencode({"Topic": "x", "MSG": json.dumps({"SurveyID": "SV_1", "ResponseID": "R_7"}), "HMAC": "not checked here"})
    found = trying("survey", told.encode(), "--header", "Content-Type: application/x-www-form-urlencoded")
    assert found.status == 0
    url = "https://api.survey.example:443/surveys/SV_1/responses/R_7"
    assert found.events == [{"key": "R_7", "method": "GET", "url": url}]
    assert "secret-of-the-api" not in found.said
    told = urlencode({"Topic": "x", "MSG": json.dumps({"SurveyID": "..", "ResponseID": "R_7"})})
    found = trying("survey", told.encode(), "--header", "Content-Type: application/x-www-form-urlencoded")
    assert found.status == 1
    assert "key_refused" in found.said


def test_what_is_tried_moves_no_terminals_cursor_and_stays_what_it_is(
    trying: Trying, capsys: pytest.CaptureFixture[str]
) -> None:
    trying.input.write_text(json.dumps({"orders": [{"id": "a\u009b2J\u202eb", "status": "paid", "kind": "order"}]}))
    main(["try", "shop", "--config", str(trying.config), "--input", str(trying.input)])
    out = capsys.readouterr().out
    assert out.isascii()
    assert json.loads(out)["id"] == "a\u009b2J\u202eb:paid"
