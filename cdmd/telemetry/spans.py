"""What is told of an event's way: a span for the whole, one for each step, one for each attempt to deliver. No library.

Names of connectors, extensions and targets, the event's type, places in the journal and words of ours, and nothing that came
in an event: no id, no identifier, no value. Ids of spans are computed from the trace and the place in the journal, so that a
delivery hours later, after a restart, is part of the same trace under the same parent.
"""

from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from typing import Final, Literal, NamedTuple, TypeAlias

from cdmd.contracts import Clock
from cdmd.kit.spans import SpanContext
from cdmd.models import Entry, Item, Seq, Settled, to_micros

_SECOND: Final = 1_000_000_000
_MOST_NOTED: Final = 10_000
"""How many sampled events may be durable and not applied before the time of that is forgotten for the oldest."""
_WELL: Final = frozenset(("extended", "unchanged", "dropped", "later"))

Kind: TypeAlias = Literal["consumer", "internal", "client"]
About: TypeAlias = dict[str, str | int]


class Span(NamedTuple):
    """One step: ids in hexadecimal, times in nanoseconds since 1970. ``theirs``: the parent is the sender's own span."""

    name: str
    kind: Kind
    trace: str
    span: str
    parent: str | None
    start: int
    end: int
    attributes: Mapping[str, str | int]
    failed: bool = False
    theirs: bool = False


class Spans:
    """A ``Witness`` that hands spans to ``put``.

    ``sample`` is the share of traces that are told, chosen by the trace's id as other programs choose (the lower 64 bits, as
    OpenTelemetry's TraceIdRatioBased does): either all of a trace or nothing. What a sender's flag asks for decides nothing.
    An event that came without a trace begins one, named by its place in this journal.
    """

    def __init__(self, put: Callable[[Span], None], *, journal_id: str, sample: float, clock: Clock) -> None:
        self._put, self._journal_id, self._clock = put, journal_id, clock
        self._below = round(sample * 2**64)
        self._durable: dict[Seq, int] = {}

    def journaled(self, first: Seq, entries: Sequence[Entry]) -> None:
        """Note when they became durable."""
        now = self._now()
        for seq, entry in enumerate(entries, start=first):
            if self._trace(Seq(seq), entry.span) is not None:
                if len(self._durable) >= _MOST_NOTED:
                    del self._durable[next(iter(self._durable))]
                self._durable[Seq(seq)] = now

    def passed(self, item: Item, stage: str) -> None:
        """Tell of the steps that lie behind it now; of the whole where it does not wait any more."""
        event, theirs = item.entry.event, item.entry.span
        trace = self._trace(item.seq, theirs)
        if trace is None:
            return
        whole, now, received = _id(trace, item.seq, "event"), self._now(), to_micros(event.received) * 1000
        about: About = {"cdmd.connector": event.connector, "cdmd.event.type": event.type, "cdmd.journal.seq": item.seq}

        def step(name: str, start: int, end: int) -> None:
            self._put(Span(name, "internal", trace, _id(trace, item.seq, name), whole, start, end, about))

        durable = self._durable.pop(item.seq, None)
        if durable is not None:
            step("journal", received, durable)
        ended = self._calls(item, trace, whole, durable or received)
        if stage == "parked":
            return
        step("store", min(ended, now), now)
        told, parent = {**about, "cdmd.outcome": stage}, None if theirs is None else theirs.span
        name, failed, remote = f"event {event.connector}", stage == "dead", parent is not None
        self._put(Span(name, "consumer", trace, whole, parent, received, now, told, failed=failed, theirs=remote))

    def settled(self, settled: Sequence[Settled]) -> None:
        """Tell of each attempt that was made because of an event."""
        for one in settled:
            seq, attempt = one.delivery.seq, one.attempt
            trace = None if seq is None else self._trace(seq, one.delivery.span)
            if seq is None or trace is None:
                continue
            end = attempt.at * 1000
            about: About = {
                "cdmd.target": attempt.target,
                "cdmd.event.type": attempt.type,
                "cdmd.journal.seq": seq,
                "cdmd.outcome": attempt.outcome,
                "cdmd.attempt": attempt.attempt,
            }
            if attempt.status is not None:
                about["http.response.status_code"] = attempt.status
            own = _id(trace, seq, f"deliver {one.delivery.id} {attempt.attempt}")
            start = end - round(attempt.seconds * _SECOND)
            failed = attempt.outcome != "delivered"
            parent = _id(trace, seq, "event")
            self._put(Span(f"deliver {attempt.target}", "client", trace, own, parent, start, end, about, failed=failed))

    def _calls(self, item: Item, trace: str, whole: str, since: int) -> int:
        """Tell of the calls of extensions that were not told of yet; when the last of them ended."""
        ended, first = since, len(item.trace) - len(item.began)
        shift = self._now() - round(self._clock.monotonic() * _SECOND)
        for place, (visit, began) in enumerate(zip(item.trace[first:], item.began, strict=True), start=first):
            start = shift + round(began * _SECOND)
            ended = start + round(visit.seconds * _SECOND)
            word = visit.outcome.partition(":")[0]
            about: dict[str, str | int] = {
                "cdmd.extension": visit.extension,
                "cdmd.outcome": word,
                "cdmd.journal.seq": item.seq,
            }
            own = _id(trace, item.seq, f"extend {place}")
            name = f"extend {visit.extension}"
            self._put(Span(name, "internal", trace, own, whole, start, ended, about, failed=word not in _WELL))
        return ended

    def _trace(self, seq: Seq, theirs: SpanContext | None) -> str | None:
        """The trace that this event is part of; None where nothing is told of it."""
        trace = (
            theirs.trace if theirs is not None else blake2b(f"{self._journal_id}:{seq}".encode(), digest_size=16).hexdigest()
        )
        return trace if int(trace[16:], 16) < self._below else None

    def _now(self) -> int:
        return to_micros(self._clock.now()) * 1000


def _id(trace: str, seq: Seq, step: str) -> str:
    return blake2b(f"{trace}:{seq}:{step}".encode(), digest_size=8).hexdigest()
