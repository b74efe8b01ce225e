"""Requests that arrive as events: to be erased, and to be told what is kept.

Only from connectors that are named for it (``[privacy] requests_from``): whoever may send events may otherwise have anybody
erased. What is stored is looked through in order, up to where the store remembers; a request that is met twice is harmless.
What lanes that are ahead of the others have applied is looked at when all have come so far, what was parked when it is no more.
"""

import os
import re
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.abc
import anyio.to_thread
import structlog

from cdmd.batches.owning import owners
from cdmd.config.governing import PrivacySettings
from cdmd.contracts import Clock, Holding, Naming, Store
from cdmd.control.documents import encoded
from cdmd.daemon.erasing import Erasures
from cdmd.errors import CdmdError, NotFound
from cdmd.kit.globs import Globs
from cdmd.models import Activity, Seq
from cdmd.privacy.screening import Pair

EXPORTS: Final = "exports"
"""The folder in the state directory that answers to requests for access are written to."""

_ANSWER: Final = re.compile(r"([0-9A-HJKMNP-TV-Z]{26})--?[0-9]+\.(?:jsonl|new)").fullmatch
"""An answer's name: the profile's public id and the request's number, and what a stop left of one that was being written."""

_NOTE: Final = "requests"
_LOOK: Final = 1.0
_AFTER_FAILURE: Final = 5.0
_PAGE: Final = 2_000
_BY: Final = "event"


class Requests:
    """``problem`` says why requests are not answered now. ``export`` gives the lines about whoever has an identifier."""

    def __init__(
        self,
        store: Store,
        erasures: Erasures,
        *,
        settings: Callable[[], PrivacySettings],
        naming: Callable[[], Naming],
        export: Callable[[Pair], Awaitable[AsyncGenerator[dict[str, Any], None]]],
        folder: Path,
        clock: Clock,
    ) -> None:
        self._store, self._erasures, self._settings, self._naming = store, erasures, settings, naming
        self._export, self._folder, self._clock = export, folder, clock
        self._reached: Seq | None = None
        self._parked = set[Seq]()
        self.problem: str | None = None
        self._log: Any = structlog.get_logger()

    async def run(self, *, task_status: "anyio.abc.TaskStatus[None]" = anyio.TASK_STATUS_IGNORED) -> None:
        """Answer what comes until cancelled."""
        task_status.started()
        while True:
            pause = _LOOK
            try:
                await self.look()
                self.problem = None
            except (CdmdError, OSError) as error:
                if self.problem is None:
                    self._log.warning("requests_failed", error=error)
                self.problem, pause = f"requests of customers are not answered: {error}", _AFTER_FAILURE
            await self._clock.sleep(pause)

    async def look(self) -> None:
        """Answer what is stored since the last look. Raises CdmdError and OSError; then it is looked at again."""
        settings, noted = self._settings(), Seq(int(await self._store.noted(_NOTE) or 0))
        upto = self._store.position
        # In this order: what is not parked any more is found among the activities.
        parked = (
            {seq for seq in await self._store.forgetting.waiting() if seq <= upto} if settings.requests_from else set[Seq]()
        )
        if settings.requests_from:
            await self._look_at(sorted(self._parked - parked), self._reached or noted, upto, settings)
        self._reached, self._parked = upto, parked
        if (safe := min(upto, Seq(min(parked, default=upto + 1) - 1))) != noted:
            await self._store.note(_NOTE, str(safe))

    async def _look_at(self, freed: Sequence[Seq], after: Seq, upto: Seq, settings: PrivacySettings) -> None:
        """Answer those of ``freed``, and all behind ``after`` up to ``upto``, page by page."""
        erase, tell = Globs(settings.erasure_requests), Globs(settings.access_requests)
        holding = Holding(_texts([*erase.patterns, *tell.patterns]))
        wanted = deque(seq for seq in freed if seq <= min(after, upto))
        while wanted or after < upto:
            begins = Seq(wanted[0] - 1) if wanted else after
            page = await self._store.forgetting.activities(holding, after=begins, limit=_PAGE)
            last = upto if page.last is None else min(page.last, upto)
            asked = {seq for seq in wanted if seq <= last}
            for one in page.held:
                if one.event.connector in settings.requests_from and (one.seq in asked or after < one.seq <= upto):
                    await self._answer(one, erase=erase.matches(one.event.type), tell=tell.matches(one.event.type))
            after = max(after, last)
            while wanted and wanted[0] <= last:
                wanted.popleft()

    async def _answer(self, one: Activity, *, erase: bool, tell: bool) -> None:
        """What the person of the event's strongest identifier asked for; access first, where it asks for both."""
        pairs = self._naming().usable(one.event.identifiers)
        if not pairs:
            return
        if tell:
            await self._tell(pairs[0], one.seq)
        if erase:
            await self._erasures.ask(pairs[0], self._naming(), by=_BY)
            self._log.info("erasure_requested", connector=one.event.connector, seq=one.seq)

    async def _tell(self, pair: Pair, seq: Seq) -> None:
        try:
            lines = [encoded(line) async for line in await self._export(pair)]
        except NotFound:
            return
        for one in (await owners(self._store, self._naming(), pair))[:1]:
            path = self._folder / f"{one.state.public}-{seq}.jsonl"
            await anyio.to_thread.run_sync(_write, path, lines)
            self._log.info("access_answered", seq=seq)


def answered_in(folder: Path) -> list[str]:
    """The public ids of the profiles that answers in the folder are about; none where it cannot be looked into. It blocks."""
    paths = list[Path]()
    with suppress(OSError):
        paths += folder.iterdir()
    return sorted(filter(None, map(_about, paths)))


def forget_exports(folder: Path, publics: Sequence[str]) -> tuple[int, list[str]]:
    """Remove the answers about these profiles: how many went, and what has to be done by hand. It blocks: for a thread.

    What else somebody put there stays.
    """
    theirs, gone, left = frozenset(publics), 0, list[str]()
    try:
        paths = sorted(folder.iterdir()) if publics else []
    except FileNotFoundError:
        return 0, []
    except OSError as error:
        begins = " or ".join(f"{public}-" for public in publics)
        return 0, [f"{folder} cannot be looked into ({error.strerror}): remove from it what begins with {begins}"]
    for path in paths:
        if _about(path) not in theirs:
            continue
        try:
            path.unlink(missing_ok=True)
            gone += 1
        except OSError as error:
            left.append(f"{path} cannot be removed ({error.strerror}): remove it")
    return gone, left


def _about(path: Path) -> str | None:
    """The public id of the profile that an answer is about; None where it is none of ours."""
    return found[1] if (found := _ANSWER(path.name)) else None


def _texts(globs: Sequence[str]) -> list[bytes]:
    """The longest plain part of each glob, in lower case as far as it is ASCII: an event of such a type has it in it."""
    return [max(glob.split("*"), key=len).encode().lower() for glob in globs]


def _write(path: Path, lines: Sequence[bytes]) -> None:
    path.parent.mkdir(mode=0o700, exist_ok=True)
    fresh = path.with_suffix(".new")
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "wb") as file:
        for line in lines:
            file.write(line + b"\n")
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
