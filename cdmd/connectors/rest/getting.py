"""One page fetched: asked within the budget, tried again where that is worth it, read. Raises where the walk cannot go on."""

from collections.abc import Awaitable, Callable, Mapping
from hashlib import blake2b
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec

from cdmd.connectors.fetching import Ask, Denied, Expired, Failed, Fetched, Gone, Judge, Outcome, Throttled, Unchanged
from cdmd.connectors.rest.answering import NOTHING, Page, Raw
from cdmd.connectors.rest.paging import Answer, At
from cdmd.connectors.rest.positions import Place, Value
from cdmd.connectors.rest.streams import Stream
from cdmd.contracts import Source
from cdmd.kit.backoff import Backoff

Fetch: TypeAlias = Callable[[Ask, Judge], Awaitable[Outcome]]
"""Asks within the host's budget."""

RETRY: Final = Backoff(first=2.0, cap=60.0, factor=3.0)
_LONGEST_ASKED: Final = 86_400.0


class Stopped(Exception):
    """The walk cannot go on; the sentence says why. ``denied``: only somebody can change that."""

    def __init__(self, reason: str, *, denied: bool = False) -> None:
        super().__init__(reason)
        self.denied = denied


class Lost(Exception):
    """The source no longer knows the position."""


class Means(NamedTuple):
    """What a walk asks with: ``chance`` draws from [0, 1), ``say`` is told what it does."""

    fetch: Fetch
    chance: Callable[[], float]
    say: Callable[[str], None] = lambda what: None


class Got(NamedTuple):
    """A page as it came. ``request`` names what was asked."""

    answer: Answer
    page: Page
    request: bytes


class Getting:
    """Fetches the pages of one look and counts: ``requests``, ``records``; ``asked`` is the interval that the source wants."""

    def __init__(self, stream: Stream, source: Source, means: Means, *, parent: Mapping[str, Any]) -> None:
        self._stream, self._source, self._means, self._parent = stream, source, means, parent
        self.requests = self.records = 0
        self.asked: float | None = None

    async def page(self, at: At, since: Value | None, until: Value | None, *, known: Place | None) -> Got | None:
        """The page at that place; None where nothing has changed since ``known``. Raises ``Stopped`` and ``Lost``."""
        ask, request = self._request(at, since, until, known)
        for attempt in range(1, self._stream.tries + 1):
            self._means.say(f"page {at.pages + 1}" + (f", {self.records} records so far" if self.records else ""))
            self.requests += 1
            outcome = await self._means.fetch(ask, self._stream.answering.judge)
            if isinstance(outcome, Fetched) and isinstance(outcome.value, Raw):
                outcome = await self._read(outcome)
            match outcome:
                case Fetched(value=page, headers=headers):
                    return self._got(ask, request, page, headers)
                case Unchanged(headers=headers):
                    self._note_interval(headers)
                    return None
                case Gone() if self._parent:  # what it belongs to may be gone by now, or has none
                    return self._got(ask, request, NOTHING, {})
            await self._again(outcome, attempt)
        raise AssertionError("the last try was judged")

    def _request(self, at: At, since: Value | None, until: Value | None, known: Place | None) -> tuple[Ask, bytes]:
        positions = self._stream.positions
        written = (None if positions is None else positions.written(one) for one in (since, until))
        since_text, until_text = written
        ask = self._stream.asking.ask(at, since=since_text, until=until_text, parent=self._parent)
        request = blake2b(msgspec.json.encode([ask.url, ask.body]), digest_size=16).digest()
        settings = self._stream.settings.since
        if known is not None and settings is not None and settings.etag and known.request == request:
            named = {"if-none-match": known.etag, "if-modified-since": known.modified}
            conditions = {name: text for name, text in named.items() if text}
            ask = msgspec.structs.replace(ask, headers={**ask.headers, **conditions})
        return ask, request

    def _got(self, ask: Ask, request: bytes, page: Page, headers: Mapping[str, str]) -> Got:
        self.records += len(page.records)
        self._note_interval(headers)
        return Got(Answer(ask.url, page.document, headers, len(page.records) + len(page.faults)), page, request)

    def _note_interval(self, headers: Mapping[str, str]) -> None:
        text = headers.get("x-poll-interval", "").strip()
        if text.isascii() and text.isdigit():
            self.asked = min(_LONGEST_ASKED, float(text[:9]))

    async def _read(self, outcome: Fetched) -> Outcome:
        read = await self._stream.answering.read(outcome.value)
        return Fetched(read, outcome.headers) if isinstance(read, Page) else read

    async def _again(self, outcome: Outcome, attempt: int) -> None:
        """Return where it is worth another try. Raises ``Stopped`` and ``Lost``."""
        match outcome:
            case Denied(reason=reason):
                raise Stopped(reason, denied=True)
            case Expired():
                raise Lost
            case Gone(status=status):
                raise Stopped(f"there is nothing at {self._stream.settings.path} (status {status})")
            case Failed(reason=reason) | Throttled(reason=reason) if attempt < self._stream.tries:
                if isinstance(outcome, Failed):
                    self._means.say(f"another try soon: {reason}")
                    await self._source.clock.sleep(RETRY.delay(attempt, self._means.chance()))
            case other:
                raise Stopped(getattr(other, "reason", "the source says nothing that can be used"))
