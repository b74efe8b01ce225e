"""``cdmctl top``: what keys do, what is shown, and that it goes on over a restart of the daemon."""

import os
import pty
import subprocess
import sys
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Self

from cdmd.cli.watching import View, ordered, press, rates, split, table
from cdmd.errors import NotDurable
from tests.control.doubles import Daemon, MemoryRuntime, dead, serving

Rows = list[dict[str, Any]]


def row(name: str, state: str = "running", **more: Any) -> dict[str, Any]:
    standing = {"freshness_objective_seconds": None, "freshness_seconds": None, "error": None, "detail": None, "accepted": 0}
    counts = {"backlog": 0, "dead_letters": 3, "parked": 0, "last_event": None, "type": "webhook"}
    return {"name": name, "state": state, **standing, **counts, **more}


ROWS = [row("a"), row("b", "paused"), row("c", "failed", error="401")]


def test_who_is_not_well_comes_first() -> None:
    assert [one["name"] for one in ordered(ROWS)] == ["b", "c", "a"]


def test_the_choice_moves_and_stops_at_the_ends_and_stays_with_its_connector() -> None:
    view = View()
    for key, chosen in (("j", "b"), ("\x1b[B", "c"), ("j", "a"), ("j", "a"), ("k", "c"), ("\x1b[A", "b"), ("k", "b")):
        view, action = press(view, key, ROWS)
        assert (view.chosen, action) == (chosen, None)
    assert press(view, "j", [row("b"), row("z")])[0].chosen == "z"
    assert press(View(chosen="gone"), "j", ROWS)[0].chosen == "b"
    assert press(View(), "j", []) == (View(), None)


def test_what_others_notice_is_done_after_a_y_only() -> None:
    for name, key, action in (("a", "p", "pause"), ("c", "r", "retry")):
        asked, at_once = press(View(chosen=name), key, ROWS)
        assert (asked.asked, at_once) == (action, None)
        assert name in asked.said
        assert press(asked, "y", ROWS) == (View(chosen=name), action)
        assert press(asked, "n", ROWS) == (View(chosen=name, said="nothing was done"), None)
    assert "3 dead letters" in press(View(chosen="c"), "r", ROWS)[0].said


def test_what_harms_nobody_is_done_at_once() -> None:
    assert press(View(chosen="b"), "p", ROWS) == (View(chosen="b"), "resume")
    assert press(View(chosen="a"), "n", ROWS) == (View(chosen="a"), "poll")


def test_keys_that_come_together_are_told_apart() -> None:
    assert split("j\x1b[Bny") == ["j", "\x1b[B", "n", "y"]
    assert split("") == []


def test_other_keys_do_nothing_and_q_leaves() -> None:
    assert press(View(chosen="a"), "x", ROWS) == (View(chosen="a"), None)
    assert press(View(), "p", ROWS) == (View(said="choose a connector first"), None)
    assert press(View(), "q", ROWS)[0].left


def test_rates_are_between_two_looks_at_one_run() -> None:
    first = {"uptime_seconds": 10.0, "connectors": [row("a", accepted=5)]}
    later = {"uptime_seconds": 12.0, "connectors": [row("a", accepted=9), row("new", accepted=7)]}
    assert rates(first, later) == {"a": 2.0}
    assert rates(None, later) == {}
    assert rates(later, first) == {}, "the daemon was started again"


def test_the_chosen_one_is_always_among_the_rows_that_fit() -> None:
    many = [row(f"c{number:03}") for number in range(100)]
    for chosen in ("c000", "c050", "c099"):
        shown = table(View(chosen=chosen), many, {}, height=10)
        assert len(shown.rows) == 10
        assert [one[1] for one in shown.rows if one[0] == ">"] == [chosen]


def test_freshness_is_shown_against_the_objective() -> None:
    late = row("a", freshness_objective_seconds=5.0, freshness_seconds=60.0)
    (shown,) = table(View(), [late], {"a": 2.0}, height=5).rows
    assert (shown[4], shown[5]) == ("60 s of 5 s late", "2.0")


# ---- on a terminal -------------------------------------------------------------------------------------------------


class Screen:
    """``cdmctl top`` on a terminal of its own."""

    def __init__(self, socket: Path, *, columns: int = 160) -> None:
        self._master, slave = pty.openpty()
        command = [sys.executable, "-m", "cdmd.cli.control_commands", "--socket", str(socket), "top", "--every", "0.2"]
        environment = {**os.environ, "TERM": "xterm", "COLUMNS": str(columns), "LINES": "40"}
        self.process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=environment)
        os.close(slave)
        self.shown = b""

    def until(self, text: bytes) -> None:
        self.shown = b""
        while text not in self.shown:
            self.shown += os.read(self._master, 65536)

    def press(self, keys: bytes) -> None:
        os.write(self._master, keys)

    def end(self) -> int:
        """Leave by the key for it; the status."""
        self.press(b"q")
        with suppress(OSError):
            while os.read(self._master, 65536):
                pass
        return self.process.wait(60)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait(60)
        os.close(self._master)


def test_keys_pause_and_retry_what_is_chosen_and_it_goes_on_over_a_restart(tmp_path: Path) -> None:
    path, runtime = tmp_path / "control.sock", MemoryRuntime(tmp_path)
    with ExitStack() as stack:
        with serving(Daemon(runtime, path)):
            dead(runtime, 1)
            screen = stack.enter_context(Screen(path))
            screen.until(b"warranty")
            screen.press(b"p")
            screen.until(b"choose a connector first")
            screen.press(b"j")
            screen.until(b">")
            screen.press(b"p")
            screen.until(b"pause shop?")
            screen.press(b"y")
            screen.until(b"paused")
            assert runtime.states["shop"] == "paused"
            screen.press(b"r")
            screen.until(b"through again?")
            screen.press(b"y")
            screen.until(b"shop: 1")
            assert runtime.store.letters == {}
        screen.until(b"does not answer")
        path.unlink()
        with serving(Daemon(runtime, path)):
            runtime.states["fresh"] = "running"
            screen.until(b"fresh")
            runtime.trouble = NotDurable("the store cannot be read now")
            screen.until(b"the store cannot be read now; this is")
            runtime.trouble = None
            runtime.states["later"] = "running"
            screen.until(b"later")
            assert screen.end() == 0


def test_on_a_narrow_terminal_the_names_and_states_are_left(daemon: Daemon) -> None:
    daemon.runtime.states |= {f"connector-{number}": "running" for number in range(60)}
    with Screen(daemon.path, columns=40) as screen:
        screen.until(b"connector-1")
        screen.until(b"running")
        assert screen.end() == 0


def test_who_may_not_is_told_so_on_the_screen(daemon: Daemon) -> None:
    daemon.client("reader")
    with Screen(daemon.path) as screen:
        screen.until(b"warranty")
        screen.press(b"jn")
        screen.until(b"admin")
        assert screen.end() == 0
