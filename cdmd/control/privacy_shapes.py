"""The shapes that the control socket speaks about what is kept of people (see ``protocol``)."""

from collections.abc import Mapping
from datetime import datetime

import msgspec


class SuppressionsRow(msgspec.Struct, frozen=True, kw_only=True):
    """How many digests are on the suppression list."""

    digests: int


class Restriction(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a customer is stored and not used, whether that is new, and the audiences that it is in now."""

    profile: str
    restricted: bool
    changed: bool
    audiences: list[str]


class CopyRow(msgspec.Struct, frozen=True, kw_only=True):
    """A backup that was made after somebody was first heard of: it may hold them."""

    path: str
    made: datetime


class ErasureRow(msgspec.Struct, frozen=True, kw_only=True):
    """An erasure: ``in force`` (nobody finds the person, nothing new is taken), ``complete``, or ``partly complete``.

    It names nobody. ``erased`` counts by place, ``targets`` were told, ``copies`` hold the person still, ``left`` says what is
    left and what to do about it.
    """

    id: str
    state: str
    asked: datetime
    by: str
    done: datetime | None = None
    profiles: list[str] = []
    progress: str | None = None
    erased: Mapping[str, int] = {}
    targets: list[str] = []
    copies: list[CopyRow] = []
    left: list[str] = []


class HoldingsRow(msgspec.Struct, frozen=True, kw_only=True):
    """What an erasure would remove, as far as it is known before: ``waiting`` are dead letters and parked events.

    ``others`` are activities of others that name the person, which lose that; None where looking through all takes too long.
    """

    profile: str | None
    identifiers: Mapping[str, int]
    merged: int = 0
    activities: int = 0
    others: int | None = 0
    waiting: int = 0
    copies: list[str] = []


class ErasuresRow(msgspec.Struct, frozen=True, kw_only=True):
    """How many people are being erased, and how far that is."""

    pending: int = 0
    progress: str | None = None


class SimulationPage(msgspec.Struct, frozen=True, kw_only=True):
    """How many of some activities and profiles retention would take away, by month (``now``: at once), and where to go on."""

    activities: Mapping[str, int]
    profiles: Mapping[str, int]
    next: tuple[int, int] | None = None


class RetentionReport(msgspec.Struct, frozen=True, kw_only=True):
    """What retention took away."""

    activities: int
    profiles: int


class MinimisedRow(msgspec.Struct, frozen=True, kw_only=True):
    """Of so many ``records`` of a connector that were looked at since the start, in how many each field was not kept."""

    connector: str
    records: int
    fields: Mapping[str, int]
