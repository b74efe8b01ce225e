"""``cdmctl snapshot``: the register that was applied last, and removals that wait for somebody to approve them."""

from collections.abc import Mapping
from typing import Any

import click

from cdmd.cli.connection import client, connector_names, prints_data, talks
from cdmd.cli.control_changing import confirm, tell
from cdmd.cli.drawing import Table
from cdmd.cli.lazy import Entry, LazyGroup
from cdmd.cli.terminal import clean, print_json, print_table

_HERE = "cdmd.cli.control_snapshots"
_COUNTS = ("added", "changed", "removed", "restored")
_HEADERS = ("connector", "name", "state", "rows", *_COUNTS, "held", "since", "remark")


@click.group(
    cls=LazyGroup,
    invoke_without_command=True,
    entries={
        "approve": Entry(f"{_HERE}:approve", "Carry out the removals that are held."),
        "reject": Entry(f"{_HERE}:reject", "Keep the rows whose removal is held."),
    },
)
@talks
@prints_data
@click.pass_context
def snapshot(ctx: click.Context, as_json: bool) -> None:
    r"""Registers of suppliers: the last one applied, approve, reject.

    \b
    cdmctl snapshot
    cdmctl snapshot approve supplier
    """
    if ctx.invoked_subcommand is not None:
        return
    rows = client().get("/v1/shelves/snapshots")
    if as_json:
        print_json(rows)
    else:
        print_table(Table("registers", _HEADERS, [_row(row) for row in rows], ("since", *_COUNTS[::-1])))


@click.command("approve")
@click.argument("connector", shell_complete=connector_names)
@click.option("--yes", is_flag=True, help="Do not ask.")
@talks
@prints_data
def approve(connector: str, yes: bool, as_json: bool) -> None:
    r"""Carry out the removals that are held.

    \b
    cdmctl snapshot approve supplier --yes
    """
    held = _held(connector)
    confirm(f"Remove {held['held']} of {held['rows']} rows of {clean(connector)} ({clean(held['reason'])})?", yes=yes)
    _tell("approve", connector, held, as_json=as_json)


@click.command("reject")
@click.argument("connector", shell_complete=connector_names)
@talks
@prints_data
def reject(connector: str, as_json: bool) -> None:
    """Keep the rows whose removal is held.

    The next register decides anew.
    """
    _tell("reject", connector, _held(connector), as_json=as_json)


def _held(connector: str) -> Mapping[str, Any]:
    rows = client().get("/v1/shelves/snapshots", {"connector": connector, "state": "held"})
    if not rows:
        raise click.ClickException(f"no removals of {clean(connector)} wait for approval")
    found: Mapping[str, Any] = rows[0]
    return found


def _tell(command: str, connector: str, held: Mapping[str, Any], *, as_json: bool) -> None:
    # By its run: another register may have come in its place by now, of the same name, or the same one again after another.
    body = {"names": [held.get("run", held["name"])], "connector": connector}
    tell(client().post(f"/v1/shelves/snapshots/{command}", body, timeout=600.0), as_json=as_json)


def _row(row: Mapping[str, Any]) -> list[Any]:
    counts = [row.get(key) for key in _COUNTS]
    return [row["connector"], row["name"], row["state"], row["rows"], *counts, row["held"], row["since"], row["reason"]]
