"""Whether the journal lies in the state directory or on servers; of the latter nothing is loaded where it does not."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from importlib import import_module
from pathlib import Path
from typing import Any, TypeAlias

from cdmd.config.sharing import JournalSettings
from cdmd.contracts import Clock, Journal
from cdmd.kit.exchanges import Handler

Opening: TypeAlias = Callable[[Path], AbstractAsyncContextManager[Journal]]


def shared_journal(
    settings: JournalSettings,
    *,
    holder: str,
    clock: Clock,
    new_id: Callable[[], str],
    follows: bool,
    meanwhile: Callable[[Callable[..., Handler]], AbstractAsyncContextManager[None]] | None = None,
) -> Opening | None:
    """What opens it, given the file of the mark; None where it lies here. ``holder`` is told to others who want to write it.

    One that ``follows`` only reads it. ``meanwhile``: what one does that waits for another who leads, given what
    makes who answers then.
    """
    if settings.url is None:
        return None
    cluster: Any = import_module("cdmd.cluster.opening")
    opening: Opening = cluster.journal_at(
        settings, holder=holder, clock=clock, new_id=new_id, follows=follows, meanwhile=meanwhile
    )
    return opening
