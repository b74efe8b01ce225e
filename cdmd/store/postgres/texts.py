"""Text on its way into PostgreSQL and out again: it holds every character but NUL, which a sender may have put into a type.

NUL and the one character that stands for it are written as two. Not here: what text means.
"""

from typing import Final

from psycopg import Connection
from psycopg.abc import Buffer
from psycopg.types.string import StrBinaryDumper, StrDumperUnknown, TextBinaryLoader
from typing_extensions import override

_MARK: Final = "\U0010fffd"
"""The last character of the private use planes."""


def escaped(text: str) -> str:
    """``text`` without NUL."""
    if "\0" in text or _MARK in text:
        return text.replace(_MARK, f"{_MARK}1").replace("\0", f"{_MARK}0")
    return text


def unescaped(text: str) -> str:
    """What ``escaped`` was given."""
    if _MARK in text:
        return text.replace(f"{_MARK}0", "\0").replace(f"{_MARK}1", _MARK)
    return text


class _One(StrDumperUnknown):
    @override
    def dump(self, obj: str) -> Buffer | None:
        return super().dump(escaped(obj))


class _InList(StrBinaryDumper):
    @override
    def dump(self, obj: str) -> Buffer | None:
        return super().dump(escaped(obj))


class _Loader(TextBinaryLoader):
    @override
    def load(self, data: Buffer) -> bytes | str:
        text = super().load(data)
        return unescaped(text) if isinstance(text, str) else text


def adapt(connection: Connection[tuple[object, ...]]) -> None:
    """Let a connection write and read text so."""
    connection.adapters.register_dumper(str, _InList)
    connection.adapters.register_dumper(str, _One)
    connection.adapters.register_loader("text", _Loader)
