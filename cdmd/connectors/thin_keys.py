"""The keys that notifications named and that have to be fetched: which is next, and what a notification has to write. Pure.

A key is one row on the disk for each *generation*: a notification that comes while its key is being fetched writes the next
generation, and what delivers the fetch removes only the generations that were there when it began. So no notification is ever
lost, whatever is cut off when. Memory holds a bounded number of keys; the rest waits on the disk.
"""

import heapq
from collections import deque
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

import msgspec

from cdmd.kit.coercions import as_time

MOST: Final = 10_000
"""Keys that are held in memory; more wait on the disk."""

LONGEST_DELAY: Final = 3_600_000_000
"""Microseconds: nothing waits longer before its next try, whatever a clock says."""

MARKS: Final = b"thin/due/"
"""The prefix of every key that has to be fetched."""

_TROUBLES: Final = b"thin/trouble/"
_CONTENTS: Final = b"thin/content/"
_GENERATION: Final = 4
_NEWEST_OF: Final = 4


class Mark(msgspec.Struct, frozen=True, array_like=True):
    """What a notification says: the key, where to fetch it, when it came (microseconds), and its own version if it has one."""

    key: str
    target: str
    stamp: int
    version: str | int | float | None = None


class Trouble(msgspec.Struct, frozen=True, array_like=True):
    """Tries that failed, when the next one is due (microseconds), and how often an old state was read."""

    attempts: int = 0
    due: int = 0
    stale: int = 0


class Waiting(msgspec.Struct, kw_only=True):
    """A key that has to be fetched. ``since`` is its oldest notification, ``mark`` the newest.

    ``turn`` outdates its earlier places in the queue; ``before`` is how many fetches of others had succeeded when one of this
    failed first.
    """

    digest: bytes
    mark: Mark
    generations: set[int]
    since: int
    trouble: Trouble = Trouble()
    turn: int = 0
    before: int | None = None


class Flight(msgspec.Struct, kw_only=True):
    """A key that is being fetched; ``again`` is what was notified meanwhile, at generation ``following``."""

    waiting: Waiting
    following: int
    again: Waiting | None = None


class Keys:
    """All that is known of the keys. Times are microseconds of the wall clock; ``settle`` passes between notice and fetch."""

    def __init__(self, *, settle: int, most: int = MOST) -> None:
        self._settle, self._most = settle, most
        self._waiting: dict[bytes, Waiting] = {}
        self._flying: dict[bytes, Flight] = {}
        self._queue: list[tuple[int, int, bytes]] = []  # (due, turn, digest), soonest first
        self._ready: deque[tuple[int, bytes]] = deque()  # (turn, digest) of what is due, oldest first
        self._turns = self._taken = 0
        self._finished: set[bytes] | None = None
        self.overflow = False

    # ---- being told --------------------------------------------------------------------------------------------------

    def notice(self, digest: bytes, mark: Mark) -> int | None:
        """The generation that has to be written for this notification; None where a durable one already says the same."""
        flight = self._flying.get(digest)
        if flight is not None:
            return None if flight.again is not None and _covers(flight.again.mark, mark) else flight.following
        waiting = self._waiting.get(digest)
        if waiting is None:
            return 0
        return None if _covers(waiting.mark, mark) else max(waiting.generations)

    def noticed(self, digest: bytes, generation: int, mark: Mark) -> bool:
        """The notification is durable at ``generation``. True when that is a key that did not wait before."""
        flight = self._flying.get(digest)
        if flight is None:
            return self._wait_for(digest, {generation}, mark, Trouble())
        if generation in flight.waiting.generations:  # it came before the fetch began, which covers it
            flight.waiting.mark = _newer(flight.waiting.mark, mark)
        elif flight.again is None:
            flight.again = Waiting(digest=digest, mark=mark, generations={generation}, since=mark.stamp)
        else:
            _merge(flight.again, {generation}, mark)
        return False

    def load(self, digest: bytes, generations: Iterable[int], mark: Mark, trouble: Trouble, *, now: int) -> None:
        """What the disk holds; nothing where it has been fetched, or is being fetched, since it was read.

        A clock that was set back makes nothing wait longer than an hour.
        """
        if digest not in self._flying and digest not in (self._finished or ()):
            mark = msgspec.structs.replace(mark, stamp=min(mark.stamp, now))
            trouble = msgspec.structs.replace(trouble, due=min(trouble.due, now + LONGEST_DELAY))
            self._wait_for(digest, set(generations), mark, trouble)

    def scanning(self, *, begins: bool) -> None:
        """The disk is read from now on, or has been read: what is finished meanwhile must not come back."""
        self._finished = set() if begins else None

    def _wait_for(self, digest: bytes, generations: set[int], mark: Mark, trouble: Trouble) -> bool:
        waiting = self._waiting.get(digest)
        if waiting is not None:
            _merge(waiting, generations, mark)
            return False
        if len(self._waiting) >= self._most:
            self.overflow = True
            return False
        self._enter(Waiting(digest=digest, mark=mark, generations=generations, since=mark.stamp, trouble=trouble))
        return True

    # ---- fetching ----------------------------------------------------------------------------------------------------

    def take(self, now: int) -> Flight | None:
        """The next key that is due: the newest, but every fourth time the oldest, so that nobody waits for ever."""
        self._promote(now)
        while self._ready:
            self._taken += 1
            turn, digest = self._ready.popleft() if self._taken % _NEWEST_OF == 0 else self._ready.pop()
            waiting = self._waiting.get(digest)
            if waiting is not None and waiting.turn == turn:
                del self._waiting[digest]
                flight = self._flying[digest] = Flight(waiting=waiting, following=max(waiting.generations) + 1)
                return flight
        return None

    def delivered(self, flight: Flight) -> None:
        """What was fetched is durable, and the generations it covers are gone."""
        digest = flight.waiting.digest
        del self._flying[digest]
        if self._finished is not None:
            self._finished.add(digest)
        if flight.again is not None:
            self._enter(flight.again)

    def put_back(self, flight: Flight, trouble: Trouble) -> None:
        """It has to be fetched again, when ``trouble`` says."""
        waiting, again = flight.waiting, flight.again
        del self._flying[waiting.digest]
        if again is not None:
            _merge(waiting, again.generations, again.mark)
        waiting.trouble = trouble
        self._enter(waiting)

    def forget(self, digest: bytes) -> None:
        """It is not to be fetched; what is under way ends by itself."""
        self._waiting.pop(digest, None)

    def restart(self) -> None:
        """Nothing is being fetched any more: whoever did so has ended."""
        for flight in list(self._flying.values()):
            self.put_back(flight, flight.waiting.trouble)

    def hurry(self, now: int) -> None:
        """Everything that waits is due now."""
        for waiting in self._waiting.values():
            waiting.trouble = msgspec.structs.replace(waiting.trouble, due=min(waiting.trouble.due, now))
            self._schedule(waiting, now)

    def _enter(self, waiting: Waiting) -> None:
        self._waiting[waiting.digest] = waiting
        self._schedule(waiting, max(waiting.since + self._settle, waiting.trouble.due))

    def _schedule(self, waiting: Waiting, due: int) -> None:
        self._turns += 1
        waiting.turn = self._turns
        heapq.heappush(self._queue, (due, waiting.turn, waiting.digest))

    def _promote(self, now: int) -> None:
        while self._queue and self._queue[0][0] <= now:
            _, turn, digest = heapq.heappop(self._queue)
            self._ready.append((turn, digest))

    # ---- how it is ---------------------------------------------------------------------------------------------------

    def next_due(self, now: int) -> int | None:
        """When the next key is due (``now`` or before: at once); None when none waits."""
        self._promote(now)
        while self._ready and not self._is_current(*self._ready[0]):
            self._ready.popleft()
        if self._ready:
            return now
        while self._queue and not self._is_current(*self._queue[0][1:]):
            heapq.heappop(self._queue)
        return self._queue[0][0] if self._queue else None

    def _is_current(self, turn: int, digest: bytes) -> bool:
        waiting = self._waiting.get(digest)
        return waiting is not None and waiting.turn == turn

    @property
    def marks(self) -> list[Mark]:
        """What waits in memory, the oldest notification first."""
        return [one.mark for one in sorted(self._waiting.values(), key=lambda one: one.since)]

    @property
    def room(self) -> int:
        """How many more keys memory may hold."""
        return self._most - len(self._waiting)

    @property
    def pending(self) -> int:
        """Keys in memory that have to be fetched, those being fetched among them."""
        return len(self._waiting) + len(self._flying)

    @property
    def flying(self) -> int:
        """Keys being fetched."""
        return len(self._flying)

    @property
    def wants_scan(self) -> bool:
        """Whether there are keys on the disk for which there is room now."""
        return self.overflow and len(self._waiting) * 2 <= self._most

    @property
    def since(self) -> int | None:
        """The oldest notification that has not been fetched."""
        waiting = [*self._waiting.values(), *(flight.waiting for flight in self._flying.values())]
        return min((one.since for one in waiting), default=None)


def is_older(answered: Any, noticed: Any) -> bool:
    """Whether what was answered is older than what a notification spoke of; False where they cannot be compared."""
    numbers = [one for one in (answered, noticed) if isinstance(one, int | float) and not isinstance(one, bool)]
    if len(numbers) == 2:  # noqa: PLR2004 - both
        return bool(answered < noticed)
    try:
        moments: list[datetime] = [as_time(one) for one in (answered, noticed)]
    except ValueError:
        return False
    return moments[0] < moments[1]


def _covers(known: Mark, mark: Mark) -> bool:
    return known.target == mark.target and (mark.version is None or mark.version == known.version)


def _newer(known: Mark, mark: Mark) -> Mark:
    return mark if mark.stamp >= known.stamp else known


def _merge(waiting: Waiting, generations: set[int], mark: Mark) -> None:
    waiting.generations |= generations
    waiting.since = min(waiting.since, mark.stamp)
    waiting.mark = _newer(waiting.mark, mark)


# ---- the rows on the disk ------------------------------------------------------------------------------------------


def mark_row(digest: bytes, generation: int) -> bytes:
    """The state's key for one generation of a key."""
    return MARKS + digest + generation.to_bytes(_GENERATION, "big")


def read_mark_row(row: bytes) -> tuple[bytes, int]:
    """Digest and generation of what ``mark_row`` wrote."""
    return row[len(MARKS) : -_GENERATION], int.from_bytes(row[-_GENERATION:], "big")


def trouble_row(digest: bytes) -> bytes:
    """The state's key for a key's failed tries."""
    return _TROUBLES + digest


def content_row(digest: bytes) -> bytes:
    """The state's key for the digest of what was fetched last."""
    return _CONTENTS + digest
