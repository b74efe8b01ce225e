"""Everything that is held about a person, from every table, as JSON Lines. For admins; audited before the first line leaves.

Each line has a ``type``; the last one is a ``summary`` with how many of each there were, and with what was not searched.
"""

from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing
from typing import Any, Final, NamedTuple

import anyio.lowlevel
import msgspec

from cdmd.batches.owning import owners
from cdmd.contracts import ProfileFound
from cdmd.control import redaction
from cdmd.control.actors import Actor
from cdmd.control.auditing import audited
from cdmd.control.runtime import Runtime
from cdmd.errors import BadArguments, NotFound
from cdmd.models import Activity, DeadLetter, IndicatorState, Merge, Parked, ProfileKey, Seq, from_micros, show_time, to_micros
from cdmd.privacy.holdings import Holder
from cdmd.profiles.shape import event_document

_AT_ONCE: Final = 100
_JOURNAL_STEP: Final = 1000
NOT_SEARCHED: Final = (
    "journal entries that are applied (they go after journal.keep; what came of them is in the activities)",
    "the keys of registers' rows",
    "backups",
    "logs (they hold no personal data)",
)

Line = dict[str, Any]


class _Person(NamedTuple):
    found: ProfileFound
    keys: list[ProfileKey]
    holder: Holder


async def export(runtime: Runtime, actor: Actor, identifier: str) -> AsyncGenerator[Line, None]:
    """The lines about the one who has the identifier KIND:VALUE. Raises ``BadArguments`` and ``NotFound``."""
    kind, _, value = identifier.partition(":")
    configured = runtime.config.identity.identifiers
    said: dict[str, Any] = {"kind": kind if kind in configured else redaction.REDACTED}
    async with audited(runtime, actor, "profile export", arguments=said):
        if kind not in configured or not value:
            raise BadArguments(f"write KIND:VALUE, where KIND is one of {', '.join(configured)}")
        pair = runtime.kinds.normalise(kind, value)
        found = None if pair is None else next(iter(await owners(runtime.store, runtime.kinds, pair)), None)
        if found is None:
            raise NotFound(f"nobody is known by that {kind}")
        said["profile"] = found.state.public
    keys = [found.key, *map(ProfileKey, found.state.members)]
    holder = Holder([(one.kind, one.value) for one in found.state.identifiers], runtime.kinds)
    return _counted(runtime, _Person(found, keys, holder))


async def _counted(runtime: Runtime, person: _Person) -> AsyncGenerator[Line, None]:
    counts: Counter[str] = Counter()
    for part in _PARTS:
        async with aclosing(part(runtime, person)) as lines:
            async for line in lines:
                counts[line["type"]] += 1
                yield line
    yield {"type": "summary", "profile": person.found.state.public, "counts": counts, "not_searched": NOT_SEARCHED}


async def _profile(runtime: Runtime, person: _Person) -> AsyncGenerator[Line, None]:
    """The profile itself, and whatever its row holds."""
    state, now = person.found.state, to_micros(runtime.clock.now())
    yield {"type": "profile", "id": state.public, "created": _time(state.created), "updated": _time(state.updated)}
    for one in state.identifiers:
        seen = {"first_seen": _time(one.first_seen), "last_seen": _time(one.last_seen)}
        said = {"kind": one.kind, "value": one.value, **seen, "source": one.source, "digest": one.derived}
        yield {"type": "identifier", **said}
    for name, trait in state.traits.items():
        yield {"type": "trait", "name": name, "value": trait.value, "source": trait.source, "time": _time(trait.time)}
    shown = runtime.shown.shown_indicators(state, now)
    for name in dict.fromkeys([*shown, *state.indicators]):
        kept = state.indicators.get(name)
        yield {"type": "indicator", "name": name, "value": shown.get(name), "kept": _accumulated(kept)}
    for name, purpose in state.purposes.items():
        yield {
            "type": "purpose",
            "name": name,
            "granted": bool(purpose.value),
            "source": purpose.source,
            "time": _time(purpose.time),
        }
    if (restricted := state.restricted) is not None:
        yield {"type": "restriction", "restricted": bool(restricted.value), "time": _time(restricted.time)}
    for name, since in state.audiences.items():
        yield {"type": "audience", "name": name, "since": _time(since)}


async def _activities(runtime: Runtime, person: _Person) -> AsyncGenerator[Line, None]:
    membership = runtime.store.membership
    heads = list((await membership.newest(person.keys)).values())
    while heads:
        page = await membership.history(heads, each=max(1, _AT_ONCE // len(heads)))
        for one in page.activities:
            yield _activity(one)
        heads = list(page.rest)


async def _about(runtime: Runtime, person: _Person) -> AsyncGenerator[Line, None]:
    """The merges that made the profile, its moves between audiences, and who looked at it."""
    for merge in person.found.merges:
        yield _merge(merge)
    for move in await runtime.store.directory.moves(person.keys):
        what = "entered" if move.entered else "left"
        yield {
            "type": "audience_change",
            "audience": move.audience,
            "what": what,
            "time": _time(move.at),
            "reason": move.reason,
        }
    publics = [person.found.state.public, *(merge.before.public for merge in person.found.merges)]
    for public in publics:
        for row in await runtime.store.directory.audits(f'"{public}"'):
            yield {"type": "audit", **msgspec.to_builtins(row), "time": _time(row.time)}


async def _waiting(runtime: Runtime, person: _Person) -> AsyncGenerator[Line, None]:
    """What is set aside, and what waits for an extension."""
    directory, seq = runtime.store.directory, Seq(0)
    while letters := await directory.letters(after=seq, limit=_AT_ONCE):
        for letter in letters:
            if person.holder.concerns(letter.entry):
                yield _letter(letter)
        seq = letters[-1].seq
        await anyio.lowlevel.checkpoint()
    seq = Seq(0)
    while parked := await directory.parked(after=seq, limit=_AT_ONCE):
        for one in parked:
            if person.holder.concerns(one.entry):
                yield _parked(one)
        seq = parked[-1].seq
        await anyio.lowlevel.checkpoint()


async def _journal(runtime: Runtime, person: _Person) -> AsyncGenerator[Line, None]:
    """What is acknowledged and not applied."""
    after, end = runtime.store.position, runtime.journal.head
    while after < end and (rows := await runtime.journal.read(after, limit=_JOURNAL_STEP)):
        for row in rows:
            if person.holder.concerns(row.entry):
                yield {"type": "journal", "seq": row.seq, "event": event_document(row.entry.event), "raw": _raw(row.entry.raw)}
        after = rows[-1].seq
        await anyio.lowlevel.checkpoint()


async def _connectors(runtime: Runtime, person: _Person) -> AsyncGenerator[Line, None]:
    """What connectors keep beside their events: files by their names, objects that are to be fetched."""
    for name in runtime.config.connectors:
        async for key, value in _scanned(runtime, name):
            if person.holder.in_row(key, value):
                yield {"type": "connector_row", "connector": name, "key": _readable(key), "value": _readable(value)}


async def _scanned(runtime: Runtime, connector: str) -> AsyncIterator[tuple[bytes, bytes]]:
    count = 0
    async for row in runtime.journal.scan(connector, b""):
        yield row
        count += 1
        if count % _JOURNAL_STEP == 0:
            await anyio.lowlevel.checkpoint()


_PARTS: Final[tuple[Callable[[Runtime, _Person], AsyncGenerator[Line, None]], ...]] = (
    _profile,
    _activities,
    _about,
    _waiting,
    _journal,
    _connectors,
)


def _accumulated(kept: IndicatorState | None) -> Mapping[str, Any] | None:
    return None if kept is None else dict(zip(kept.__struct_fields__, msgspec.to_builtins(kept, str_keys=True), strict=False))


def _activity(one: Activity) -> Line:
    trace = [{"extension": each.extension, "outcome": each.outcome, "added": list(each.added)} for each in one.trace]
    said = {"effective": _time(one.time), "rule": one.rule, "extensions": trace, "event": event_document(one.event)}
    return {"type": "activity", "seq": one.seq, **said}


def _merge(one: Merge) -> Line:
    identifiers = [{"kind": kind, "value": value} for kind, value in one.identifiers]
    before: Mapping[str, Any] = {
        "id": one.before.public,
        "identifiers": [{"kind": each.kind, "value": each.value} for each in one.before.identifiers],
        "traits": {name: trait.value for name, trait in one.before.traits.items()},
    }
    return {"type": "merge", "time": _time(one.time), "rule": one.rule, "identifiers": identifiers, "before": before}


def _letter(one: DeadLetter) -> Line:
    reason = {"stage": one.stage, "code": one.fault.code, "message": one.fault.message, "since": _time(one.since)}
    return {"type": "dead_letter", **reason, "event": event_document(one.entry.event), "raw": _raw(one.entry.raw)}


def _parked(one: Parked) -> Line:
    waits = {"extension": one.extension, "since": _time(one.since), "due": _time(one.due), "reason": one.reason}
    return {"type": "parked", **waits, "event": event_document(one.entry.event)}


def _raw(raw: bytes) -> Any:
    try:
        return msgspec.json.decode(raw) if raw else None
    except (msgspec.DecodeError, RecursionError):
        return _readable(raw)


def _readable(part: bytes) -> str:
    return part.decode("utf-8", "backslashreplace")


def _time(micros: int) -> str:
    return show_time(from_micros(micros))
