"""What an extension is handed beside the event, also for one that came with a trace: what it asks of others is part of that."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from cdmd.contracts import Clock, Context, Http, HttpAnswer


class PluginContext(msgspec.Struct, frozen=True):
    """``cdmd.contracts.Context`` as it is."""

    settings: Mapping[str, Any]
    http: Http
    clock: Clock

    @property
    def now(self) -> datetime:
        """The daemon's wall clock in UTC."""
        return self.clock.now()


class Spanned:
    """``context``, whose client says in every request which span it is asked for, by ``headers``."""

    def __init__(self, context: Context, headers: Mapping[str, str]) -> None:
        self._context, self.headers = context, headers
        self.http: Http = _SpannedHttp(context.http, headers)

    @property
    def settings(self) -> Mapping[str, Any]:
        """The plugin's own table."""
        return self._context.settings

    @property
    def now(self) -> datetime:
        """The daemon's wall clock in UTC."""
        return self._context.now


class _SpannedHttp:
    """The guarded client with two headers more, unless the caller sets them itself."""

    def __init__(self, http: Http, headers: Mapping[str, str]) -> None:
        self._http, self._headers = http, headers

    async def request(self, method: str, url: str, *, headers: Mapping[str, str] | None = None, **rest: Any) -> HttpAnswer:
        """See ``cdmd.contracts.Http``."""
        return await self._http.request(method, url, headers=self._with(headers), **rest)

    async def get(self, url: str, *, headers: Mapping[str, str] | None = None, **rest: Any) -> HttpAnswer:
        """See ``cdmd.contracts.Http``."""
        return await self._http.get(url, headers=self._with(headers), **rest)

    async def post(self, url: str, *, headers: Mapping[str, str] | None = None, **rest: Any) -> HttpAnswer:
        """See ``cdmd.contracts.Http``."""
        return await self._http.post(url, headers=self._with(headers), **rest)

    def _with(self, headers: Mapping[str, str] | None) -> Mapping[str, str]:
        own = {name.lower(): text for name, text in (headers or {}).items()}
        return own if "traceparent" in own else {**self._headers, **own}
