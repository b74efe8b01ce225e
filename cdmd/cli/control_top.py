"""``cdmctl top``: the status as a live screen that takes keys, and goes on over a reload and a restart of the daemon."""

import os
import select
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from time import monotonic
from typing import Any, Final

import click

from cdmd.cli.connection import client, prints_data, talks
from cdmd.cli.control_changing import connector_path
from cdmd.cli.control_looking import summary
from cdmd.cli.running import until_interrupted
from cdmd.cli.tables import plugin_table, target_table
from cdmd.cli.terminal import clean, print_json, span, table_lines
from cdmd.cli.watching import KEYS, Action, View, press, rates, split, table
from cdmd.control.client import Client
from cdmd.errors import CdmdError, Unreachable

_MOST_KEYS: Final = 16
_AROUND: Final = 6
"""Lines beside the summary, the warnings and the tables' rows."""


@click.command
@click.option("--every", type=click.FloatRange(0.2, 3600), default=2.0, show_default=True, help="Seconds between two looks.")
@talks
@prints_data
def top(every: float, as_json: bool) -> None:
    r"""The same as status, live, with keys to pause, poll and retry.

    It ends with q or Ctrl-C. While the daemon restarts, the last picture stays and says how old it is.

    \b
    cdmctl top
    cdmctl top --json --every 10
    """
    if not as_json and not sys.stdout.isatty():
        raise click.UsageError("top draws on a terminal; in a pipe use --json, or status")
    with until_interrupted():
        if as_json:
            _print(every)
        else:
            Top(client(), every=every).run()


def _print(every: float) -> None:
    asked, never = client(), threading.Event()
    while True:
        print_json(asked.get("/v1/status"), line=True)
        never.wait(every)


class Top:
    """Asks ``asked`` every so many seconds, draws what it says, and does what keys say."""

    def __init__(self, asked: Client, *, every: float) -> None:
        self._asked, self._every = asked, every
        self._view, self._rates = View(), dict[str, float]()
        self._document: Mapping[str, Any] = asked.get("/v1/status")
        self._seen = monotonic()
        self._failure = ""

    def run(self) -> None:
        """Until somebody leaves. Raises what the first look raised, nothing of the later ones."""
        from rich.live import Live

        with Live(screen=True, auto_refresh=False) as live, _keys() as keys:
            due = monotonic() + self._every
            while not self._view.left:
                live.update(self._picture(live.console.width, live.console.height), refresh=True)
                for key in split(keys(max(0.0, due - monotonic()))):
                    self._press(key)
                if monotonic() >= due:
                    self._look()
                    due = monotonic() + self._every

    def _look(self) -> None:
        try:
            document = self._asked.get("/v1/status")
        except Unreachable:
            self._failure = "the daemon does not answer"
            return
        except CdmdError as error:
            self._failure = clean(str(error))
            return
        self._rates = rates(self._document, document)
        self._document, self._seen, self._failure = document, monotonic(), ""

    def _press(self, key: str) -> None:
        self._view, action = press(self._view, key, self._document["connectors"])
        if action is not None and self._view.chosen is not None:
            try:
                said = self._do(action, self._view.chosen)
            except CdmdError as error:
                said = str(error)
            self._view = self._view._replace(said=said)
            self._look()

    def _do(self, action: Action, name: str) -> str:
        if action == "retry":
            done = self._asked.post("/v1/dead-letters/retry", {"connector": name})
        else:
            done = self._asked.post(connector_path(name, action))
        count = "" if done["count"] is None else f": {done['count']}"
        return " ".join(filter(None, (done["done"], name + count, done["warning"] and f"({done['warning']})")))

    def _picture(self, width: int, height: int) -> Any:
        from rich.console import Group
        from rich.text import Text

        document, pairs = self._document, summary(self._document)
        head = [Text(f"{name:<8} {text}", no_wrap=True, overflow="ellipsis") for name, text in pairs]
        warnings = [Text(f"warning: {clean(text)}", style="yellow") for text in document["warnings"]]
        if self._failure:
            old = span(monotonic() - self._seen)
            warnings.insert(0, Text(f"{self._failure}; this is {old} old, and it is asked again", style="bold red"))
        others = (target_table(document.get("targets", [])), plugin_table(document["plugins"]))
        room = height - len(head) - len(warnings) - sum(len(one.rows) for one in others) - _AROUND
        found = (table(self._view, document["connectors"], self._rates, height=max(3, room)), *others)
        drawings = ("\n".join(table_lines(one, width=width)) for one in found if one.rows)
        tables = [part for drawing in drawings for part in ("", Text.from_ansi(drawing, no_wrap=True, overflow="crop"))]
        foot = Text(
            clean(self._view.said) or KEYS, style="bold" if self._view.said else "dim", no_wrap=True, overflow="ellipsis"
        )
        return Group(*head, *warnings, *tables, "", foot)


@contextmanager
def _keys() -> Iterator[Any]:
    """A function that waits so many seconds for keys of the terminal and returns them, or nothing; the terminal is put back."""
    if not sys.stdin.isatty():
        never = threading.Event()
        yield lambda seconds: never.wait(seconds) and ""
        return
    import termios
    import tty

    handle = sys.stdin.fileno()
    before = termios.tcgetattr(handle)
    tty.setcbreak(handle)
    try:
        yield lambda seconds: _key(handle, seconds)
    finally:
        termios.tcsetattr(handle, termios.TCSADRAIN, before)


def _key(handle: int, seconds: float) -> str:
    ready, _, _ = select.select([handle], [], [], seconds)
    return os.read(handle, _MOST_KEYS).decode(errors="replace") if ready else ""
