"""How long something is kept: by the type of an event, and by how long nothing was heard of a customer. Pure.

What goes is taken out of the stored events only: an indicator without a window keeps what it counted, as a baseline.
"""

from collections import Counter
from collections.abc import Iterable
from datetime import timedelta
from typing import Final

from cdmd.config.governing import PrivacySettings
from cdmd.kit.globs import Globs
from cdmd.models import Activity, ProfileState, Seq, from_micros

_CACHED: Final = 4096
NOW: Final = "now"
"""What a simulation calls the month of what would go at once."""


class Retention:
    """What is configured; false where nothing ever goes."""

    def __init__(self, settings: PrivacySettings) -> None:
        self._rules = [(Globs(one.events), one.keep.micros) for one in settings.retention]
        self._idle = None if settings.idle_profiles is None else settings.idle_profiles.micros
        self._by_type: dict[str, int | None] = {}

    def __bool__(self) -> bool:
        return bool(self._rules) or self._idle is not None

    def ends(self, one: Activity) -> int | None:
        """When an activity is to go (microseconds); None where it never does."""
        kind = one.event.type
        if kind not in self._by_type:
            if len(self._by_type) >= _CACHED:  # types come from outside: never remember without end
                self._by_type.clear()
            self._by_type[kind] = next((keep for globs, keep in self._rules if globs.matches(kind)), None)
        keep = self._by_type[kind]
        return None if keep is None else one.time + keep

    def ends_profile(self, state: ProfileState) -> int | None:
        """When a profile is to go; None where it never does, or is part of another one."""
        return None if self._idle is None or state.merged_into is not None else state.updated + self._idle

    def due(self, activities: Iterable[Activity], now: int) -> list[Seq]:
        """Those that have to go, profile by profile, so that a chain is mended once."""
        gone = [one for one in activities if (end := self.ends(one)) is not None and end <= now]
        return [one.seq for one in sorted(gone, key=lambda one: (one.profile or 0, one.seq))]


def by_month(ends: Iterable[int | None], now: int, *, months: int) -> Counter[str]:
    """How many go in which month (``2026-12``) of the next ``months``, and at once (``NOW``)."""
    beyond = from_micros(now) + timedelta(days=31 * months)
    found: Counter[str] = Counter()
    for end in ends:
        if end is not None and end <= now:
            found[NOW] += 1
        elif end is not None and (moment := from_micros(end)) < beyond:
            found[f"{moment:%Y-%m}"] += 1
    return found


def shorter(keep: float, settings: PrivacySettings) -> float:
    """How long (seconds) a copy may be kept that holds everything: never longer than what has to go first."""
    return min([keep, *(one.keep.seconds for one in settings.retention)])
