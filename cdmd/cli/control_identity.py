"""The commands of ``cdmctl`` that change who is who. The daemon permits and audits them."""

import sys
import time
from collections.abc import Mapping
from typing import Any, Final, TextIO

import click

from cdmd.cli.connection import client, prints_data, talks
from cdmd.cli.control_changing import confirm
from cdmd.cli.drawing import Table
from cdmd.cli.lazy import Entry, LazyGroup
from cdmd.cli.running import FAILED
from cdmd.cli.terminal import cell, clean, note, print_json, print_pairs, print_table

_HERE: Final = "cdmd.cli.control_identity"
_LONG: Final = 600.0
_LOOK: Final = 0.5
"""Seconds between two looks at a job."""


@click.command("split")
@click.argument("first", metavar="KIND:VALUE")
@click.argument("second", metavar="KIND:VALUE")
@click.option("--dry-run", is_flag=True, help="Show what would come of it, change nothing.")
@click.option("--lift", is_flag=True, help="Let the two be joined again by the next event that names both.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@talks
@prints_data
def split(first: str, second: str, dry_run: bool, lift: bool, yes: bool, as_json: bool) -> None:
    r"""Two people of one: undo a merge, for good (admins).

    Events go to the side whose identifiers they carried; one that carried identifiers of both stays with its strongest. The two
    are never joined again, whatever arrives, until --lift. Shown first; on a terminal it asks, elsewhere it needs --yes.

    \b
    cdmctl profile split customer_no:4711 customer_no:4712 --dry-run
    cdmctl profile split email:joe@example.com email:ann@example.com --yes
    """
    if lift and dry_run:
        raise click.UsageError("--lift changes nothing but that they may be joined: there is no --dry-run of it")
    asked, body = client(timeout=_LONG), {"first": first, "second": second}
    if lift:
        _tell(asked.post("/v1/profile/split", {**body, "lift": True}), as_json=as_json)
        return
    report = asked.post("/v1/profile/split", body)
    if not dry_run:
        if not (yes or as_json):
            _show(report)
        confirm("Split them?", yes=yes)
        report = asked.post("/v1/profile/split", {**body, "apply": True})
    _tell(report, as_json=as_json)


def _tell(report: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(report)
    else:
        _show(report)


def _show(report: Mapping[str, Any]) -> None:
    click.echo(clean(report["summary"]))
    for side in report["sides"]:
        click.echo(f"\n{cell(side['profile'] or 'a new profile')}")
        named = ", ".join(f"{one['kind']}:{one['value']}" for one in side["identifiers"])
        print_pairs(
            [
                ("identifiers", named),
                ("events", side["events"]),
                ("traits", _listed(side["traits"])),
                ("indicators", _listed(side["indicators"])),
                ("audiences", ", ".join(side["audiences"])),
            ]
        )
    if report["contested"]:
        note(f"events that named both: {report['contested']}; each is the one's whose identifier is the stronger")


def _listed(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in values.items())


@click.group(
    cls=LazyGroup,
    entries={
        "try": Entry(f"{_HERE}:attempt", "What other rules would make of everybody; nothing is changed (admins)."),
        "rebuild": Entry(f"{_HERE}:rebuild", "Make everybody what today's rules come to over the whole history (admins)."),
        "status": Entry(f"{_HERE}:status", "How far a try or a rebuild is, and what it came to."),
    },
)
def identity() -> None:
    """Who is who over the whole history: try rules, rebuild."""


@click.command("try")
@click.argument("rules", metavar="RULES.toml", type=click.File("r", encoding="utf-8"))
@talks
@prints_data
def attempt(rules: TextIO, as_json: bool) -> int:
    r"""What other rules would make of everybody; nothing is changed (admins).

    RULES.toml holds [identity.identifiers] as the configuration does; the rest of it is not looked at. All stored events are
    resolved in the order in which they happened, beside the store.

    \b
    cdmctl identity try rules.toml
    cdmctl identity try /etc/cdmd/cdmd.toml --json | jq .report
    """
    return _worked("/v1/identity/try", {"rules": rules.read()}, as_json=as_json)


@click.command("rebuild")
@click.option("--dry-run", is_flag=True, help="Show what would change, change nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--wait", is_flag=True, help="Stay until it is done.")
@talks
@prints_data
def rebuild(dry_run: bool, yes: bool, wait: bool, as_json: bool) -> int:
    r"""Make everybody what today's rules come to over the whole history (admins).

    The one answer that does not depend on the order in which events arrived; also how changed rules are applied to what is
    stored. The difference is shown first; then it is carried out in the background, over restarts, while events are taken.

    \b
    cdmctl identity rebuild --dry-run
    cdmctl identity rebuild --yes --wait
    """
    if dry_run or not yes:
        status = _worked("/v1/identity/try", {}, as_json=as_json and dry_run, quiet=as_json and not dry_run)
        if dry_run or status:
            return status
    confirm("Make them anew?", yes=yes)
    if wait:
        return _worked("/v1/identity/rebuild", {}, as_json=as_json)
    _tell_job(client().post("/v1/identity/rebuild", {}), as_json=as_json)
    return 0


@click.command("status")
@talks
@prints_data
def status(as_json: bool) -> None:
    """How far a try or a rebuild is, and what it came to."""
    _tell_job(client().get("/v1/identity/job"), as_json=as_json)


def _worked(path: str, body: Mapping[str, Any], *, as_json: bool, quiet: bool = False) -> int:
    """Begin a job and stay until it is done."""
    asked, said = client(timeout=_LONG), ""
    job = asked.post(path, dict(body))
    while job["state"] == "running":
        if sys.stderr.isatty() and not as_json and job["progress"] != said:
            note(said := job["progress"])
        time.sleep(_LOOK)  # noqa: TID251 - a command that waits; no event loop runs here
        job = asked.get("/v1/identity/job")
    if not quiet:
        _tell_job(job, as_json=as_json)
    return FAILED if job["state"] == "failed" else 0


def _tell_job(job: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(job)
        return
    click.echo(_state(job))
    if job["problem"]:
        note(job["problem"])
    if (report := job["report"]) is None:
        return
    rows = {name: report[name] for name in ("events", "profiles_before", "profiles_after")}
    rows |= {
        "joined": f"{report['joined']} profiles become {report['into']}",
        "split": f"{report['split']} profiles become {report['parts']}",
        "changed": f"{report['changed']} profiles, those that only have other identifiers among them",
        "remembered": f"{report['remembered']} profiles have events that are no longer kept",
    }
    print_pairs((name.replace("_", " "), value) for name, value in rows.items())
    for title, found in (("largest joins", report["largest_joins"]), ("largest splits", report["largest_splits"])):
        if found:
            click.echo(f"\n{title}")
            print_table(Table(title, ("profiles", "people", "events", "of whom"), [_regrouped(row) for row in found]))


def _state(job: Mapping[str, Any]) -> str:
    if job["what"] is None:
        return "nothing was asked for"
    told = f"identity {job['what']}: {job['state']}"
    if job["progress"]:
        told += f", {job['progress']}"
    if job["what"] == "rebuild" and job["report"] is not None:
        told += f"; {job['applied']} profiles made anew, {job['left']} left as they were"
    return told


def _regrouped(row: Mapping[str, Any]) -> list[Any]:
    people = " | ".join(", ".join(f"{one['kind']}:{one['value']}" for one in each) for each in row["identifiers"])
    return [", ".join(row["profiles"]), row["people"], row["events"], people]
