"""Declared APIs of the real daemon against a real one: killed at any moment, limited, deceived, fed with what never ends."""

import random
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Any

import pytest

from cdmd.testing import DaemonProcess
from tests.acceptance.served_api import ServedApi, bomb
from tests.acceptance.test_thin_webhooks import until
from tests.connectors.rest.api import Api, answer, moment
from tests.connectors.rest.test_exports import EXPORT, Exports

pytestmark = [pytest.mark.acceptance, pytest.mark.slow, pytest.mark.timeout(180)]

CRM = """
[connectors.crm]
type = "rest"
base_url = "{url}"
limits = "{limits}"
{more}
[connectors.crm.streams.contacts]
path = "{path}"
records = "{{results[*]}}"
every = "{every}"
page = {{ type = "cursor", from = "{{paging.next.after}}", param = "after" }}
since = {{ field = "{{updated_at}}", param = "updated_since", order = "{order}" }}
[connectors.crm.streams.contacts.event]
id = "{{id}}:{{updated_at}}"
type = "contact.updated"
time = "{{updated_at}}"
identifiers = {{ customer_no = "{{id}}" }}
data = {{ email = "{{email}}" }}
"""


def crm(served: ServedApi, **given: str) -> str:
    defaults = {"limits": "1000/1s", "path": "/contacts", "order": "asc", "more": "", "every": "1s"}
    return CRM.format(url=served.url, **{**defaults, **given})


def row(daemon: DaemonProcess, name: str = "crm") -> dict[str, Any]:
    return next(one for one in daemon.control.get("/v1/status")["connectors"] if one["name"] == name)


def whole(one: dict[str, Any]) -> bool:
    received = one["refused"] + one["filtered_at_door"] + one["accepted"]
    return one["received"] == received and one["accepted"] == one["applied"] + one["repeats"] + one["backlog"]


@pytest.mark.parametrize("order", ["asc", "none"])
def test_nothing_is_lost_and_nothing_counts_twice_when_it_is_killed_at_any_moment(tmp_path: Path, order: str) -> None:
    """Seen to fail with the position moved before the records of its page."""
    chance = random.Random(7)
    api = Api(page=20)
    with ServedApi(api, slow=0.01).served() as served:
        daemon = DaemonProcess(tmp_path, crm(served, order=order))
        for life in range(6):
            with served.lock:
                api.add(150, start=life * 150)
            with daemon:
                pause = Event()
                pause.wait(chance.uniform(0.05, 0.4))
                daemon.kill()
        with daemon:
            until(lambda: row(daemon)["applied"] == 900 and row(daemon)["backlog"] == 0, seconds=60)
            one = row(daemon)
            assert (one["dead_letters"], one["id_conflicts"], one["error"]) == (0, 0, None)
            assert whole(one)


def test_the_budget_holds_over_kills_for_all_streams_together(tmp_path: Path) -> None:
    api = Api(limit=10, per=1.0, page=5)
    api.add(200)
    with ServedApi(api).served() as served:
        second = CRM[CRM.index("[connectors.crm.streams.contacts]") :].replace("streams.contacts", "streams.again")
        text = crm(served, limits="10/1s") + second.format(path="/contacts", order="none", every="1s")
        daemon = DaemonProcess(tmp_path, text)
        pause = Event()
        for _ in range(4):
            with daemon:
                pause.wait(0.6)
                daemon.kill()
        with daemon:
            until(lambda: row(daemon)["applied"] == 400, seconds=60)
    assert api.violations == 0
    assert len(api.log) > 50


def test_an_export_that_was_begun_before_a_kill_is_waited_for_after_it(tmp_path: Path) -> None:
    """Seen to begin another one where its name is not durable before it is asked about."""
    api = Exports(asks=10_000)
    with ServedApi(api).served() as served:
        text = EXPORT.replace("https://api.example", served.url).replace('every = "5s"', 'every = "1s"')
        table, _, streams = text.partition("[streams.")
        text = f'[connectors.survey]\ntype = "rest"\n{table}[streams.{streams}'.replace(
            "[streams.", "[connectors.survey.streams."
        )
        daemon = DaemonProcess(tmp_path, text)
        with daemon:
            until(lambda: len(api.asked("/v3/exports/j1")) > 0)
            until(lambda: "export" in (row(daemon, "survey")["detail"] or ""))
            daemon.kill()
        with served.lock:
            api.left["j1"] = 1
        with daemon:
            until(lambda: row(daemon, "survey")["applied"] == 3)
            assert row(daemon, "survey")["error"] is None
    assert api.jobs == 1


def test_no_request_comes_before_a_pause_is_over_not_even_when_somebody_polls_or_it_is_killed(tmp_path: Path) -> None:
    api = Api()
    api.add(3)
    api.prepare("/contacts", answer(429, {}, retry_after="4"))
    with ServedApi(api).served() as served:
        daemon = DaemonProcess(tmp_path, crm(served))
        with daemon:
            until(lambda: len(api.log) == 1)
            until(lambda: "Retry-After" in (row(daemon)["detail"] or ""))
            daemon.ask("poll", "crm")
            daemon.kill()
        with daemon:
            daemon.ask("poll", "crm")
            until(lambda: row(daemon)["applied"] == 3, seconds=60)
    assert api.early == 0


def test_what_never_comes_never_ends_or_leads_away_degrades_its_connector_and_moves_no_other(tmp_path: Path) -> None:
    api = Api(page=50)
    api.add(30)
    bomb()
    text = ""
    with ServedApi(api).served() as served:
        for name in ("hang", "endless", "bomb", "elsewhere", "contacts"):
            more = 'timeout = "2s"\nerrors = { tries = 1 }'
            text += crm(served, path=f"/{name}", more=more).replace("connectors.crm", f"connectors.{name}")
        with DaemonProcess(tmp_path, text) as daemon:
            until(lambda: row(daemon, "contacts")["applied"] == 30)
            said = {
                "hang": "no whole answer came within 2 seconds",
                "endless": "",
                "bomb": "the answer is larger than 10485760 bytes",
                "elsewhere": "redirects to another address (status 302), which is never followed",
            }
            for name, sentence in said.items():
                until(lambda name=name: row(daemon, name)["state"] == "degraded", seconds=60)  # type: ignore[misc]
                assert sentence in row(daemon, name)["error"]
                assert row(daemon, name)["applied"] == 0
            assert row(daemon, "contacts")["state"] == "running"
            assert served.elsewhere == 0
            began = monotonic()
            with served.lock:
                api.add(1, start=40)
            until(lambda: row(daemon, "contacts")["applied"] == 31)
            assert monotonic() - began < 30


def test_a_supplier_whose_storm_of_429_does_not_end_is_degraded_and_asked_less_and_less(tmp_path: Path) -> None:
    api = Api()
    api.prepare("/contacts", *[answer(429, {})] * 500)
    with ServedApi(api).served() as served, DaemonProcess(tmp_path, crm(served, more="errors = { tries = 2 }")) as daemon:
        until(lambda: row(daemon)["state"] == "degraded", seconds=60)
        assert "fewer requests (status 429)" in row(daemon)["error"]
    assert len(api.log) < 10


def test_a_source_that_allows_less_than_is_configured_is_asked_half_as_much_until_it_refuses_nothing(tmp_path: Path) -> None:
    """Its 429 does not say when. Seen to fail without the halving: it goes on refusing for as long as it is asked."""
    api = Api(limit=10, per=1.0, page=1, says_when=False)
    api.add(60)
    with ServedApi(api).served() as served:
        text = crm(served, limits="40/1s", more="errors = { tries = 20 }", every="1h")
        with DaemonProcess(tmp_path, text) as daemon:
            until(lambda: row(daemon)["applied"] == 60, seconds=60)
            assert row(daemon)["error"] is None
    assert 1 <= api.violations <= 4
    assert len(api.log) == 60 + api.violations
    assert max(api.refused) < api.began + 6, "it was found and is kept"


def test_status_says_what_is_waited_for_and_a_poll_looks_at_once(tmp_path: Path) -> None:
    api = Api()
    api.add(3)
    with ServedApi(api).served() as served, DaemonProcess(tmp_path, crm(served, every="1h")) as daemon:
        until(lambda: row(daemon)["applied"] == 3)
        until(lambda: row(daemon)["next"] is not None)
        assert row(daemon)["detail"]
        with served.lock:
            api.add(1, start=10)
        daemon.ask("poll", "crm")
        until(lambda: row(daemon)["applied"] == 4)
        assert row(daemon)["freshness_seconds"] is not None
        assert moment(10) in daemon.cdmctl("position", "crm").stdout
        running = daemon.cdmctl("position", "crm.contacts", "--reset", "--yes", check=False)
        assert (running.returncode, "hold it back first (cdmctl pause crm)" in running.stderr) == (2, True)
        daemon.cdmctl("pause", "crm")
        daemon.cdmctl("position", "crm.contacts", "--set", moment(1), "--yes")
        daemon.cdmctl("resume", "crm")
        daemon.ask("poll", "crm")
        until(lambda: row(daemon)["repeats"] == 3)
        assert row(daemon)["applied"] == 4, "what comes again has no second effect"
        assert "positions set" in daemon.cdmctl("audit").stdout


def test_readers_see_no_secret_and_no_personal_data_in_what_a_connector_says(tmp_path: Path) -> None:
    api = Api(token="another")
    api.add(3)
    more = 'auth = { type = "bearer", token = "open-sesame" }'
    with ServedApi(api).served() as served, DaemonProcess(tmp_path, crm(served, more=more)) as daemon:
        until(lambda: row(daemon)["state"] == "degraded")
        said = str(row(daemon)) + daemon.log_file.read_text()
    assert "open-sesame" not in said
    assert "example.com" not in said


PUSHED = """
[connectors.shop]
type = "webhook"
verify = "none"
reconcile = "crm.contacts"
[connectors.shop.event]
id = "{id}:{updated_at}"
type = "shop.contact"
identifiers = { customer_no = "{id}" }
"""


def test_what_was_not_told_is_found_by_asking_and_nothing_that_was_told_counts_twice(tmp_path: Path) -> None:
    """Seen to count each of them twice without the common name, and as conflicts of ids without their being expected."""
    api = Api()
    api.add(6)
    with ServedApi(api).served() as served:
        text = PUSHED + crm(served, every="1h")
        with DaemonProcess(tmp_path, text) as daemon:
            until(lambda: row(daemon)["applied"] == 6)
            assert row(daemon, "shop")["missed"] == 6
            with served.lock:
                api.add(4, start=6)
                new = api.contacts[6:]
            for contact in new[:3]:
                daemon.send("/hooks/shop", contact)
            until(lambda: row(daemon, "shop")["applied"] == 3)
            daemon.ask("poll", "crm")
            until(lambda: row(daemon)["applied"] == 7)
            until(lambda: row(daemon)["repeats"] == 3)
            daemon.send("/hooks/shop", new[3])  # late, and known by then
            until(lambda: row(daemon, "shop")["repeats"] == 1)
            one = row(daemon, "shop")
            assert (one["missed"], one["applied"], one["id_conflicts"]) == (7, 3, 0)
            assert row(daemon)["id_conflicts"] == 0
            assert daemon.control.get("/v1/status")["totals"]["events"] == 10
            assert "7 missed" in daemon.cdmctl("connectors").stdout
