"""Buttons: done by the same commands, audited the same way, and by nobody's page but ours."""

import json
import re
from http.client import IncompleteRead
from typing import Any

import msgspec
import pytest
from starlette.requests import Request

from cdmd.console import forms
from cdmd.console.acting import ACTIONS
from cdmd.console.guarding import Guard
from cdmd.errors import BadArguments, Damaged
from tests.console.asking import look, press
from tests.control.doubles import AT, PROFILE, READER, STRANGER, Daemon, applied, dead, raw_get
from tests.control.outgoing import outgoing

ASKED_OF_READERS: frozenset[str] = frozenset()


def form(daemon: Daemon, do: str, **fields: str) -> dict[str, str]:
    return {"token": look(daemon, "/").token, "do": do, "back": "/", **fields}


def test_a_button_does_what_the_command_does_and_says_so(daemon: Daemon) -> None:
    seen = press(daemon, form(daemon, "pause", name="shop"))
    assert seen.status == 303
    assert daemon.audits() == [("ada", "pause", "done")]
    assert daemon.runtime.states == {"shop": "paused"}
    back = look(daemon, seen.headers["location"].removeprefix("/console"))
    assert "paused shop: its sender does not try again" in back.text
    assert ">Resume<" in back.text


@pytest.mark.parametrize("token", ["", "0" * 36, "ä"])
def test_a_form_without_our_token_does_nothing(daemon: Daemon, token: str) -> None:
    seen = press(daemon, {**form(daemon, "pause", name="shop"), "token": token})
    assert seen.status == 403
    assert "load the page again" in seen.text
    assert daemon.runtime.states == {"shop": "running"}


def test_a_token_is_one_users(daemon: Daemon) -> None:
    given = form(daemon, "pause", name="shop")
    assert press(daemon, given, "reader").status == 403
    assert "too old or not ours" in press(daemon, given, "reader").text


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://attacker.example"},
        {"origin": "null"},
        {"origin": "http://localhost:9999"},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
        {"host": "attacker.example"},
    ],
)
def test_another_sites_page_does_nothing_even_with_the_token(daemon: Daemon, headers: dict[str, str]) -> None:
    seen = press(daemon, form(daemon, "pause", name="shop"), **headers)
    assert seen.status == 403
    assert daemon.runtime.states == {"shop": "running"}


def test_our_own_page_may(daemon: Daemon) -> None:
    seen = press(daemon, form(daemon, "pause", name="shop"), origin="http://localhost:8790", sec_fetch_site="same-origin")
    assert seen.status == 303


@pytest.mark.parametrize("back", ["//attacker.example", "https://attacker.example", "/\\attacker.example", "", "/\r\nx: y"])
def test_a_form_leads_back_to_our_pages_only(daemon: Daemon, back: str) -> None:
    seen = press(daemon, form(daemon, "resume", name="shop") | {"back": back})
    assert seen.status == 303
    assert seen.headers["location"].startswith("/console/?said=")


def test_nobody_else_writes_on_our_pages(daemon: Daemon) -> None:
    assert "call this number" not in look(daemon, "/?said=" + "0" * 36 + ".call%20this%20number").text


def test_a_form_that_is_not_understood_does_nothing(daemon: Daemon) -> None:
    assert press(daemon, form(daemon, "format the disk")).status == 400
    assert press(daemon, form(daemon, "pause")).status == 400
    assert press(daemon, {"x": "y" * 70_000}).status == 400
    assert press(daemon, {str(number): "" for number in range(2000)}).status == 400
    assert press(daemon, form(daemon, "pause", name="nobody")).status == 404
    assert daemon.runtime.states == {"shop": "running"}


def test_letters_of_a_cause_are_retried_after_a_question_that_counts_them(daemon: Daemon) -> None:
    for seq in (2, 3, 4):
        dead(daemon.runtime, seq, code="mapping" if seq < 4 else "other")
    given = form(daemon, "retry letters", connector="shop", type="order.paid", code="mapping", back="/dead-letters")
    asked = press(daemon, given)
    assert asked.status == 200
    assert "Retry 2 dead letters?" in asked.text
    assert set(daemon.runtime.store.letters) == {2, 3, 4}
    done = press(daemon, given | {"confirmed": "1"})
    assert done.status == 303
    assert set(daemon.runtime.store.letters) == {4}
    assert daemon.audits()[-1] == ("ada", "dead-letters retry", "done")


@pytest.mark.parametrize("typed", [None, "", "Discard", "discard it"])
def test_nothing_is_discarded_for_good_until_the_word_is_typed(daemon: Daemon, typed: str | None) -> None:
    dead(daemon.runtime, 2)
    given = form(daemon, "discard letters", seq="2") | {"confirmed": "1"} | ({} if typed is None else {"typed": typed})
    asked = press(daemon, given)
    assert "Discard 1 dead letter?" in asked.text
    assert ("That is not what was asked for" in asked.text) is (typed is not None)
    assert set(daemon.runtime.store.letters) == {2}
    assert press(daemon, given | {"typed": "discard"}).status == 303
    assert daemon.runtime.store.letters == {}


def test_an_event_type_with_a_star_in_it_selects_no_others(daemon: Daemon) -> None:
    dead(daemon.runtime, 2, type="*")
    dead(daemon.runtime, 3)
    given = form(daemon, "discard letters", connector="shop", type="*", code="mapping") | {"confirmed": "1", "typed": "discard"}
    seen = press(daemon, given)
    assert seen.status == 400
    assert "one by one" in seen.text
    assert set(daemon.runtime.store.letters) == {2, 3}


def test_a_cause_without_a_type_selects_only_those_without_one(daemon: Daemon) -> None:
    dead(daemon.runtime, 2, type="")
    dead(daemon.runtime, 3)
    press(daemon, form(daemon, "retry letters", connector="shop", type="", code="mapping") | {"confirmed": "1"})
    assert set(daemon.runtime.store.letters) == {3}


@pytest.mark.parametrize("seq", ["x", "-1", "9" * 40, "1.5"])
def test_a_number_that_is_none_is_refused(daemon: Daemon, seq: str) -> None:
    assert press(daemon, form(daemon, "retry letter", seq=seq)).status == 400


def test_what_is_revealed_is_shown_at_once_and_kept_in_the_audit(daemon: Daemon) -> None:
    applied(daemon.runtime)
    dead(daemon.runtime, 2)
    sent = outgoing(daemon.runtime.store.outbox, at=AT)[1]
    for do, fields, command in (
        ("reveal event", {"id": "evt-1"}, "events show --reveal"),
        ("reveal letter", {"seq": "2"}, "dead-letters show --reveal"),
        ("reveal delivery", {"id": sent}, "deliveries show --reveal"),
    ):
        seen = press(daemon, form(daemon, do, **fields))
        assert seen.status == 200
        assert "canary" in seen.text, do
        assert daemon.audits()[-1] == ("ada", command, "done")
        for back in re.findall(r'name="back" value="([^"]+)"', seen.text):
            assert look(daemon, back).status == 200, do


def test_files_and_held_removals_are_told(daemon: Daemon) -> None:
    press(daemon, form(daemon, "retry file", connector="shop", name="<b>a.csv"))
    assert daemon.runtime.done[-1] == ("files", "retry", "shop", "<b>a.csv")
    assert "Read a.csv again?" in press(daemon, form(daemon, "replay file", connector="shop", name="a.csv")).text
    assert press(daemon, form(daemon, "approve", connector="shop", name="gone.csv")).status == 404
    press(daemon, form(daemon, "reject", connector="shop", name="a.csv"))
    assert daemon.runtime.done[-1] == ("snapshots", "reject", "shop", "a.csv")


def test_targets_are_tried_disabled_and_told_to_send(daemon: Daemon) -> None:
    tried = press(daemon, form(daemon, "test target", name="crm"))
    assert "status 204" in look(daemon, tried.headers["location"].removeprefix("/console")).text
    assert "Disable crm?" in press(daemon, form(daemon, "disable", name="crm")).text
    press(daemon, form(daemon, "disable", name="crm") | {"confirmed": "1"})
    press(daemon, form(daemon, "enable", name="crm"))
    assert "Send everything for crm now?" in press(daemon, form(daemon, "retry deliveries", target="crm")).text
    press(daemon, form(daemon, "retry deliveries", target="crm") | {"confirmed": "1"})
    assert daemon.runtime.done == [("test", "crm"), ("disable", "crm"), ("enable", "crm"), ("hurry", "crm")]


def test_the_configuration_is_reloaded_after_a_question(daemon: Daemon) -> None:
    assert "Apply the configuration" in press(daemon, form(daemon, "reload")).text
    done = press(daemon, form(daemon, "reload") | {"confirmed": "1", "back": "/configuration"})
    assert done.headers["location"].startswith("/console/configuration?said=")
    assert daemon.audits()[-1] == ("ada", "reload", "done")


def test_everything_about_a_person_is_handed_out_as_a_file(daemon: Daemon) -> None:
    applied(daemon.runtime)
    seen = press(daemon, form(daemon, "export", public=PROFILE))
    assert seen.headers["content-disposition"] == f'attachment; filename="{PROFILE}.jsonl"'
    assert seen.headers["content-type"] == "application/jsonl"
    assert "canary-joe@example.com" in seen.text
    kinds = [json.loads(line)["type"] for line in seen.text.splitlines()]
    assert kinds[-1] == "summary", "its last line says what was handed out, not that the stream ended"
    assert "heartbeat" not in kinds
    assert ("ada", "profile export", "done") in daemon.audits()


def test_a_file_about_a_person_that_cannot_be_whole_is_cut_off(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    async def damaged(*_: object, **__: object) -> list[object]:
        raise Damaged("entry 7 does not fit its checksum")

    applied(daemon.runtime)
    monkeypatch.setattr(daemon.runtime.store.directory, "letters", damaged)
    with pytest.raises(IncompleteRead):
        press(daemon, form(daemon, "export", public=PROFILE))


def test_a_person_is_erased_only_when_their_name_is_typed(daemon: Daemon) -> None:
    applied(daemon.runtime)
    given = form(daemon, "erase", public=PROFILE)
    asked = press(daemon, given)
    assert "Erase this person?" in asked.text
    assert "activities" in asked.text
    for typed in ("", "joe", "erase"):
        press(daemon, given | {"confirmed": "1", "typed": typed})
    assert daemon.audits()[-1][1] != "profile erase"
    done = press(daemon, given | {"confirmed": "1", "typed": " canary-joe@example.com "})
    assert done.status == 303
    assert daemon.audits()[-1] == ("ada", "profile erase", "done")


def test_two_people_are_made_of_one_after_it_was_shown_who_would_have_what(daemon: Daemon) -> None:
    applied(daemon.runtime)
    found = daemon.runtime.store.profiles["email", "canary-joe@example.com"]
    more = [*found.state.identifiers, msgspec.structs.replace(found.state.identifiers[0], kind="phone", value="+46701234567")]
    state = msgspec.structs.replace(found.state, identifiers=more)
    daemon.runtime.store.profiles["email", "canary-joe@example.com"] = msgspec.structs.replace(found, state=state)
    given = form(daemon, "split", public=PROFILE, first="0", second="1")
    asked = press(daemon, given)
    assert "3 events" in asked.text
    assert press(daemon, given | {"confirmed": "1", "typed": "split"}).status == 303
    assert [done for _, _, done in daemon.runtime.splits] == ["try", "try", "split"]
    assert press(daemon, given | {"second": "0"}).status == 400
    assert press(daemon, given | {"second": "7"}).status == 400


def test_a_reader_and_a_stranger_can_press_nothing(daemon: Daemon) -> None:
    applied(daemon.runtime)
    dead(daemon.runtime, 2)
    fields = {"name": "shop", "public": PROFILE, "seq": "2", "id": "evt-1", "target": "crm", "connector": "shop", "second": "0"}
    for role, uid in (("reader", READER), ("stranger", STRANGER)):
        token = Guard(b"s" * 32).token(uid)
        for do in ACTIONS:
            seen = press(daemon, {"token": token, "do": do, "confirmed": "1", "typed": "discard", **fields}, role)
            assert seen.status in {400, 403, 404} or do in ASKED_OF_READERS, (role, do, seen.status)
            assert "canary" not in seen.text
    assert set(daemon.runtime.store.letters) == {2}
    assert daemon.runtime.done == []
    assert daemon.runtime.splits == []


def test_a_page_of_another_site_cannot_use_the_control_api_either(daemon: Daemon) -> None:
    def ask(**headers: str) -> int:
        return raw_get(daemon.path, "/v1/connectors/shop/pause", method="POST", headers=headers)[0]

    assert ask(host="localhost:1", origin="http://attacker.example") == 403
    assert ask(host="attacker.example") == 403
    assert daemon.runtime.states == {"shop": "running"}
    assert ask(host="d") == 200


@pytest.mark.anyio
async def test_a_browser_that_leaves_in_the_midst_of_a_form_did_not_send_it() -> None:
    coming: list[dict[str, Any]] = [
        {"type": "http.request", "body": b"do=erase", "more_body": True},
        {"type": "http.disconnect"},
    ]

    async def receive() -> dict[str, Any]:
        return coming.pop(0)

    with pytest.raises(BadArguments, match="left before the form was whole"):
        await forms.read(Request({"type": "http", "method": "POST", "headers": []}, receive))
