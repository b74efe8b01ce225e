"""``cdmd version``: apart from the other commands, so that it imports nothing of the daemon."""

import json

import click

from cdmd import __version__


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def version(*, as_json: bool) -> None:
    r"""The version.

    \b
    cdmd version
    cdmd version --json
    """
    click.echo(json.dumps({"version": __version__}) if as_json else f"cdmd {__version__}")
