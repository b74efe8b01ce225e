"""Targets and deliveries: how each is, enable and disable, try one, look at what waits, send it again.

A list shows no content; what is sent is personal data, revealed to admins only, audited.
"""

from datetime import datetime
from typing import Any, Final

import msgspec

from cdmd.contracts import AttemptFilter
from cdmd.control.actors import Actor, Role, permit
from cdmd.control.auditing import audited
from cdmd.control.protocol import Done
from cdmd.control.runtime import Runtime
from cdmd.control.target_shapes import AttemptRow, DeliveryRow, DeliveryShown, TargetRow, Tried
from cdmd.errors import BadArguments, NotFound
from cdmd.kit.globs import Globs
from cdmd.kit.quantities import Rate
from cdmd.models import Attempt, Queued, from_micros, to_micros

MOST_ROWS: Final = 10_000
_SLICE: Final = 1_000


class Again(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which deliveries go out now: one by its id, a target's, or ``all``. Saying nothing selects nothing."""

    id: str | None = None
    target: str | None = None
    all: bool = False


class Replay(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is told once more, from what is stored: what was received from ``since`` to ``until``, of types that match.

    ``rate`` (``100/1s``) spreads it. With ``dry_run`` nothing is told, and the answer says how many it would be. With ``stop``
    the one that goes on is ended instead, and nothing else is said.
    """

    target: str
    since: datetime | None = None
    until: datetime | None = None
    type: str | None = None
    rate: str | None = None
    dry_run: bool = False
    stop: bool = False


async def listed(runtime: Runtime, actor: Actor) -> list[TargetRow]:
    """Every target that is configured, or that something still waits for."""
    permit(actor, Role.READER)
    return await runtime.targets.rows()


async def enable(runtime: Runtime, actor: Actor, name: str) -> Done:
    """Send to it again; what was held against it is forgotten. Raises ``NotFound``."""
    async with audited(runtime, actor, "targets enable", arguments={"target": name}):
        warning = await runtime.targets.enable(name)
    return Done(done="enabled", name=name, warning=warning)


async def disable(runtime: Runtime, actor: Actor, name: str) -> Done:
    """Send nothing to it until it is enabled, over restarts. Raises ``NotFound``."""
    async with audited(runtime, actor, "targets disable", arguments={"target": name}):
        await runtime.targets.disable(name)
    return Done(done="disabled", name=name)


async def attempt(runtime: Runtime, actor: Actor, name: str) -> Tried:
    """Send it a sample of no customer, once. Raises ``NotFound``, and ``BadArguments`` for one that is not sent to at once."""
    async with audited(runtime, actor, "targets test", arguments={"target": name}):
        return await runtime.targets.attempt(name)


async def send(runtime: Runtime, actor: Actor, name: str) -> Done:
    """Let one that waits for a set time go now. Raises ``NotFound`` and ``BadArguments``."""
    async with audited(runtime, actor, "targets send", arguments={"target": name}):
        await runtime.targets.send(name)
    return Done(done="told to send", name=name)


async def forget(runtime: Runtime, actor: Actor, name: str) -> Done:
    """Drop all that waits for a target that left the configuration. Raises ``NotFound`` and ``BadArguments``."""
    async with audited(runtime, actor, "targets forget", arguments={"target": name}):
        count = await runtime.targets.forget(name)
    return Done(done="forgotten", name=name, count=count)


async def deliveries(
    runtime: Runtime, actor: Actor, target: str | None, *, failed: bool | None, limit: int
) -> list[DeliveryRow]:
    """What waits and what was set aside, the oldest first."""
    permit(actor, Role.READER)
    found = await runtime.store.outbox.listed(target=target, failed=failed, limit=max(1, min(limit, MOST_ROWS)))
    return [_row(one) for one in found]


async def attempts(runtime: Runtime, actor: Actor, target: str | None, *, outcome: str | None, limit: int) -> list[AttemptRow]:
    """The last attempts, the newest first."""
    permit(actor, Role.READER)
    which = AttemptFilter(target=target, outcome=outcome, limit=max(1, min(limit, MOST_ROWS)))
    return [_attempt(one, reveal=False) for one in await runtime.store.outbox.attempts(which)]


async def shown(runtime: Runtime, actor: Actor, id: str, *, reveal: bool) -> DeliveryShown:  # noqa: A002
    """One delivery with its attempts; ``reveal`` brings what is sent. Raises ``NotFound``."""
    if not reveal:
        permit(actor, Role.READER)
        return await _shown(runtime, id, reveal=False)
    async with audited(runtime, actor, "deliveries show --reveal", arguments={"delivery": id}):
        return await _shown(runtime, id, reveal=True)


async def retry(runtime: Runtime, actor: Actor, which: Again) -> Done:
    """Let deliveries that were set aside, or wait for a later attempt, go now with all their attempts."""
    said = {key: value for key, value in msgspec.structs.asdict(which).items() if value}
    async with audited(runtime, actor, "deliveries retry", arguments=said):
        if (which.id is not None) + (which.target is not None) + which.all != 1:
            raise BadArguments("say which deliveries: one by its id, a target's, or all of them")
        now, count = to_micros(runtime.clock.now()), 0
        while some := await runtime.store.outbox.retry(target=which.target, id=which.id, limit=_SLICE, now=now):
            count += some
            if some < _SLICE:
                break
        runtime.targets.hurry(which.target)
        if which.id is not None and not count:
            raise NotFound("no delivery of that id waits for a later attempt or was set aside: see `cdmctl deliveries list`")
    return Done(done="retried", count=count)


async def replay(runtime: Runtime, actor: Actor, which: Replay) -> Done:
    """Tell a target once more what it was told, under the same ids, in the background.

    Raises ``NotFound``, and ``BadArguments`` for what is not understood, and while another replay to it goes on.
    """
    said: dict[str, Any] = {key: str(value) for key, value in msgspec.structs.asdict(which).items() if value is not None}
    async with audited(runtime, actor, "deliveries replay", arguments=said):
        if which.stop:
            return Done(done="stopped", name=which.target, count=await runtime.targets.stop_replay(which.target))
        if which.since is None:
            raise BadArguments("say from when on: since")
        rate = _rate(which.rate)
        until = runtime.clock.now() if which.until is None else which.until
        if which.since.tzinfo is None or until.tzinfo is None:
            raise BadArguments("a time needs its zone: 2026-11-23T10:00:00Z")
        if which.since >= until:
            raise BadArguments("there is nothing between these times")
        glob = None if which.type is None else Globs([which.type])
        ask = runtime.targets.would_replay if which.dry_run else runtime.targets.replay
        count = await ask(which.target, since=to_micros(which.since), until=to_micros(until), types=glob, rate=rate)
    return Done(done="would be told again" if which.dry_run else "replaying", name=which.target, count=count)


def _rate(text: str | None) -> Rate | None:
    try:
        return None if text is None else Rate.parse(text)
    except ValueError as error:
        raise BadArguments(f"the rate is not understood: {error}") from error


async def _shown(runtime: Runtime, id: str, *, reveal: bool) -> DeliveryShown:  # noqa: A002
    queued = await runtime.store.outbox.find(id, id)
    tried = await runtime.store.outbox.attempts(AttemptFilter(ids=(id, id), limit=MOST_ROWS))
    if not queued and not tried:
        raise NotFound("no such delivery: it never was, or its attempts are older than what is kept")
    body = msgspec.json.decode(queued[0].delivery.body) if reveal and queued else None
    return DeliveryShown(
        id=id, queued=[_row(one) for one in queued], attempts=[_attempt(one, reveal=reveal) for one in tried], body=body
    )


def _row(one: Queued) -> DeliveryRow:
    delivery = one.delivery
    return DeliveryRow(
        id=delivery.id,
        target=delivery.target,
        type=delivery.type,
        state="waiting" if one.failed is None else "failed",
        since=from_micros(delivery.since),
        due=None if one.due is None else from_micros(one.due),
        attempts=delivery.attempts,
        reason=one.reason or None,
        bytes=len(delivery.body),
    )


def _attempt(one: Attempt, *, reveal: bool) -> AttemptRow:
    return AttemptRow(
        time=from_micros(one.at),
        target=one.target,
        id=one.id,
        type=one.type,
        attempt=one.attempt,
        outcome=one.outcome,
        status=one.status,
        seconds=one.seconds,
        reason=one.reason or None,
        body=msgspec.json.decode(one.body) if reveal and one.body else None,
        answer=one.answer.decode("utf-8", "backslashreplace") if reveal and one.answer else None,
    )
