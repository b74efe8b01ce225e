"""Pages as they are answered: nothing more than the control API says, everything escaped, and readable where it goes wrong."""

import json
import re
from pathlib import Path
from urllib.parse import quote

import msgspec
import pytest

from cdmd.console import app
from cdmd.console.contents import PAGES
from cdmd.console.drawing import Drawing
from cdmd.console.guarding import integrity
from cdmd.control.protocol import ConnectorRow, ReloadReport, ReloadRow, TailFilter
from cdmd.control.watching_shapes import DifferenceRow, LastReload
from cdmd.errors import CdmdError
from tests.console.asking import HOST, look
from tests.control.doubles import AT, NOW, PROFILE, Daemon, applied, dead, event, lines, people, raw_get
from tests.control.outgoing import MemoryOutbox, outgoing

HOSTILE = "<img src=x onerror=alert(1)>'\"&{{7*7}}<script>alert(2)</script>"
"""Every character that could end a text, an attribute or a template."""

DELIVERY = outgoing(MemoryOutbox(), at=AT)[1]
SITES = {
    "/": {"status": "/v1/status", "history": "/v1/history?connector=shop&series=received"},
    "/connectors/shop": {"history": "/v1/history?connector=shop"},
    "/customers?q=canary-joe@example.com": {"found": "/v1/profiles?text=canary-joe@example.com"},
    f"/customers/{PROFILE}": {"profile": f"/v1/profile?profile={PROFILE}&activities=50"},
    "/live": {"recent": "/v1/events/recent"},
    "/event?id=evt-1": {"found": "/v1/event?id=evt-1"},
    "/dead-letters?connector=shop": {"causes": "/v1/dead-letters/causes", "letters": "/v1/dead-letters?connector=shop"},
    "/dead-letters/2": {"shown": "/v1/dead-letters/2"},
    "/files": {"files": "/v1/shelves/files"},
    "/deliveries": {"targets": "/v1/targets", "queued": "/v1/deliveries", "attempts": "/v1/attempts"},
    f"/deliveries/{DELIVERY}": {"shown": f"/v1/deliveries/{DELIVERY}"},
    "/plugins": {"plugins": "/v1/plugins"},
    "/plugins/warranty": {"plugin": "/v1/plugin?name=warranty"},
    "/configuration": {"configuration": "/v1/config", "reload": "/v1/reload"},
    "/audit": {},
}
"""Every page, and where the control API answers each document that it shows."""


def fill(daemon: Daemon) -> None:
    """Something of everything."""
    applied(daemon.runtime)
    dead(daemon.runtime, 2)
    people(daemon, 3)
    outgoing(daemon.runtime.store.outbox, at=AT)
    report = ReloadReport(connectors=[ReloadRow(name="shop", verdict="restarted", problem="it does not start")])
    differences = [DifferenceRow(key="connectors.shop.freshness", before='"5s"', after=None)]
    daemon.runtime.last_reload = LastReload(at=NOW, report=report, differences=differences)


def as_json(site: str) -> str:
    path, question, query = site.partition("?")
    return f"{path if path != '/' else '/overview'}.json{question}{query}"


def test_every_page_is_tried_here() -> None:
    shown = {re.sub(r"\{[^}]+\}", "*", path) for path, _ in PAGES} - {"/overview", "/live/stream"}
    tried = {
        re.sub(r"^/(connectors|customers|dead-letters|deliveries|plugins)/[^?]+", r"/\1/*", site.partition("?")[0])
        for site in SITES
    }
    assert shown == tried


@pytest.mark.parametrize("site", SITES)
@pytest.mark.parametrize("role", ["admin", "reader"])
def test_a_page_is_shown_with_a_strict_policy_and_never_kept(daemon: Daemon, site: str, role: str) -> None:
    fill(daemon)
    seen = look(daemon, site, role)
    assert seen.status in {200, 303}, seen.text
    policy = seen.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert not re.search(r"unsafe|http|\*|data:", policy)
    assert (seen.headers["cache-control"], seen.headers["x-frame-options"]) == ("no-store", "DENY")
    assert not re.search(r"<script(?! src=)|<style|\son\w+=|\sstyle=|javascript:", seen.text)


@pytest.mark.parametrize("site", SITES)
def test_no_page_has_one_heading_twice(daemon: Daemon, site: str) -> None:
    fill(daemon)
    headings = re.findall(r"<h[12][^>]*>(.*?)</h[12]>", look(daemon, site, "admin").text)
    assert len(headings) == len(set(headings))


def test_a_command_in_the_audit_breaks_between_its_words_only(daemon: Daemon) -> None:
    daemon.client("admin").post("/v1/erasures/try", {"identifier": "email:canary-joe@example.com"})
    assert '<span class="nowrap">erase</span> <span class="nowrap">--dry-run</span></span>' in look(daemon, "/audit").text


@pytest.mark.parametrize("site", SITES)
def test_a_reader_sees_nothing_that_says_who_somebody_is(daemon: Daemon, site: str) -> None:
    """What was looked for stands in the page's own address."""
    fill(daemon)
    for path in (site, as_json(site)):
        seen = look(daemon, path, "reader")
        assert "canary" not in seen.text.replace("q=canary", "").replace('value="canary-joe@example.com"', "")
        assert '<form method="post"' not in seen.text


@pytest.mark.parametrize("site", SITES)
def test_a_stranger_is_told_so_on_a_readable_page(daemon: Daemon, site: str) -> None:
    fill(daemon)
    seen = look(daemon, site, "stranger")
    assert seen.status == 403
    assert "ask to be listed in control.readers" in seen.text
    assert "canary" not in seen.text.replace("q=canary-joe@example.com", "")


@pytest.mark.parametrize("site", SITES)
@pytest.mark.parametrize("role", ["admin", "reader"])
def test_a_page_as_json_is_what_the_control_api_answers(daemon: Daemon, site: str, role: str) -> None:
    fill(daemon)
    seen = look(daemon, as_json(site), role)
    assert seen.headers["content-type"] == "application/json"
    for name, path in SITES[site].items():
        assert seen.json[name] == daemon.client(role).get(path), name


def test_json_is_also_what_is_asked_for_by_its_media_type(daemon: Daemon) -> None:
    assert look(daemon, "/", accept="application/json").json["status"]["state"] == "running"
    assert look(daemon, "/nothing.json").json["problem"]["code"] == "not-found"
    assert look(daemon, "/", accept="text/html,application/json").headers["content-type"].startswith("text/html")


def test_the_live_stream_is_the_control_apis_own(daemon: Daemon) -> None:
    daemon.runtime.items = lines([event("a"), event("b", type="page.viewed")])
    seen = look(daemon, "/live/stream?connector=shop&type=", "reader")
    told = [json.loads(line) for line in seen.text.splitlines()]
    assert [one["event"]["id"] for one in told if one["type"] == "event"] == ["a", "b"]
    assert daemon.runtime.wanted == TailFilter(connector="shop")
    assert "canary" not in seen.text
    assert look(daemon, "/live/stream", "stranger").status == 403


def test_the_letters_of_a_cause_without_a_type_are_those_without_one(daemon: Daemon) -> None:
    dead(daemon.runtime, 2, type="")
    dead(daemon.runtime, 3)
    shown = look(daemon, "/dead-letters.json?connector=shop&type=&code=mapping").json
    assert [one["seq"] for one in shown["letters"]] == [2]
    assert [one["type"] for one in shown["causes"]] == [""]


@pytest.mark.parametrize(
    ("sought", "by"), [("opens=10:30", "trait"), ("city=Lund", "trait"), ("email:a=b@example.com", "name"), ("joe", "name")]
)
def test_customers_are_sought_by_a_trait_or_by_a_name(daemon: Daemon, sought: str, by: str) -> None:
    people(daemon, 3)
    look(daemon, f"/customers?q={quote(sought)}")
    assert json.loads(daemon.runtime.store.rows[-1].arguments)["by"] == by


def test_who_is_looked_for_stands_in_no_address(daemon: Daemon) -> None:
    applied(daemon.runtime)
    daemon.client("admin")
    path = f"/console/customers?q={quote('canary*')}"
    status, _, body = raw_get(daemon.path, path, headers=HOST)
    assert (status, b"<table" in body, daemon.runtime.store.rows) == (200, False, [])
    status, _, body = raw_get(daemon.path, path, headers={**HOST, "accept": "application/json"})
    assert (status, len(daemon.runtime.store.rows)) == (200, 1), "a script may ask so: it keeps no history"
    templates = Path(app.__file__).parent / "templates"
    assert not [file.name for file in templates.iterdir() if "/customers?" in file.read_text()]
    assert "canary*" not in "".join(re.findall(r'(?:href|action)="([^"]*)"', look(daemon, "/customers?q=canary*").text))
    assert look(daemon, "/customers?q=canary*", origin="http://attacker.example").status == 403


def test_what_customers_and_senders_wrote_is_never_markup(daemon: Daemon) -> None:
    hostile = event(HOSTILE, source=HOSTILE, type=HOSTILE, data={HOSTILE: HOSTILE})
    applied(daemon.runtime)
    found = daemon.runtime.store.profiles["email", "canary-joe@example.com"]
    traits = {HOSTILE: msgspec.structs.replace(found.state.traits["first_name"], value=HOSTILE, source=HOSTILE)}
    identifiers = [msgspec.structs.replace(found.state.identifiers[0], value=HOSTILE, source=HOSTILE)]
    state = msgspec.structs.replace(found.state, traits=traits, identifiers=identifiers)
    activity = msgspec.structs.replace(found.activities[0], event=hostile)
    daemon.runtime.store.profiles["email", "canary-joe@example.com"] = msgspec.structs.replace(
        found, state=state, activities=[activity]
    )
    daemon.runtime.store.profiles["email", HOSTILE] = daemon.runtime.store.profiles["email", "canary-joe@example.com"]
    daemon.runtime.extra_connectors = [ConnectorRow(name=HOSTILE, type="webhook", state=HOSTILE, error=HOSTILE, detail=HOSTILE)]
    daemon.runtime.warnings = [HOSTILE]
    daemon.runtime.journal.add(hostile, seq=7)
    daemon.runtime.store.traces.append((HOSTILE, daemon.runtime.store.traces[0][1]))
    dead(daemon.runtime, 2, code=HOSTILE)
    letter = daemon.runtime.store.letters[2]
    named = msgspec.structs.replace(letter.entry.event, id=HOSTILE, type=HOSTILE, source=HOSTILE)
    entry = msgspec.structs.replace(letter.entry, event=named)
    daemon.runtime.store.letters[2] = msgspec.structs.replace(letter, entry=entry)
    daemon.runtime.config = msgspec.structs.replace(daemon.runtime.config, effective={"plugins": {HOSTILE: {HOSTILE: HOSTILE}}})
    rows = [DifferenceRow(key=HOSTILE, before=HOSTILE, after=HOSTILE)]
    daemon.runtime.last_reload = LastReload(at=NOW, report=daemon.runtime.report, differences=rows)
    quoted = quote(HOSTILE, safe="")
    sites = ("/", f"/connectors/{quoted}", f"/customers/{PROFILE}", f"/customers?q={quoted}*", "/live", f"/event?id={quoted}")
    for site in (*sites, "/dead-letters", f"/dead-letters?type={quoted}", "/dead-letters/2", "/configuration"):
        text = look(daemon, site).text
        assert "&lt;img src=x" in text, site
        assert "<img" not in text
        assert "{{7*7}}" in text
        assert not re.search(r"<script(?! src=)", text)


@pytest.mark.parametrize("pull", [True, False])
def test_a_connector_that_fetches_can_be_told_to_look_now_also_where_it_failed(daemon: Daemon, *, pull: bool) -> None:
    daemon.runtime.extra_connectors = [ConnectorRow(name="supplier", type="sftp", state="failed", error="is shut", pull=pull)]
    for site in ("/", "/connectors/supplier"):
        assert ("Poll now" in look(daemon, site).text) == pull


def test_a_mistake_of_ours_is_a_page_that_says_no_more_than_that(daemon: Daemon) -> None:
    daemon.runtime.trouble = ValueError("canary")
    seen = look(daemon, "/")
    assert seen.status == 500
    assert "its log says which" in seen.text
    assert "canary" not in seen.text


def test_an_error_of_a_command_is_a_page_with_its_reason(daemon: Daemon) -> None:
    daemon.runtime.trouble = CdmdError("the disk <is> full")
    seen = look(daemon, "/")
    assert seen.status == 500
    assert "the disk &lt;is&gt; full" in seen.text


@pytest.mark.parametrize(
    "path", ["/nothing", "/static/x/nothing.js", "/static/x/..%2Fapp.py", "/connectors/none", "/customers/none"]
)
def test_what_is_not_there_is_a_page_that_says_so(daemon: Daemon, path: str) -> None:
    seen = look(daemon, path)
    assert seen.status == 404
    assert "To the overview" in seen.text


def test_scripts_and_styles_are_ours_and_named_with_their_digest(daemon: Daemon) -> None:
    text = look(daemon, "/").text
    files = Drawing().static
    assert set(files) == {"console.css", "console.js", "icon.svg"}
    for name in ("console.css", "console.js"):
        assert f'"{files[name].address}" integrity="{files[name].integrity}"' in text
        seen = look(daemon, files[name].address.removeprefix("/console"))
        assert seen.status == 200
        assert integrity(seen.text.encode()) == files[name].integrity
        assert "immutable" in seen.headers["cache-control"]


def test_the_front_door_leads_to_the_overview(daemon: Daemon) -> None:
    seen = look(daemon, "")
    assert (seen.status, seen.headers["location"]) == (308, "/console/")


@pytest.mark.parametrize(
    "host", ["attacker.example", "attacker.example:8790", "10.0.0.1", "8.8.8.8:80", "x@127.0.0.1", "[::2]", ""]
)
def test_a_name_that_is_not_this_machine_is_refused_as_a_rebound_one_would_be(daemon: Daemon, host: str) -> None:
    seen = look(daemon, "/", host=host)
    assert seen.status == 403
    assert "canary" not in seen.text


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:9", "[::1]:9", "d", "cdmd", "one.localhost:80"])
def test_a_name_of_this_machine_is_answered(daemon: Daemon, host: str) -> None:
    assert look(daemon, "/", host=host).status == 200
