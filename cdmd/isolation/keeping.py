"""Keeps a plugin's process alive: starts it, ends it when it misbehaves, starts it again with back-off within a budget.

To the extensions' callers (``cdmd.extensions``) each of its functions looks like one of ours. Not here: what is said to the
process and heard from it (``process``).
"""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final

import anyio
import anyio.abc
import anyio.to_thread
import msgspec
import structlog

from cdmd.contracts import Context, Extension
from cdmd.errors import SourceUnavailable
from cdmd.extensions.performing import Failure, NotCalled
from cdmd.isolation.messages import Begin, Line, Noticed, Ready, headers_of
from cdmd.isolation.process import AGAIN, Ended, Process
from cdmd.kit.children import Child, plain_environment, spawn
from cdmd.kit.logs import escaped
from cdmd.kit.measures import size
from cdmd.kit.memory import resident
from cdmd.models import Event
from cdmd.supervisor import State, Supervisor

LOADING: Final = 15.0
ENDING: Final = 6.0
"""Seconds for being ready, and for ending when it is told."""

_NOT_ITS: Final = frozenset(("ts", "level", "event", "plugin", "self", "method_name"))
"""Keys of a log line that are ours, or the names of what the logger is called with."""

_LOOK: Final = 1.0
_LONG: Final = 30.0
"""Seconds until an event is looked at again that needs a process which is let alone for minutes."""


class ProcessState(msgspec.Struct, frozen=True, kw_only=True):
    """How a plugin's process is. ``reason`` is why the last one ended, or why there is none; ``memory`` in bytes is resident.

    ``kernel``: whether the kernel itself keeps it from the daemon's files, ``signals`` from signalling other processes.
    """

    state: State
    pid: int | None
    memory: int | None
    max_memory: int | None
    restarts: int
    reason: str | None
    kernel: bool
    signals: bool


class Isolated:
    """One plugin's process. ``begin`` is what it is given; ``extensions`` are what it declared when it was asked.

    ``started`` is told how the plugin was once it was loaded, ``blame`` what it was seen doing: which extension, or
    the plugin as a whole (None).
    """

    def __init__(
        self,
        begin: Begin,
        extensions: Sequence[Extension],
        *,
        supervisor: Supervisor,
        started: Callable[[Ready], None],
        blame: Callable[[str | None, str], None],
    ) -> None:
        self.name, self._begin, self._supervisor = begin.plugin, begin, supervisor
        self._declared = tuple(extensions)
        self._extensions = [
            msgspec.structs.replace(one, function=_Function(partial(self._call, place))) for place, one in enumerate(extensions)
        ]
        self._started, self._blame = started, blame
        self._child: Child | None = None
        self._process: Process | None = None
        self._reason: str | None = None
        self._memory: int | None = None
        self._restarts, self._kernel, self._signals, self._stopping = 0, False, False, False
        self.settled, self._gone = anyio.Event(), anyio.Event()
        self._gone.set()
        self._log: Any = structlog.get_logger("cdmd.isolation")

    def extensions(self) -> list[Extension]:
        """They listen as the plugin's own, and their functions are called in its process."""
        return list(self._extensions)

    def state(self) -> ProcessState:
        """How it is now."""
        pid = None if self._child is None else self._child.pid
        return ProcessState(
            state=self._state(),
            pid=pid,
            memory=None if pid is None else self._memory,
            max_memory=self._begin.max_memory,
            restarts=self._restarts,
            reason=self._reason,
            kernel=self._kernel,
            signals=self._signals,
        )

    async def stop(self) -> None:
        """Tell it that the daemon ends, and wait until it has ended or is ended."""
        self._stopping = True
        if self._process is not None:
            self._process.end()
        elif self._child is not None:  # it is loading the plugin still, and is told nothing
            self._child.kill()
        with anyio.move_on_after(ENDING):
            await self._gone.wait()

    async def live(self) -> None:
        """One process, from its start to its end; none any more once it was told to stop.

        Raises ``SourceUnavailable`` with why it ended.
        """
        if self._stopping:
            await anyio.sleep_forever()
        child, loop = None, asyncio.get_running_loop()
        try:
            child = spawn("cdmd.isolation.child", environment=plain_environment(os.environ))
            _, process = await loop.create_connection(lambda: Process(self._begin, self._declared, self), sock=child.socket)
        except BaseException as error:
            if child is not None:
                child.end()
            if not isinstance(error, OSError):
                raise
            self._note(reason := f"its process cannot be started: {error.strerror}")
            raise SourceUnavailable(reason) from error
        self._child, self._gone = child, anyio.Event()
        over = Ended("its process was ended")
        try:
            over = await self._watched(child, process)
        finally:
            self._process = self._child = None
            process.close(over)
            child.kill()
            with anyio.CancelScope(shield=True):
                await child.ended()  # nothing keeps SIGKILL back
            child.close()
            self._gone.set()
        self._note(over.reason)
        raise SourceUnavailable(over.reason)

    def _note(self, reason: str) -> None:
        if not self._stopping:
            self._reason = reason
            self._restarts += 1
            self._log.error("isolated_process_ended", plugin=self.name, error=reason, restarts=self._restarts)
        self.settled.set()

    async def _watched(self, child: Child, process: Process) -> Ended:
        """Why it is over: it ended, it misbehaved, or it took too much memory."""
        found: list[Ended] = []
        async with anyio.create_task_group() as tasks:

            async def first(wait: Callable[[], Awaitable[Ended]]) -> None:
                found.append(await wait())
                tasks.cancel_scope.cancel()

            tasks.start_soon(first, partial(self._end, child))
            tasks.start_soon(first, partial(self._fault, process))
            tasks.start_soon(first, partial(self._too_large, child))
            await self._begun(process, tasks.cancel_scope, found)
        return found[0]

    async def _begun(self, process: Process, scope: anyio.CancelScope, found: list[Ended]) -> None:
        with anyio.move_on_after(LOADING):
            ready = await asyncio.shield(process.ready)
            self._kernel, self._signals = ready.kernel, ready.signals
            self._started(ready)
            self._process = process
            self._supervisor.started(self.name)
            self.settled.set()
            return
        found.append(Ended(f"it was not loaded within {LOADING:g} s"))
        scope.cancel()

    @staticmethod
    async def _end(child: Child) -> Ended:
        return Ended(_how(await child.ended()))

    @staticmethod
    async def _fault(process: Process) -> Ended:
        return await asyncio.shield(process.fault)

    async def _too_large(self, child: Child) -> Ended:
        most = self._begin.max_memory
        while True:
            self._memory = await anyio.to_thread.run_sync(resident, child.pid)
            if most is not None and (self._memory or 0) > most:
                return Ended(f"its process was ended: it took more than {size(most)}, its isolate.max_memory")
            await anyio.sleep(_LOOK)

    async def _call(self, place: int, event: Event, context: Context) -> Event | None:
        if self._process is not None:
            return await self._process.call(place, event, headers_of(context))
        if self._state() != "failed":
            raise NotCalled(AGAIN, "its process is being started")
        why = f"its process does not run: {self._reason}"
        raise Failure(why) if self._declared[place].on_failure == "store" else NotCalled(_LONG, why)

    def _state(self) -> State:
        kept = next((one.state for one in self._supervisor.states() if one.name == self.name), None)
        return "starting" if kept is None or (kept == "running" and self._process is None) else kept

    # ---- what it says ------------------------------------------------------------------------------------------------

    def line(self, said: Line) -> None:
        """In the daemon's log, under the plugin's name."""
        line = {key: one for key, one in said.line.items() if key not in _NOT_ITS}
        event = said.line.get("event")
        getattr(self._log, said.level)(event, **line, plugin=self.name)

    def noticed(self, said: Noticed) -> None:
        """In its row, and in the log."""
        known = said.extension is not None and 0 <= said.extension < len(self._declared)
        name = self._declared[said.extension or 0].name if known else None
        text = escaped(said.text)
        self._log.warning("isolated_extension_noticed", plugin=self.name, extension=name, error=text)
        self._blame(name, text)


class _Function:
    """What stands for a function that is elsewhere."""

    def __init__(self, call: Callable[[Event, Context], Awaitable[Event | None]]) -> None:
        self._call_it = call

    async def __call__(self, event: Event, context: Context) -> Event | None:
        return await self._call_it(event, context)


def _how(status: int) -> str:
    if status >= 0:
        return f"its process ended by itself with status {status}"
    try:
        return f"its process was ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"its process was ended by signal {-status}"
