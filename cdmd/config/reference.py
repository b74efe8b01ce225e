"""The reference of every configuration key as Markdown tables, generated from the settings structs themselves. Pure."""

import types
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

import msgspec
from msgspec import Meta
from msgspec.structs import FieldInfo

from cdmd.config.effective import plain
from cdmd.config.loading import SECTIONS
from cdmd.config.schema import ConnectorFrame, EventSettings, IdentifierSettings, IdentitySettings, IndicatorSettings
from cdmd.kit.quantities import Duration, Rate, Size
from cdmd.kit.secret import Secret

_WORDS: Final[Mapping[Any, str]] = {
    str: "text", int: "integer", float: "number", bool: "boolean", Duration: "duration", Size: "size", Rate: "rate",
    Secret: "secret", Any: "any", type(None): "nothing",
}  # fmt: skip


def reference(connectors: Mapping[str, type[msgspec.Struct]]) -> str:
    """Markdown: one section a table of the configuration, in TOML's notation; ``connectors`` are settings by type."""
    sections = [(f"[{name}]", struct) for name, struct in SECTIONS.items() if struct is not IdentitySettings]
    sections += [
        ("[identity.identifiers] KIND = { ... }", IdentifierSettings),
        ("[indicators.NAME]", IndicatorSettings),
        ("[connectors.NAME]", ConnectorFrame),
        ("[connectors.NAME.event]", EventSettings),
    ]
    sections += [(f'[connectors.NAME] with type = "{name}"', struct) for name, struct in sorted(connectors.items())]
    return "\n".join(block for title, struct in sections for block in _section(title, struct))


def _section(title: str, struct: type[Any]) -> Iterator[str]:
    yield f"### `{title}`\n"
    yield "| key | value | default | meaning |\n|---|---|---|---|"
    tag = struct.__struct_config__
    if tag.tag_field:
        yield f'| `{tag.tag_field}` | `"{tag.tag}"` | required | |'
    nested: dict[str, type[Any]] = {}
    for field in msgspec.structs.fields(struct):
        yield f"| `{field.encode_name}` | {_type(field.type)} | {_default(field)} | {_cell(_description(field.type))} |"
        # The event table has a section of its own, for every connector has it.
        nested.update({name: one for name, one in _structs(field.type).items() if one is not EventSettings})
    yield ""
    for name, one in nested.items():
        yield from _section(name, one)


def _structs(annotation: Any) -> dict[str, type[Any]]:
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        return {_table_name(annotation): annotation}
    return {name: one for argument in get_args(annotation) for name, one in _structs(argument).items()}


def _table_name(struct: type[Any]) -> str:
    """A nested table by the first words of its docstring, where those are written in TOML's notation, else by its class."""
    first = (struct.__doc__ or "").partition("\n")[0]
    written = first.partition("``")[2].partition("``")[0]
    return written or struct.__name__


def _type(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type(arguments[0])
    if origin in {Union, types.UnionType}:
        return " or ".join(_type(one) for one in arguments if one is not type(None))
    if origin is Literal:
        return ", ".join(f'`"{choice}"`' for choice in arguments)
    if origin in {tuple, list}:
        return f"list of {_type(arguments[0])}"
    if origin is dict:
        return f"table of {_type(arguments[1])}"
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        return f"table `{_table_name(annotation)}`"
    return _WORDS.get(annotation, "any")


def _default(field: FieldInfo) -> str:
    if field.required:
        return "required"
    default = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
    shown = plain(default)
    if shown is None or shown in ({}, []):
        return ""
    return f"`{_cell(msgspec.json.encode(shown).decode())}`"


def _description(annotation: Any) -> str:
    found = (one.description for one in get_args(annotation)[1:] if isinstance(one, Meta) and one.description)
    return next(found, "") if get_origin(annotation) is Annotated else ""


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
