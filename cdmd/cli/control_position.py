"""``cdmctl position``: where a connector's streams stand, and how one goes on elsewhere."""

from typing import Any

import click

from cdmd.cli.connection import client, connector_names, prints_data, talks
from cdmd.cli.control_changing import confirm, tell
from cdmd.cli.drawing import Table
from cdmd.cli.terminal import clean, print_json, print_table
from cdmd.errors import NotFound

_SHELF = "/v1/shelves/positions"
_HEADERS = ("connector", "stream", "state", "position", "asks from")


@click.command
@click.argument("name", metavar="NAME[.STREAM]", shell_complete=connector_names)
@click.option(
    "--set", "to", metavar="POSITION", help="Go on there: a time (RFC 3339), a number or a text, as its `since` says."
)
@click.option("--reset", is_flag=True, help="Begin all over, at its `initial`.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@talks
@prints_data
def position(name: str, to: str | None, reset: bool, yes: bool, as_json: bool) -> None:
    r"""Where the streams of an API stand; let one go on elsewhere.

    It is moved only while its connector is paused. What comes again has no second effect; what is skipped stays missing.

    \b
    cdmctl position crm
    cdmctl pause crm && cdmctl position crm.contacts --set 2026-01-01T00:00:00Z && cdmctl resume crm
    cdmctl position crm.contacts --reset
    """
    if to is not None and reset:
        raise click.UsageError("--set and --reset exclude each other")
    connector, _, stream = name.partition(".")
    rows = [row for row in client().get(_SHELF, {"connector": connector}) if stream in {"", row["name"]}]
    if not rows and stream:
        raise NotFound(f"{clean(connector)} has no stream {clean(stream)!r} with a position")
    if to is None and not reset:
        _show(rows, as_json=as_json)
        return
    if len(rows) != 1:
        these = ", ".join(f"{connector}.{row['name']}" for row in rows)
        raise click.UsageError(f"say which stream: {clean(these)}")
    named = f"{clean(connector)}.{clean(rows[0]['name'])}"
    what = "begin all over" if reset else f"go on at {clean(to or '')}"
    confirm(f"Let {named} {what} at its next look? It stands at {clean(rows[0]['position'])}.", yes=yes)
    names = [rows[0]["name"] if reset else f"{rows[0]['name']}={to}"]
    path = f"{_SHELF}/{'reset' if reset else 'set'}"
    tell(client().post(path, {"names": names, "connector": connector}), as_json=as_json)


def _show(rows: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        print_json(rows)
        return
    cells = [[row["connector"], row["name"], row["state"], row["position"], row["asks_from"]] for row in rows]
    print_table(Table("positions", _HEADERS, cells))
