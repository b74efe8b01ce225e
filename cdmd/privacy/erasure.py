"""One person's erasure: what is asked, what is left of each thing without them, and what is reported. Pure.

The activities of the person's profile go, and every entry that names the person first. Of other people's events only the
identifiers that are the person's go, and what says them. Not here: finding and writing (``cdmd.store``), and the order of it
(``cdmd.daemon``).
"""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from cdmd.contracts import Holding, Naming
from cdmd.models import Activity, Entry, Event, Journaled, ProfileKey, Seq, tombstone
from cdmd.privacy.screening import Pair, left_of, left_of_event, saying
from cdmd.privacy.texts import SHORTEST, Says, blanked, blanked_raw, blanking, texts_in


class Erasure(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked, kept on the disk until it is done: the only place that names the person until then.

    ``publics`` are the profile and those that were merged into it; ``since`` (microseconds) is when it was first heard of: a
    copy made later may hold it.
    """

    id: str
    asked: int
    by: str
    pairs: list[Pair]
    publics: list[str] = []
    since: int = 0


class Copy(msgspec.Struct, frozen=True, kw_only=True):
    """A backup that was made: where, and when (microseconds)."""

    path: str
    made: int


class Erased(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of an erasure that is done; it names nobody. ``counts`` by place, ``copies`` hold the person still.

    ``left`` says what could not be erased, and what to do about it; ``targets`` who was told.
    """

    id: str
    asked: int
    done: int
    by: str
    publics: list[str] = []
    counts: dict[str, int] = {}
    targets: list[str] = []
    copies: list[Copy] = []
    left: list[str] = []


class Forgotten:
    """Those who are to be forgotten together, and what is left of each thing without them.

    ``seqs`` are the entries that became their activities, ``others`` those of other people that name them, with whose they are;
    ``spellings`` how their identifiers were written in both, and ``told`` what else in the others names them.
    """

    def __init__(self, pairs: Iterable[Pair], naming: Naming) -> None:
        self._pairs, self._naming = frozenset(pairs), naming
        self._blank = blanking(value for _, value in self._pairs)
        self.seqs: set[Seq] = set()
        self.others: dict[Seq, ProfileKey | None] = {}
        self.spellings = {value for _, value in self._pairs}
        self.told: set[str] = set()

    @property
    def holding(self) -> Holding:
        """By what to look for things that may be about them, before anything is read closely."""
        texts = sorted({text.lower() for text in self.spellings})
        plain = all(kind not in self._naming.rewritten for kind, _ in self._pairs) and all(text.isascii() for text in texts)
        return Holding([text.encode() for text in texts] if plain else None, self.seqs)

    def learn(self, activities: Iterable[Activity]) -> None:
        """Take note of their own activities."""
        for one in activities:
            self.seqs.add(one.seq)
            self._spell(one.event)

    def meet(self, activities: Sequence[Activity]) -> None:
        """Take note of activities of others that name them. It takes a while: for a thread."""
        for one in activities:
            self.others[one.seq] = one.profile
            self._spell(one.event)
        says = self.says
        for one in activities:
            self.told.update(filter(says, texts_in([one.event.traits, one.event.data])))

    def _spell(self, event: Event) -> None:
        said = event.identifiers.items()
        self.spellings |= {value for kind, value in said if self._naming.normalise(kind, value) in self._pairs}

    @property
    def says(self) -> Says:
        """What tells whether a text that came with one of the ``others`` names them."""
        kinds = {kind for kind, _ in self._pairs}
        return saying(self.unwanted, self._naming, kinds=kinds, spellings=self.spellings)

    def unwanted(self, pair: Pair) -> bool:
        """Whether the identifier is theirs."""
        return pair in self._pairs or any(one in self._pairs for one in self._naming.digests(pair))

    def left_of(self, entry: Entry) -> Entry | None:
        """What is left of a parked event or a dead letter."""
        left = left_of(entry, self.unwanted, self._naming)
        if left is None or self._blank is None:
            return left
        event, raw = self._unsaid(left.event), blanked_raw(left.raw, self._blank)
        return left if event is left.event and raw is left.raw else msgspec.structs.replace(left, event=event, raw=raw)

    def left_of_activity(self, one: Activity) -> Activity | None:
        """What is left of an activity, their own or another one's, of which is noted whose it is by now."""
        if one.seq in self.others:
            self.others[one.seq] = one.profile
        event = None if one.seq in self.seqs else left_of_event(one.event, self.unwanted, self._naming)
        event = None if event is None else self._unsaid(event)
        return one if event is one.event else None if event is None else msgspec.structs.replace(one, event=event)

    def _unsaid(self, event: Event) -> Event:
        """The event without what of theirs can be nobody else's, whoever said it."""
        if (blank := self._blank) is None:
            return event
        traits, data, had = blanked(event.traits, blank), blanked(event.data, blank), event.identifiers
        # An identifier that joins nobody, of whom somebody was invited say, is read as a text like any other.
        identifiers = {kind: value for kind, value in had.items() if kind in self._naming.names or blank(value) == value}
        if traits is event.traits and data is event.data and len(identifiers) == len(had):
            return event
        return msgspec.structs.replace(event, identifiers=identifiers, traits=traits, data=data)

    def revised(self, rows: Sequence[Journaled]) -> Mapping[Seq, Entry]:
        """The journal's entries that have to be others."""
        changed: dict[Seq, Entry] = {}
        for row in rows:
            left = None if row.seq in self.seqs else self.left_of(row.entry)
            if left is not row.entry and not _is_tombstone(row.entry):
                changed[row.seq] = tombstone(row.entry) if left is None else left
        return changed

    def in_row(self, key: bytes, value: bytes) -> bool:
        """Whether a row that nobody but its owner can read has one of the identifiers in it."""
        row = (key + b"\0" + value).decode("utf-8", "replace").casefold()
        return any(text.casefold() in row for text in self.spellings if len(text) >= SHORTEST)


def copies_since(copies: Iterable[Copy], since: int) -> list[Copy]:
    """Those that may hold somebody first heard of at ``since``."""
    return [one for one in copies if one.made >= since]


def _is_tombstone(entry: Entry) -> bool:
    return entry == tombstone(entry)
