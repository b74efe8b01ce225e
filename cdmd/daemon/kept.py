"""What is kept of connectors beside their own state, over restarts: that one is paused, and since when each is here.

Since when: what happened at a source before is its history and says nothing of freshness (``cdmd.batches.freshness`` measures);
what comes late because cdmd was down is late. Not here: what a pause means, positions.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Final

import structlog

from cdmd.contracts import Append, Clock, Journal
from cdmd.errors import NotDurable
from cdmd.models import Micros, to_micros

OURS: Final = "daemon:"
"""What the owners of our own state begin with."""

OWNER: Final = f"{OURS}connectors"
"""Whose state it is; no connector can have this name."""

_PAUSED: Final = b"paused/"
_BEGUN: Final = b"begun/"


class Kept:
    """``tell`` is called with each connector and its beginning.

    It goes straight to the journal: a pause has to be possible while the queue is full or the disk's reserve is reached.
    """

    def __init__(self, journal: Journal, *, clock: Clock, tell: Callable[[str, Micros], None]) -> None:
        self._journal, self._clock, self._tell = journal, clock, tell
        self._paused: frozenset[str] = frozenset()
        self._begun: dict[str, Micros] = {}

    async def load(self) -> None:
        """Learn it after a restart."""
        self._paused = frozenset([key.removeprefix(_PAUSED).decode() async for key, _ in self._journal.scan(OWNER, _PAUSED)])
        async for key, value in self._journal.scan(OWNER, _BEGUN):
            self._learn(key.removeprefix(_BEGUN).decode(), Micros(int(value)))

    def is_paused(self, name: str) -> bool:
        """Whether it was held back."""
        return name in self._paused

    async def pause(self, name: str, *, paused: bool) -> None:
        """Keep whether it is held back. Raises ``NotDurable``."""
        if self.is_paused(name) != paused:
            await self._keep({_PAUSED + name.encode(): b"1" if paused else None})
            self._paused = self._paused | {name} if paused else self._paused - {name}

    async def begin(self, names: Iterable[str], earlier: Callable[[str], Iterable[str]]) -> None:
        """These are here now: those that are new begin, or go on under the beginning of one of their ``earlier`` names.

        One commit for all; a disk that does not take it now is asked again at the next start.
        """
        new: dict[str, Micros] = {}
        for name in names:
            if name not in self._begun:
                known = [self._begun[old] for old in earlier(name) if old in self._begun]
                new[name] = min(known, default=to_micros(self._clock.now()))
        for name, at in new.items():
            self._learn(name, at)
        if new:
            try:
                await self._keep({_BEGUN + name.encode(): str(at).encode() for name, at in new.items()})
            except NotDurable as error:
                structlog.get_logger().warning("beginning_not_kept", count=len(new), error=error)

    async def rename(self, old: str, new: str, *, fence: int) -> None:
        """A connector goes on under another name, with its state and its pause in one commit, as who has that token."""
        kept = {key: value async for key, value in self._journal.scan(old, b"")}
        went = Append(connector=old, state=dict.fromkeys(kept), fence=fence)
        appends = [Append(connector=new, state=kept, fence=fence), went] if kept else []
        if self.is_paused(old):
            state = {_PAUSED + old.encode(): None, _PAUSED + new.encode(): b"1"}
            appends = [*appends, Append(connector=OWNER, state=state)]
        if appends:
            await self._journal.append(appends)
        if self.is_paused(old):
            self._paused = self._paused - {old} | {new}

    async def forget(self, name: str) -> bool:
        """It is as if it had never been here; whether it was paused. Raises ``NotDurable``."""
        paused = self.is_paused(name)
        await self.pause(name, paused=False)
        if self._begun.pop(name, None) is not None:
            await self._keep({_BEGUN + name.encode(): None})
        return paused

    def _learn(self, name: str, at: Micros) -> None:
        self._begun[name] = at
        self._tell(name, at)

    async def _keep(self, state: Mapping[bytes, bytes | None]) -> None:
        await self._journal.append([Append(connector=OWNER, state=state)])
