"""``cdmctl files``: every file that was seen, what became of it, and what to do with it."""

from collections.abc import Mapping
from typing import Any

import click

from cdmd.cli.connection import client, connector_names, prints_data, talks
from cdmd.cli.control_changing import tell
from cdmd.cli.lazy import Entry, LazyGroup
from cdmd.cli.terminal import Table, print_json, print_table, size

_HERE = "cdmd.cli.control_files"
_HEADERS = ("connector", "name", "state", "records", "bad", "size", "since", "remark")
_OPTIONAL = ("size", "since", "bad", "connector")


def _filters(command: Any) -> Any:
    for decorate in (
        click.option("--limit", type=click.IntRange(1, 10_000), default=100, show_default=True, help="How many of each."),
        click.option("--state", metavar="STATE", help="Only those in this state (settling, quarantined, done ...)."),
        click.option("--connector", metavar="NAME", shell_complete=connector_names, help="Only this connector's."),
    ):
        command = decorate(command)
    return command


def _names(command: Any) -> Any:
    for decorate in (
        prints_data,
        talks,
        click.option("--connector", metavar="NAME", shell_complete=connector_names, help="Whose, where several have files."),
        click.argument("names", metavar="NAME...", nargs=-1, required=True),
    ):
        command = decorate(command)
    return command


@click.group(
    cls=LazyGroup,
    invoke_without_command=True,
    entries={
        "list": Entry(f"{_HERE}:file_list", "List them: on their way, in need of a look, then the newest."),
        "retry": Entry(f"{_HERE}:file_retry", "Read files again that were stopped, skipped or gone."),
        "skip": Entry(f"{_HERE}:file_skip", "Never read files that are on their way."),
        "replay": Entry(f"{_HERE}:file_replay", "Read files again that were read; what is known has no second effect."),
    },
)
@talks
@prints_data
@click.pass_context
def files(ctx: click.Context, as_json: bool) -> None:
    r"""Files of suppliers: list, retry, skip, replay.

    Names are written as the list shows them: what is no printable text as \\xNN.

    \b
    cdmctl files list --connector supplier --state quarantined
    cdmctl files retry customers_2026-11-23.csv
    cdmctl files skip broken.csv --connector supplier
    """
    if ctx.invoked_subcommand is None:
        _list({}, as_json=as_json)


@click.command("list")
@_filters
@talks
@prints_data
def file_list(connector: str | None, state: str | None, limit: int, as_json: bool) -> None:
    """List them: on their way, in need of a look, then the newest."""
    _list({"connector": connector, "state": state, "limit": limit}, as_json=as_json)


@click.command("retry")
@_names
def file_retry(names: tuple[str, ...], connector: str | None, as_json: bool) -> None:
    r"""Read files again that were stopped, skipped or gone.

    \b
    cdmctl files retry customers_2026-11-23.csv
    """
    _tell("retry", names, connector, as_json=as_json)


@click.command("skip")
@_names
def file_skip(names: tuple[str, ...], connector: str | None, as_json: bool) -> None:
    """Never read files that are on their way."""
    _tell("skip", names, connector, as_json=as_json)


@click.command("replay")
@_names
def file_replay(names: tuple[str, ...], connector: str | None, as_json: bool) -> None:
    """Read files again that were read; what is known has no second effect."""
    _tell("replay", names, connector, as_json=as_json)


def _tell(command: str, names: tuple[str, ...], connector: str | None, *, as_json: bool) -> None:
    body = {"names": list(names), "connector": connector}
    tell(client().post(f"/v1/shelves/files/{command}", body), as_json=as_json)


def _list(query: dict[str, Any], *, as_json: bool) -> None:
    rows = client().get("/v1/shelves/files", query)
    if as_json:
        print_json(rows)
    else:
        print_table(Table("files", _HEADERS, [_row(row) for row in rows], _OPTIONAL))


def _row(row: Mapping[str, Any]) -> list[Any]:
    read, records = row.get("record"), row.get("records")
    counted = None if not records else f"{read} of {records}" if read != records else records
    amount = row.get("bytes")
    remark = (
        "; ".join(str(row[key]) for key in ("progress", "reason", "after", "dated") if row.get(key) and row[key] != "kept")
        or None
    )
    return [
        row["connector"], row["name"], row["state"], counted, row.get("bad"), None if amount is None else size(amount),
        row.get("since"), remark,
    ]  # fmt: skip
