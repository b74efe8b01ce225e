"""Keeps each child alive alone: starts it, restarts it with back-off within a budget, and says how it is.

A child that raises, returns early, hangs when cancelled or calls sys.exit() touches no other. What a child does in between
is not supervised here: a child that never awaits blocks the loop, and a thread that it left behind stays.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Literal, Protocol, Self, TypeAlias

import anyio
import anyio.abc
import msgspec

from cdmd.errors import AddressRefused, CdmdError, NotFound, RequestFailed, SourceBlocked, SourceUnavailable
from cdmd.kit.backoff import Backoff, Budget
from cdmd.kit.detached import Ended, detach, end
from cdmd.kit.frames import leaf, sentence
from cdmd.kit.logs import escaped

Run: TypeAlias = Callable[[], Awaitable[object]]
State: TypeAlias = Literal["starting", "running", "degraded", "paused", "failed"]


class Time(Protocol):
    """The part of ``contracts.Clock`` that waiting needs."""

    def monotonic(self) -> float:
        """Seconds that only grow."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after ``seconds``."""
        ...


@dataclass(frozen=True, slots=True)
class Policy:
    """When a child is tried again. All in seconds.

    After ``settle`` alive without a word a child counts as running; after ``budget.failures`` failures in ``budget.seconds``
    it is ``failed`` and tried every ``retry``; ``stop`` is how long it may take to end when told, ``patience`` how much
    longer where it is in the middle of what must not be cut off.
    """

    backoff: Backoff = field(default_factory=Backoff)
    budget: Budget = field(default_factory=Budget)
    retry: float = 300.0
    settle: float = 5.0
    stop: float = 3.0
    patience: float = 17.0


class ChildState(msgspec.Struct, frozen=True, kw_only=True):
    """How one child is. ``since``: monotonic seconds when ``state`` began; ``error``: one sentence without any value."""

    name: str
    kind: str
    state: State
    error: str | None
    since: float
    restarts: int
    detail: str | None = None


@dataclass(slots=True, eq=False)
class _Child:
    name: str
    kind: str
    run: Run | None
    uncut: Callable[[], bool] = lambda: False
    state: State = "starting"
    error: str | None = None
    detail: str | None = None
    since: float = 0.0
    restarts: int = 0
    failures: tuple[float, ...] = ()
    paused: bool = False
    leaving: bool = False
    hopeless: bool = False
    told: bool = False
    poked: anyio.Event = field(default_factory=anyio.Event)
    rested: anyio.Event = field(default_factory=anyio.Event)
    gone: anyio.Event = field(default_factory=anyio.Event)

    @property
    def wanted(self) -> bool:
        return not self.paused and not self.leaving


_LONGEST: Final = 1_000
EARLY: Final = "it ended by itself, which it should not"
UNSTOPPABLE: Final = "it does not stop when told and was abandoned: it is tried again once it ended, or the daemon is restarted"


class Supervisor:
    """An async context manager; leaving it stops every child. ``random()`` draws from [0, 1).

    ``on_change`` is told each new state of a child and must neither raise nor wait.
    """

    def __init__(
        self,
        *,
        clock: Time,
        random: Callable[[], float],
        on_change: Callable[[ChildState], None] = lambda _: None,
        policy: Policy | None = None,
    ) -> None:
        self._clock, self._random, self._on_change = clock, random, on_change
        self._policy = policy or Policy()
        self._children: dict[str, _Child] = {}
        self._abandoned: dict[str, Callable[[], bool]] = {}
        self._group: anyio.abc.TaskGroup | None = None
        self._keepers = 0
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        self._group = await self._stack.enter_async_context(anyio.create_task_group())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        with anyio.CancelScope(shield=True):  # bounded: every child has its time (``Policy``), all at once
            await self.stop_all()
        self._group = None
        return await self._stack.__aexit__(kind, error, trace)

    async def run(self, *, task_status: "anyio.abc.TaskStatus[None]" = anyio.TASK_STATUS_IGNORED) -> None:
        """Be the context manager until cancelled, as one task of a task group."""
        async with self:
            task_status.started()
            await anyio.sleep_forever()

    def start(self, name: str, run: Run, *, kind: str, paused: bool = False, uncut: Callable[[], bool] = lambda: False) -> None:
        """Keep ``run`` alive under ``name`` from now on; ``uncut`` says whether it does what must not be cut off.

        Raises ValueError when the name is taken, RuntimeError outside.
        """
        if self._group is None:
            raise RuntimeError("the supervisor is not running")
        if name in self._children:
            raise ValueError(f"{name} is started already")
        child = self._children[name] = _Child(name, kind, run, uncut, paused=paused, since=self._clock.monotonic())
        self._keepers += 1
        self._group.start_soon(self._keep, child, name=f"keep {name}")

    async def stop(self, name: str) -> bool:
        """End the child and forget it. False: it did not end in time (``Policy``) and was abandoned."""
        await self._leave(self._child(name))
        return name not in self.abandoned()

    async def stop_all(self) -> list[str]:
        """End every child at once; returns the names of those that were abandoned."""
        async with anyio.create_task_group() as group:
            for child in list(self._children.values()):
                group.start_soon(self._leave, child)
        return self.abandoned()

    async def pause(self, name: str) -> None:
        """End the child's task and keep it so until ``resume``; returns when it has ended (or was abandoned)."""
        child = self._child(name)
        child.paused = True
        if child.run is None:
            self._change(child, "paused")
            return
        child.poked.set()
        await child.rested.wait()

    def resume(self, name: str) -> None:
        """Let a paused child go on, or a failed one try now, with a fresh restart budget."""
        child = self._child(name)
        child.paused, child.hopeless, child.failures = False, False, ()
        child.rested.set()
        child.rested = anyio.Event()
        if child.run is None:
            self._change(child, "running")
        child.poked.set()

    def started(self, name: str, detail: str | None = None) -> None:
        """The child says that it is ready."""
        child = self._child(name)
        child.detail = detail
        child.hopeless = False
        if child.state in {"starting", "degraded"}:
            self._change(child, "running")

    def mark(self, name: str, state: State, error: str | None = None, *, kind: str = "push", detail: str | None = None) -> None:
        """Say how a child is: the only word about one without a task (a push connector), which this also makes known.

        A paused child stays paused.
        """
        child = self._children.setdefault(name, _Child(name, kind, None, since=self._clock.monotonic()))
        child.detail = detail
        if not child.paused:
            self._change(child, state, error)

    def state(self, name: str) -> ChildState:
        """How one child is. Raises ``NotFound``."""
        return self._view(self._child(name))

    def states(self) -> list[ChildState]:
        """How every child is, in the order they were started."""
        return [self._view(child) for child in self._children.values()]

    def abandoned(self) -> list[str]:
        """Names of children that did not end when told and still go on."""
        return [name for name, alive in self._abandoned.items() if alive()]

    def healthy(self) -> bool:
        """True while every child with a task has its keeper: what the watchdog asks, whatever the children's own state."""
        return self._group is not None and self._keepers == sum(child.run is not None for child in self._children.values())

    async def _leave(self, child: _Child) -> None:
        child.leaving = True
        if child.run is None:
            self._children.pop(child.name, None)
            return
        child.poked.set()
        await child.gone.wait()  # its keeper has then forgotten it, and the name may already be another's

    # ---- keeping one child -----------------------------------------------------------------------------------------

    async def _keep(self, child: _Child) -> None:
        try:
            while not child.leaving:
                if child.paused:
                    self._change(child, "paused")
                    child.rested.set()
                    await self._wait(child, None, until=lambda: not child.paused or child.leaving)
                else:
                    await self._try(child)
        finally:
            self._keepers -= 1
            self._children.pop(child.name, None)
            child.rested.set()
            child.gone.set()

    async def _try(self, child: _Child) -> None:
        if child.name in self.abandoned():
            await self._rest(child, UNSTOPPABLE, hopeless=True)
            return
        child.detail = None
        self._change(child, "starting", child.error)
        ended, told = await self._live(child)
        if child.wanted and not told:  # who was told and is wanted again meanwhile has failed at nothing
            await self._rest(child, _reason(ended), hopeless=isinstance(ended, SourceBlocked))

    async def _live(self, child: _Child) -> tuple[Ended, bool]:
        """Run the child until it ends or is no longer wanted, and then end it: how it ended, and whether it was told to."""
        assert child.run is not None  # noqa: S101 - only children with a task have a keeper
        task = detach(child.run, name=child.name)
        task.add_done_callback(lambda _: child.poked.set())
        try:
            await self._wait(child, self._policy.settle, until=lambda: task.done() or not child.wanted)
            if not task.done() and child.wanted and child.state == "starting":
                self.started(child.name, child.detail)
            await self._wait(child, None, until=lambda: task.done() or not child.wanted)
        finally:
            told = not task.done()
            with anyio.CancelScope(shield=True):
                ended = await end(task, seconds=self._policy.stop)
                if not ended and not (child.uncut() and await end(task, seconds=self._policy.patience)):
                    self._abandoned[child.name] = lambda: not task.done()
        return (task.result() if task.done() else None), told

    async def _rest(self, child: _Child, error: str, *, hopeless: bool = False) -> None:
        """After a failure: the back-off's delay, or the long one when the budget is spent."""
        now, policy = self._clock.monotonic(), self._policy
        child.failures = policy.budget.recent((*child.failures, now), now)
        child.hopeless = child.hopeless or hopeless or policy.budget.spent(child.failures, now)
        child.restarts += 1
        seconds = policy.retry if child.hopeless else policy.backoff.delay(len(child.failures), self._random())
        self._change(child, "failed" if child.hopeless else "degraded", error, detail=f"tried again in {seconds:.0f} s")
        await self._wait(child, seconds, until=lambda: not child.wanted or not child.failures)

    async def _wait(self, child: _Child, seconds: float | None, *, until: Callable[[], bool]) -> None:
        """Return after ``seconds`` or as soon as ``until`` holds; it is looked at whenever the child is poked."""
        async with anyio.create_task_group() as group:
            if seconds is not None:
                group.start_soon(self._after, seconds, group.cancel_scope)
            while not until():
                await child.poked.wait()
                child.poked = anyio.Event()
            group.cancel_scope.cancel()

    async def _after(self, seconds: float, over: anyio.CancelScope) -> None:
        await self._clock.sleep(seconds)
        over.cancel()

    # ---- what is said ----------------------------------------------------------------------------------------------

    def _change(self, child: _Child, state: State, error: str | None = None, *, detail: str | None = None) -> None:
        if detail is not None:
            child.detail = detail
        if child.told and (child.state, child.error) == (state, error):
            return
        if child.state != state:
            child.since = self._clock.monotonic()
        child.state, child.error, child.told = state, error, True
        self._on_change(self._view(child))

    def _view(self, child: _Child) -> ChildState:
        return ChildState(
            name=child.name,
            kind=child.kind,
            state=child.state,
            error=child.error,
            since=child.since,
            restarts=child.restarts,
            detail=child.detail,
        )

    def _child(self, name: str) -> _Child:
        try:
            return self._children[name]
        except KeyError:
            raise NotFound(f"there is no connector named {name}") from None


def _reason(ended: Ended) -> str:
    """One sentence: our own errors by their class's sentence, foreign ones by class and place; hardly ever a message."""
    if ended is None:
        return EARLY
    error = leaf(ended)
    if isinstance(error, SourceUnavailable | RequestFailed | AddressRefused):  # their messages name hosts of the configuration
        return escaped(str(error), longest=_LONGEST)
    if isinstance(error, CdmdError) and (text := type(error).__doc__):
        return text.partition("\n")[0]
    return sentence(error)


def summary(states: Sequence[ChildState]) -> str:
    """``1 failed, 2 running``: for systemd's status line."""
    counts = Counter(child.state for child in states)
    return ", ".join(f"{count} {state}" for state, count in sorted(counts.items())) or "no connectors"
