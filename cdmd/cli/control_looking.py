"""The commands of ``cdmctl`` that look at the daemon as a whole and change nothing."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click

from cdmd import __version__
from cdmd.cli.connection import client, prints_data, talks
from cdmd.cli.drawing import Table
from cdmd.cli.lazy import Entry, LazyGroup
from cdmd.cli.tables import connector_table, plugin_table, stream_table, target_table
from cdmd.cli.terminal import note, print_json, print_pairs, print_table, span
from cdmd.errors import NotFound, Unreachable
from cdmd.kit.measures import several, size


@click.command
@talks
@prints_data
def status(as_json: bool) -> None:
    r"""Health, queue, backlog, connectors, plugins, totals.

    \b
    cdmctl status
    cdmctl status --json | jq .journal.backlog
    """
    document = client().get("/v1/status")
    if as_json:
        print_json(document)
        return
    print_pairs(summary(document))
    for table in _tables(document):
        if table.rows:
            click.echo()
            print_table(table)
    _remarks(document)


@click.group(
    cls=LazyGroup,
    invoke_without_command=True,
    entries={
        "list": Entry("cdmd.cli.control_looking:connector_list", "List the connectors."),
        "forget": Entry("cdmd.cli.control_changing:forget", "Drop the state of one that left the configuration."),
    },
)
@talks
@prints_data
@click.pass_context
def connectors(ctx: click.Context, as_json: bool) -> None:
    r"""List the connectors, or forget one that is gone.

    \b
    cdmctl connectors
    cdmctl connectors forget old-shop --yes
    """
    if ctx.invoked_subcommand is None:
        _connector_list(as_json=as_json)


@click.command("list")
@talks
@prints_data
def connector_list(as_json: bool) -> None:
    """List the connectors."""
    _connector_list(as_json=as_json)


@click.group(
    cls=LazyGroup, entries={"show": Entry("cdmd.cli.control_looking:config_show", "Print it; secrets are references.")}
)
def config() -> None:
    """The effective configuration."""


@click.command("show")
@talks
@prints_data
def config_show(as_json: bool) -> None:
    r"""Print it; secrets are references.

    \b
    cdmctl config show
    cdmctl config show --json | jq .http
    """
    document = client().get("/v1/config")
    if as_json:
        print_json(document)
    else:
        print_pairs(_flat("", document))


@click.command
@talks
def metrics() -> None:
    """Metrics in the Prometheus text format."""
    click.echo(client().text("/v1/metrics"), nl=False)


@click.command
@click.option("--limit", type=click.IntRange(1, 10_000), default=100, show_default=True, help="How many of the newest rows.")
@talks
@prints_data
def audit(limit: int, as_json: bool) -> None:
    r"""Who did what over the control socket.

    \b
    cdmctl audit --limit 20
    """
    rows = client().get("/v1/audit", {"limit": limit})
    if as_json:
        print_json(rows)
        return
    columns = ("time", "user", "role", "command", "arguments", "outcome")
    print_table(Table("audit rows", columns, [[row[column] for column in columns] for row in rows], ("role",)))


@click.command
@talks
@prints_data
def version(as_json: bool) -> None:
    """The command's version and the daemon's."""
    try:
        daemon: str | None = client().get("/v1/status")["version"]
    except Unreachable:
        daemon = None
    if as_json:
        print_json({"command": __version__, "daemon": daemon})
    else:
        print_pairs([("command", __version__), ("daemon", daemon or "not running")])


_LATE = 5.0
_ALWAYS = frozenset(("events", "profiles", "activities", "dead_letters"))
# ---- how it is shown -----------------------------------------------------------------------------------------------


def _lasting(row: Mapping[str, Any]) -> str:
    """Since when it is in another state than running is not known."""
    return f"{row['state']}{' for' if row['state'] == 'running' else ', up for'} {span(row['uptime_seconds'])}"


def summary(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The status in a few lines."""
    queue, journal, store, disk, totals = (document[key] for key in ("queue", "journal", "store", "disk", "totals"))
    days = "" if disk["days_left"] is None else f", {disk['days_left']:.0f} days left at today's rate"
    return [
        ("cdmd", f"{document['version']}, {_lasting(document)}"),
        ("queue", f"{queue['events']} of {queue['max_events']} events, {size(queue['bytes'])} of {size(queue['max_bytes'])}"),
        ("journal", f"{journal['backlog']} waiting, {size(journal['bytes'])}{_servers(journal)}"),
        ("store", _store(store)),
        *_nodes(document.get("nodes", ())),
        *_late(document["audiences"]),
        *_erasing(document["erasures"]),
        ("disk", f"{size(disk['free_bytes'])} free{days}"),
        (
            "totals",
            ", ".join(several(count, name.replace("_", " ")) for name, count in totals.items() if count or name in _ALWAYS),
        ),
    ]


def _servers(journal: Mapping[str, Any]) -> str:
    """Where it lies and who writes it, where that is not here; an older daemon says nothing of it."""
    if (server := journal.get("server")) is None:
        return f", written by process {own}" if (own := journal.get("process")) else ""
    copies = journal["copies"]
    late = [f"{one['server']} is {one['lag']} behind" for one in copies if not one["current"]]
    return ", ".join([f" at {server or 'no server'}", *([f"{len(copies) + 1} copies"] if copies else []), *late])


def _nodes(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Who applies the journal, where several do."""
    return [("node" if row["leads"] else "", _node(row)) for row in sorted(rows, key=lambda row: not row["leads"])]


def _node(row: Mapping[str, Any]) -> str:
    """An older daemon says less."""
    lanes, silent = row["lanes"], row.get("silent_seconds", 0.0)
    if row.get("lost"):
        return f"{row['name']}: lost, last heard of {span(silent)} ago"
    said = [f"{len(lanes)} lanes, {max(lanes.values(), default=0)} behind"]
    said += [f"{row['connectors']} connectors"] if row.get("connectors") else []
    said += [f"events visible within {span(row['freshness_seconds'])}"] if row.get("freshness_seconds") is not None else []
    said += [_lasting(row)] if row.get("state") else []
    said += [f"version {row['version']}"] if row.get("version") else []
    said += [f"silent for {span(silent)}"] if silent > _LATE else []
    said += [] if row.get("alike", True) else ["other settings than the one that leads"]
    return f"{row['name']} ({', '.join(row['roles'])}{'; leads' if row['leads'] else ''}): {', '.join(said)}"


def _store(row: Mapping[str, Any]) -> str:
    busy = f"; {row['working']}" if row["working"] else ""
    own = "" if row["process"] is None else f", written by process {row['process']}"
    return f"{size(row['bytes'])}, {row['parked']} parked ({size(row['parked_bytes'])}){own}{busy}"


def _erasing(erasures: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Whom an erasure is in force for that is not complete."""
    return [("erasures", erasures["progress"] or f"{erasures['pending']} in force")] if erasures["pending"] else []


def _late(audiences: Mapping[str, Any]) -> list[tuple[str, str]]:
    """How far audiences are behind the clock, where that is worth a line."""
    expiry, clock = audiences["expiry_lag_seconds"], audiences["clock_lag_seconds"]
    said = [f"windows {span(expiry)} behind the clock"] if expiry > _LATE else []
    said += [f"conditions over the time asked {span(clock)} ago"] if clock is not None else []
    return [("audiences", ", ".join(said))] if said else []


def _tables(document: Mapping[str, Any]) -> tuple[Table, ...]:
    """Connectors, targets and plugins; an older daemon says nothing of targets."""
    rows = document["connectors"], document.get("targets", []), document["plugins"]
    return tuple(make(found) for make, found in zip((connector_table, target_table, plugin_table), rows, strict=True))


def _connector_list(*, as_json: bool) -> None:
    rows = client().get("/v1/connectors")
    if as_json:
        print_json(rows)
    else:
        print_table(connector_table(rows))
        if any(row["streams"] for row in rows):
            print_table(stream_table(rows))
        for name in _gone():
            note(f"{name} left the configuration, its state is kept; drop it with: cdmctl connectors forget {name}")


def _gone() -> list[str]:
    try:
        found: list[str] = client().get("/v1/connectors/gone")
    except NotFound:
        return []  # an older daemon does not say
    return found


def _remarks(document: Mapping[str, Any]) -> None:
    failure = document["journal"]["failure"]
    for text in [*([f"the journal takes nothing: {failure}"] if failure else []), *document["warnings"]]:
        note(f"warning: {text}")


def _flat(prefix: str, table: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        path = f"{prefix}{key}"
        if isinstance(value, dict) and value:
            yield from _flat(f"{path}.", value)
        else:
            yield path, value
