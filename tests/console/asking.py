"""One look at a page as a browser would ask for it, without a browser: status, headers, text, and the forms that are on it."""

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlencode

from cdmd.console.contents import SEARCHES
from tests.control.doubles import Daemon, raw_get

HOST = {"host": "localhost:8790"}


class Seen(NamedTuple):
    """What was answered."""

    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)

    @property
    def token(self) -> str:
        found = re.search(r'name="token" value="([^"]+)"', self.text)
        assert found, "there is no form on this page"
        return found[1]


def look(daemon: Daemon, path: str, role: str = "admin", **headers: str) -> Seen:
    """The page at ``path`` below ``/console``; the query of a search that names people is sent as its form sends it."""
    daemon.client(role)
    place, _, said = path.partition("?")
    if place in dict(SEARCHES):
        answer = raw_get(
            daemon.path, f"/console{place}", method="POST", body=said.encode(), headers={**HOST, **_named(headers)}
        )
    else:
        answer = raw_get(daemon.path, f"/console{path}", headers={**HOST, **_named(headers)})
    status, answered, body = answer
    return Seen(status, answered, body.decode())


def press(daemon: Daemon, form: Mapping[str, str], role: str = "admin", **headers: str) -> Seen:
    """Send a form."""
    daemon.client(role)
    body = urlencode(form).encode()
    status, answered, body = raw_get(daemon.path, "/console/do", method="POST", body=body, headers={**HOST, **_named(headers)})
    return Seen(status, answered, body.decode())


def _named(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}
