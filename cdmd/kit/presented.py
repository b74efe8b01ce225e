"""A request as verification sees it: its raw bytes, and from them on demand headers, form, query, JSON and forms of its URL.

What cannot be read raises ``Unproved``: nothing that a stranger sends is an error of ours. Not here: what it all proves.
"""

import codecs
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import GenericAlias, MappingProxyType
from typing import Any, Final, Literal, TypeAlias, TypedDict

import msgspec

from cdmd.kit.form_text import fields
from cdmd.kit.schemes import At, Place, UrlForm

Headers: TypeAlias = Sequence[tuple[str, str]]
"""(lower-case name, value) in order of arrival."""

Reason: TypeAlias = Literal["missing", "ambiguous", "malformed", "mismatch", "expired", "future"]
Pairs: TypeAlias = Sequence[tuple[str, str]]
Reader: TypeAlias = Callable[["Presented"], list[str]]
Teller: TypeAlias = Callable[["Presented"], str]


Finder: TypeAlias = Callable[[Mapping[str, str], Any, Mapping[str, Any] | None], str | int | float | None]
"""Finds an event's default in headers (``by_name``), the record and a form's fields; None where there is none."""

_Scalar: TypeAlias = str | int | float | bool | None
_FORM: Final = "application/x-www-form-urlencoded"
_MOST_FIELDS: Final = 1000
_PORTS: Final = MappingProxyType({"http": 80, "https": 443})
_KEPT_ENCODED: Final = MappingProxyType(
    {"%3A": ":", "%2F": "/", "%3F": "?", "%40": "@", "%21": "!", "%24": "$", "%27": "'", "%28": "(", "%29": ")",
     "%2A": "*", "%2C": ",", "%3B": ";"}
)  # fmt: skip
"""What HubSpot decodes in the URI before it signs (its documentation of version 3 signatures)."""


class Unproved(Exception):
    """The request proves nothing. ``reason`` is for counters and logs only: every refusal looks the same outside."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason = reason


class Presented:
    """One request. ``target`` is path and query as they were sent, ``base`` what senders write before the path."""

    __slots__ = ("_form", "_query", "base", "body", "headers", "method", "sole", "target")

    def __init__(
        self,
        headers: Headers,
        body: bytes,
        *,
        method: str,
        target: str = "",
        base: str | None = None,
        named: Mapping[str, str] | None = None,
    ) -> None:
        self.headers, self.body, self.method, self.target, self.base = headers, body, method, target, base
        self.sole = sole(headers) if named is None else named
        self._form: Pairs | None = None
        self._query: Pairs | None = None

    @property
    def is_form(self) -> bool:
        """Whether the body calls itself a form."""
        kind = by_name(self.headers).get("content-type", "")
        return kind.partition(";")[0].strip().lower() == _FORM

    @property
    def form(self) -> Pairs:
        """The form's fields in order, decoded; none where the body is something else. Raises Unproved."""
        if self._form is None:
            self._form = _pairs(self.body) if self.is_form else ()
        return self._form

    @property
    def query(self) -> Pairs:
        """The URL's parameters in order, decoded. Raises Unproved."""
        if self._query is None:
            self._query = _pairs(self.target.partition("?")[2].encode("latin-1", "replace"))
        return self._query

    def part(self, decode: Callable[[bytes], Any]) -> Any:
        """What ``decode`` takes of the body as JSON. Raises Unproved."""
        try:
            return decode(self.body.removeprefix(codecs.BOM_UTF8))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise Unproved("malformed") from None

    def sorted_form(self) -> bytes:
        """Each name with each of its different values, all in order: what Twilio and Mandrill sign after the URL."""
        return "".join(f"{name}{value}" for name, value in sorted(set(self.form))).encode()

    def url(self, form: UrlForm) -> bytes:
        """The address that the sender called, in one of its forms. Raises Unproved where it is not known."""
        if self.base is None:
            raise Unproved("missing")
        return _URL_FORMS[form](self.base + self.target).encode("latin-1", "replace")


def reader(at: At) -> Reader:
    """What finds the values at a place, in order; none where there are none."""
    if at.header is not None:
        names = [name.strip().lower() for name in at.header.split("|")]
        if len(names) == 1:
            only = names[0]
            return lambda presented: [value for name, value in presented.headers if name == only]
        return lambda presented: named(presented.headers, names)
    if at.form is not None:
        field = at.form
        return lambda presented: [value for name, value in presented.form if name == field]
    if at.query is not None:
        parameter = at.query
        return lambda presented: [value for name, value in presented.query if name == parameter]
    steps = (at.json or "").split(".")
    decode = msgspec.json.Decoder(_only(steps)).decode
    return lambda presented: _agreed(scalars(presented.part(decode), steps))


def _only(steps: Sequence[str]) -> Any:
    """The type of a document of which only the values at a path are decoded: a stranger's may hold very much beside them.

    Whatever else is in their place fits as well, and is as good as not there.
    """
    make: Any = TypedDict
    if not steps:
        return make("_Other", {}) | list[msgspec.Raw] | _Scalar
    inner = _only(steps[1:])
    items = inner if steps[0] == "*" or steps[0].isdigit() else msgspec.Raw
    return make("_Part", {steps[0]: inner}, total=False) | GenericAlias(list, (items,)) | _Scalar


def teller(at: At) -> Teller:
    """What tells the only value at a place. Raises Unproved where there is none, an empty one, or several."""
    read = reader(at)
    if at.header is None or "|" in at.header:
        return lambda presented: one(read, presented)
    name = at.header.strip().lower()
    return lambda presented: presented.sole.get(name) or one(read, presented)


def sole(headers: Headers) -> Mapping[str, str]:
    """The headers whose name stands only once, by name."""
    found = dict(headers)
    if len(found) == len(headers):
        return found
    counts = Counter(name for name, _ in headers)
    return {name: value for name, value in headers if counts[name] == 1}


def one(read: Reader, presented: Presented) -> str:
    """The only value there. Raises Unproved."""
    found = read(presented)
    if len(found) != 1 or not found[0]:
        raise Unproved("ambiguous" if len(found) > 1 else "missing")
    return found[0]


def named(headers: Headers, names: Sequence[str]) -> list[str]:
    """The values of the first of these headers that is there."""
    for wanted in names:
        found = [value for name, value in headers if name == wanted]
        if found:
            return found
    return []


def scalars(document: Any, steps: Sequence[str]) -> list[str | int | float]:
    """The texts and numbers at a path of names, places in lists (``0``) and ``*`` for all of a list."""
    level = [document]
    for step in steps:
        level = [inner for outer in level for inner in _stepped(outer, step)]
    return [value for value in level if isinstance(value, str | int | float) and not isinstance(value, bool)]


def by_name(headers: Headers) -> Mapping[str, str]:
    """Each header by its name; of several the first that says something."""
    found = dict(headers)
    if len(found) < len(headers):
        found = {}
        for name, text in reversed(headers):
            if text or name not in found:
                found[name] = text
    return found


def finder(place: Place) -> Finder:
    """What finds an event's default: the JSON path first, then the form field, then the header."""
    sources: list[Finder] = []
    if place.json is not None:
        steps = place.json.split(".")
        sources.append(partial(_in_object, steps[0]) if len(steps) == 1 else partial(_in_document, steps))
    if place.form is not None:
        sources.append(partial(_in_form, place.form))
    names = () if place.header is None else place.header.split("|")
    sources += [partial(_in_headers, name.strip().lower()) for name in names]
    if len(sources) == 1 and not place.prefix:
        return sources[0]

    def find(headers: Mapping[str, str], document: Any, form: Mapping[str, Any] | None) -> str | int | float | None:
        for source in sources:
            value = source(headers, document, form)
            if value is not None:
                return f"{place.prefix}{value}" if place.prefix else value
        return None

    return find


def _in_object(name: str, _headers: object, document: Any, _form: object) -> str | int | float | None:
    """The quickest form of ``_in_document``, for the commonest places."""
    if type(document) is dict:
        found = document.get(name)
        if found is None or type(found) is str:
            return found
    return _at(document, [name])


def _in_document(steps: Sequence[str], _headers: object, document: Any, _form: object) -> str | int | float | None:
    return _at(document, steps)


def _in_form(field: str, _headers: object, _document: object, form: Mapping[str, Any] | None) -> str | None:
    given = None if form is None else form.get(field)
    return given if given and isinstance(given, str) else None


def _in_headers(name: str, headers: Mapping[str, str], _document: object, _form: object) -> str | None:
    return headers.get(name) or None


def _at(document: Any, steps: Sequence[str]) -> str | int | float | None:
    """The first text or number at a path; objects all the way are the rule."""
    for place, step in enumerate(steps):
        if type(document) is not dict:
            return next(iter(scalars(document, steps[place:])), None)
        document = document.get(step)
    return document if isinstance(document, str | int | float) and not isinstance(document, bool) else None


def _stepped(outer: Any, step: str) -> list[Any]:
    if isinstance(outer, dict):
        return [outer[step]] if step in outer else []
    if not isinstance(outer, list):
        return []
    if step == "*":
        return outer
    return (
        [outer[int(step)]] if step.isascii() and step.isdigit() and len(step) < len("10000") and int(step) < len(outer) else []
    )


def _agreed(values: Sequence[str | int | float]) -> list[str]:
    """Several that say the same are one."""
    return list(dict.fromkeys(str(value) for value in values))


def _pairs(text: bytes) -> Pairs:
    try:
        return fields(text, most=_MOST_FIELDS)
    except ValueError:
        raise Unproved("malformed") from None


def _decoded(url: str) -> str:
    for written, plain in _KEPT_ENCODED.items():
        url = url.replace(written, plain).replace(written.lower(), plain)
    return url


def _with_port(url: str) -> str:
    scheme, host, rest = _authority(url)
    known = host.endswith("]") or ":" not in host
    return f"{scheme}://{host}:{_PORTS[scheme]}{rest}" if known and scheme in _PORTS else url


def _without_port(url: str) -> str:
    scheme, host, rest = _authority(url)
    name, _, port = host.rpartition(":")
    return f"{scheme}://{name}{rest}" if name and port.isdigit() else url


def _authority(url: str) -> tuple[str, str, str]:
    """Scheme, host with its port, and all that follows: taken apart without writing any of it differently."""
    scheme, _, rest = url.partition("://")
    end = min((place for mark in "/?" if (place := rest.find(mark)) >= 0), default=len(rest))
    return scheme, rest[:end], rest[end:]


_URL_FORMS: Final[Mapping[UrlForm, Callable[[str], str]]] = MappingProxyType(
    {"as-is": lambda url: url, "decoded": _decoded, "with-port": _with_port, "without-port": _without_port}
)
