"""A record becomes an event, or a fault that says which expression failed on what kind of value.

Pure: no clock, no disk. What the mapping does not declare is not in the event, so it never reaches the disk. Not here: who is
known (``door``), what was seen before (``recent``).
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Literal, TypeAlias

import msgspec

from cdmd.config.schema import ConnectorFrame
from cdmd.contracts import EventSettings, StreamFrame
from cdmd.errors import ConditionFault, TemplateFault
from cdmd.intake.keeping import Kept, dumped, encoded, not_storable
from cdmd.intake.regular import LONGEST_ID, LONGEST_TYPE, regular
from cdmd.kit.coercions import as_moment, as_text, kind_of
from cdmd.kit.conditions import Condition
from cdmd.kit.globs import Globs
from cdmd.kit.templates import Template
from cdmd.models import Entry, Event, Fault, Filtered, Parts, Record, encode_entry

_SHAPE: Final = frozenset(("id", "source", "type", "time", "received", "identifiers", "traits", "data"))
_NO_PARTS: Final = Parts()
_OF_A_FORM: Final = ", which came as a form without that field: send JSON as Content-Type: application/json"
_PRIVATE_HEADERS: Final = frozenset(("authorization", "cookie", "proxy_authorization"))

Render: TypeAlias = Callable[[Any, Mapping[str, Any]], Any]
"""A template's value on a record and its context; raises ``_Unmappable``."""

Fields: TypeAlias = Sequence[tuple[str, Render]]
"""Names with what gives their values, each compiled once: a mapping renders them for every record."""


class _Unmappable(Exception):
    def __init__(self, fault: Fault) -> None:
        self.fault = fault


class Mapper:
    """One connector's mapping, compiled: ``decide`` a record, and decide a kept one ``again``.

    ``raw`` says whether a record that cannot be mapped may be kept whole; ``streams`` are those that it has, of which each may
    have a mapping of its own. Raises ValueError for what the configuration check would have refused.
    """

    def __init__(self, connector: str, frame: ConnectorFrame, *, raw: bool, streams: Mapping[str, StreamFrame] = {}) -> None:
        self.connector = connector
        self._raw = raw and not frame.known_only
        self.raw = raw
        self._accept = Globs(frame.accept)
        self._where = Condition.parse(frame.where) if frame.where is not None else None
        self._event = _Templates(frame.event) if frame.event is not None else None
        self._events = {name: _Templates(one.event) for name, one in streams.items() if one.event is not None}

    def decide(self, record: Record) -> Entry | Filtered:
        """The entry to journal: an event, or one with a fault; ``Filtered`` when it is not wanted. Never raises."""
        source = self.connector if record.stream is None else f"{self.connector}.{record.stream}"
        try:
            event = self._map(record, source)
            if not self._accept.matches(event.type):
                return Filtered("accept")
            if self._where is not None and not self._holds(self._where, event):
                return Filtered("where")
        except _Unmappable as unmappable:
            return self._set_aside(record, source, unmappable.fault)
        brief = record.brief and event.id == record.fallback_id
        return Entry(event, brief=brief, adjusted=record.adjusted, span=record.span)

    def encode(self, entry: Entry) -> tuple[Entry, bytes]:
        """The entry with its encoding; one that cannot be encoded (a number beyond 64 bits, say) becomes a fault."""
        try:
            return entry, encoded(entry)
        except (OverflowError, TypeError, ValueError, RecursionError) as error:
            refused = not_storable(entry, error, raw=self._raw)
            return refused, encode_entry(refused)

    def again(self, entry: Entry) -> Event | Fault | None:
        """Map a kept record with today's configuration: the event, the fault that remains, None where it is filtered now."""
        if not entry.raw:
            return entry.fault or Fault("nothing_kept", "the record was not kept, so it cannot be mapped again")
        # The standard library's decoder takes what was escaped because msgspec could not write it.
        kept = msgspec.convert(json.loads(entry.raw), Kept)
        stream = entry.event.source.partition(".")[2] or None
        record = Record(
            value=kept.value, received=entry.event.received, fallback_id=kept.fallback_id, context=kept.context,
            id=kept.id, type=kept.type, time=kept.time, stream=stream, parts=kept.parts, fault=kept.fault, beside=kept.beside,
            final=kept.final,
        )  # fmt: skip
        decided = self.decide(record)
        if isinstance(decided, Filtered):
            return None
        decided, _ = self.encode(decided)
        return decided.fault or decided.event

    def _map(self, record: Record, source: str) -> Event:
        if record.fault is not None:
            raise _Unmappable(record.fault)
        event = self._templates(record)
        if event is not None and not record.final:
            return event.map(record, source)
        shaped = _in_shape(record.value) if record.parts is None else None
        if shaped is not None:
            return _taken_as_it_is(shaped, record, source)
        parts = record.parts or _NO_PARTS
        return Event(
            id=_id(record.id or record.fallback_id),
            source=source,
            type=_type(record.type or f"{self.connector}.received"),
            time=_time(record.time),
            received=record.received,
            identifiers=parts.identifiers,
            traits=parts.traits,
            data=parts.data,
        )

    def _templates(self, record: Record) -> "_Templates | None":
        return self._event if record.stream is None else self._events.get(record.stream, self._event)

    @staticmethod
    def _holds(where: Condition, event: Event) -> bool:
        try:
            return where.holds({"event": msgspec.structs.asdict(event)})
        except ConditionFault as fault:
            raise _Unmappable(Fault("where_failed", str(fault), expression="where")) from fault

    def _set_aside(self, record: Record, source: str, fault: Fault) -> Entry:
        bare = Event(
            id=(record.id or "")[:LONGEST_TYPE],
            source=source,
            type=(record.type or "")[:LONGEST_TYPE],
            received=record.received,
        )
        if not self._raw:
            return Entry(bare, fault, brief=record.brief, span=record.span)
        event = self._templates(record)
        context = event.context_of(record) if event is not None else {}
        kept = Kept(
            value=record.value, fallback_id=record.fallback_id, context=context,
            id=record.id, type=record.type, time=record.time, stream=record.stream, parts=record.parts, fault=record.fault,
            beside=dict(record.beside), final=record.final,
        )  # fmt: skip
        return Entry(bare, fault, dumped(kept), record.brief, span=record.span)


class _Templates:
    """An ``event`` table, compiled."""

    def __init__(self, settings: EventSettings) -> None:
        self.regular = regular(settings)
        self._id = None if settings.id is None else _Compiled(settings.id, "id")
        self._type = None if settings.type is None else _Compiled(settings.type, "type")
        self._time = None if settings.time is None else _renderer(settings.time, "time")
        self._identifiers = None if settings.identifiers is None else _fields(settings.identifiers, "identifiers")
        self._traits = _wanted(settings.traits, "traits")
        self._data = _wanted(settings.data, "data")
        texts = [settings.id, settings.type, settings.time]
        for table in (settings.identifiers, settings.traits, settings.data):
            texts += list(table.values()) if isinstance(table, dict) else []
        joined = " ".join(text for text in texts if text)
        self._headers = frozenset(re.findall(r"_request\.headers\.(\w+)", joined)) - _PRIVATE_HEADERS
        self._parts = frozenset(re.findall(r"_request\.(query|form|body|received)\b", joined))

    def map(self, record: Record, source: str) -> Event:
        """The event of a record. Raises ``_Unmappable``."""
        quickly = None if self.regular is None else self.regular(record, source)
        return self._map(record, source) if quickly is None else quickly

    def _map(self, record: Record, source: str) -> Event:
        value, context, parts = record.value, record.context, record.parts or _NO_PARTS
        if record.beside and isinstance(value, dict):
            value = {**value, **record.beside}
        return Event(
            id=_id(self._id.text(value, context)) if self._id else _id(record.id or record.fallback_id),
            source=source,
            type=_type(
                self._type.text(value, context) if self._type else record.type or f"{source.partition('.')[0]}.received"
            ),
            time=_time(self._time(value, context) if self._time else record.time),
            received=record.received,
            identifiers=parts.identifiers if self._identifiers is None else _identifiers(self._identifiers, value, context),
            traits=parts.traits if self._traits is None else _table(self._traits, value, context, "traits", whole=record.value),
            data=parts.data if self._data is None else _table(self._data, value, context, "data", whole=record.value),
        )

    def context_of(self, record: Record) -> dict[str, Any]:
        """What the templates see beside the record, and nothing else of the request: it is kept with a dead letter."""
        kept: dict[str, Any] = {name: value for name, value in record.context.items() if name in {"_file", "_fetch"}}
        if self._headers or self._parts:
            request = record.context.get("_request", {})
            headers = request.get("headers", {})
            kept["_request"] = {
                "headers": {name: headers[name] for name in self._headers if name in headers},
                **{part: request.get(part) for part in self._parts},
            }
        return kept


class _Compiled:
    """A template that must not be null, for the event's ``path``."""

    def __init__(self, source: str, path: str) -> None:
        self._source, self._path, self._render = source, path, _renderer(source, path)

    def text(self, record: Any, context: Mapping[str, Any]) -> str:
        value, path = self._render(record, context), self._path
        if value is None:
            # What ``curl -d`` sends calls itself a form, whatever it is.
            form = isinstance(record, dict) and context.get("_request", {}).get("form") is record
            message = f"{path}: a part of {self._source!r} is null in this record{_OF_A_FORM if form else ''}"
            raise _Unmappable(Fault("null", message, self._source, path, "null"))
        return _text(value, path, self._source)


def _fields(table: Mapping[str, str], path: str) -> Fields:
    return [(name, _renderer(text, f"{path}.{name}")) for name, text in table.items()]


def _wanted(table: Mapping[str, str] | Literal["*"] | None, path: str) -> Fields | Literal["*"] | None:
    """What the table asks for, ``"*"`` for the whole record, None where it is not there."""
    return table if table is None or table == "*" else _fields(table, path)


def _renderer(text: str, path: str) -> Render:
    template = Template.parse(text)
    if template.plain is not None:
        return template.plain

    def render(record: Any, context: Mapping[str, Any]) -> Any:
        try:
            return template.render(record, context)
        except TemplateFault as fault:
            raise _Unmappable(Fault("template_failed", f"{path}: {fault}", fault.expression, path, fault.kind)) from fault

    return render


def _text(value: Any, path: str, expression: str | None = None) -> str:
    try:
        return as_text(value)
    except TemplateFault as fault:
        raise _Unmappable(Fault("not_text", f"{path}: {fault}", expression, path, fault.kind)) from fault


def _identifiers(fields: Fields, record: Any, context: Mapping[str, Any]) -> dict[str, str]:
    found: dict[str, str] = {}
    for kind, render in fields:
        value = render(record, context)
        if value is not None and (text := _text(value, f"identifiers.{kind}")):
            found[kind] = text
    return found


def _table(fields: Fields | Literal["*"], record: Any, context: Mapping[str, Any], path: str, *, whole: Any) -> dict[str, Any]:
    """The fields' values on ``record``; of ``"*"`` it is ``whole``, which must be an object."""
    if fields == "*":
        if not isinstance(whole, dict):
            raise _Unmappable(
                Fault("not_an_object", f'{path} = "*" needs a record that is an object', "*", path, kind_of(whole))
            )
        if not all(isinstance(name, str) for name in whole):
            raise _Unmappable(Fault("not_an_object", f'{path} = "*" needs a record whose names are text', "*", path, "object"))
        return whole
    return {name: value for name, render in fields if (value := render(record, context)) is not None}


def _in_shape(value: Any) -> dict[str, Any] | None:
    """The value as an object in the shape of an event, or None: text ``type``, no other keys, objects where they belong."""
    if not isinstance(value, dict) or not value.keys() <= _SHAPE:
        return None
    if not isinstance(value.get("type"), str):
        return None
    tables = (value.get(name) for name in ("identifiers", "traits", "data"))
    return value if all(table is None or isinstance(table, dict) for table in tables) else None


def _taken_as_it_is(value: dict[str, Any], record: Record, source: str) -> Event:
    given = value.get("id")
    identifiers = {}
    for kind, raw in (value.get("identifiers") or {}).items():
        if raw is not None and (text := _text(raw, f"identifiers.{kind}")):
            identifiers[kind] = text
    return Event(
        id=_id(record.id or record.fallback_id if given is None else _text(given, "id")),
        source=source,
        type=_type(value["type"]),
        time=_time(value.get("time", record.time)),
        received=record.received,
        identifiers=identifiers,
        traits=value.get("traits") or {},
        data=value.get("data") or {},
    )


def _id(text: str) -> str:
    if not 0 < len(text) <= LONGEST_ID:
        raise _Unmappable(Fault("id_length", f"id: must have 1 to {LONGEST_ID} characters, has {len(text)}", path="id"))
    return text


def _type(text: str) -> str:
    if not 0 < len(text) <= LONGEST_TYPE:
        raise _Unmappable(Fault("type_length", f"type: must have 1 to {LONGEST_TYPE} characters, has {len(text)}", path="type"))
    return text


def _time(value: Any) -> datetime | None:
    if value is None:
        return None
    try:
        return as_moment(value)
    except ValueError as error:
        raise _Unmappable(Fault("not_a_time", f"time: {error}", path="time", kind=kind_of(value))) from error
