"""What an answer says about its sender's limits: ``Retry-After`` and the families of RateLimit headers. Pure.

Sources: RFC 9110, 10.2.3 (Retry-After: seconds or a date); the IETF drafts of RateLimit (up to 06 ``RateLimit-Remaining`` and
``-Reset``, later ``RateLimit: "name";r=50;t=30``); ``X-RateLimit-*``, of which the reset is seconds or Unix time.
"""

import math
import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Final, NamedTuple

LONGEST: Final = 86_400.0
"""Seconds: nobody's header stops a host for longer than a day."""

SHORTEST: Final = 1.0
_UNIX_FROM: Final = 1e9
_MILLISECONDS_FROM: Final = 1e11
_MAY_PAUSE: Final = frozenset((429, 503))
_FAMILIES: Final = ("ratelimit", "x-ratelimit", "x-rate-limit")
_PARAMETER: Final = re.compile(r";\s*([rt])=(\d{1,15})(?![\d.])")


class Told(NamedTuple):
    """``pause``: seconds to let the host alone; ``remaining`` requests until ``reset`` seconds from now, of ``limit``."""

    pause: float | None = None
    remaining: int | None = None
    reset: float | None = None
    limit: int | None = None


def told(status: int | None, headers: Mapping[str, str], *, wall: float) -> Told:
    """What the answer says; ``wall`` is now in Unix seconds. What cannot be read says nothing."""
    pause = retry_after(headers, wall=wall) if status in _MAY_PAUSE else None
    for found in (_structured(headers), *(_family(name, headers, wall=wall) for name in _FAMILIES)):
        if found is not None:
            if status == 429 and pause is None and found.remaining == 0:  # noqa: PLR2004 - Too Many Requests
                pause = found.reset
            return found._replace(pause=pause)
    return Told(pause=pause)


def retry_after(headers: Mapping[str, str], *, wall: float) -> float | None:
    """``Retry-After`` in seconds, between one and a day; None where there is none that can be read.

    A date is compared with the answer's own ``Date`` where there is one, so that clocks need not agree.
    """
    text = headers.get("retry-after", "").strip()
    if not text:
        return None
    seconds = _number(text)
    if seconds is None:
        at, sent = http_date(text), http_date(headers.get("date", ""))
        if at is None:
            return None
        seconds = at - (wall if sent is None else sent)
    elif seconds >= _UNIX_FROM:
        seconds -= wall
    return _bounded(seconds)


def _structured(headers: Mapping[str, str]) -> Told | None:
    """The first item that is nearest to its end, of ``RateLimit: "a";r=50;t=30, "b";r=3;t=5``."""
    found = []
    for item in headers.get("ratelimit", "").split(","):
        parameters = dict(_PARAMETER.findall(item))
        if "r" in parameters and "t" in parameters:
            found.append(Told(remaining=int(parameters["r"]), reset=_bounded(float(parameters["t"]))))
    return min(found, key=lambda one: one.remaining or 0, default=None)


def _family(name: str, headers: Mapping[str, str], *, wall: float) -> Told | None:
    remaining, reset = (_number(headers.get(f"{name}-{what}", "")) for what in ("remaining", "reset"))
    if remaining is None or reset is None:
        return None
    limit = _number(headers.get(f"{name}-limit", "").partition(",")[0].partition(";")[0])
    if reset >= _MILLISECONDS_FROM:
        reset /= 1000
    if reset >= _UNIX_FROM:
        reset -= wall
    return Told(remaining=int(remaining), reset=_bounded(reset), limit=None if limit is None else int(limit))


def _bounded(seconds: float) -> float:
    return min(LONGEST, max(SHORTEST, seconds))


def _number(text: str) -> float | None:
    text = text.strip()
    if not text.isascii() or not re.fullmatch(r"\d{1,15}(\.\d{1,9})?", text):
        return None
    return float(text) if math.isfinite(float(text)) else None


def http_date(text: str) -> float | None:
    """The moment that a header like ``Date`` names, in Unix seconds; None for text that is none."""
    try:
        return parsedate_to_datetime(text).timestamp() if text else None
    except (ValueError, TypeError, OverflowError):
        return None
