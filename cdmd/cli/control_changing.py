"""The commands of ``cdmctl`` that change or examine the running daemon; every one leaves an audit row there."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from cdmd.cli.connection import client, connector_names, prints_data, talks
from cdmd.cli.drawing import Table
from cdmd.cli.running import FAILED
from cdmd.cli.terminal import clean, note, print_json, print_table
from cdmd.kit.measures import size
from cdmd.kit.quantities import Duration

_LONG = 3600.0
"""Seconds that a reload, a backup or a verification may be silent."""


@click.command
@click.argument("name", shell_complete=connector_names)
@talks
@prints_data
def pause(name: str, as_json: bool) -> None:
    r"""Hold a connector back, over restarts.

    \b
    cdmctl pause crm
    """
    tell(client().post(connector_path(name, "pause")), as_json=as_json)


@click.command
@click.argument("name", shell_complete=connector_names)
@talks
@prints_data
def resume(name: str, as_json: bool) -> None:
    """Let a paused connector go on from where it was."""
    tell(client().post(connector_path(name, "resume")), as_json=as_json)


@click.command
@click.argument("name", shell_complete=connector_names)
@talks
@prints_data
def poll(name: str, as_json: bool) -> None:
    r"""Let a pull connector look now.

    A file that is seen for the first time is read once it has stayed the same for `stable_for`, 30 s by default.

    \b
    cdmctl poll customers && cdmctl files list --connector customers
    """
    tell(client().post(connector_path(name, "poll")), as_json=as_json)


@click.command
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@talks
@prints_data
def forget(name: str, yes: bool, as_json: bool) -> None:
    r"""Drop the state of one that left the configuration.

    \b
    cdmctl connectors forget old-shop --yes
    """
    confirm(f"Drop all that is remembered of {clean(name)}? Should it come back, it starts from nothing.", yes=yes)
    tell(client().post(connector_path(name, "forget")), as_json=as_json)


@click.command
@click.option("--wait", is_flag=True, hidden=True, help="It always waits.")
@talks
@prints_data
def reload(wait: bool, as_json: bool) -> int:
    r"""Apply a changed configuration, connector by connector and target by target.

    Says of each whether it was started, restarted, stopped, left as it is (unchanged), or failed, and why.
    With a mistake in it the old one stays in force and the exit status is 6.

    \b
    cdmctl reload && echo applied
    """
    report = client().post("/v1/reload", timeout=_LONG)
    # A daemon of an earlier version does not speak of targets.
    changed = [(kind, row) for kind in ("connector", "target") for row in report.get(f"{kind}s", ())]
    if as_json:
        print_json(report)
    else:
        rows = [[kind, row["name"], row["verdict"], row["problem"]] for kind, row in changed]
        print_table(Table("connectors and targets", ("kind", "name", "verdict", "problem"), rows))
        for text in report["warnings"]:
            note(f"warning: {text}")
        for text in report["problems"]:
            note(text)
    failed = any(row["verdict"] == "failed" for _, row in changed)
    return FAILED if failed or report["problems"] else 0


@click.command("log-level")
@click.argument("level", type=click.Choice(["debug", "info", "warning", "error"]))
@click.option("--for", "span", metavar="DURATION", help="Go back to the configured level after this time (10m, 1h).")
@talks
@prints_data
def log_level(level: str, span: str | None, as_json: bool) -> None:
    r"""Log more or less, for a while or until told otherwise.

    \b
    cdmctl log-level debug --for 10m
    """
    try:
        seconds = None if span is None else Duration.parse(span).seconds
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--for") from error
    tell(client().post("/v1/log-level", {"level": level, "seconds": seconds}), as_json=as_json)


@click.command
@click.argument("file")
@talks
@prints_data
def backup(file: str, as_json: bool) -> None:
    r"""Write a backup while the daemon runs.

    The daemon writes it, so FILE must be where its user may write; it never overwrites. The digest key is not in it: copy
    keys/digest.key of the state directory once, and keep it apart.

    \b
    cdmctl backup /var/lib/cdmd/backup-monday
    """
    report = client().post("/v1/backup", {"path": str(Path(file).absolute())}, timeout=_LONG)
    if as_json:
        print_json(report)
    else:
        note(f"wrote {report['path']} ({size(report['bytes'])})")


@click.command
@talks
@prints_data
def verify(as_json: bool) -> int:
    """Check journal and store while the daemon runs.

    The exit status is 1 when something is damaged.
    """
    report = client().post("/v1/verify", timeout=_LONG)
    if as_json:
        print_json(report)
    elif report["whole"]:
        note("journal and store are whole")
    else:
        for problem in report["problems"]:
            click.echo(clean(problem))
    return 0 if report["whole"] else FAILED


def confirm(question: str, *, yes: bool) -> None:
    """Ask unless ``--yes`` was given; refuse where nobody can answer."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError("nobody is there to confirm this: add --yes")
    click.confirm(question, abort=True, err=True)


def connector_path(name: str, action: str) -> str:
    """Where the daemon takes that action on that connector. Raises ``click.BadParameter``."""
    from urllib.parse import quote

    if not name or name in {".", ".."} or "/" in name:
        raise click.BadParameter(f"{clean(name)!r} is not a connector's name", param_hint="NAME")
    return f"/v1/connectors/{quote(name, safe='', errors='replace')}/{action}"


def tell(done: Mapping[str, Any], *, as_json: bool) -> None:
    """Say what was done, on stderr because it is no data; warnings with it."""
    if as_json:
        print_json(done)
    else:
        parts = [str(done[key]) for key in ("done", "name") if done[key] is not None]
        note(" ".join(parts) + ("" if done["count"] is None else f": {done['count']}"))
    if done["warning"]:
        note(f"warning: {done['warning']}")
