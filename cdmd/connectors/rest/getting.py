"""One page fetched: asked within the budget, tried again where that is worth it, read. Raises where the walk cannot go on."""

from collections.abc import Awaitable, Callable, Mapping
from hashlib import blake2b
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec

from cdmd.connectors.fetching import (
    Ask,
    Denied,
    Expired,
    Failed,
    Fetched,
    Gone,
    Judge,
    Nonsense,
    Outcome,
    Throttled,
    Unchanged,
)
from cdmd.connectors.rest.answering import NOTHING, Answering, Page, Raw
from cdmd.connectors.rest.exporting import Exporting, Made, Start, Stopped
from cdmd.connectors.rest.paging import Answer, At
from cdmd.connectors.rest.positions import Place, Value
from cdmd.connectors.rest.streams import Stream
from cdmd.contracts import Source
from cdmd.kit.backoff import Backoff

Fetch: TypeAlias = Callable[[Ask, Judge], Awaitable[Outcome]]
"""Asks within the host's budget."""

RETRY: Final = Backoff(first=2.0, cap=60.0, factor=3.0)
_LONGEST_ASKED: Final = 86_400.0
_LONGEST_CONDITION: Final = 1_000


class Lost(Exception):
    """The source no longer knows the position."""


class Means(NamedTuple):
    """What a walk asks with: ``chance`` draws from [0, 1), ``say`` is told what it does."""

    fetch: Fetch
    chance: Callable[[], float]
    say: Callable[[str], None] = lambda what: None


class Window(NamedTuple):
    """What one walk asks for; ``last``: there is no other behind it."""

    since: Value | None
    until: Value | None
    last: bool


class Got(NamedTuple):
    """A page as it came. ``request`` names what was asked."""

    answer: Answer
    page: Page
    request: bytes


class Getting:
    """Fetches the pages of one look and counts: ``requests``, ``records``; ``asked`` is the interval that the source wants."""

    def __init__(self, stream: Stream, source: Source, means: Means, *, parent: Mapping[str, Any]) -> None:
        self._stream, self._source, self._means, self._parent = stream, source, means, parent
        self._export: Exporting | None = None
        if stream.export is not None:
            self._export = Exporting(stream.export, source, stream.job, answer=self._found, say=means.say)
        self._made: Made | None = None
        self.requests = self.records = 0
        self.asked: float | None = None

    async def page(self, at: At, window: Window, *, known: Place | None) -> Got | None:
        """The page at that place; None where nothing has changed since ``known``. Raises ``Stopped`` and ``Lost``."""
        ask, request = self._request(at, window.since, window.until, known)
        if self._export is not None:
            return await self._exported(self._export, at, ask, window)
        match await self._answer(ask, self._stream.answering, f"page {at.pages + 1}"):
            case Fetched(value=page, headers=headers):
                return self._got(ask, request, page, headers)
            case Unchanged(headers=headers):
                self._note_interval(headers)
                return None
            case Gone(status=status):
                if not self._parent:
                    raise Stopped(f"there is nothing at {self._stream.settings.path} (status {status})")
                return self._got(ask, request, NOTHING, {})  # what it belongs to may be gone by now, or has none

    async def _exported(self, exporting: Exporting, at: At, ask: Ask, window: Window) -> Got:
        """The page of the file that the source makes; before the first one it has to be made."""
        export = self._stream.export
        assert export is not None  # noqa: S101 - asked only where there is one
        _, request = self._request(at, window.since, None, None)
        if at.pages == 0 or self._made is None:
            until = self._written(window.until)
            self._made = await exporting.made(Start(ask, request, "" if until is None else str(until), window.last))
        ask = export.page(self._made, at)
        try:
            found = await self._found(ask, self._stream.answering, f"page {at.pages + 1} of the export")
        except Stopped as why:
            if why.nonsense:
                await exporting.drop(str(why))
            raise
        if isinstance(found, Gone):
            await exporting.drop(f"the file that the source made is gone (status {found.status})")
        assert isinstance(found, Fetched)  # noqa: S101 - ``drop`` raises
        return self._got(ask, request, found.value, found.headers)

    async def _found(self, ask: Ask, answering: Answering, what: str | None = None) -> Fetched | Gone:
        """An answer that says something. Raises ``Stopped`` and ``Lost``."""
        found = await self._answer(ask, answering, what)
        if isinstance(found, Unchanged):
            raise Stopped("the source answers 304 to what was not asked conditionally", nonsense=True)
        return found

    async def _answer(self, ask: Ask, answering: Answering, what: str | None = None) -> Fetched | Unchanged | Gone:
        """Ask until there is an answer that says something; ``what`` is done meanwhile. Raises ``Stopped`` and ``Lost``."""
        for attempt in range(1, self._stream.tries + 1):
            if what is not None:
                self._means.say(what + (f", {self.records} records so far" if self.records else ""))
            self.requests += 1
            outcome = await self._means.fetch(ask, answering.judge)
            if isinstance(outcome, Fetched) and isinstance(outcome.value, Raw):
                read = await answering.read(outcome.value)
                outcome = Fetched(read, outcome.headers) if isinstance(read, Page) else read
            if isinstance(outcome, Fetched | Unchanged | Gone):
                return outcome
            await self._again(outcome, attempt)
        raise AssertionError("the last try was judged")

    def _request(self, at: At, since: Value | None, until: Value | None, known: Place | None) -> tuple[Ask, bytes]:
        ask = self._stream.asking.ask(at, since=self._written(since), until=self._written(until), parent=self._parent)
        request = blake2b(
            msgspec.json.encode([ask.url, ask.body, ask.form] if ask.form else [ask.url, ask.body]), digest_size=16
        ).digest()
        settings = self._stream.settings.since
        if known is not None and settings is not None and settings.etag and known.request == request:
            named = {"if-none-match": known.etag, "if-modified-since": known.modified}
            conditions = {name: text for name, text in named.items() if text and _is_sendable(text)}
            ask = msgspec.structs.replace(ask, headers={**ask.headers, **conditions})
        return ask, request

    def _written(self, value: Value | None) -> Any:
        positions = self._stream.positions
        return None if positions is None else positions.written(value)

    def _got(self, ask: Ask, request: bytes, page: Page, headers: Mapping[str, str]) -> Got:
        self.records += len(page.records)
        self._note_interval(headers)
        return Got(Answer(ask.url, page.document, headers, len(page.records) + len(page.faults)), page, request)

    def _note_interval(self, headers: Mapping[str, str]) -> None:
        text = headers.get("x-poll-interval", "").strip()
        if text.isascii() and text.isdigit():
            self.asked = min(_LONGEST_ASKED, float(text[:9]))

    async def _again(self, outcome: Outcome, attempt: int) -> None:
        """Return where it is worth another try. Raises ``Stopped`` and ``Lost``."""
        match outcome:
            case Denied(reason=reason, perhaps_this=this):
                raise Stopped(reason, denied=True, perhaps_this=this)
            case Expired():
                raise Lost
            case Failed(reason=reason) | Throttled(reason=reason) if attempt < self._stream.tries:
                if isinstance(outcome, Failed):
                    self._means.say(f"another try soon: {reason}")
                    await self._source.clock.sleep(RETRY.delay(attempt, self._means.chance()))
            case other:
                reason = getattr(other, "reason", "the source says nothing that can be used")
                raise Stopped(reason, nonsense=isinstance(other, Nonsense))


def _is_sendable(text: str) -> bool:
    """Whether it can be sent back as it came; where it can not, it is asked without a condition."""
    return text.isascii() and text.isprintable() and len(text) <= _LONGEST_CONDITION
