"""``cdmd demo`` for real, as a visitor starts it; and what it would say if something were missing."""

import os
import pty
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import cdmd
from cdmd.cli.demo.agency import Agency
from cdmd.cli.demo.application import Application
from cdmd.cli.demo.arrivals import missing
from cdmd.cli.demo.crm import CONTACTS, Crm, contact
from cdmd.cli.demo.part import Part
from cdmd.cli.demo.serving import JsonServer
from cdmd.cli.demo.shop import Shop
from cdmd.cli.demo.supplier import ROWS, Supplier, cut, register
from cdmd.cli.demo.support import Support
from cdmd.cli.demo.survey import SCORE, Survey
from cdmd.cli.demo.television import TERMS, Television, contract
from cdmd.cli.demo.telling import Telling, customer_line, took
from cdmd.errors import CdmdError
from cdmd.kit.presets import presets
from cdmd.testing import DaemonProcess
from cdmd.testing.area import sftp_area

ROOT = Path(cdmd.__file__).parents[1]
COMMAND = [sys.executable, "-m", "cdmd", "demo"]


@pytest.fixture
def environment() -> Iterator[dict[str, str]]:
    """A folder of its own, so that what is left behind can be seen; its name is short, for a socket's path has to be."""
    with tempfile.TemporaryDirectory(prefix="demo-") as folder:
        yield {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": folder, "TERM": "xterm"}


def left_over(environment: dict[str, str]) -> list[str]:
    """Folders and processes of the demo that are still there."""
    folder = environment["TMPDIR"]
    lines = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout.splitlines()
    return [*map(str, Path(folder).iterdir()), *(line for line in lines if folder in line)]


def once(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, "--once"], env=environment, capture_output=True, text=True, timeout=60)


@pytest.mark.timeout(120)
def test_once_ends_by_itself_in_time_with_everything_arrived_and_nothing_left_behind(environment: dict[str, str]) -> None:
    begun = time.monotonic()
    done = once(environment)
    assert time.monotonic() - begun < 60
    assert done.returncode == 0, done.stdout + done.stderr
    assert "known before    nobody" in done.stdout
    known = "customer_no 4711, email joe@example.com, serial TV-2041, user_id joe-4711"
    assert f"{known}; television: 10,120 hours; 131 events" in done.stdout
    assert ("segment-analytics-python 2" in done.stdout) is (find_spec("segment") is not None)
    assert "200 to 12 notifications" in done.stdout
    assert re.search(r"fetched +by [1-9] requests? to the survey's API", done.stdout)
    assert "12 before, 12 after" in done.stdout
    assert "none lost, none twice" in done.stdout
    assert "600 rows; 1 added, and of the others nothing was kept" in done.stdout
    assert (
        "299 rows; 1 held: the rows that it lacks are the ones that the register before ended with: it may be cut"
        in done.stdout
    )
    assert re.search(r"first look +3 requests for 60 contacts", done.stdout)
    assert "1 request for what is new since then" in done.stdout
    assert re.search(r"too soon +0 of [5-9] requests were refused", done.stdout)
    assert done.stdout.count("is not installed") == 1 or "covered until" in done.stdout
    assert "\x1b" not in done.stdout
    assert left_over(environment) == []


@pytest.mark.timeout(120)
def test_what_is_missing_is_said_and_the_exit_status_is_one(environment: dict[str, str], tmp_path: Path) -> None:
    """A plugin of that name that adds nothing: the readings come without their terms."""
    (tmp_path / "idle.py").write_text('"""Adds nothing."""\n')
    idle = DaemonProcess(tmp_path, plugins={"warranty": "idle"}, paths=[tmp_path])
    path = os.pathsep.join([idle.environment["PYTHONPATH"], str(ROOT)])
    done = once({**environment, "PYTHONPATH": path})
    assert done.returncode == 1, done.stdout
    assert "missing: without the contract's terms: 120 readings" in done.stderr
    assert left_over(environment) == []


@pytest.mark.timeout(120)
def test_without_once_it_goes_on_until_it_is_stopped(environment: dict[str, str]) -> None:
    with subprocess.Popen(COMMAND, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            told = told_until(process, "Ctrl-C ends it.")
            (look,) = [line.strip() for line in told if line.endswith("status\n")]
            socket = look.split()[2]
            command = [
                sys.executable,
                "-m",
                "cdmd.cli.control_commands",
                "--socket",
                socket,
                "profile",
                "show",
                "serial:TV-2041",
            ]
            shown = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
            (curl,) = [line.strip() for line in told if "curl" in line]
            sent = subprocess.run(["sh", "-c", curl], capture_output=True, text=True, timeout=60)
        finally:
            process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    assert "joe@example.com" in shown.stdout
    assert sent.stdout == '{"accepted":1,"filtered":0}'
    assert left_over(environment) == []


def told_until(process: "subprocess.Popen[str]", last: str) -> list[str]:
    """What it says up to the line that begins with ``last``."""
    told: list[str] = []
    assert process.stdout is not None
    for line in process.stdout:
        told.append(line)
        if line.startswith(last):
            return told
    raise AssertionError("".join(told))


@pytest.mark.timeout(120)
def test_interrupted_in_its_midst_it_leaves_nothing_behind(environment: dict[str, str]) -> None:
    with subprocess.Popen([*COMMAND, "--once"], env=environment, stdout=subprocess.PIPE, text=True) as process:
        told_until(process, "1  The shop")
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 130
    assert left_over(environment) == []


@pytest.mark.parametrize(("variables", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_headings_are_bold_on_a_terminal_unless_no_color_is_said(variables: dict[str, str], coloured: bool) -> None:
    code = "import os; from cdmd.cli.demo.telling import Telling; Telling.for_terminal(os.environ).scene('The shop')"
    shown, terminal = pty.openpty()
    try:
        plain = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
        subprocess.run(
            [sys.executable, "-c", code], stdout=terminal, cwd=ROOT, env={**plain, **variables}, check=True, timeout=60
        )
        text = os.read(shown, 1000).decode()
    finally:
        os.close(shown)
        os.close(terminal)
    assert "The shop" in text
    assert ("\x1b[1m" in text) is coloured


REGISTERS = [{"type": "supplier.added", "data": {}}, {"type": "supplier.changed", "data": {}}]


def customer(**changed: Any) -> dict[str, Any]:
    identifiers = [("customer_no", "4711"), ("email", "joe@example.com"), ("serial", "TV-2041"), ("user_id", "joe-4711")]
    readings = [{"type": "tv.runtime", "data": {"warranty": TERMS}}] * 2
    return {
        "identifiers": [{"kind": kind, "value": value} for kind, value in identifiers],
        "traits": {"city": "Malmö", "advisor": "Bo"},
        "indicators": {"tv_hours": 10_002.0, "tv_readings": 2},
        "activities": [{"type": "qualtrics.response", "data": {"score": SCORE}}, *readings, *REGISTERS],
        **changed,
    }


def status(**changed: int) -> dict[str, Any]:
    parked = changed.pop("parked", 0)
    return {
        "totals": {"events": 13, "activities": 13, "profiles": 1, "dead_letters": 0, **changed},
        "store": {"parked": parked},
    }


def played() -> list[Part]:
    """The parts as if each had played its scene, with two readings of the television and the plugin installed."""
    television, supplier = Television(), Supplier()
    television.plugin, television.sent, supplier.cut = True, 2, {"held": 1}
    return [Shop(), Support(), television, Application(), Survey(), supplier, Crm()]


def test_nothing_is_missing_when_everything_arrived_once() -> None:
    assert missing(played(), customer(), status()) == []


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        ((None, status()), "nobody is known by email:joe@example.com"),
        ((customer(identifiers=[]), status()), "the customer's serial:TV-2041 is not known"),
        ((customer(indicators={}), status()), "the indicator tv_hours is None instead of 10002"),
        ((customer(indicators={"tv_hours": 10_002, "tv_readings": 3}), status()), "tv_readings is 3 instead of 2"),
        ((customer(activities=[{"type": "tv.runtime", "data": {}}]), status()), "without the contract's terms: 1 reading"),
        ((customer(activities=[]), status()), "the survey's scores are [] instead of [9]"),
        ((customer(traits={"city": "Lund"}), status()), "the supplier's last city is not known"),
        ((customer(traits={"advisor": "Anna"}), status()), "the CRM's last change is not known"),
        ((customer(activities=REGISTERS[:1]), status()), "the supplier's events are ['supplier.added'] instead of"),
        ((customer(), status(events=3)), "events stored: 3 instead of 13"),
        ((customer(), status(activities=5)), "activities stored: 5 instead of 13"),
        ((customer(), status(profiles=2)), "profiles: 2 instead of 1"),
        ((customer(), status(dead_letters=1)), "dead letters: 1 instead of 0"),
        ((customer(), status(parked=1)), "held events: 1 instead of 0"),
    ],
)
def test_whatever_is_missing_or_there_twice_is_a_sentence(found: tuple[Any, Any], sentence: str) -> None:
    assert any(sentence in one for one in missing(played(), *found))


def test_a_cut_register_that_is_not_held_is_missing() -> None:
    supplier = Supplier()
    assert supplier.lacking(customer(), status()) == ["the register that was cut is not held"]


def test_the_cut_register_ends_with_a_line_and_lacks_our_customer() -> None:
    whole = register("Malmö")
    half = cut(whole)
    assert (whole.count(b"\n"), half.count(b"\n"), half[-1:]) == (ROWS + 1, ROWS // 2, b"\n")
    assert (b"4711;Malm\xf6" in whole, b"4711" in half) == (True, False)


def test_an_agency_that_fetched_anybody_else_lacks_joe() -> None:
    agency = Agency()
    assert agency.lacking(customer(), status()) == ["the agency's file has 0 rows instead of Joe's"]
    agency.rows = [{"mail": "joe@example.com", "hours": "10001.0"}]
    assert agency.lacking(customer(), status()) == []


def test_an_area_that_shows_another_key_or_lacks_the_file_gives_nothing(tmp_path: Path) -> None:
    (tmp_path / "there").write_text("whole")
    with sftp_area(tmp_path) as area:
        assert area.fetch("there") == b"whole"
        for other, name in ((area, "nowhere"), (area._replace(fingerprint="SHA256:another"), "there")):
            with pytest.raises(CdmdError, match="cannot be fetched"):
                other.fetch(name)


def test_the_contract_service_knows_contracts_by_serial_number() -> None:
    service = JsonServer(contract)
    assert service.answer("/contracts/TV%2D2041", {}) == (200, TERMS)
    assert service.answer("/contracts/TV-2", {})[0] == 404
    assert service.asked == 2


def test_the_survey_tool_tells_a_response_to_who_has_its_key_only() -> None:
    survey = Survey()
    path, key = "/API/v3/surveys/SV_tv/responses/R_joe", {"x-api-token": survey._key}
    assert survey.respond(path, {})[0] == survey.respond(path, {"x-api-token": "another"})[0] == 401
    assert survey.respond(path, key)[1]["result"]["values"]["recipientEmail"] == "joe@example.com"
    assert survey.respond(f"{path}2", key)[0] == 404


def test_the_crm_gives_pages_to_who_has_its_token_and_refuses_what_comes_too_soon() -> None:
    crm = Crm()
    crm.contacts = [contact(place, f"2026-11-01T12:{place:02d}:00Z") for place in range(CONTACTS)]
    key = {"authorization": f"Bearer {crm._token}"}
    status, page = crm.respond("/v3/contacts?after=20", key)
    assert (status, len(page["results"]), page["next"]) == (200, 20, "40")
    assert crm.respond("/v3/contacts?updated_since=2026-11-01T12:59:00Z", key)[1]["next"] is None
    assert crm.respond("/v3/contacts", {})[0] == 401
    answers = [crm.respond("/v3/contacts", key)[0] for _ in range(4)]
    assert (answers, crm.refused) == ([200, 200, 429, 429], 2)
    assert "its limit was not kept" in crm.lacking(customer(), status)[0]


@pytest.mark.parametrize(
    ("detail", "to_fetch", "waits"),
    [
        (None, 0, True),
        ("1 key to fetch", 1, True),
        ("it waits for notifications", 1, True),
        ("it waits for notifications", 0, False),
    ],
)
def test_the_survey_is_waited_for_until_nothing_notified_is_left_to_fetch(
    detail: str | None, to_fetch: int, waits: bool
) -> None:
    rows = [{"name": "shop"}, {"name": "survey", "detail": detail, "to_fetch": to_fetch}]
    assert Survey().waits({"connectors": rows}) is waits


def test_people_and_times_are_told_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    assert customer_line(None) == "nobody"
    assert customer_line(customer()).endswith("television: 10,002 hours; 5 events")
    assert (took(0.0042), took(2.5)) == ("4 ms", "2.5 s")
    Telling(colour=False).fact("name", "\x1b[2J")
    assert "\x1b" not in capsys.readouterr().out


def test_the_presets_that_the_senders_sign_for_exist() -> None:
    assert {"standard-webhooks", "github", "bearer"} <= set(presets())
