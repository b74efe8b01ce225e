"""The shapes that the control socket speaks about who is who (see ``protocol``)."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec


class IdentifierRow(msgspec.Struct, frozen=True, kw_only=True):
    """An identifier that was asked about: whose it is now, and where it was seen first; None where it is nobody's."""

    kind: str
    value: str
    profile: str | None = None
    first_seen: datetime | None = None
    source: str | None = None


class EventRow(msgspec.Struct, frozen=True, kw_only=True):
    """An event that had a say: by which rule, and ``refused`` kinds with the reason. Where it is no longer kept, no id."""

    time: datetime
    rule: str
    id: str | None = None
    source: str | None = None
    type: str | None = None
    identifiers: list[Mapping[str, str]] = []
    refused: Mapping[str, str] = {}
    merged: list[str] = []


class LinkRow(msgspec.Struct, frozen=True, kw_only=True, rename={"start": "from", "end": "to"}):
    """One step of the chain. Without an event, one identifier is a digest of the other."""

    start: Mapping[str, str]
    end: Mapping[str, str]
    event: EventRow | None = None


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """Why two identifiers are one person (``chain``), or which events could have joined them and did not (``refusals``).

    ``complete`` is false where there were more events than are looked at.
    """

    same: bool
    summary: str
    identifiers: list[IdentifierRow]
    chain: list[LinkRow] = []
    refusals: list[EventRow] = []
    complete: bool = True


class ActivityRow(msgspec.Struct, frozen=True, kw_only=True):
    """An applied event of a customer: when it counts, by which rule it is theirs, and the event (readers see it redacted)."""

    time: datetime
    rule: str
    event: Mapping[str, Any]


class FoundRow(msgspec.Struct, frozen=True, kw_only=True):
    """A customer who was found (readers see the kinds of the identifiers only)."""

    profile: str
    identifiers: list[Mapping[str, str]]
    created: datetime
    updated: datetime


class FoundPage(msgspec.Struct, frozen=True, kw_only=True):
    """Some who were found, where the next page begins (None at the end), and how many were looked at where that is a search."""

    profiles: list[FoundRow]
    next: str | None = None
    looked_at: int | None = None


class SideRow(msgspec.Struct, frozen=True, kw_only=True):
    """One of the two people of a split, as it is when all of its events are counted; one that is to be new has no id yet."""

    profile: str | None
    identifiers: list[Mapping[str, str]]
    events: int
    traits: Mapping[str, Any]
    indicators: Mapping[str, Any]
    audiences: list[str]


class SplitReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a split came to, or would (``applied`` false); ``contested`` events named both and are the stronger one's."""

    summary: str
    applied: bool
    sides: list[SideRow] = []
    contested: int = 0


class RegroupedRow(msgspec.Struct, frozen=True, kw_only=True):
    """One of the largest changes: stored profiles (by id) that become ``people``, of ``events`` events.

    ``identifiers`` are each new person's, some of them (readers see their kinds).
    """

    profiles: list[str]
    people: int
    events: int
    identifiers: Sequence[Sequence[Mapping[str, str]]]


class RehearsalReport(msgspec.Struct, frozen=True, kw_only=True):
    """What resolving all stored events anew comes to. ``joined`` profiles become ``into``, ``split`` ones become ``parts``.

    ``changed`` profiles are not as they were, those among them that only have other identifiers, too. ``remembered`` have
    events that are no longer kept: what is left of those counts in their place.
    """

    events: int
    profiles_before: int
    profiles_after: int
    joined: int
    into: int
    split: int
    parts: int
    changed: int
    remembered: int
    largest_joins: list[RegroupedRow]
    largest_splits: list[RegroupedRow]


class IdentityJob(msgspec.Struct, frozen=True, kw_only=True):
    """The one job about identities: ``what`` is ``try`` or ``rebuild``, ``state`` ``idle``, ``running``, ``done``, ``failed``.

    ``applied`` profiles were made anew, ``left`` ones changed meanwhile or belong to too many others: they are as they were.
    """

    what: str | None = None
    state: str = "idle"
    progress: str | None = None
    report: RehearsalReport | None = None
    applied: int = 0
    left: int = 0
    problem: str | None = None
