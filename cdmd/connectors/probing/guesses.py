"""A guess as a value, and as a line of configuration. Pure."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")


class Guess(msgspec.Struct, frozen=True, kw_only=True):
    """The format's name, its settings that are not as by default, what is not sure, and some of the first records."""

    type: str
    settings: Mapping[str, Any] = {}
    doubts: Sequence[str] = ()
    records: Sequence[Mapping[str, Any]] = ()

    @property
    def line(self) -> str:
        """``format = {...}`` to paste."""
        return f"format = {as_toml({'type': self.type, **self.settings})}"

    @property
    def columns(self) -> list[str]:
        """The names in the records, in order."""
        return list({name: None for record in self.records for name in record})


def as_toml(value: Any) -> str:
    """A value in TOML, on one line."""
    if isinstance(value, Mapping):
        inner = ", ".join(f"{_key(name)} = {as_toml(one)}" for name, one in value.items())
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, Sequence):
        return f"[{', '.join(as_toml(one) for one in value)}]"
    return json.dumps(value)


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _text(name)


def _text(text: str) -> str:
    plain = "'" not in text and text.isprintable()
    if plain and ('"' in text or "\\" in text):
        return f"'{text}'"
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
