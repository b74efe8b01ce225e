"""The direct application: the Segment HTTP tracking API, so that the libraries which speak it work unchanged.

Several applications answer the same paths and are told apart by their write keys. Order: key, body, quota, calls, emit once,
answer. Not here: what a call means (``application_calls``), limits on the request (the edge's).
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, Final, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from cdmd.connectors.application_body import Calls, calls_in
from cdmd.connectors.application_calls import KINDS, Around, lateness, read_call, refused
from cdmd.connectors.application_keys import UserSignatures, WriteKeys
from cdmd.connectors.webhook_body import Document, RequestContext, Undecodable
from cdmd.contracts import Source
from cdmd.errors import ConfigInvalid, Overloaded
from cdmd.kit.pages import origin_of, readable
from cdmd.kit.proxies import UNIX
from cdmd.kit.quantities import Rate, Size
from cdmd.kit.ratelimit import FULL, Allowance, Granted, retry_after, take
from cdmd.kit.secret import Secret
from cdmd.models import Answer, Emission, Fault, Record, Rejected, Request, Route, Verdict

_JSON: Final = ("content-type", "application/json")
_SUCCESS: Final = b'{"success":true}'
_PATHS: Final[Mapping[str, str | None]] = {
    **{f"/v1/{name}": kind for kind in KINDS for name in (kind, kind[0])},
    **dict.fromkeys(("/v1/batch", "/v1/b")),
}
"""By the call's whole name, or by its first letter, as libraries for browsers and telephones have it."""
_METHODS: Final = ("POST", "OPTIONS")
_CREDENTIALS: Final = frozenset(("authorization", "cookie", "proxy-authorization"))
_PREFLIGHT: Final = (
    ("access-control-allow-methods", "POST"),
    ("access-control-allow-headers", "authorization, content-type, content-encoding, anonymousid, x-retry-count"),
    ("access-control-max-age", "7200"),
)


class ApplicationSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The keys of a connector of type ``application``."""

    write_keys: Annotated[
        tuple[Secret, ...],
        Meta(description="The live write keys; several at once while one is exchanged, or one for each app.", min_length=1),
    ]
    user_signature: Annotated[
        Literal["off", "required"],
        Meta(
            description='`"required"`: a `userId` counts only with its HMAC-SHA256 in `context.userSignature` (hexadecimal); '
            "beside it only `anonymousId` identifies, because e-mail, phone and external ids are not signed."
        ),
    ] = "off"
    user_secrets: Annotated[
        tuple[Secret, ...],
        Meta(description="The secrets that user ids are signed with; several at once while one is exchanged."),
    ] = ()
    quota: Annotated[
        Rate | None,
        Meta(description="Events (not requests) that each write key may send; beyond it 429 with `Retry-After`."),
    ] = None
    cors_origins: Annotated[
        tuple[str, ...], Meta(description="Origins of the web pages that may send, exactly as browsers name them.")
    ] = ()
    max_body: Annotated[
        Size,
        Meta(
            description="The largest request body here, instead of `http.max_body`. Segment documents 500 KB, RudderStack's "
            "libraries send 4 MiB."
        ),
    ] = Size.parse("5MiB")
    max_event: Annotated[Size, Meta(description="The largest single call; a larger one becomes a dead letter.")] = Size.parse(
        "32KiB"
    )
    max_batch: Annotated[int, Meta(description="Calls in one batch; those beyond it become dead letters.", ge=1)] = 2500
    told_apart_by: ClassVar[str] = "write_keys"
    """The secrets that say whose a request is: no two connectors may have one in common."""


class Application:
    """A push connector that speaks the tracking API."""

    Settings: ClassVar[type[msgspec.Struct]] = ApplicationSettings
    type: ClassVar[str] = "application"

    def __init__(self, name: str, settings: ApplicationSettings) -> None:
        problems = self.check(name, settings)
        if problems:
            raise ConfigInvalid([f"connectors.{name}.{problem}" for problem in problems])
        self._settings = settings
        self._keys = WriteKeys(settings.write_keys)
        self._users = UserSignatures(settings.user_secrets) if settings.user_signature == "required" else None
        self._allowance = None if settings.quota is None else Allowance.quota(settings.quota)
        self._buckets = [FULL] * len(settings.write_keys)
        self._origins = frozenset(settings.cors_origins)
        self._verified_by: int | None = None

    @classmethod
    def check(cls, name: str, settings: ApplicationSettings) -> list[str]:
        """Every mistake that the struct cannot express, as ``key: what is wrong``."""
        found = []
        for key, secrets in (("write_keys", settings.write_keys), ("user_secrets", settings.user_secrets)):
            found += [f"{key}: the secret {secret.reference} is empty" for secret in secrets if not secret.reveal()]
        if settings.user_signature == "required" and not settings.user_secrets:
            found.append("user_secrets: are needed where user_signature is required")
        for place, origin in enumerate(settings.cors_origins):
            if not _is_origin(origin):
                found.append(f"cors_origins.{place}: {origin!r} is no origin: write https://HOST or https://HOST:PORT")
        return found

    @property
    def routes(self) -> Sequence[Route]:
        """The paths of the tracking API, shared with other applications."""
        most = self._settings.max_body.bytes
        return [Route(path=path, methods=_METHODS, max_body=most, shared=True, origins=self._origins) for path in _PATHS]

    @property
    def verified_by(self) -> int | None:
        """Which of the write keys (from 0) was used last; None before the first."""
        return self._verified_by

    def recognises(self, request: Request) -> bool:
        """Whether it brings one of this application's keys; a browser's question whether it comes from one of its origins."""
        if request.method == "OPTIONS":
            return self._origin(request) is not None
        return self._keys.find(request) is not None

    def decide(self, request: Request, source: Source) -> Answer | Emission | None:
        """What a service's request is worth; a browser's goes through ``answer``, which tells the browser so in every case."""
        return None if request.header("origin") is not None else self._decide(request, source)

    async def answer(self, request: Request, source: Source) -> Answer:
        """Decide, emit and answer; with the headers that a web page of a configured origin needs to read it."""
        return self._readable(request, await _emitted(self._decide(request, source), source))

    async def read(self, request: Request, source: Source) -> Answer:
        """Take a request whose sender is beyond doubt: all that follows the key. Its path may be any."""
        return await _emitted(self._take(request, source, key=None), source)

    def _decide(self, request: Request, source: Source) -> Answer | Emission:
        if request.method == "OPTIONS":
            return self._preflight(request)
        key = self._keys.find(request)
        if key is None:
            source.refuse(1, "write_key")
            challenge = ("www-authenticate", "Bearer")
            return _refusal(401, "invalid_write_key", "no such write key; send it as the user name of Basic", challenge)
        self._verified_by = key
        return self._take(request, source, key=key)

    def _take(self, request: Request, source: Source, *, key: int | None) -> Answer | Emission:
        kind = _PATHS.get(request.path)
        try:
            calls = calls_in(request.body, batched=None if request.path not in _PATHS else kind is None)
        except Undecodable as fault:
            source.refuse(1, fault.code)
            return _refusal(fault.status, fault.code, fault.message)
        late = self._draw(key, len(calls.texts), now=source.clock.monotonic())
        if late is not None:
            source.refuse(len(calls.texts), "quota")
            seconds = str(retry_after(late))
            limit = f"more than {self._settings.quota} events with this key; send them again later"
            return _refusal(429, "quota_exceeded", limit, ("retry-after", seconds), ("x-ratelimit-reset", seconds))
        if not calls.texts:
            return Answer(body=_SUCCESS, headers=(_JSON,))
        records = self._records(request, calls, kind)
        if (span := request.span) is not None:
            records = [msgspec.structs.replace(one, span=span) for one in records]
        return Emission(records=records, answer=_summary if calls.batched else _verdict)

    def _draw(self, key: int | None, count: int, *, now: float) -> float | None:
        """Count ``count`` events against the key's quota; the seconds to wait where it is used up."""
        if key is None or self._allowance is None or not count:
            return None
        drawn = take(self._allowance, self._buckets[key], now, cost=count)
        if not isinstance(drawn, Granted):
            return drawn.seconds
        self._buckets[key] = drawn.state
        return None

    def _records(self, request: Request, calls: Calls, kind: str | None) -> list[Record]:
        beside = RequestContext(_without_credentials(request), Document(None))
        late = lateness(calls.sent, request.received)
        caller = None if request.peer in {"", UNIX} else request.peer
        around = Around(received=request.received, late=late, kind=kind, users=self._users, beside=beside, caller=caller)
        most, largest = self._settings.max_batch, self._settings.max_event.bytes
        return [
            read_call(calls, place, around) if place < most and len(text) <= largest else self._too_much(calls, place, around)
            for place, text in enumerate(calls.texts)
        ]

    def _too_much(self, calls: Calls, place: int, around: Around) -> Record:
        """The record of a call that stands beyond a limit."""
        most = self._settings.max_batch
        fault = Fault("event_too_large", f"a call may have {self._settings.max_event}, also within a batch")
        if place >= most:
            fault = Fault("too_many_events", f"a batch holds at most {most} calls; this one stands beyond them")
        return refused(calls, place, around, fault)

    # ---- web pages -------------------------------------------------------------------------------------------------

    def _origin(self, request: Request) -> str | None:
        return origin_of(request.headers, self._origins)

    def _preflight(self, request: Request) -> Answer:
        if self._origin(request) is None:
            return _refusal(403, "origin_not_allowed", "pages of this origin may not send here (cors_origins)")
        return Answer(status=204, headers=_PREFLIGHT)

    def _readable(self, request: Request, answer: Answer) -> Answer:
        origin = self._origin(request)
        return answer if origin is None else msgspec.structs.replace(answer, headers=readable(answer.headers, origin=origin))


def _is_origin(text: str) -> bool:
    """Whether a browser could name it so: scheme, host in lower case, a port that is not the scheme's own; nothing more."""
    try:
        parts = urlsplit(text)
        port = "" if parts.port is None else f":{parts.port}"
    except ValueError:
        return False
    usual = {"http": ":80", "https": ":443"}.get(parts.scheme, "")
    return bool(parts.hostname) and port != usual and text == f"{parts.scheme}://{_host(parts.hostname)}{port}"


def _host(name: str | None) -> str:
    return f"[{name}]" if name and ":" in name else name or ""


def _without_credentials(request: Request) -> Request:
    kept = [(name, value) for name, value in request.headers if name not in _CREDENTIALS]
    return msgspec.structs.replace(request, headers=kept, named=None, body=b"")


async def _emitted(decided: Answer | Emission, source: Source) -> Answer:
    if isinstance(decided, Answer):
        return decided
    try:
        verdicts = await source.emit(decided.records)
    except Overloaded as fault:
        seconds = ("retry-after", str(fault.retry_after))
        return _refusal(503, "unavailable", "this cannot be taken now; send it again", seconds)
    return decided.answer(verdicts)


def _verdict(verdicts: Sequence[Verdict]) -> Answer:
    """The answer to a single call."""
    for one in verdicts:
        if isinstance(one, Rejected):
            return _refusal(400, one.code, one.message)
    return Answer(body=_SUCCESS, headers=(_JSON,))


def _summary(verdicts: Sequence[Verdict]) -> Answer:
    """The answer to a batch: what was refused is named by its place."""
    rejected = [
        {"index": index, "code": one.code, "message": one.message}
        for index, one in enumerate(verdicts)
        if isinstance(one, Rejected)
    ]
    body = msgspec.json.encode({"success": True, "rejected": rejected}) if rejected else _SUCCESS
    return Answer(body=body, headers=(_JSON,))


def _refusal(status: int, code: str, message: str, *headers: tuple[str, str]) -> Answer:
    return Answer(status=status, body=msgspec.json.encode({"code": code, "message": message}), headers=(_JSON, *headers))
