"""The commands of ``cdmctl`` about audiences. What may be seen is the daemon's to decide."""

import sys
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import quote

import click

from cdmd.cli.connection import audience_names, client, prints_data, talks
from cdmd.cli.drawing import Table
from cdmd.cli.lazy import Entry, LazyGroup
from cdmd.cli.terminal import cell, note, print_json, print_pairs, print_table

_HERE: Final = "cdmd.cli.control_audiences"
_TRYING: Final = 120.0


@click.command
@talks
@prints_data
def audiences(as_json: bool) -> None:
    r"""Audiences: how many are in, and how far they are computed.

    \b
    cdmctl audiences
    cdmctl audiences --json | jq '.[] | {name, members}'
    """
    rows = client().get("/v1/audiences")
    if as_json:
        print_json(rows)
        return
    headers = ("name", "members", "since", "computed", "missing", "failed", "condition", "error")
    print_table(Table("audiences", headers, [_row(row) for row in rows], ("since", "missing", "condition")))


@click.group(
    cls=LazyGroup,
    entries={
        "members": Entry(f"{_HERE}:members", "Who is in, as JSON Lines with --json."),
        "changes": Entry(f"{_HERE}:changes", "Who entered and left last, and why."),
        "try": Entry(f"{_HERE}:attempt", "Count whom a condition would hold for; nothing is saved (admins)."),
    },
)
def audience() -> None:
    """One audience: members, changes; try a condition."""


@click.command("members")
@click.argument("name", shell_complete=audience_names)
@click.option("--limit", type=click.IntRange(1), help="How many at most; all of them where nothing is said.")
@talks
@prints_data
def members(name: str, limit: int | None, as_json: bool) -> None:
    r"""Who is in, as JSON Lines with --json.

    Admins see identifiers; readers see their kinds.

    \b
    cdmctl audience members warranty_offer
    cdmctl audience members warranty_offer --json | jq -r .profile
    """
    count = 0
    for row in _members(name, limit):
        count += 1
        if as_json:
            print_json(row, line=True)
        else:
            said = ", ".join(f"{one['kind']}:{one['value']}" for one in row["identifiers"])
            click.echo(f"{cell(row['profile'])}  {cell(row['since'])}  {cell(said)}")
    if not count:
        note("no members")


@click.command("changes")
@click.argument("name", required=False, shell_complete=audience_names)
@click.option("--limit", type=click.IntRange(1, 10_000), default=100, show_default=True, help="How many of the newest.")
@talks
@prints_data
def changes(name: str | None, limit: int, as_json: bool) -> None:
    r"""Who entered and left last, and why.

    \b
    cdmctl audience changes
    cdmctl audience changes warranty_offer --limit 20
    """
    rows = client().get("/v1/audience-changes", {"audience": name, "limit": limit})
    if as_json:
        print_json(rows)
        return
    columns = ("time", "type", "audience", "profile", "reason")
    print_table(Table("changes", columns, [[row[column] for column in columns] for row in rows]))


@click.command("try")
@click.argument("where", metavar="CEL")
@click.option("--sample", type=click.IntRange(0, 1000), default=10, show_default=True, help="How many of them to show.")
@talks
@prints_data
def attempt(where: str, sample: int, as_json: bool) -> None:
    r"""Count whom a condition would hold for; nothing is saved (admins).

    \b
    cdmctl audience try 'indicators.tv_hours >= 10000.0'
    cdmctl audience try 'profile.traits.vip == true' --json
    """
    total = _tried(where, sample, quiet=as_json or not sys.stderr.isatty())
    if as_json:
        print_json(total)
        return
    names = {"profiles": "profiles", "matched": "it holds for", "missing": "false for want of a value", "failed": "failed"}
    print_pairs((label, total[name]) for name, label in names.items())
    if total["error"]:
        note(total["error"])
    for row in total["sample"]:
        said = ", ".join(f"{one['kind']}:{one['value']}" for one in row["identifiers"])
        click.echo(f"{cell(row['profile'])}  {cell(said)}")


def _tried(where: str, sample: int, *, quiet: bool) -> dict[str, Any]:
    asked, after = client(timeout=_TRYING), 0
    total: dict[str, Any] = {"profiles": 0, "matched": 0, "missing": 0, "failed": 0, "error": None, "sample": []}
    while True:
        page = asked.post("/v1/audience-try", {"where": where, "after": after, "sample": sample - len(total["sample"])})
        for name in ("profiles", "matched", "missing", "failed"):
            total[name] += page[name]
        total["error"] = total["error"] or page["error"]
        total["sample"] += page["sample"]
        if page["next"] is None:
            return total
        after = page["next"]
        if not quiet:
            note(f"{total['profiles']} profiles looked at, it holds for {total['matched']}")


def _members(name: str, limit: int | None) -> Iterator[Mapping[str, Any]]:
    asked, after, left = client(), 0, limit
    while True:
        page = asked.get(f"/v1/audiences/{quote(name, safe='')}/members", {"after": after, "limit": min(1000, left or 1000)})
        yield from page["members"]
        left = None if left is None else left - len(page["members"])
        if page["next"] is None or left == 0:
            return
        after = page["next"]


def _row(row: Mapping[str, Any]) -> list[Any]:
    return [
        *(row[name] for name in ("name", "members", "since")),
        f"{row['computed']:.0%}",
        *(row[name] for name in ("missing", "failed", "where", "error")),
    ]
