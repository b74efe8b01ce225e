"""Tokens of an OAuth 2.0 server (RFC 6749), and the one place that makes what signs by any ``auth`` table.

Tokens are fetched once for all that ask, renewed before they run out and once when they are refused; an exchanged refresh token
is durable before anything is done with what came with it.
"""

import hashlib
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Protocol
from urllib.parse import quote_plus, urlencode

import anyio
import msgspec
from typing_extensions import override

from cdmd.errors import CredentialRefused, RequestFailed, TemplateFault
from cdmd.kit.backoff import Backoff
from cdmd.kit.credentials import (
    ApiKeyAuth,
    Auth,
    Authorizer,
    BasicAuth,
    BearerAuth,
    LoginAuth,
    NoAuth,
    OAuth2ClientAuth,
    OAuth2RefreshAuth,
    Signed,
    basic,
    text,
)
from cdmd.kit.filling import FORM, form_encoded, parsed, rendered
from cdmd.kit.json_text import NotJson, decode_json
from cdmd.kit.templates import Template

_PLAIN_TOKEN: Final = re.compile(r"[\x21-\x7e]{1,16384}")
_REASONS: Final = frozenset(
    ("invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type", "invalid_scope")
)
_REFUSALS: Final = frozenset((400, 401, 403))
_OK: Final = frozenset((200, 201))
_SECONDS: Final = 15.0
_AHEAD: Final = 60.0


class Time(Protocol):
    """The part of ``contracts.Clock`` that tokens need."""

    def monotonic(self) -> float:
        """Seconds that only grow."""
        ...


class Reply(Protocol):
    """The part of ``contracts.HttpAnswer`` that tokens need."""

    @property
    def status_code(self) -> int:
        """The HTTP status."""
        ...

    @property
    def content(self) -> bytes:
        """The body."""
        ...


class Post(Protocol):
    """``contracts.Http.post``."""

    def __call__(
        self, url: str, *, headers: Mapping[str, str] | None = None, content: bytes | None = None, timeout: float | None = None
    ) -> Awaitable[Reply]:
        """Send one request."""
        ...


class TokenState(msgspec.Struct, frozen=True):
    """Where an exchanged refresh token is kept: ``load`` what was saved last; ``save`` returns when it is durable."""

    load: Callable[[], Awaitable[bytes | None]]
    save: Callable[[bytes], Awaitable[object]]


def authorizer(auth: Auth, *, post: Post, clock: Time, state: TokenState, chance: Callable[[], float]) -> Authorizer:
    """What signs by this table. ``post`` is the guarded client's; ``state`` keeps an exchanged refresh token."""
    match auth:
        case OAuth2ClientAuth() | OAuth2RefreshAuth():
            return TokenAuthorizer(auth, post=post, clock=clock, state=state, chance=chance)
        case LoginAuth():
            return LoginAuthorizer(auth, post=post, clock=clock, state=state, chance=chance)
        case ApiKeyAuth(place="header"):
            return Authorizer(Signed({auth.name: text(auth.value)}))
        case ApiKeyAuth():
            return Authorizer(Signed(params={auth.name: text(auth.value)}))
        case BearerAuth():
            return Authorizer(Signed({"authorization": f"Bearer {text(auth.token)}"}))
        case BasicAuth():
            return Authorizer(Signed({"authorization": basic(auth.username.encode(), auth.password.reveal())}))
        case NoAuth():
            return Authorizer(Signed())


class _Token(msgspec.Struct):
    """An access token; moments in monotonic seconds. ``proven``: the other side has taken it at least once."""

    value: str
    renew_at: float
    until: float
    proven: bool = False


class _Rotated(msgspec.Struct, array_like=True, frozen=True):
    """An exchanged refresh token, and a digest of the configured one that it descends from."""

    origin: bytes
    refresh_token: str


class TokenAuthorizer(Authorizer):
    """Signs with an access token of an OAuth 2.0 server: one request for a token at a time, however many ask."""

    def __init__(
        self,
        auth: OAuth2ClientAuth | OAuth2RefreshAuth | LoginAuth,
        *,
        post: Post,
        clock: Time,
        state: TokenState,
        chance: Callable[[], float],
    ) -> None:
        super().__init__(Signed())
        self._auth, self._post, self._clock, self._state, self._chance = auth, post, clock, state, chance
        self._lock = anyio.Lock()
        self._token: _Token | None = None
        self._latest: str | None = None
        self._unsaved: tuple[_Rotated, _Token] | None = None
        self._failures, self._not_before = 0, float("-inf")
        self._last_failure: RequestFailed | CredentialRefused | None = None

    @override
    async def sign(self) -> Signed:
        """See ``Authorizer``. A token that is about to run out is used while no new one can be had."""
        async with self._lock:
            now, token = self._clock.monotonic(), self._token
            if token is None or now >= token.renew_at:
                try:
                    token = self._token = await self._renewed()
                except RequestFailed:
                    if token is None or now >= token.until:
                        raise
            return self._signing(token)

    @override
    async def refused(self, signed: Signed) -> bool:
        """See ``Authorizer``. A token that was never taken is not worth another one."""
        async with self._lock:
            token = self._token
            if token is None or signed != self._signing(token):
                return True
            if token.proven:
                self._token = None
            return token.proven

    @override
    def accepted(self, signed: Signed) -> None:
        """See ``Authorizer``."""
        if self._token is not None and signed == self._signing(self._token):
            self._token.proven = True

    def _signing(self, token: _Token) -> Signed:
        return Signed({"authorization": f"Bearer {token.value}"})

    async def _renewed(self) -> _Token:
        """A new token; after a failure nobody is asked again before a back-off is over. Raises as ``sign``."""
        if self._unsaved is not None:
            return await self._uncut(self._saved)
        if self._last_failure is not None and self._clock.monotonic() < self._not_before:
            raise type(self._last_failure)(str(self._last_failure))
        try:
            token = await self._uncut(self._asked)
        except (RequestFailed, CredentialRefused) as error:
            self._failures += 1
            self._last_failure = error
            self._not_before = self._clock.monotonic() + Backoff(1.0, 60.0).delay(self._failures, self._chance())
            raise
        self._failures, self._last_failure = 0, None
        return token

    async def _uncut(self, step: Callable[[], Awaitable[_Token]]) -> _Token:
        """To the end, where a refresh token is exchanged: the request has a deadline, and ``state.save`` raises at last."""
        if not isinstance(self._auth, OAuth2RefreshAuth):
            return await step()
        with anyio.CancelScope(shield=True):
            self.exchanging = True
            try:
                token = await step()
            finally:
                self.exchanging = False
        return token

    async def _asked(self) -> _Token:
        assert not isinstance(self._auth, LoginAuth)  # noqa: S101 - asked in another way
        fields = {"grant_type": "client_credentials"}
        if isinstance(self._auth, OAuth2RefreshAuth):
            fields = {"grant_type": "refresh_token", "refresh_token": await self._current(self._auth)}
        reply = await self._post(self._auth.token_url, **_request(self._auth, fields), timeout=_SECONDS)
        answer = _answer(reply)
        token, rotated = _token(answer, self._clock.monotonic()), answer.get("refresh_token")
        if isinstance(self._auth, OAuth2RefreshAuth) and isinstance(rotated, str) and rotated != self._latest:
            self._unsaved = _Rotated(_origin(self._auth), rotated), token
            return await self._saved()
        return token

    async def _saved(self) -> _Token:
        """The exchanged refresh token is durable before its access token is used. Raises what ``state.save`` raises."""
        assert self._unsaved is not None  # noqa: S101 - asked only where there is one
        rotated, token = self._unsaved
        await self._state.save(msgspec.msgpack.encode(rotated))
        self._latest, self._unsaved = rotated.refresh_token, None
        return token

    async def _current(self, auth: OAuth2RefreshAuth) -> str:
        """The refresh token that was exchanged last, unless another one has been configured since."""
        if self._latest is None:
            kept = await self._state.load()
            rotated = None if kept is None else msgspec.msgpack.decode(kept, type=_Rotated)
            known = rotated is not None and rotated.origin == _origin(auth)
            self._latest = rotated.refresh_token if rotated is not None and known else text(auth.refresh_token)
        return self._latest


class LoginAuthorizer(TokenAuthorizer):
    """Signs with the token that a login gives."""

    def __init__(self, auth: LoginAuth, *, post: Post, clock: Time, state: TokenState, chance: Callable[[], float]) -> None:
        super().__init__(auth, post=post, clock=clock, state=state, chance=chance)
        self._login, self._body, self._where = auth, parsed(auth.body), Template.parse(auth.token)

    @override
    def _signing(self, token: _Token) -> Signed:
        given = {self._login.name: f"{self._login.prefix}{token.value}"}
        return Signed(given) if self._login.place == "header" else Signed(params=given)

    @override
    async def _asked(self) -> _Token:
        login = self._login
        body = rendered(self._body, {"username": login.username, "password": text(login.password)})
        form = login.body_as == "form"
        headers = {"content-type": FORM if form else "application/json", "accept": "application/json"}
        content = form_encoded(body) if form else msgspec.json.encode(body)
        reply = await self._post(login.url, headers=headers, content=content, timeout=_SECONDS)
        try:
            value = self._where.render(_answer(reply, "the login"), {})
        except TemplateFault:
            value = None
        if not isinstance(value, str) or not _PLAIN_TOKEN.fullmatch(value):
            raise RequestFailed(f"the login's answer holds no token at {login.token}")
        seconds = float("inf") if login.lasts is None else login.lasts.seconds
        now = self._clock.monotonic()
        return _Token(value, renew_at=now + seconds - min(_AHEAD, seconds / 5), until=now + seconds)


def _request(auth: OAuth2ClientAuth | OAuth2RefreshAuth, fields: dict[str, str]) -> dict[str, Any]:
    headers = {"content-type": FORM, "accept": "application/json"}
    identifier, secret = auth.client_id, text(auth.client_secret)
    if auth.client_auth == "basic":  # RFC 6749, 2.3.1: both parts are form-encoded first
        headers["authorization"] = basic(quote_plus(identifier).encode(), quote_plus(secret).encode())
    else:
        fields |= {"client_id": identifier, "client_secret": secret}
    if auth.scopes:
        fields["scope"] = " ".join(auth.scopes)
    if auth.audience is not None:
        fields["audience"] = auth.audience
    return {"headers": headers, "content": urlencode(fields).encode()}


def _answer(reply: Reply, who: str = "the token endpoint") -> dict[str, Any]:
    try:
        answer = decode_json(reply.content)
    except NotJson:
        answer = {}
    if reply.status_code in _REFUSALS:
        reason = answer.get("error") if isinstance(answer, dict) else None
        said = reason if reason in _REASONS else f"status {reply.status_code}"
        raise CredentialRefused(f"{who} refuses the credential ({said}): exchange it in the configuration")
    if reply.status_code not in _OK or not isinstance(answer, dict):
        raise RequestFailed(f"{who} gave no token (status {reply.status_code})")
    return answer


def _token(answer: Mapping[str, Any], now: float) -> _Token:
    value, kind = answer.get("access_token"), answer.get("token_type", "Bearer")
    if not isinstance(value, str) or not _PLAIN_TOKEN.fullmatch(value):
        raise RequestFailed("the token endpoint's answer holds no access token")
    if not isinstance(kind, str) or kind.lower() != "bearer":
        raise CredentialRefused("the token endpoint gives tokens of another kind than bearer tokens, which cdmd cannot use")
    seconds = _seconds(answer.get("expires_in"))
    return _Token(value, renew_at=now + seconds - min(_AHEAD, seconds / 5), until=now + seconds)


def _seconds(said: Any) -> float:
    """How long a token lasts; for ever where nothing is said: then it is renewed when it is refused."""
    try:
        return max(1.0, float(said))
    except (TypeError, ValueError):
        return float("inf")


def _origin(auth: OAuth2RefreshAuth) -> bytes:
    return hashlib.blake2b(auth.refresh_token.reveal(), digest_size=16, person=b"cdmd refresh").digest()
