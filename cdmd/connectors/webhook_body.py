"""What a webhook request holds, decoded: JSON or a form, and what templates may see of the request beside the record.

Not here: verification (it is done on the raw bytes before) and mapping.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec
from typing_extensions import override

from cdmd.kit.form_text import fields as pairs_of
from cdmd.kit.json_text import NotJson, decode_json
from cdmd.models import Request, show_time

_JSON: Final = "application/json"
_FORM: Final = "application/x-www-form-urlencoded"
_MOST_FIELDS: Final = 1000
_PAYLOAD: Final = "payload"
_CREDENTIAL: Final = "access_token"
_JSON_BEGINS: Final = (b"{", b"[")


class Undecodable(Exception):
    """The body as a whole cannot be taken: an HTTP status, a fixed word, and a sentence that quotes nothing of it."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


class Document(msgspec.Struct, frozen=True):
    """A decoded body: its value, and the form's fields where it was one."""

    value: Any
    form: Mapping[str, Any] | None = None


def decode(request: Request, *, kind: str | None = None, payload: str | None = None, as_form: bool = False) -> Document:
    """The body's value: JSON; of a form the JSON in its field ``payload``, else its fields; of GET the parameters.

    Raises Undecodable. ``kind`` is the body's content type, by default what its header says. Without a ``payload`` it is the
    form's only field if that has this name. A body that begins like a JSON object or list is JSON even when it calls itself a
    form, as what ``curl -d`` sends does (a form writes braces and brackets percent-encoded), unless the form's fields were what
    was signed (``as_form``).
    """
    if request.method == "GET":
        return Document(_query(request))
    if kind is None:
        kind = request.header("content-type") or ""
    try:
        if kind == _JSON:
            return Document(decode_json(request.body))
        kind = kind.partition(";")[0].strip().lower()
        if not kind or kind in {_JSON, "text/json"} or kind.endswith("+json"):
            return Document(decode_json(request.body))
        if kind == _FORM and not as_form and request.body.lstrip()[:1] in _JSON_BEGINS:
            return Document(decode_json(request.body))
        if kind == _FORM:
            return _of_form(_form(request.body), payload)
    except NotJson as fault:
        raise Undecodable(400, fault.code, fault.message) from None
    raise Undecodable(415, "unsupported_media_type", "send application/json or application/x-www-form-urlencoded")


def _of_form(fields: Mapping[str, Any], payload: str | None) -> Document:
    if payload is not None:
        held = fields.get(payload)
        if not isinstance(held, str):
            raise Undecodable(400, "no_payload", "the form does not have the one field that holds the payload")
        return Document(decode_json(held.encode()), fields)
    held = fields.get(_PAYLOAD) if len(fields) == 1 else None
    return Document(decode_json(held.encode()) if isinstance(held, str) else fields, fields)


class RequestContext(Mapping[str, Any]):
    """``_request`` for templates, built when one asks for it.

    headers (lower_case_with_underscores), query, form, body, and when it was received.
    """

    __slots__ = ("_built", "_document", "_request")

    def __init__(self, request: Request, document: Document) -> None:
        self._request, self._document = request, document
        self._built: dict[str, Any] | None = None

    @override
    def __getitem__(self, name: str) -> Any:
        if name != "_request":
            raise KeyError(name)
        if self._built is None:
            self._built = _view(self._request, self._document)
        return self._built

    @override
    def __iter__(self) -> Iterator[str]:
        return iter(("_request",))

    @override
    def __len__(self) -> int:
        return 1


def _view(request: Request, document: Document) -> dict[str, Any]:
    headers: dict[str, str] = {}
    for name, value in request.headers:
        headers.setdefault(name.replace("-", "_"), value)
    return {
        "headers": headers,
        "query": _query(request),
        "form": document.form or {},
        "body": document.value,
        "received": show_time(request.received),
    }


def _query(request: Request) -> dict[str, Any]:
    """The address's parameters, none where they cannot be read; a token among them proves the sender and is nobody's data."""
    try:
        fields = _fields(request.query.encode())
    except ValueError:
        return {}
    fields.pop(_CREDENTIAL, None)
    return fields


def _form(body: bytes) -> dict[str, Any]:
    if body and b"=" not in body:
        # What ``curl -d`` sends calls itself a form, whatever it is.
        message = "the body is neither JSON nor a form of name=value: send JSON as Content-Type: application/json"
        raise Undecodable(400, "invalid_form", message)
    try:
        return _fields(body)
    except ValueError:
        raise Undecodable(400, "invalid_form", "the body is no form in UTF-8, or has too many fields") from None


def _fields(text: bytes) -> dict[str, Any]:
    """The fields by name; one that is given several times is a list. Raises ValueError."""
    fields: dict[str, Any] = {}
    for name, value in pairs_of(text, most=_MOST_FIELDS):
        if name not in fields:
            fields[name] = value
        elif isinstance(fields[name], list):
            fields[name].append(value)
        else:
            fields[name] = [fields[name], value]
    return fields
