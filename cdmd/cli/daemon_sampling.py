"""``cdmd try`` of a connector that fetches: its first records, with nothing stored here and nothing changed there."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
from typing_extensions import override

from cdmd.cli.loading import Loaded
from cdmd.cli.terminal import clean
from cdmd.config.schema import ConnectorConfig
from cdmd.contracts import SamplingConnector
from cdmd.kit.addresses import hosts_in, parse_networks
from cdmd.kit.egress import GuardedHttp
from cdmd.models import Record, Verdict
from cdmd.testing.source import RecordingSource


class _Enough(Exception):
    """As many events as were asked for."""


class _Few(RecordingSource):
    """Takes records until it has ``enough`` events, and one more to know whether there are more."""

    def __init__(self, *arguments: Any, enough: int, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._enough = enough

    @override
    async def emit(self, records: Sequence[Record], *, state: Any = None) -> list[Verdict]:
        verdicts = await super().emit(records, state=state or {})
        if len(self.events) > self._enough:
            self.stopped = True
            raise _Enough
        return verdicts


def sampled(
    built: SamplingConnector, one: ConnectorConfig, loaded: Loaded, *, limit: int, given: Path | None
) -> RecordingSource:
    """The source with what the connector brought in first; what it says of the other side goes to stderr."""
    import ssl
    import tempfile

    import anyio

    async def run() -> RecordingSource:
        allowed = parse_networks(loaded.config.network.allow_addresses)
        client = GuardedHttp(hosts=hosts_in(one.settings), allowed=allowed, tls=tls)
        async with client:
            streams = getattr(built, "streams", {})
            source = _Few(one.name, frame=one.frame, http=client, scratch=Path(scratch), streams=streams, enough=limit)
            with suppress(_Enough):
                await built.sample(source, lambda sentence: click.echo(clean(sentence), err=True), given=given)
            return source

    tls = ssl.create_default_context()
    with tempfile.TemporaryDirectory(prefix="cdmd-try-") as scratch:
        return anyio.run(run)
