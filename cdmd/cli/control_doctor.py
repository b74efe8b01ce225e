"""``cdmctl doctor``: what is wrong with the daemon and around it, and what to do about it."""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import click

from cdmd.cli.connection import client, prints_data, talks
from cdmd.cli.examining import Finding, examine, worst
from cdmd.cli.surroundings import around, unreached
from cdmd.cli.terminal import clean, note, print_json
from cdmd.errors import NotPermitted, Overloaded, Unreachable

_LETTERS: Final = 10_000
_VERIFY_SECONDS: Final = 3600.0
_UNREACHED: Final = 3


@click.command
@click.option("--deep", is_flag=True, help="Also read journal and store whole (admins; takes a while).")
@talks
@prints_data
def doctor(deep: bool, as_json: bool) -> int:
    r"""What is wrong, and what to do about it.

    It looks at disk and clock, journal and store, every connector's state, freshness and silence, dead letters, plugins,
    and who may read the state. The exit status is 1 with a problem, 0 with nothing worse than warnings, 3 without a daemon.

    \b
    cdmctl doctor
    cdmctl doctor --deep --json | jq -r '.[] | select(.severity == "problem") | .what'
    """
    try:
        found = diagnosis(deep=deep)
        status = worst(found)
    except (Unreachable, NotPermitted) as error:
        found = list(unreached(error, os.environ))
        status = _UNREACHED if isinstance(error, Unreachable) else 5
    if as_json:
        print_json([one._asdict() for one in found])
    else:
        _tell(found)
    return status


def diagnosis(*, deep: bool) -> list[Finding]:
    """All findings about the daemon that answers, and about the machine where it can be looked at. Raises ``Unreachable``."""
    asked = client()
    status = asked.get("/v1/status")
    try:
        letters = asked.get("/v1/dead-letters", {"limit": _LETTERS})
    except Overloaded:
        letters = []  # what is wrong with the store is among the status's own warnings
    found = examine(status, letters, now=datetime.now(UTC))
    if state_dir := _state_dir(asked.get("/v1/config")):
        found += around(Path(state_dir))
    if deep:
        report = asked.post("/v1/verify", timeout=_VERIFY_SECONDS)
        do = "restore a backup: cdmd restore FILE, with the daemon stopped"
        found += [Finding("problem", "damage", problem, do) for problem in report["problems"]]
    return sorted(found, key=lambda one: one.severity != "problem")


def _state_dir(config: Any) -> str | None:
    found = config.get("daemon", {}).get("state_dir") if isinstance(config, dict) else None
    return found if isinstance(found, str) else None


def _tell(findings: list[Finding]) -> None:
    if not findings:
        note("all is well")
    for one in findings:
        colour = "red" if one.severity == "problem" else "yellow"
        click.echo(f"{click.style(one.severity, fg=colour)}  {clean(one.about)}: {clean(one.what)}")
        click.echo(f"         {clean(one.do)}")
