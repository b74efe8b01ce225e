"""One REST connector tried: two pages of every stream, what they become, and what would be kept; nothing is.

Records are emitted when all streams have been asked, so that whoever has seen enough events still hears of every stream.
"""

from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import anyio
import msgspec

from cdmd.connectors.fetching import Ask, Fetcher, Judge, Outcome, excerpt
from cdmd.connectors.rest.answering import Page, Raw
from cdmd.connectors.rest.getting import Means
from cdmd.connectors.rest.positions import Place, shown
from cdmd.connectors.rest.records import Edge
from cdmd.connectors.rest.streams import Stream
from cdmd.connectors.rest.walking import About, Walk
from cdmd.contracts import HttpAnswer, Source
from cdmd.errors import BadArguments
from cdmd.kit.shared_budget import SCHEDULED
from cdmd.models import Record, Verdict

PAGES: Final = 2
_PARENTS: Final = 2


class Collecting:
    """A source that keeps what is emitted for later; everything else is the given one's."""

    def __init__(self, source: Source) -> None:
        self._source, self.records, self.state = source, list[Record](), dict[bytes, bytes]()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)

    async def emit(self, records: Sequence[Record], *, state: Mapping[bytes, bytes | None] = {}) -> list[Verdict]:
        """Keep them."""
        self.records += records
        for key, value in state.items():
            self.state.pop(key, None)
            if value is not None:
                self.state[key] = value
        return []

    async def get(self, keys: Any) -> dict[bytes, bytes]:
        """What was kept here."""
        return {key: self.state[key] for key in keys if key in self.state}


async def sample(
    streams: Mapping[str, Stream], fetcher: Fetcher, source: Source, tell: Callable[[str], None], *, given: Path | None
) -> None:
    """See above; what went wrong leaves ``source`` unwell. Raises ``BadArguments`` for a file that is no answer."""
    collecting: Any = Collecting(source)

    means, troubles = _telling(fetcher, source, tell), list[str | None]()
    if given is not None:
        await _from_file(next(iter(streams.values())), collecting, given, tell)
    else:
        for stream in streams.values():
            if stream.settings.parent is None:
                troubles.append(await _sampled(stream, collecting, means, tell))
        for stream in streams.values():
            if stream.settings.parent is not None:
                troubles += await _about_parents(stream, collecting, means, tell)
        source.unwell("; ".join(filter(None, troubles)) or None)
    await source.emit(collecting.records)


def _telling(fetcher: Fetcher, source: Source, tell: Callable[[str], None]) -> Means:
    """Asks, and tells what a source that refuses says, and what is waited for."""

    async def fetch(ask: Ask, judge: Judge) -> Outcome:
        def telling(answer: HttpAnswer) -> Outcome:
            if answer.status_code >= HTTPStatus.BAD_REQUEST and (said := excerpt(answer)):
                tell(f"the source says (status {answer.status_code}): {said}")
            return judge(answer)

        return await fetcher.fetch(ask, asker=source.name, priority=SCHEDULED, judge=telling)

    said = set[str]()

    def say(what: str) -> None:
        """Only what may take long, and once."""
        if "source" in what and what not in said:
            said.add(what)
            tell(f"{what} ...")

    return Means(fetch, lambda: 0.0, say)


async def _sampled(stream: Stream, collecting: Any, means: Means, tell: Callable[[str], None]) -> str | None:
    walk = Walk(stream, collecting, means, place=Place(), about=About(most_pages=PAGES))
    look = await walk.look()
    tell(f"{stream.name}: {look.requests} requests, {look.records} records")
    if look.trouble is not None:
        tell(f"{stream.name}: {look.trouble}")
    if look.warning is not None:
        tell(f"{stream.name}: {look.warning}")
    if look.trouble is None or look.records:
        tell(f"{stream.name}: it would keep: {shown(walk.place, stream.positions)}")
    return look.trouble


async def _about_parents(stream: Stream, collecting: Any, means: Means, tell: Callable[[str], None]) -> list[str | None]:
    troubles = list[str | None]()
    rows = [value for key, value in sorted(collecting.state.items()) if key.startswith(stream.due)]
    for row in rows[:_PARENTS]:
        about = About(msgspec.msgpack.decode(row), most_pages=1)
        walk = Walk(stream, collecting, means, place=Place(), about=about)
        look = await walk.look()
        tell(f"{stream.name}: {look.requests} requests, {look.records} records" + (f"; {look.trouble}" if look.trouble else ""))
        troubles.append(look.trouble)
    tell(f"{stream.name}: it would ask about {len(rows)} records of its parent")
    return troubles


async def _from_file(stream: Stream, collecting: Any, given: Path, tell: Callable[[str], None]) -> None:
    """The file as if it were the first answer of the first stream."""
    page = await stream.answering.read(Raw(await anyio.Path(given).read_bytes()))
    if not isinstance(page, Page):
        raise BadArguments(f"{given}: {page.reason}")
    fresh = await stream.intake.fresh(page.records, Edge(Place()), collecting)
    fresh += stream.intake.unreadable(page.faults, collecting)
    tell(f"{stream.name}: {len(page.records)} records")
    await collecting.emit([one.record for one in fresh])
