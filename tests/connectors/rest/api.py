"""Somebody's API, as it is and as it should not be: three ways of paging, ETags, tokens that run out, a hard rate limit.

It counts every violation of its limit and every request that came before a pause it asked for was over. ``ways`` are prepared
answers for a path, given before what it would say; times are handed in. With ``says_when`` false its 429 says nothing more.
"""

import json
import re
from collections import Counter, deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import httpx

from cdmd.errors import AddressRefused, AnswerTooLarge

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
JSON = {"content-type": "application/json"}


def moment(seconds: float) -> str:
    """RFC 3339, so many seconds after the beginning of 2026."""
    return (BEGIN + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def answer(status: int = 200, value: Any = None, body: bytes | None = None, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return httpx.Response(status, content=json.dumps(value).encode() if body is None else body, headers={**JSON, **named})


class Asked:
    """A request as the API sees it."""

    def __init__(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> None:
        parts = urlsplit(url)
        self.method, self.path, self.url = method, parts.path, url
        self.origin = f"{parts.scheme}://{parts.netloc}"
        self.query = dict(parse_qsl(parts.query))
        self.every = parse_qs(parts.query)
        self.headers = {name.lower(): text for name, text in headers.items()}
        self.body = body
        self.json: Any = json.loads(body) if body and body[:1] in b"{[" else None


class Api:
    """``contacts``, ``orders``, ``items`` (by order) and ``events`` are what it knows; ``page`` how many it gives at once."""

    def __init__(
        self, *, limit: int = 10_000, per: float = 1.0, page: int = 3, token: str | None = None, says_when: bool = True
    ) -> None:
        self.limit, self.per, self.page, self.token, self.says_when = limit, per, page, token, says_when
        self.refused: list[float] = []
        self.began = float("inf")
        self.contacts: list[dict[str, Any]] = []
        self.orders: list[dict[str, Any]] = []
        self.items: dict[str, list[dict[str, Any]]] = {}
        self.events: list[dict[str, Any]] = []
        self.ways: dict[str, deque[Any]] = {}
        self.log: list[Asked] = []
        self.counted: Counter[str] = Counter()
        self.violations = self.early = self.tokens = 0
        self.refresh_token = "refresh-0"
        self.session: str | None = None
        self.ahead = 0.0
        self.now: Callable[[], datetime] = lambda: BEGIN
        self.steady: Callable[[], float] = lambda: 0.0
        self._arrivals: deque[float] = deque()
        self._closed_until = float("-inf")

    def add(self, count: int, *, start: int = 0, step: float = 1.0) -> None:
        """So many contacts more, each a little later than the one before."""
        self.contacts += [
            {"id": f"c{number}", "email": f"c{number}@example.com", "updated_at": moment(number * step)}
            for number in range(start, start + count)
        ]

    def prepare(self, path: str, *ways: Any) -> None:
        """Answer so the next times: a response, an exception, or a function of the request."""
        self.ways.setdefault(path, deque()).extend(ways)

    def asked(self, path: str) -> list[Asked]:
        return [one for one in self.log if one.path == path]

    def respond(self, request: Asked) -> httpx.Response:
        """What it answers. Raises what was prepared to be raised."""
        self.log.append(request)
        if request.path in {"/token", "/login"}:
            return self._prepared(request) or self._credentials(request)
        refused = self._limited()
        if refused is not None:
            return refused
        found = self._prepared(request)
        if found is not None:
            if found.status_code in {429, 503} and found.headers.get("retry-after", "").isdigit():
                self._closed_until = self.steady() + float(found.headers["retry-after"])
            return found
        if self.token is not None and request.headers.get("authorization") != f"Bearer {self.token}":
            return answer(401, {})
        response = self._said(request)
        if response.status_code == 304:
            self._arrivals.pop()  # such an answer is free
        response.headers["date"] = format_datetime(self.now() + timedelta(seconds=self.ahead), usegmt=True)
        return response

    def _limited(self) -> httpx.Response | None:
        now = self.steady()
        self.began = min(self.began, now)
        self.early += now < self._closed_until
        while self._arrivals and now - self._arrivals[0] >= self.per:
            self._arrivals.popleft()
        self._arrivals.append(now)
        if len(self._arrivals) > self.limit:
            self.violations += 1
            self.refused.append(now)
            return answer(429, {}, retry_after="1") if self.says_when else answer(429, {})
        return None

    def _prepared(self, request: Asked) -> httpx.Response | None:
        waiting = self.ways.get(request.path)
        if not waiting:
            return None
        found = waiting.popleft()
        if isinstance(found, BaseException):
            raise found
        return found(request) if callable(found) else found

    def _said(self, request: Asked) -> httpx.Response:
        child = re.fullmatch(r"/orders/([^/]+)/items", request.path)
        if child is not None:
            items = self.items.get(child[1])
            return answer(404, {}) if items is None else answer(200, {"items": items})
        said = {
            "/contacts": self._contacts, "/search": self._search, "/orders": self._orders, "/events": self._events,
            "/offset": self._offset, "/numbered": self._numbered,
        }.get(request.path)  # fmt: skip
        return said(request) if said is not None else answer(404, {})

    def _since(self, request: Asked) -> list[dict[str, Any]]:
        since = request.query.get("updated_since", "")
        until = request.query.get("to", "9999")
        found = [one for one in self.contacts if since <= one.get("updated_at", "") < until]
        return sorted(found, key=lambda one: one.get("updated_at", ""))

    def _contacts(self, request: Asked) -> httpx.Response:
        found, after = self._since(request), int(request.query.get("after", "0"))
        more = {"next": {"after": str(after + self.page)}} if after + self.page < len(found) else {}
        return answer(200, {"results": found[after : after + self.page], "paging": more})

    def _search(self, request: Asked) -> httpx.Response:
        wanted = request.json.get("filter", {}).get("value", 0)
        found = [one for one in self.contacts if datetime.fromisoformat(one["updated_at"]).timestamp() * 1000 >= wanted]
        after = int(request.json.get("after", 0))
        more = {"next": {"after": str(after + self.page)}} if after + self.page < len(found) else {}
        return answer(200, {"results": found[after : after + self.page], "paging": more})

    def _orders(self, request: Asked) -> httpx.Response:
        found = [one for one in self.orders if one["updated_at"] >= request.query.get("updated_at_min", "")]
        page = int(request.query.get("page", "1"))
        more = page * self.page < len(found)
        link = {"link": f'<{request.origin}/orders?page={page + 1}>; rel="next"'} if more else {}
        return answer(200, {"orders": found[(page - 1) * self.page : page * self.page]}, **link)

    def _events(self, request: Asked) -> httpx.Response:
        etag = f'"{len(self.events)}"'
        if request.headers.get("if-none-match") == etag:
            return httpx.Response(304, headers={"etag": etag, "x-poll-interval": "60"})
        newest, at = self.events[::-1], int(request.query.get("at", "0"))
        following = f"/events?at={at + self.page}" if at + self.page < len(newest) else None
        value = {"data": newest[at : at + self.page], "meta": {"next": following}}
        return answer(200, value, etag=etag, x_poll_interval="60")

    def _offset(self, request: Asked) -> httpx.Response:
        at = int(request.query["offset"])
        limit = min(self.page, int(request.query.get("limit", self.page)))
        return answer(200, {"total": len(self.contacts), "list": self.contacts[at : at + limit]})

    def _numbered(self, request: Asked) -> httpx.Response:
        at = (int(request.query["page"]) - 1) * self.page
        return answer(200, {"list": self.contacts[at : at + self.page], "has_more": at + self.page < len(self.contacts)})

    def _credentials(self, request: Asked) -> httpx.Response:
        self.tokens += 1
        if request.path == "/login":
            if request.json != {"user": "cdmd", "password": "sesame"}:
                return answer(401, {})
            self.token = f"session-{self.tokens}"
            return answer(200, {"session": {"id": self.token}})
        fields = {name: values[0] for name, values in parse_qs(request.body.decode()).items()}
        if fields["grant_type"] == "refresh_token":
            if fields["refresh_token"] != self.refresh_token:
                return answer(400, {"error": "invalid_grant"})
            self.refresh_token = f"refresh-{self.tokens}"
        self.token = f"access-{self.tokens}"
        return answer(200, {"access_token": self.token, "expires_in": 3600, "refresh_token": self.refresh_token})


class ApiHttp:
    """The API as a guarded client without a network: one host, no redirects, answers no larger than ``largest``."""

    def __init__(self, api: Api, *, origin: str = "https://api.example", largest: int = 10 * 2**20) -> None:
        self._api, self._origin, self._largest = api, origin, largest
        self.elsewhere: list[str] = []

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        json: Any = None,
        content: bytes | None = None,
        timeout: float | None = None,
    ) -> httpx.Response:
        built = httpx.Request(method, url, headers=dict(headers or {}), json=json, content=content)
        whole = built.url.copy_merge_params(dict(params)) if params else built.url
        if f"{whole.scheme}://{whole.netloc.decode()}" != self._origin:
            self.elsewhere.append(str(whole))
            raise AddressRefused("this host is not configured")
        found = self._api.respond(Asked(method, str(whole), dict(built.headers), built.content))
        if len(found.content) > self._largest:
            raise AnswerTooLarge(f"the answer is larger than {self._largest} bytes")
        return found

    async def get(self, url: str, **named: Any) -> httpx.Response:
        return await self.request("GET", url, **named)

    async def post(self, url: str, **named: Any) -> httpx.Response:
        return await self.request("POST", url, **named)
