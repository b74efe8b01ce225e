"""``cdmctl dead-letters``: what was set aside, why, and what to do with it."""

from collections.abc import Mapping
from typing import Any

import click

from cdmd.cli.bulk import MOST, Found, among, in_steps, rehearses, would
from cdmd.cli.connection import client, connector_names, prints_data, talks
from cdmd.cli.control_changing import confirm, tell
from cdmd.cli.drawing import Table
from cdmd.cli.lazy import Entry, LazyGroup
from cdmd.cli.terminal import clean, print_json, print_pairs, print_table

_HERE = "cdmd.cli.control_letters"
_COLUMNS = ("seq", "since", "source", "type", "id", "stage", "code", "message", "attempts")
_CAUSE = ("connector", "code")
_OPTIONAL = ("attempts", "stage", "id", "code", "type", "source")


def _filters(command: Any) -> Any:
    for decorate in (
        click.option("--code", metavar="CODE", help="Only those with this fault."),
        click.option("--type", "glob", metavar="GLOB", help="Only types that match (order.*)."),
        click.option("--connector", metavar="NAME", shell_complete=connector_names, help="Only this connector's."),
    ):
        command = decorate(command)
    return command


def _selects(command: Any) -> Any:
    for decorate in (
        prints_data,
        talks,
        rehearses,
        click.option("--yes", is_flag=True, help="Do not ask."),
        click.option("--all", "everything", is_flag=True, help="All of them."),
        _filters,
        click.argument("numbers", metavar="[SEQ]...", nargs=-1, type=click.IntRange(1)),
    ):
        command = decorate(command)
    return command


@click.group(
    cls=LazyGroup,
    invoke_without_command=True,
    entries={
        "list": Entry(f"{_HERE}:letter_list", "List them with their reasons."),
        "show": Entry(f"{_HERE}:letter_show", "Show one."),
        "retry": Entry(f"{_HERE}:letter_retry", "Send them through again with today's configuration."),
        "discard": Entry(f"{_HERE}:letter_discard", "Remove them for good."),
    },
)
@talks
@prints_data
@click.pass_context
def dead_letters(ctx: click.Context, as_json: bool) -> None:
    r"""Events set aside: list, show, retry, discard.

    \b
    cdmctl dead-letters list --connector shop
    cdmctl dead-letters show 17
    cdmctl dead-letters retry 17 18
    cdmctl dead-letters discard --code mapping --yes
    """
    if ctx.invoked_subcommand is None:
        _list({}, as_json=as_json)


@click.command("list")
@_filters
@click.option("--limit", type=click.IntRange(1, 10_000), default=100, show_default=True, help="How many at most.")
@talks
@prints_data
def letter_list(connector: str | None, glob: str | None, code: str | None, limit: int, as_json: bool) -> None:
    """List them with their reasons."""
    _list({"connector": connector, "type": glob, "code": code, "limit": limit}, as_json=as_json)


@click.command("show")
@click.argument("seq", type=click.IntRange(1))
@click.option("--reveal", is_flag=True, help="With the record (admins; leaves an audit row).")
@talks
@prints_data
def letter_show(seq: int, reveal: bool, as_json: bool) -> None:
    r"""Show one.

    \b
    cdmctl dead-letters show 17 --reveal --json | jq .raw
    """
    found = client().get(f"/v1/dead-letters/{seq}", {"reveal": reveal})
    if as_json:
        print_json(found)
        return
    record = found["raw"] if reveal else f"{found['raw_bytes']} bytes, hidden (--reveal shows it)"
    known = [(key, found["event"][key]) for key in ("identifiers", "traits", "data") if found["event"][key]]
    print_pairs(
        [
            (key, value)
            for key, value in [*found["letter"].items(), *known, ("record", record)]
            if value is not None and value != ""
        ]
    )


@click.command("retry")
@_selects
def letter_retry(numbers: tuple[int, ...], as_json: bool, **said: Any) -> None:
    r"""Send them through again with today's configuration.

    \b
    cdmctl dead-letters retry 17
    cdmctl dead-letters retry --connector shop --dry-run
    cdmctl dead-letters retry --connector shop --yes
    """
    body, text = _selection(numbers, **said)
    if said["dry_run"]:
        would("retried", _those(body), what="dead letters", by=_CAUSE, as_json=as_json)
        return
    if not numbers:
        confirm(f"Retry {text}?", yes=said["yes"])
    _change("retry", body, as_json=as_json)


@click.command("discard")
@_selects
def letter_discard(numbers: tuple[int, ...], as_json: bool, **said: Any) -> None:
    r"""Remove them for good.

    \b
    cdmctl dead-letters discard 17 --yes
    cdmctl dead-letters discard --code null --dry-run
    """
    body, text = _selection(numbers, **said)
    if said["dry_run"]:
        would("discarded", _those(body), what="dead letters", by=_CAUSE, as_json=as_json)
        return
    confirm(f"Discard {text}? Their events are lost.", yes=said["yes"])
    _change("discard", body, as_json=as_json)


def _those(body: dict[str, Any]) -> Found:
    """What the selection finds now. What a source's stream brought is its connector's."""
    query = {key: body.get(key) for key in ("connector", "type", "code")}
    rows: list[dict[str, Any]] = client().get("/v1/dead-letters", {**query, "limit": MOST})
    wanted = body.get("seqs")
    listed = [{**row, "connector": row["source"].partition(".")[0]} for row in rows]
    return among(listed, lambda row: wanted is None or row["seq"] in wanted)


def _change(command: str, body: dict[str, Any], *, as_json: bool) -> None:
    asking = client()

    def some(more: Mapping[str, Any]) -> Mapping[str, Any]:
        done: Mapping[str, Any] = asking.post(f"/v1/dead-letters/{command}", {**body, **more}, timeout=600.0)
        return done

    there = 0 if "seqs" in body else asking.get("/v1/status")["totals"]["dead_letters"]
    tell(in_steps(some, there=there, as_json=as_json), as_json=as_json)


def _selection(
    numbers: tuple[int, ...],
    *,
    connector: str | None,
    glob: str | None,
    code: str | None,
    everything: bool,
    **callers: bool,
) -> tuple[dict[str, Any], str]:
    """What to send, and the same in words."""
    filters = {key: value for key, value in (("connector", connector), ("type", glob), ("code", code)) if value is not None}
    if bool(numbers) + bool(filters) + everything != 1:
        raise click.UsageError("name dead letters by number, or by --connector, --type and --code, or say --all")
    if numbers:
        return {"seqs": list(numbers)}, f"{len(numbers)} dead letters"
    words = " and ".join(f"{key} {clean(value)}" for key, value in filters.items())
    return (filters, f"all dead letters with {words}") if filters else ({"all": True}, "all dead letters")


def _list(query: dict[str, Any], *, as_json: bool) -> None:
    rows = client().get("/v1/dead-letters", query)
    if as_json:
        print_json(rows)
    else:
        print_table(
            Table(
                "dead letters",
                _COLUMNS,
                [[row[column] or None if column in {"type", "id"} else row[column] for column in _COLUMNS] for row in rows],
                _OPTIONAL,
            )
        )
