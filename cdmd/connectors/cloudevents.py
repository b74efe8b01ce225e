"""CloudEvents 1.0 over HTTP (binary, structured, batched), brought to one form: the structured one, an object.

The record that a mapping sees is that object, so `{data.total}` and `{subject}` work however it was sent. Not here: the
handshake of subscriptions, and formats other than JSON. Source: the CloudEvents HTTP protocol binding 1.0.2.
"""

import base64
import re
from collections.abc import Mapping
from typing import Any, Final, Literal, TypeAlias
from urllib.parse import unquote

from cdmd.connectors.webhook_body import Document, Undecodable, decode
from cdmd.models import Fault, Request

Mode: TypeAlias = Literal["binary", "structured", "batch"]

_PREFIX: Final = "ce-"
_REQUIRED: Final = ("id", "source", "type")
_ESCAPED: Final = re.compile(r"\\(.)")
_JSON: Final = "application/json"
_BATCH: Final = "application/cloudevents-batch"
_STRUCTURED: Final = "application/cloudevents"


def mode(headers: Mapping[str, str]) -> Mode | None:
    """How a request with these headers (by name) carries CloudEvents; None where it carries none."""
    kind = headers.get("content-type", "")
    if kind != _JSON:
        kind = kind.strip().lower()
        if kind.startswith(_STRUCTURED):
            return "batch" if kind.startswith(_BATCH) else "structured"
    return "binary" if "ce-specversion" in headers else None


def events(request: Request, how: Mode) -> tuple[Document, list[Any]]:
    """The decoded body, and what it carries. Raises Undecodable where the whole is no CloudEvent 1.x, or no list of them."""
    document = _binary(request) if how == "binary" else decode(request)
    found = document.value if how == "batch" else [document.value]
    if not isinstance(found, list) or not (how == "batch" or _is_event(document.value)):
        raise Undecodable(
            400, "invalid_cloudevent", "a CloudEvent is an object with specversion 1.0; a batch is a list of them"
        )
    return document, found


def fault(event: Any) -> Fault | None:
    """Why one of them is no CloudEvent: its fate is its own, whatever came with it. None where it is one."""
    if not _is_event(event):
        return Fault("invalid_cloudevent", "this is no object with specversion 1.0")
    missing = [each for each in _REQUIRED if not isinstance(event.get(each), str) or not event[each]]
    return Fault("invalid_cloudevent", f"a CloudEvent needs {' and '.join(missing)}, as text") if missing else None


def name(event: dict[str, Any]) -> str:
    """What names the occurrence: source and id together, with a space, which no source can hold."""
    return f"{event['source']} {event['id']}"


def _is_event(value: Any) -> bool:
    return isinstance(value, dict) and str(value.get("specversion", "")).startswith("1.")


def _unquoted(value: str) -> str:
    """What a quoted header says; any other as it is."""
    return _ESCAPED.sub(r"\1", value[1:-1]) if len(value) > 1 and value[0] == value[-1] == '"' else value


def _binary(request: Request) -> Document:
    """Attributes from the headers (percent-encoded), the data from the body."""
    found: dict[str, Any] = {
        key.removeprefix(_PREFIX): unquote(_unquoted(value)) for key, value in request.headers if key.startswith(_PREFIX)
    }
    kind = request.header("content-type")
    if kind is not None:
        found["datacontenttype"] = kind
    if request.body:
        try:
            found["data"] = decode(request).value
        except Undecodable as fault:
            if fault.code != "unsupported_media_type":
                raise
            found["data_base64"] = base64.b64encode(request.body).decode()
    return Document(found)
