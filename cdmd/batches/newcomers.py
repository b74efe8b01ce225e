"""What comes of events about people of whom nothing is known: nearly all of a first load. Pure.

That is said by the event alone, so that the rows of profile and activity are made at once, without a step between them that
could go otherwise; a later event of the batch about one of them finds a profile like any other. Not here: whatever goes by more
than the event itself.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime
from typing import Final

from cdmd.batches.moments import effective_time
from cdmd.batches.preparing import Preparation, Prepared
from cdmd.batches.rules import Rules
from cdmd.identity.identifiers import Pair
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
    ProfileKey,
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
_NOTHING: Final = frozenset[Pair]()


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

    def made(self, one: Prepared, key: ProfileKey) -> Newcomer | None:
        """What comes of one, as the profile ``key``; None where there is more to it than an event that goes to one as it is."""
        item, (pairs, derived) = one.item, one.forms
        event, rules = item.entry.event, self._rules
        if not pairs or derived or len(pairs) > MOST_IDENTIFIERS or one.original is not event or _is_more(item):
            return None
        source = event.source
        if rules.known_only and event.connector in rules.known_only:
            return None
        received = self._moment(event.received)
        at, ahead = (received, False) if event.time is None else effective_time(event, received)
        if ahead or (len(pairs) < len(event.identifiers) and rules.kinds.left_out(event.identifiers, one.forms)):
            return None
        seq = item.seq
        public = self._named.public_id(seq, at)
        state = ProfileState(public, at, at, [IdentifierState(kind, value, at, at, source) for kind, value in pairs])
        if rules.audiences.projection.project(state, event, at=at, seq=seq, now=received) is not None:
            return None
        return Newcomer(seq, key, public, at, received, source, pairs, pack_profile(state), pack_activity(event, RULE))

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


def met_again(items: Sequence[Prepared], known: Known) -> AbstractSet[Pair]:
    """What somebody owns, or more than one of these events names: of all else nothing that happens in the batch says more."""
    pairs = [pair for one in items for pair in one.forms.pairs]
    if len(pairs) == len(set(pairs)):
        return known.owners.keys()
    return known.owners.keys() | {pair for pair, times in Counter(pairs).items() if times > 1}


class Newcomers:
    """Those of one batch, as its other events meet them. None are taken by rules for which none ``may_be``."""

    def __init__(self, ready: Preparation, known: Known, people: People, changes: Changes) -> None:
        self._known, self._people, self._changes = known, people, changes
        self._making = Making(ready.rules) if may_be(ready.rules) else None
        self._again = met_again(ready.items, known) if self._making is not None else _NOTHING
        self._came: dict[Seq, Newcomer] = {}
        self._theirs: dict[Pair, Newcomer] = {}

    def all(self) -> list[Newcomer]:
        """Those that nobody met."""
        return list(self._came.values())

    def take(self, one: Prepared) -> Newcomer | None:
        """What has come of it where nothing is known of anybody it names, after the events before it; else None."""
        digest, pairs, changes, people, again = one.digest, one.forms.pairs, self._changes, self._people, self._again
        if self._making is None or digest is None or digest in changes.seen or digest in self._known.seen:
            return None
        alone = not again or again.isdisjoint(pairs)
        if not alone and (not self._theirs.keys().isdisjoint(pairs) or people.owned(pairs)):
            return None
        came = self._making.made(one, people.following)
        if came is None:
            return None
        people.newcomer()
        self._came[came.seq] = came
        if not alone:
            self._theirs.update(dict.fromkeys(pairs, came))
        changes.seen[digest] = Seen(came.seq, SeenVerdict.APPLIED, one.content)
        counted = came.source.partition(".")[0], Count.APPLIED
        changes.counts[counted] = changes.counts.get(counted, 0) + 1
        return came

    def make_known(self, pairs: Iterable[Pair]) -> None:
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
