"""The commands of ``cdmctl`` that look at events and customers. What may be seen is the daemon's to decide."""

import sys
import threading
from collections.abc import Iterator, Mapping
from typing import Any, Final

import click

from cdmd.cli.connection import client, connector_names, prints_data, talks
from cdmd.cli.drawing import Table
from cdmd.cli.lazy import Entry, LazyGroup
from cdmd.cli.running import until_interrupted
from cdmd.cli.terminal import cell, clean, note, print_json, print_pairs, print_table, span
from cdmd.control.client import Client
from cdmd.errors import Unreachable

_HERE = "cdmd.cli.control_records"
_RETRY_SECONDS: Final = 0.5
_PRIVACY = "cdmd.cli.control_privacy"
_PEOPLE = "cdmd.cli.control_people"


@click.command
@click.option("--connector", metavar="NAME", shell_complete=connector_names, help="Only this connector's events.")
@click.option("--type", "glob", metavar="GLOB", help="Only types that match (order.*).")
@click.option("--stage", metavar="STAGE", help="Only at this stage: accepted, extended, failed, applied, parked, dead ...")
@click.option("--reveal", is_flag=True, help="With personal data (admins; leaves an audit row).")
@click.option("--reattach/--once", default=None, help="Go on after a restart of the daemon, or end with it.")
@talks
@prints_data
def tail(
    connector: str | None, glob: str | None, stage: str | None, reveal: bool, reattach: bool | None, as_json: bool
) -> None:
    r"""Live events, redacted unless revealed.

    On a terminal it waits for a daemon that is restarted and goes on; in a pipe it ends with the daemon.

    \b
    cdmctl tail --type 'order.*'
    cdmctl tail --connector shop --json | jq .event.id
    """
    query = {"connector": connector, "type": glob, "stage": stage, "reveal": reveal}
    again = sys.stdout.isatty() if reattach is None else reattach
    with until_interrupted():
        for line in _attached(client(), query) if again else client().stream("/v1/tail", query):
            if as_json:
                print_json(line, line=True)
            else:
                _print_line(line, reveal=reveal)


def _attached(asked: Client, query: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The stream, and after each end of the daemon the next one. What happens between two daemons is not in it."""
    never, waiting = threading.Event(), False
    asked.get("/v1/status")
    while True:
        try:
            for line in asked.stream("/v1/tail", query):
                waiting = False
                yield line
        except Unreachable:
            pass
        if not waiting:
            note("the daemon went away; waiting until it is there again")
        waiting = True
        never.wait(_RETRY_SECONDS)


@click.group(
    cls=LazyGroup,
    entries={
        "show": Entry(f"{_HERE}:event_show", "What became of the event of that id."),
        "of": Entry(f"{_PEOPLE}:events_of", "One customer's events, the newest first."),
    },
)
def events() -> None:
    """The way of one event."""


@click.command("show")
@click.argument("id")
@click.option("--source", metavar="NAME", help="Only the occurrence of this source (connector, or connector.stream).")
@click.option("--reveal", is_flag=True, help="With personal data (admins; leaves an audit row).")
@talks
@prints_data
def event_show(id: str, source: str | None, reveal: bool, as_json: bool) -> None:  # noqa: A002 - the field's own name
    r"""What became of the event of that id.

    \b
    cdmctl events show evt-1
    cdmctl events show evt-1 --source shop --json
    """
    found = client().get("/v1/event", {"id": id, "source": source, "reveal": reveal})
    if as_json:
        print_json(found)
        return
    for trace in found["traces"]:
        said = [("event", trace["id"]), ("source", trace["source"]), ("state", trace["state"])]
        print_pairs(said if trace["state"] == "applied" else [*said, ("because", trace["summary"])])
        click.echo()
        rows = [[step["step"], _when(step), step["text"]] for step in trace["steps"]]
        print_table(Table("steps", ("step", "when", "what"), rows))
        _print_event(trace["event"])


@click.group(
    cls=LazyGroup,
    entries={
        "show": Entry(f"{_HERE}:profile_show", "The customer who has this identifier."),
        "find": Entry(f"{_PEOPLE}:find", "Who it may be: by id, identifier, beginning or trait."),
        "export": Entry(f"{_PEOPLE}:export", "Everything that is held about one person, as JSON Lines (admins)."),
        "explain": Entry(f"{_PEOPLE}:explain", "Why two identifiers are one person, or what kept them apart."),
        "erase": Entry(f"{_PRIVACY}:erase", "Erase one person, from every file (admins)."),
        "suppress": Entry(f"{_PRIVACY}:suppress", "Keep nothing any more of whoever has this identifier."),
        "unsuppress": Entry(f"{_PRIVACY}:unsuppress", "Take a suppression back, of this one identifier."),
        "restrict": Entry(f"{_PRIVACY}:restrict", "Store a customer and use nothing of them (admins)."),
        "unrestrict": Entry(f"{_PRIVACY}:unrestrict", "Use a restricted customer again (admins)."),
        "split": Entry("cdmd.cli.control_identity:split", "Two people of one: undo a merge, for good (admins)."),
    },
)
def profile() -> None:
    """One customer."""


@click.command("show")
@click.argument("identifier", metavar="KIND:VALUE")
@click.option("--activities", type=click.IntRange(0, 1000), default=20, show_default=True, help="How many of the newest.")
@talks
@prints_data
def profile_show(identifier: str, activities: int, as_json: bool) -> None:
    r"""The customer who has this identifier.

    Admins see everything (and leave an audit row); readers see it redacted.

    \b
    cdmctl profile show email:joe@example.com
    cdmctl profile show customer_no:4711 --json
    """
    found = client().get("/v1/profile", {"identifier": identifier, "activities": activities})
    if as_json:
        print_json(found)
        return
    said = [("profile", found["id"]), ("created", found["created"]), ("updated", found["updated"])]
    print_pairs([*said, ("restricted", "stored, and not used")] if found.get("restricted") else said)
    kinds = ("kind", "value", "first_seen", "last_seen", "source")
    _section("identifiers", kinds, [[row[key] for key in kinds] for row in found["identifiers"]], optional=("first seen",))
    told = {key: found["trait_sources"].get(key, {}) for key in found["traits"]}
    traits = [[key, value, told[key].get("time"), told[key].get("source")] for key, value in found["traits"].items()]
    _section("traits", ("name", "value", "time", "source"), traits)
    about = set(found.get("estimated", ()))
    values = [[key, f"about {value}" if key in about else value] for key, value in found["indicators"].items()]
    _section("indicators", ("name", "value"), values)
    if found["audiences"]:
        click.echo("\naudiences\n" + "\n".join(clean(name) for name in found["audiences"]))
    shown = ("time", "type", "source", "id", "data")
    _section("activities", shown, [[row[key] for key in shown] for row in found["activities"]])


def _section(title: str, headers: tuple[str, ...], rows: list[list[Any]], *, optional: tuple[str, ...] = ()) -> None:
    if rows:
        click.echo(f"\n{title}")
        print_table(Table(title, [header.replace("_", " ") for header in headers], rows, optional))


def _print_line(line: Mapping[str, Any], *, reveal: bool) -> None:
    if line["lost"]:
        note(f"{line['lost']} not shown: they came faster than they could be sent")
    event = line["event"]
    parts = [line["time"], line["stage"], event["source"], event["type"], event["id"], line["detail"] or ""]
    if reveal:
        parts += [event[key] for key in ("identifiers", "traits", "data")]
    click.echo(" ".join(cell(part) for part in parts if part != ""))


def _when(step: Mapping[str, Any]) -> str | None:
    return step["time"] if step["seconds"] is None else f"took {span(step['seconds'])}"


def _print_event(event: Mapping[str, Any] | None) -> None:
    if event is not None:
        click.echo()
        print_pairs((key, event[key]) for key in ("type", "identifiers", "traits", "data"))
