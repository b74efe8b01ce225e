"""How a request to somebody else's API says who sends it: the ``auth`` tables of the configuration, and signing by them.

Not here: fetching tokens (``tokens``), which host a request may go to (``egress``, and whoever builds its URL: a signature is
for the configured host only), and pacing.
"""

import base64
import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec
from msgspec import Meta

from cdmd.kit.filling import flat, texts
from cdmd.kit.quantities import Duration
from cdmd.kit.secret import Secret
from cdmd.kit.templates import Template

_ADDRESS: Final = re.compile(r"https?://[^/?#@\s{}]+(/|$)")


class _Auth(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type"):
    """A way to authenticate; unknown keys are mistakes."""


class NoAuth(_Auth, frozen=True, kw_only=True, tag="none"):
    """Nothing is proven."""


class ApiKeyAuth(_Auth, frozen=True, kw_only=True, tag="api_key"):
    """A key in a header or in the query."""

    place: Annotated[Literal["header", "query"], Meta(description="Where the key goes.")] = msgspec.field(name="in")
    name: Annotated[str, Meta(description="The header's or parameter's name.")]
    value: Annotated[Secret, Meta(description="The key.")]


class BearerAuth(_Auth, frozen=True, kw_only=True, tag="bearer"):
    """A fixed token."""

    token: Annotated[Secret, Meta(description="The token.")]


class BasicAuth(_Auth, frozen=True, kw_only=True, tag="basic"):
    """A name and a password."""

    username: Annotated[str, Meta(description="The user's name.")]
    password: Annotated[Secret, Meta(description="The password.")]


class _OAuth2(_Auth, frozen=True, kw_only=True):
    """What both OAuth 2.0 grants have in common (RFC 6749)."""

    token_url: Annotated[str, Meta(description="Where tokens come from.")]
    client_id: Annotated[str, Meta(description="The client's id.")]
    client_secret: Annotated[Secret, Meta(description="The client's secret.")]
    scopes: Annotated[tuple[str, ...], Meta(description="The scopes to ask for.")] = ()
    audience: Annotated[str | None, Meta(description="The audience to ask for, where the server wants one.")] = None
    client_auth: Annotated[
        Literal["basic", "body"], Meta(description="Whether id and secret go into the header or into the request's body.")
    ] = "basic"


class OAuth2ClientAuth(_OAuth2, frozen=True, kw_only=True, tag="oauth2_client"):
    """OAuth 2.0 client credentials."""


class OAuth2RefreshAuth(_OAuth2, frozen=True, kw_only=True, tag="oauth2_refresh"):
    """OAuth 2.0 with a refresh token; one that the server exchanges is written back before it is used."""

    refresh_token: Annotated[Secret, Meta(description="The first refresh token; a new one here replaces what was exchanged.")]


class LoginAuth(_Auth, frozen=True, kw_only=True, tag="login"):
    """A session: a login is answered with a token for all other requests, which a new login replaces when it is refused."""

    url: Annotated[str, Meta(description="Where to log in (POST).")]
    username: Annotated[str, Meta(description="The user's name.")]
    password: Annotated[Secret, Meta(description="The password.")]
    body: Annotated[
        dict[str, Any], Meta(description="The login: its texts are templates that see `username` and `password`.")
    ] = msgspec.field(default_factory=lambda: {"username": "{username}", "password": "{password}"})
    body_as: Annotated[Literal["json", "form"], Meta(description="How the login is sent: as JSON or as a form.")] = "json"
    token: Annotated[str, Meta(description="A template over the login's answer: the token.")] = "{token}"  # noqa: S105 - a place
    place: Annotated[Literal["header", "query"], Meta(description="Where the token goes.")] = msgspec.field(
        name="in", default="header"
    )
    name: Annotated[str, Meta(description="The header's or parameter's name.")] = "authorization"
    prefix: Annotated[str, Meta(description="What stands before the token.")] = "Bearer "
    lasts: Annotated[Duration | None, Meta(description="How long a token lasts; without it until it is refused.")] = None


Auth: TypeAlias = NoAuth | ApiKeyAuth | BearerAuth | BasicAuth | OAuth2ClientAuth | OAuth2RefreshAuth | LoginAuth


class Signed(msgspec.Struct, frozen=True):
    """What goes with a request: headers and query parameters."""

    headers: Mapping[str, str] = {}
    params: Mapping[str, str] = {}


class Authorizer:
    """Signs requests with what never changes. ``of`` makes the one for a table; its ``name`` tells credentials apart."""

    exchanging = False
    """Whether something is being exchanged that cannot be had again, so that it is not to be cut off."""

    def __init__(self, signed: Signed) -> None:
        self._signed = signed

    async def sign(self) -> Signed:
        """What to send with the next request. Raises ``RequestFailed`` and ``CredentialRefused``."""
        return self._signed

    async def refused(self, signed: Signed) -> bool:
        """The other side answered 401 to ``signed``; whether the next ``sign`` gives something else worth a try."""
        return False

    def accepted(self, signed: Signed) -> None:
        """The other side took ``signed``."""


def identity(auth: Auth) -> str:
    """What tells credentials of one host apart, for one budget each. It holds secrets: digest it, and show it nobody."""
    match auth:
        case OAuth2ClientAuth() | OAuth2RefreshAuth():
            return f"oauth2 {auth.token_url} {auth.client_id}"
        case LoginAuth():
            return f"login {auth.url} {auth.username}"
        case ApiKeyAuth():
            return f"key {text(auth.value)}"
        case BearerAuth():
            return f"bearer {text(auth.token)}"
        case BasicAuth():
            return f"basic {auth.username}"
        case NoAuth():
            return "none"


def mistakes(auth: Auth) -> list[str]:
    """What a table's values cannot be, each as ``key: what is wrong``."""
    found = []
    if isinstance(auth, OAuth2ClientAuth | OAuth2RefreshAuth) and not _ADDRESS.match(auth.token_url):
        found.append("token_url: must be an http or https URL")
    if isinstance(auth, LoginAuth):
        found += _login_mistakes(auth)
    if isinstance(auth, ApiKeyAuth | LoginAuth) and auth.place == "header" and not re.fullmatch(r"[A-Za-z0-9_-]+", auth.name):
        found.append("name: is not a header's name")
    if isinstance(auth, BasicAuth) and ":" in auth.username:
        found.append("username: must not hold a colon")
    for key in ("value", "token"):
        secret = getattr(auth, key, None)
        if isinstance(secret, Secret) and not re.fullmatch(rb"[\x20-\x7e]+", secret.reveal().strip()):
            found.append(f"{key}: the secret must be one line of plain text")
    return found


def _login_mistakes(auth: LoginAuth) -> list[str]:
    found = [] if _ADDRESS.match(auth.url) else ["url: must be an http or https URL"]
    found += ["body: a form has no tables"] if auth.body_as == "form" and not flat(auth.body) else []
    for key, one in [("token", auth.token), *(("body", part) for part in texts(auth.body))]:
        try:
            roots = Template.parse(one).roots
        except ValueError as fault:
            found.append(f"{key}: {fault}")
            continue
        unknown = sorted(roots - {"username", "password"}) if key == "body" else ()
        found += [f"{key}: a login knows no {name}, only username and password" for name in unknown]
    return found


def basic(username: bytes, password: bytes) -> str:
    """The header of HTTP Basic."""
    return f"Basic {base64.b64encode(username + b':' + password).decode()}"


def text(secret: Secret) -> str:
    """A secret as it stands in a header."""
    return secret.reveal().decode("utf-8", "replace").strip()
