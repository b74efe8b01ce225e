"""One vocabulary for every vendor's verification.

A ``Scheme`` says in data where the signature is, what was signed, how it is encoded, how old it may be, and where an event's
id, type and time stand. Pure data: ``cdmd.kit.signing`` decides by it; the vendors' schemes in these words are
``cdmd.kit.presets``.
"""

import re
from types import MappingProxyType
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta
from typing_extensions import override

HMAC_DIGESTS: Final = MappingProxyType(
    {"hmac-sha1": "sha1", "hmac-sha256": "sha256", "hmac-sha384": "sha384", "hmac-sha512": "sha512"}
)
PUBLIC_KEYS: Final = frozenset(("ed25519", "ecdsa-p256-sha256", "jwt-rs256"))
PLACEHOLDER: Final = re.compile(r"\{([^{}]*)\}")
TOLERANCE: Final = 300
"""Seconds by which the time of signing may lie before or after our clock where a scheme says nothing else."""

_PLAIN_WORDS: Final = frozenset(("body", "timestamp", "method", "url", "secret", "form-sorted"))
_KNOWN: Final = ", ".join(
    [*(f"{{{word}}}" for word in sorted(_PLAIN_WORDS)), "{header:NAME}, {form:NAME}, {query:NAME}, {json:PATH}"]
)
_NAMING: Final = re.compile(r"(header|form|query|json):.+")
_OVER_THE_BODY: Final = re.compile(r"body|form-sorted|form:.+")

HmacAlgorithm = Literal["hmac-sha1", "hmac-sha256", "hmac-sha384", "hmac-sha512"]
Algorithm = HmacAlgorithm | Literal["sha256", "ed25519", "ecdsa-p256-sha256", "jwt-rs256", "bearer", "basic", "none"]
UrlForm = Literal["as-is", "decoded", "with-port", "without-port"]


def _expect(holds: bool, sentence: str) -> None:
    if not holds:
        raise ValueError(sentence)


class _Words(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Words that are not part of the vocabulary are mistakes."""


class At(_Words, frozen=True, kw_only=True):
    """A place in a request, one of the four. A header may have other names (``a|b``): the first that is there counts."""

    header: Annotated[str | None, Meta(description="The header that carries it; `a|b`: the first of them that is there.")] = (
        None
    )
    form: Annotated[str | None, Meta(description="The form field that carries it.")] = None
    query: Annotated[str | None, Meta(description="The parameter of the URL that carries it.")] = None
    json: Annotated[str | None, Meta(description="The dotted path in the JSON body; `*` stands for every item of a list.")] = (
        None
    )

    def __post_init__(self) -> None:
        named = [place for place in (self.header, self.form, self.query, self.json) if place is not None]
        _expect(len(named) == 1 and bool(named[0]), "name one of `header`, `form`, `query` and `json`")


class SignatureAt(At, frozen=True, kw_only=True):
    """Where the signature or token is, perhaps a list (``split``) whose items carry it behind ``prefix``."""

    split: Annotated[str | None, Meta(description="What separates several of them.")] = None
    prefix: Annotated[str, Meta(description="What stands before each one that counts; `a|b`: any of them.")] = ""
    encoding: Annotated[Literal["hex", "base64"], Meta(description="How the bytes are written.")] = "hex"

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        _expect(self.split != "", "`split` must not be empty")


class TimestampAt(At, frozen=True, kw_only=True):
    """Where the time of signing is: a place of its own, or an item beside the signature (``from = "signature"``)."""

    origin: Annotated[Literal["signature"] | None, Meta(description="It is an item beside the signature instead.")] = (
        msgspec.field(default=None, name="from")
    )
    prefix: Annotated[str, Meta(description="What stands before it.")] = ""
    unit: Annotated[Literal["s", "ms", "iso8601"], Meta(description="Seconds, milliseconds or RFC 3339.")] = "s"

    @override
    def __post_init__(self) -> None:
        if self.origin is None:
            super().__post_init__()
        else:
            _expect(not any((self.header, self.form, self.query, self.json)), '`from = "signature"` needs no other place')


class KeyForm(_Words, frozen=True, kw_only=True):
    """How a secret becomes the key: ``strip`` a prefix, then decode."""

    strip: Annotated[str, Meta(description="A prefix that is no part of the key.")] = ""
    encoding: Annotated[
        Literal["utf8", "base64", "hex", "base64-der", "pem", "jwk"],
        Meta(description="How the rest is written; `base64-der`, `pem` and `jwk` (one, or a set) are public keys."),
    ] = "utf8"


class BodyHash(_Words, frozen=True, kw_only=True):
    """A digest of the body that stands in what was signed instead of the body: a header or a parameter of the URL."""

    header: Annotated[str | None, Meta(description="The header that carries it.")] = None
    query: Annotated[str | None, Meta(description="The parameter of the URL that carries it.")] = None
    prefix: Annotated[str, Meta(description="What stands before it.")] = ""
    algorithm: Annotated[Literal["sha1", "sha256", "sha384", "sha512"], Meta(description="Which digest.")] = "sha256"
    encoding: Annotated[Literal["hex", "base64"], Meta(description="How the bytes are written.")] = "hex"

    def __post_init__(self) -> None:
        _expect(bool(self.header) != bool(self.query), "`body_hash` needs `header` or `query`")

    @property
    def at(self) -> At:
        """Its place."""
        return At(header=self.header, query=self.query)


class AlgorithmAt(_Words, frozen=True, kw_only=True):
    """A header that names the algorithm among ``words``; where it is missing or silent ``algorithm`` stands."""

    header: Annotated[str, Meta(description="The header that names it.")]
    words: Annotated[dict[str, HmacAlgorithm], Meta(description="The sender's word for each algorithm that may be named.")]
    split: Annotated[str | None, Meta(description="What separates its items.")] = None
    prefix: Annotated[str, Meta(description="What stands before the name.")] = ""

    def __post_init__(self) -> None:
        _expect(bool(self.header) and self.split != "", "`header` and `split` must not be empty")


class Place(_Words, frozen=True, kw_only=True):
    """Where a default of the event stands, looked for in this order: a JSON path, a form field, a header."""

    header: Annotated[str | None, Meta(description="The header that carries it; `a|b`: the first of them that is there.")] = (
        None
    )
    form: Annotated[str | None, Meta(description="The form field that carries it; it comes before the header.")] = None
    json: Annotated[
        str | None, Meta(description="The dotted path in a JSON body; it comes before the form and the header.")
    ] = None
    prefix: Annotated[str, Meta(description="What is put before it.")] = ""

    def __post_init__(self) -> None:
        named = (self.header, self.form, self.json)
        _expect(any(place is not None for place in named), "name a `header`, a `form` field or a `json` path")


class Payload(_Words, frozen=True, kw_only=True):
    """Where the record is when it is not the body itself: JSON in a form field."""

    form: Annotated[str, Meta(description="The form field that holds it as JSON.")]


class Scheme(_Words, frozen=True, kw_only=True):
    """How requests prove who sent them. ``tolerance`` (past) and ``tolerance_future`` are seconds.

    ``signed`` is a template of ``{body}``, ``{timestamp}``, ``{method}``, ``{url}``, ``{secret}``, ``{form-sorted}`` and
    ``{header:NAME}``, ``{form:NAME}``, ``{query:NAME}``, ``{json:PATH}``. ``bearer``, ``basic`` and ``none`` sign nothing. With
    ``preset`` the words given replace those of a preset (``over``). Raises ValueError (through msgspec: ValidationError) for
    words that do not fit together.
    """

    preset: Annotated[str | None, Meta(description="The preset that these words change.")] = None
    algorithm: Annotated[Algorithm | None, Meta(description="How a request proves its sender.")] = None
    algorithm_from: Annotated[AlgorithmAt | None, Meta(description="A header that names another one.")] = None
    signature: Annotated[SignatureAt | None, Meta(description="Where the signature (for `bearer`: the token) is.")] = None
    timestamp: Annotated[TimestampAt | None, Meta(description="Where the time of signing is.")] = None
    tolerance: Annotated[int | None, Meta(description="How many seconds old a signature may be; by default 300.")] = None
    tolerance_future: Annotated[
        int | None, Meta(description="How many seconds ahead of our clock it may be; by default as many.")
    ] = None
    signed: Annotated[
        str | None,
        Meta(
            description="What was signed: `{body}` (the default), `{timestamp}`, `{method}`, `{url}`, `{secret}`,"
            " `{form-sorted}`, `{header:NAME}`, `{form:NAME}`, `{query:NAME}`, `{json:PATH}`."
        ),
    ] = None
    key: Annotated[KeyForm | None, Meta(description="How a secret becomes the key; by default as it is.")] = None
    url: Annotated[
        tuple[UrlForm, ...] | None, Meta(description="The forms of the URL that may have been signed; by default as it is.")
    ] = None
    body_hash: Annotated[BodyHash | None, Meta(description="A digest of the body in what was signed.")] = None
    claims: Annotated[
        dict[str, str] | None,
        Meta(
            description="For `jwt-rs256`: what the token must claim, `iss` among it; `{json:PATH}`, `{header:NAME}` and so on"
            " tie it to the request."
        ),
    ] = None
    body_unsigned: Annotated[bool, Meta(description="Take it that the sender signs something, but not the body.")] = False
    payload: Annotated[Payload | None, Meta(description="Where the record is, if not the body.")] = None
    event_id: Annotated[Place | None, Meta(description="Where the event's id stands.")] = None
    event_type: Annotated[Place | None, Meta(description="Where its type stands.")] = None
    event_time: Annotated[Place | None, Meta(description="Where its time stands.")] = None

    def __post_init__(self) -> None:
        _expect((self.tolerance or 0) >= 0 and (self.tolerance_future or 0) >= 0, "a tolerance is not negative")
        if self.preset is not None:
            return
        _expect(self.algorithm is not None, "`algorithm` is needed, or the `preset` that is changed")
        if self.signs:
            self._check_signing()
        else:
            _expect(self.timestamp is None, f"`{self.algorithm}` takes no `timestamp`")
            _expect(
                self.signature is None or self.algorithm == "bearer",
                f"`{self.algorithm}` takes no `signature` or `timestamp`",
            )

    def _check_signing(self) -> None:
        _expect(self.signature is not None, "`signature` is needed: say where it is")
        _expect((self.claims is not None) == (self.algorithm == "jwt-rs256"), "`claims` and `jwt-rs256` go together")
        if self.claims is not None:
            self._check_claims(self.claims)
            return
        words = self.words
        unknown = [word for word in words if word not in _PLAIN_WORDS and not _NAMING.fullmatch(word)]
        _expect(not unknown, f"`signed` knows {_KNOWN}, not {unknown}")
        _expect(self.algorithm != "sha256" or "secret" in words, "a plain digest proves nothing without {secret} in `signed`")
        covered = any(_OVER_THE_BODY.fullmatch(word) for word in words) or self.body_hash is not None or self.body_unsigned
        _expect(
            covered, "`signed` must contain {body} or a part of it, or anyone could replace it (or write body_unsigned = true)"
        )
        _expect(("timestamp" in words) == (self.timestamp is not None), "`timestamp` and {timestamp} in `signed` go together")
        if self.body_hash is not None:
            holder = f"header:{self.body_hash.header}" if self.body_hash.header else "url"
            _expect(holder in words, f"`signed` must contain {{{holder}}}, where the body's hash stands")
        fields = {word for word in words if word.startswith("form:")}
        _expect(
            not fields or self.body_unsigned or (self.payload is not None and f"form:{self.payload.form}" in fields),
            "`payload` must be the form field that is signed",
        )

    def _check_claims(self, claims: dict[str, str]) -> None:
        _expect("iss" in claims, "`claims` must name `iss`: the key may sign for others, too")
        empty = [name for name, text in claims.items() if not text]
        _expect(
            not empty, f"`claims` must say what the token has to claim: write {' and '.join(f'`{name}`' for name in empty)}"
        )
        _expect(self.signed is None and self.timestamp is None, "`jwt-rs256` takes no `signed` or `timestamp`")
        _expect(self.body_unsigned, "a token does not cover the body: write body_unsigned = true if that is enough for you")
        words = [word for text in claims.values() for word in PLACEHOLDER.findall(text)]
        unknown = [word for word in words if not _NAMING.fullmatch(word)]
        _expect(not unknown, f"`claims` know {{header:NAME}}, {{form:NAME}}, {{query:NAME}} and {{json:PATH}}, not {unknown}")

    def over(self, base: "Scheme") -> "Scheme":
        """``base`` with the words that are given here. Raises ValueError where they do not fit it."""
        given = {
            name: value
            for name, default in zip(self.__struct_fields__, _DEFAULTS, strict=True)
            if (value := getattr(self, name)) != default
        }
        return msgspec.structs.replace(base, **{**given, "preset": None})

    @property
    def words(self) -> list[str]:
        """The placeholders of what was signed."""
        return PLACEHOLDER.findall(self.signed or "{body}") if self.claims is None else []

    @property
    def signs(self) -> bool:
        """Whether the scheme proves that the request is the sender's."""
        return self.algorithm not in {"bearer", "basic", "none", None}

    @property
    def signs_url(self) -> bool:
        """Whether the address that the sender called is part of what was signed."""
        return self.signs and "url" in self.words

    @property
    def reads_form(self) -> bool:
        """Whether the record is in a form: such a body is never taken for anything else."""
        return self.payload is not None or any(word.startswith("form") for word in self.words if self.signs)


_DEFAULTS: Final = tuple(field.default for field in msgspec.structs.fields(Scheme))
