"""The television of the mission: is it still under warranty?

A ``tv.runtime`` event with a serial number asks a contract service over HTTP, and the terms land in ``event.data["warranty"]``
before the event is stored. Not here: retries, deadlines and breakers. The daemon does those; here every failure is raised.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Annotated, Any, Final
from urllib.parse import quote, urlsplit

import msgspec
from msgspec import Meta

import cdmd

SERIAL: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~:/+-]{0,63}")
"""A serial number; anything else is not asked about."""

CDMD_HOOKS: Final = (1, 0)
_SETTINGS: Final = {"url", "token"}
_NOT_FOUND: Final = 404
_OK: Final = 200
_REFUSED: Final = {401, 403}
_BUSY: Final = {429, 503}
_LARGEST: Final = 64 * 1024
_SHORTEST_WAIT: Final = 1.0
_LONGEST_WAIT: Final = 3600.0


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[plugins.warranty]``."""

    url: Annotated[str, Meta(description="Where contracts are asked for; `/contracts/SERIAL` is put behind it.")]
    token: Annotated[cdmd.Secret | None, Meta(description="Sent as `Authorization: Bearer`.")] = None


class ServiceFailed(Exception):
    """The contract service answered with a status that says nothing about the contract."""


class TokenRefused(Exception):
    """The contract service does not accept our token."""


class NotTerms(Exception):
    """The contract service answered with something that is not a contract's terms (a JSON object)."""


@dataclass(frozen=True)
class Service:
    """Where contracts are asked for, from ``[plugins.warranty]``."""

    url: str
    headers: Mapping[str, str] = field(repr=False)

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> "Service":
        """Check all of the table; raises ``cdmd.ConfigInvalid`` with a sentence for each mistake."""
        url, token = settings.get("url"), settings.get("token")
        problems = [f"{key}: unknown key; there are url and token" for key in sorted(settings.keys() - _SETTINGS)]
        if url is None:
            problems.append('url: is missing; write where contracts are asked for, like "https://contracts.example/api"')
        elif not _is_base(url):
            problems.append("url: is not an http or https address without query and credentials")
        if token is not None and not _is_token(token):
            problems.append('token: is not printable text; write a reference like "env:WARRANTY_TOKEN"')
        if problems:
            raise cdmd.ConfigInvalid(problems)
        return cls(str(url).rstrip("/"), {} if token is None else {"authorization": f"Bearer {token}"})


@cdmd.hookimpl
def cdmd_settings() -> type[Settings]:
    """The keys there are."""
    return Settings


@cdmd.hookimpl
def cdmd_startup(context: cdmd.Context) -> None:
    """A mistake in the settings shows in ``cdmctl plugins`` at once; events wait until it is mended."""
    Service.from_settings(context.settings)


@cdmd.extension(on="tv.runtime", timeout=2.0, on_failure="hold")
async def warranty(event: cdmd.Event, context: cdmd.Context) -> cdmd.Event | None:
    """Add the contract's terms to an event that carries a serial number; leave any other as it is."""
    serial = serial_of(event)
    if serial is None:
        return None
    service = Service.from_settings(context.settings)
    reply = await context.http.get(f"{service.url}/contracts/{quote(serial, safe='')}", headers=service.headers)
    waiting = reply.headers.get("retry-after")
    return event.enriched(warranty=terms(reply.status_code, reply.content, retry_after=waiting, now=context.now))


@cdmd.hookimpl
def cdmd_extensions() -> list[cdmd.Extension]:
    """What this plugin brings."""
    return [warranty]


def serial_of(event: cdmd.Event) -> str | None:
    """The serial number among the identifiers, else in the data; None where there is none that could be asked for."""
    found = event.identifiers.get("serial", event.data.get("serial"))
    if isinstance(found, bool) or not isinstance(found, str | int):
        return None
    text = str(found).strip()
    return text if SERIAL.fullmatch(text) else None


def terms(status: int, body: bytes, *, retry_after: str | None, now: datetime) -> dict[str, Any]:
    """What the answer says about the contract: ``{"covered": False}`` where there is none, else its terms with ``covered``.

    Raises ``cdmd.RetryLater`` when the service says when to come back, and ``TokenRefused``, ``ServiceFailed`` or ``NotTerms``
    for all that says nothing about a contract.
    """
    if status == _NOT_FOUND:
        return {"covered": False}
    if status in _REFUSED:
        raise TokenRefused(f"status {status}")
    wait = wait_of(retry_after, now=now) if status in _BUSY else None
    if wait is not None:
        raise cdmd.RetryLater(wait, "the contract service asked to wait")
    if status != _OK:
        raise ServiceFailed(f"status {status}")
    return _terms(body)


def wait_of(retry_after: str | None, *, now: datetime) -> float | None:
    """``Retry-After`` (seconds or a date, RFC 9110 10.2.3) as 1 to 3,600 seconds from ``now``; None where unusable."""
    text = (retry_after or "").strip()
    if text.isascii() and text.isdigit():
        return min(max(float(text[:9]), _SHORTEST_WAIT), _LONGEST_WAIT)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError):
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return min(max((moment - now).total_seconds(), _SHORTEST_WAIT), _LONGEST_WAIT)


def _terms(body: bytes) -> dict[str, Any]:
    if len(body) > _LARGEST:
        raise NotTerms("the answer is larger than 64 KiB")
    try:
        found = json.loads(body, parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise NotTerms("the answer is not JSON") from None
    if not isinstance(found, dict) or not isinstance(found.get("covered", True), bool):
        raise NotTerms("the answer is no JSON object, or its `covered` is not a boolean")
    return {"covered": True, **found}


def _no_number(word: str) -> None:
    raise ValueError(f"{word} is not JSON")


def _is_base(url: object) -> bool:
    if not isinstance(url, str):
        return False
    try:
        parts = urlsplit(url)
        port_fits = parts.port is None or parts.port > 0
    except ValueError:
        return False
    plain = not (parts.query or parts.fragment or parts.username or parts.password)
    return parts.scheme in {"http", "https"} and bool(parts.hostname) and plain and port_fits and url.isprintable()


def _is_token(token: object) -> bool:
    return isinstance(token, str) and bool(token) and token.isascii() and token.isprintable()
