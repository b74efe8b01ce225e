"""``cdmctl secrets``: which secrets the configuration names, and where each comes from. No value is asked for or shown."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import click

from cdmd.cli.connection import client, prints_data, talks
from cdmd.cli.drawing import Table
from cdmd.cli.terminal import note, print_json, print_table
from cdmd.config.secrets import LITERAL, PREFIXES

_FROM: Final = dict(zip(PREFIXES, ("environment", "file", "systemd"), strict=True))


@click.command
@talks
@prints_data
def secrets(as_json: bool) -> None:
    r"""Which secrets the configuration names, and where they come from.

    Each with its key and its reference; none with its value. They are read again by every reload, which is how one is rotated:
    list the new one beside the old one, reload, and take the old one out once its sender uses the new one.

    \b
    cdmctl secrets
    cdmctl secrets --json | jq -r '.[] | select(.from == "literal") | .key'
    """
    rows = list(_named(client().get("/v1/config")))
    if as_json:
        print_json(rows)
        return
    print_table(Table("secrets", ("key", "from", "reference"), [[row["key"], row["from"], row["reference"]] for row in rows]))
    if any(row["from"] == "literal" for row in rows):
        note("a literal stands in the configuration itself: write it as env:NAME, file:PATH or credential:NAME")


def _named(value: Any, key: str = "") -> Iterator[Mapping[str, str | None]]:
    """Every reference in an effective configuration, and every place where there is a literal."""
    if isinstance(value, Mapping):
        for name, one in value.items():
            yield from _named(one, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list):
        for one in value:
            yield from _named(one, key)
    elif isinstance(value, str):
        found = next((place for prefix, place in _FROM.items() if value.startswith(prefix)), None)
        if found is not None:
            yield {"key": key, "from": found, "reference": value}
        elif LITERAL in value:
            yield {"key": key, "from": "literal", "reference": None}
