"""Proposes how an API is declared, from what it answered: where the records are, how pages follow each other, what grows. Pure.

Only proposals: what is guessed is tried by the caller, and what cannot be known is said. At run time nothing is guessed.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

import msgspec

from cdmd.connectors.rest.masking import names_a_secret
from cdmd.connectors.rest.paging import link
from cdmd.kit.coercions import as_time
from cdmd.kit.templates import Template

_DEEPEST: Final = 4
_EARLIEST: Final = 10**9
_PLAIN: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NEXT: Final = re.compile(r"next|after|cursor|continuation|page_?token|starting_after|more_results_link", re.IGNORECASE)
_MORE: Final = re.compile(r"has_?more|has_?next(_?page)?|more|more_?items", re.IGNORECASE)
_ENDS: Final = re.compile(r"end_of_stream|is_?last(_?page)?|last|done|end", re.IGNORECASE)
_TOTAL: Final = re.compile(r"total(_?(count|results|items|records))?|count", re.IGNORECASE)
_PAGES: Final = re.compile(r"total_?pages|pages|page_?count|last_?page", re.IGNORECASE)
_UPDATED: Final = ("updated", "modified", "changed", "lastmod", "timestamp", "occurred", "created", "date", "time", "_at")
_PERSONAL: Final = re.compile(
    r"((first|last|full|given|family|middle|user|sur)?name|city|town|country(code)?|zip(code)?|post(al)?code|language|locale"
    r"|birth(day|date)|dateofbirth|gender|salutation|company)"
)
_MOST_FIELDS: Final = 30
_CURSOR_PARAMS: Final = ("after", "cursor", "page_token", "pageToken", "starting_after", "next_cursor", "continuation")
SINCE_PARAMS: Final = ("updated_since", "since", "modified_since", "updated_after", "updated_at_min", "start_time")
"""Parameters by which APIs are asked for what is new; which one is, is found out by asking."""


class Found(NamedTuple):
    """A place in a document: a template's expression, and what stands there."""

    path: str
    value: Any


class Records(NamedTuple):
    """Where the records are, and those of the first page."""

    template: str
    values: Sequence[dict[str, Any]]


class Time(NamedTuple):
    """A field of every record that says when: its expression, and in which order it came."""

    path: str
    order: str


def records(document: Any) -> Records | None:
    """The longest list of objects that is not deep; None where there is none."""
    best: Records | None = None
    for path, value in _walk(document, "", 0):
        objects = [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
        if objects and len(objects) == len(value) and (best is None or len(objects) > len(best.values)):
            best = Records(f"{{{path}[*]}}" if path else "{@}", objects)
    return best


def pages(document: Any, headers: Mapping[str, str], query: Mapping[str, str]) -> list[dict[str, Any]]:
    """Ways to the next page, the likeliest first, as ``page`` tables; the last one is that there is none."""
    found: list[dict[str, Any]] = []
    if link(headers.get("link", ""), "next") is not None:
        found.append({"type": "link"})
    scalars = [one for one in _walk(document, "", 0) if isinstance(one.value, str | int | float | bool)]
    more = _more(scalars)
    for path, value in scalars:
        if not _NEXT.search(path.rpartition(".")[2]) and not _NEXT.search(path):
            continue
        if isinstance(value, str) and (value.startswith(("http://", "https://", "/")) or "?" in value):
            found.append({"type": "next_url", "from": f"{{{path}}}"})
        elif isinstance(value, str | int) and not isinstance(value, bool) and value != "":
            name = re.sub(r'.*[."]', "", path.rstrip('"'))
            found += [{"type": "cursor", "from": f"{{{path}}}", "param": one, **more} for one in _params(name, query)]
    return [*found, *_counted(scalars, query, more), {"type": "none"}]


def times(found: Records) -> list[Time]:
    """The fields that hold a time in every record, those that tell of changes first."""
    named: list[tuple[int, Time]] = []
    for path, value in _walk(found.values[0], "", 0):
        moments = _moments(found.values, path) if isinstance(value, str | int | float) and not isinstance(value, bool) else []
        rank = next((place for place, word in enumerate(_UPDATED) if word in path.lower()), None)
        if len(moments) == len(found.values) and rank is not None:
            named.append((rank, Time(path, _order(moments))))
    return [one for _, one in sorted(named)]


def names(found: Records) -> list[str]:
    """The fields that tell every record from the others, the likeliest first."""
    fields = [
        path for path, value in _walk(found.values[0], "", 1) if isinstance(value, str | int) and not isinstance(value, bool)
    ]
    telling = [path for path in fields if len({repr(one.get(path)) for one in found.values}) == len(found.values)]
    likely = [path for path in telling if re.fullmatch(r"id|uuid|key|.*_id|.*Id|.*ID|name", path)]
    return sorted(likely, key=lambda path: (path != "id", path != "uuid", len(path)))


def identifiers(found: Records) -> dict[str, str]:
    """Who a record is about: fields that look like an address of mail or a phone's number."""
    kinds: dict[str, str] = {}
    for path, value in _walk(found.values[0], "", 0):
        last = path.rpartition(".")[2].lower()
        if isinstance(value, str) and "@" in value and "mail" in last:
            kinds.setdefault("email", f"{{{path}}}")
        elif isinstance(value, str) and re.fullmatch(r"(mobile_?)?phone(_?number)?|mobile", last):
            kinds.setdefault("phone", f"{{{path}}}")
    return kinds


def fields(found: Records, used: Collection[str]) -> tuple[dict[str, str], dict[str, str]]:
    """What the records say at other places than the templates ``used``: traits, and what else is text, a number or a truth.

    A trait has a name that describes somebody and stands beside an identifier. What is named like a secret is left out.
    """
    beside = {one.strip("{}").rpartition(".")[0] for one in identifiers(found).values()}
    traits: dict[str, str] = {}
    data: dict[str, str] = {}
    for path in dict.fromkeys(path for one in found.values for path, value in _walk(one, "", 0) if _is_scalar(value)):
        above, _, last = path.rpartition(".")
        if f"{{{path}}}" in used or names_a_secret(last) or len(traits) + len(data) >= _MOST_FIELDS:
            continue
        plain = re.sub(r"[\W_]+", "", last).lower()
        table = traits if above in beside and _PERSONAL.fullmatch(plain) else data
        name = re.sub(r"\W+", "_", last).strip("_") or "value"
        table[re.sub(r"\W+", "_", path).strip("_") if name in table else name] = f"{{{path}}}"
    return traits, data


def limits(headers: Mapping[str, str]) -> list[str]:
    """What answers say that is allowed, as rates: quotas with their windows in ``RateLimit-Policy`` or ``RateLimit-Limit``."""
    said = f"{headers.get('ratelimit-policy', '')}, {headers.get('ratelimit-limit', '')}"
    found = {(count, seconds) for one in said.split(",") for count, seconds in [_quota(one)] if count and seconds}
    return [f"{count}/{seconds}s" for count, seconds in sorted(found, key=lambda pair: pair[1])]


def _quota(policy: str) -> tuple[int, int]:
    quota, window = re.search(r"(?:\bq=|^\s*)([0-9]{1,9})", policy), re.search(r"\bw=([0-9]{1,7})", policy)
    return (int(quota[1]), int(window[1])) if quota and window else (0, 0)


def text(value: Any) -> str:
    """A value as TOML writes it."""
    return _value(value)


def toml(table: Mapping[str, Any]) -> str:
    """An inline table."""
    inner = ", ".join(f"{_key(name)} = {_value(value)}" for name, value in table.items())
    return f"{{ {inner} }}" if inner else "{}"


def _value(value: Any) -> str:
    return toml(value) if isinstance(value, Mapping) else msgspec.json.encode(value).decode()


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else msgspec.json.encode(name).decode()


def _walk(value: Any, path: str, depth: int) -> Iterator[Found]:
    """Every place of a document but those within lists."""
    if path or isinstance(value, list):
        yield Found(path, value)
    if isinstance(value, dict) and depth <= _DEEPEST:
        for name, one in value.items():
            step = name if _PLAIN.fullmatch(name) else msgspec.json.encode(name).decode()
            yield from _walk(one, f"{path}.{step}" if path else step, depth + 1)


def _more(scalars: Sequence[Found]) -> dict[str, str]:
    for path, value in scalars:
        last = path.rpartition(".")[2]
        if isinstance(value, bool) and (_MORE.fullmatch(last) or _ENDS.fullmatch(last)):
            return {"more": f"{{{path}}}" if _MORE.fullmatch(last) else f"{{!{path}}}"}
    return {}


def _params(name: str, query: Mapping[str, str]) -> list[str]:
    given = [one for one in query if _NEXT.search(one)]
    plain = re.sub(r"^next_?", "", name)
    return list(dict.fromkeys([*given, *([plain[:1].lower() + plain[1:]] if plain else []), *_CURSOR_PARAMS]))[:4]


def _counted(scalars: Sequence[Found], query: Mapping[str, str], more: Mapping[str, str]) -> list[dict[str, Any]]:
    """By offset or number: where the query or the answer speaks of one."""
    total = next(
        (f"{{{path}}}" for path, value in scalars if _TOTAL.fullmatch(path.rpartition(".")[2]) and _is_count(value)), None
    )
    many = next(
        (f"{{{path}}}" for path, value in scalars if _PAGES.fullmatch(path.rpartition(".")[2]) and _is_count(value)), None
    )
    spoken = {path.rpartition(".")[2].lower() for path, _ in scalars} | {name.lower() for name in query}
    limits = [name for name in query if name.lower() in {"limit", "per_page", "page_size", "pagesize", "count", "size", "$top"}]
    sized = {"limit_param": limits[0], "limit": int(query[limits[0]])} if limits and query[limits[0]].isdigit() else {}
    ends: Mapping[str, Any] = {"total": total} if total else more
    found = [
        {"type": "offset", "param": param, **sized, **ends}
        for param in ("offset", "skip", "$skip", "startAt")
        if param.lower() in spoken
    ]
    if "page" in spoken or many is not None:
        found.append({"type": "page", "param": "page", **sized, **({"pages": many} if many else ends)})
    return found


def _is_scalar(value: Any) -> bool:
    return isinstance(value, str | int | float) and value != ""


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _moments(values: Sequence[Mapping[str, Any]], path: str) -> list[datetime]:
    look = Template.parse(f"{{{path}}}").render
    found = [look(value, {}) for value in values]
    try:
        return [as_time(one) for one in found if isinstance(one, str) or (isinstance(one, int) and one > _EARLIEST)]
    except ValueError:
        return []


def _order(moments: Sequence[datetime]) -> str:
    if len(set(moments)) < 2:  # noqa: PLR2004 - nothing to compare
        return "none"
    ordered = sorted(moments)
    return "asc" if moments == ordered else "desc" if moments == ordered[::-1] else "none"
