"""SQL kept in files: named statements (``queries/*.sql``) and numbered migrations (``migrations/<database>/0001_*.sql``).

Not for: running any of it (``database`` does).
"""

import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from types import MappingProxyType
from typing import Final, NamedTuple

_NAME: Final = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)


class Migration(NamedTuple):
    """One step of a schema: its number (1 for the first) and its statements."""

    number: int
    script: str


def load_queries(name: str) -> Mapping[str, str]:
    """The statements of ``queries/<name>.sql`` by the name in the ``-- name: x`` line above each."""
    text = (files("cdmd.store") / "queries" / f"{name}.sql").read_text("utf-8")
    parts = _NAME.split(text)[1:]
    return MappingProxyType({key: body.strip().removesuffix(";") for key, body in zip(parts[::2], parts[1::2], strict=True)})


def load_families(*names: str, folder: str = ".") -> Mapping[str, str]:
    """The statements of several files of a folder: of the first by their names, of the others with the file's in front."""
    first, *others = names
    found = dict(load_queries(f"{folder}/{first}"))
    for name in others:
        found |= {f"{name}.{key}": text for key, text in load_queries(f"{folder}/{name}").items()}
    return MappingProxyType(found)


def load_migrations(name: str) -> Sequence[Migration]:
    """The migrations of the database ``name`` in order."""
    found = (files("cdmd.store") / "migrations" / name).iterdir()
    return sorted(Migration(int(file.name[:4]), file.read_text("utf-8")) for file in found if file.name.endswith(".sql"))
