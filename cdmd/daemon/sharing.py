"""Where the journal lies when it is not in the state directory."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from cdmd.cluster.connection import Access
from cdmd.cluster.journal import JetStreamJournal
from cdmd.cluster.place import Place
from cdmd.config.sharing import JournalSettings
from cdmd.contracts import Clock, Journal


def shared_journal(
    settings: JournalSettings, *, holder: str, clock: Clock, new_id: Callable[[], str]
) -> Callable[[Path], AbstractAsyncContextManager[Journal]] | None:
    """What opens it, given the file of the mark; None where it lies in the state directory. ``holder`` is told to others."""
    if settings.url is None:
        return None
    place = Place(
        access=Access(
            servers=settings.servers,
            username=settings.username,
            password=settings.password,
            token=settings.token,
            authorities=settings.ca,
        ),
        name=settings.name,
        holder=holder,
        replicas=settings.replicas,
        max_bytes=settings.max_bytes.bytes if settings.max_bytes is not None else None,
    )
    return lambda mark: JetStreamJournal.open(place, clock=clock, mark_path=mark, new_id=new_id)
