"""The way of one event, told from what is kept anyway: the store's trace and the journal. Pure: it is handed what was found.

Not here: looking it up (``inspection``).
"""

from collections.abc import Mapping, Sequence
from typing import Any

from cdmd.contracts import Trace
from cdmd.control.protocol import EventTrace, TraceStep
from cdmd.kit.spans import SpanContext
from cdmd.models import (
    Activity,
    Attempt,
    DeadLetter,
    Entry,
    Event,
    Extended,
    Journaled,
    Parked,
    Queued,
    SeenVerdict,
    Seq,
    from_micros,
    show_time,
)

_STATES = {
    SeenVerdict.APPLIED: ("applied", "it was applied"),
    SeenVerdict.FILTERED: ("filtered", "it was not wanted (filtered or discarded); nothing of it is kept"),
    SeenVerdict.DEAD: ("dead-letter", "it is a dead letter"),
    SeenVerdict.PARKED: ("parked", "it waits for an extension"),
    SeenVerdict.SUPPRESSED: ("suppressed", "its customer is suppressed; nothing of it is kept"),
}


def told(
    id: str,  # noqa: A002 - an event's own word
    trace: Trace,
    journaled: Journaled | None,
    *,
    document: Mapping[str, Any] | None,
    sent: Sequence[TraceStep] = (),
) -> EventTrace:
    """The trace of an occurrence that the store remembers; ``journaled`` is its entry where the journal still keeps it.

    ``sent`` is what went to targets because of it.
    """
    state, summary = _state(trace)
    event = _event(trace, journaled)
    span = next((row.entry.span for row in (journaled, trace.dead, trace.parked) if row is not None and row.entry.span), None)
    steps = [*_arrival(event, trace.seen.seq, kept=journaled is not None, span=span), *_outcome(trace, summary), *sent]
    if trace.dead is not None:
        summary = f"it is a dead letter: {trace.dead.fault.message}"
    elif trace.parked is not None:
        summary = f"it waits for the extension {trace.parked.extension}: {trace.parked.reason}"
    return EventTrace(
        id=id, source=trace.source, state=state, summary=summary, profile=trace.public, steps=steps, event=document
    )


def waiting(journaled: Journaled, *, document: Mapping[str, Any] | None) -> EventTrace:
    """The trace of an occurrence that is acknowledged and not yet applied."""
    event = journaled.entry.event
    return EventTrace(
        id=event.id,
        source=event.source,
        state="waiting",
        summary="it is on disk and waits to be applied",
        steps=_arrival(event, journaled.seq, kept=True, span=journaled.entry.span),
        event=document,
    )


def delivered(queued: Sequence[Queued], attempts: Sequence[Attempt]) -> list[TraceStep]:
    """What went, or goes, to targets because of an event: what waits first, then the attempts, the oldest first."""
    waiting = [
        TraceStep(
            step="queued" if one.failed is None else "set-aside",
            text=f"{one.delivery.type} {'waits' if one.failed is None else 'was set aside'} for {one.delivery.target}"
            + (f": {one.reason}" if one.reason else ""),
            facts={"target": one.delivery.target, "delivery": one.delivery.id, "attempts": one.delivery.attempts},
        )
        for one in queued
    ]
    return waiting + [_attempted(one) for one in reversed(attempts)]


def _attempted(one: Attempt) -> TraceStep:
    done = one.outcome == "delivered"
    what = f"{one.type} delivered to {one.target}" if done else f"{one.type} not delivered to {one.target}: {one.reason}"
    return TraceStep(
        step="delivered" if done else "attempted",
        text=what,
        time=from_micros(one.at),
        seconds=one.seconds,
        facts={"target": one.target, "delivery": one.id, "attempt": one.attempt, "status": one.status},
    )


def known_entry(trace: Trace, journaled: Journaled | None) -> Entry | None:
    """The fullest form of the event that is still kept anywhere."""
    if trace.activity is not None:
        return Entry(trace.activity.event)
    for row in (trace.dead, trace.parked, journaled):
        if row is not None:
            return row.entry
    return None


def _event(trace: Trace, journaled: Journaled | None) -> Event | None:
    entry = known_entry(trace, journaled)
    return entry.event if entry is not None else None


def _state(trace: Trace) -> tuple[str, str]:
    try:
        return _STATES[SeenVerdict(trace.seen.verdict)]
    except ValueError:
        return "unknown", f"a newer version of cdmd decided about it (verdict {trace.seen.verdict})"


def _arrival(event: Event | None, seq: Seq, *, kept: bool, span: SpanContext | None) -> list[TraceStep]:
    place = "journaled" if kept else "journaled, and no longer kept there"
    journal = TraceStep(step="journaled", text=f"{place} (number {seq})", facts={"seq": seq, "kept": kept})
    if event is None:
        return [journal]
    whose = "" if span is None else f", as part of the trace {span.trace}"
    received = TraceStep(
        step="received",
        text=f"received by {event.connector}{whose}",
        time=event.received,
        facts={} if span is None else {"trace": span.trace, "span": span.span},
    )
    accepted = TraceStep(step="accepted", text=f"accepted as {event.type}" if event.type else "could not be mapped")
    return [received, accepted, journal]


def _outcome(trace: Trace, summary: str) -> list[TraceStep]:
    if trace.activity is not None:
        return _applied(trace.activity, trace.public)
    if trace.dead is not None:
        return [_dead(trace.dead)]
    if trace.parked is not None:
        return [_parked(trace.parked)]
    return [TraceStep(step="decided", text=summary)]


def _applied(activity: Activity, public: str | None) -> list[TraceStep]:
    whose = f"profile {public}" if public is not None else "nobody: no usable identifier"
    resolved = TraceStep(
        step="resolved", text=f"resolved to {whose} ({activity.rule})", facts={"rule": activity.rule, "profile": public}
    )
    at = from_micros(activity.time)
    ahead = " (the source's clock is ahead, so the receipt counts)" if activity.clock_ahead else ""
    stored = TraceStep(step="stored", text=f"stored as of {show_time(at)}{ahead}", facts={"effective_time": at})
    return [*_extended(activity.trace), resolved, stored]


def _extended(visits: Sequence[Extended]) -> list[TraceStep]:
    return [
        TraceStep(
            step="extended",
            text=f"{visit.extension}: {visit.outcome}" + (f", added {', '.join(visit.added)}" if visit.added else ""),
            seconds=visit.seconds,
            facts={"extension": visit.extension, "outcome": visit.outcome, "added": list(visit.added)},
        )
        for visit in visits
    ]


def _dead(letter: DeadLetter) -> TraceStep:
    fault = letter.fault
    facts = {"code": fault.code, "expression": fault.expression, "path": fault.path, "kind": fault.kind, "seq": letter.seq}
    return TraceStep(
        step="dead-letter",
        text=f"set aside at {letter.stage}: {fault.message}",
        time=from_micros(letter.since),
        facts={key: value for key, value in facts.items() if value is not None} | {"attempts": letter.attempts},
    )


def _parked(row: Parked) -> TraceStep:
    due = from_micros(row.due)
    tried = "" if not row.attempts else f", {row.attempts} {'try has' if row.attempts == 1 else 'tries have'} failed"
    return TraceStep(
        step="parked",
        text=f"waits for {row.extension}: {row.reason}; next try {show_time(due.replace(microsecond=0))}{tried}",
        time=from_micros(row.since),
        facts={"extension": row.extension, "attempts": row.attempts, "due": due},
    )
