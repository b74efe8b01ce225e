"""Turns plain tables into settings structs and collects every mistake on the way, each with its key path.

Reads the structs' own types, so a connector type's settings are checked like ours. Not for: what several keys mean together.
"""

import difflib
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

import msgspec
from msgspec import Meta
from msgspec.structs import FieldInfo

from cdmd.config.reading import Key, fields_of
from cdmd.contracts import ChosenFormat, Format
from cdmd.kit.quantities import Duration, Rate, Size
from cdmd.kit.quiet import QuietHours
from cdmd.kit.secret import Secret

_QUANTITIES: Final = (Duration, Size, Rate, QuietHours)
_ABSENT: Final = object()
_KINDS: Final[Mapping[Any, tuple[type, ...]]] = {
    **dict.fromkeys((str, Secret, *_QUANTITIES), (str,)),
    bool: (bool,),
    int: (int,),
    float: (float, int),
}
_WORDS: Final = {
    "`object`": "a table", "`array`": "a list", "`str`": "text", "`int`": "an integer", "`float`": "a number",
    "`bool`": "true or false", "`null`": "nothing",
}  # fmt: skip


class Checker:
    """``table(...)`` builds a struct; ``report(key, what)`` takes each mistake.

    ``secret(text, key)`` resolves a reference or raises ValueError; ``formats`` are the file formats by name. What is built
    beside a mistake is for finding more mistakes only; ``flawed`` holds the keys of those found so far.
    """

    def __init__(
        self,
        report: Callable[[Key, str], None],
        secret: Callable[[str, Key], Secret],
        *,
        formats: Mapping[str, type[Format]] = {},
    ) -> None:
        self._tell, self._secret, self._formats = report, secret, formats
        self.flawed: list[Key] = []

    def table(
        self,
        struct: type[Any],
        value: Any,
        key: Key,
        *,
        known: Iterable[str] = (),
        stand_ins: Mapping[str, Any] | None = None,
    ) -> Any:
        """A ``struct`` from the table ``value``; every mistake in it is reported.

        A wrong value gives way to its stand-in or default; None where a required one has neither. ``known`` are further names
        that are proposed for a misspelt key.
        """
        if not isinstance(value, dict):
            self._report(key, f"expected a table, got {_kind(value)}")
            return None
        fields = {field.encode_name: field for field in fields_of(struct)}  # type: ignore[arg-type]  # types are hashable
        tag = struct.__struct_config__.tag_field
        names = [*fields, *known, *([tag] if tag else [])]
        for name in value:
            if name not in fields and name != tag:
                self._report((*key, name), "unknown key" + nearest(name, names))
        taken: dict[str, Any] = {}
        whole = True
        for name, field in fields.items():
            one = self._field(field, value.get(name, _ABSENT), (*key, name))
            if one is _WRONG:
                one = (stand_ins or {}).get(name, _ABSENT)
                whole = whole and not (one is _ABSENT and field.required)
            if one is not _ABSENT:
                taken[field.name] = one
        return self._built(struct, taken, key) if whole else None

    def _report(self, key: Key, what: str) -> None:
        self.flawed.append(key)
        self._tell(key, what)

    def _field(self, field: FieldInfo, value: Any, key: Key) -> Any:
        if value is not _ABSENT:
            return self._value(field.type, value, key)
        if not field.required:
            return _ABSENT
        self._report(key, "missing key")
        return _WRONG

    def _built(self, struct: type[Any], taken: Mapping[str, Any], key: Key) -> Any:
        try:
            return struct(**taken)
        except (ValueError, TypeError) as error:  # what a struct's own __post_init__ finds
            if not any(flawed[: len(key)] == key for flawed in self.flawed):
                self._report(key, str(error))
            return None

    def _value(self, annotation: Any, value: Any, key: Key) -> Any:
        core, constraints = _unwrapped(annotation)
        tag, tags = _tags(core)
        if isinstance(value, dict) and tags and value.get(tag) not in tags:
            here = (*key, tag)
            return self._no_choice(value[tag], tags, here) if tag in value else self._wrong(here, "missing key")
        option = _option(core, value)
        if option is None:
            return self._wrong(key, f"expected {_expected(core)}, got {_kind(value)}")
        inner, more = _unwrapped(option)
        if inner is ChosenFormat:
            return self._format(value, key)
        if isinstance(inner, type) and issubclass(inner, msgspec.Struct):
            built = self.table(inner, value, key)
            return _WRONG if built is None else built
        if inner is Secret or inner in _QUANTITIES:
            return self._parsed(inner, value, key)
        if get_origin(inner) in {dict, list, tuple, Mapping, Sequence}:
            taken = self._each(inner, value, key)
            return taken if taken is _WRONG else self._bounded(taken, [*constraints, *more], key)
        if get_origin(inner) is Literal:
            return value if value in get_args(inner) else self._no_choice(value, get_args(inner), key)
        return self._leaf(annotation if option is core else option, value, key)

    def _format(self, value: Any, key: Key) -> Any:
        """``{ type = "csv", ... }``: the keys beside ``type`` are that format's settings."""
        name = value.get("type", _ABSENT)
        if name is _ABSENT:
            return self._wrong((*key, "type"), "missing key")
        if not isinstance(name, str) or name not in self._formats:
            return self._no_choice(name, sorted(self._formats), (*key, "type"))
        own = {entry: one for entry, one in value.items() if entry != "type"}
        settings = self.table(self._formats[name].Settings, own, key, known=("type",))
        return _WRONG if settings is None else ChosenFormat(self._formats[name], settings)

    def _leaf(self, annotation: Any, value: Any, key: Key) -> Any:
        try:
            return msgspec.convert(value, annotation)
        except msgspec.ValidationError as error:
            return self._wrong(key, _plain(str(error)))

    def _parsed(self, wanted: Any, value: Any, key: Key) -> Any:
        try:
            return self._secret(value, key) if wanted is Secret else wanted.parse(value)
        except ValueError as error:
            return self._wrong(key, str(error))

    def _each(self, wanted: Any, value: Any, key: Key) -> Any:
        arguments = get_args(wanted)
        if isinstance(value, dict):
            taken = {name: self._value(arguments[1], one, (*key, name)) for name, one in value.items()}
            return _WRONG if any(one is _WRONG for one in taken.values()) else taken
        listed = [self._value(arguments[0], one, (*key, str(place))) for place, one in enumerate(value)]
        if any(one is _WRONG for one in listed):
            return _WRONG
        return listed if get_origin(wanted) is list else tuple(listed)

    def _bounded(self, taken: Any, constraints: Sequence[Any], key: Key) -> Any:
        for meta in constraints:
            if isinstance(meta, Meta) and meta.min_length is not None and len(taken) < meta.min_length:
                return self._wrong(key, f"needs at least {meta.min_length}")
            if isinstance(meta, Meta) and meta.max_length is not None and len(taken) > meta.max_length:
                return self._wrong(key, f"takes at most {meta.max_length}")
        return taken

    def _no_choice(self, value: Any, choices: Sequence[Any], key: Key) -> Any:
        listed = ", ".join(f'"{choice}"' for choice in choices)
        given = f'"{value}"' if isinstance(value, str) else _kind(value)
        return self._wrong(key, f"{given} is none of {listed}" + nearest(value, [str(choice) for choice in choices]))

    def _wrong(self, key: Key, what: str) -> Any:
        self._report(key, what)
        return _WRONG


_WRONG: Final = object()


def nearest(name: object, names: Iterable[str]) -> str:
    """`` (did you mean ...?)`` with the name that is most like ``name``, or nothing."""
    found = difflib.get_close_matches(str(name), sorted(set(names)), n=1, cutoff=0.6)
    return f" (did you mean {found[0]}?)" if found else ""


def _unwrapped(annotation: Any) -> tuple[Any, list[Any]]:
    constraints: list[Any] = []
    while get_origin(annotation) is Annotated:
        annotation, *more = get_args(annotation)
        constraints += more
    return annotation, constraints


def _option(core: Any, value: Any) -> Any:
    """The member of a union that a value of this kind is meant for; None when there is none. No union: itself."""
    if get_origin(core) not in {Union, types.UnionType}:
        return core if _fits(core, value) else None
    options = [one for one in get_args(core) if one is not type(None)]
    fitting = [one for one in options if _fits(_unwrapped(one)[0], value)]
    if len(fitting) <= 1:
        return fitting[0] if fitting else None
    return next((one for one in fitting if _tagged(_unwrapped(one)[0], value)), fitting[0])


def _tags(core: Any) -> tuple[str, list[str]]:
    """The key that tells the tables of a type apart, and its words; nothing where there is none."""
    members = get_args(core) if get_origin(core) in {Union, types.UnionType} else (core,)
    configs = [getattr(_unwrapped(one)[0], "__struct_config__", None) for one in members]
    tagged = [config for config in configs if config is not None and config.tag_field]
    return (tagged[0].tag_field, [config.tag for config in tagged]) if tagged else ("", [])


def _tagged(core: Any, value: Any) -> bool:
    config = getattr(core, "__struct_config__", None)
    if config is None:
        return get_origin(core) is Literal and value in get_args(core)
    return isinstance(value, dict) and bool(config.tag_field) and value.get(config.tag_field) == config.tag


def _fits(core: Any, value: Any) -> bool:
    """Whether the kind of the value can be meant for the type at all; what is wrong within it is told later."""
    origin = get_origin(core) or core
    if isinstance(origin, type) and issubclass(origin, (msgspec.Struct, dict, Mapping)):
        return isinstance(value, dict)
    if origin in {list, tuple, Sequence}:
        return isinstance(value, list)
    if origin in _KINDS:
        return type(value) in _KINDS[origin]
    return origin is Any or not isinstance(value, (dict, list))


def _expected(core: Any) -> str:
    if get_origin(core) in {Union, types.UnionType}:
        return " or ".join(dict.fromkeys(_expected(_unwrapped(one)[0]) for one in get_args(core) if one is not type(None)))
    origin = get_origin(core) or core
    named = {
        QuietHours: "quiet hours",
        Duration: "a duration", Size: "a size", Rate: "a rate", Secret: "a secret", Literal: "one of its words", str: "text",
        int: "an integer", float: "a number", bool: "true or false", list: "a list", tuple: "a list", Sequence: "a list",
    }  # fmt: skip
    return named.get(origin, "a table")


def _kind(value: Any) -> str:
    named = {dict: "a table", list: "a list", str: "text", bool: "true or false", int: "an integer", float: "a number"}
    return named.get(type(value), "a date or time")


def _plain(message: str) -> str:
    message = message.partition(" - at `$")[0]
    for word, plain in _WORDS.items():
        message = message.replace(word, plain)
    return message[:1].lower() + message[1:]
