"""Looking at events and profiles: the live tail, the trace of one event, one customer.

Personal data leaves only for an admin, and never without an audit row. Readers get the same documents redacted.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import datetime
from typing import Any, Final

from cdmd.batches.owning import owners
from cdmd.contracts import AttemptFilter, ProfileFound, Trace
from cdmd.control import redaction, tracing
from cdmd.control.actors import Actor, Role, permit
from cdmd.control.auditing import audited
from cdmd.control.profile_shapes import ActivityRow
from cdmd.control.protocol import EventTrace, EventTraces, TailFilter, TailItem, TraceStep
from cdmd.control.runtime import Runtime
from cdmd.deliveries.telling import ids_at
from cdmd.errors import BadArguments, Damaged, NotFound
from cdmd.identity.identifiers import Pair
from cdmd.kit.globs import Globs
from cdmd.models import ERASED, Activity, Attempt, Event, Journaled, Micros, Queued, Seq, from_micros, show_time, to_micros
from cdmd.profiles.shape import event_document, profile_document

ACTIVITIES: Final = 20
MOST_ACTIVITIES: Final = 1000
MOST_EVENTS: Final = 2000
"""Of one customer that one question looks at, so that nobody else waits for it."""
MOST_RECENT: Final = 1000
"""Of the journal that a look at what came last reads."""
_RECENT_STEP: Final = 50
_SCAN_STEP: Final = 1000
_SCAN_AT_MOST: Final = 50_000


async def tail(runtime: Runtime, actor: Actor, wanted: TailFilter, *, reveal: bool) -> AsyncGenerator[dict[str, Any], None]:
    """Check the role now and return the live events as documents; ``reveal`` is for admins and audited."""
    if reveal:
        said = {"connector": wanted.connector, "type": wanted.type, "stage": wanted.stage}
        async with audited(runtime, actor, "tail --reveal", arguments=said):
            pass
    else:
        permit(actor, Role.READER)
    return _lines(runtime.tail(wanted), reveal=reveal)


async def _lines(items: AsyncGenerator[TailItem, None], *, reveal: bool) -> AsyncGenerator[dict[str, Any], None]:
    async with aclosing(items):
        async for item in items:
            yield _passing(item.stage, item.time, item.event, detail=item.detail, lost=item.lost, reveal=reveal)


def _passing(
    stage: str, time: datetime, event: Event, *, detail: str | None, lost: int = 0, reveal: bool = False
) -> dict[str, Any]:
    return {
        "type": "event",
        "stage": stage,
        "time": show_time(time),
        "event": _shown(event, reveal=reveal),
        "detail": detail,
        "lost": lost,
    }


async def recent(runtime: Runtime, actor: Actor, wanted: TailFilter, *, limit: int) -> list[dict[str, Any]]:
    """What the journal took last, the newest first, redacted, in the shape of the tail; among its last ``MOST_RECENT``."""
    permit(actor, Role.READER)
    fits, found = Globs((wanted.type or "*",)).matches, list[dict[str, Any]]()
    end = runtime.journal.head
    last = max(0, end - MOST_RECENT)
    while len(found) < limit and end > last:
        begin = Seq(max(last, end - _RECENT_STEP))
        for row in reversed(await _between(runtime, begin, end)):
            event, fault = row.entry.event, row.entry.fault
            if wanted.connector not in {None, event.connector} or not fits(event.type):
                continue
            if (fault is None or fault.code != ERASED) and not runtime.governance.conceals(row.entry):
                found.append(_passing("accepted", event.received, event, detail=None if fault is None else fault.code))
        end = begin
    return found[:limit]


async def _between(runtime: Runtime, begin: Seq, end: Seq) -> list[Journaled]:
    """The entries after ``begin`` up to ``end``, some at once; where none are left the journal hands out later ones."""
    found: list[Journaled] = []
    while begin < end and (rows := await runtime.journal.read(begin, limit=end - begin)):
        found, begin = found + [row for row in rows if row.seq <= end], rows[-1].seq
    return found


async def event_show(runtime: Runtime, actor: Actor, id: str, *, source: str | None, reveal: bool) -> EventTraces:  # noqa: A002
    """What became of every occurrence of ``id``. Raises ``NotFound`` where neither store nor journal knows it."""
    if not reveal:
        permit(actor, Role.READER)
        return await _traces(runtime, id, source=source, reveal=False)
    # An id is the sender's own text and may name a person, so the row holds the journal's numbers instead.
    said: dict[str, Any] = {"source": source}
    async with audited(runtime, actor, "events show --reveal", arguments=said):
        traces = await _traces(runtime, id, source=source, reveal=True)
        said["seqs"] = [step.facts["seq"] for trace in traces.traces for step in trace.steps if step.step == "journaled"]
    return traces


async def profile_show(
    runtime: Runtime, actor: Actor, identifier: str, *, activities: int, public: str | None = None
) -> dict[str, Any]:
    """One customer by KIND:VALUE (or ``public`` id): whole for admins, redacted for readers; audited either way.

    Raises ``BadArguments`` for an unknown kind, ``NotFound`` where nobody has that identifier.
    """
    said = _asked(runtime, identifier) if public is None else {"kind": "public id"}
    async with audited(runtime, actor, "profile show", arguments=said, role=Role.READER):
        pair = _pair(runtime, identifier) if public is None else await _some_identifier(runtime, public)
        found = await _found(runtime, pair, said, activities=min(activities, MOST_ACTIVITIES))
        document = _document(runtime, found)
    return document if actor.role is Role.ADMIN else redaction.profile(document)


async def events_of(runtime: Runtime, actor: Actor, identifier: str, *, glob: str | None, limit: int) -> list[ActivityRow]:
    """The newest events of one customer whose type fits, among the ``MOST_EVENTS`` newest. Raises as ``profile_show`` does."""
    said = _asked(runtime, identifier)
    async with audited(runtime, actor, "events of", arguments=said, role=Role.READER):
        # Of one type there may be few among many.
        most = MOST_EVENTS if glob else min(limit, MOST_EVENTS)
        found = await _found(runtime, _pair(runtime, identifier), said, activities=most)
        fits = Globs((glob or "*",)).matches
        shown = [one for one in found.activities if fits(one.event.type)][:limit]
        said["count"] = len(shown)
    reveal = actor.role is Role.ADMIN
    return [ActivityRow(time=from_micros(one.time), rule=one.rule, event=_shown(one.event, reveal=reveal)) for one in shown]


def _asked(runtime: Runtime, identifier: str) -> dict[str, Any]:
    kind = identifier.partition(":")[0]
    return {"kind": kind if kind in runtime.config.identity.identifiers else redaction.REDACTED}


def _pair(runtime: Runtime, identifier: str) -> Pair:
    kind, _, value = identifier.partition(":")
    configured = runtime.config.identity.identifiers
    if kind not in configured or not value:
        raise BadArguments(f"write KIND:VALUE, where KIND is one of {', '.join(configured)}")
    pair = runtime.kinds.normalise(kind, value)
    if pair is None:
        raise NotFound(f"nobody is known by that {kind}: {runtime.kinds.unusable(kind, value)}")
    return pair


async def _some_identifier(runtime: Runtime, public: str) -> Pair | None:
    """One of the profile that this public id stands for now."""
    person = await runtime.store.directory.named(public)
    return next(((one.kind, one.value) for one in person.state.identifiers), None) if person is not None else None


async def _found(runtime: Runtime, pair: Pair | None, said: dict[str, Any], *, activities: int) -> ProfileFound:
    found = await owners(runtime.store, runtime.kinds, pair, activities=max(0, activities)) if pair is not None else ()
    if not found:
        raise NotFound(f"nobody is known by that {said['kind']}")
    said["profile"] = found[0].state.public
    return found[0]


def _document(runtime: Runtime, found: ProfileFound) -> dict[str, Any]:
    state, shown, now = found.state, runtime.shown, to_micros(runtime.clock.now())
    return profile_document(
        state,
        found.activities,
        traits=shown.shown_traits(state),
        indicators=shown.shown_indicators(state, now),
        estimated=shown.estimated(state, now),
        audiences=runtime.audiences.shown(state),
    )


def _shown(event: Event, *, reveal: bool) -> dict[str, Any]:
    document = event_document(event)
    return document if reveal else redaction.event(document)


async def _traces(runtime: Runtime, id: str, *, source: str | None, reveal: bool) -> EventTraces:  # noqa: A002
    # The journal first: what is applied between the two looks is then seen twice, never missed.
    waiting = await _waiting(runtime, id, source=source)
    traces = [await _remembered(runtime, id, trace, reveal=reveal) for trace in await runtime.store.trace(id, source=source)]
    found = [trace for trace in traces if trace is not None]
    told = {trace.source for trace in found}
    for journaled in waiting:
        event = journaled.entry.event
        if event.source not in told:
            told.add(event.source)
            found.append(tracing.waiting(journaled, document=_shown(event, reveal=reveal)))
    if not found:
        raise NotFound("no such event: it never arrived, was filtered at the door, or is older than what is remembered")
    return EventTraces(id=id, traces=found)


async def _remembered(runtime: Runtime, id: str, trace: Trace, *, reveal: bool) -> EventTrace | None:  # noqa: A002
    """None where its customer is being erased."""
    journaled = await _entry(runtime, trace.seen.seq)
    entry = tracing.known_entry(trace, journaled)
    if entry is not None and runtime.governance.conceals(entry):
        return None
    document = None if entry is None else _shown(entry.event, reveal=reveal)
    return tracing.told(id, trace, journaled, document=document, sent=await _sent(runtime, trace.activity))


async def _sent(runtime: Runtime, activity: Activity | None) -> list[TraceStep]:
    """What went to targets because of it; its deliveries' ids begin with when it happened, or with its receipt."""
    if activity is None:
        return []
    queued: list[Queued] = []
    tried: list[Attempt] = []
    for moment in {activity.time // 1000 * 1000, to_micros(activity.event.received) // 1000 * 1000}:
        ids = ids_at(Micros(moment))
        queued += await runtime.store.outbox.find(*ids)
        tried += await runtime.store.outbox.attempts(AttemptFilter(ids=ids, limit=MOST_ACTIVITIES))
    mine = sorted((one for one in tried if one.seq == activity.seq), key=lambda one: one.at, reverse=True)
    return tracing.delivered([one for one in queued if one.delivery.seq == activity.seq], mine)


async def _entry(runtime: Runtime, seq: Seq) -> Journaled | None:
    """The entry at ``seq``, unless the journal was pruned past it, cannot be read there or keeps nothing of it any more."""
    try:
        rows = await runtime.journal.read(Seq(seq - 1), limit=1)
    except Damaged:
        return None
    kept = rows[0] if rows and rows[0].seq == seq else None
    return None if kept is None or (kept.entry.fault is not None and kept.entry.fault.code == ERASED) else kept


async def _waiting(runtime: Runtime, id: str, *, source: str | None) -> list[Journaled]:  # noqa: A002
    """Entries of that id among those acknowledged and not yet applied (the oldest 50,000 of them)."""
    found: list[Journaled] = []
    after, end = runtime.store.position, runtime.journal.head
    end = Seq(min(end, after + _SCAN_AT_MOST))
    while after < end:
        rows = await runtime.journal.read(after, limit=_SCAN_STEP)
        if not rows:
            break
        after = rows[-1].seq
        found += [row for row in rows if row.entry.event.id == id and source in {None, row.entry.event.source}]
    return [row for row in found if not runtime.governance.conceals(row.entry)]
