"""What the settings of a ``rest`` connector cannot be, each as ``key: what is wrong``. Pure."""

import re
from collections.abc import Iterator
from typing import Final

from cdmd.connectors.rest.asking import ROOTS, joined
from cdmd.connectors.rest.positions import WORDS, Positions
from cdmd.connectors.rest.settings import (
    ErrorSettings,
    Paging,
    RestSettings,
    SinceSettings,
    SinglePage,
    StreamSettings,
)
from cdmd.errors import ConfigInvalid, TemplateFault
from cdmd.kit.credentials import mistakes
from cdmd.kit.filling import flat, texts
from cdmd.kit.quiet import Quiet
from cdmd.kit.templates import Template
from cdmd.kit.urls import UrlTemplate

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_STATUS: Final = re.compile(r"[1-5](xx|[0-9]{2})")
_SOME_DAY: Final = 1_768_435_200.0
_LARGEST: Final = 10 * 2**20
_HEADER: Final = re.compile(r"[A-Za-z0-9_-]+")


def problems(settings: RestSettings) -> list[str]:
    """Every one of them."""
    found = [f"auth.{mistake}" for mistake in mistakes(settings.auth)]
    try:
        UrlTemplate.parse(joined(settings.base_url, ""))
        found += [] if Template.parse(settings.base_url).constant else ["base_url: must not hold a template"]
        found += ["base_url: must not have a query"] if "?" in settings.base_url else []
    except ValueError as fault:
        return [*found, f"base_url: {fault}"]
    if settings.max_body.bytes > _LARGEST:
        found.append("max_body: at most 10MiB")
    if not settings.streams:
        found.append("streams: is empty; declare at least one: [connectors.NAME.streams.STREAM]")
    found += _headers("headers", settings.headers)
    found += [*_page("page", settings.page), *_errors("errors", settings.errors)]
    found += _every("every", settings.every)
    if Quiet(settings.quiet).open_share(_SOME_DAY) == 0.0:
        found.append("quiet: leaves no time to look")
    for name, stream in settings.streams.items():
        found += [f"streams.{name}.{problem}" for problem in _stream(name, stream, settings)]
    return found


def _stream(name: str, stream: StreamSettings, connector: RestSettings) -> Iterator[str]:
    if _NAME.fullmatch(name) is None:
        yield "path: the stream's name has letters, digits, _ and - only"
    try:
        UrlTemplate.parse(joined(connector.base_url, stream.path))
    except ValueError as fault:
        yield f"path: {fault}"
        return
    yield from _asked(stream)
    yield from _template("records", stream.records)
    yield from _template("key", stream.key)
    if stream.page is None and connector.page is None:
        yield 'page: is missing, here and in the connector; { type = "none" } says that there is one page'
    yield from _page("page", stream.page)
    yield from _since(stream.since or SinceSettings(etag=True), stream, stream.page or connector.page)
    yield from _errors("errors", stream.errors or ErrorSettings())
    yield from _every("every", stream.every)
    if stream.every is not None and stream.freshness is not None and stream.every > stream.freshness:
        yield f"every: a look every {stream.every} cannot be as fresh as {stream.freshness}"
    yield from _parent(name, stream, connector)
    yield from _export(stream, connector)
    yield from _named(stream)


def _named(stream: StreamSettings) -> Iterator[str]:
    """What names its records, and how they are read."""
    if stream.event is not None and stream.event.id is None and stream.key is None:
        yield "event.id: is missing; give it, or `key` where records have no id of an occurrence"
    if stream.format is not None:
        try:
            stream.format.make()
        except ConfigInvalid as fault:
            yield from (f"format: {problem}" for problem in fault.problems)


def _asked(stream: StreamSettings) -> Iterator[str]:
    """Its requests."""
    for key, found in (("params", texts(stream.params)), ("body", texts(stream.body)), ("path", [stream.path])):
        yield from _request(key, found, stream)
    yield from _headers("headers", stream.headers)
    if stream.body is not None and stream.method == "GET":
        yield 'body: goes with method = "POST"'
    if stream.body_as == "form" and (stream.body is None or not flat(stream.body)):
        yield "body_as: a form needs a `body`, of texts and numbers only and without tables"


def _request(key: str, found: list[str], stream: StreamSettings) -> Iterator[str]:
    for text in found:
        try:
            unknown = sorted(Template.parse(text).roots - ROOTS)
        except ValueError as fault:
            yield f"{key}: {fault}"
            continue
        if unknown:
            yield f"{key}: a request knows no {unknown[0]}, only {', '.join(sorted(ROOTS))}"
        elif "parent" in Template.parse(text).roots and stream.parent is None:
            yield f"{key}: this stream has no parent"


def _page(key: str, page: Paging | None) -> Iterator[str]:
    for name in ("from_", "more", "keep", "total", "pages"):
        yield from (f"{key}.{one}" for one in _template(name.rstrip("_"), getattr(page, name, None)))


def _since(since: SinceSettings, stream: StreamSettings, page: Paging | None) -> Iterator[str]:
    yield from (f"since.{one}" for one in _template("field", since.field))
    if since.format not in WORDS and "%" not in since.format:
        yield f"since.format: {since.format!r} is none of {', '.join(WORDS)}, and no pattern of strftime"
        return
    try:
        positions = Positions(since)
        positions.written(positions.initial)
    except (ValueError, TemplateFault) as fault:
        yield f"since.initial: {fault}"
        return
    keeps = getattr(page, "keep", None) is not None
    asked = since.param is not None or any("since" in Template.parse(text).roots for text in _valid(stream))
    if since.field is None and asked and not keeps:
        yield "since.field: is missing: a template over a record that says what the next look asks for"
    if not asked and since.field is None and not since.etag:
        yield "since: says nothing; give `field` and `param`, or `etag = true`"
    if stream.since is not None and since.etag and since.order != "desc" and not isinstance(page or SinglePage(), SinglePage):
        yield 'since.etag: says only whether the first page changed; with pages give order = "desc", so that it has what is new'
    if since.window is not None:
        yield from _window(since, positions, stream)
    if since.lookback is not None and not positions.timed:
        yield f"since.lookback: {since.format} is no time"
    if stream.parent is not None and stream.since is not None:
        yield "since: a stream with a parent is asked about each new record of it, and about nothing else"


def _window(since: SinceSettings, positions: Positions, stream: StreamSettings) -> Iterator[str]:
    asked = since.until is not None or any("until" in Template.parse(text).roots for text in _valid(stream))
    if not positions.timed or since.initial is None or not asked:
        yield "since.window: needs times, an `initial`, and `until` (or a template that names {until})"
    if since.window is not None and since.window.seconds < 1:
        yield "since.window: at least 1s"


def _errors(key: str, errors: ErrorSettings) -> Iterator[str]:
    for word in ("fatal", "ignore", "restart", "retry"):
        for status in getattr(errors, word):
            if _STATUS.fullmatch(str(status)) is None:
                yield f'{key}.{word}: {status!r} is neither a status (429) nor a class of them ("5xx")'
        yield from (f"{key}.{one}" for one in _template(f"{word}_if", getattr(errors, f"{word}_if")))


def _parent(name: str, stream: StreamSettings, connector: RestSettings) -> Iterator[str]:
    parent = stream.parent
    if parent is None:
        return
    if parent.stream not in connector.streams:
        yield f"parent.stream: there is no stream {parent.stream!r}; there are {', '.join(sorted(connector.streams))}"
        return
    if not parent.fields:
        yield "parent.fields: is empty: name what of the parent's record the request needs"
    for field, text in parent.fields.items():
        yield from (f"parent.fields.{one}" for one in _template(field, text))
    if _leads_back(name, connector):
        yield "parent.stream: leads back to this stream"


def _export(stream: StreamSettings, connector: RestSettings) -> Iterator[str]:
    export = stream.export
    if export is None:
        return
    for name in ("id", "done", "failed", "file_id"):
        yield from (f"export.{one}" for one in _template(name, getattr(export, name)))
    for name, wanted in (("progress", {"job"}), ("file", {"job", "file"} if export.file_id is not None else {"job"})):
        yield from (
            f"export.{name}: {problem}" for problem in _exported(joined(connector.base_url, getattr(export, name)), wanted)
        )
    yield from _every("export.every", export.every)
    if stream.parent is not None:
        yield "export: a stream with a parent cannot have one"


def _exported(url: str, wanted: set[str]) -> Iterator[str]:
    """What one of an export's addresses cannot be; ``wanted`` are the names that it sees, one of which it needs."""
    try:
        UrlTemplate.parse(url)
        roots = Template.parse(url).roots
    except ValueError as fault:
        yield str(fault)
        return
    known = " and ".join(f"{{{one}}}" for one in sorted(wanted))
    if unknown := sorted(roots - wanted):
        yield f"knows no {{{unknown[0]}}}, only {known}" + (
            "" if "file" in wanted else "; `file_id` would say {file}" if "file" in unknown else ""
        )
    elif not roots:
        yield f"must say which one: {known}"


def _leads_back(name: str, connector: RestSettings) -> bool:
    seen: set[str] = set()
    while name not in seen:
        seen.add(name)
        settings = connector.streams.get(name)
        if settings is None or settings.parent is None:
            return False
        name = settings.parent.stream
    return True


def _valid(stream: StreamSettings) -> list[str]:
    """The request's templates, without those that are none."""
    found = []
    for text in [stream.path, *texts(stream.params), *texts(stream.body), *stream.headers.values()]:
        try:
            Template.parse(text)
        except ValueError:
            continue
        found.append(text)
    return found


def _headers(key: str, headers: dict[str, str]) -> Iterator[str]:
    for name, text in headers.items():
        if _HEADER.fullmatch(name) is None:
            yield f"{key}: {name!r} is not a header's name"
        yield from (f"{key}.{one}" for one in _template(name, text))


def _template(name: str, text: str | None) -> Iterator[str]:
    try:
        Template.parse(text or "")
    except ValueError as fault:
        yield f"{name}: {fault}"


def _every(key: str, every: object) -> Iterator[str]:
    if getattr(every, "seconds", 1.0) < 1.0:
        yield f"{key}: at least 1s"
