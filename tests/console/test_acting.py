"""Buttons: done by the same commands, audited the same way, and by nobody's page but ours."""

import pytest

from tests.console.asking import look, press
from tests.control.doubles import Daemon, raw_get


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


def test_a_page_of_another_site_cannot_use_the_control_api_either(daemon: Daemon) -> None:
    def ask(**headers: str) -> int:
        return raw_get(daemon.path, "/v1/connectors/shop/pause", method="POST", headers=headers)[0]

    assert ask(host="localhost:1", origin="http://attacker.example") == 403
    assert ask(host="attacker.example") == 403
    assert daemon.runtime.states == {"shop": "running"}
    assert ask(host="d") == 200
