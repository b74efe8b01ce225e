"""Settings as TOML to paste, made from the structs that check them: every key with its default and what it means. Pure."""

import types
from collections.abc import Iterator
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

import msgspec
from msgspec.structs import FieldInfo

from cdmd.config.effective import plain
from cdmd.config.reference import describe, kind
from cdmd.contracts import ChosenFormat

_BESIDE: Final = 48
_SAMPLES: Final = {
    "text": '""', "integer": "0", "number": "0.0", "boolean": "false", "duration": '"1m"', "size": '"1MiB"', "rate": '"60/1m"',
    "secret": '"credential:NAME"', "table": "{}",
}  # fmt: skip
"""What stands for a value that has to be given."""


def example(table: str, struct: type[msgspec.Struct], *, type: str | None = None) -> str:  # noqa: A002 - the key is called so
    """``[table]`` with every key of ``struct``: those that have to be given as they are written, the others behind a ``#``."""
    fields = sorted(msgspec.structs.fields(struct), key=lambda field: not field.required)
    head = [f"[{table}]", *([f'type = "{type}"'] if type else ())]
    return "\n".join([*head, *map(_line, fields)]) + "\n"


def _line(field: FieldInfo) -> str:
    value = f"{field.encode_name} = {_value(field)}"
    shown = value if field.required else f"# {value}"
    said = "; ".join(_remarks(field))
    return f"{shown:<{_BESIDE}} # {said}".rstrip(" #") if said else shown


def _remarks(field: FieldInfo) -> Iterator[str]:
    yield f"{kind(field.type).replace('`', '')}{', required' if field.required else ''}"
    if text := describe(field.type):
        yield text


def _value(field: FieldInfo) -> str:
    if not field.required:
        default = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
        shown = plain(default)
        if shown is not None:
            return _toml(shown)
    return _sample(field.type)


def _sample(annotation: Any) -> str:
    while get_origin(annotation) in {Annotated, Union, types.UnionType}:
        annotation = next(one for one in get_args(annotation) if one is not type(None))
    if get_origin(annotation) is Literal:
        return _toml(get_args(annotation)[0])
    if annotation is ChosenFormat:
        return '{ type = "csv" }'
    word = kind(annotation).partition(" or ")[0]
    if word.startswith("list of "):
        return f"[{_SAMPLES.get(word.removeprefix('list of '), '')}]"
    return "{}" if word.startswith("table") else _SAMPLES.get(word, '""')


def _toml(value: Any) -> str:
    """A plain value in TOML's inline notation."""
    if isinstance(value, dict):
        inside = ", ".join(f"{_key(key)} = {_toml(one)}" for key, one in value.items() if one is not None)
        return f"{{ {inside} }}" if inside else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(_toml(one) for one in value)}]"
    return msgspec.json.encode(value).decode()


def _key(key: str) -> str:
    return key if key.replace("_", "").replace("-", "").isalnum() and key.isascii() else msgspec.json.encode(key).decode()
