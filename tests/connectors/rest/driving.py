"""A REST connector of a TOML text, driven look by look or for hours of a time that leaps."""

import tomllib
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from cdmd.config.checking import Checker
from cdmd.config.schema import FRAME_KEYS, ConnectorFrame
from cdmd.connectors.fetching import Ask, Fetcher, Judge, Outcome
from cdmd.connectors.registered import cdmd_formats
from cdmd.connectors.rest import Rest
from cdmd.connectors.rest.getting import Means
from cdmd.connectors.rest.looks import Look
from cdmd.connectors.rest.positions import Place
from cdmd.connectors.rest.settings import RestSettings
from cdmd.connectors.rest.walking import About, Walk
from cdmd.kit.secret import Secret
from cdmd.kit.shared_budget import SCHEDULED
from cdmd.testing import RecordingSource
from tests.connectors.rest.api import Api, ApiHttp
from tests.kit.virtual import VirtualClock

CONTACTS = """
base_url = "https://api.example"
limits = "1000/1s"
[streams.contacts]
path = "/contacts"
records = "{results[*]}"
page = { type = "cursor", from = "{paging.next.after}", param = "after" }
since = { field = "{updated_at}", param = "updated_since", order = "asc" }
event = { id = "{id}:{updated_at}", type = "contact.updated", time = "{updated_at}", identifiers = { email = "{email}" } }
"""


def mistakes(text: str) -> list[str]:
    """What is wrong with this connector."""
    found: list[str] = []
    settings = _settings(tomllib.loads(text), found)
    return found or (Rest.check("crm", settings) if settings is not None else [])


def _settings(table: Mapping[str, Any], found: list[str]) -> Any:
    def report(key: Any, what: str) -> None:
        found.append(f"{'.'.join(key)}: {what}")

    formats = {one.name: one for one in cdmd_formats()}
    checker = Checker(report, lambda given, _: Secret(given.encode(), reference="x"), formats=formats)
    own = {name: value for name, value in table.items() if name not in FRAME_KEYS}
    return checker.table(RestSettings, own, ())


class ShiftedClock(VirtualClock):
    """A wall clock that somebody sets, beside a steady one that nobody can."""

    shift = 0.0

    def now(self) -> datetime:
        return super().now() + timedelta(seconds=self.shift)

    def set(self, now: datetime) -> None:
        self.shift += (now - self.now()).total_seconds()


class Driven:
    """``look`` at a stream as often as wanted; what it brought is in ``source``. ``restart`` forgets all but the state."""

    def __init__(self, text: str, api: Api, *, clock: ShiftedClock | None = None, http: Any = None) -> None:
        self.text, self.api = text, api
        found: list[str] = []
        settings = _settings(tomllib.loads(text), found)
        assert not found, found
        self.clock = clock or ShiftedClock()
        api.now, api.steady = self.clock.now, self.clock.monotonic
        self.http = http or ApiHttp(api)
        self.settings = settings
        self._fetcher: Fetcher | None = None
        self.connector = Rest("crm", settings)
        self.source = RecordingSource(
            "crm", frame=ConnectorFrame(type="rest"), http=self.http, clock=self.clock, streams=self.connector.streams
        )

    @property
    def ids(self) -> list[str]:
        return [event.id for event in self.source.events]

    def restart(self) -> None:
        self.connector = Rest("crm", self.settings)
        self._fetcher = None

    def place(self, stream: str = "contacts") -> Place:
        one = self.connector._streams[stream]
        return one.read(self.source.state.get(one.key))

    async def look(self, stream: str = "contacts", *, about: About | None = None) -> Look:
        """One look, in a time that leaps."""
        found: list[Look] = []

        async def main() -> None:
            fetcher = self._fetcher = self._fetcher or self.connector.fetcher(self.source)

            async def fetch(ask: Ask, judge: Judge) -> Outcome:
                return await fetcher.fetch(ask, asker=stream, priority=SCHEDULED, judge=judge)

            one = self.connector._streams[stream]
            means = Means(fetch, lambda: 0.5)
            walk = Walk(one, self.source, means, place=self.place(stream), about=about or About())
            found.append(await walk.look())

        await self.clock.run(main)
        return found[0]

    async def run(self, seconds: float) -> None:
        """The whole connector for so long."""

        async def main() -> None:
            import anyio

            async with anyio.create_task_group() as group:
                group.start_soon(self.connector.run, self.source)
                await self.clock.sleep(seconds)
                group.cancel_scope.cancel()

        await self.clock.run(main)
