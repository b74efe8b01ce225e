"""What may be asked about audiences: which there are, who is in, who moved, and what a condition would come to.

Members are personal data: whole for admins, redacted for readers, audited either way. A condition that is tried could ask about
one person, so only admins try.
"""

from collections.abc import Mapping
from typing import Any, Final

import anyio.lowlevel

from cdmd.contracts import Member
from cdmd.control import redaction
from cdmd.control.actors import Actor, Role, permit
from cdmd.control.audience_shapes import AudienceRow, MemberPage, MemberRow, NoticeRow, TrialPage
from cdmd.control.auditing import audited
from cdmd.control.runtime import Runtime
from cdmd.errors import BadArguments, ConfigInvalid, NotFound
from cdmd.kit.conditions import Failures
from cdmd.models import Micros, ProfileKey, from_micros, to_micros
from cdmd.profiles.audiences import Audience, trial

MOST_MEMBERS: Final = 1000
MOST_NOTICES: Final = 10_000
TRIED: Final = 20_000
"""Profiles that one request tries a condition on, a few at a time, so that everything else goes on."""
_AT_ONCE: Final = 200


async def listed(runtime: Runtime, actor: Actor) -> list[AudienceRow]:
    """Every configured audience, in the order of the configuration."""
    permit(actor, Role.READER)
    kept = {one.name: one for one in await runtime.store.membership.audiences()}
    rows = []
    for one in runtime.audiences.every:
        found, since = kept.get(one.name), runtime.counted.since.get(one.name)
        figures = {} if found is None else {"members": found.members, "missing": found.missing, "failed": found.failed}
        rows.append(
            AudienceRow(
                name=one.name,
                where=one.condition.text,
                since=None if since is None else from_micros(since),
                computed=_computed(runtime, one),
                reads_clock=one.moving,
                error=None if found is None else found.fault,
                **figures,
            )
        )
    return rows


def _computed(runtime: Runtime, one: Audience) -> float:
    read = {f"indicator {name}" for name in one.indicators}
    waits = not runtime.counted.pending.isdisjoint({f"audience {one.name}", *read})
    return round(runtime.counted.share, 4) if waits else 1.0


async def members(runtime: Runtime, actor: Actor, name: str, *, after: int, limit: int) -> MemberPage:
    """Who is in, some at a time. Raises ``NotFound``."""
    said: dict[str, Any] = {"audience": name if name in runtime.audiences.definitions else redaction.REDACTED}
    async with audited(runtime, actor, "audience members", arguments=said, role=Role.READER):
        if name not in runtime.audiences.definitions:
            names = ", ".join(runtime.audiences.definitions) or "none"
            raise NotFound(f"there is no audience of that name; configured are: {names}")
        limit = max(1, min(limit, MOST_MEMBERS))
        found = await runtime.store.membership.members(name, after=ProfileKey(after), limit=limit)
        said["count"] = len(found)
    rows = [_member(one, reveal=actor.role is Role.ADMIN) for one in found]
    return MemberPage(members=rows, next=int(found[-1].key) if len(found) == limit else None)


async def changes(runtime: Runtime, actor: Actor, name: str | None, *, limit: int) -> list[NoticeRow]:
    """Who entered and left last, newest first."""
    permit(actor, Role.READER)
    found = await runtime.store.membership.notices(audience=name, limit=max(1, min(limit, MOST_NOTICES)))
    return [
        NoticeRow(
            id=one.id,
            type="audience.entered" if one.entered else "audience.left",
            audience=one.audience,
            profile=one.public,
            time=from_micros(one.at),
            reason=one.reason,
        )
        for one in found
    ]


async def tried(runtime: Runtime, actor: Actor, where: str, *, after: int, sample: int) -> TrialPage:
    """What a condition comes to over some of the stored profiles. Raises ``BadArguments`` where it is none."""
    said: dict[str, Any] = {"after": after}
    async with audited(runtime, actor, "audience try", arguments=said):
        try:
            audience = trial(where, runtime.audiences.projection)
        except ConfigInvalid as error:
            raise BadArguments("; ".join(error.problems)) from None
        return await _try(runtime, audience, ProfileKey(after), sample=max(0, min(sample, MOST_MEMBERS)))


async def _try(runtime: Runtime, audience: Audience, after: ProfileKey, *, sample: int) -> TrialPage:
    looked, matched = 0, 0
    failures: dict[str, Failures] = {}
    found: list[MemberRow] = []
    now = to_micros(runtime.clock.now())
    rows = await runtime.store.membership.profiles(after=after, limit=_AT_ONCE)
    while rows and looked < TRIED:
        for key, state in rows:
            if state.merged_into is not None:
                continue
            looked += 1
            if runtime.audiences.holds(audience, state, now, failures):
                matched += 1
                if len(found) < sample:
                    found.append(_member(Member(key=key, since=Micros(now), state=state), reveal=True))
        after = rows[-1][0]
        await anyio.lowlevel.checkpoint()
        rows = await runtime.store.membership.profiles(after=after, limit=_AT_ONCE)
    fared = failures.get(audience.name, Failures())
    return TrialPage(
        profiles=looked,
        matched=matched,
        missing=fared.missing,
        failed=fared.failed,
        error=fared.fault,
        sample=found,
        next=int(after) if rows else None,
    )


def _member(one: Member, *, reveal: bool) -> MemberRow:
    identifiers: list[Mapping[str, str]] = [
        {"kind": each.kind, "value": each.value if reveal else redaction.REDACTED}
        for each in one.state.identifiers
        if not each.derived
    ]
    return MemberRow(profile=one.state.public, since=from_micros(one.since), identifiers=identifiers)
