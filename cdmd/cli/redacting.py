"""What leaves the machine in a support bundle: shapes, numbers and our own words stay, names and places of the owner do not.

A text that is taken out becomes ``text-`` and eight digits, the same one wherever it stands in one bundle and another one in
the next, so that who helps sees what belongs together and nothing else.
"""

import hashlib
import re
from collections.abc import Mapping
from ipaddress import IPv6Address
from typing import Any, Final
from urllib.parse import urlsplit

_OURS: Final = re.compile(r"[a-z][a-z0-9_-]{0,40}|-?\d+(\.\d+)?[a-zA-Z]*(/\d+[a-z]*)?|(env|file|credential):.*|fd:[a-z]+|")
"""Words of the configuration's vocabulary, quantities, and references to secrets (of which the name stays)."""

_OWNERS: Final = frozenset(
    ("host", "username", "user", "client_id", "admins", "readers", "path", "url", "base_url", "token_url", "public_url", "id")
)
"""Keys whose texts are the owner's even where they look like a word."""

_PLACES: Final = re.compile(
    r"https?://[^\s\"',;]+"
    r"|[\w.+-]+@[\w-]+(\.[\w-]+)+"
    r"|\b\d{1,3}(\.\d{1,3}){3}\b"
    r"|(?<![\w.])(/[\w.@+-]+){2,}"
    r"|\b[\w-]+(\.[\w-]+)*\.(com|net|org|io|se|de|eu|uk|no|dk|fi|nl|fr|example|local|internal)\b"
)
"""Addresses, e-mail addresses, networks, paths and host names within a sentence."""

_SIXES: Final = re.compile(r"(?<![\w:.])[0-9A-Fa-f]{0,4}(:[0-9A-Fa-f]{0,4}){2,8}(\.\d{1,3}){0,3}(?!\w)")
"""What may be an IPv6 address."""

_ENDPOINT: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[\w.-]+):\d+")
"""What is listened on, or asked, without a scheme."""

_SHORTEST: Final = 4
"""Shorter texts are not looked for in sentences: they are in too many words."""


class Redaction:
    """Takes texts out by ``key``, which is drawn anew for each bundle; remembers them, so that sentences lose them too."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._taken: dict[str, str] = {}

    def settings(self, value: Any, *, name: str = "") -> Any:
        """An effective configuration."""
        if isinstance(value, Mapping):
            return {key: self.settings(one, name=key) for key, one in value.items()}
        if isinstance(value, list):
            return [self.settings(one, name=name) for one in value]
        if isinstance(value, str) and (name in _OWNERS or not _OURS.fullmatch(value)):
            for host in _hosts(value):
                self.text(host)
            return self.text(value)
        return value

    def document(self, value: Any) -> Any:
        """Any other document: its sentences lose what was taken out before, and all that looks like a place."""
        if isinstance(value, Mapping):
            return {key: self.document(one) for key, one in value.items()}
        if isinstance(value, list):
            return [self.document(one) for one in value]
        return self.sentence(value) if isinstance(value, str) else value

    def sentence(self, text: str) -> str:
        """Prose, or lines of a log."""
        for taken in sorted(self._taken, key=len, reverse=True):
            if len(taken) >= _SHORTEST:
                text = text.replace(taken, self._taken[taken])
        text = _SIXES.sub(self._six, text)
        return _PLACES.sub(lambda found: self.text(found[0]), text)

    def _six(self, found: re.Match[str]) -> str:
        """Where it is an address: a time of day looks much like one, and a colon of the sentence may follow."""
        for address in (found[0], found[0].removesuffix(":")):
            if _is_six(address):
                return self.text(address) + found[0].removeprefix(address)
        return found[0]

    def text(self, text: str) -> str:
        """What stands for it."""
        digest = hashlib.blake2b(text.encode(errors="replace"), key=self._key, digest_size=4).hexdigest()
        return self._taken.setdefault(text, f"text-{digest}")


def _hosts(text: str) -> set[str]:
    """The host of a URL, or of an address with a port: as it is written, and as libraries name it."""
    if "://" not in text and not _ENDPOINT.fullmatch(text):
        return set()
    try:
        parts = urlsplit(text if "://" in text else f"//{text}")
    except ValueError:  # no URL after all
        return set()
    written = parts.netloc.rpartition("@")[2]
    found = {parts.hostname or "", "" if written.startswith("[") else written.partition(":")[0]}
    return found - {"", "localhost"}


def _is_six(text: str) -> bool:
    try:
        return IPv6Address(text).packed != bytes(16)
    except ValueError:
        return False
