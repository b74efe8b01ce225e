"""``cdmctl files``: every file that was seen, what became of it, and what to do with it."""

from collections.abc import Mapping, Sequence
from typing import Any

import click

from cdmd.cli.bulk import MOST, among, rehearses, would
from cdmd.cli.connection import client, connector_names, prints_data, talks
from cdmd.cli.control_changing import confirm, tell
from cdmd.cli.drawing import Table
from cdmd.cli.lazy import Entry, LazyGroup
from cdmd.cli.terminal import clean, print_json, print_table
from cdmd.kit.measures import size

_HERE = "cdmd.cli.control_files"
_AT_ONCE = 100
"""Names in one request: each may be long."""

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
        click.option("--yes", is_flag=True, help="Do not ask."),
        rehearses,
        click.option("--state", metavar="STATE", help="All that are in this state (quarantined, stopped, done ...)."),
        click.option("--connector", metavar="NAME", shell_complete=connector_names, help="Whose, where several have files."),
        click.argument("names", metavar="[NAME]...", nargs=-1),
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
def file_retry(names: tuple[str, ...], as_json: bool, **said: Any) -> None:
    r"""Read files again that were stopped, skipped or gone.

    \b
    cdmctl files retry customers_2026-11-23.csv
    cdmctl files retry --state quarantined --connector supplier --dry-run
    """
    _tell("retry", names, as_json=as_json, **said)


@click.command("skip")
@_names
def file_skip(names: tuple[str, ...], as_json: bool, **said: Any) -> None:
    """Never read files that are on their way."""
    _tell("skip", names, as_json=as_json, **said)


@click.command("replay")
@_names
def file_replay(names: tuple[str, ...], as_json: bool, **said: Any) -> None:
    """Read files again that were read; what is known has no second effect."""
    _tell("replay", names, as_json=as_json, **said)


def _tell(
    command: str,
    names: tuple[str, ...],
    *,
    connector: str | None,
    state: str | None,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    if bool(names) == (state is not None):
        raise click.UsageError("name files, or say --state STATE")
    rows: list[Mapping[str, Any]] = []
    if state is not None or dry_run:
        rows = client().get("/v1/shelves/files", {"connector": connector, "state": state, "limit": MOST})
    if dry_run:
        done = {"retry": "read again", "skip": "skipped", "replay": "read once more"}[command]
        found = among(rows, lambda row: not names or row["name"] in names)
        would(done, found, what="files", by=("connector", "state"), as_json=as_json)
        return
    if state is None:
        tell(client().post(f"/v1/shelves/files/{command}", {"names": list(names), "connector": connector}), as_json=as_json)
        return
    confirm(f"{command.capitalize()} {len(rows)} files that are {clean(state)}?", yes=yes)
    _tell_all(command, rows, as_json=as_json)


def _tell_all(command: str, rows: Sequence[Mapping[str, Any]], *, as_json: bool) -> None:
    """Some of a connector's at once: all of those or none."""
    count = 0
    for whose in dict.fromkeys(row["connector"] for row in rows):
        names = [row["name"] for row in rows if row["connector"] == whose]
        for start in range(0, len(names), _AT_ONCE):
            body = {"names": names[start : start + _AT_ONCE], "connector": whose}
            count += client().post(f"/v1/shelves/files/{command}", body)["count"]
    tell({"done": command, "name": None, "count": count, "warning": None}, as_json=as_json)


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
