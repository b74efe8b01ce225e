"""What a batch asks of the store and changes in it, and by which names it is counted."""

from collections.abc import Mapping, MutableMapping, Sequence
from collections.abc import Set as AbstractSet
from enum import IntEnum
from typing import Final

import msgspec

from cdmd.kit.conditions import Failures
from cdmd.models.arriving import Fault
from cdmd.models.delivering import Outgoing
from cdmd.models.journaled import Entry
from cdmd.models.outcomes import Extended
from cdmd.models.profiles import Activity, Merge, Notice, Profiles, ProfileState
from cdmd.models.times import Digest, Micros, ProfileKey, Seq


class SeenVerdict(IntEnum):
    """What became of an event that was seen: kept with its digest for as long as it must be recognised."""

    APPLIED = 1
    FILTERED = 2
    DEAD = 3
    PARKED = 4
    SUPPRESSED = 5


class Seen(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A remembered occurrence: its sequence number, verdict, and a 64-bit digest of its content."""

    seq: Seq
    verdict: int
    content: int


class Newcomer(msgspec.Struct, frozen=True, gc=False):
    """An event that made a profile of its own, both as bodies of rows; ``at`` is its effective time."""

    seq: Seq
    key: ProfileKey
    public: str
    at: Micros
    received: Micros
    source: str
    pairs: Sequence[tuple[str, str]]
    profile: bytes
    activity: bytes


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """An event or record set aside with its reason. ``stage`` is ``map`` or ``extend``; ``attempts`` counts the retries."""

    seq: Seq
    entry: Entry
    fault: Fault
    stage: str
    since: Micros
    attempts: int = 0


class Parked(msgspec.Struct, frozen=True, kw_only=True):
    """An event that waits for an extension. ``due`` and ``since`` in microseconds; ``retry`` marks a revived dead letter.

    ``trace`` is each extension's latest visit so far.
    """

    seq: Seq
    entry: Entry
    extension: str
    attempts: int
    due: Micros
    since: Micros
    reason: str
    retry: bool = False
    trace: Sequence[Extended] = ()


class Known(msgspec.Struct, frozen=True):
    """What the store holds about a batch, looked up at once before anything is decided.

    ``parked``: which of those asked for are parked now (None: nobody looked). ``newest``: each profile's newest activity.
    """

    seen: dict[Digest, Seen]
    owners: dict[tuple[str, str], ProfileKey]
    profiles: Mapping[ProfileKey, ProfileState]
    next_profile: ProfileKey
    parked: AbstractSet[Seq] | None = None
    newest: Mapping[ProfileKey, Seq] = {}


class Wanted(msgspec.Struct, frozen=True):
    """What ``Store.apply`` must look up for a batch: digests, normalised identifiers as (kind, value), and parked events.

    ``profiles`` are looked up by their keys as they are, merged ones too. ``journaled``: it is about what the journal holds.
    ``alone``: nothing else is under way between its look-up and its writing.
    """

    digests: Sequence[Digest]
    identifiers: Sequence[tuple[str, str]]
    parked: Sequence[Seq] = ()
    profiles: Sequence[ProfileKey] = ()
    journaled: bool = False
    alone: bool = False


class Regrouped(msgspec.Struct, frozen=True, kw_only=True):
    """Activities that are other profiles' from now on, and what goes with them.

    ``chains`` are all activities of each profile concerned, some of which may be gone by then; ``rules`` what is said of them
    where that may be other now; ``disowned`` identifiers are nobody's any more. ``parted`` are the merges that are undone, by
    winner and loser: the others stay as they are stored, which may be without somebody who was erased meanwhile.
    """

    chains: Mapping[ProfileKey, Sequence[Seq]]
    rules: Mapping[Seq, str]
    disowned: Sequence[tuple[str, str]] = ()
    parted: Sequence[tuple[ProfileKey, ProfileKey]] = ()


class Changes(msgspec.Struct, kw_only=True):
    """What a decided batch writes, in one transaction that also moves the position to ``position``.

    ``profiles`` holds new and changed rows; ``owners`` new or moved identifiers; ``unparked`` the rows whose effects are here;
    ``counts`` adds to (connector, counter). ``swayed``: extensions have a say in it or in what waits, so it may be other when
    applied again. ``due``: what it was before and is now, where that changed; ``notices`` in their order, ``failures`` by
    audience.
    ``outgoing``: what goes to targets because of it. ``newcomers`` are none of the ``profiles``, ``owners`` and ``activities``.
    ``regrouped`` where profiles were made anew, which is ``Wanted`` alone.
    """

    position: Seq | None = None
    seen: dict[Digest, Seen] = {}
    profiles: MutableMapping[ProfileKey, ProfileState] = msgspec.field(default_factory=Profiles)
    owners: dict[tuple[str, str], ProfileKey] = {}
    merges: list[Merge] = []
    activities: list[Activity] = []
    dead: list[DeadLetter] = []
    parked: list[Parked] = []
    unparked: list[Seq] = []
    counts: dict[tuple[str, str], int] = {}
    swayed: bool = False
    due: dict[ProfileKey, tuple[int | None, int | None]] = {}
    notices: list[Notice] = []
    failures: dict[str, Failures] = {}
    outgoing: Outgoing | None = None
    newcomers: Sequence[Newcomer] = ()
    regrouped: Regrouped | None = None


class Count:
    """The counters of a connector. The door's are kept with the journal, the applied side's with the store.

    received = refused + filtered (door) + accepted; accepted = applied + repeats (both) + filtered (store) + suppressed (both)
    + dead + parked + backlog. ``dead`` and ``parked`` are current numbers, all others only grow.
    """

    RECEIVED: Final = "received"
    REFUSED: Final = "refused"
    FILTERED: Final = "filtered"
    ACCEPTED: Final = "accepted"
    REPEATS: Final = "repeats"
    APPLIED: Final = "applied"
    SUPPRESSED: Final = "suppressed"
    DEAD: Final = "dead"
    PARKED: Final = "parked"
    UNATTRIBUTED: Final = "unattributed"
    UNUSABLE: Final = "unusable"
    KEPT_APART: Final = "kept_apart"
    ID_CONFLICTS: Final = "id_conflicts"
    IGNORED_TRAITS: Final = "ignored_traits"
    SKIPPED_VALUES: Final = "skipped_values"
    CLOCK_AHEAD: Final = "clock_ahead"
    MISSED: Final = "missed"
