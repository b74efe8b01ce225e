"""An export: a job at the source that the stream's request starts, asked about until it is done, and the file that it makes.

The job's name is durable before it is asked about, and gone with the last record of its file: whatever cuts a look off, the
next one goes on waiting for the same job. Not here: what the file holds (``answering``), its further pages (``paging``).
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec

from cdmd.connectors.durable import durable
from cdmd.connectors.fetching import Ask, Fetched, Gone
from cdmd.connectors.rest.answering import Answering, Page
from cdmd.connectors.rest.asking import Asking, joined
from cdmd.connectors.rest.paging import At
from cdmd.connectors.rest.settings import ErrorSettings, ExportSettings, RestSettings, StreamSettings
from cdmd.contracts import Source
from cdmd.errors import TemplateFault
from cdmd.kit.coercions import as_text
from cdmd.kit.templates import Template
from cdmd.kit.urls import UrlTemplate
from cdmd.models import to_micros

_SECOND: Final = 1_000_000
_ANY: Final = "*/*"

Answer: TypeAlias = Callable[[Ask, Answering], Awaitable[Fetched | Gone]]
"""Asks until there is an answer; ``Fetched`` holds a ``Page``. Raises ``Stopped``."""


class Stopped(Exception):
    """The walk cannot go on; the sentence says why. ``denied``: only somebody can change that. ``nonsense``: nor can time.

    ``perhaps_this``: what is denied may be this alone.
    """

    def __init__(self, reason: str, *, denied: bool = False, perhaps_this: bool = False, nonsense: bool = False) -> None:
        super().__init__(reason)
        self.denied, self.perhaps_this, self.nonsense = denied, perhaps_this, nonsense


class Job(msgspec.Struct, frozen=True, array_like=True):
    """One that was started: what names it, the request that did it, up to where that asked, and when (microseconds)."""

    name: str
    request: bytes
    until: str
    began: int


class Start(NamedTuple):
    """The request that starts a job. ``request`` names it without its end ``until``; ``last``: that end is now."""

    ask: Ask
    request: bytes
    until: str
    last: bool


class Made(NamedTuple):
    """A job that is done, and what names its file."""

    job: str
    file: str | None


_JOB: Final = msgspec.msgpack.Decoder(Job)


class Export:
    """One stream's, compiled. Raises ValueError for what ``checking`` would have refused."""

    def __init__(self, settings: ExportSettings, connector: RestSettings, errors: ErrorSettings, asking: Asking) -> None:
        self.settings, self._asking = settings, asking
        self._progress, self._file = (
            UrlTemplate.parse(joined(connector.base_url, path)) for path in (settings.progress, settings.file)
        )
        self._names = {
            name: Template.parse(text)
            for name in ("id", "done", "failed", "file_id")
            if (text := getattr(settings, name)) is not None
        }
        self.answering = Answering(StreamSettings(path="/"), errors, max_body=connector.max_body.bytes)

    def progress(self, job: Job) -> Ask:
        """The request for how far it is."""
        return self._asking.exported(self._progress, At(), job=job.name, file=None, accept="application/json")

    def page(self, made: Made, at: At, *, accept: str = _ANY) -> Ask:
        """The request for its file, or for the page of it at that place."""
        return self._asking.exported(self._file, at, job=made.job, file=made.file, accept=accept)

    def says(self, name: str, document: Any) -> bool:
        """Whether the answer says ``done``, or ``failed``. Raises ``Stopped``."""
        return bool(self._rendered(name, document))

    def name(self, name: str, document: Any) -> str | None:
        """The text at ``id`` or ``file_id``; None where none is declared. Raises ``Stopped`` where there is none."""
        if name not in self._names:
            return None
        found = self._rendered(name, document)
        try:
            text = "" if found is None else as_text(found)
        except TemplateFault:
            text = ""
        if not text:
            raise Stopped(f"the answer holds no text at {self._names[name].text} (export.{name})", nonsense=True)
        return text

    def _rendered(self, name: str, document: Any) -> Any:
        try:
            return self._names[name].render(document, {})
        except TemplateFault as fault:
            raise Stopped(f"export.{name}: {fault}", nonsense=True) from None


class Exporting:
    """Has a stream's export made. ``key`` is where the job stands in the connector's state."""

    def __init__(self, export: Export, source: Source, key: bytes, *, answer: Answer, say: Callable[[str], None]) -> None:
        self._export, self._source, self._key, self._answer, self._say = export, source, key, answer, say

    async def made(self, start: Start) -> Made:
        """Wait until the job that ``start`` starts is done; one that was started so before is waited for instead.

        Raises ``Stopped`` where it fails or takes too long; then the next look starts another one.
        """
        job = await self._kept(start)
        every = self._export.settings.every.seconds
        if job is None:
            job = await self._started(start)
            await self._source.clock.sleep(every)
        deadline = self._deadline(job)
        while True:
            document = await self._progress(job)
            if self._export.says("failed", document):
                await self.drop("the source says that the export failed: another one is started at the next look")
            if self._export.says("done", document):
                return Made(job.name, self._export.name("file_id", document))
            if self._source.clock.monotonic() + every > deadline:
                within = self._export.settings.within
                await self.drop(f"the export was not done within {within}: another one is started at the next look")
            self._say("waits for the source's export")
            await self._source.clock.sleep(every)

    async def drop(self, why: str) -> None:
        """Forget the job. Raises ``Stopped``."""
        await durable(self._source, [], {self._key: None})
        raise Stopped(why)

    async def _kept(self, start: Start) -> Job | None:
        """One that asked for the same; what asked for all up to its own now may be older."""
        row = (await self._source.get([self._key])).get(self._key)
        job = None if row is None else _JOB.decode(row)
        if job is None or job.request != start.request or not (start.last or job.until == start.until):
            return None
        return job

    async def _started(self, start: Start) -> Job:
        self._say("asks the source for an export")
        document = await self._document(start.ask, "the source knows no such export")
        name = self._export.name("id", document) or ""
        job = Job(name, start.request, start.until, to_micros(self._source.clock.now()))
        await durable(self._source, [], {self._key: msgspec.msgpack.encode(job)})
        return job

    async def _progress(self, job: Job) -> Any:
        return await self._document(self._export.progress(job), "the source no longer knows the export that it began")

    async def _document(self, ask: Ask, gone: str) -> Any:
        found = await self._answer(ask, self._export.answering)
        if isinstance(found, Gone):
            await self.drop(f"{gone} (status {found.status})")
        assert isinstance(found, Fetched)  # noqa: S101 - ``drop`` raises
        return found.value.document if isinstance(found.value, Page) else {}

    def _deadline(self, job: Job) -> float:
        """In monotonic seconds; a wall clock that was set meanwhile makes nobody wait longer than for a new one."""
        clock, within = self._source.clock, self._export.settings.within.seconds
        waited = (to_micros(clock.now()) - job.began) / _SECOND
        return clock.monotonic() + within - min(within, max(0.0, waited))
