"""What may be done with people's data: suppress somebody and take that back, erase somebody. For admins, and audited."""

from collections.abc import AsyncGenerator
from typing import Any

from cdmd.control import redaction
from cdmd.control.actors import Actor, Role, permit
from cdmd.control.auditing import audited
from cdmd.control.privacy_shapes import (
    ErasureRow,
    HoldingsRow,
    MinimisedRow,
    Restriction,
    RetentionReport,
    SimulationPage,
    SuppressionsRow,
)
from cdmd.control.protocol import Done
from cdmd.control.runtime import Runtime
from cdmd.errors import BadArguments, NotFound

Pair = tuple[str, str]


async def suppressions(runtime: Runtime, actor: Actor) -> SuppressionsRow:
    """How long the list is."""
    permit(actor, Role.READER)
    return SuppressionsRow(digests=runtime.governance.suppressed())


async def suppress(runtime: Runtime, actor: Actor, identifier: str) -> Done:
    """Keep nothing any more of whoever has KIND:VALUE. Raises ``BadArguments``."""
    said: dict[str, Any] = {"kind": said_kind(runtime, identifier)}
    async with audited(runtime, actor, "profile suppress", arguments=said):
        new = await runtime.governance.suppress(pair_of(runtime, identifier))
    return Done(done="suppressed", name=said["kind"], count=int(new))


async def unsuppress(runtime: Runtime, actor: Actor, identifier: str) -> Done:
    """Take it back. Raises ``BadArguments``, and ``NotFound`` where it is not suppressed."""
    said: dict[str, Any] = {"kind": said_kind(runtime, identifier)}
    async with audited(runtime, actor, "profile unsuppress", arguments=said):
        if not await runtime.governance.unsuppress(pair_of(runtime, identifier)):
            raise NotFound(f"that {said['kind']} is not suppressed")
    return Done(done="unsuppressed", name=said["kind"])


async def restrict(runtime: Runtime, actor: Actor, identifier: str, *, restricted: bool) -> Restriction:
    """Store whoever has KIND:VALUE and use nothing of them, or use them again. Raises ``BadArguments`` and ``NotFound``."""
    said: dict[str, Any] = {"kind": said_kind(runtime, identifier)}
    async with audited(runtime, actor, "profile restrict" if restricted else "profile unrestrict", arguments=said):
        row = await runtime.governance.restrict(pair_of(runtime, identifier), restricted=restricted)
        said["profile"] = row.profile
    return row


async def suppression_rows(runtime: Runtime, actor: Actor) -> AsyncGenerator[dict[str, Any], None]:
    """The list for a file that a restore takes."""
    async with audited(runtime, actor, "suppressions export", arguments={"count": runtime.governance.suppressed()}):
        pass
    return runtime.governance.suppression_rows()


async def erase(runtime: Runtime, actor: Actor, identifier: str) -> ErasureRow:
    """Erase whoever has KIND:VALUE; in force when it returns. Raises ``BadArguments``."""
    said: dict[str, Any] = {"kind": said_kind(runtime, identifier)}
    async with audited(runtime, actor, "profile erase", arguments=said):
        row = await runtime.governance.erase(pair_of(runtime, identifier), by=actor.user)
        said["erasure"], said["profile"] = row.id, row.profiles[0] if row.profiles else None
    return row


async def holdings(runtime: Runtime, actor: Actor, identifier: str) -> HoldingsRow:
    """What an erasure of KIND:VALUE would remove. Raises ``BadArguments``."""
    said: dict[str, Any] = {"kind": said_kind(runtime, identifier)}
    async with audited(runtime, actor, "profile erase --dry-run", arguments=said):
        row = await runtime.governance.holdings(pair_of(runtime, identifier))
        said["profile"] = row.profile
    return row


async def erasures(runtime: Runtime, actor: Actor) -> list[ErasureRow]:
    """All of them; they name nobody."""
    permit(actor, Role.READER)
    return await runtime.governance.erasures()


async def simulate(runtime: Runtime, actor: Actor, after: tuple[int, int] | None) -> SimulationPage:
    """What retention would take away of some of what is stored, by month."""
    permit(actor, Role.READER)
    return await runtime.governance.simulate(after)


async def sweep(runtime: Runtime, actor: Actor, *, trust_clock: bool) -> RetentionReport:
    """Take away what is due now; ``trust_clock``: although the wall clock leapt. Raises ``ClockDisturbed``."""
    async with audited(runtime, actor, "retention run", arguments={"trust_clock": trust_clock}):
        return await runtime.governance.sweep(trust_clock=trust_clock)


async def minimised(runtime: Runtime, actor: Actor) -> list[MinimisedRow]:
    """Which fields arrived and were not kept, by connector; no values."""
    permit(actor, Role.READER)
    return runtime.governance.minimised()


def said_kind(runtime: Runtime, identifier: str) -> str:
    """What of an identifier an audit row may say."""
    kind = identifier.partition(":")[0]
    return kind if kind in runtime.config.identity.identifiers else redaction.REDACTED


def pair_of(runtime: Runtime, identifier: str) -> Pair:
    """KIND:VALUE in its one form. Raises ``BadArguments`` where it can be nobody's."""
    kind, _, value = identifier.partition(":")
    configured = runtime.config.identity.identifiers
    if kind not in configured or not value:
        raise BadArguments(f"write KIND:VALUE, where KIND is one of {', '.join(configured)}")
    pair = runtime.kinds.normalise(kind, value)
    if pair is None:
        raise BadArguments(f"that {kind} identifies nobody: {runtime.kinds.unusable(kind, value)}")
    return pair
