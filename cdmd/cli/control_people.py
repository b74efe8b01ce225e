"""The commands of ``cdmctl`` about who is who. What may be seen is the daemon's to decide."""

from collections.abc import Mapping
from typing import Any

import click

from cdmd.cli.connection import client, prints_data, talks
from cdmd.cli.terminal import Table, note, print_json, print_table


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
    click.echo(found["summary"])
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
