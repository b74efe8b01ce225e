"""The last hour in memory: a sample every ten seconds of what arrived, was applied and waits, for whoever looks.

Every series is a ring of fixed size, and only so many connectors have one: about 9 KB each. Nothing of it outlives the daemon;
who wants more asks for the metrics. Not here: what is drawn of it (``console``).
"""

import math
from array import array
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Final, NamedTuple

import anyio
import anyio.abc
import anyio.lowlevel

from cdmd.control.watching_shapes import SERIES, ConnectorSeries, HistoryReport
from cdmd.daemon.overview import freshness
from cdmd.daemon.parts import Parts
from cdmd.models import Count

STEP: Final = 10.0
SAMPLES: Final = 360
MOST_CONNECTORS: Final = 1000
_AT_ONCE: Final = 50


class Measured(NamedTuple):
    """One connector at one moment."""

    received: float
    freshness: float | None
    backlog: float


class Ring:
    """The last ``size`` values of one series; a place that nothing was written to is not a number."""

    def __init__(self, size: int) -> None:
        self._values = array("d", [math.nan]) * size

    def put(self, number: int, value: float | None) -> None:
        """Write the value of sample ``number``."""
        self._values[number % len(self._values)] = math.nan if value is None else value

    def since(self, first: int, end: int) -> list[float | None]:
        """The values of the samples from ``first`` to before ``end``."""
        start, count = first % len(self._values), end - first
        found = (self._values[start:] + self._values[:start])[:count]
        return [None if value != value else round(value, 3) for value in found]  # noqa: PLR0124 - what is not a number


class History:
    """Rings for the daemon and for each connector; ``take`` writes one sample into all of them."""

    def __init__(self, *, size: int = SAMPLES, most: int = MOST_CONNECTORS) -> None:
        self._size, self._most = size, most
        self._taken = 0
        self._until: datetime | None = None
        self._whole = (Ring(size), Ring(size), Ring(size))
        self._connectors: dict[str, tuple[Ring, Ring, Ring]] = {}

    def take(self, at: datetime, whole: Sequence[float], connectors: Sequence[tuple[str, Measured]]) -> None:
        """A sample: ``whole`` is journaled, applied and backlog. A connector that is not in it is forgotten."""
        number, self._taken, self._until = self._taken, self._taken + 1, at
        for ring, value in zip(self._whole, whole, strict=True):
            ring.put(number, value)
        shown = connectors[: self._most]
        self._connectors = {name: self._connectors.get(name) or self._rings() for name, _ in shown}
        for name, measured in shown:
            for ring, each in zip(self._connectors[name], measured, strict=True):
                ring.put(number, each)

    def report(self, names: Collection[str] = (), series: Collection[str] = ()) -> HistoryReport:
        """All samples that are kept, of the daemon and of those connectors among ``names`` that have any.

        ``series`` are fields of ``ConnectorSeries``: only these are read, by default all.
        """
        first, end = max(0, self._taken - self._size), self._taken
        journaled, applied, backlog = (ring.since(first, end) for ring in self._whole)
        wanted = [(place, field) for place, field in enumerate(SERIES) if field in (series or SERIES)]
        found = []
        for name in names:
            if rings := self._connectors.get(name):
                values = {field: rings[place].since(first, end) for place, field in wanted}
                found.append(ConnectorSeries(name=name, **values))
        return HistoryReport(
            step_seconds=STEP, until=self._until, journaled=journaled, applied=applied, backlog=backlog, connectors=found
        )

    def _rings(self) -> tuple[Ring, Ring, Ring]:
        return Ring(self._size), Ring(self._size), Ring(self._size)


async def keep_history(
    parts: Parts, history: History, *, task_status: "anyio.abc.TaskStatus[None]" = anyio.TASK_STATUS_IGNORED
) -> None:
    """Take a sample now and every ``STEP`` seconds until cancelled; only of what is in memory already."""
    task_status.started()
    while True:
        connectors: list[tuple[str, Measured]] = []
        for live in parts.connectors:
            name = live.config.name
            late = freshness(parts, live, parts.clock.now())
            received = float(parts.tally.of(name, Count.RECEIVED))
            connectors.append((name, Measured(received, late, float(parts.pipeline.backlog(name)))))
            if len(connectors) % _AT_ONCE == 0:
                await anyio.lowlevel.checkpoint()
        journaled, applied = parts.journal.head, parts.store.position
        history.take(parts.clock.now(), (journaled, applied, journaled - applied), connectors)
        await parts.clock.sleep(STEP)
