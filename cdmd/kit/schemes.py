"""One vocabulary for every vendor's verification, and the presets written in it.

A ``Scheme`` says in data which header carries the signature, what was signed, how it is encoded, how old it may be, and where
an event's id, type and time stand. Pure data: ``cdmd.kit.signing`` decides by it. Not here: form, query and URL parts.
"""

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec
from msgspec import Meta

Headers: TypeAlias = Sequence[tuple[str, str]]
"""(lower-case name, value) in order of arrival."""

HMAC_DIGESTS: Final = MappingProxyType(
    {"hmac-sha1": "sha1", "hmac-sha256": "sha256", "hmac-sha384": "sha384", "hmac-sha512": "sha512"}
)
PLACEHOLDER: Final = re.compile(r"\{([^{}]*)\}")


def _expect(holds: bool, sentence: str) -> None:
    if not holds:
        raise ValueError(sentence)


def _at(document: Any, path: str) -> str | int | float | None:
    """The text or number at a dotted path of objects, else None."""
    for step in path.split("."):
        document = document.get(step) if isinstance(document, dict) else None
    return document if isinstance(document, str | int | float) and not isinstance(document, bool) else None


def _first(headers: Headers, wanted: str) -> str | None:
    """The first header of that name that says something."""
    for name, text in headers:
        if name == wanted and text:
            return text
    return None


class _Words(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Words that are not part of the vocabulary are mistakes."""


class SignatureAt(_Words, frozen=True, kw_only=True):
    """Where the signature is: a header, perhaps a list (``split``) whose items carry it behind ``prefix``."""

    header: Annotated[str, Meta(description="The header that carries it.")]
    split: Annotated[str | None, Meta(description="What separates several in one header.")] = None
    prefix: Annotated[str, Meta(description="What stands before each one that counts.")] = ""
    encoding: Annotated[Literal["hex", "base64"], Meta(description="How the bytes are written.")] = "hex"

    def __post_init__(self) -> None:
        _expect(bool(self.header), "`header` must not be empty")
        _expect(self.split != "", "`split` must not be empty")


class TimestampAt(_Words, frozen=True, kw_only=True):
    """Where the time of signing is: a header of its own, or an item of the signature header (``from = "signature"``)."""

    header: Annotated[str | None, Meta(description="The header that carries it.")] = None
    origin: Annotated[Literal["signature"] | None, Meta(description="It is an item of the signature header instead.")] = (
        msgspec.field(default=None, name="from")
    )
    prefix: Annotated[str, Meta(description="What stands before it.")] = ""
    unit: Annotated[Literal["s", "ms", "iso8601"], Meta(description="Seconds, milliseconds or RFC 3339.")] = "s"

    def __post_init__(self) -> None:
        _expect((self.header is None) != (self.origin is None), '`timestamp` needs `header` or `from = "signature"`')


class KeyForm(_Words, frozen=True, kw_only=True):
    """How a secret becomes the key: ``strip`` a prefix, then decode."""

    strip: Annotated[str, Meta(description="A prefix that is no part of the key.")] = ""
    encoding: Annotated[Literal["utf8", "base64", "hex"], Meta(description="How the rest is written.")] = "utf8"


class Place(_Words, frozen=True, kw_only=True):
    """Where a default of the event stands: a dotted path into the JSON body, else a header; ``prefix`` goes before it."""

    header: Annotated[str | None, Meta(description="The header that carries it.")] = None
    json: Annotated[str | None, Meta(description="The dotted path in a JSON body; it comes before the header.")] = None
    prefix: Annotated[str, Meta(description="What is put before it.")] = ""

    def __post_init__(self) -> None:
        _expect(self.header is not None or self.json is not None, "name a `header` or a `json` path")

    def find(self, headers: Headers, document: Any) -> str | int | float | None:
        """The value there: text or a number, None where there is none."""
        value = _at(document, self.json) if self.json is not None else None
        if value is None and self.header is not None:
            value = _first(headers, self.header.lower())
        if value is None:
            return None
        return f"{self.prefix}{value}" if self.prefix else value


class Scheme(_Words, frozen=True, kw_only=True):
    """How requests prove who sent them. ``tolerance`` (past) and ``tolerance_future`` are seconds.

    ``signed`` is a template of ``{body}``, ``{timestamp}``, ``{method}`` and ``{header:NAME}``. ``bearer``, ``basic`` and
    ``none`` sign nothing. Raises ValueError (through msgspec: ValidationError) for words that do not fit together.
    """

    algorithm: Annotated[
        Literal["hmac-sha1", "hmac-sha256", "hmac-sha384", "hmac-sha512", "bearer", "basic", "none"],
        Meta(description="How a request proves its sender."),
    ]
    signature: Annotated[SignatureAt | None, Meta(description="Where the signature is.")] = None
    timestamp: Annotated[TimestampAt | None, Meta(description="Where the time of signing is.")] = None
    tolerance: Annotated[int, Meta(description="How many seconds old a signature may be.")] = 300
    tolerance_future: Annotated[
        int | None, Meta(description="How many seconds ahead of our clock it may be; by default as many.")
    ] = None
    signed: Annotated[str, Meta(description="What was signed: `{body}`, `{timestamp}`, `{method}`, `{header:NAME}`.")] = (
        "{body}"
    )
    key: Annotated[KeyForm, Meta(description="How a secret becomes the key.")] = KeyForm()
    event_id: Annotated[Place | None, Meta(description="Where the event's id stands.")] = None
    event_type: Annotated[Place | None, Meta(description="Where its type stands.")] = None
    event_time: Annotated[Place | None, Meta(description="Where its time stands.")] = None

    def __post_init__(self) -> None:
        _expect(self.tolerance >= 0 and (self.tolerance_future or 0) >= 0, "a tolerance is not negative")
        if self.algorithm not in HMAC_DIGESTS:
            _expect(
                self.signature is None and self.timestamp is None, f"`{self.algorithm}` takes no `signature` or `timestamp`"
            )
            return
        _expect(self.signature is not None, "`signature` is needed: say which header carries it")
        words = PLACEHOLDER.findall(self.signed)
        unknown = [
            word for word in words if word not in {"body", "timestamp", "method"} and not re.fullmatch("header:.+", word)
        ]
        _expect(not unknown, f"`signed` knows {{body}}, {{timestamp}}, {{method}} and {{header:NAME}}, not {unknown}")
        _expect("body" in words, "`signed` must contain {body}, or anyone could replace it")
        _expect(("timestamp" in words) == (self.timestamp is not None), "`timestamp` and {timestamp} in `signed` go together")

    @property
    def signs(self) -> bool:
        """Whether the scheme proves that the body is the sender's."""
        return self.algorithm in HMAC_DIGESTS


PRESETS: Final[Mapping[str, Scheme]] = MappingProxyType(
    {
        "standard-webhooks": Scheme(
            algorithm="hmac-sha256",
            signature=SignatureAt(header="webhook-signature", split=" ", prefix="v1,", encoding="base64"),
            timestamp=TimestampAt(header="webhook-timestamp"),
            signed="{header:webhook-id}.{timestamp}.{body}",
            key=KeyForm(strip="whsec_", encoding="base64"),
            event_id=Place(header="webhook-id"),
            event_type=Place(json="type"),
            event_time=Place(json="timestamp", header="webhook-timestamp"),
        ),
        "github": Scheme(
            algorithm="hmac-sha256",
            signature=SignatureAt(header="x-hub-signature-256", prefix="sha256="),
            event_id=Place(header="x-github-delivery"),
            event_type=Place(header="x-github-event", prefix="github."),
        ),
        "bearer": Scheme(algorithm="bearer"),
        "basic": Scheme(algorithm="basic"),
        "none": Scheme(algorithm="none"),
    }
)
