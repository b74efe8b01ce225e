"""The shapes that the control socket speaks about audiences (see ``protocol``)."""

from collections.abc import Mapping
from datetime import datetime

import msgspec


class AudiencesRow(msgspec.Struct, frozen=True, kw_only=True):
    """How audiences keep up, and what is counted of the stored past now.

    ``expiry_lag_seconds``: for how long the most overdue window has been due; ``clock_lag_seconds``: since when the conditions
    that read the clock have not been asked of everybody (None: there are none).
    """

    expiry_lag_seconds: float = 0.0
    clock_lag_seconds: float | None = None
    counting: str | None = None


class AudienceRow(msgspec.Struct, frozen=True, kw_only=True):
    """One audience: how many are in, since when it is configured, and how much of what is stored it was asked of (0 to 1).

    ``missing`` counts the times that its condition was false for want of a value, ``failed`` those that it failed, as
    ``error`` says.
    """

    name: str
    where: str
    members: int = 0
    since: datetime | None = None
    computed: float = 1.0
    reads_clock: bool = False
    missing: int = 0
    failed: int = 0
    error: str | None = None


class MemberRow(msgspec.Struct, frozen=True, kw_only=True):
    """A customer in an audience: the public id, since when, and the identifiers (readers see their kinds only)."""

    profile: str
    since: datetime
    identifiers: list[Mapping[str, str]]


class MemberPage(msgspec.Struct, frozen=True, kw_only=True):
    """Some members, and where the next page begins; None at the end."""

    members: list[MemberRow]
    next: int | None = None


class TrialPage(msgspec.Struct, frozen=True, kw_only=True):
    """What a condition comes to over some of the stored profiles, and where to go on; None at the end."""

    profiles: int
    matched: int
    missing: int
    failed: int
    error: str | None = None
    sample: list[MemberRow] = []
    next: int | None = None


class NoticeRow(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody entered an audience or left it, when and why."""

    id: str
    type: str
    audience: str
    profile: str
    time: datetime
    reason: str
