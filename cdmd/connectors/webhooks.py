"""The webhook: a request that carries its events, or only notifies; verified on the raw bytes, answered when it is durable.

Order: verify (every fault looks the same outside), decode, split by ``records``, emit once, answer. Not here: limits on the
request (the edge's), how a record becomes an event (the mapper's), what a notification leads to (``thin``).
"""

import hashlib
import re
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, ClassVar, Final

import msgspec
from msgspec import Meta

from cdmd.connectors import access, cloudevents
from cdmd.connectors.access import AccessSettings
from cdmd.connectors.thin import RETRIES, Thin
from cdmd.connectors.thin_settings import FetchSettings
from cdmd.connectors.webhook_body import Document, RequestContext, Undecodable, decode
from cdmd.contracts import Source
from cdmd.errors import ConfigInvalid, TemplateFault
from cdmd.kit.presented import Finder, by_name, finder
from cdmd.kit.presets import scheme as scheme_of
from cdmd.kit.quantities import Size
from cdmd.kit.schemes import Place, Scheme
from cdmd.kit.secret import Secret
from cdmd.kit.signing import Refused, Verified, Verifier
from cdmd.kit.spans import span_of
from cdmd.kit.templates import Template
from cdmd.models import Accepted, Answer, Emission, Filtered, Record, Rejected, Request, Route, Verdict

_JSON: Final = (("content-type", "application/json"),)
_ONE_ACCEPTED: Final = Answer(body=b'{"accepted":1,"filtered":0}', headers=_JSON)
_ADDRESS: Final = re.compile(r"https?://[!-~]+$")
_CHALLENGES: Final = {"bearer": "Bearer", "basic": 'Basic realm="cdmd", charset="UTF-8"'}


class WebhookSettings(AccessSettings, frozen=True, kw_only=True):
    """The keys of a connector of type ``webhook``."""

    path: Annotated[str | None, Meta(description="The path it answers; by default `/hooks/` and the connector's name.")] = None
    verify: Annotated[
        str | Scheme | None,
        Meta(description='How senders prove who they are: a preset, a table in the same words, or `"none"` written out.'),
    ] = None
    secrets: Annotated[tuple[Secret, ...], Meta(description="The live secrets; several at once while one is exchanged.")] = ()
    url: Annotated[
        str | None,
        Meta(description="The whole address that the sender calls, where it is not `http.public_url` and the path."),
    ] = None
    records: Annotated[str | None, Meta(description="A template that finds the records where one request holds several.")] = (
        None
    )
    max_body: Annotated[Size | None, Meta(description="The largest request body here, instead of `http.max_body`.")] = None
    fetch: Annotated[
        FetchSettings | None, Meta(description="How what a request only notifies of is fetched; then `event` maps that.")
    ] = None

    @property
    def needs_public_url(self) -> bool:
        """Whether senders sign the address that they call, and nothing here says which one that is."""
        try:
            return self.url is None and scheme_of(self.verify or "none").signs_url
        except ValueError:
            return False


class Webhook:
    """A push connector for webhooks that carry their events; it fetches by itself what those with a ``fetch`` table name."""

    Settings: ClassVar[type[msgspec.Struct]] = WebhookSettings
    type: ClassVar[str] = "webhook"

    def __init__(self, name: str, settings: WebhookSettings) -> None:
        problems = self.check(name, settings)
        if problems:
            raise ConfigInvalid([f"connectors.{name}.{problem}" for problem in problems])
        self._scheme = scheme_of(settings.verify or "none")
        self._verifier = Verifier(self._scheme, settings.secrets)
        self._defaults = (_finder(self._scheme.event_id), _finder(self._scheme.event_type), _finder(self._scheme.event_time))
        self._payload = None if self._scheme.payload is None else self._scheme.payload.form
        self._reads_form = self._scheme.reads_form
        self._url = settings.url
        self._records = None if settings.records is None else Template.parse(settings.records)
        self._secrets, self._secretly = settings.secrets, bool(settings.path_secrets)
        self._before, self._after = access.before(settings), access.after(settings)
        self._question = access.signed_question(settings)
        self._route = Route(
            path=_path(name, settings),
            methods=settings.answered,
            max_body=None if settings.max_body is None else settings.max_body.bytes,
            secrets=settings.path_secrets,
        )
        challenge = _CHALLENGES.get(self._scheme.algorithm or "") if self._scheme.signature is None else None
        self._unauthorized = Answer(status=401, headers=() if challenge is None else (("www-authenticate", challenge),))
        self._verified_by: int | None = None
        self._thin = None if settings.fetch is None else Thin(name, settings.fetch)

    @classmethod
    def check(cls, name: str, settings: WebhookSettings) -> list[str]:
        """Every mistake that the struct cannot express, as ``key: what is wrong``."""
        found: list[str] = []
        if not _path(name, settings).startswith("/"):
            found.append("path: must begin with a slash")
        if settings.url is not None and not _ADDRESS.match(settings.url):
            found.append(f"url: {settings.url!r} is not an http or https URL")
        if settings.records is not None:
            try:
                Template.parse(settings.records)
            except ValueError as fault:
                found.append(f"records: {fault}")
        if settings.fetch is not None:
            found += settings.fetch.mistakes()
        return [*found, *access.mistakes(settings), *_verification_mistakes(settings)]

    @property
    def routes(self) -> Sequence[Route]:
        """The one path it answers."""
        return (self._route,)

    @property
    def verified_by(self) -> int | None:
        """Which of the secrets (from 0) verified the last request; None before the first and where nothing is verified."""
        return self._verified_by

    @property
    def verifies(self) -> bool:
        """Whether senders have to prove anything at all."""
        return self._scheme.algorithm != "none" or self._secretly

    @property
    def fetches(self) -> bool:
        """Whether its requests only notify."""
        return self._thin is not None

    @property
    def exchanging(self) -> bool:
        """Whether what it fetches with is being exchanged."""
        return self._thin is not None and self._thin.exchanging

    @property
    def waiting_since(self) -> datetime | None:
        """When the oldest notification came that has not been fetched."""
        return None if self._thin is None else self._thin.waiting_since

    @property
    def to_fetch(self) -> int:
        """Keys that are notified and not fetched."""
        return 0 if self._thin is None else self._thin.to_fetch

    @property
    def retries(self) -> frozenset[str]:
        """See ``cdmd.contracts.RetryingConnector``."""
        return frozenset() if self._thin is None else RETRIES

    async def take_back(self, values: Sequence[Any], source: Source) -> list[bool]:
        """See ``cdmd.contracts.RetryingConnector``."""
        return [] if self._thin is None else await self._thin.notices.take_back(values, source)

    async def erase(self, values: Collection[str], source: Source) -> int:
        """See ``cdmd.contracts.ErasingConnector``: what is to be fetched of somebody."""
        return 0 if self._thin is None else await self._thin.erase(values, source)

    def would_fetch(self) -> list[dict[str, str]]:
        """See ``cdmd.contracts.NotifiedConnector``."""
        return [] if self._thin is None else self._thin.would_fetch()

    async def run(self, source: Source) -> None:
        """Fetch what its requests name (only where ``fetches``)."""
        if self._thin is not None:
            await self._thin.run(source)

    async def answer(self, request: Request, source: Source) -> Answer:
        """What ``decide`` says, with its records emitted here."""
        return await _emitted(self.decide(request, source), source)

    def decide(self, request: Request, source: Source) -> Answer | Emission:
        """Admit, verify and decode one request; 200 only after its records are durable."""
        if self._before and (answer := access.run(self._before, request, source)) is not None:
            return answer
        verdict = self._verified(request, source)
        if isinstance(verdict, Refused):
            source.refuse(1, f"signature_{verdict.reason}")
            return self._unauthorized
        self._verified_by = verdict.secret_index
        if self._question is not None and (answer := self._question.verified(request, secret=self._proving())) is not None:
            return answer
        if self._after and (answer := access.run(self._after, request, source)) is not None:
            return answer
        return self._read(request, source)

    def _proving(self) -> Secret | None:
        """The secret that verified the last request."""
        return None if self._verified_by is None else self._secrets[self._verified_by]

    def _verified(self, request: Request, source: Source) -> Verified | Refused:
        if self._url is None:
            target, base = request.target, source.public_url
        else:
            target, base = f"?{request.query}" if request.query else "", self._url
        return self._verifier.verify(
            request.headers, request.body, method=request.method, now=request.received, target=target, base=base,
            named=request.named,
        )  # fmt: skip

    async def read(self, request: Request, source: Source) -> Answer:
        """Decode and emit a request whose sender is beyond doubt: all that follows verification."""
        return await _emitted(self._read(request, source), source)

    def _read(self, request: Request, source: Source) -> Answer | Emission:
        try:
            records = self._split(request)
        except Undecodable as fault:
            source.refuse(1, fault.code)
            return _refusal(fault)
        if not records:
            return _summary([])
        if self._thin is not None:
            return self._thin.emission(records, source, _summary)
        return Emission(records=records, answer=_summary)

    def _split(self, request: Request) -> list[Record]:
        """The request's records with the defaults that the scheme knows. Raises Undecodable."""
        headers = by_name(request.headers) if request.named is None else request.named
        how = cloudevents.mode(headers)
        if how is not None:
            return self._cloud_events(request, headers, how)
        kind = headers.get("content-type", "")
        document = decode(request, kind=kind, payload=self._payload, as_form=self._reads_form)
        whole = self._whole(request, headers, document)
        if self._records is None:
            return [whole]
        return _parts_of(whole, self._find(self._records, document.value, whole.context))

    def _cloud_events(self, request: Request, headers: Mapping[str, str], how: cloudevents.Mode) -> list[Record]:
        """CloudEvents bring their own id, type and time; what the scheme knows comes first, because it may be signed."""
        document, found = cloudevents.events(request, how)
        whole = self._whole(request, headers, document)
        records = _parts_of(whole, found) if how == "batch" else [whole]
        return [_as_cloud_event(record, event) for record, event in zip(records, found, strict=True)]

    def _whole(self, request: Request, headers: Mapping[str, str], document: Document) -> Record:
        """The whole of what was sent as one record, with the defaults that the scheme knows."""
        value, form = document.value, document.form
        find_id, find_type, find_time = self._defaults
        id_, type_ = find_id(headers, value, form), find_type(headers, value, form)
        if id_ is None:
            sent = request.body if request.method != "GET" else request.target.encode()
            name = hashlib.blake2b(sent, digest_size=16).hexdigest()
        else:
            name = str(id_)
        return Record(
            value=value,
            received=request.received,
            fallback_id=name,
            context=RequestContext(request, document),
            id=None if id_ is None else name,
            type=type_ if isinstance(type_, str) else None,
            time=find_time(headers, value, form),
            brief=id_ is None,
            span=span_of(headers),
        )

    @staticmethod
    def _find(records: Template, value: Any, context: Mapping[str, Any]) -> list[Any]:
        try:
            found = records.render(value, context)
        except TemplateFault as fault:
            raise Undecodable(400, "no_records", f"the records cannot be found: {fault}") from None
        if not isinstance(found, list):
            raise Undecodable(400, "no_records", f"there is no list of records at {records.text}")
        return found


def _parts_of(whole: Record, values: Sequence[Any]) -> list[Record]:
    """A record for each of ``values``, named after the whole and its place in it."""
    id_, name = whole.id, whole.fallback_id
    return [
        msgspec.structs.replace(whole, value=value, fallback_id=f"{name}:{at}", id=None if id_ is None else f"{id_}:{at}")
        for at, value in enumerate(values)
    ]


def _as_cloud_event(record: Record, event: Any) -> Record:
    fault = cloudevents.fault(event)
    if fault is not None:
        return msgspec.structs.replace(record, fault=fault)
    return msgspec.structs.replace(
        record,
        id=record.id or cloudevents.name(event),
        type=record.type or event["type"],
        time=event.get("time") if record.time is None else record.time,
    )


def _path(name: str, settings: WebhookSettings) -> str:
    return f"/hooks/{name}" if settings.path is None else settings.path


def _finder(place: Place | None) -> Finder:
    return _nothing if place is None else finder(place)


def _nothing(*_: object) -> None:
    """What a scheme does not know."""


def _verification_mistakes(settings: WebhookSettings) -> list[str]:
    verify = settings.verify
    if verify is None:
        return ['verify: is missing; name a preset or write a table ("none" has to be written out)']
    try:
        scheme = scheme_of(verify)
    except ValueError as fault:
        return [f"verify: {fault}"]
    try:
        Verifier(scheme, settings.secrets)
    except ValueError as fault:
        return [f"secrets: {fault}"]
    if access.signed_question(settings) is not None and not scheme.signs:
        return ["handshake: this sender signs its question; `verify` has to name how"]
    return []


def _refusal(fault: Undecodable) -> Answer:
    return Answer(status=fault.status, body=msgspec.json.encode({"code": fault.code, "message": fault.message}), headers=_JSON)


async def _emitted(decided: Answer | Emission, source: Source) -> Answer:
    if isinstance(decided, Answer):
        return decided
    return decided.answer(await source.emit(decided.records, state=decided.state))


def _summary(verdicts: Sequence[Verdict]) -> Answer:
    if len(verdicts) == 1 and isinstance(verdicts[0], Accepted):
        return _ONE_ACCEPTED
    answer: dict[str, Any] = {
        "accepted": sum(isinstance(verdict, Accepted) for verdict in verdicts),
        "filtered": sum(isinstance(verdict, Filtered) for verdict in verdicts),
    }
    rejected = [
        {"index": index, "code": verdict.code, "message": verdict.message}
        for index, verdict in enumerate(verdicts)
        if isinstance(verdict, Rejected)
    ]
    if rejected:
        answer["rejected"] = rejected
    return Answer(body=msgspec.json.encode(answer), headers=_JSON)
