"""What comes of an event about somebody of whom nothing is known, made before it is known that nothing is. Pure.

In a first load nearly everybody is one: what such an event comes to is said by the event alone, so that it is made beside the
store and only written there. Whether it stands is decided in its turn (``deciding``); where it does not, the event it was made
of is taken out of it again and decided as any other. Not here: whatever goes by more than the event itself.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

import msgspec

from cdmd.batches.moments import effective_time
from cdmd.batches.preparing import Prepared
from cdmd.batches.rules import Rules
from cdmd.identity.identifiers import Forms
from cdmd.identity.naming import Naming
from cdmd.identity.resolution import MOST_IDENTIFIERS, People
from cdmd.models import (
    Activity,
    Apply,
    Changes,
    Count,
    Digest,
    Entry,
    IdentifierState,
    Item,
    Known,
    Micros,
    Newcomer,
    ProfileState,
    Seen,
    SeenVerdict,
    Seq,
    pack_activity,
    pack_profile,
    to_micros,
    unpack_activity,
    unpack_profile,
)

RULE: Final = "new"


class First(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=1):
    """A prepared event with what it comes to where nobody owns one of its ``pairs`` and it was not seen before.

    ``profile`` and ``activity`` are bodies of rows; the times are the effective one and the receipt.
    """

    seq: Seq
    digest: Digest
    content: int
    pairs: Sequence[tuple[str, str]]
    source: str
    public: str
    at: Micros
    received: Micros
    profile: bytes
    activity: bytes

    def whole(self) -> Prepared:
        """The event as it was prepared."""
        event = unpack_activity(self.activity).event
        item = Item(seq=self.seq, entry=Entry(event), outcome=_APPLY)
        return Prepared(item, event, self.digest, self.content, Forms(self.pairs))


_APPLY: Final = Apply()


def may_be(rules: Rules) -> bool:
    """Whether what an event comes to can be said by the event alone: nobody is judged, told or left out."""
    return not (
        rules.audiences or rules.subscriptions or rules.reconciled or (rules.screen is not None and rules.screen.version)
    )


class Making:
    """Makes what comes of the events of one batch; what is the same for all of them it finds once."""

    def __init__(self, rules: Rules) -> None:
        self._rules, self._named = rules, Naming(rules.journal_id)
        self._received: tuple[datetime | None, Micros] = None, Micros(0)

    def first_of(self, one: Prepared) -> First | None:
        """What is made ready of one; None where there is more to it than an event that goes to a profile as it is."""
        item, original, digest, content, (pairs, derived) = one
        entry, rules = item.entry, self._rules
        event = entry.event
        if digest is None or not pairs or derived or len(pairs) > MOST_IDENTIFIERS or original is not event:
            return None
        if type(item.outcome) is not Apply or item.resumed or item.trace or _is_more(entry):
            return None
        if rules.known_only and event.connector in rules.known_only:
            return None
        received = self._moment(event.received)
        at, ahead = effective_time(event, received)
        if ahead or (len(pairs) < len(event.identifiers) and rules.kinds.left_out(event.identifiers, one.forms)):
            return None
        seq, source = item.seq, event.source
        public = self._named.public_id(seq, at)
        state = ProfileState(public, at, at, [IdentifierState(kind, value, at, at, source) for kind, value in pairs])
        if rules.audiences.projection.project(state, event, at=at, seq=seq, now=received) is not None:
            return None
        packed = pack_profile(state), pack_activity(event, RULE)
        return First(seq, digest, content, pairs, source, public, at, received, *packed)

    def _moment(self, received: datetime) -> Micros:
        """The rows of a file were received at one moment."""
        if received is not self._received[0]:
            self._received = received, to_micros(received)
        return self._received[1]


def _is_more(entry: Entry) -> bool:
    """Whether there is more to it than its event."""
    return entry.fault is not None or entry.brief or entry.adjusted or entry.span is not None


class Newcomers:
    """Those of one batch, as its other events meet them."""

    def __init__(self, known: Known, people: People, changes: Changes) -> None:
        self._known, self._people, self._changes = known, people, changes
        self._came: dict[Seq, Newcomer] = {}
        self._theirs: dict[tuple[str, str], Newcomer] = {}

    def all(self) -> list[Newcomer]:
        """Those that nobody met."""
        return list(self._came.values())

    def take(self, one: First) -> bool:
        """Whether nothing is known of it, after the events before it: then it is as it was made ready.

        By rules for which it ``may_be``.
        """
        digest, theirs, changes = one.digest, self._theirs, self._changes
        if digest in changes.seen or digest in self._known.seen or not theirs.keys().isdisjoint(one.pairs):
            return False
        key = self._people.newcomer(one.pairs)
        if key is None:
            return False
        came = Newcomer(one.seq, key, one.public, one.at, one.source, one.pairs, one.profile, one.activity)
        self._came[one.seq] = came
        theirs.update(dict.fromkeys(one.pairs, came))
        changes.seen[digest] = Seen(one.seq, SeenVerdict.APPLIED, one.content)
        counted = one.source.partition(".")[0], Count.APPLIED
        changes.counts[counted] = changes.counts.get(counted, 0) + 1
        return True

    def make_known(self, pairs: Iterable[tuple[str, str]]) -> None:
        """The ones who own any of these are profiles like any other from now on."""
        theirs = self._theirs
        for came in {one.seq: one for pair in pairs if (one := theirs.get(pair))}.values() if theirs else ():
            del self._came[came.seq]
            for pair in came.pairs:
                del theirs[pair]
            self._people.keep(came.key, unpack_profile(came.profile))
            told = unpack_activity(came.activity)
            activity = Activity(seq=came.seq, profile=came.key, time=came.at, event=told.event, rule=told.rule)
            self._changes.activities.append(activity)
