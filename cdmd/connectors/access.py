"""Who may ask at all, and how often: addresses, certificates, handshakes, probes and quotas around a webhook's verification.

A ``Step`` looks at one request and answers it, or leaves it to the next. A connector has only the steps that it is configured
for, so that one that asks for nothing of it pays nothing. Not here: signatures, and reading what was sent.
"""

from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Annotated, Final, Literal, TypeAlias

import msgspec
from msgspec import Meta

from cdmd.connectors.handshakes import Handshake, HandshakeSettings
from cdmd.contracts import Source
from cdmd.kit.addresses import parse_networks
from cdmd.kit.proxies import within
from cdmd.kit.quantities import Rate
from cdmd.kit.ratelimit import FULL, Allowance, Later, retry_after, take
from cdmd.kit.secret import Secret
from cdmd.models import Answer, Request

Step: TypeAlias = Callable[[Request, Source], Answer | None]
"""The answer to a request, or None where the next step is to look at it."""

_FORBIDDEN: Final = Answer(status=403)
_ALIVE: Final = Answer(headers=(("x-content-type-options", "nosniff"),))
_PROBES: Final = ("GET", "HEAD")
_SHORTEST: Final = 22


class AccessSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The keys of every connector that is told: who may ask, and how often."""

    methods: Annotated[
        tuple[Literal["POST", "PUT", "GET"], ...],
        Meta(description="How the sender delivers; with GET the record is the address's parameters.", min_length=1),
    ] = ("POST",)
    allow_from: Annotated[
        tuple[str, ...], Meta(description="Networks (CIDR) that senders must call from; behind a proxy see `http.proxies`.")
    ] = ()
    client_names: Annotated[
        tuple[str, ...],
        Meta(
            description="Names of which the client's certificate must have one: `CN=...` of its subject, or `DNS:`, `URI:`,"
            " `email:`, `IP:` of its alternative names; see `http.tls.client_ca`."
        ),
    ] = ()
    path_secrets: Annotated[
        tuple[Secret, ...],
        Meta(description="A last segment that the path must have, one of these: for senders that sign nothing."),
    ] = ()
    quota: Annotated[Rate | None, Meta(description="Requests that are taken; beyond it 429 with `Retry-After`.")] = None
    handshake: Annotated[HandshakeSettings | None, Meta(description="Answer the sender's question whether it may deliver.")] = (
        None
    )
    probes: Annotated[bool, Meta(description="Answer GET and HEAD with 200: some senders look whether the path is there.")] = (
        False
    )

    @property
    def answered(self) -> tuple[str, ...]:
        """Every method that the path answers, deliveries first."""
        asked = (_handshake(self).method,) if self.handshake is not None else ()
        return tuple(dict.fromkeys((*self.methods, *asked, *(_PROBES if self.probes else ()))))


def mistakes(settings: AccessSettings) -> list[str]:
    """What the struct cannot express, as ``key: what is wrong``."""
    found: list[str] = []
    try:
        parse_networks(settings.allow_from)
    except ValueError as error:
        found.append(f"allow_from: {error}")
    found += [
        f"client_names: {name!r} is no name in a certificate: write CN=..., DNS:..., URI:..., email:... or IP:..."
        for name in settings.client_names
        if not name.partition("=")[2] and not name.partition(":")[2]
    ]
    if settings.probes and "GET" in settings.methods:
        found.append("probes: GET delivers here, so it cannot be a probe as well")
    for secret in settings.path_secrets:
        text = secret.reveal().decode("utf-8", "replace")
        if len(text) < _SHORTEST or not all(one.isascii() and (one.isalnum() or one in "-._~") for one in text):
            found.append(f"path_secrets: {secret.reference} must be {_SHORTEST} or more letters, digits and any of -._~")
    return found


def before(settings: AccessSettings) -> tuple[Step, ...]:
    """The steps before verification: addresses, certificates, questions that no secret signs, probes."""
    steps: list[Step] = []
    if settings.allow_from:
        steps.append(_from(settings.allow_from))
    if settings.client_names:
        steps.append(_named(frozenset(settings.client_names)))
    if settings.handshake is not None:
        steps.append(_asked(_handshake(settings)))
    if settings.probes:
        steps.append(lambda request, _source: _ALIVE if request.method in _PROBES else None)
    if settings.answered != settings.methods:
        steps.append(_delivered(settings.methods))
    return tuple(steps)


def signed_question(settings: AccessSettings) -> Handshake | None:
    """The handshake whose question is signed, if that is what is configured."""
    handshake = None if settings.handshake is None else _handshake(settings)
    return handshake if handshake is not None and handshake.signed else None


def after(settings: AccessSettings) -> tuple[Step, ...]:
    """The steps after verification, so that a stranger cannot use up what is the sender's."""
    return () if settings.quota is None else (_Quota(settings.quota),)


def run(steps: Sequence[Step], request: Request, source: Source) -> Answer | None:
    """The first answer that a step has."""
    for step in steps:
        answer = step(request, source)
        if answer is not None:
            return answer
    return None


class _Quota:
    """One bucket for all that a connector is sent."""

    def __init__(self, rate: Rate) -> None:
        self._allowance, self._state = Allowance.quota(rate), FULL

    def __call__(self, request: Request, source: Source) -> Answer | None:
        verdict = take(self._allowance, self._state, source.clock.monotonic())
        if isinstance(verdict, Later):
            source.refuse(1, "quota")
            return Answer(status=429, headers=(("retry-after", str(retry_after(verdict.seconds))),))
        self._state = verdict.state
        return None


def _from(texts: Sequence[str]) -> Step:
    networks = parse_networks(texts)

    def step(request: Request, source: Source) -> Answer | None:
        if within(request.peer, networks):
            return None
        source.refuse(1, "address")
        return _FORBIDDEN

    return step


def _named(names: frozenset[str]) -> Step:
    def step(request: Request, source: Source) -> Answer | None:
        if not names.isdisjoint(request.certificate):
            return None
        source.refuse(1, "certificate")
        return _FORBIDDEN

    return step


def _asked(handshake: Handshake) -> Step:
    def step(request: Request, source: Source) -> Answer | None:
        answer = handshake.unsigned(request)
        if answer is not None and answer.status >= HTTPStatus.BAD_REQUEST:
            source.refuse(1, "handshake")
        return answer

    return step


def _delivered(methods: Sequence[str]) -> Step:
    """What asks nothing that is answered here, and is no delivery."""
    refusal = Answer(status=405, headers=(("allow", ", ".join(methods)),))

    def step(request: Request, source: Source) -> Answer | None:
        if request.method in methods:
            return None
        source.refuse(1, "method")
        return refusal

    return step


def _handshake(settings: AccessSettings) -> Handshake:
    if settings.handshake is None:
        raise ValueError("no handshake is configured")
    return Handshake(settings.handshake, rate=settings.quota)
