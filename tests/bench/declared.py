"""Connectors that benches and the random faults of a cluster declare, each under a name of its own."""

from pathlib import Path

_CONTACTS = """
[connectors.{name}]
type = "rest"
base_url = "{url}"
limits = "{limits}"
{more}
[connectors.{name}.streams.contacts]
path = "/contacts"
records = "{{results[*]}}"
page = {{ type = "cursor", from = "{{paging.next.after}}", param = "after" }}
since = {{ field = "{{updated_at}}", param = "updated_since", order = "asc" }}
event = {{ id = "{{id}}:{{updated_at}}", type = "contact.updated", identifiers = {{ email = "{{email}}" }} }}
"""
_FOLDER = """
[connectors.{name}]
type = "folder"
path = "{path}"
format = {{ type = "csv" }}
stable_for = "0s"
every = "{every}"
after = "delete"
{more}
"""


def contacts(name: str, url: str, *, limits: str = "100/1s", more: str = "") -> str:
    """One that asks an API (tests.connectors.rest.api) what is new; ``more`` are further keys of its table."""
    return _CONTACTS.format(name=name, url=url, limits=limits, more=more)


def folder(name: str, path: Path, *, every: str, more: str) -> str:
    """One that takes each CSV file in ``path`` and deletes it; ``more`` are further keys, and what an event of it is."""
    return _FOLDER.format(name=name, path=path, every=every, more=more)
