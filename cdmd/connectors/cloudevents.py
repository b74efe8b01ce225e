"""CloudEvents 1.0 over HTTP (binary, structured, batched), brought to one form: the structured one, an object.

The record that a mapping sees is that object, so `{data.total}` and `{subject}` work however it was sent. Not here: the
handshake of subscriptions, and formats other than JSON. Source: the CloudEvents HTTP protocol binding 1.0.2.
"""

import base64
from typing import Any, Final, Literal, TypeAlias
from urllib.parse import unquote

from cdmd.connectors.webhook_body import Document, Undecodable, decode
from cdmd.models import Request

Mode: TypeAlias = Literal["binary", "structured", "batch"]

_PREFIX: Final = "ce-"
_BATCH: Final = "application/cloudevents-batch"
_STRUCTURED: Final = "application/cloudevents"


def mode(request: Request) -> Mode | None:
    """How the request carries CloudEvents; None where it carries none."""
    kind = (request.header("content-type") or "").strip().lower()
    if kind.startswith(_BATCH):
        return "batch"
    if kind.startswith(_STRUCTURED):
        return "structured"
    return None if request.header("ce-specversion") is None else "binary"


def events(request: Request, how: Mode) -> tuple[Document, list[dict[str, Any]]]:
    """The decoded body, and the events that it carries as objects. Raises Undecodable where one is no CloudEvent 1.x."""
    document = _binary(request) if how == "binary" else decode(request)
    found = document.value if how == "batch" else [document.value]
    if not isinstance(found, list) or not all(_is_event(one) for one in found):
        raise Undecodable(
            400, "invalid_cloudevent", "a CloudEvent is an object with specversion 1.0; a batch is a list of them"
        )
    return document, found


def name(event: dict[str, Any]) -> str | None:
    """What names the occurrence: source and id together, with a space, which no source can hold; None without both."""
    source, given = event.get("source"), event.get("id")
    return f"{source} {given}" if isinstance(source, str) and isinstance(given, str) and source and given else None


def _is_event(value: Any) -> bool:
    return isinstance(value, dict) and str(value.get("specversion", "")).startswith("1.")


def _binary(request: Request) -> Document:
    """Attributes from the headers (percent-encoded), the data from the body."""
    found: dict[str, Any] = {
        key.removeprefix(_PREFIX): unquote(value) for key, value in request.headers if key.startswith(_PREFIX)
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
