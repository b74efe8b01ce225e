"""Hides who is meant in recorded answers: personal fields get made-up values, secrets none at all. Pure.

The same value always gets the same made-up one within a recording, so that what belongs together still does. Fields are told by
their names: what an API calls otherwise has to be named. Not for: anything but recordings of tests.
"""

import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Any, Final

PERSONAL: Final = (
    "*email*", "*e_mail*", "*mail_address*", "*phone*", "*mobile*", "*fax*", "name", "first*name", "last*name", "full*name",
    "given*name", "family*name", "middle*name", "user*name", "display*name", "login", "nick*", "*address*", "street*", "city",
    "zip*", "post*code", "*birth*", "*gender*", "*ssn*", "*passport*", "*iban*", "*ip", "ip_*", "*lat", "*lng", "latitude",
    "longitude", "avatar*", "photo*", "*comment*", "*note", "notes", "*message*", "subject", "body", "description",
)  # fmt: skip
"""Names of fields (globs, lower case, words joined by ``_``) that are made up unless they are kept."""

SECRET: Final = ("*token*", "*secret*", "*password*", "*api_key*", "*apikey*", "authorization", "session*id")
_PAGING: Final = re.compile(
    r"(next|prev|page|continuation|cursor|after|before|sync)_?\w*token|\w*token_?(next|page)", re.IGNORECASE
)
_HIDDEN: Final = "***"
_WORDS: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[-.\s]+")


def names_a_secret(name: str) -> bool:
    """Whether a field or header of that name holds a secret, by what it is called."""
    words = _WORDS.sub("_", name).lower()
    return any(fnmatchcase(words, one) for one in (*SECRET, "*_key", "key", "*auth*"))


class Masking:
    """One recording. ``also`` and ``kept`` are names (globs) of fields; ``secrets`` texts that must stand nowhere.

    Addresses of the API itself (``origin``, scheme and host) become relative, so that a recording is of any of its hosts.
    """

    def __init__(
        self, *, also: Sequence[str] = (), kept: Sequence[str] = (), secrets: Iterable[str] = (), origin: str = ""
    ) -> None:
        self._origin = origin
        self._personal = [*(one.lower() for one in also), *PERSONAL]
        self._kept = [one.lower() for one in kept]
        self._secrets = [one for one in secrets if len(one) > 3]  # noqa: PLR2004 - shorter ones stand everywhere
        self._made: dict[tuple[str, str], str] = {}

    def document(self, value: Any, name: str = "") -> Any:
        """The JSON value with made-up personal data."""
        match value:
            case dict():
                return {key: self.document(one, str(key)) for key, one in value.items()}
            case list():
                return [self.document(one, name) for one in value]
            case str() | int() | float() if not isinstance(value, bool):
                return self._scalar(value, _WORDS.sub("_", name).lower())
            case _:
                return value

    def text(self, text: str) -> str:
        """Text without the secrets, and without the API's own host."""
        if self._origin:
            text = text.replace(f"{self._origin}/", "/")
        for one in self._secrets:
            text = text.replace(one, _HIDDEN)
        return text

    def _scalar(self, value: str | float, name: str) -> Any:
        if any(fnmatchcase(name, one) for one in self._kept):
            return self.text(value) if isinstance(value, str) else value
        if isinstance(value, str) and any(fnmatchcase(name, one) for one in SECRET) and not _PAGING.fullmatch(name):
            return _HIDDEN
        if any(fnmatchcase(name, one) for one in self._personal) or (isinstance(value, str) and _is_email(value)):
            return self._made_up(value, name)
        return self.text(value) if isinstance(value, str) else value

    def _made_up(self, value: str | float, name: str) -> Any:
        if value == "":
            return value
        kind = "email" if "mail" in name or _is_email(str(value)) else "phone" if "phone" in name or "mobile" in name else name
        number = len([one for one in self._made if one[0] == kind]) + 1
        made = {"email": f"person{number}@example.com", "phone": f"+4670174{number:04d}"}.get(kind, f"{name} {number}")
        found = self._made.setdefault((kind, str(value)), made)
        return found if isinstance(value, str) else 0


def _is_email(text: str) -> bool:
    return re.fullmatch(r"[^@\s/]+@[^@\s/]+\.[^@\s/]+", text) is not None
