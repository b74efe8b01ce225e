"""What a call of the tracking API means: its event's type and time, identifiers, traits and data. Pure.

By the Segment specification (identify, track, page, screen, group, alias). Identifiers are people's: a group and an account are
memberships, which stay in ``data`` and never join anybody. Not here: bodies and batches (``application_body``).
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from cdmd.connectors.application_body import Calls, salvaged, strip_secrets
from cdmd.connectors.application_keys import UserSignatures
from cdmd.errors import TemplateFault
from cdmd.kit.coercions import as_text, as_time, kind_of
from cdmd.kit.json_text import NotJson, decode_json
from cdmd.models import Fault, Parts, Record

KINDS: Final = ("identify", "track", "page", "screen", "group", "alias")

_TRANSPORT: Final = timedelta(seconds=1)
_NOTHING: Final[dict[str, Any]] = {}


class _Unusable(Exception):
    """The call cannot be taken. ``fault`` names no value of it."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.fault = Fault(code, message)


class Around(msgspec.Struct, frozen=True, kw_only=True):
    """What holds for all calls of a request: when it came, and what templates may see beside them.

    ``kind`` is the call that the path names (None: each says it itself), ``users`` proves user ids where that is required,
    ``late`` is by how much our clock was ahead of the sender's when the request came, ``caller`` the address it came from.
    """

    received: datetime
    late: timedelta = timedelta(0)
    kind: str | None = None
    users: UserSignatures | None = None
    beside: Mapping[str, Any] = {}
    caller: str | None = None


def read_call(calls: Calls, place: int, around: Around) -> Record:
    """The record of the call at ``place``; one that cannot be taken carries its fault. Never raises."""
    try:
        message = decode_json(calls.texts[place])
        if not isinstance(message, dict):
            return refused(calls, place, around, Fault("not_an_object", "a call is an object"))
        id_ = _id(message, "messageId")
    except NotJson as broken:
        return refused(calls, place, around, Fault(broken.code, broken.message))
    except _Unusable as unusable:
        return refused(calls, place, around, unusable.fault)
    kind = around.kind or message.get("type")
    try:
        type_, parts = _read(message, kind, calls, around)
    except _Unusable as unusable:
        return Record(
            value=message, received=around.received, fallback_id=id_ or calls.name(place), context=around.beside,
            id=id_, type=kind if isinstance(kind, str) else None, brief=id_ is None, fault=unusable.fault,
        )  # fmt: skip
    return Record(
        value=message, received=around.received, fallback_id=id_ or calls.name(place), context=around.beside,
        id=id_, type=type_, time=_time(message, calls, around), brief=id_ is None, parts=parts, adjusted=True,
    )  # fmt: skip


def refused(calls: Calls, place: int, around: Around, fault: Fault) -> Record:
    """The record of a call that is not even looked at, with as much of it as can be read."""
    value = salvaged(calls.texts[place])
    return Record(value=value, received=around.received, fallback_id=calls.name(place), brief=True, fault=fault)


def _read(message: dict[str, Any], kind: Any, calls: Calls, around: Around) -> tuple[str, Parts]:
    """Type and parts of the event; afterwards ``message`` holds all that was said for it, and no secret. Raises _Unusable."""
    signature = strip_secrets(message)
    context = _object(message.get("context"), "context")
    if calls.context:
        shared = {name: value for name, value in _object(calls.context, "context").items() if name != "userSignature"}
        signature = calls.context.get("userSignature") if signature is None else signature
        message["context"] = context = {**shared, **context}
    if context.get("direct") is True and context.get("ip") is None and around.caller is not None:
        message["context"] = context = {**context, "ip": around.caller}
    if calls.integrations:
        own = _object(message.get("integrations"), "integrations")
        message["integrations"] = {**_object(calls.integrations, "integrations"), **own}
    if around.users is not None:
        _prove(around.users, message, signature)
    type_ = _type(message, kind)
    identifiers = _identifiers(message, kind, context, proven=around.users is not None)
    return type_, Parts(identifiers=identifiers, traits=_traits(message, kind, context), data=_data(message, kind, context))


def _prove(users: UserSignatures, message: Mapping[str, Any], signature: object) -> None:
    user_id = _id(message, "userId")
    if user_id is None:
        return
    if signature is None:
        raise _Unusable("user_signature_missing", "context.userSignature: is missing; this application signs its user ids")
    if not users.prove(user_id, signature):
        raise _Unusable("user_signature_wrong", "context.userSignature: is not the HMAC-SHA256 of this userId in hexadecimal")


def _type(message: Mapping[str, Any], kind: Any) -> str:
    """The event's own name for ``track``, as it was sent; otherwise the call's."""
    if kind not in KINDS:
        raise _Unusable("invalid_type", f"type: must be one of {', '.join(KINDS)}")
    if kind != "track":
        return str(kind)
    name = _id(message, "event")
    if name is None:
        raise _Unusable("no_event_name", "event: a track call names what happened")
    return name


def _identifiers(message: Mapping[str, Any], kind: str, context: Mapping[str, Any], *, proven: bool) -> dict[str, str]:
    """Who it is about. Where user ids have to be proven, nothing else that names a person is taken on trust."""
    user_id = _id(message, "userId")
    anonymous_id = _id(message, "previousId" if kind == "alias" else "anonymousId")
    if user_id is None and (anonymous_id is None or kind == "alias"):
        needed = "userId" if kind == "alias" else "userId or anonymousId"
        raise _Unusable("no_user_anon_id", f"{needed}: is needed, so that it is known whose call this is")
    if kind == "alias" and anonymous_id is None:
        raise _Unusable("no_previous_id", "previousId: is needed, the id that the user had before")
    found: dict[str, str] = {}
    if user_id is not None:
        found["user_id"] = user_id
    if anonymous_id is not None:
        found["anonymous_id"] = anonymous_id
    if not proven:
        _add_contacts(found, message, kind, context)
        for name, text in _external(context, "users").items():
            found.setdefault(name, text)
    return found


def _add_contacts(found: dict[str, str], message: Mapping[str, Any], kind: str, context: Mapping[str, Any]) -> None:
    traits = _object(message.get("traits"), "traits") if kind == "identify" else _NOTHING
    context_traits = _object(context.get("traits"), "context.traits")
    if traits or context_traits:
        for name in ("email", "phone"):
            if text := _text(traits.get(name)) or _text(context_traits.get(name)):
                found[name] = text


def _traits(message: Mapping[str, Any], kind: str, context: Mapping[str, Any]) -> dict[str, Any]:
    """What ``identify`` tells of the person; some libraries put it into the context."""
    if kind != "identify":
        return {}
    return {**_object(context.get("traits"), "context.traits"), **_object(message.get("traits"), "traits")}


def _data(message: Mapping[str, Any], kind: str, context: Mapping[str, Any]) -> dict[str, Any]:
    """The properties, or what is told of a group; with the memberships."""
    told = "traits" if kind == "group" else "properties"
    data = {} if kind in {"identify", "alias"} else dict(_object(message.get(told), told))
    if kind in {"page", "screen"}:
        for name in ("name", "category"):
            if message.get(name) is not None:
                data.setdefault(name, message[name])
    group_id = _id(message, "groupId") if kind == "group" else _text(context.get("groupId"))
    if group_id is not None:
        data["group_id"] = group_id
    elif kind == "group":
        raise _Unusable("no_group_id", "groupId: a group call names the group")
    if accounts := _external(context, "accounts"):
        data.setdefault("accounts", accounts)
    return data


def _external(context: Mapping[str, Any], collection: str) -> dict[str, str]:
    """``context.externalIds`` of a collection by their type; the first of a type counts."""
    listed = context.get("externalIds")
    if not isinstance(listed, list):
        return {}
    found: dict[str, str] = {}
    for one in listed:
        if isinstance(one, dict) and one.get("collection") == collection and one.get("encoding", "none") == "none":
            kind, value = _text(one.get("type")), _text(one.get("id"))
            if kind and value:
                found.setdefault(kind, value)
    return found


def lateness(sent: Any, received: datetime) -> timedelta:
    """By how much the receiver's clock was ahead of the sender's: nought where it is not known, or explained by transport."""
    try:
        late = received - as_time(sent)
    except ValueError:
        return timedelta(0)
    return late if abs(late) >= _TRANSPORT else timedelta(0)


def _time(message: Mapping[str, Any], calls: Calls, around: Around) -> Any:
    """When it happened, on our clock: ``receivedAt - (sentAt - originalTimestamp)``.

    A ``timestamp`` beside an ``originalTimestamp`` is on a server's clock already. What is no time is the mapping's to name.
    """
    given, original = message.get("timestamp"), message.get("originalTimestamp")
    said, sent = original if given is None else given, message.get("sentAt")
    late = around.late if sent is None or sent == calls.sent else lateness(sent, around.received)
    if not late or said is None or (given is not None and original is not None):
        return said
    try:
        return as_time(as_time(said) + late)
    except (ValueError, OverflowError):
        return said


def _object(value: Any, name: str) -> dict[str, Any]:
    """An object; nothing for null, and for the empty list that some languages make of an empty object."""
    if isinstance(value, dict):
        return value
    if value is None or value == []:
        return _NOTHING
    raise _Unusable("not_an_object", f"{name}: an object is needed here, not {kind_of(value)}")


def _id(message: Mapping[str, Any], name: str) -> str | None:
    """Text, trimmed, or a number as text; None for null and for nothing."""
    value = message.get(name)
    if value is None:
        return None
    if type(value) is str:
        return value.strip() or None
    try:
        return as_text(value)
    except TemplateFault as fault:
        raise _Unusable("invalid_id", f"{name}: {fault}") from None


def _text(value: Any) -> str | None:
    """The same of a value that need not be usable."""
    if value is None:
        return None
    if type(value) is str:
        return value.strip() or None
    try:
        return as_text(value)
    except TemplateFault:
        return None
