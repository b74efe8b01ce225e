"""What comes of events about people of whom nothing is known: nearly all of a first load. Pure.

That is said by the event alone, so that the rows of profile and activity are made at once, without a step between them that
could go otherwise; a later event of the batch about one of them finds a profile like any other. Not here: whatever goes by more
than the event itself.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Final, NamedTuple

from cdmd.batches.moments import effective_time
from cdmd.batches.preparing import Prepared
from cdmd.batches.rules import Rules
from cdmd.identity.naming import Naming
from cdmd.identity.resolution import MOST_IDENTIFIERS, People
from cdmd.models import (
    Activity,
    Apply,
    Changes,
    Count,
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


class Made(NamedTuple):
    """What comes of one: the profile's public id, the effective time and the receipt, and the bodies of both rows."""

    public: str
    at: Micros
    received: Micros
    profile: bytes
    activity: bytes


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

    def made(self, one: Prepared) -> Made | None:
        """What comes of one; None where there is more to it than an event that goes to a profile as it is."""
        item, (pairs, derived) = one.item, one.forms
        event, rules = item.entry.event, self._rules
        if not pairs or derived or len(pairs) > MOST_IDENTIFIERS or one.original is not event or _is_more(item):
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
        return Made(public, at, received, pack_profile(state), pack_activity(event, RULE))

    def _moment(self, received: datetime) -> Micros:
        """The rows of a file were received at one moment."""
        if received is not self._received[0]:
            self._received = received, to_micros(received)
        return self._received[1]


def _is_more(item: Item) -> bool:
    """Whether there is more to it than its event."""
    entry = item.entry
    if type(item.outcome) is not Apply or item.resumed or item.trace:
        return True
    return entry.fault is not None or entry.brief or entry.adjusted or entry.span is not None


class Newcomers:
    """Those of one batch, as its other events meet them. None are taken by rules for which none ``may_be``."""

    def __init__(self, rules: Rules, known: Known, people: People, changes: Changes) -> None:
        self._known, self._people, self._changes = known, people, changes
        self._making = Making(rules) if may_be(rules) else None
        self._came: dict[Seq, Newcomer] = {}
        self._theirs: dict[tuple[str, str], Newcomer] = {}

    def all(self) -> list[Newcomer]:
        """Those that nobody met."""
        return list(self._came.values())

    def take(self, one: Prepared) -> Made | None:
        """What has come of it where nothing is known of anybody it names, after the events before it; else None."""
        digest, pairs, theirs, changes = one.digest, one.forms.pairs, self._theirs, self._changes
        if self._making is None or digest is None or digest in changes.seen or digest in self._known.seen:
            return None
        if not theirs.keys().isdisjoint(pairs) or self._people.owned(pairs) or (made := self._making.made(one)) is None:
            return None
        seq, source = one.item.seq, one.original.source
        came = Newcomer(seq, self._people.newcomer(), made.public, made.at, source, pairs, made.profile, made.activity)
        self._came[seq] = came
        theirs.update(dict.fromkeys(pairs, came))
        changes.seen[digest] = Seen(seq, SeenVerdict.APPLIED, one.content)
        counted = source.partition(".")[0], Count.APPLIED
        changes.counts[counted] = changes.counts.get(counted, 0) + 1
        return made

    def make_known(self, pairs: Iterable[tuple[str, str]]) -> None:
        """The ones who own any of these are profiles like any other from now on."""
        theirs = self._theirs
        if not theirs:
            return
        for came in {one.seq: one for pair in pairs if (one := theirs.get(pair))}.values():
            del self._came[came.seq]
            for pair in came.pairs:
                del theirs[pair]
            self._people.keep(came.key, unpack_profile(came.profile))
            told = unpack_activity(came.activity)
            activity = Activity(seq=came.seq, profile=came.key, time=came.at, event=told.event, rule=told.rule)
            self._changes.activities.append(activity)
