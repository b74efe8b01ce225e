"""The journal that ``[journal] url`` names. Imported by who has found that there is one (``cdmd.daemon.sharing``)."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final

import structlog

from cdmd.cluster.connection import Access
from cdmd.cluster.following import FollowedJournal
from cdmd.cluster.holding import Meanwhile
from cdmd.cluster.leading import LeadingJournal
from cdmd.cluster.place import Place
from cdmd.config.sharing import JournalSettings
from cdmd.contracts import Clock, Journal
from cdmd.errors import NotDurable

_PATIENCE: Final = 60.0
"""Seconds. Longer than a fifth of what systemd's unit counts starts in, so that it never gives up."""
_PAUSE: Final = 1.0


def journal_at(
    settings: JournalSettings,
    *,
    holder: str,
    clock: Clock,
    new_id: Callable[[], str],
    follows: bool = False,
    meanwhile: Meanwhile | None = None,
) -> Callable[[Path], AbstractAsyncContextManager[Journal]]:
    """What opens it, given the file of the mark. ``holder`` is told to others who want to write it; who ``follows`` only reads.

    ``meanwhile`` is what one does that waits for another who leads. Servers that do not answer yet are waited for a minute:
    after a power cut they may still be starting.
    """
    place = place_of(settings, holder=holder)
    if follows:
        return lambda _: _waited_for(partial(FollowedJournal.open, place, clock=clock), clock)
    opening = partial(LeadingJournal.open, place, clock=clock, new_id=new_id, meanwhile=meanwhile)
    return lambda mark: _waited_for(lambda: opening(mark_path=mark), clock)


def place_of(settings: JournalSettings, *, holder: str | None) -> Place:
    """Where the settings say that the journal lies."""
    return Place(
        access=Access(
            servers=settings.servers,
            username=settings.username,
            password=settings.password,
            token=settings.token,
            authorities=settings.ca,
        ),
        name=settings.name,
        replicas=settings.replicas,
        max_bytes=settings.max_bytes.bytes if settings.max_bytes is not None else None,
        lanes=settings.partitions,
        holder=holder,
    )


@asynccontextmanager
async def _waited_for(opening: Callable[[], AbstractAsyncContextManager[Journal]], clock: Clock) -> AsyncIterator[Journal]:
    until = None
    while True:
        began = clock.monotonic()
        async with AsyncExitStack() as stack:
            try:
                journal = await stack.enter_async_context(opening())
            except NotDurable as error:
                failed = clock.monotonic()
                if until is None or failed - began >= _PATIENCE:
                    until = failed + _PATIENCE  # the first in a row: what lasted so long stood by, or read
                if failed >= until:
                    raise
                structlog.get_logger().warning("journal_is_waited_for", error=str(error))
            else:
                yield journal
                return
        await clock.sleep(_PAUSE)
