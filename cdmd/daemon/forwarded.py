"""What other nodes fetch and this one writes, and what is known at a door beside which others take events, too."""

from collections.abc import Mapping, Sequence
from typing import Final

from cdmd.contracts import Answering, Append
from cdmd.daemon.parts import Parts
from cdmd.errors import CdmdError, NotDurable
from cdmd.models import Seq, encode_entry, tombstone

_PAGE: Final = 2_000
_AGAIN: Final = 0.5


async def answer_others(parts: Parts) -> None:
    """Of the node that leads, until cancelled: take what others append and are sent. Where no server answers it asks again."""
    journal = parts.journal
    if not isinstance(journal, Answering):
        return
    forwarded = Forwarded(parts)
    while True:
        try:
            await journal.answer(forwarded.take, parts.edge)
        except CdmdError as error:
            parts.log.warning("other_nodes_not_answered", error=error)
            await parts.clock.sleep(_AGAIN)


async def keep_door(parts: Parts) -> None:
    """Of a node that fetches, until cancelled: who is known by what others took is known at its door, too."""
    after = parts.store.position
    while True:
        await parts.journal.wait(after)
        if not parts.door.guarded:
            after = parts.journal.head
            continue
        try:
            page = await parts.journal.read(after, limit=_PAGE)
        except CdmdError:
            await parts.clock.sleep(_AGAIN)
            continue
        if page:
            parts.door.journaled(page[0].seq, [one.entry for one in page])
            parts.door.applied(parts.store.position)
        after = page[-1].seq if page else after


class Forwarded:
    """Appends of other nodes on their way into the journal: as their own intake made them, and screened once more."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def take(self, appends: Sequence[Append]) -> Seq:
        """See ``Take``. Raises ``NotDurable``."""
        parts = self._parts
        if reason := parts.disk.blocked():
            raise NotDurable(reason, retry_after=5)
        screened = [self._screened(one) for one in appends]
        try:
            first = await parts.journal.append(screened)
        except NotDurable:
            for one in screened:
                parts.tally.restore(one.connector, _NONE)
            raise
        for one in screened:
            parts.tally.written(one.connector, one.counts)
        if entries := [entry for one in screened for entry in one.entries]:
            parts.intake.journaled(first, entries)
        return first

    def _screened(self, append: Append) -> Append:
        """Without what may not be kept: the list in force is this node's."""
        screen = self._parts.intake.screen
        if not screen.version or not append.entries:
            return append
        kept = [screen.screened(entry) for entry in append.entries]
        if all(one is entry for one, entry in zip(kept, append.entries, strict=True)):
            return append
        entries = [tombstone(entry) if one is None else one for one, entry in zip(kept, append.entries, strict=True)]
        return Append(
            connector=append.connector,
            entries=entries,
            encoded=[encode_entry(entry) for entry in entries],
            state=append.state,
            counts=append.counts,
            fence=append.fence,
        )


_NONE: Final[Mapping[str, int]] = {}
