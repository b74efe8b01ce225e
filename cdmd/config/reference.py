"""The reference of every configuration key as Markdown tables, generated from the settings structs themselves. Pure."""

import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

import msgspec
from msgspec import Meta
from msgspec.structs import FieldInfo

from cdmd.config.effective import plain
from cdmd.config.loading import SECTIONS
from cdmd.config.outbound import TargetFrame
from cdmd.config.schema import (
    AudienceSettings,
    ConnectorFrame,
    IdentifierSettings,
    IdentitySettings,
    IndicatorSettings,
    TraitSettings,
)
from cdmd.contracts import ChosenFormat, EventSettings
from cdmd.kit.presets import presets
from cdmd.kit.quantities import Duration, Rate, Size
from cdmd.kit.quiet import QuietHours
from cdmd.kit.schemes import TOLERANCE, Place, Scheme
from cdmd.kit.secret import Secret

_WORDS: Final[Mapping[Any, str]] = {
    str: "text", int: "integer", float: "number", bool: "boolean", Duration: "duration", Size: "size", Rate: "rate",
    QuietHours: "quiet hours", Secret: "secret", Any: "any", type(None): "nothing",
}  # fmt: skip


def reference(
    connectors: Mapping[str, type[msgspec.Struct]],
    formats: Mapping[str, type[msgspec.Struct]] = {},
    targets: Mapping[str, type[msgspec.Struct]] = {},
) -> str:
    """Markdown: one section a table of the configuration, in TOML's notation.

    ``connectors`` are settings by connector type, ``formats`` by the name of the file format, ``targets`` by target type.
    """
    sections: list[tuple[str, str, type[Any]]] = [
        (f"[{name}]", "", struct) for name, struct in SECTIONS.items() if struct is not IdentitySettings
    ]
    sections += [
        ("[identity.identifiers.KIND]", "", IdentifierSettings),
        ("[traits.NAME]", "", TraitSettings),
        ("[indicators.NAME]", "", IndicatorSettings),
        ("[audiences.NAME]", "", AudienceSettings),
        ("[connectors.NAME]", "", ConnectorFrame),
        ("[connectors.NAME.event]", "", EventSettings),
    ]
    sections += [("[connectors.NAME]", f' with type = "{name}"', struct) for name, struct in sorted(connectors.items())]
    sections += [("[connectors.NAME.format]", f' with type = "{name}"', struct) for name, struct in sorted(formats.items())]
    sections.append(("[targets.NAME]", "", TargetFrame))
    sections += [("[targets.NAME]", f' with type = "{name}"', struct) for name, struct in sorted(targets.items())]
    return "\n".join(line for table, note, struct in sections for line in _section(table, note, struct))


def preset_table() -> str:
    """Markdown: a row for each verification preset, and which of the event's defaults the signature does not cover."""
    rows = [_preset(name, one) for name, one in presets().items()]
    heading = "| preset | proof | what is signed | seconds | event id | event type | not covered by the signature |"
    return "\n".join([heading, "|---|---|---|---|---|---|---|", *rows])


def _preset(name: str, scheme: Scheme) -> str:
    signed = f"`{scheme.signed or '{body}'}`" if scheme.signs else ""
    window = str(TOLERANCE if scheme.tolerance is None else scheme.tolerance) if scheme.timestamp else ""
    places = {"id": scheme.event_id, "type": scheme.event_type, "time": scheme.event_time}
    loose = [what for what, place in places.items() if scheme.signs and place is not None and not _covered(place, scheme.words)]
    cells = (
        f"`{name}`",
        f"`{scheme.algorithm}`",
        signed,
        window,
        _place(scheme.event_id),
        _place(scheme.event_type),
        ", ".join(loose),
    )
    return f"| {' | '.join(_cell(cell) for cell in cells)} |"


def _covered(place: Place, words: Sequence[str]) -> bool:
    return place.json is not None or f"header:{place.header}" in words


def _place(place: Place | None) -> str:
    if place is None:
        return ""
    return f"`{place.json}`" if place.json is not None else f"`{place.header or place.form}`"


def _section(table: str, note: str, struct: type[Any], told: frozenset[type[Any]] = frozenset()) -> Iterator[str]:
    """The struct's table, and those within it, but for those that are ``told`` above."""
    yield f"### `{table}{note}`\n"
    yield "| key | value | default | meaning |\n|---|---|---|---|"
    config = struct.__struct_config__
    if config.tag_field:
        what = (struct.__doc__ or "").partition("\n")[0]
        yield f'| `{config.tag_field}` | `"{config.tag}"` | required | {_cell(what)} |'
    for field in msgspec.structs.fields(struct):
        yield f"| `{field.encode_name}` | {kind(field.type)} | {_default(field)} | {_cell(describe(field.type))} |"
    yield ""
    for field in msgspec.structs.fields(struct):
        for nested in _structs(field.type):
            if nested is not EventSettings and nested not in told:  # it has a section of its own, for every connector has it
                tag = nested.__struct_config__
                more = f' with {tag.tag_field} = "{tag.tag}"' if tag.tag_field else note
                own = frozenset(one for other in msgspec.structs.fields(struct) for one in _structs(other.type))
                yield from _section(f"{table[:-1]}.{_named(field)}]", more, nested, told | own)


def _named(field: FieldInfo) -> str:
    """The name in the tables' path; of tables by name it says so."""
    annotation = field.type
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    named = get_origin(annotation) is dict and bool(_structs(annotation))
    return f"{field.encode_name}.{field.encode_name.removesuffix('s').upper()}" if named else field.encode_name


def _structs(annotation: Any) -> list[type[Any]]:
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        return [] if annotation is ChosenFormat else [annotation]  # formats have sections of their own
    return [one for argument in get_args(annotation) for one in _structs(argument)]


def kind(annotation: Any) -> str:
    """What a key takes, in words: ``text``, ``list of duration``."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return kind(arguments[0])
    if origin in {Union, types.UnionType}:
        return " or ".join(dict.fromkeys(kind(one) for one in arguments if one is not type(None)))
    if origin is Literal:
        return ", ".join(f'`"{choice}"`' for choice in arguments)
    if origin in {tuple, list}:
        return f"list of {kind(arguments[0])}"
    if origin is dict:
        return f"table of {kind(arguments[1])}"
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        return "table"
    return _WORDS.get(annotation, "any")


def _default(field: FieldInfo) -> str:
    if field.required:
        return "required"
    default = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
    shown = plain(default)
    if shown is None or shown in ({}, []):
        return ""
    return f"`{_cell(msgspec.json.encode(shown).decode())}`"


def describe(annotation: Any) -> str:
    """What a key means, in the words of its annotation; empty where it says nothing."""
    found = (one.description for one in get_args(annotation)[1:] if isinstance(one, Meta) and one.description)
    return next(found, "") if get_origin(annotation) is Annotated else ""


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
