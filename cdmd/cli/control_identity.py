"""The commands of ``cdmctl`` that change who is who. The daemon permits and audits them."""

from collections.abc import Mapping
from typing import Any, Final

import click

from cdmd.cli.connection import client, prints_data, talks
from cdmd.cli.control_changing import confirm
from cdmd.cli.terminal import cell, note, print_json, print_pairs

_LONG: Final = 600.0


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
    click.echo(report["summary"])
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
        note(f"{report['contested']} events named both: each is the one's whose identifier is the stronger")


def _listed(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in values.items())
