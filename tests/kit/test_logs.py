import json
import logging
import os
import socket
import sys
import threading
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import structlog

from cdmd.kit.loglines import as_coloured_text, as_fields, as_json, as_text, choose, descriptor_writer, journal_writer
from cdmd.kit.logs import SAFE_KEYS, Logs, priority
from cdmd.kit.secret import Secret

CANARY = "joe@example.com"


class Hands:
    def __init__(self) -> None:
        self.time = 0.0

    def now(self) -> datetime:
        return datetime(2026, 11, 23, 10, 0, 1, 120_000, tzinfo=UTC)

    def monotonic(self) -> float:
        return self.time


class Desk:
    """A ``Logs`` whose lines are read back as values."""

    def __init__(self, **kw: Any) -> None:
        self.clock, self.written = Hands(), list[bytes]()
        self.logs = Logs(clock=self.clock, render=as_json, write=self.written.append, **kw)

    def lines(self) -> list[dict[str, Any]]:
        self.logs.close()
        return [json.loads(line) for line in self.written]


@pytest.fixture
def desk() -> Iterator[Desk]:
    desk = Desk()
    yield desk
    desk.logs.close()


def test_a_line_has_time_level_event_and_its_safe_keys(desk: Desk) -> None:
    desk.logs.logger(connector="shop").info("connector_started", seconds=0.5, files=["a.toml"])
    assert desk.lines() == [
        {"ts": "2026-11-23T10:00:01.120+00:00", "level": "info", "event": "connector_started", "connector": "shop",
         "seconds": 0.5, "files": ["a.toml"]}
    ]  # fmt: skip


def test_keys_that_are_not_known_to_be_safe_are_dropped_and_counted(desk: Desk) -> None:
    desk.logs.logger(email=CANARY).error(
        "mapping_failed", body={"email": CANARY}, token=Secret(b"s", reference="env:S"), code="c"
    )
    (line,) = desk.lines()
    assert CANARY not in json.dumps(line)
    assert line["code"] == "c"
    assert desk.logs.statistics()["keys"] == 3


@pytest.mark.parametrize("event", [f"hello {CANARY}", "Upper", "a-b", "", None, 5])
def test_an_event_that_is_no_fixed_name_is_not_shown(desk: Desk, event: Any) -> None:
    desk.logs.logger().info(event)
    assert [line["event"] for line in desk.lines()] == ["unnamed"]
    assert desk.logs.statistics()["names"] == 1


@pytest.mark.parametrize("key", ["reason", "code", "state", "kind", "outcome"])
def test_a_code_that_is_no_word_is_not_shown(desk: Desk, key: str) -> None:
    desk.logs.logger().info("record_refused", **{key: f"bad address {CANARY}"})
    assert desk.lines()[0][key] == "(text)"


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error", "critical", "exception"])
def test_an_exception_is_its_class_and_frames_at_every_level(level: str) -> None:
    desk = Desk(level="debug")
    try:
        try:
            int(CANARY)
        except ValueError as error:
            raise RuntimeError(CANARY) from error
    except RuntimeError:
        getattr(desk.logs.logger(), level)("extension_failed", exc_info=True)
    (line,) = desk.lines()
    assert CANARY not in json.dumps(line)
    assert (line["error"], line["causes"]) == ("RuntimeError", ["ValueError"])
    assert line["frames"][-1].startswith("kit/test_logs.py:")


def test_values_are_bounded_and_cannot_steer_a_terminal(desk: Desk) -> None:
    values = ["\x1b[31m\n\r\u202e\ud800", "x" * 10_000, Secret(b"s", reference="env:S"), b"bytes", {"a": CANARY, "n": 1}, None]
    desk.logs.logger().info("some_values", counts=values, frames=list(range(100)))
    (line,) = desk.lines()
    assert line["counts"][0] == "\\x1b[31m\\x0a\\x0d\\x202e\\xd800"
    assert len(line["counts"][1]) == 300
    assert line["counts"][2:] == ["(Secret)", "(bytes)", {"a": "(text)", "n": 1}, None]
    assert len(line["frames"]) == 30


def test_repeated_errors_are_shown_a_few_times_and_then_counted(desk: Desk) -> None:
    log = desk.logs.logger()
    for _ in range(12):
        log.warning("poll_failed", connector="crm")
    log.warning("poll_failed", connector="other")
    for _ in range(3):
        log.info("poll_done")
    desk.clock.time = 61
    log.warning("poll_failed", connector="crm")
    lines = desk.lines()
    crm = [line for line in lines if line.get("connector") == "crm"]
    assert (len(crm), crm[-1]["repeated"]) == (6, 7)
    assert len(lines) == 6 + 1 + 3
    assert desk.logs.statistics()["repeats"] == 7


def test_the_table_of_repeats_is_bounded(desk: Desk) -> None:
    for number in range(1500):
        desk.logs.logger().warning("poll_failed", connector=str(number))
    assert len(desk.logs._repeats._seen) == 1000


def test_the_level_may_be_changed_for_a_while_and_for_good(desk: Desk) -> None:
    log = desk.logs.logger()
    log.debug("one")
    desk.logs.set_level("debug", seconds=10)
    log.debug("two")
    desk.clock.time = 10
    log.debug("three")
    desk.logs.set_level("error")
    log.warning("four")
    with pytest.raises(KeyError):
        desk.logs.set_level("loud")
    assert [line["event"] for line in desk.lines()] == ["two"]


def test_a_reader_that_does_not_read_never_holds_up_who_logs() -> None:
    go, taken = threading.Event(), threading.Event()

    def stuck(line: bytes) -> None:
        taken.set()
        go.wait(60)

    logs = Logs(clock=Hands(), render=as_json, write=stuck, waiting=5)
    logs.logger().info("first")
    assert taken.wait(60)
    for _ in range(9):
        logs.logger().info("more")
    assert logs.statistics()["lines"] == 4
    logs.close(seconds=0.01)
    go.set()
    logs.close()


def test_a_broken_stderr_is_counted_not_raised() -> None:
    def broken(line: bytes) -> None:
        raise BrokenPipeError

    logs = Logs(clock=Hands(), render=as_json, write=broken)
    logs.logger().info("first")
    logs.close()
    assert logs.statistics()["lines"] == 1


def test_libraries_warnings_and_uncaught_exceptions_go_through_the_same_list_and_come_back(desk: Desk) -> None:
    before = sys.excepthook, threading.excepthook, sys.unraisablehook, list(logging.getLogger().handlers)
    desk.logs.install()
    structlog.get_logger().info("global_line", email=CANARY)
    try:
        raise ValueError(CANARY)  # noqa: TRY301 - a traceback is needed
    except ValueError as error:
        logging.getLogger("uvicorn.error").exception("could not %s", CANARY)
        sys.excepthook(ValueError, error, error.__traceback__)
    logging.getLogger("asyncssh").info("login of %s", CANARY)
    logging.getLogger("odd").log(35, CANARY)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(True)
        warnings.showwarning(CANARY, UserWarning, "x.py", 1)  # type: ignore[arg-type]
    thread = threading.Thread(target=lambda: int(CANARY))
    thread.start()
    thread.join()
    lines = desk.lines()
    assert CANARY not in json.dumps(lines)
    assert [(line["event"], line.get("logger"), line.get("error")) for line in lines] == [
        ("global_line", None, None),
        ("library_log", "uvicorn.error", "ValueError"),
        ("uncaught_exception", None, "ValueError"),
        ("library_log", "odd", None),
        ("library_log", "py.warnings", None),
        ("uncaught_exception", None, "ValueError"),
    ]
    assert before == (sys.excepthook, threading.excepthook, sys.unraisablehook, list(logging.getLogger().handlers))


LINE: dict[str, Any] = {
    "ts": "2026-11-23T10:00:01.120+00:00", "level": "warning", "event": "poll_failed", "connector": "crm", "error": "OSError",
    "seconds": 2.5, "path": "/a b", "frames": ["a.py:1 f"],
}  # fmt: skip


def test_on_a_terminal_a_line_reads_well() -> None:
    assert (
        as_text(LINE).decode()
        == '10:00:01 warning  poll_failed connector=crm error=OSError seconds=2.5 path="/a b"\n    a.py:1 f\n'
    )
    assert b"\x1b[33mwarning \x1b[0m" in as_coloured_text(LINE)


def test_journald_gets_fields_of_its_own_and_never_more_than_a_datagram() -> None:
    fields = dict(part.split("=", 1) for part in as_fields({**LINE, "causes": ["x" * 60_000]}).decode().strip().split("\n"))
    assert fields["MESSAGE"].startswith("poll_failed connector=crm")
    assert (fields["PRIORITY"], fields["CDMD_EVENT"], fields["CDMD_CONNECTOR"]) == ("4", "poll_failed", "crm")
    assert len(as_fields({**LINE, "causes": ["x" * 60_000]})) <= 48 * 1024
    assert [priority(level) for level in ("debug", "info", "warning", "error", "critical")] == [7, 6, 4, 3, 2]


def test_journald_is_used_when_it_reads_stderr(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal, (tmp_path / "e").open("wb") as stderr:
        journal.bind(str(tmp_path / "j"))
        journal.settimeout(2)
        status = os.fstat(stderr.fileno())
        environ = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
        render, write = choose(environ, stderr.fileno(), journal=str(tmp_path / "j"))
        write(render(LINE))
        assert b"\nCDMD_CONNECTOR=crm\n" in journal.recv(65536)


def test_a_journald_that_is_gone_leaves_the_message_on_stderr(tmp_path: Path) -> None:
    with (tmp_path / "e").open("w+b") as stderr:
        journal_writer(str(tmp_path / "gone"), fallback=stderr.fileno())(as_fields(LINE))
        stderr.seek(0)
        assert stderr.read().startswith(b"poll_failed connector=crm")


def test_elsewhere_it_is_json_and_on_a_terminal_text(tmp_path: Path) -> None:
    with (tmp_path / "e").open("wb") as stderr:
        assert choose({"JOURNAL_STREAM": "1:2"}, stderr.fileno())[0] is as_json
    main, terminal = os.openpty()
    try:
        assert choose({}, terminal)[0] is as_coloured_text
        assert choose({"NO_COLOR": "1"}, terminal)[0] is as_text
        descriptor_writer(terminal)(b"x")
        assert os.read(main, 10) == b"x"
    finally:
        os.close(main)
        os.close(terminal)
    assert choose({}, 9999)[0] is as_json


def test_no_key_that_names_a_customer_is_safe() -> None:
    assert not SAFE_KEYS & {
        "email",
        "phone",
        "id",
        "value",
        "identifiers",
        "traits",
        "data",
        "body",
        "url",
        "message",
        "token",
        "user",
    }
