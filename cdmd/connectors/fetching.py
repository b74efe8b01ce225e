"""Fetching from somebody else's API: one signed request in its turn, and what its answer means, as a value.

For every connector that asks: the thin webhook, pollers, plugins. Nothing here follows a redirect, and a credential goes to the
configured origin only. Not here: what to ask and when, what becomes of what was fetched.
"""

import random
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from http import HTTPStatus
from typing import Any, Final, TypeAlias

import msgspec

from cdmd.connectors.durable import durable
from cdmd.contracts import Budget, HttpAnswer, Source, Turn
from cdmd.errors import AddressRefused, AnswerTooLarge, CredentialRefused, RequestFailed
from cdmd.kit.credentials import Auth, Authorizer, identity
from cdmd.kit.filling import FORM, form_encoded
from cdmd.kit.json_text import NotJson, decode_json
from cdmd.kit.quantities import Rate
from cdmd.kit.tokens import TokenState, authorizer
from cdmd.kit.urls import origin_of

REFRESH_TOKEN: Final = b"auth/refresh_token"
"""The key of a connector's state under which an exchanged refresh token is kept."""

_TRIES: Final = 3
_WHOLE: Final = frozenset((200, 201, 203))
_MARKUP: Final = (b"<!doctype", b"<html")


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """One request, before it is signed; ``body`` is sent as JSON, with ``form`` as a form: then it is a mapping."""

    url: str
    method: str = "GET"
    headers: Mapping[str, str] = {}
    params: Mapping[str, str] = {}
    body: Any = None
    form: bool = False


class Fetched(msgspec.Struct, frozen=True):
    """A whole answer: the value that its JSON spells, and its headers (names compare without case)."""

    value: Any
    headers: Mapping[str, str]


class Unchanged(msgspec.Struct, frozen=True):
    """304: nothing has changed since what the request named."""

    headers: Mapping[str, str] = {}


class Gone(msgspec.Struct, frozen=True):
    """404 or 410: there is no such thing (any more)."""

    status: int


class Denied(msgspec.Struct, frozen=True):
    """401 or 403, or no token: the credential does not open this. Trying again changes nothing.

    ``perhaps_this``: it may open all the rest (403).
    """

    reason: str
    perhaps_this: bool = False


class Throttled(msgspec.Struct, frozen=True):
    """The host asked for a pause; the budget holds everybody back until it is over."""

    reason: str


class Failed(msgspec.Struct, frozen=True):
    """No answer, or one of the 5xx: a later try may well succeed."""

    reason: str


class Nonsense(msgspec.Struct, frozen=True):
    """An answer that cannot be what was asked for: a page, broken JSON, too much, a redirect, an unforeseen status."""

    reason: str


class Expired(msgspec.Struct, frozen=True):
    """The position that was asked at is no longer known: all has to be asked for again."""

    reason: str


class Renewed(msgspec.Struct, frozen=True):
    """The token was refused and is exchanged for a new one: ask again at once."""


Outcome: TypeAlias = Fetched | Unchanged | Gone | Denied | Throttled | Failed | Nonsense | Expired | Renewed

Judge: TypeAlias = Callable[[HttpAnswer], Outcome]
"""Says what an answer means; raises nothing."""


class Fetcher:
    """What a connector fetches with: its guarded client, its credential, and its place in the host's budget.

    ``origin`` as ``kit.urls.origin_of`` writes it; ``timeout`` seconds and ``max_body`` bytes bound one answer. A
    ``judge`` says what an answer means where ``classify`` does not; answers of the statuses ``free`` count against no limit.
    """

    def __init__(
        self,
        source: Source,
        *,
        origin: str,
        auth: Auth,
        limits: Sequence[Rate],
        timeout: float = 30.0,
        max_body: int = 2**20,
        free: Collection[int] = (),
    ) -> None:
        self._free = free
        self._source, self._origin, self._timeout, self._max_body = source, origin, timeout, max_body
        self.budget: Budget = source.budget(origin, identity(auth), limits)
        self._authorizer: Authorizer = authorizer(
            auth,
            post=source.http.post,
            clock=source.clock,
            state=TokenState(self._load_token, self._save_token),
            chance=random.random,
        )

    @property
    def exchanging(self) -> bool:
        """Whether it is not to be cut off (see ``Authorizer``)."""
        return self._authorizer.exchanging

    def turn(self, asker: str, *, priority: int) -> AbstractAsyncContextManager[Turn]:
        """Wait for a place in the host's budget; decide what to ask once it is there, and ``send`` it, or nothing."""
        return self.budget.turn(asker, priority=priority)

    async def send(self, turn: Turn, ask: Ask, *, judge: Judge | None = None) -> Outcome:
        """Sign the request, send it in this turn, and say what came of it."""
        if origin_of(ask.url) != self._origin:
            return Nonsense("the address leads to another host than the configured one")
        try:
            signed = await self._authorizer.sign()
            answer = await turn.send(
                lambda: self._source.http.request(
                    ask.method,
                    ask.url,
                    headers={"accept": "application/json", **_kind(ask), **ask.headers, **signed.headers},
                    params={**ask.params, **signed.params},
                    timeout=self._timeout,
                    **_body(ask),
                ),
                free=self._free,
            )
        except CredentialRefused as error:
            return Denied(str(error))
        except AnswerTooLarge as error:
            return Nonsense(str(error))
        except (RequestFailed, AddressRefused) as error:
            return Failed(str(error))
        if answer.status_code == HTTPStatus.UNAUTHORIZED and await self._authorizer.refused(signed):
            return Renewed()
        outcome = classify(answer, max_body=self._max_body) if judge is None else judge(answer)
        if not isinstance(outcome, Denied):
            self._authorizer.accepted(signed)
        return outcome

    async def fetch(self, ask: Ask, *, asker: str, priority: int, judge: Judge | None = None) -> Outcome:
        """``turn`` and ``send`` in one, again where the token had to be renewed."""
        outcome: Outcome = Renewed()
        for _ in range(_TRIES):
            async with self.turn(asker, priority=priority) as turn:
                outcome = await self.send(turn, ask, judge=judge)
            if not isinstance(outcome, Renewed):
                return outcome
        return Denied("new tokens are refused, too")

    async def _load_token(self) -> bytes | None:
        return (await self._source.get([REFRESH_TOKEN])).get(REFRESH_TOKEN)

    async def _save_token(self, value: bytes) -> None:
        """Returns when it is durable: one that is lost cannot be had again."""
        await durable(self._source, [], {REFRESH_TOKEN: value})


def _kind(ask: Ask) -> Mapping[str, str]:
    return {"content-type": FORM} if ask.form else {}


def _body(ask: Ask) -> Mapping[str, Any]:
    if ask.form:
        return {"content": form_encoded(ask.body)}
    return {} if ask.body is None else {"json": ask.body}


def classify(answer: HttpAnswer, *, max_body: int) -> Outcome:
    """What an answer means; sentences name statuses and kinds, never content."""
    status = answer.status_code
    if status in _WHOLE:
        return _value(answer, max_body)
    return by_status(status, retry_after=bool(answer.headers.get("retry-after")))


def _denied(status: int) -> Outcome:
    return Denied(f"the source refuses the credential (status {status}): exchange it in the configuration")


def _forbidden(status: int) -> Outcome:
    reason = f"the source refuses this to the credential (status {status}): give it the right, or exchange it"
    return Denied(reason, perhaps_this=True)


def _redirected(status: int) -> Outcome:
    return Nonsense(f"the source redirects to another address (status {status}), which is never followed")


_MEANINGS: Final[Mapping[int, Callable[[int], Outcome]]] = {
    304: lambda _: Unchanged(),
    401: _denied,
    403: _forbidden,
    404: Gone,
    410: Gone,
    408: lambda status: Failed(f"the source answers with status {status}"),
    425: lambda status: Failed(f"the source answers with status {status}"),
    429: lambda status: Throttled(f"the source asks for fewer requests (status {status})"),
    **dict.fromkeys((301, 302, 303, 307, 308), _redirected),
}


def is_page(answer: HttpAnswer) -> bool:
    """Whether an answer is a page for people."""
    kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    return kind in {"text/html", "application/xhtml+xml"} or answer.content[:64].lstrip().lower().startswith(_MARKUP)


def excerpt(answer: HttpAnswer) -> str:
    """The beginning of an answer that is no page: for whoever asks by hand, never for a log."""
    return "" if is_page(answer) else " ".join(answer.content[:2_000].decode("utf-8", "replace").split())[:300]


def by_status(status: int, *, retry_after: bool = False) -> Outcome:
    """What a status means that brings nothing."""
    if status == HTTPStatus.SERVICE_UNAVAILABLE and retry_after:
        return Throttled(f"the source asks for a pause (status {status})")
    if status in _MEANINGS:
        return _MEANINGS[status](status)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return Failed(f"the source answers with status {status}")
    return Nonsense(f"the source answers with status {status}")


def _value(answer: HttpAnswer, max_body: int) -> Outcome:
    body = answer.content
    if len(body) > max_body:
        return Nonsense(f"the answer is larger than {max_body} bytes")
    if is_page(answer) or body[:64].lstrip().lower().startswith(b"<?xml"):
        return Nonsense("the answer is a page (HTML) where JSON should be")
    try:
        return Fetched(decode_json(body), answer.headers)
    except NotJson as fault:
        return Nonsense(f"the answer is not JSON that can be taken ({fault.code})")
