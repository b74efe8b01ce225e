"""Thin webhooks of the real daemon against a real API: killed while it fetches, limited, deceived, refused."""

import hashlib
import hmac
import json
import random
from collections.abc import Callable
from itertools import count
from pathlib import Path
from threading import Event, Thread
from time import monotonic
from typing import Any
from urllib.parse import urlencode

import pytest

from cdmd.errors import NotFound
from cdmd.testing import DaemonProcess
from tests.acceptance.survey_api import Api

pytestmark = [pytest.mark.acceptance, pytest.mark.slow, pytest.mark.timeout(120)]

SURVEY = """
[connectors.survey]
type = "webhook"
verify = {verify}
secrets = {secrets}
[connectors.survey.fetch]
url = "{url}/things/{{id}}"
key = "{{id}}"
auth = {auth}
limits = "{limits}"
{more}
[connectors.survey.event]
type = "thing.changed"
identifiers = {{ customer_no = "{{_fetch.key}}" }}
traits = {{ n = "{{n}}" }}
data = {{ n = "{{n}}" }}
[identity.identifiers]
customer_no = {{ priority = 1, limit = 1 }}
"""


def survey(api: Api, **given: str) -> str:
    defaults = {
        "verify": '"none"', "secrets": "[]", "auth": '{ type = "bearer", token = "sesame" }', "limits": "100/1s", "more": "",
    }  # fmt: skip
    return SURVEY.format(url=api.url, **{**defaults, **given})


def row(daemon: DaemonProcess) -> dict[str, Any]:
    return next(one for one in daemon.control.get("/v1/status")["connectors"] if one["name"] == "survey")


def until(holds: Callable[[], bool], *, seconds: float = 30.0) -> None:
    end, pause = monotonic() + seconds, Event()
    while not holds():
        if monotonic() > end:
            raise TimeoutError(f"it did not come about in {seconds:g} s")
        pause.wait(0.05)


def trait(daemon: DaemonProcess, key: str) -> Any:
    """What the profile of a key says; None where there is none."""
    try:
        return daemon.control.get("/v1/profile", {"identifier": f"customer_no:{key}", "activities": 1})["traits"].get("n")
    except NotFound:
        return None


def quiet(daemon: DaemonProcess) -> bool:
    one = row(daemon)
    return (one["detail"] or "").startswith("it waits for notifications") and one["to_fetch"] == one["backlog"] == 0


def test_a_thousand_notifications_about_ten_keys_cost_at_most_twenty_fetches_and_the_last_state_wins(tmp_path: Path) -> None:
    with Api(limit=60, per=60.0).served() as api, DaemonProcess(tmp_path, survey(api, limits="60/1m")) as daemon:
        began = monotonic()
        for number in range(1000):
            key = f"k{number % 10}"
            api.things[key] = {"n": number}
            daemon.send("/hooks/survey", {"id": key})
        assert monotonic() - began < 60
        until(lambda: quiet(daemon))
        fetches = sum(api.asked.values())
        assert 10 <= fetches <= 20 * max(1.0, (monotonic() - began) / 4), "a slow machine takes more than two seconds to send"
        assert {key: trait(daemon, key) for key in api.things} == {f"k{key}": 990 + key for key in range(10)}
        assert (api.violations, api.overlaps) == (0, 0)


def test_nothing_notified_is_lost_when_it_is_killed_while_it_fetches_and_no_limit_is_exceeded(tmp_path: Path) -> None:
    """Each life has keys of its own, more than its limit lets it fetch, and is cut off while they are still notified."""
    chance = random.Random(5)
    with Api(limit=20, per=1.0, slow=0.05).served() as api:
        daemon = DaemonProcess(tmp_path, survey(api, limits="20/1s", more='settle = "50ms"'))
        acknowledged: dict[str, int] = {}
        for life in range(5):
            with daemon:
                end = monotonic() + chance.uniform(0.8, 1.4)
                while monotonic() < end:
                    key = f"life{life}-{chance.randrange(30)}"
                    number = acknowledged.get(key, 0) + 1
                    api.things[key] = {"n": number}
                    daemon.send("/hooks/survey", {"id": key})
                    acknowledged[key] = number
                daemon.kill()
        with daemon:
            until(lambda: quiet(daemon), seconds=60)
            assert {key: trait(daemon, key) for key in acknowledged} == acknowledged
            one = row(daemon)
            assert one["dead_letters"] == 0
            assert one["id_conflicts"] == 0
        assert api.violations == 0


def test_answers_that_cannot_be_what_was_asked_for_harm_nobody_and_are_retried_when_somebody_says_so(tmp_path: Path) -> None:
    ways = ("redirect", "huge", "hang", "page", "broken", "nonsense")
    more = 'settle = "100ms"\ntries = 2\ntimeout = "1s"'
    with Api().served() as api, DaemonProcess(tmp_path, survey(api, more=more)) as daemon:
        api.ways = {way: way for way in ways}
        api.things = {key: {"n": 7} for key in (*ways, "good")}
        for key in api.things:
            daemon.send("/hooks/survey", {"id": key})
        until(lambda: trait(daemon, "good") == 7)

        def all_are_set_aside() -> bool:
            """The last try of one that fails counts only where another was fetched meanwhile."""
            api.things[key := f"good{next(numbers)}"] = {"n": 7}
            daemon.send("/hooks/survey", {"id": key})
            return bool(row(daemon)["dead_letters"] == len(ways))

        numbers = count()
        until(all_are_set_aside, seconds=60)
        letters = daemon.ask("dead-letters", "list")
        assert {one["code"] for one in letters} == {"fetch_failed"}
        assert api.elsewhere == 0, "no redirect is followed"
        log = daemon.log_file.read_text()
        assert "sesame" not in log
        api.ways = {}
        done = daemon.control.post("/v1/dead-letters/retry", {"connector": "survey"})
        assert done["count"] == len(ways)
        until(lambda: all(trait(daemon, key) == 7 for key in ways), seconds=60)
        assert row(daemon)["dead_letters"] == 0
        one = row(daemon)
        assert one["received"] == one["refused"] + one["applied"] + one["repeats"] + one["filtered"] + one["backlog"]


def test_a_refused_credential_stops_the_fetching_and_keeps_the_keys_until_it_is_mended(tmp_path: Path) -> None:
    with Api().served() as api:
        api.token = "another"
        daemon = DaemonProcess(tmp_path, survey(api, more='settle = "100ms"'))
        with daemon:
            for number in range(12):
                api.things[f"k{number}"] = {"n": number}
                daemon.send("/hooks/survey", {"id": f"k{number}"})
            until(lambda: row(daemon)["state"] == "degraded")
            until(lambda: "12 keys to fetch" in (row(daemon)["detail"] or ""))
            one = row(daemon)
            assert "refuses the credential (status 401)" in one["error"]
            assert one["next"] is not None
            asked = api.asked["(refused)"]
            daemon.send("/hooks/survey", {"id": "k0"})
            Event().wait(1.0)
            assert api.asked["(refused)"] == asked <= 4
            daemon.kill()
        api.token = "sesame"
        with daemon:
            until(lambda: quiet(daemon))
            assert row(daemon)["state"] == "running"
            assert [trait(daemon, f"k{number}") for number in range(12)] == list(range(12))


def test_what_is_gone_is_an_event_and_a_look_can_be_asked_for(tmp_path: Path) -> None:
    more = 'settle = "1h"\nremoved = { type = "thing.removed", identifiers = { customer_no = "{key}" } }'
    with Api().served() as api, DaemonProcess(tmp_path, survey(api, more=more)) as daemon:
        daemon.send("/hooks/survey", {"id": "k1"})
        until(lambda: "1 key to fetch" in (row(daemon)["detail"] or ""))
        daemon.cdmctl("poll", "survey")
        until(lambda: row(daemon)["applied"] == 1)
        found = daemon.ask("profile", "show", "customer_no:k1")
        assert [one["type"] for one in found["activities"]] == ["thing.removed"]


def test_exchanged_refresh_tokens_outlive_kills(tmp_path: Path) -> None:
    with Api().served() as api:
        api.token = "(none yet)"
        auth = (
            f'{{ type = "oauth2_refresh", token_url = "{api.url}/token", client_id = "c", client_secret = "s",'
            ' refresh_token = "refresh-0" }'
        )
        daemon = DaemonProcess(tmp_path, survey(api, auth=auth, more='settle = "100ms"'))
        for number in range(3):
            with daemon:
                api.things["k"] = {"n": number}
                daemon.send("/hooks/survey", {"id": "k"})
                until(lambda: trait(daemon, "k") == number)  # noqa: B023 - asked before the next round
                daemon.kill()
        assert api.tokens == 3


def test_a_form_that_qualtrics_signs_leads_to_the_response_that_it_names(tmp_path: Path) -> None:
    shared = "shared key of the subscription"
    with Api().served() as api:
        config = survey(api, verify='"qualtrics"', secrets=f'["{shared}"]', more='settle = "100ms"')
        config = config.replace("{id}", "{ResponseID}")
        with DaemonProcess(tmp_path, config) as daemon:
            api.things["R_1"] = {"n": 3}
            message = json.dumps({"Status": "Complete", "SurveyID": "SV_1", "ResponseID": "R_1", "BrandID": "b"})
            digest = hmac.new(shared.encode(), message.encode(), hashlib.sha512).hexdigest()
            form = {"Topic": "surveyengine.completedResponse.SV_1", "HMAC": digest, "MSG": message}
            kind = {"content-type": "application/x-www-form-urlencoded"}
            daemon.send("/hooks/survey", urlencode(form).encode(), headers=kind)
            until(lambda: trait(daemon, "R_1") == 3)
            until(lambda: "waits for notifications; last verified by secret 1" in row(daemon)["detail"])


def test_a_reload_amid_notifications_loses_none(tmp_path: Path) -> None:
    with Api(slow=0.02).served() as api, DaemonProcess(tmp_path, survey(api, more='settle = "100ms"')) as daemon:
        stop, sent = Event(), dict[str, int]()

        def tell() -> None:
            number = 0
            while not stop.is_set():
                number += 1
                key = f"k{number % 7}"
                api.things[key] = {"n": number}
                daemon.send("/hooks/survey", {"id": key})
                sent[key] = number

        sender = Thread(target=tell)
        sender.start()
        try:
            for milliseconds in (150, 200, 250):
                Event().wait(0.3)
                daemon.configure(survey(api, more=f'settle = "{milliseconds}ms"'))
                daemon.cdmctl("reload")
        finally:
            stop.set()
            sender.join()
        until(lambda: quiet(daemon))
        until(lambda: {key: trait(daemon, key) for key in sent} == sent, seconds=60)
