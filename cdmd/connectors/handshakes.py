"""How a sender makes sure that somebody wants its webhooks: it asks, and a connector that is configured for it answers.

Each type is a row of data: where the question is, what stands in the answer. Echoes are plain text that no browser takes for
anything else, bounded, and where the question is signed given only after verification. Nothing is stored, and nothing that a
question names is ever called. Sources: the senders' documentation, and the CloudEvents "HTTP 1.1 Web Hooks" 1.0.
"""

import hashlib
import hmac
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Final, Literal
from urllib.parse import parse_qsl

import msgspec
from msgspec import Meta

from cdmd.kit.presented import Presented, Unproved, one, reader
from cdmd.kit.quantities import Rate
from cdmd.kit.schemes import At
from cdmd.kit.secret import Secret
from cdmd.models import Answer, Request

_LONGEST: Final = 1024
_SAFE: Final = (("x-content-type-options", "nosniff"), ("cache-control", "no-store"))
_PLAIN: Final = (("content-type", "text/plain; charset=utf-8"), *_SAFE)
_JSON: Final = (("content-type", "application/json"), *_SAFE)
_MOST_QUERY: Final = 8 * _LONGEST
_MINUTE: Final = 60


class HandshakeSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``handshake``: which sender asks, and what its question needs to be answered."""

    type: Annotated[
        Literal["slack", "zoom", "meta", "microsoft-graph", "dropbox", "cloudevents", "echo-query"],
        Meta(description="Whose question is answered."),
    ]
    verify_token: Annotated[Secret | None, Meta(description="For `meta`: the token that the question must bring.")] = None
    allowed_origins: Annotated[
        tuple[str, ...], Meta(description='For `cloudevents`: the origins that may deliver; `"*"` means any.')
    ] = ()
    param: Annotated[str | None, Meta(description="For `echo-query`: the parameter of the URL that is echoed.")] = None

    def __post_init__(self) -> None:
        needed = {"meta": "verify_token", "cloudevents": "allowed_origins", "echo-query": "param"}
        for kind, name in needed.items():
            if bool(getattr(self, name)) != (self.type == kind):
                raise ValueError(f'`{name}` is needed by "{kind}"' if self.type == kind else f'`{name}` is for "{kind}" only')


class _Question(msgspec.Struct, frozen=True, kw_only=True):
    """One sender's question: its method, where the challenge is, and what else must be so.

    ``when`` is a JSON path and the value that makes a delivery a question; ``sealed`` answers with the challenge and its
    HMAC as Zoom does; ``proof`` is the parameter that must be the configured token.
    """

    method: str
    query: str | None = None
    json: str | None = None
    when: tuple[str, str] | None = None
    proof: str | None = None
    sealed: bool = False


_QUESTIONS: Final[Mapping[str, _Question]] = MappingProxyType(
    {
        "slack": _Question(method="POST", when=("type", "url_verification"), json="challenge"),
        "zoom": _Question(method="POST", when=("event", "endpoint.url_validation"), json="payload.plainToken", sealed=True),
        "meta": _Question(method="GET", query="hub.challenge", proof="hub.verify_token"),
        "microsoft-graph": _Question(method="POST", query="validationToken"),
        "dropbox": _Question(method="GET", query="challenge"),
    }
)


class Handshake:
    """A connector's handshake. ``rate`` is what it takes, for senders that ask; None where nothing limits it."""

    def __init__(self, settings: HandshakeSettings, *, rate: Rate | None = None) -> None:
        self._settings, self._rate = settings, rate
        self._question = _QUESTIONS.get(settings.type) or _Question(method="GET", query=settings.param)
        self.signed = self._question.when is not None
        self.method = "OPTIONS" if settings.type == "cloudevents" else self._question.method
        self._mark = self._question.when[1].encode() if self._question.when else b""

    def unsigned(self, request: Request) -> Answer | None:
        """The answer to a question that needs no proof; None where the request is none."""
        if self.signed or request.method != self.method:
            return None
        if self._settings.type == "cloudevents":
            return self._granted(request)
        query = _query(request)
        challenge = query.get(self._question.query or "")
        if challenge is None:
            return None
        return _echo(challenge) if self._permitted(query) else Answer(status=403)

    def _permitted(self, query: Mapping[str, str]) -> bool:
        """Whether the question brings the token that it must bring."""
        expected = self._settings.verify_token
        if self._question.proof is None or expected is None:
            return True
        said = query.get(self._question.proof, "").encode("utf-8", "replace")
        return query.get("hub.mode") == "subscribe" and hmac.compare_digest(said, expected.reveal())

    def verified(self, request: Request, *, secret: Secret | None) -> Answer | None:
        """The answer to a signed question whose signature was found good with ``secret``; None where it is none."""
        when, path = self._question.when, self._question.json
        if when is None or path is None or self._mark not in request.body:
            return None
        presented = Presented(request.headers, request.body, method=request.method)
        try:
            if one(reader(At(json=when[0])), presented) != when[1]:
                return None
            challenge = one(reader(At(json=path)), presented)
        except Unproved:
            return None
        if not self._question.sealed or secret is None:
            return _echo(challenge)
        seal = hmac.new(secret.reveal(), challenge.encode(), hashlib.sha256).hexdigest()
        sealed = msgspec.json.encode({"plainToken": challenge, "encryptedToken": seal})
        return _echo(challenge, Answer(body=sealed, headers=_JSON))

    def _granted(self, request: Request) -> Answer:
        """Permission is given by headers; where it is refused they are left out and the status says nothing."""
        origin, wanted = request.header("webhook-request-origin"), request.header("webhook-request-rate")
        allowed = {one.lower(): one for one in self._settings.allowed_origins}
        headers = [("allow", "POST")]
        granted = None if origin is None else allowed.get("*") or allowed.get(origin.lower())
        if granted is not None:
            headers.append(("webhook-allowed-origin", granted))
            if wanted is not None:
                rate = "*" if self._rate is None else str(max(1, int(self._rate.count * _MINUTE / self._rate.per)))
                headers.append(("webhook-allowed-rate", rate))
        return Answer(headers=headers)


def _query(request: Request) -> dict[str, str]:
    """The URL's parameters, none where they are too many or too long for a question."""
    try:
        return dict(parse_qsl(request.query[:_MOST_QUERY], keep_blank_values=True, max_num_fields=100))
    except ValueError:
        return {}


def _echo(challenge: str, answer: Answer | None = None) -> Answer:
    """``answer``, or the challenge as it came; 400 where it is not what a sender would ask."""
    if not 0 < len(challenge) <= _LONGEST or not challenge.isprintable():
        return Answer(status=400)
    return answer or Answer(body=challenge.encode(), headers=_PLAIN)
