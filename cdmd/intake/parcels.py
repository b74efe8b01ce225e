"""What of one connector goes to the journal together, and who waits for it. Not here: what is put into it (``way_in``)."""

from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from cdmd.contracts import Append
from cdmd.errors import Overloaded
from cdmd.intake.recent import Flight, Occurrence
from cdmd.intake.routes import Emitting
from cdmd.intake.shared import Intake
from cdmd.models import Count, Entry, Seq, Verdict, encode_entry, tombstone

_PARCEL_EVENTS: Final = 256
_PARCEL_BYTES: Final = 2**20


class Parcel:
    """What goes to the journal together: requests of one connector, and who waits for them. It grows until it leaves."""

    def __init__(self, connector: str, intake: Intake, left: Callable[[], None], *, fence: int = 0) -> None:
        self._fence = fence
        self.connector, self._intake, self._left = connector, intake, left
        self.flight = Flight()
        self.entries: list[Entry] = []
        self.encoded: list[bytes] = []
        self.occurrences: list[Occurrence] = []
        self.state: dict[bytes, bytes | None] = {}
        self.waiting: list[tuple[Emitting, list[Verdict]]] = []
        self.bytes = self.filtered = self.repeats = self.suppressed = 0
        self._screened_by = intake.screen.version
        self._counts: dict[str, int] = {}
        self._pending: Mapping[str, int] = {}

    @property
    def events(self) -> int:
        """Places that it takes in the queue."""
        return len(self.entries)

    @property
    def full(self) -> bool:
        """Whether the next request belongs into another one."""
        return len(self.entries) >= _PARCEL_EVENTS or self.bytes >= _PARCEL_BYTES

    def mark(self) -> "Mark":
        """Where it is now."""
        return len(self.entries), len(self.occurrences), self.bytes, self.filtered, self.repeats, self.suppressed

    def cut(self, mark: "Mark") -> None:
        """As it was at ``mark``."""
        entries, occurrences, self.bytes, self.filtered, self.repeats, self.suppressed = mark
        self._intake.recent.recall(self.occurrences[occurrences:], self.flight)
        del self.entries[entries:], self.encoded[entries:], self.occurrences[occurrences:]

    def counts(self) -> dict[str, int]:
        """What was counted in it, without what is nought; a dict of its own at every call."""
        accepted = len(self.entries) + self.repeats + self.suppressed
        found = {
            Count.RECEIVED: accepted + self.filtered,
            Count.ACCEPTED: accepted,
            Count.FILTERED: self.filtered,
            Count.REPEATS: self.repeats,
            Count.SUPPRESSED: self.suppressed,
        }
        return {name: count for name, count in found.items() if count}

    def leave(self) -> Append:
        """It goes into a commit now; what its connector had counted without an append goes with it."""
        self._left()
        self.screen_again()
        self._sort()
        self._pending = self._intake.tally.take_pending(self.connector)
        self._counts = self.counts()
        for name, count in self._pending.items():
            self._counts[name] = self._counts.get(name, 0) + count
        return Append(
            connector=self.connector,
            entries=self.entries,
            encoded=self.encoded,
            state=self.state,
            counts=self._counts,
            fence=self._fence,
        )

    def _sort(self) -> None:
        """What is of one lane lies together, in the order in which it came: a journal keeps each lane's by itself.

        So of what is of one moment and of several lanes the later lane's has the greater number, and counts as the later one.
        """
        lanes, entries, encoded = self._intake.lanes, self.entries, self.encoded
        if lanes > 1 and len(entries) > 1:
            order = sorted(range(len(entries)), key=lambda place: entries[place].part % lanes)
            entries[:], encoded[:] = [entries[place] for place in order], [encoded[place] for place in order]

    def screen_again(self) -> None:
        """Where the suppression list became another one while it waited; what goes now leaves its place, which is booked."""
        if self._intake.screen.version == self._screened_by:
            return
        for place, entry in enumerate(self.entries):
            kept = self._intake.screen.screened(entry)
            if kept is not entry:
                self.entries[place] = tombstone(entry) if kept is None else kept
                self.encoded[place] = encode_entry(self.entries[place])

    def settle(self, first: Seq | None, error: Overloaded | None) -> None:
        """Keep the books about what became of it."""
        intake = self._intake
        if first is None:
            intake.tally.restore(self.connector, self._pending)
            intake.recent.crash(self.occurrences, self.flight, error or Overloaded("not journaled"))
            return
        intake.tally.written(self.connector, self._counts)
        intake.recent.land(self.occurrences, self.flight, first)
        intake.journaled(first, self.entries)

    def acknowledge(self, first: Seq | None, error: Overloaded | None) -> None:
        """Tell everybody who waits."""
        if error is not None:
            lost = sum(len(verdicts) for _, verdicts in self.waiting)
            self._intake.tally.refused(self.connector, lost, type(error).__name__)
        for one, verdicts in self.waiting:
            one.settle(None if first is None else verdicts, error)


Mark: TypeAlias = tuple[int, int, int, int, int, int]
"""How far a parcel had grown: entries, occurrences, bytes, filtered ones, repeats and suppressed ones."""
