"""Plugins that mean no good, in the real daemon: no event is lost, the others go on, and each is named with what it did.

They lie in ``hostile/``, one file for each that breaks while it is taken in, and import nothing but ``cdmd`` of ours.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cdmd.errors import CdmdError
from cdmd.testing import DaemonProcess
from tests.acceptance.trial import check_sums, rows, settled, status, until

pytestmark = [pytest.mark.acceptance]

HOSTILE = Path(__file__).parent / "hostile"
HANGING = {"hangs", "hook_hangs"}
CONFIG = """
[connectors.inbox]
type = "webhook"
verify = "none"
[connectors.sleeper]
type = "sleeper"
[connectors.interrupter]
type = "interrupter"
[connectors.decider]
type = "decider"
[targets.deaf]
type = "deaf"
events = ["bad.*"]
[targets.liar]
type = "liar"
events = ["bad.*"]
retry = ["100ms", "100ms", "100ms"]
[plugins.calls]
state = "STATE"
"""
LOADING = {
    "raises": "it raised RuntimeError in .*cdmd_raises.py:3",
    "exits": "it raised SystemExit in .*cdmd_exits.py:5",
    "interrupts": "it raised KeyboardInterrupt in .*cdmd_interrupts.py:3",
    "odd": "it raised cdmd_odd.Odd in .*cdmd_odd.py:8",
    "forks": "tried to fork the daemon",
    "hook": "it raised KeyboardInterrupt in .*cdmd_hook.py:8 cdmd_extensions",
    "junk": "cdmd_extensions must list what @cdmd.extension makes",
    "startup": "startup: it raised KeyboardInterrupt in .*cdmd_startup.py:8",
}
CALLS = {
    "raises": "ValueError at cdmd_calls.py:",
    "exits": "SystemExit at cdmd_calls.py:",
    "exits_beside": "SystemExit at cdmd_calls.py:",
    "interrupts": "KeyboardInterrupt at cdmd_calls.py:",
    "interrupts_in_thread": "KeyboardInterrupt at cdmd_calls.py:",
    "generator_exit": "GeneratorExit at cdmd_calls.py:",
    "odd": "Odd at cdmd_calls.py:",
    "cancels": "CancelledError at cdmd_calls.py:",
    "cancels_its_task": "CancelledError at cdmd_calls.py:",
    "stops": "RuntimeError",
    "hangs": "no answer within 0.5 s",
    "swallows": "no answer within 0.5 s and would not end when it was cancelled",
    "sleeps": "blocked the event loop for 0.[5-9] s at cdmd_calls.py:",
    "sticks": "no answer within 0.5 s",
    "junk": "returned str instead of an event or None",
    "unstorable": "returned an event that cannot be stored",
    "wide": "returned an event of more than 4194304 bytes",
    "deep": "returned an event that cannot be stored",
    "another": "changed the event's id",
    "recurses": "RecursionError at cdmd_calls.py:",
    "forks": "tried to fork the daemon: start another program instead at cdmd_calls.py:",
    "opens": "tried to open or remove store.db, which belongs to the daemon alone at cdmd_calls.py:",
    "opens_by_address": "tried to open or remove store.db, .*at cdmd_calls.py:",
    "locks": "tried to open or remove journal.db, .*at cdmd_calls.py:",
    "truncates": "tried to open or remove journal.db, .*at cdmd_calls.py:",
    "removes": "tried to open or remove store.db, .*at cdmd_calls.py:",
    "signals": "tried to send a signal to the daemon at cdmd_calls.py:",
}

APART = {
    **{name: CALLS[name] for name in ("raises", "exits", "interrupts_in_thread", "odd", "hangs", "junk", "wide", "another")},
    "exits_beside": CALLS["exits_beside"],
    "swallows": "no answer within 0.5 s",
    "forks": "tried to fork its process: start another program instead at cdmd_calls.py:",
    "opens": "tried to reach store.db, which belongs to the daemon alone at cdmd_calls.py:",
    "truncates": "tried to reach journal.db, .*at cdmd_calls.py:",
    "signals": "its process was ended by SIGTERM",
}
"""What is said of the same where it is isolated."""

ISOLATED = """
[connectors.inbox]
type = "webhook"
verify = "none"
[plugins.calls]
state = "STATE"
isolate = true
[plugins.apart]
isolate = { max_memory = "400MiB" }
"""


def daemon_among(folder: Path, names: set[str]) -> DaemonProcess:
    """A daemon that finds these of the hostile plugins installed."""
    plugins = {name: f"cdmd_{name}" for name in sorted(names)}
    config = CONFIG.replace("STATE", str(folder / "state"))
    return DaemonProcess(folder, config, plugins=plugins, paths=[HOSTILE], patience=60)


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonProcess]:
    """One daemon with all of them but those that hang while they are imported."""
    there = {file.stem.removeprefix("cdmd_") for file in HOSTILE.glob("cdmd_*.py")}
    assert there == {*LOADING, *HANGING, "calls", "apart", "ends"}, "each of them is looked at here"
    with daemon_among(tmp_path_factory.mktemp("hostile"), there - HANGING) as running:
        yield running


@pytest.fixture(scope="module")
def isolating(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonProcess]:
    """One daemon with those that bring extensions, each in a process of its own."""
    folder = tmp_path_factory.mktemp("isolated")
    plugins = {name: f"cdmd_{name}" for name in ("apart", "calls")}
    config = ISOLATED.replace("STATE", str(folder / "state"))
    with DaemonProcess(folder, config, plugins=plugins, paths=[HOSTILE], patience=60) as running:
        yield running


def told(daemon: DaemonProcess, name: str) -> tuple[str, str]:
    """A plugin's state and what is said of it."""
    row = next(row for row in status(daemon)["plugins"] if row["name"] == name)
    return row["state"], row["error"] or ""


def serve(daemon: DaemonProcess, id: str, type: str = "innocent") -> None:
    """One event is taken."""
    event = {"id": id, "type": type, "identifiers": {"email": f"{id}@example.com"}}
    assert daemon.send("/hooks/inbox", event) == {"accepted": 1, "filtered": 0}


def is_applied(daemon: DaemonProcess, id: str) -> bool:
    (trace,) = daemon.control.get("/v1/event", {"id": id})["traces"]
    return bool(trace["state"] == "applied")


@pytest.mark.parametrize("name", LOADING)
def test_what_breaks_while_it_is_taken_in_is_a_row_with_its_place(daemon: DaemonProcess, name: str) -> None:
    state, why = told(daemon, name)
    assert state == ("failed" if name == "startup" else "load error")
    assert re.search(LOADING[name], why)
    assert "joe@example.com" not in why


@pytest.mark.parametrize("name", CALLS)
def test_whatever_an_extension_does_its_events_are_stored_and_it_is_named(daemon: DaemonProcess, name: str) -> None:
    for number in range(3):
        serve(daemon, f"{name}-{number}", f"bad.{name}")
    serve(daemon, f"beside-{name}")
    until(lambda: is_applied(daemon, f"beside-{name}"), seconds=60, what="applying a neighbour's event")
    until(lambda: all(is_applied(daemon, f"{name}-{n}") for n in range(3)), what="storing its own")
    state, why = told(daemon, "calls")
    assert state == "enabled"
    assert re.search(rf"calls\.{name}: {CALLS[name]}", why)
    assert "joe@example.com" not in why


@pytest.mark.parametrize("name", APART)
def test_the_same_in_a_process_of_its_own(isolating: DaemonProcess, name: str) -> None:
    """The last of them ends that process."""
    for number in range(2):
        serve(isolating, f"{name}-{number}", f"bad.{name}")
    serve(isolating, f"beside-{name}")
    until(lambda: is_applied(isolating, f"beside-{name}"), seconds=60, what="applying a neighbour's event")
    until(lambda: all(is_applied(isolating, f"{name}-{n}") for n in range(2)), what="storing its own")
    state, why = told(isolating, "calls")
    assert state == "enabled"
    assert re.search(rf"calls\.{name}: {APART[name]}", why)
    assert "joe@example.com" not in why


def test_what_no_process_survives_ends_that_of_the_plugin_alone(isolating: DaemonProcess) -> None:
    """It is named in all places, another takes its place, and no event is lost; the daemon's end is theirs, too."""
    serve(isolating, "dies", "apart.dies")
    until(lambda: is_applied(isolating, "dies"), what="storing its own")

    def process(name: str) -> dict[str, Any]:
        return next(row["process"] for row in isolating.ask("plugins") if row["name"] == name)

    until(lambda: process("apart")["state"] == "running" and process("apart")["restarts"] == 1, what="another process")
    until(lambda: process("calls")["state"] == "running", what="another process")
    found = process("apart")
    assert found["reason"] == "its process was ended by SIGSEGV"
    assert (found["max_memory_bytes"], found["kernel"], found["memory_bytes"] > 2**20) == (400 * 2**20, True, True)
    shown = isolating.cdmctl("plugins").stdout
    assert re.search(r"apart +0 +enabled +1 +1 .* running +\d+ MiB", shown)
    assert "its process was ended by SIGSEGV" in isolating.cdmctl("doctor", check=False).stdout
    serve(isolating, "plain", "apart.plain")
    until(lambda: is_applied(isolating, "plain"), what="storing its own")
    check_sums(settled(isolating)["inbox"])
    assert '"isolated_process_ended"' in isolating.log_file.read_text()
    pids = [process(name)["pid"] for name in ("apart", "calls")]
    isolating.kill()
    until(lambda: not any(Path(f"/proc/{pid}/cwd").exists() for pid in pids), what="the end of all processes")


def test_one_that_hides_what_came_of_it_is_named_all_the_same(daemon: DaemonProcess) -> None:
    serve(daemon, "quietly", "bad.forks_quietly")
    until(lambda: is_applied(daemon, "quietly"), what="storing it")
    assert re.match(r"tried to fork the daemon: start another program instead, at cdmd_calls.py:\d+", told(daemon, "calls")[1])


def test_one_whose_task_would_end_the_process_is_named_for_it(daemon: DaemonProcess) -> None:
    serve(daemon, "beside", "bad.exits_beside")
    until(lambda: is_applied(daemon, "beside"), what="storing it")
    named = r"tried to end the daemon: it raised SystemExit in hostile/cdmd_calls.py:\d+ exits"
    assert re.match(named, told(daemon, "calls")[1])
    assert '"end_refused"' in daemon.log_file.read_text()


def test_a_connector_that_sleeps_in_the_loop_is_named_with_its_line(daemon: DaemonProcess) -> None:
    until(lambda: told(daemon, "ends")[1], what="naming it")
    assert re.fullmatch(r"blocked the event loop for 0\.[5-9] s at cdmd_ends.py:26", told(daemon, "ends")[1])


@pytest.mark.parametrize(("path", "what"), [("interrupter", "KeyboardInterrupt"), ("decider", "SystemExit")])
def test_a_connector_that_would_end_the_process_ends_one_request(daemon: DaemonProcess, path: str, what: str) -> None:
    for _ in range(3):
        with pytest.raises(CdmdError, match="500"):
            daemon.send(f"/{path}", {})
    assert what in rows(daemon)[path]["error"]
    serve(daemon, f"after-{path}")


def test_a_target_that_would_end_the_process_or_gives_junk_is_named(daemon: DaemonProcess) -> None:
    serve(daemon, "told", "bad.raises")

    def reasons() -> dict[str, str]:
        return {row["name"]: row["reason"] or "" for row in status(daemon)["targets"]}

    until(lambda: "KeyboardInterrupt" in reasons()["deaf"], what="naming it")
    until(lambda: "one sound verdict for each" in reasons()["liar"], what="naming it")


def test_nothing_was_lost_and_it_stops_when_it_is_told(daemon: DaemonProcess) -> None:
    """The last one: what it sent before is all there, also after a restart."""
    row = settled(daemon)["inbox"]
    check_sums(row)
    assert row["accepted"] == row["applied"] + row["repeats"]
    before = status(daemon)["totals"]["activities"]
    assert daemon.stop() == 0
    daemon.start()
    assert settled(daemon)["inbox"]["applied"] == row["applied"]
    assert status(daemon)["totals"]["activities"] == before == row["applied"]
    assert daemon.ask("verify")["problems"] == []


def test_one_that_never_ends_being_imported_or_registering_is_left_behind(tmp_path: Path) -> None:
    with daemon_among(tmp_path, {*HANGING, "ends"}) as running:
        for name in HANGING:
            assert told(running, name) == ("load error", "it was not loaded within 10 s")
        serve(running, "innocent")
        assert running.stop() == 0


def test_one_that_keeps_a_megabyte_of_every_event_is_named_with_its_line(tmp_path: Path) -> None:
    """And another that makes as much of every event, and lets go of it, is not."""
    leaking = Path(__file__).with_name("leaking_plugin.py")
    line = 1 + leaking.read_text().splitlines().index("    KEPT.append(bytes([len(event.id) % 256]) * MIB)")
    config = '[connectors.inbox]\ntype = "webhook"\nverify = "none"\n'
    with DaemonProcess(tmp_path, config, plugins={"leaky": "leaking_plugin"}, paths=[leaking.parent], patience=60) as daemon:
        for number in range(400):
            serve(daemon, str(number), "leak.one")
            if number % 10 == 9 and told(daemon, "leaky")[1]:
                break
        state, why = told(daemon, "leaky")
        assert state == "enabled"
        assert re.fullmatch(rf"the daemon's memory has grown by \d+ MiB, and leaking_plugin.py:{line} kept .+ within .+", why)
        assert f"leaking_plugin.py:{line} kept" in daemon.cdmctl("doctor", check=False).stdout
        assert daemon.log_file.read_text().count('"plugin_leaks_memory"') == 1
        check_sums(settled(daemon)["inbox"])
