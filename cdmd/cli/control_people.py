"""The commands of ``cdmctl`` about who is who. What may be seen is the daemon's to decide."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import click

from cdmd.cli.connection import client, prints_data, talks
from cdmd.cli.drawing import Table
from cdmd.cli.terminal import cell, clean, note, print_json, print_table

_SEARCHING: Final = 120.0
_PAGE: Final = 1000


@click.command("of")
@click.argument("identifier", metavar="KIND:VALUE")
@click.option("--type", "glob", metavar="GLOB", help="Only types that match (order.*).")
@click.option("--limit", type=click.IntRange(1, 2000), default=100, show_default=True, help="How many at most.")
@talks
@prints_data
def events_of(identifier: str, glob: str | None, limit: int, as_json: bool) -> None:
    r"""One customer's events, the newest first.

    Among the newest 2,000; all of them are in `cdmctl profile export`. Readers see them redacted. JSON Lines with --json.

    \b
    cdmctl events of email:joe@example.com
    cdmctl events of customer_no:4711 --type 'order.*' --json | jq .event.data
    """
    rows = client().get("/v1/profile/events", {"identifier": identifier, "type": glob, "limit": limit})
    if as_json:
        for row in rows:
            print_json(row, line=True)
        return
    shown = [[row["time"], row["event"]["type"], row["event"]["source"], row["event"]["id"], row["rule"]] for row in rows]
    if not shown:
        note("no events")
        return
    print_table(Table("events", ("time", "type", "source", "id", "rule"), shown))


@click.command("find")
@click.argument("text", required=False)
@click.option("--trait", metavar="NAME=VALUE", help="By a trait instead, letter case aside (admins).")
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="How many at most.")
@talks
@prints_data
def find(text: str | None, trait: str | None, limit: int, as_json: bool) -> None:
    r"""Who it may be: by id, identifier, beginning or trait.

    Readers find by id and whole identifier, redacted; a beginning ends with * and is for admins. JSON Lines with --json.

    \b
    cdmctl profile find joe@example.com
    cdmctl profile find 'email:joe@*'
    cdmctl profile find --trait city=Lund --json
    """
    if (text is None) == (trait is None):
        raise click.UsageError("say what to look for, or --trait NAME=VALUE")
    count = 0
    for row in _found({"text": text, "trait": trait}, limit):
        count += 1
        if as_json:
            print_json(row, line=True)
        else:
            click.echo(f"{cell(row['profile'])}  {cell(row['updated'])}  {cell(_named(row['identifiers']))}")
    if not count:
        note("nobody was found")


def _found(asked: Mapping[str, str | None], limit: int) -> Iterator[Mapping[str, Any]]:
    asking, after, left = client(timeout=_SEARCHING), "", limit
    while left > 0:
        page = asking.get("/v1/profiles", {**asked, "after": after or None, "limit": min(left, _PAGE)})
        yield from page["profiles"]
        left -= len(page["profiles"])
        if page["next"] is None:
            return
        after = page["next"]


@click.command("export")
@click.argument("identifier", metavar="KIND:VALUE")
@talks
@prints_data
def export(identifier: str, as_json: bool) -> None:
    r"""Everything that is held about one person, as JSON Lines (admins).

    Each line has a type; the last one is a summary with how many of each there were, and with what was not searched.

    \b
    cdmctl profile export email:joe@example.com > joe.jsonl
    cdmctl profile export customer_no:4711 | jq -c 'select(.type == "trait")'
    """
    for line in client().stream("/v1/profile/export", {"identifier": identifier}):
        print_json(line, line=True)


@click.command("explain")
@click.argument("first", metavar="KIND:VALUE")
@click.argument("second", metavar="KIND:VALUE")
@talks
@prints_data
def explain(first: str, second: str, as_json: bool) -> None:
    r"""Why two identifiers are one person, or what kept them apart.

    \b
    cdmctl profile explain email:joe@example.com customer_no:4711
    cdmctl profile explain anonymous_id:a1 user_id:u2 --json
    """
    found = client().get("/v1/profile/explain", {"first": first, "second": second})
    if as_json:
        print_json(found)
        return
    click.echo(clean(found["summary"]))
    columns = ("kind", "value", "profile", "first_seen", "source")
    _table("identifiers", columns, [[row[name] for name in columns] for row in found["identifiers"]])
    _table("steps", ("from", "to", "time", "source", "event", "type", "rule"), [_step(link) for link in found["chain"]])
    refused = ("time", "source", "event", "type", "rule", "identifiers")
    _table("refusals", refused, [[*_event(row), _named(row["identifiers"])] for row in found["refusals"]])
    if not found["complete"]:
        note("there were more events than are looked at: the newest of each profile were")


def _table(title: str, columns: tuple[str, ...], rows: list[list[Any]]) -> None:
    if rows:
        click.echo(f"\n{title}")
        print_table(Table(title, [column.replace("_", " ") for column in columns], rows))


def _step(link: Mapping[str, Any]) -> list[Any]:
    event = [None, None, None, None, "a digest of the other"] if link["event"] is None else _event(link["event"])
    return [_named([link["from"]]), _named([link["to"]]), *event]


def _event(row: Mapping[str, Any]) -> list[Any]:
    return [row["time"], row["source"], row["id"], row["type"], row["rule"]]


def _named(identifiers: list[Mapping[str, str]]) -> str:
    return ", ".join(f"{one['kind']}:{one['value']}" for one in identifiers)
