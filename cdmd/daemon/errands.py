"""What one of several nodes asks another one to do: which node something is for, and doing what is asked of this one.

Not here: how it travels (``cdmd.control.carrying``).
"""

from collections.abc import Sequence
from typing import Final

import anyio
import anyio.abc
import structlog

from cdmd.contracts import Errands, Lanes
from cdmd.control.carrying import Carrier, Doing
from cdmd.control.runtime import Place, Runtime
from cdmd.control.server import doing
from cdmd.daemon.erasing_elsewhere import Elsewhere, erasing
from cdmd.daemon.gathering import gather
from cdmd.daemon.parts import Parts
from cdmd.errors import CdmdError
from cdmd.kit.sealing import Seal

_LOOK: Final = 0.25
_AT_ONCE: Final = 8
_OWNER: Final = "daemon:errands"
"""Whose key they are sealed with; no connector can have this name."""


def carrier_of(parts: Parts) -> Carrier | None:
    """The way to other nodes; None for a daemon that is alone."""
    return Carrier(parts.store.errands, _seal(parts), clock=parts.clock) if isinstance(parts.store, Lanes) else None


def away_of(parts: Parts) -> Elsewhere | None:
    """Who has other nodes erase what connectors keep that they fetch for."""
    carrier = carrier_of(parts)
    return None if carrier is None else Elsewhere(parts, carrier)


async def whose(parts: Parts, connector: str | None, *, target: str | None = None) -> Place:
    """A connector is for the node that runs it, as those say, a target for the one that sends to it; the rest for who leads."""
    leads = parts.laning is None or parts.laning.resumes
    if target is not None:
        node = parts.outbound.sender(target)
        return Place(here=target in parts.outbound.here or (leads and node is None), node=node)
    live = next((live for live in parts.connectors if live.config.name == connector), None)
    if connector is None or (live is not None and parts.connectors.works_here(live)):
        return Place(here=leads or connector is not None)
    there = await running_on(parts, connector)
    return Place(here=leads and there is None, node=there)


async def running_on(parts: Parts, connector: str) -> str | None:
    """Another node that says that it runs that connector."""
    found = await gather(parts)
    runs = [name for name, said in found.reports.items() if connector in {row.name for row in said.connectors}]
    return next((name for name in runs if name != found.mine), None)


async def do_errands(
    parts: Parts, errands: Errands, runtime: Runtime, *, task_status: "anyio.abc.TaskStatus[None]" = anyio.TASK_STATUS_IGNORED
) -> None:
    """Do what other nodes ask of this one, some at a time, until cancelled."""
    does, limiter, log = (
        Doing(errands, _seal(parts), erasing(parts, doing(runtime)), clock=parts.clock),
        anyio.CapacityLimiter(_AT_ONCE),
        structlog.get_logger(),
    )

    async def do(number: int, sealed: bytes) -> None:
        async with limiter:
            try:
                await does.do(number, sealed)
            except CdmdError as error:
                log.warning("errand_failed", error=error)

    async with anyio.create_task_group() as tasks:
        task_status.started()
        while True:
            for number, sealed in await _taken(errands):
                tasks.start_soon(do, number, sealed, name="errand")
            await parts.clock.sleep(_LOOK)


async def _taken(errands: Errands) -> Sequence[tuple[int, bytes]]:
    """None while the store cannot be reached: whoever asked is told so by itself."""
    try:
        return await errands.take() if await errands.waiting() else ()
    except CdmdError:
        return ()


def _seal(parts: Parts) -> Seal:
    return Seal(parts.digester.secret(_OWNER, "seal"))
