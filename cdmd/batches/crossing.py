"""Decisions about batches on their way to another process that makes them, and what is told of them there.

What is made ready stays made: an event's digest and what it can be found by go along. MessagePack, as in the journal; the rules
go rarely, and as they are. Not here: the process, and the store that is written there.
"""

import pickle
from collections.abc import Sequence
from typing import Final, NamedTuple, cast

import msgspec

from cdmd.batches.deciding import Decision, Fate
from cdmd.batches.preparing import Preparation, Prepared, wanted_by
from cdmd.batches.rules import Rules
from cdmd.contracts import Decide
from cdmd.identity.identifiers import Forms
from cdmd.models import Apply, Bury, Digest, Discard, Entry, Event, Extended, Fault, Hold, Item, Micros, Outcome, Seq, Wanted

_STRETCH: Final = 250
"""Items encoded at once: the interpreter is held meanwhile."""


class _Ended(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """An outcome that is not ``Apply``."""

    hold: tuple[str, Micros, int, str] | None = None
    discard: str | None = None
    bury: Fault | None = None


class _Sent(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True, gc=False):
    """One prepared item; ``original`` where its event is another one by now."""

    seq: Seq
    entry: Entry
    digest: Digest | None
    content: int
    pairs: Sequence[tuple[str, str]]
    trace: Sequence[Extended] = ()
    original: Event | None = None
    named: Digest | None = None
    ended: _Ended | None = None
    derived: Sequence[tuple[str, str]] = ()
    resumed: bool = False
    parked_since: Micros | None = None
    retry: bool = False
    attempts: int = 0


class _Batch(msgspec.Struct, frozen=True, array_like=True):
    """A decision."""

    position: Seq | None
    parked: int
    now: Micros
    swayed: bool
    plain: bool
    stretches: Sequence[msgspec.Raw]


class _Told(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True, gc=False):
    """A fate; ``entry`` where less of it than was sent may be kept."""

    stage: str | None = None
    at: Micros = Micros(0)
    received: Micros = Micros(0)
    detail: str = ""
    entry: Entry | None = None


class GoneBy(NamedTuple):
    """The rules, and which list of the suppressed: another one is other rules, though it is kept in the same place."""

    rules: Rules
    suppressed: int


_ENCODE: Final = msgspec.msgpack.Encoder().encode
_BATCH: Final = msgspec.msgpack.Decoder(_Batch)
_STRETCHES: Final = msgspec.msgpack.Decoder(list[_Sent])
_FATES: Final = msgspec.msgpack.Decoder(list[_Told])


class DecisionCrossing:
    """Here: how decisions are sent (``cdmd.store.remote.Crossing``)."""

    def takes(self, decide: Decide) -> bool:
        """Those about batches from the journal."""
        return isinstance(decide, Decision)

    def rules(self, decide: Decide) -> object:
        """What it goes by."""
        rules = cast("Decision", decide).ready.rules
        return GoneBy(rules, rules.screen.version if rules.screen is not None else 0)

    def rules_sent(self, decide: Decide) -> bytes:
        """That, for the other side."""
        return pickle.dumps(cast("Decision", decide).ready.rules)

    def sent(self, decide: Decide) -> bytes:
        """The decision for the other side. Raises TypeError and the like where an event holds what cannot be written."""
        decision = cast("Decision", decide)
        ready, items = decision.ready, decision.ready.items
        stretches = [_ENCODE([_sent(one) for one in items[n : n + _STRETCH]]) for n in range(0, len(items), _STRETCH)]
        raw = [msgspec.Raw(one) for one in stretches]
        return _ENCODE(_Batch(decision.position, decision.parked, decision.now, ready.swayed, ready.plain, raw))

    def answered(self, decide: Decide, answer: bytes) -> None:
        """It takes its fates over."""
        decision = cast("Decision", decide)
        told = zip(_FATES.decode(answer), decision.ready.items, strict=True)
        decision.fates = [_fate(one, prepared.item) for one, prepared in told]

    def failed(self, decide: Decide, error: Exception) -> None:
        """It broke."""
        cast("Decision", decide).broke = error


class Decisions:
    """There: reads and makes them (``cdmd.store.served.Deciding``)."""

    def __init__(self) -> None:
        self._rules: Rules

    def rules(self, content: bytes) -> None:
        """What all that follow go by."""
        self._rules = pickle.loads(content)  # noqa: S301 - of the daemon that started this process

    def decision(self, content: bytes) -> tuple[Wanted, Decide]:
        """The next one, and what it must know."""
        batch = _BATCH.decode(content)
        items = [_prepared(one) for stretch in batch.stretches for one in _STRETCHES.decode(stretch)]
        ready = Preparation(self._rules, items, wanted_by(items), batch.swayed, batch.plain)
        decision = Decision(ready, position=batch.position, parked=batch.parked, now=batch.now)
        return decision.wanted, decision

    def answer(self, decide: Decide) -> bytes:
        """What became of each."""
        decision = cast("Decision", decide)
        return _ENCODE([_told(fate, one.item) for fate, one in zip(decision.fates, decision.ready.items, strict=True)])


def _sent(one: Prepared) -> _Sent:
    item, original, forms = one.item, one.original, one.forms
    entry, outcome = item.entry, item.outcome
    return _Sent(
        item.seq,
        entry,
        one.digest,
        one.content,
        forms.pairs,
        item.trace,
        None if original is entry.event else original,
        item.digest,
        None if isinstance(outcome, Apply) else _ended(outcome),
        list(forms.derived),
        item.resumed,
        item.parked_since,
        item.retry,
        item.attempts,
    )


def _ended(outcome: Hold | Discard | Bury) -> _Ended:
    match outcome:
        case Hold():
            return _Ended(hold=(outcome.extension, outcome.due, outcome.attempts, outcome.reason))
        case Discard():
            return _Ended(discard=outcome.reason)
        case Bury():
            return _Ended(bury=outcome.fault)


def _outcome(ended: _Ended) -> Outcome:
    if ended.hold is not None:
        return Hold(*ended.hold)
    return Bury(ended.bury) if ended.bury is not None else Discard(ended.discard or "")


_APPLY: Final = Apply()
_NO_PAIRS: Final = frozenset[tuple[str, str]]()


def _prepared(one: _Sent) -> Prepared:
    item = Item(
        seq=one.seq,
        entry=one.entry,
        outcome=_APPLY if one.ended is None else _outcome(one.ended),
        trace=one.trace,
        resumed=one.resumed,
        parked_since=one.parked_since,
        retry=one.retry,
        attempts=one.attempts,
        digest=one.named,
    )
    forms = Forms(one.pairs, frozenset(one.derived) if one.derived else _NO_PAIRS)
    return Prepared(item, one.entry.event if one.original is None else one.original, one.digest, one.content, forms)


def _told(fate: Fate, sent: Item) -> _Told:
    item = fate.item
    return _Told(fate.stage, fate.at, fate.received, fate.detail, None if item is sent else item.entry)


def _fate(one: _Told, sent: Item) -> Fate:
    item = sent if one.entry is None else msgspec.structs.replace(sent, entry=one.entry)
    return Fate(one.stage, item, one.detail, one.at, one.received)
