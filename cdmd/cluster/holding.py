"""One daemon at a time writes a journal: it has the lease of that for as long as it runs.

The lease says who may begin; that whoever had it before writes no more is sure by the place that each commit expects
(``commits``), also where a process was stopped for an hour and goes on in the middle of a write.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

import anyio

from cdmd.cluster.connection import Link
from cdmd.cluster.leases import JetStreamLeases
from cdmd.cluster.place import Place
from cdmd.contracts import Clock, Lease, Leases
from cdmd.errors import CdmdError, InUse

SECONDS: Final = 10.0
_PARTS: Final = 4
"""So often it is renewed within its length."""
_LOOK: Final = 0.25
_LONGER: Final = 2.0
_JOURNAL: Final = "journal"


async def begin(link: Link, place: Place, *, holder: str, clock: Clock) -> tuple[Leases, Lease]:
    """The journal's lease, waited for as long as one lasts of which its holder is gone. Raises ``InUse``."""
    leases = JetStreamLeases(link, name=place.name, replicas=place.replicas, holder=holder, clock=clock)
    await leases.ensure()
    until = clock.monotonic() + SECONDS + _LONGER
    while (lease := await leases.take(_JOURNAL, seconds=SECONDS)) is None:
        if clock.monotonic() > until:
            other = (await leases.holders()).get(_JOURNAL, "another daemon")
            raise InUse(f"the journal {place.name} at {', '.join(place.access.servers)} is written by {other}: stop that one")
        await clock.sleep(_LOOK)
    return leases, lease


@asynccontextmanager
async def kept(leases: Leases, lease: Lease, *, clock: Clock) -> AsyncIterator[None]:
    """Renew the lease inside, and let it go at the end."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_renew, leases, lease, clock)
        try:
            yield
        finally:
            tasks.cancel_scope.cancel()
            with anyio.CancelScope(shield=True), suppress(CdmdError):
                await leases.release(lease)


async def _renew(leases: Leases, lease: Lease, clock: Clock) -> None:
    """Until it is somebody else's: then the journal is, too, and says so at the next commit."""
    while True:
        await clock.sleep(lease.seconds / _PARTS)
        with suppress(CdmdError):  # where no server answers nobody else gets it either
            if await leases.renew(lease) is None:
                return
