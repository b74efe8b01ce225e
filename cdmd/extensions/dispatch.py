"""Which extensions see an event, in which order, and how many calls run at once.

A plan per event type is kept, so an event nobody listens to costs one look-up. Calls run in the tasks of their extension:
one task serves event after event for as long as nothing suspends, and another starts only when one really waits.
"""

import random
from collections import deque
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Final, Self

import anyio
import anyio.abc
import anyio.lowlevel

from cdmd.contracts import Clock, Extension
from cdmd.extensions.calling import Caller, ExtensionState, Registered, keys
from cdmd.extensions.performing import Limits
from cdmd.kit.spans import SpanContext
from cdmd.models import Apply, Event, Extended, Outcome

_PLANS: Final = 10_000
_BREATH: Final = 64
_FEW: Final = 64


def _nobody() -> None:
    """Who hears of a visit that is over."""


class Visit:
    """One event's way through its extensions. ``outcome`` is None until it ended; ``event`` is as far as it has come.

    ``extension`` names the one whose turn it is, ``called`` says whether that call began, ``attempts`` how often it failed
    before. ``trace`` are the calls that ended, ``began`` when each of them was made (monotonic seconds). ``ended`` is called
    once, on the event loop, when the outcome stands. ``span`` is the trace that it came with.
    """

    __slots__ = ("attempts", "began", "called", "ended", "event", "index", "outcome", "plan", "span", "trace", "withdrawn")

    def __init__(
        self,
        event: Event,
        plan: tuple[Caller, ...],
        *,
        index: int,
        attempts: int,
        ended: Callable[[], None],
        span: SpanContext | None = None,
    ) -> None:
        self.event, self.plan, self.index, self.attempts, self.ended, self.span = event, plan, index, attempts, ended, span
        self.trace: list[Extended] = []
        self.began: list[float] = []
        self.outcome: Outcome | None = None
        self.called = self.withdrawn = False

    def end(self) -> None:
        """Tell whom it concerns, once. Who was told is let go of: it holds the visit, and the circle all of an event."""
        ended, self.ended = self.ended, _nobody
        ended()

    @property
    def extension(self) -> str:
        """The extension whose turn it is."""
        return self.plan[self.index].key

    @property
    def remaining(self) -> float:
        """The most seconds that the calls still to come may take."""
        return sum(caller.extension.timeout for caller in self.plan[self.index :])


class _Line:
    """One extension's waiting events, the number of tasks that serve them, and how many of those wait within a call.

    Of those that wait some may be ``withdrawn``, and never more than half of many.
    """

    __slots__ = ("caller", "suspended", "tasks", "waiting", "withdrawn")

    def __init__(self, caller: Caller) -> None:
        self.caller, self.tasks, self.suspended, self.withdrawn = caller, 0, 0, 0
        self.waiting: deque[Visit] = deque()

    def withdraw(self, visit: Visit) -> None:
        """It waits no more. Where all calls hang nobody takes the next one for long, and events would pile up here."""
        visit.withdrawn = True
        self.withdrawn = min(self.withdrawn + 1, len(self.waiting))
        if self.withdrawn > _FEW and self.withdrawn * 2 > len(self.waiting):
            self.waiting = deque(one for one in self.waiting if not one.withdrawn)
            self.withdrawn = 0

    def next(self) -> Visit | None:
        """The next that waits; None where that was withdrawn."""
        visit = self.waiting.popleft()
        if not visit.withdrawn:
            return visit
        self.withdrawn -= 1
        return None


def _place(plan: tuple[Caller, ...], extension: str) -> tuple[int, bool]:
    """Where in the plan to go on, and whether that extension is still there; else from the first."""
    for index, caller in enumerate(plan):
        if caller.key == extension:
            return index, True
    return 0, False


class Extensions:
    """All registered extensions. Calls need the context open: ``async with extensions: ...``; leaving it ends them."""

    def __init__(
        self,
        registered: Sequence[Registered],
        *,
        clock: Clock,
        limits: Limits | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._limits, self._clock = limits or Limits(), clock
        self.registered = tuple(registered)
        self._lines: dict[str, _Line] = {}
        for key, one in zip(keys(self.registered), self.registered, strict=True):
            self._lines[key] = _Line(Caller(key, one, clock=clock, limits=self._limits, chance=chance))
        self._plans: dict[str, tuple[Caller, ...]] = {}
        self._tasks: anyio.abc.TaskGroup | None = None

    async def __aenter__(self) -> Self:
        self._tasks = await anyio.create_task_group().__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        tasks, self._tasks = self._tasks, None
        if tasks is None:
            return None
        tasks.cancel_scope.cancel()
        try:
            return await tasks.__aexit__(kind, error, trace)
        finally:
            for line in self._lines.values():
                line.waiting.clear()
                line.withdrawn = 0
                line.caller.function.threads.close()

    def plan(self, event_type: str) -> tuple[Caller, ...]:
        """The extensions that listen to this type, in order of registration; kept for the next event of the type."""
        plan = self._plans.get(event_type)
        if plan is None:
            if len(self._plans) >= _PLANS:
                self._plans.clear()
            plan = tuple(line.caller for line in self._lines.values() if line.caller.selects(event_type))
            self._plans[event_type] = plan
        return plan

    def start(
        self,
        event: Event,
        *,
        ended: Callable[[], None],
        extension: str = "",
        attempts: int = 0,
        span: SpanContext | None = None,
    ) -> Visit:
        """Put an event on its way; it goes on from ``extension`` where that still listens, else from the first.

        ``ended`` is never called before this returns: where nobody listens, the outcome stands then.
        """
        plan = self.plan(event.type)
        index, known = _place(plan, extension) if extension else (0, False)
        visit = Visit(event, plan, index=index, attempts=attempts if known else 0, ended=ended, span=span)
        if plan:
            self._go_on(visit)
        else:
            visit.outcome, visit.ended = Apply(), _nobody
        return visit

    async def run(self, event: Event, *, extension: str = "", attempts: int = 0) -> tuple[Event, Outcome, Sequence[Extended]]:
        """The event after its extensions, what becomes of it, and who was visited."""
        done = anyio.Event()
        visit = self.start(event, ended=done.set, extension=extension, attempts=attempts)
        try:
            if visit.outcome is None:
                await done.wait()
        finally:
            self.withdraw(visit)
        return visit.event, visit.outcome or Apply(), visit.trace

    def withdraw(self, visit: Visit) -> bool:
        """Take a visit that waits for its turn out of the line; False when its call already runs (or it ended)."""
        if visit.outcome is not None or visit.called:
            return False
        if visit.withdrawn:
            return True
        visit.ended = _nobody
        self._lines[visit.extension].withdraw(visit)
        return True

    def states(self) -> list[ExtensionState]:
        """One row for each extension, in order of registration."""
        return [
            line.caller.state(running=line.tasks, waiting=len(line.waiting) - line.withdrawn) for line in self._lines.values()
        ]

    def declared(self) -> dict[str, Extension]:
        """Each as its plugin declared it, by the name that tells it apart."""
        return {key: line.caller.extension for key, line in self._lines.items()}

    def withhold(self, plugin: str, why: str) -> None:
        """Let events wait for those extensions of the plugin that they must not pass by; none of them is called."""
        for line in self._lines.values():
            if line.caller.plugin == plugin and line.caller.extension.on_failure != "store":
                line.caller.withhold(why)

    def blame(self, extension: str, text: str) -> None:
        """Show ``text`` as that extension's last error."""
        if (line := self._lines.get(extension)) is not None:
            line.caller.blame(text)

    def _go_on(self, visit: Visit) -> None:
        if visit.index == len(visit.plan):
            visit.outcome = Apply()
        if visit.outcome is not None:
            visit.end()
            return
        line = self._lines[visit.extension]
        line.waiting.append(visit)
        if line.tasks == line.suspended:
            self._serve_more(line)

    def _serve_more(self, line: _Line) -> None:
        if self._tasks is not None and line.waiting and line.tasks < self._limits.calls:
            line.tasks += 1
            self._tasks.start_soon(self._serve, line, name=f"extension {line.caller.key}")

    async def _serve(self, line: _Line) -> None:
        served = 0
        try:
            while line.waiting:
                visit = line.next()
                if visit is None:
                    continue
                if await self._call(line, visit):
                    break
                served += 1
                if served % _BREATH == 0:
                    await anyio.lowlevel.checkpoint()
        finally:
            line.tasks -= 1
        self._serve_more(line)

    async def _call(self, line: _Line, visit: Visit) -> bool:
        """One call; True when this task's state can no longer be trusted (a coroutine had to be dropped)."""
        visit.called, waits, begun = True, False, self._clock.monotonic()

        def suspended() -> None:
            nonlocal waits
            waits = True
            line.suspended += 1
            self._serve_more(line)

        try:
            verdict = await line.caller.call(
                visit.event, attempts=visit.attempts, begun=begun, suspended=suspended, span=visit.span
            )
        finally:
            line.suspended -= waits
        visit.event, visit.outcome, visit.called = verdict.event, verdict.outcome, False
        visit.trace.append(verdict.visit)
        visit.began.append(begun)
        if visit.outcome is None:
            visit.index += 1
            visit.attempts = 0
        self._go_on(visit)
        return verdict.dropped
