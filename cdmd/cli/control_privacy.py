"""The commands of ``cdmctl`` about what is kept of people, and what is not any more."""

import click

from cdmd.cli.connection import client, prints_data, talks
from cdmd.cli.control_changing import tell
from cdmd.cli.lazy import Entry, LazyGroup
from cdmd.cli.terminal import print_json, print_pairs

_HERE = "cdmd.cli.control_privacy"


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


@click.group(
    cls=LazyGroup,
    entries={"export": Entry(f"{_HERE}:export", "The list as JSON Lines, for a restore.")},
    invoke_without_command=True,
)
@talks
@prints_data
@click.pass_context
def suppressions(ctx: click.Context, as_json: bool) -> None:
    r"""How long the suppression list is; hand it out.

    The list holds keyed digests of identifiers, no identifier: it names nobody.

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
    r"""The list as JSON Lines: `cdmd restore --suppressions` takes it (admins).

    \b
    cdmctl suppressions export > suppressions.jsonl
    """
    for line in client().stream("/v1/suppressions/export"):
        print_json(line, line=True)
