"""What the door counted, per connector: received = refused + filtered + accepted at every moment, exact over restarts.

Counts travel with what they count: an append carries those of its records, so they are durable together. What refuses or
filters without an append is pending until the next one (or ``pending`` is written by the daemon's timer).
"""

from collections import Counter
from collections.abc import Mapping
from typing import Final

from cdmd.models import Count

_NONE: Final[Counter[str]] = Counter()
_MOST_REASONS: Final = 1_000
"""Reasons are fixed words; a connector that makes them up from what it was sent must not fill the memory."""


class Tally:
    """Counters of all connectors. ``persisted`` comes from the journal; ``pending`` is not written yet."""

    def __init__(self, persisted: Mapping[tuple[str, str], int]) -> None:
        self._persisted = Counter(persisted)
        self._pending: dict[str, Counter[str]] = {}
        self._reasons: dict[str, Counter[str]] = {}
        self._known_reasons = 0
        self.uncertain = False

    def refused(self, connector: str, count: int, reason: str) -> None:
        """``count`` records (or requests that could not be split) were refused."""
        self._add(connector, {Count.RECEIVED: count, Count.REFUSED: count})
        reasons = self._reasons.setdefault(connector, Counter())
        if reason not in reasons:
            reason = reason if self._known_reasons < _MOST_REASONS else "other"
            self._known_reasons += reason not in reasons
        reasons[reason] += count

    def refusals(self, connector: str) -> dict[str, int]:
        """How often the connector refused since the start, for each reason, the most frequent first."""
        return dict(self._reasons.get(connector, _NONE).most_common())

    def counted(self, connector: str, counts: Mapping[str, int]) -> None:
        """Records that needed no append: filtered ones, and repeats of what is in the journal already."""
        self._add(connector, counts)

    def take_pending(self, connector: str) -> Mapping[str, int]:
        """The connector's unwritten counts, to be written with an append; give them back with ``restore`` if it fails."""
        return self._pending.pop(connector, None) or {}

    def restore(self, connector: str, counts: Mapping[str, int]) -> None:
        """An append failed: its pending counts are unwritten again, and what the journal holds must be asked anew."""
        self._add(connector, counts)
        self.uncertain = True

    def written(self, connector: str, counts: Mapping[str, int]) -> None:
        """An append that carried ``counts`` is durable."""
        for name, count in counts.items():
            self._persisted[connector, name] += count

    def reload(self, persisted: Mapping[tuple[str, str], int]) -> None:
        """What the journal really holds, after an append whose fate was unclear."""
        self._persisted = Counter(persisted)
        self.uncertain = False

    def unwritten(self) -> list[str]:
        """Connectors with counts that no append has carried yet."""
        return [name for name, counts in self._pending.items() if counts]

    def of(self, connector: str, name: str) -> int:
        """One counter as of now."""
        return self._persisted[connector, name] + self._pending.get(connector, Counter())[name]

    def _add(self, connector: str, counts: Mapping[str, int]) -> None:
        self._pending.setdefault(connector, Counter()).update(counts)
