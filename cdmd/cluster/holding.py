"""One daemon at a time writes a journal: it has the lease of that for as long as it runs.

The lease says who may begin; that whoever had it before writes no more is sure by the place that each commit expects
(``commits``), also where a process was stopped for an hour and goes on in the middle of a write.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from functools import partial
from typing import Final, TypeAlias

import anyio
import structlog

from cdmd.cluster.connection import Link
from cdmd.cluster.forwarding import hand_on
from cdmd.cluster.handing import HandingOn
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


Meanwhile: TypeAlias = Callable[[Callable[..., HandingOn]], AbstractAsyncContextManager[None]]
"""What a node does that stands by: what is sent to it goes to the handler that is made with ``largest=``."""


async def begin(link: Link, place: Place, *, clock: Clock, meanwhile: Meanwhile | None = None) -> tuple[Leases, Lease] | None:
    """The journal's lease, waited for as long as one lasts of which its holder is gone. Raises ``InUse``.

    With something to do ``meanwhile`` it is waited for until there is nobody else who has it. None where no holder is named.
    """
    if place.holder is None:
        return None
    leases = JetStreamLeases(link, name=place.name, replicas=place.replicas, holder=place.holder, clock=clock)
    await leases.ensure()
    if meanwhile is not None and (lease := await leases.take(_JOURNAL, seconds=SECONDS)) is None:
        made = list[HandingOn]()

        def handling(*, largest: int) -> HandingOn:
            made.append(HandingOn(partial(hand_on, link, place.name), largest=largest))
            return made[-1]

        async with meanwhile(handling):
            lease = await _waited_for(leases, clock)
            for one in made:
                one.give_up()
            return leases, lease
    until = clock.monotonic() + SECONDS + _LONGER
    while (lease := await leases.take(_JOURNAL, seconds=SECONDS)) is None:
        if clock.monotonic() > until:
            other = (await leases.holders()).get(_JOURNAL, "another daemon")
            raise InUse(f"the journal {place.name} at {', '.join(place.access.servers)} is written by {other}: stop that one")
        await clock.sleep(_LOOK)
    return leases, lease


async def _waited_for(leases: Leases, clock: Clock) -> Lease:
    failing = False
    while True:
        try:
            if (lease := await leases.take(_JOURNAL, seconds=SECONDS)) is not None:
                return lease
            failing = False
        except CdmdError as error:  # where no server answers nobody else gets it either
            if not failing:
                structlog.get_logger().warning("turn_is_not_known", error=str(error))
            failing = True
        await clock.sleep(_LOOK)


@asynccontextmanager
async def kept(leases: Leases, lease: Lease, *, clock: Clock, ends: bool) -> AsyncIterator[None]:
    """Renew the lease inside, and let it go at the end. Where it ``ends`` with the lease, raises ``InUse`` then.

    What is raised inside leaves as it is.
    """
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_renew, leases, lease, clock, ends)
            try:
                yield
            finally:
                tasks.cancel_scope.cancel()
                with anyio.CancelScope(shield=True), suppress(CdmdError):
                    await leases.release(lease)
    except BaseExceptionGroup as group:
        error = group.exceptions[0]
        raise error from error.__cause__


async def _renew(leases: Leases, lease: Lease, clock: Clock, ends: bool) -> None:
    """Until it is somebody else's: then the journal is, too, and says so at the next commit; or this daemon ends."""
    while True:
        await clock.sleep(lease.seconds / _PARTS)
        with suppress(CdmdError):  # where no server answers nobody else gets it either
            if await leases.renew(lease) is None:
                break
    if ends:
        raise InUse("another node leads by now: start this one again, and it stands by")
