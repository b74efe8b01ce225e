"""What the control socket says of several daemons on one journal. Not here: what they say of connectors (``protocol``)."""

from collections.abc import Mapping, Sequence

import msgspec


class NodeRow(msgspec.Struct, frozen=True, kw_only=True):
    """One of several daemons on one journal. ``lanes`` are its own, each with how many entries the journal is ahead of it.

    ``leads``: it takes what arrives, and does all that is no batch. What it said of itself last, every two seconds or so:
    ``version``, ``state``, ``uptime_seconds``, how many ``connectors`` it runs, and as ``freshness_seconds`` the longest of
    what it applied. ``silent_seconds`` is how long nothing was heard of it; ``lost``: too long, so others do its work. One
    that is not ``alike`` has other settings than the one that leads, and applies nothing.
    """

    name: str
    roles: Sequence[str]
    leads: bool
    lanes: Mapping[int, int]
    version: str | None = None
    state: str | None = None
    uptime_seconds: float | None = None
    silent_seconds: float = 0.0
    freshness_seconds: float | None = None
    connectors: int = 0
    alike: bool = True
    lost: bool = False
