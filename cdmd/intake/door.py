"""Who is known, asked at the door: identifiers that are journaled but not yet applied, then the store.

Asked again when the event is applied, which decides. If the store cannot be read nothing is acknowledged.
"""

from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet

from cdmd.errors import Overloaded
from cdmd.models import Entry, Event, Seq

Usable = Callable[[Mapping[str, str]], Sequence[tuple[str, str]]]
AskStore = Callable[[Sequence[tuple[str, str]]], Awaitable[set[tuple[str, str]]]]


class Door:
    """Lets events of ``known_only`` connectors pass when somebody they name is known.

    ``usable`` gives an event's normalised identifiers; ``ask`` is the store's ``known``. What is pending is held as digests
    (Python's keyed hash), rebuilt from the journal at start by ``journaled``. ``incomplete`` gives the kinds by which somebody
    known may not be found yet.
    """

    def __init__(
        self,
        *,
        usable: Usable,
        ask: AskStore,
        guarded: frozenset[str],
        incomplete: Callable[[], AbstractSet[str]] = frozenset,
    ) -> None:
        self._usable, self._ask, self._incomplete = usable, ask, incomplete
        self.guarded = guarded
        self._pending: Counter[int] = Counter()
        self._order: deque[tuple[Seq, tuple[int, ...]]] = deque()

    async def unknown(self, connector: str, events: Sequence[Event]) -> set[int]:
        """The indexes of events that nobody known belongs to; empty where the connector takes everybody.

        Raises ``Overloaded`` where that cannot be told yet.
        """
        if connector not in self.guarded:
            return set()
        named = [self._usable(event.identifiers) for event in events]
        # Decided before the store is asked: who is pending now may be applied, and no longer pending, when it answers.
        doubted = {index: pairs for index, pairs in enumerate(named) if not self._is_pending(pairs)}
        questions = sorted({pair for pairs in doubted.values() for pair in pairs})
        known = await self._ask(questions) if questions else set()
        strangers = {index for index, pairs in doubted.items() if not any(pair in known for pair in pairs)}
        incomplete = self._incomplete()
        if incomplete and any(not incomplete.isdisjoint(events[index].identifiers) for index in strangers):
            raise Overloaded(f"who is known by {', '.join(sorted(incomplete))} is still being computed", retry_after=5)
        return strangers

    def journaled(self, first: Seq, entries: Iterable[Entry]) -> None:
        """Entries are durable from ``first`` on: those they name will be known once they are applied."""
        if not self.guarded:
            return
        for seq, entry in enumerate(entries, first):
            if entry.fault is None and entry.event.connector not in self.guarded:
                digests = tuple(map(hash, self._usable(entry.event.identifiers)))
                self._pending.update(digests)
                self._order.append((Seq(seq), digests))

    def applied(self, position: Seq) -> None:
        """Everything up to ``position`` is in the store now."""
        while self._order and self._order[0][0] <= position:
            _, digests = self._order.popleft()
            self._pending.subtract(digests)
            for digest in digests:
                if self._pending[digest] <= 0:
                    del self._pending[digest]

    def _is_pending(self, pairs: Sequence[tuple[str, str]]) -> bool:
        return any(hash(pair) in self._pending for pair in pairs)
