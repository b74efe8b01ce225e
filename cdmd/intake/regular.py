"""The common case of a mapping as one function, written once for each configuration as the standard library writes dataclasses.

Regular are templates of texts and plain paths of one or two names, on a record that is an object with text where text is
needed. Whatever is any other way is left to ``cdmd.intake.mapping``, which decides and names faults; what is mapped here would
be mapped the same there (tests/intake/test_regular.py compares them). It is there because most of a mapping's cost were steps
from one template to the next (tests/bench/intake.py).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias

from cdmd.contracts import EventSettings
from cdmd.kit.coercions import as_moment
from cdmd.kit.templates import Template
from cdmd.models import Event, Record

LONGEST_ID: Final = 1024
LONGEST_TYPE: Final = 256

Map: TypeAlias = Callable[[Record, str], Event | None]
"""The event of a record from a source; None where the record is not regular."""

_LAYOUT: Final = """
def event(record, source):
    value = record.value
    if type(value) is not dict or record.beside or record.parts is not None:
        return None
{objects}
{values}
    id_, type_, time = {id}, {type}, {time}
    if not type_ or not 0 < len(id_) <= {longest_id} or len(type_) > {longest_type}:
        return None
    if not id_.isascii() or not type_.isascii():
        return None
    if time is not None:
        try:
            time = as_moment(time)
        except ValueError:
            return None
    identifiers, traits, data = {{}}, {{}}, {{}}
{tables}
    return Event(
        id=id_, source=source, type=type_, time=time, received=record.received,
        identifiers=identifiers, traits=traits, data=data,
    )
"""
_OBJECT: Final = """
    {name} = value.get({path!r})
    if type({name}) is not dict:
        {name} = {{}}"""
_TEXT: Final = """
    {name} = {look}
    if type({name}) is not str:
        return None"""
_IDENTIFIER: Final = """
    found = {look}
    if type(found) is str and (found.isascii() or has_utf8(found)):
        if found:
            identifiers[{key!r}] = found
    elif found is not None:
        return None"""
_FIELD: Final = """
    found = {look}
    if found is not None:
        {table}[{key!r}] = found"""


def regular(settings: EventSettings) -> Map | None:
    """The function for an ``event`` table; None where a template is more than text and plain paths."""
    try:
        source = _Writer().event(settings)
    except _Irregular:
        return None
    made: dict[str, Any] = {"Event": Event, "as_moment": as_moment, "has_utf8": _has_utf8}
    # Of what the configuration says only names and texts are in it, each written as a literal.
    exec(source, made)  # noqa: S102 - the code above with literals of the configuration, never anything that was sent
    event: Map = made["event"]
    return event


def _has_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class _Irregular(Exception):
    pass


class _Writer:
    """Collects what the templates need; each piece of a record is looked up once."""

    def __init__(self) -> None:
        self._objects: dict[str, str] = {}
        self._texts: dict[str, str] = {}

    def event(self, settings: EventSettings) -> str:
        """The function's text. Raises ``_Irregular``."""
        id_ = "record.id or record.fallback_id" if settings.id is None else self._text(settings.id)
        type_ = "record.type or source.partition('.')[0] + '.received'" if settings.type is None else self._text(settings.type)
        time = "record.time" if settings.time is None else self._look(settings.time)
        tables = [_IDENTIFIER.format(look=look, key=key) for key, look in self._table(settings.identifiers)]
        for table, wanted in (("traits", settings.traits), ("data", settings.data)):
            tables += [_FIELD.format(look=look, key=key, table=table) for key, look in self._table(wanted)]
        return _LAYOUT.format(
            objects="".join(_OBJECT.format(name=name, path=path) for path, name in self._objects.items()),
            values="".join(_TEXT.format(name=name, look=look) for look, name in self._texts.items()),
            id=id_, type=type_, time=time, tables="".join(tables), longest_id=LONGEST_ID, longest_type=LONGEST_TYPE,
        )  # fmt: skip

    def _table(self, table: Mapping[str, str] | Literal["*"] | None) -> Sequence[tuple[str, str]]:
        if table == "*":
            raise _Irregular
        return [(key, self._look(text)) for key, text in (table or {}).items()]

    def _text(self, text: str) -> str:
        """An expression for the text."""
        pieces = []
        for part in Template.parse(text).parts:
            if isinstance(part, str):
                pieces.append(repr(part))
            else:
                pieces.append(self._texts.setdefault(self._at(part.steps), f"text{len(self._texts)}"))
        return " + ".join(pieces)

    def _look(self, text: str) -> str:
        """An expression for the value at a path."""
        parts = Template.parse(text).parts
        if len(parts) != 1 or isinstance(parts[0], str):
            raise _Irregular
        return self._at(parts[0].steps)

    def _at(self, steps: Sequence[str | int] | None) -> str:
        match steps:
            case [str(name)] if type(name) is str:
                return f"value.get({name!r})"
            case [str(within), str(name)] if type(within) is str:
                held = self._objects.setdefault(within, f"object{len(self._objects)}")
                return f"{held}.get({name!r})"
            case _:
                raise _Irregular
