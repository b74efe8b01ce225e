"""What nodes say of themselves to each other, and the status of all of them as any of them shows it.

Sums are the journal's and the store's, which all share. What only a node knows that runs a connector (its state, what it waits
for) is what that node said last. Not here: measuring this node (``overview``).
"""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import anyio
import anyio.abc
import msgspec
import structlog

from cdmd import __version__
from cdmd.contracts import Lanes, Node
from cdmd.control.node_shapes import NodeRow
from cdmd.control.privacy_shapes import ErasuresRow
from cdmd.control.protocol import ConnectorRow
from cdmd.daemon.parts import Parts
from cdmd.errors import CdmdError
from cdmd.models import Count, Seq

EVERY: Final = 2.0
"""Seconds between two reports of a node."""
_SELDOM: Final = 50
"""Times as long as a report takes to be made: it should not cost more than a fiftieth of the node's time."""
_LATEST: Final = 10.0
"""But within so many seconds: who waited long for a server that is back is not told of as without it for minutes."""
_MISSED: Final = 86_400.0
"""For so many seconds a node that was lost is a warning."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What a node says: what it runs, and how late what it applied became visible, by connector."""

    version: str = __version__
    state: str
    uptime: float
    warnings: Sequence[str] = ()
    connectors: Sequence[ConnectorRow] = ()
    freshness: Mapping[str, float] = {}
    erasures: ErasuresRow = ErasuresRow()
    working: str | None = None


class Gathered(msgspec.Struct, frozen=True):
    """All nodes, with what those said that said something, and which one this is; of a daemon that is alone there are none."""

    mine: str = ""
    nodes: Sequence[Node] = ()
    reports: Mapping[str, Report] = {}
    reached: Mapping[int, Seq] = {}

    def rows(self, head: Seq) -> list[NodeRow]:
        """A row for each."""
        return [self._row(one, head) for one in self.nodes]

    def _row(self, one: Node, head: Seq) -> NodeRow:
        said = self.reports.get(one.name)
        told: dict[str, Any] = {}
        if said is not None:
            told = {
                "version": said.version,
                "state": said.state,
                "uptime_seconds": said.uptime,
                "connectors": len(said.connectors),
                "freshness_seconds": round(max(said.freshness.values()), 3) if said.freshness else None,
            }
        return NodeRow(
            name=one.name,
            roles=one.roles,
            leads=one.leads,
            lanes={lane: max(0, head - self.reached.get(lane, head)) for lane in one.lanes},
            silent_seconds=round(one.silent, 3),
            alike=one.alike,
            lost=one.lost,
            **told,
        )

    def warnings(self) -> list[str]:
        """What others are not well with."""
        found = [f"{name}: {text}" for name, said in self.reports.items() if name != self.mine for text in said.warnings]
        lost = [one for one in self.nodes if one.lost and one.silent < _MISSED]
        return found + [
            f"nothing was heard of the node {one.name} for {one.silent:.0f} seconds: others do its work; start it again"
            for one in lost
        ]

    def late(self, name: str) -> float | None:
        """The longest that any node says of what it applied of that connector."""
        return max((said.freshness[name] for said in self.reports.values() if name in said.freshness), default=None)

    def erasures(self) -> ErasuresRow | None:
        """Those under way, as the node says that leads."""
        said = next((self.reports[one.name] for one in self.nodes if one.leads and one.name in self.reports), None)
        return None if said is None else said.erasures

    def elsewhere(self, parts: Parts, here: Iterable[str], applied: Mapping[tuple[str, str], int]) -> Iterator[ConnectorRow]:
        """Rows of the configured connectors that run on another node than this one, or on none."""
        said = {row.name: row for one in self.nodes if one.name in self.reports for row in self.reports[one.name].connectors}
        for name in parts.config.connectors.keys() - set(here):
            late = self.late(name)
            if (row := said.get(name)) is None:
                kind = parts.config.connectors[name].frame.type
                row = ConnectorRow(name=name, type=kind, state="unknown", detail="no node says that it runs it")
            sums = counted(parts, name, applied)
            fresh = max((one for one in (row.freshness_seconds, late) if one is not None), default=None)
            yield msgspec.structs.replace(row, **sums, freshness_seconds=None if fresh is None else round(fresh, 3))


async def gather(parts: Parts) -> Gathered:
    """Who there is. Raises ``CdmdError``."""
    if not isinstance(parts.store, Lanes):
        return Gathered()
    nodes, reports = await parts.store.nodes(), dict[str, Report]()
    for one in nodes:
        with suppress(msgspec.DecodeError):  # of another version, or nothing yet
            reports[one.name] = msgspec.json.decode(one.report, type=Report)
    return Gathered(parts.store.name, nodes, reports, await parts.store.reached())


async def keep_reporting(
    parts: Parts,
    lanes: Lanes,
    report: Callable[[], Awaitable[Report]],
    *,
    task_status: "anyio.abc.TaskStatus[None]" = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Say now and then how this node is, until cancelled; the more there is to say, the less often."""
    clock, log, failed = parts.clock, structlog.get_logger(), False
    task_status.started()
    while True:
        began = clock.monotonic()
        try:
            await lanes.report(msgspec.json.encode(await report()).decode())
        except CdmdError as error:
            if not failed:
                log.warning("report_failed", error=error)
            failed = True
        else:
            failed = False
        await clock.sleep(max(EVERY, min(_LATEST, _SELDOM * (clock.monotonic() - began))))


def counted(parts: Parts, name: str, applied: Mapping[tuple[str, str], int]) -> dict[str, int]:
    """The sums of promise P9 of one connector, and what else is counted of it over restarts."""

    def door(counter: str) -> int:
        return parts.tally.of(name, counter)

    def store(counter: str) -> int:
        return applied.get((name, counter), 0)

    repeats = door(Count.REPEATS) + store(Count.REPEATS)
    suppressed = door(Count.SUPPRESSED) + store(Count.SUPPRESSED)
    settled = suppressed + sum(store(one) for one in (Count.APPLIED, Count.FILTERED, Count.DEAD, Count.PARKED))
    return {
        "received": door(Count.RECEIVED),
        "refused": door(Count.REFUSED),
        "accepted": door(Count.ACCEPTED),
        "applied": store(Count.APPLIED),
        "duplicates": repeats,
        "repeats": repeats,
        "filtered": door(Count.FILTERED) + store(Count.FILTERED),
        "filtered_at_door": door(Count.FILTERED),
        "suppressed": suppressed,
        "dead_letters": store(Count.DEAD),
        "parked": store(Count.PARKED),
        "backlog": door(Count.ACCEPTED) - repeats - settled,
        "unattributed": store(Count.UNATTRIBUTED),
        "unusable": store(Count.UNUSABLE),
        "kept_apart": store(Count.KEPT_APART),
        "id_conflicts": store(Count.ID_CONFLICTS),
        "clock_ahead": store(Count.CLOCK_AHEAD),
        "ignored_traits": store(Count.IGNORED_TRAITS),
        "skipped_values": store(Count.SKIPPED_VALUES),
        "missed": store(Count.MISSED),
    }
