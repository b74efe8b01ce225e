"""The store behind the pipeline. Its contract test-suites are ``tests/store/contract_*.py``."""

from collections.abc import Callable, Collection, Sequence
from typing import Protocol, TypeAlias

import msgspec

from cdmd.contracts.directory import Audit, Directory
from cdmd.contracts.forgetting import Forgetting
from cdmd.contracts.membership import Membership
from cdmd.contracts.outbox import Outbox
from cdmd.models import (
    Activity,
    Changes,
    DeadLetter,
    Digest,
    IdentifierState,
    Known,
    Merge,
    Micros,
    Parked,
    ProfileKey,
    ProfileState,
    Seen,
    Seq,
    Wanted,
)


class DeadLetterCause(msgspec.Struct, frozen=True):
    """How many dead letters one connector has of one event type with one code; ``newest`` is the last one's sequence."""

    connector: str
    type: str
    code: str
    count: int
    first: Micros
    last: Micros
    newest: int


class DeadLetterFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which dead letters: by connector, type glob, fault code, sequence numbers; all of them where nothing is said."""

    connector: str | None = None
    type: str | None = None
    code: str | None = None
    seqs: Sequence[Seq] | None = None
    limit: int = 1000


class StoreTotals(msgspec.Struct, frozen=True, kw_only=True):
    """Sums for ``status``."""

    events: int
    profiles: int
    activities: int
    dead_letters: int
    parked: int
    bytes: int
    parked_bytes: int


class Trace(msgspec.Struct, frozen=True, kw_only=True):
    """What the store knows of one occurrence: exactly one of ``activity``, ``dead`` and ``parked``, or none (filtered)."""

    source: str
    seen: Seen
    activity: Activity | None = None
    dead: DeadLetter | None = None
    parked: Parked | None = None
    public: str | None = None


class ProfileFound(msgspec.Struct, frozen=True, kw_only=True):
    """A profile with its newest activities (newest first) and the merges that made it."""

    key: ProfileKey
    state: ProfileState
    activities: Sequence[Activity]
    merges: Sequence[Merge]


Decide: TypeAlias = Callable[[Known], Changes]

Derive: TypeAlias = Callable[[ProfileState], Sequence[IdentifierState]]
"""Pure: which identifiers a profile should have beside those it has."""


class Store(Protocol):
    """Profiles, activities and all that a batch changes, in one transaction with the journal position.

    Promise: a batch is applied whole or not at all, together with its position. What a power cut takes back is applied
    again from the journal. ``membership`` tells who is in which audience, and profiles one after the other; ``directory``
    finds people, and what is kept of one; ``outbox`` is what waits for targets; ``forgetting`` takes people out for good.
    Not promised: a copy of it. A store on a server is copied with the server's own tools.
    """

    membership: Membership
    directory: Directory
    outbox: Outbox
    forgetting: Forgetting

    async def apply(self, wanted: Wanted, decide: Decide) -> Changes:
        """Look ``wanted`` up, call the pure ``decide``, write its changes in one transaction; returns them.

        The next batch may be handed over while one is under way: ``decide`` is told what would be known after that one.
        Where it is not written, what was handed over meanwhile is not either (``NotDurable``).

        Raises ``NotDurable``, ``Damaged``, and ValueError on changes that do not fit what is stored; nothing is written then.

        After a power cut the journal is applied again, and extensions may answer otherwise then. So what names or joins people
        (``owners``, ``merges``) is on the disk before anybody can see it where changes that were ``swayed`` are not yet.
        """
        ...

    async def derive(self, more: Derive, *, after: ProfileKey, limit: int) -> ProfileKey | None:
        """Give ``limit`` profiles behind ``after`` the identifiers that ``more`` names, where they are nobody's yet.

        Returns the last profile that was looked at; None where there is no other.
        """
        ...

    async def note(self, name: str, value: str, *, target: str | None = None) -> None:
        """Keep a small fact under ``name``, in place of the one before.

        One of a ``target`` is refused where another node sends to that (``Duties``).
        """
        ...

    async def noted(self, name: str) -> str | None:
        """The fact kept under ``name``."""
        ...

    @property
    def position(self) -> Seq:
        """Up to which journal sequence number everything is applied, filtered, dead-lettered or parked."""
        ...

    async def sync(self) -> Seq:
        """Force what is applied onto the disk; returns the position that is now safe there (``synced``)."""
        ...

    async def seen(self, digests: Sequence[Digest]) -> dict[Digest, Seen]:
        """Which of these occurrences are remembered."""
        ...

    async def known(self, identifiers: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
        """Which of these normalised identifiers belong to a profile."""
        ...

    async def due(self, now: Micros, *, limit: int, without: Collection[Seq] = ()) -> list[Parked]:
        """Parked events whose time has come, but for ``without``: the oldest due of each extension in turn.

        There may be more even where fewer than ``limit`` come (large ones).
        """
        ...

    async def next_due(self) -> Micros | None:
        """When the next parked event is due."""
        ...

    async def waiting_for(self) -> dict[str, int]:
        """How many parked events wait for each extension, by its name."""
        ...

    async def parked(self, *, limit: int) -> list[Parked]:
        """Parked events in order of sequence."""
        ...

    async def profile(self, kind: str, value: str, *, activities: int) -> ProfileFound | None:
        """The profile that owns this normalised identifier."""
        ...

    async def trace(self, id: str, *, source: str | None = None) -> list[Trace]:  # noqa: A002 - the field's own name
        """What became of each occurrence of that id, over all sources unless one is named."""
        ...

    async def dead_letters(self, which: DeadLetterFilter) -> list[DeadLetter]:
        """Dead letters in order of sequence."""
        ...

    async def dead_letter_causes(self, *, limit: int) -> list[DeadLetterCause]:
        """Dead letters counted by connector, type and code, the most frequent first; at most ``limit`` causes."""
        ...

    async def revive(self, which: DeadLetterFilter, *, now: Micros) -> int:
        """Turn dead letters into parked events that are due now; returns how many."""
        ...

    async def discard(self, which: DeadLetterFilter, *, now: Micros) -> int:
        """Remove dead letters for good (they count as filtered); returns how many."""
        ...

    async def expire(self, *, dead_before: Micros, seen_before: Micros) -> int:
        """Discard dead letters older than ``dead_before`` and digests older than ``seen_before``; returns how many rows."""
        ...

    async def counts(self) -> dict[tuple[str, str], int]:
        """The applied side's persisted counters by (connector, counter)."""
        ...

    async def totals(self) -> StoreTotals:
        """Sums for ``status``."""
        ...

    async def audit(self, row: Audit) -> None:
        """Keep one audit row."""
        ...

    async def audits(self, *, limit: int) -> list[Audit]:
        """The newest audit rows, newest first."""
        ...

    async def verify(self) -> list[str]:
        """Every damage found, a sentence each behind whose it is (`journal: `); others may write meanwhile."""
        ...
