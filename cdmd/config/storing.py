"""``[store]`` as a struct: what is known of customers may lie in a database on a server instead of the state directory."""

import importlib.util
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from cdmd.kit.secret import Secret

_SCHEMES: Final = frozenset(("postgresql", "postgres"))
_NAMED: Final = 2
"""Letters of a path that names something: a slash and one more."""


class StoreSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[store]``."""

    url: Annotated[
        str | None,
        Meta(
            description="The PostgreSQL database that the store lies in instead of the state directory:"
            " `postgresql://USER@HOST/NAME`. Needs `pip install 'cdmd[cluster]'`."
        ),
    ] = None
    password: Annotated[Secret | None, Meta(description="With `url`: that user's password, where one is asked for.")] = None

    process: Annotated[
        Literal["shared", "own"],
        Meta(
            description="`own`: a process of its own decides about batches and writes the store, so that two processors work"
            " off a backlog. Only for a store in the state directory."
        ),
    ] = "shared"

    def __post_init__(self) -> None:
        if self.url is None:
            problem = "`password` goes with `url`: without it the store lies in the state directory" if self.password else None
        elif self.process == "own":
            problem = '`process = "own"` goes with a store in the state directory: take it away, or `url`'
        else:
            problem = _problem(self.url)
        if problem:
            raise ValueError(problem)


def _problem(url: str) -> str | None:
    try:
        found = urlsplit(url)
    except ValueError:
        found = urlsplit("")
    if found.scheme not in _SCHEMES or len(found.path) < _NAMED:
        return "`url` is not the address of a PostgreSQL database: postgresql://USER@HOST/NAME"
    if found.password is not None or "password=" in found.query:
        return "everybody sees `url`: write the password beside it as `password`, a reference"
    if importlib.util.find_spec("psycopg") is None:
        return "`url` needs psycopg: pip install 'cdmd[cluster]'"
    return None
