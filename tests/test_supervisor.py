import asyncio
import heapq
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio
import anyio.lowlevel
import pytest

from cdmd.errors import NotDurable, NotFound, SourceBlocked, SourceUnavailable
from cdmd.kit.backoff import Backoff, Budget
from cdmd.supervisor import EARLY, UNSTOPPABLE, ChildState, Policy, Supervisor, summary

pytestmark = pytest.mark.anyio


class Hands:
    """A clock whose sleepers wake when a test moves it."""

    def __init__(self) -> None:
        self.time, self.sleepers, self.count = 100.0, list[tuple[float, int, anyio.Event]](), 0

    def monotonic(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.count += 1
        woken = anyio.Event()
        heapq.heappush(self.sleepers, (self.time + seconds, self.count, woken))
        await woken.wait()

    async def move(self, seconds: float) -> None:
        end = self.time + seconds
        await anyio.wait_all_tasks_blocked()
        while self.sleepers and self.sleepers[0][0] <= end:
            self.time, _, woken = heapq.heappop(self.sleepers)
            woken.set()
            await anyio.wait_all_tasks_blocked()
        self.time = end


class Child:
    """Runs as it is told: counts its lives, and ends each with the next of ``ends`` (an exception, or None to return)."""

    def __init__(self, *ends: BaseException | None) -> None:
        self.ends, self.lives, self.cancelled = list(ends), 0, 0

    async def __call__(self) -> None:
        self.lives += 1
        if self.ends:
            if (error := self.ends.pop(0)) is not None:
                raise error
            return
        try:
            await anyio.sleep_forever()
        finally:
            self.cancelled += 1


POLICY = Policy(backoff=Backoff(first=1, cap=60), budget=Budget(5, 300), retry=300, settle=5, stop=0.1)


@asynccontextmanager
async def supervised(**kw) -> AsyncIterator[tuple[Supervisor, Hands, list[ChildState]]]:
    hands, seen = Hands(), list[ChildState]()
    with anyio.fail_after(30):
        async with Supervisor(clock=hands, random=lambda: 0.999, on_change=seen.append, policy=POLICY, **kw) as supervisor:
            yield supervisor, hands, seen


async def test_a_child_is_starting_until_it_says_that_it_is_ready() -> None:
    async with supervised() as (supervisor, hands, seen):
        supervisor.start("a", Child(), kind="pull")
        await hands.move(1)
        assert supervisor.state("a").state == "starting"
        supervisor.started("a", "listening")
        assert supervisor.state("a").state == "running"
        assert [state.state for state in seen] == ["starting", "running"]
        assert supervisor.state("a").detail == "listening"


async def test_a_child_that_lives_without_a_word_counts_as_running() -> None:
    async with supervised() as (supervisor, hands, _):
        supervisor.start("a", Child(), kind="pull")
        await hands.move(5)
        assert supervisor.state("a").state == "running"
        assert supervisor.state("a").since == 105


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        (None, EARLY),
        (ValueError("joe@example.com"), "it raised ValueError in"),
        (SystemExit(3), "it raised SystemExit in"),
        (KeyboardInterrupt(), "it raised KeyboardInterrupt in"),
        (asyncio.CancelledError(), "it raised asyncio.CancelledError in"),
        (BaseExceptionGroup("x", [KeyError("secret")]), "it raised KeyError"),
        (NotDurable("secret"), "The journal cannot make this durable now"),
    ],
)
async def test_a_child_that_dies_is_restarted_and_touches_no_other(end: BaseException | None, reason: str) -> None:
    other = Child()
    async with supervised() as (supervisor, hands, _):
        child = Child(end)
        supervisor.start("other", other, kind="pull")
        supervisor.start("a", child, kind="pull")
        await hands.move(0)
        state = supervisor.state("a")
        assert (state.state, state.restarts) == ("degraded", 1)
        assert state.error is not None
        assert reason in state.error
        assert "joe@" not in state.error
        assert "secret" not in state.error
        await hands.move(1)
        assert child.lives == 2
        assert (other.lives, other.cancelled) == (1, 0)
        assert supervisor.healthy()


async def test_restarts_back_off_until_the_budget_is_spent_and_then_come_every_five_minutes() -> None:
    async with supervised() as (supervisor, hands, _):
        child = Child(*[OSError()] * 7)
        supervisor.start("a", child, kind="pull")
        lives = []
        for seconds in (0, 1, 2, 4, 8):
            await hands.move(seconds)
            lives.append(child.lives)
        assert lives == [1, 2, 3, 4, 5]
        assert supervisor.state("a").state == "failed"
        await hands.move(299)
        assert child.lives == 5
        await hands.move(1)
        assert (child.lives, supervisor.state("a").state) == (6, "failed")
        await hands.move(300)
        assert (child.lives, supervisor.state("a").state) == (7, "failed")
        await hands.move(305)
        assert (child.lives, supervisor.state("a").state, supervisor.state("a").error) == (8, "running", None)


async def test_resume_tries_a_failed_child_at_once_with_a_fresh_budget() -> None:
    async with supervised() as (supervisor, hands, _):
        child = Child(*[OSError()] * 6)
        supervisor.start("a", child, kind="pull")
        await hands.move(20)
        assert supervisor.state("a").state == "failed"
        supervisor.resume("a")
        await hands.move(0)
        assert (child.lives, supervisor.state("a").state) == (6, "degraded")


async def test_one_that_is_resumed_while_it_is_still_ending_goes_on_and_has_failed_at_nothing() -> None:
    ending, lives = anyio.Event(), 0

    async def slow() -> None:
        nonlocal lives
        lives += 1
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await ending.wait()

    seen: list[ChildState] = []
    policy = Policy(stop=30)
    async with Supervisor(clock=Hands(), random=lambda: 0.5, on_change=seen.append, policy=policy) as supervisor:
        supervisor.start("slow", slow, kind="test")
        await anyio.wait_all_tasks_blocked()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(supervisor.pause, "slow")
            await anyio.wait_all_tasks_blocked()
            supervisor.resume("slow")
        ending.set()
        with anyio.fail_after(10):
            while lives < 2:
                await anyio.lowlevel.checkpoint()
        assert supervisor.state("slow").restarts == 0
    assert [one.error for one in seen] == [None] * len(seen)


async def test_a_paused_child_has_no_task_and_goes_on_when_resumed() -> None:
    async with supervised() as (supervisor, hands, _):
        child = Child()
        supervisor.start("a", child, kind="pull")
        await hands.move(5)
        await supervisor.pause("a")
        assert (child.cancelled, supervisor.state("a").state) == (1, "paused")
        supervisor.mark("a", "running")
        assert supervisor.state("a").state == "paused"
        await supervisor.pause("a")
        supervisor.resume("a")
        await hands.move(5)
        assert (child.lives, supervisor.state("a").state) == (2, "running")


async def test_a_child_may_be_started_paused_and_stopped_so() -> None:
    async with supervised() as (supervisor, hands, _):
        child = Child()
        supervisor.start("a", child, kind="pull", paused=True)
        await hands.move(0)
        assert (child.lives, supervisor.state("a").state) == (0, "paused")
        assert await supervisor.stop("a")
        assert supervisor.states() == []


async def test_pause_during_back_off_ends_the_waiting() -> None:
    async with supervised() as (supervisor, hands, _):
        child = Child(OSError())
        supervisor.start("a", child, kind="pull")
        await hands.move(0)
        await supervisor.pause("a")
        await hands.move(1000)
        assert (child.lives, supervisor.state("a").state) == (1, "paused")


async def test_a_stopped_child_is_forgotten_and_its_name_free() -> None:
    async with supervised() as (supervisor, hands, _):
        child = Child()
        supervisor.start("a", child, kind="pull")
        await hands.move(0)
        with pytest.raises(ValueError, match="started already"):
            supervisor.start("a", child, kind="pull")
        assert await supervisor.stop("a")
        with pytest.raises(NotFound):
            supervisor.state("a")
        supervisor.start("a", child, kind="pull")
        await hands.move(0)
        assert child.lives == 2


@pytest.mark.parametrize(("uncut", "ended"), [(True, True), (False, False)])
async def test_what_must_not_be_cut_off_gets_more_time_to_end(*, uncut: bool, ended: bool) -> None:
    release, told = anyio.Event(), 0

    async def exchanging() -> None:
        nonlocal told
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                told += 1
                if told == 3:  # each span of time tells it twice
                    release.set()

    async with supervised() as (supervisor, hands, _):
        supervisor.start("a", exchanging, kind="pull", uncut=lambda: uncut)
        await hands.move(0)
        assert await supervisor.stop("a") is ended
        release.set()


async def test_a_child_that_ignores_cancellation_is_abandoned_named_and_not_run_twice() -> None:
    release, lives = anyio.Event(), 0

    async def stubborn() -> None:
        nonlocal lives
        lives += 1
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    other = Child()
    async with supervised() as (supervisor, hands, _):
        supervisor.start("a", stubborn, kind="pull")
        supervisor.start("b", other, kind="pull")
        await hands.move(0)
        assert not await supervisor.stop("a")
        assert supervisor.abandoned() == ["a"]
        supervisor.start("a", stubborn, kind="pull")
        await hands.move(0)
        assert (lives, supervisor.state("a").state, supervisor.state("a").error) == (1, "failed", UNSTOPPABLE)
        release.set()
        await hands.move(300)
        assert lives == 2
        assert other.cancelled == 0


async def test_leaving_ends_every_child_at_once_also_when_cancelled() -> None:
    children = [Child() for _ in range(50)]
    with anyio.CancelScope() as scope:
        async with supervised() as (supervisor, hands, _):
            for number, child in enumerate(children):
                supervisor.start(str(number), child, kind="pull")
            await hands.move(0)
            scope.cancel()
            await anyio.sleep_forever()
    assert [child.cancelled for child in children] == [1] * 50
    assert not supervisor.healthy()


async def test_a_push_connector_is_what_the_edge_says_it_is() -> None:
    async with supervised() as (supervisor, _, seen):
        supervisor.mark("hook", "running")
        supervisor.mark("hook", "degraded", "every signature was wrong")
        assert supervisor.state("hook").error == "every signature was wrong"
        await supervisor.pause("hook")
        supervisor.resume("hook")
        assert [state.state for state in seen] == ["running", "degraded", "paused", "running"]
        assert supervisor.healthy()
        assert await supervisor.stop("hook")


async def test_the_same_state_is_told_once() -> None:
    async with supervised() as (supervisor, _, seen):
        for _ in range(3):
            supervisor.mark("hook", "running")
        assert len(seen) == 1


async def test_it_runs_as_one_task_of_a_group() -> None:
    supervisor = Supervisor(clock=Hands(), random=lambda: 0.5)
    with pytest.raises(RuntimeError):
        supervisor.start("a", Child(), kind="pull")
    async with anyio.create_task_group() as group:
        await group.start(supervisor.run)
        assert supervisor.healthy()
        group.cancel_scope.cancel()


def test_a_summary_counts_states() -> None:
    state: Callable[..., ChildState] = lambda s: ChildState(name="", kind="", state=s, error=None, since=0, restarts=0)  # noqa: E731
    assert summary([state("running"), state("failed"), state("running")]) == "1 failed, 2 running"
    assert summary([]) == "no connectors"


async def test_what_a_source_says_of_its_other_side_is_shown_and_one_that_waits_for_somebody_is_failed_at_once() -> None:
    async with supervised() as (supervisor, hands, _):
        supervisor.start("away", Child(SourceUnavailable("sftp.example\n cannot be reached")), kind="pull")
        supervisor.start("blocked", Child(SourceBlocked("no host key is pinned")), kind="pull")
        await hands.move(0)
        away, blocked = supervisor.state("away"), supervisor.state("blocked")
        assert (away.state, away.error) == ("degraded", r"sftp.example\x0a cannot be reached")
        assert (blocked.state, blocked.error, blocked.detail) == ("failed", "no host key is pinned", "tried again in 300 s")
