"""What is asked: the request for one page, of a stream's declared words and where its reader stands. Pure.

Templates of path, parameters, headers and body see ``since``, ``until``, ``cursor``, ``offset``, ``page``, ``limit`` and
``parent.NAME``; those of an export's paths ``job`` and ``file``. Only what the configuration wrote decides which host is asked.
"""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode

from cdmd.connectors.fetching import Ask
from cdmd.connectors.rest.paging import At, Way
from cdmd.connectors.rest.settings import NumberedPages, OffsetPages, RestSettings, StreamSettings
from cdmd.errors import ValueRefused
from cdmd.kit.coercions import as_text
from cdmd.kit.filling import as_form, in_query, parsed, rendered
from cdmd.kit.urls import UrlTemplate

ROOTS: Final = frozenset({"since", "until", "cursor", "offset", "page", "limit", "parent"})
"""The names that a request's templates see."""

EXPORTED: Final = frozenset({"job", "file"})
"""The names that an export's paths see."""

_LONGEST: Final = 8192


class Asking:
    """Makes the requests of one stream. Raises ValueError for a template that is none."""

    def __init__(self, connector: RestSettings, stream: StreamSettings, way: Way) -> None:
        self._stream, self._way = stream, way
        self._url = UrlTemplate.parse(joined(connector.base_url, stream.path))
        self.origin = self._url.origin
        self._params = {name: parsed(value) for name, value in stream.params.items()}
        self._headers = {name: parsed(text) for name, text in {**connector.headers, **stream.headers}.items()}
        self._body = None if stream.body is None else parsed(stream.body)
        self._form = stream.body_as == "form" and stream.body is not None
        since = stream.since
        self._since_param = None if since is None else since.param
        self._until_param = None if since is None else since.until

    def ask(self, at: At, *, since: Any, until: Any, parent: Mapping[str, Any]) -> Ask:
        """The request for the page at that place. Raises ``TemplateFault`` and ``ValueRefused``."""
        scope = self._scope(at, since=since, until=until, parent=parent)
        headers = {name: as_text(value) for name, one in self._headers.items() if (value := rendered(one, scope)) is not None}
        if at.url is not None:
            return Ask(url=at.url, method=self._stream.method, headers=headers)
        pairs = list(self._pairs(scope, at))
        url = self._url.render(scope, {})
        if pairs:
            url = f"{url}{'&' if '?' in url else '?'}{urlencode(pairs)}"
        if len(url) > _LONGEST:
            raise ValueRefused("the request's address becomes too long")
        body = rendered(self._body, scope)
        return Ask(
            url=url,
            method=self._stream.method,
            headers=headers,
            body=as_form(body) if self._form else body,
            form=self._form,
        )

    def exported(self, url: UrlTemplate, at: At, *, job: str, file: str | None, accept: str) -> Ask:
        """The request for a page of what an export made, or for how far it is. Raises as ``ask`` does."""
        scope = self._scope(at, since=None, until=None, parent={})
        headers = {name: as_text(value) for name, one in self._headers.items() if (value := rendered(one, scope)) is not None}
        address = at.url or url.render({"job": job, "file": file}, {})
        pairs = {} if at.url is not None else self._way.params(at)
        if pairs:
            address = f"{address}{'&' if '?' in address else '?'}{urlencode(pairs)}"
        return Ask(url=address, headers={"accept": accept, **headers})

    def _scope(self, at: At, *, since: Any, until: Any, parent: Mapping[str, Any]) -> dict[str, Any]:
        settings = self._way.settings
        limit = settings.limit if isinstance(settings, OffsetPages | NumberedPages) else None
        return {
            "since": since, "until": until, "cursor": at.cursor, "offset": at.offset, "page": at.number, "limit": limit,
            "parent": parent,
        }  # fmt: skip

    def _pairs(self, scope: Mapping[str, Any], at: At) -> list[tuple[str, str]]:
        """The query: what is declared, where to begin, and which page; a name that comes again replaces what came before."""
        found: dict[str, list[str]] = {}
        for name, one in self._params.items():
            value = rendered(one, scope)
            if value is not None:
                found[name] = [in_query(part) for part in (value if isinstance(value, list) else [value])]
        for param, key in ((self._since_param, "since"), (self._until_param, "until")):
            if param is not None and scope[key] is not None:
                found[param] = [in_query(scope[key])]
        found |= {name: [text] for name, text in self._way.params(at).items()}
        return [(name, text) for name, texts in found.items() for text in texts]


def joined(base_url: str, path: str) -> str:
    """The address of a path below ``base_url``; a path that begins with a slash does not leave it."""
    return f"{base_url.rstrip('/')}/{path.lstrip('/')}"
