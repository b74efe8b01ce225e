"""``cdmd studio probe``: a few requests to an API, and the connector that its answers suggest, as TOML to paste."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qsl, urlencode, urlsplit

import click

from cdmd.cli.terminal import clean, escaped, note
from cdmd.errors import BadArguments, CdmdError

if TYPE_CHECKING:
    from cdmd.connectors.rest.probing import Records
    from cdmd.kit.egress import GuardedHttp

_PAUSE = 1.0
_FUTURE = "2099-01-01T00:00:00Z"


@click.command()
@click.argument("url")
@click.option("--bearer", metavar="SECRET", help="Send it as a bearer token: env:NAME, file:PATH or the token itself.")
@click.option("--header", "headers", multiple=True, metavar="NAME:SECRET", help="A header, with a key or not; may be repeated.")
@click.option("--query", "queries", multiple=True, metavar="NAME=SECRET", help="A parameter with a key; may be repeated.")
@click.option("--allow", multiple=True, metavar="NETWORK", help="A private network that the name may lead to.")
@click.option("--name", default="api", show_default=True, help="The connector's name in what is proposed.")
def probe(
    url: str, bearer: str | None, headers: tuple[str, ...], queries: tuple[str, ...], allow: tuple[str, ...], name: str
) -> None:
    r"""Ask URL for its records, try how pages follow each other, and print a connector to paste.

    At most ten requests, one a second; GET only, so nothing is changed there. What could not be found out is a comment.

    \b
    cdmd studio probe 'https://crm.example.com/v3/contacts?limit=100' --bearer env:CRM_TOKEN
    cdmd studio probe https://shop.example.com/orders.json --header 'X-Access-Token:env:SHOP_TOKEN' --name shop
    """
    import ssl

    import anyio

    from cdmd.kit.addresses import hosts_in, parse_networks
    from cdmd.kit.egress import GuardedHttp

    given = _given(bearer, headers, queries)
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise BadArguments(f"{clean(url)} is not an http or https URL")

    async def run() -> list[str]:
        async with GuardedHttp(hosts=hosts_in({"url": url}), allowed=parse_networks(allow), tls=tls) as http:
            return await _Probe(http, url, given, name).lines()

    tls = ssl.create_default_context()
    click.echo(escaped("\n".join(anyio.run(run))))


class _Given(NamedTuple):
    """What goes with every request, and how it is declared: what proves who asks as ``auth``, what does not as ``plain``.

    ``more`` are names of what looks like a second proof, for which there is no place in one ``auth`` table.
    """

    headers: dict[str, str]
    params: dict[str, str]
    auth: dict[str, str]
    plain: dict[str, str]
    more: list[str]


def _given(bearer: str | None, headers: tuple[str, ...], queries: tuple[str, ...]) -> _Given:
    from cdmd.config.secrets import Secrets
    from cdmd.connectors.rest.masking import names_a_secret

    resolver = Secrets(dict(os.environ), folder=Path.cwd())

    def secret(text: str) -> tuple[str, str]:
        try:
            found = resolver.resolve(text)
        except ValueError as error:
            raise BadArguments(str(error)) from None
        return found.reveal().decode("utf-8", "replace").strip(), text if _is_reference(text) else "env:API_KEY"

    given = _Given({}, {}, {}, {}, [])
    if bearer is not None:
        plain, reference = secret(bearer)
        given.headers["authorization"] = f"Bearer {plain}"
        given.auth.update(type="bearer", token=reference)
    for text, mark, place in [*((one, ":", "header") for one in headers), *((one, "=", "query") for one in queries)]:
        key, found, value = (part.strip() for part in text.partition(mark))
        if not found or not key:
            raise BadArguments(f"--{place}: write NAME{mark}SECRET")
        plain, reference = secret(value)
        (given.headers if place == "header" else given.params)[key] = plain
        if place == "header" and not _is_reference(value) and not names_a_secret(key):
            given.plain[key] = plain
        elif given.auth:
            given.more.append(key)
        else:
            given.auth.update({"type": "api_key", "in": place, "name": key, "value": reference})
    return given


def _is_reference(text: str) -> bool:
    return text.startswith(("env:", "file:"))


class _Probe:
    """Asks and proposes."""

    def __init__(self, http: "GuardedHttp", url: str, given: _Given, name: str) -> None:
        self._http, self._given, self._name = http, given, name
        parts = urlsplit(url)
        self._origin, self._path = f"{parts.scheme}://{parts.netloc}", parts.path or "/"
        self._query = {key: value for key, value in parse_qsl(parts.query) if key not in given.params}
        self._asked = 0

    async def lines(self) -> list[str]:
        """The proposal. Raises ``CdmdError`` where there are no records to be seen."""
        from cdmd.connectors.rest import probing

        document, headers = await self._ask(self._query)
        found = probing.records(document)
        if found is None:
            raise CdmdError("the answer holds no list of objects: is this the address of a list?")
        note(f"{len(found.values)} records at {found.template}")
        page = await self._page(document, headers, found)
        since = await self._since(found)
        written = self._written(found, page, since, headers)
        note(f"paste it into a file in conf.d beside your configuration, then: cdmd check && cdmd try {clean(self._name)}")
        return list(written)

    async def _ask(self, query: Mapping[str, str], path: str | None = None) -> tuple[Any, Mapping[str, str]]:
        import anyio

        from cdmd.connectors.fetching import Fetched, classify, excerpt

        if self._asked:
            await anyio.sleep(_PAUSE)
        self._asked += 1
        url = path if path is not None else f"{self._origin}{self._path}{'?' if query else ''}{urlencode(query)}"
        answer = await self._http.get(
            url, headers={"accept": "application/json", **self._given.headers}, params=self._given.params
        )
        outcome = classify(answer, max_body=10 * 2**20)
        if not isinstance(outcome, Fetched):
            if self._asked == 1 and (said := excerpt(answer)):
                note(f"the source says: {said}")
            raise CdmdError(getattr(outcome, "reason", f"there is nothing at this address (status {answer.status_code})"))
        return outcome.value, {key.lower(): value for key, value in answer.headers.items()}

    async def _page(self, document: Any, headers: Mapping[str, str], first: "Records") -> dict[str, Any]:
        """The first way that really leads to other records."""
        from cdmd.connectors.rest import probing

        for page in probing.pages(document, headers, self._query)[:5]:
            if page["type"] == "none" or await self._leads_on(page, document, headers, first):
                return page
        return {"type": "none"}

    async def _leads_on(self, page: dict[str, Any], document: Any, headers: Mapping[str, str], first: "Records") -> bool:
        import msgspec

        from cdmd.connectors.rest import probing
        from cdmd.connectors.rest.paging import Answer, At, Way
        from cdmd.connectors.rest.settings import Paging
        from cdmd.kit.urls import origin_of

        way = Way(msgspec.convert(page, Paging), origin=origin_of(self._origin) or "")
        step = way.following(
            way.first(None), Answer(f"{self._origin}{self._path}", document, headers, len(first.values)), full=0
        )
        if not isinstance(step, At):
            return False
        try:
            other, _ = await self._ask({**self._query, **way.params(step)}, step.url)
        except CdmdError:
            return False
        found = probing.records(other)
        leads = found is None or list(found.values) != list(first.values)
        note(f"{page['type']}: the second page {'holds other records' if leads else 'is the first one again'}")
        return leads

    async def _since(self, found: "Records") -> dict[str, Any]:
        """What grows, and the parameter that asks for it: the one with which a far future has no records."""
        from cdmd.connectors.rest import probing

        times = probing.times(found)
        if not times:
            return {}
        since = {"field": f"{{{times[0].path}}}", "order": times[0].order}
        for param in probing.SINCE_PARAMS[:4]:
            try:
                other, _ = await self._ask({**self._query, param: _FUTURE})
            except CdmdError:
                continue
            if probing.records(other) is None:
                note(f"{param} asks for what is new")
                return {**since, "param": param}
        return since

    def _written(self, found: "Records", page: Mapping[str, Any], since: Mapping[str, Any], headers: Mapping[str, str]) -> Any:
        from cdmd.connectors.rest import probing

        etag = "etag" in headers or "last-modified" in headers
        stream = self._path.rstrip("/").rpartition("/")[2].partition(".")[0] or "records"
        stream = "".join(one if one.isalnum() or one in "_-" else "_" for one in stream)
        base, _, last = self._path.rstrip("/").rpartition("/")
        quoted = probing.toml
        yield f"[connectors.{self._name}]"
        yield 'type = "rest"'
        yield f'base_url = "{self._origin}{base}"'
        if self._given.auth:
            yield f"auth = {quoted(self._given.auth)}"
        for name in self._given.more:
            yield f"# {clean(name)} looks like a second secret: one `auth` has no place for it"
        if self._given.plain:
            yield f"headers = {quoted(self._given.plain)}"
        if limits := probing.limits(headers):
            yield f"limits = {probing.text(limits)}                # as its answers say"
        else:
            yield '# limits = "100/1m"                # what the API\'s documentation allows you; by default 10/1s'
        yield f"[connectors.{self._name}.streams.{stream}]"
        yield f'path = "/{last}"'
        query = {key: value for key, value in self._query.items() if key not in page.values()}
        if query:
            yield f"params = {quoted(query)}"
        yield f"records = {quoted({'x': found.template})[6:-2]}"
        yield f"page = {quoted(page)}"
        if since and "param" not in since:
            yield "# no parameter was found that asks for what is new only; if there is one: `param` in `since`, or as in"
            yield '# params = { filter = "greater-than(updated,{since})" }; with `inclusive = false` where equal is not meant'
        if since or etag:
            yield f"since = {quoted({**since, **({'etag': True} if etag else {})})}"
        yield 'freshness = "5m"'
        yield from self._event(stream, since, found)

    def _event(self, stream: str, since: Mapping[str, Any], found: "Records") -> Any:
        from cdmd.connectors.rest import probing

        names, identifiers, quoted, time = probing.names(found), probing.identifiers(found), probing.toml, since.get("field")
        named = f"{{{names[0]}}}" if names else None
        traits, data = probing.fields(found, {named or "", time or "", *identifiers.values()})
        event: dict[str, Any] = {}
        if named is not None and time is not None:
            event["id"] = f"{named}:{time}"
        else:
            yield f'key = "{named}"' if named else '# key = "{...}"                  # what says whom or what a record is about'
        event["type"] = f"{stream.rstrip('s')}.changed"
        if time is not None:
            event["time"] = time
        yield f"[connectors.{self._name}.streams.{stream}.event]"
        yield from (f"{key} = {probing.text(value)}" for key, value in event.items())
        if not identifiers:
            yield "# nothing looks like an e-mail address or a phone's number: say in `identifiers` whose event it is"
        yield f"identifiers = {quoted(identifiers)}"
        yield "# take out what you do not need: what is not named is not kept"
        yield f"traits = {quoted(traits)}"
        yield f"data = {quoted(data)}"
