"""The journal that ``[journal] url`` names. Imported by who has found that there is one (``cdmd.daemon.sharing``)."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from cdmd.cluster.connection import Access
from cdmd.cluster.journal import JetStreamJournal
from cdmd.cluster.place import Place
from cdmd.config.sharing import JournalSettings
from cdmd.contracts import Clock, Journal


def journal_at(
    settings: JournalSettings, *, holder: str, clock: Clock, new_id: Callable[[], str]
) -> Callable[[Path], AbstractAsyncContextManager[Journal]]:
    """What opens it, given the file of the mark. ``holder`` is told to others who want to write it."""
    place = Place(
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
        holder=holder,
    )
    return lambda mark: JetStreamJournal.open(place, clock=clock, mark_path=mark, new_id=new_id)
