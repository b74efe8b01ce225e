"""What a table's values have to mean: addresses, networks, globs, templates, conditions, expressions. Pure.

Each function yields ``(key path, what is wrong)``; types were checked before (``cdmd.config.checking``).
"""

import ipaddress
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias
from urllib.parse import urlsplit

import msgspec

from cdmd.config.checking import nearest
from cdmd.config.governing import PrivacySettings
from cdmd.config.reading import Key, fields_of
from cdmd.config.schema import (
    AudienceSettings,
    ConnectorConfig,
    ConnectorFrame,
    HttpSettings,
    IdentitySettings,
    IndicatorSettings,
    NetworkSettings,
    TraitSettings,
)
from cdmd.contracts import EventSettings
from cdmd.kit.calculations import indicators_in, mixed
from cdmd.kit.conditions import Condition
from cdmd.kit.phones import regions
from cdmd.kit.proxies import UNIX
from cdmd.kit.templates import Template
from cdmd.kit.windows import parse_window

Found: TypeAlias = Iterator[tuple[Key, str]]
AUDIENCE_NAMES: Final = ("profile", "indicators", "now")
"""What the condition of an audience may speak of."""

PROFILE_NAMES: Final = ("identifiers", "traits", "created", "updated")
"""What it may ask of the profile."""

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_LAST_PORT: Final = 65_535
_SETS: Final = re.compile(r"\\.|\[\^?(?P<inner>\]?(?:\\.|[^\]\\])*)\]", re.DOTALL)
_ESCAPED: Final = re.compile(r"\\.", re.DOTALL)
_OPERATION: Final = re.compile(r"--|&&|~~|\|\|")


def http(settings: HttpSettings) -> Found:
    """Listen addresses and the public URL."""
    for place, address in enumerate(settings.listen):
        problem = listen_problem(address)
        if problem:
            yield ("http", "listen", str(place)), problem
    for place, text in enumerate(settings.proxies.trusted if settings.proxies is not None else ()):
        problem = None if text == UNIX else _network_problem(text)
        if problem:
            yield ("http", "proxies", "trusted", str(place)), problem
    if settings.public_url is not None and not _is_url(settings.public_url):
        yield ("http", "public_url"), f"{settings.public_url!r} is not an http or https URL"


def public_urls(settings: HttpSettings, connectors: Mapping[str, ConnectorConfig]) -> Found:
    """Connectors whose senders sign the address that they call, which nobody has said."""
    if settings.public_url is not None:
        return
    for name, one in connectors.items():
        if getattr(one.settings, "needs_public_url", False):
            yield (
                ("connectors", name, "verify"),
                "these senders sign the address that they call: set http.public_url, or `url` here to the whole of it",
            )


def certificates(settings: HttpSettings, connectors: Mapping[str, ConnectorConfig]) -> Found:
    """Connectors that ask for names in certificates which nobody asks the clients for."""
    asked = settings.tls is not None and settings.tls.client_ca is not None
    if asked or (settings.proxies is not None and settings.proxies.subject_header is not None):
        return
    for name, one in connectors.items():
        if getattr(one.settings, "client_names", ()):
            yield (
                ("connectors", name, "client_names"),
                "no client is asked for a certificate: set http.tls.client_ca, or http.proxies.subject_header behind a proxy",
            )


def listen_problem(address: str) -> str | None:
    """Why ``address`` is none of ``HOST:PORT``, ``[IPV6]:PORT`` and ``fd:NAME``; None when it is one."""
    if address.startswith("fd:"):
        return None if address[3:] else "fd: needs the name of an inherited socket"
    host, colon, port = address.rpartition(":")
    hint = f"{address!r} is not an address: write HOST:PORT, [IPV6]:PORT or fd:NAME"
    if not colon or not host or not (port.isascii() and port.isdigit()):
        return hint
    if int(port[:6]) > _LAST_PORT:
        return f"{address!r}: a port is at most {_LAST_PORT}"
    if host.startswith("[") and host.endswith("]"):
        return None if _is_ipv6(host[1:-1]) else hint
    return hint if ":" in host or any(character.isspace() for character in host) else None


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.hostname)


def network(settings: NetworkSettings) -> Found:
    """Networks in CIDR notation."""
    for place, text in enumerate(settings.allow_addresses):
        problem = _network_problem(text)
        if problem:
            yield ("network", "allow_addresses", str(place)), problem


def _network_problem(text: str) -> str | None:
    try:
        ipaddress.ip_network(text)
    except ValueError as error:
        return str(error)
    return None


def _expression_problem(expression: str) -> str | None:
    """Also what Python takes today, with a warning that it will soon mean something else."""
    for found in _SETS.finditer(expression):
        inner = _ESCAPED.sub("x", found["inner"] or "")
        if inner.startswith("[") or _OPERATION.search(inner):
            return (
                f"has {found[0]}: a set of characters holds no other one, no class ([:alpha:]) and no operation; "
                r"write \[ or \- for the character itself"
            )
    try:
        re.compile(expression)
    except (re.error, OverflowError, RecursionError) as error:
        return f"is not a regular expression: {error}"
    return None


def identity(settings: IdentitySettings) -> Found:
    """Kinds of identifiers: blocked expressions and regions."""
    for kind, one in settings.identifiers.items():
        key = ("identity", "identifiers", kind)
        for place, expression in enumerate(one.blocked):
            if problem := _expression_problem(expression):
                yield (*key, "blocked", str(place)), f"{expression!r} {problem}"
        if one.region is not None and one.region.upper() not in regions():
            yield (*key, "region"), f"{one.region!r} is no region whose phone numbers are known: write it as ISO 3166 does (SE)"


def traits(settings: Mapping[str, TraitSettings], connectors: Iterable[str]) -> Found:
    """The sources that traits are trusted from."""
    for name, one in settings.items():
        for place, source in enumerate(one.trust):
            key, connector = ("traits", name, "trust", str(place)), source.partition(".")[0]
            if source in one.trust[:place]:
                yield key, f"{source} stands there twice"
            elif connector not in connectors:
                yield key, f"there is no connector {connector}" + nearest(connector, connectors)


def privacy(settings: PrivacySettings, connectors: Iterable[str]) -> Found:
    """The connectors that may ask for erasure and access."""
    for place, name in enumerate(settings.requests_from):
        if name not in connectors:
            yield ("privacy", "requests_from", str(place)), f"there is no connector {name}" + nearest(name, connectors)


def indicators(settings: Mapping[str, IndicatorSettings]) -> Found:
    """Globs, values, conditions and windows of the indicators, and what the calculated ones are calculated from."""
    for name, one in settings.items():
        key = ("indicators", name)
        if NAME.fullmatch(name) is None:
            yield key, "a name has letters, digits, _ and - only"
        if one.on is None:
            yield from _calculated(key, one, settings)
            continue
        yield from globs((*key, "on"), (one.on,) if isinstance(one.on, str) else one.on)
        if one.value is not None:
            yield from _template((*key, "value"), one.value)
        elif one.compute != "count":
            yield (*key, "value"), f"missing key: {one.compute} needs a value"
        if one.where is not None:
            yield from _condition((*key, "where"), one.where, ("event",))
        yield from _window(key, one)


def _window(key: Key, settings: IndicatorSettings) -> Found:
    if settings.window is None:
        if settings.step is not None:
            yield (*key, "step"), "there is no window that it could move"
        return
    try:
        parse_window(settings.window, settings.step)
    except ValueError as error:
        yield (*key, "window"), str(error)


def _calculated(key: Key, settings: IndicatorSettings, among: Mapping[str, IndicatorSettings]) -> Found:
    for name in ("where", "window", "step"):
        if getattr(settings, name) is not None:
            yield (*key, name), "an indicator without `on` is calculated from others: it has none of its own"
    if settings.compute != "count":
        yield (*key, "compute"), "an indicator without `on` is calculated by its value alone"
    if settings.value is None:
        yield (*key, "on"), "missing key (or, to calculate it from other indicators, a `value`)"
        return
    found = list(_condition((*key, "value"), settings.value, ("indicators",), what="an expression"))
    yield from found or _operands(key, settings.value, among)


def _operands(key: Key, text: str, among: Mapping[str, IndicatorSettings]) -> Found:
    names = indicators_in(text)
    if names is None or not names:
        yield (*key, "value"), "name the indicators that it is calculated from (indicators.NAME)"
        return
    unknown = sorted(names - among.keys())
    for name in unknown:
        yield (*key, "value"), f"there is no indicator {name}" + nearest(name, among)
    if not unknown and (circle := _circle(key[-1], among)):
        yield (*key, "value"), f"it is calculated from itself: {' from '.join(circle)}"
    elif not unknown and (why := mixed(text, names)):
        yield (*key, "value"), why


def _circle(name: str, among: Mapping[str, IndicatorSettings]) -> Sequence[str]:
    """The way from ``name`` back to it, if there is one."""
    ways = [[name]]
    met: set[str] = set()
    while ways:
        way = ways.pop()
        one = among.get(way[-1])
        if one is None or one.on is not None or one.value is None:
            continue
        for below in sorted(_operands_of(one.value)):
            if below == name:
                return [*way, name]
            if below not in met:
                met.add(below)
                ways.append([*way, below])
    return []


def _operands_of(text: str) -> frozenset[str]:
    try:
        return indicators_in(text) or frozenset()
    except ValueError:
        return frozenset()


def audiences(settings: Mapping[str, AudienceSettings], among: Mapping[str, IndicatorSettings]) -> Found:
    """Conditions of the audiences, and the indicators that they speak of."""
    for name, one in settings.items():
        key = ("audiences", name)
        if NAME.fullmatch(name) is None:
            yield key, "a name has letters, digits, _ and - only"
        for problem in audience_problems(one.where, among):
            yield (*key, "where"), problem


def audience_problems(where: str, among: Iterable[str]) -> Iterator[str]:
    """What is wrong with the condition of an audience, where the indicators ``among`` are configured."""
    for problem in condition_problems(where, among, names=AUDIENCE_NAMES):
        hint = "; an audience has no event, it is about a customer" if "there is no event here" in problem else ""
        yield problem + hint


def condition_problems(where: str, among: Iterable[str], *, names: Sequence[str]) -> Iterator[str]:
    """What is wrong with a condition about a customer that may speak of ``names``."""
    try:
        paths = Condition.parse(where, names=names).paths()
    except ValueError as error:
        yield f"not a condition: {error}"
        return
    for name in sorted({path[1] for path in paths if path[0] == "indicators" and len(path) > 1} - set(among)):
        yield f"there is no indicator {name}" + nearest(name, among)
    for name in sorted({path[1] for path in paths if path[0] == "profile" and len(path) > 1} - set(PROFILE_NAMES)):
        yield f"a profile has no {name}, only {', '.join(PROFILE_NAMES)}" + nearest(name, PROFILE_NAMES)


def frame(name: str, settings: ConnectorFrame) -> Found:
    """What every connector has: its name, globs, condition and mapping."""
    key = ("connectors", name)
    if NAME.fullmatch(name) is None:
        yield key, "a connector's name has letters, digits, _ and - only"
    yield from globs((*key, "accept"), settings.accept)
    if settings.where is not None:
        yield from _condition((*key, "where"), settings.where, ("event",))
    if settings.event is not None:
        yield from event((*key, "event"), settings.event)


def events(key: Key, settings: Any) -> Found:
    """Every template of the event tables that stand somewhere in a connector type's own settings."""
    if isinstance(settings, EventSettings):
        yield from event(key, settings)
    elif isinstance(settings, msgspec.Struct):
        for field in fields_of(type(settings)):
            yield from events((*key, field.encode_name), getattr(settings, field.name))
    elif isinstance(settings, Mapping):
        for name, one in settings.items():
            yield from events((*key, name), one)


def event(key: Key, settings: EventSettings) -> Found:
    """Every template of an event table."""
    for name in ("id", "type", "time"):
        text = getattr(settings, name)
        if text is not None:
            yield from _template((*key, name), text)
    for name in ("identifiers", "traits", "data"):
        table = getattr(settings, name)
        if isinstance(table, dict):
            for entry, text in table.items():
                yield from _template((*key, name, entry), text)


def globs(key: Key, patterns: Sequence[str]) -> Found:
    """Globs over event types."""
    if not patterns:
        yield key, "matches nothing: name at least one event type"
    for pattern in patterns:
        if not pattern or pattern != pattern.strip():
            yield key, f"{pattern!r} is not an event type (a glob: * stands for any characters)"


def _template(key: Key, text: str) -> Found:
    try:
        Template.parse(text)
    except ValueError as error:
        yield key, f"not a template: {error}"


def _condition(key: Key, text: str, names: Sequence[str], *, what: str = "a condition") -> Found:
    try:
        Condition.parse(text, names=names)
    except ValueError as error:
        yield key, f"not {what}: {error}"
