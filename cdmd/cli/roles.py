"""``--role``: which parts of the work a node does, where several share it."""

from collections.abc import Sequence
from typing import Final

import click

from cdmd.config.roles import ALL, ROLES, roles_of


def _read(_context: click.Context, _parameter: click.Parameter, text: str) -> Sequence[str]:
    try:
        return roles_of(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


ROLE: Final = click.option(
    "--role",
    "roles",
    metavar="ROLES",
    default=ALL,
    callback=_read,
    help=f"What of the work this node does, where several share it: {', '.join(ROLES)} (commas between them), or all.",
)
