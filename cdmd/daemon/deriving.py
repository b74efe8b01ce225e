"""Brings all profiles to the configured kinds of digests: new ones get theirs when they come, those from before get them here.

In the background, some profiles at a time. Until it is done nobody can be told from a stranger by such a digest, and the door
says so. Not here: which digests (``cdmd.identity``).
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import anyio
import anyio.abc
import msgspec
import structlog

from cdmd.contracts import Clock, Store
from cdmd.errors import CdmdError
from cdmd.identity.identifiers import Kinds
from cdmd.models import ProfileKey

_DONE: Final = "digests"
"""Under which the store notes for which kinds of which plain kinds all profiles have their digests."""

_AT_ONCE: Final = 500
_PAUSE: Final = 5.0


class Deriving:
    """``progress`` says how far it is, None where nothing is to be done; ``kinds`` gives the ones configured now."""

    def __init__(self, store: Store, *, kinds: Callable[[], Kinds], clock: Clock) -> None:
        self._store, self._kinds, self._clock = store, kinds, clock
        self._done: Mapping[str, str] = {}
        self._noted: Mapping[str, str] = {}
        self._changed = anyio.Event()
        self.progress: str | None = None
        self._log: Any = structlog.get_logger()

    async def load(self) -> None:
        """Read what was done before. Raises CdmdError."""
        noted = await self._store.noted(_DONE)
        self._done = self._noted = {} if noted is None else msgspec.json.decode(noted, type=dict[str, str])

    def incomplete(self) -> frozenset[str]:
        """The kinds of digests that not all profiles have."""
        return frozenset(kind for kind, plain in self._kinds().hashed.items() if self._done.get(kind) != plain)

    def configured(self) -> None:
        """The kinds may be others now; whoever comes from now on has those alone."""
        self._done = dict(self._done.items() & self._kinds().hashed.items())
        self._changed.set()

    async def run(self, *, task_status: "anyio.abc.TaskStatus[None]" = anyio.TASK_STATUS_IGNORED) -> None:
        """Keep all profiles complete until cancelled."""
        task_status.started()
        while True:
            self._changed = anyio.Event()
            try:
                await self.complete()
            except CdmdError as error:
                self._log.warning("deriving_failed", error=error)
                await self._clock.sleep(_PAUSE)
            else:
                await self._changed.wait()

    async def complete(self) -> None:
        """Bring all profiles to the kinds configured now. Raises CdmdError."""
        kinds, missing = self._kinds(), self.incomplete()
        await self._note()
        try:
            if missing:
                await self._walk(kinds, ", ".join(sorted(missing)))
        finally:
            self.progress = None
        if self._kinds() is kinds:
            self._done = dict(kinds.hashed)
            await self._note()
        else:
            self.configured()

    async def _note(self) -> None:
        """What is done, where that is other than what was noted last."""
        done = self._done
        if done != self._noted:
            await self._store.note(_DONE, msgspec.json.encode(done).decode())
            self._noted = done

    async def _walk(self, kinds: Kinds, names: str) -> None:
        total, last = (await self._store.totals()).profiles, ProfileKey(0)
        self._log.info("deriving_identifiers", task=names, count=total)
        while True:
            self.progress = f"{names} of profile {last} of about {max(total, last)} are computed"
            looked = await self._store.derive(kinds.underived, after=last, limit=_AT_ONCE)
            if looked is None:
                break
            last = looked
        self._log.info("derived_identifiers", task=names, count=total)
