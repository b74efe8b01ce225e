"""The commands of ``cdmctl`` about what is kept of people, and what is not any more."""

import sys
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

import click

from cdmd.cli.connection import client, prints_data, talks
from cdmd.cli.control_changing import confirm, tell
from cdmd.cli.drawing import Table
from cdmd.cli.lazy import Entry, LazyGroup
from cdmd.cli.terminal import note, print_json, print_pairs, print_table

_HERE: Final = "cdmd.cli.control_privacy"
_LOOK: Final = 0.25
_LONG: Final = 60.0
_SWEEPING: Final = 3600.0


@click.command("suppress")
@click.argument("identifier", metavar="KIND:VALUE")
@talks
@prints_data
def suppress(identifier: str, as_json: bool) -> None:
    r"""Keep nothing any more of whoever has this identifier.

    Events whose strongest identifier it is are dropped and counted, of others it is taken out. What is stored stays: see erase.

    \b
    cdmctl profile suppress email:joe@example.com
    """
    tell(client().post("/v1/suppressions/add", {"identifier": identifier}), as_json=as_json)


@click.command("unsuppress")
@click.argument("identifier", metavar="KIND:VALUE")
@talks
@prints_data
def unsuppress(identifier: str, as_json: bool) -> None:
    r"""Take a suppression back, of this one identifier.

    \b
    cdmctl profile unsuppress email:joe@example.com
    """
    tell(client().post("/v1/suppressions/remove", {"identifier": identifier}), as_json=as_json)


@click.command("restrict")
@click.argument("identifier", metavar="KIND:VALUE")
@talks
@prints_data
def restrict(identifier: str, as_json: bool) -> None:
    r"""Store a customer and use nothing of them (admins).

    In no audience and told to no target from now on, whatever arrives. Events do the same: see `[privacy] restrictions`.

    \b
    cdmctl profile restrict email:joe@example.com
    """
    _say_restriction(client().post("/v1/restrictions/add", {"identifier": identifier}), as_json=as_json)


@click.command("unrestrict")
@click.argument("identifier", metavar="KIND:VALUE")
@talks
@prints_data
def unrestrict(identifier: str, as_json: bool) -> None:
    r"""Use a restricted customer again (admins).

    \b
    cdmctl profile unrestrict email:joe@example.com
    """
    _say_restriction(client().post("/v1/restrictions/remove", {"identifier": identifier}), as_json=as_json)


def _say_restriction(row: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(row)
        return
    what = "restricted: stored, in no audience, told to no target" if row["restricted"] else "not restricted"
    within = f"; in {', '.join(row['audiences'])}" if row["audiences"] else ""
    note(f"{row['profile']} is {'now' if row['changed'] else 'already'} {what}{within}")


@click.command("erase")
@click.argument("identifier", metavar="KIND:VALUE")
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--wait/--no-wait", default=True, show_default=True, help="Wait until it is complete, for the report.")
@talks
@prints_data
def erase(identifier: str, dry_run: bool, yes: bool, wait: bool, as_json: bool) -> int:
    r"""Erase one person, from every file (admins).

    Unreadable at once, then removed. Every identifier of the person is suppressed, so that nothing of them is taken again;
    `unsuppress` takes that back. Exit status 1 where something is left, which the report names.

    \b
    cdmctl profile erase email:joe@example.com --dry-run
    cdmctl profile erase email:joe@example.com
    cdmctl profile erase customer_no:4711 --yes --json
    """
    if dry_run:
        _say_holdings(client().post("/v1/erasures/try", {"identifier": identifier}), as_json=as_json)
        return 0
    _confirm(identifier, yes=yes)
    row = client(timeout=_LONG).post("/v1/erasures", {"identifier": identifier})
    if not as_json:
        note("in force: nobody finds the person, and nothing of them is taken any more")
    pause = threading.Event()
    while wait and row["done"] is None:
        pause.wait(_LOOK)
        row = next(one for one in client().get("/v1/erasures") if one["id"] == row["id"])
    _say_erasure(row, as_json=as_json)
    return 1 if row["left"] else 0


def _confirm(identifier: str, *, yes: bool) -> None:
    """What cannot be undone is typed again; refuse where nobody can."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError("nobody is there to confirm this: add --yes")
    typed = click.prompt("This cannot be undone. Type the identifier again to erase its customer", err=True)
    if typed.strip() != identifier:
        raise click.ClickException("that is not what was to be erased; nothing was done")


def _say_holdings(row: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(row)
        return
    kinds = ", ".join(f"{kind} {count}" for kind, count in row["identifiers"].items())
    said = [("profile", row["profile"] or "nobody is known by it"), ("identifiers", kinds), ("merged profiles", row["merged"])]
    others = "too many to look through now; the report says" if row["others"] is None else row["others"]
    said += [("activities", row["activities"]), ("activities of others that name them", others)]
    said.append(("dead letters and parked events", row["waiting"]))
    print_pairs([*said, *_each("backups that may hold them", row["copies"])])


def _say_erasure(row: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(row)
        return
    said: list[tuple[str, Any]] = [("erasure", row["id"]), ("state", row["state"])]
    said += [("profiles", ", ".join(row["profiles"]) or "none"), ("asked", row["asked"]), ("by", row["by"])]
    if row["done"] is None:
        print_pairs([*said, ("progress", row["progress"] or "it begins at once")])
        return
    said += [
        ("done", row["done"]),
        ("erased", ", ".join(f"{count} {place}" for place, count in row["erased"].items()) or "nothing"),
    ]
    said.append(("targets told", ", ".join(row["targets"]) or "none are configured"))
    said += _each("backups that hold them", [f"{one['path']} of {one['made']}" for one in row["copies"]])
    print_pairs([*said, *(("left", line) for line in row["left"])])


def _each(name: str, texts: Sequence[str]) -> list[tuple[str, str]]:
    """A line for each of them."""
    return [(name if number == 0 else "", text) for number, text in enumerate(texts or ("none",))]


@click.command
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="How many at most.")
@talks
@prints_data
def erasures(limit: int, as_json: bool) -> None:
    r"""Erasures under way and done.

    The newest first; they name nobody.

    \b
    cdmctl erasures
    cdmctl erasures --json | jq '.[] | select(.state != "complete")'
    """
    rows = client().get("/v1/erasures")[:limit]
    if as_json:
        print_json(rows)
        return
    shown = [[row["id"], row["state"], row["asked"], row["done"], row["by"], ", ".join(row["profiles"])] for row in rows]
    print_table(Table("erasures", ("id", "state", "asked", "done", "by", "profiles"), shown))


@click.group(
    cls=LazyGroup,
    entries={"export": Entry(f"{_HERE}:export", "The list as JSON Lines, for a restore.")},
    invoke_without_command=True,
)
@talks
@prints_data
@click.pass_context
def suppressions(ctx: click.Context, as_json: bool) -> None:
    r"""The suppression list: how long it is; hand it out.

    It holds keyed digests of identifiers, no identifier: it names nobody.

    \b
    cdmctl suppressions
    cdmctl suppressions export > suppressions.jsonl
    """
    if ctx.invoked_subcommand is None:
        row = client().get("/v1/suppressions")
        if as_json:
            print_json(row)
        else:
            print_pairs([("digests", row["digests"])])


@click.command("export")
@talks
@prints_data
def export(as_json: bool) -> None:
    r"""The list as JSON Lines, for a restore.

    `cdmd restore --suppressions` takes it (admins).

    \b
    cdmctl suppressions export > suppressions.jsonl
    """
    for line in client().stream("/v1/suppressions/export"):
        print_json(line, line=True)


@click.group(
    cls=LazyGroup,
    entries={
        "simulate": Entry(f"{_HERE}:simulate", "What would go, by month; nothing is removed."),
        "run": Entry(f"{_HERE}:sweep", "Take away what is due now (admins)."),
    },
)
def retention() -> None:
    """How long things are kept: simulate, run."""


@click.command("simulate")
@talks
@prints_data
def simulate(as_json: bool) -> None:
    r"""What would go, by month; nothing is removed.

    By `[privacy]` as it is configured, over all that is stored.

    \b
    cdmctl retention simulate
    """
    asking = client(timeout=_LONG)
    after: list[int] | None = None
    found: dict[str, Counter[str]] = {"activities": Counter(), "profiles": Counter()}
    while True:
        page = asking.post("/v1/retention/simulate", {"after": after})
        for what, counts in found.items():
            counts.update(page[what])
        if (after := page["next"]) is None:
            break
    if as_json:
        print_json(found)
        return
    months = sorted({month for counts in found.values() for month in counts}, key=lambda month: (month != "now", month))
    rows = [[month, found["activities"][month], found["profiles"][month]] for month in months]
    print_table(Table("activities and profiles that would go", ("month", "activities", "profiles"), rows))


@click.command("run")
@click.option("--trust-clock", is_flag=True, help="The wall clock leapt, and is right.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@talks
@prints_data
def sweep(trust_clock: bool, yes: bool, as_json: bool) -> None:
    r"""Take away what is due now (admins).

    What is older than it may be kept; by itself that happens once a day.

    \b
    cdmctl retention simulate && cdmctl retention run
    cdmctl retention run --trust-clock --yes
    """
    confirm("Remove for good what is older than it may be kept?", yes=yes)
    report = client(timeout=_SWEEPING).post("/v1/retention/run", {"trust_clock": trust_clock})
    if as_json:
        print_json(report)
        return
    note(f"removed {report['activities']} activities and {report['profiles']} profiles")


@click.command
@talks
@prints_data
def minimisation(as_json: bool) -> None:
    r"""Fields that arrived and were not kept.

    By connector, without values; since the start, of one request in 128. Fields whose names are no plain words are shown as *.

    \b
    cdmctl minimisation
    """
    rows = client().get("/v1/minimisation")
    if as_json:
        print_json(rows)
        return
    shown = [[row["connector"], name, count, row["records"]] for row in rows for name, count in row["fields"].items()]
    print_table(Table("fields that were not kept", ("connector", "field", "records without it", "of"), shown))
