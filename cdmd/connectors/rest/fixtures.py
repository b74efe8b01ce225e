"""Recorded answers of an API and what they become: a declared connector is its TOML and these, tested without a network.

What is recorded is what was asked before it was signed, so no credential is ever in it. Reading and writing files is the
caller's. Not here: who is hidden (``masking``).
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from cdmd.connectors.fetching import Ask, Fetcher, Judge, Nonsense, Outcome
from cdmd.connectors.rest.answering import is_packed, opened
from cdmd.connectors.rest.getting import Means
from cdmd.connectors.rest.looks import Look
from cdmd.connectors.rest.masking import Masking
from cdmd.connectors.rest.positions import Place, shown
from cdmd.connectors.rest.streams import Stream
from cdmd.connectors.rest.walking import About, Walk
from cdmd.contracts import HttpAnswer, Source
from cdmd.errors import FormatFault
from cdmd.kit.json_text import NotJson, decode_json
from cdmd.kit.shared_budget import SCHEDULED

PAGES: Final = 2
_LARGEST: Final = 10 * 2**20
_HEADERS: Final = ("content-type", "link", "date", "etag", "last-modified", "x-poll-interval")


class Answered(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An answer: its status, the headers that mean something, and its body as JSON, else as text."""

    status: int
    headers: dict[str, str] = {}
    json: Any = None
    text: str | None = None


class Exchange(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One request and its answer. ``url`` is without scheme and host."""

    method: str
    url: str
    body: Any = None
    form: bool = False
    answer: Answered


class Fixture(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one stream answered, in order, and what it becomes: ``events`` in JSON, and the position in words.

    ``pages`` are those of one look; ``parents`` what a child asked about.
    """

    recorded: datetime
    exchanges: list[Exchange]
    pages: int = PAGES
    parents: list[dict[str, Any]] = []
    events: list[dict[str, Any]] = []
    keeps: str = ""


class NotRecordable(ValueError):
    """An answer cannot be recorded; the message says why and what to do."""


class Recorder:
    """Fetches for real and keeps what was answered."""

    def __init__(self, fetcher: Fetcher, *, masking: Masking, as_is: bool) -> None:
        self._fetcher, self._masking, self._as_is = fetcher, masking, as_is
        self.exchanges: list[Exchange] = []

    @property
    def means(self) -> Means:
        """What a walk asks with."""
        return Means(self._fetch, lambda: 0.0)

    async def _fetch(self, ask: Ask, judge: Judge) -> Outcome:
        def noting(answer: HttpAnswer) -> Outcome:
            self.exchanges.append(self._exchange(ask, answer))
            return judge(answer)

        return await self._fetcher.fetch(ask, asker="studio", priority=SCHEDULED, judge=noting)

    def _exchange(self, ask: Ask, answer: HttpAnswer) -> Exchange:
        headers = {name: self._masking.text(answer.headers[name]) for name in _HEADERS if name in answer.headers}
        return Exchange(
            method=ask.method,
            url=self._masking.text(_relative(ask.url)),
            body=ask.body,
            form=ask.form,
            answer=self._answered(answer, headers),
        )

    def _answered(self, answer: HttpAnswer, headers: dict[str, str]) -> Answered:
        status, body = answer.status_code, answer.content
        if not body:
            return Answered(status=status, headers=headers)
        try:
            body = opened(body, largest=_LARGEST) if is_packed(body) else body
            return Answered(status=status, headers=headers, json=self._masking.document(decode_json(body)))
        except FormatFault as fault:
            raise NotRecordable(f"an answer cannot be unpacked: {fault}") from None
        except NotJson:
            text = self._lines(body)
            if text is None and not self._as_is:
                raise NotRecordable(
                    "an answer is no JSON, so nobody can be hidden in it: record it with --as-is, and look at what it holds"
                ) from None
        return Answered(status=status, headers=headers, text=text or self._masking.text(body.decode("utf-8", "replace")))

    def _lines(self, body: bytes) -> str | None:
        """JSON Lines, hidden line by line; None for anything else."""
        try:
            documents = [decode_json(line) for line in body.splitlines() if line.strip()]
        except NotJson:
            return None
        hidden = (msgspec.json.encode(self._masking.document(one)).decode() for one in documents)
        return "".join(f"{line}\n" for line in hidden)


class Replay:
    """Answers as it was recorded, in order. ``differs`` says which request was another one than then."""

    def __init__(self, exchanges: Sequence[Exchange]) -> None:
        self._left, self.differs = list(exchanges), list[str]()

    @property
    def means(self) -> Means:
        """What a walk asks with."""
        return Means(self._fetch, lambda: 0.0)

    @property
    def left(self) -> int:
        """How many recorded answers nobody asked for."""
        return len(self._left)

    async def _fetch(self, ask: Ask, judge: Judge) -> Outcome:
        if not self._left:
            self.differs.append(f"{ask.method} {_relative(ask.url)} was not recorded")
            return Nonsense("there is no recorded answer left")
        then = self._left.pop(0)
        now = (ask.method, _relative(ask.url))
        if now != (then.method, then.url):
            self.differs.append(f"{' '.join(now)} is asked; recorded was {then.method} {then.url}")
        elif (ask.body, ask.form) != (then.body, then.form):
            self.differs.append(f"{' '.join(now)}: another body is sent than was recorded")
        return judge(_Recorded(then.answer))


class _Recorded:
    """``contracts.HttpAnswer`` of a recording."""

    def __init__(self, answer: Answered) -> None:
        self.status_code, self.headers = answer.status, answer.headers
        text = answer.text
        self.content = text.encode() if text is not None else b"" if answer.json is None else msgspec.json.encode(answer.json)

    @property
    def text(self) -> str:
        return self.content.decode("utf-8", "replace")

    def json(self) -> Any:
        return decode_json(self.content)

    def raise_for_status(self) -> Any:
        return self


async def walked(
    stream: Stream, source: Source, means: Means, *, parents: Sequence[Mapping[str, Any]] = (), pages: int = PAGES
) -> tuple[list[Look], Place]:
    """The first look of a stream, of a few pages: a look for each parent where it is a child; and the place after it."""
    looks, place = list[Look](), Place()
    for parent in parents if stream.settings.parent is not None else [{}]:
        walk = Walk(stream, source, means, place=Place(), about=About(parent, most_pages=pages))
        looks.append(await walk.look())
        place = walk.place
    return looks, place


def keeps(stream: Stream, place: Place) -> str:
    """What would be kept of the stream, in words; nothing of a child."""
    return "" if stream.settings.parent is not None else shown(place, stream.positions)


def encoded(fixture: Fixture) -> bytes:
    """The fixture as a file, made to be read and compared."""
    return msgspec.json.format(msgspec.json.encode(fixture, order="sorted"), indent=2) + b"\n"


def decoded(content: bytes) -> Fixture:
    """The fixture that ``encoded`` wrote. Raises msgspec.ValidationError and msgspec.DecodeError."""
    return msgspec.json.decode(content, type=Fixture)


def _relative(url: str) -> str:
    return "/" + url.partition("://")[2].partition("/")[2]
