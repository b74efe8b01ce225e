"""The shapes that the control socket speaks about the last hour and the last reload (see ``protocol``)."""

from datetime import datetime
from typing import Final

import msgspec

from cdmd.control.protocol import ReloadReport


class _Shape(msgspec.Struct, frozen=True, kw_only=True):
    """A JSON object; fields may be added, never renamed."""


class Caller(_Shape, frozen=True, kw_only=True):
    """Who the daemon takes the caller for: the user by the kernel's word, and what that one may do (none, reader, admin)."""

    uid: int
    user: str
    role: str


class ConnectorSeries(_Shape, frozen=True, kw_only=True):
    """One connector's samples: records ``received`` since the beginning, the freshness measured then, the backlog.

    A series that was not asked for is empty.
    """

    name: str
    received: list[float | None] = []
    freshness_seconds: list[float | None] = []
    backlog: list[float | None] = []


SERIES: Final = ("received", "freshness_seconds", "backlog")
"""What is sampled of a connector."""


class HistoryReport(_Shape, frozen=True, kw_only=True):
    """The last samples, the oldest first, ``step_seconds`` apart; the last of them was taken at ``until``.

    ``journaled`` and ``applied`` are numbers that only grow: how many entries were ever acknowledged, and up to which one they
    are applied or parked. A place without a value (None) lies before the start or before the connector was there.
    """

    step_seconds: float
    until: datetime | None
    journaled: list[float | None]
    applied: list[float | None]
    backlog: list[float | None]
    connectors: list[ConnectorSeries] = []


class DifferenceRow(_Shape, frozen=True, kw_only=True):
    """A key that a reload changed; ``before`` is None for a new one, ``after`` for one that went. Values are JSON."""

    key: str
    before: str | None
    after: str | None


class LastReload(_Shape, frozen=True, kw_only=True):
    """The last reload since the start: what it changed and came to, or the ``mistakes`` for which it was refused."""

    at: datetime
    report: ReloadReport | None = None
    mistakes: list[str] = []
    differences: list[DifferenceRow] = []
