import random
from collections.abc import Awaitable, Callable

import anyio
import httpx
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdmd.errors import NotDurable, RequestFailed
from cdmd.kit.grants import Claim
from cdmd.kit.quantities import Rate
from cdmd.kit.shared_budget import NOTIFIED, SCHEDULED, Saved, SharedBudget
from tests.kit.test_budget import most_in_a_window
from tests.kit.virtual import VirtualClock

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Disk:
    """Keeps what was saved last; ``failing`` refuses."""

    def __init__(self) -> None:
        self.saved: bytes | None = None
        self.writes = 0
        self.failing = False

    async def keep(self, value: bytes) -> None:
        await anyio.lowlevel.checkpoint()
        if self.failing:
            raise NotDurable("the disk is full", retry_after=7)
        self.saved, self.writes = value, self.writes + 1


class Host:
    """Notes when requests arrive, a random while after they were sent, and answers a random while later."""

    def __init__(self, clock: VirtualClock, *, seed: int = 1, slow: float = 0.5) -> None:
        self.clock, self.chance, self.slow = clock, random.Random(seed), slow
        self.arrivals: list[float] = []
        self.answers: list[httpx.Response] = []

    async def __call__(self) -> httpx.Response:
        await self.clock.sleep(self.chance.uniform(0, self.slow))
        self.arrivals.append(self.clock.elapsed)
        await self.clock.sleep(self.chance.uniform(0, self.slow))
        return self.answers.pop(0) if self.answers else httpx.Response(200)


def budget(clock: VirtualClock, *limits: str, disk: Disk | None = None, most_flying: int = 4) -> SharedBudget:
    return SharedBudget(
        [Rate.parse(limit) for limit in limits],
        clock=clock,
        chance=lambda: 0.0,
        keep=disk.keep if disk else None,
        saved=disk.saved if disk else None,
        most_flying=most_flying,
    )


async def fetch(one: SharedBudget, host: Callable[[], Awaitable[httpx.Response]], asker: str = "a", priority: int = 0) -> int:
    async with one.turn(asker, priority=priority) as turn:
        return (await turn.send(host)).status_code


@given(seed=st.integers(0, 10_000), limits=st.sampled_from([["3/2s"], ["10/1s", "12/5s"], ["100/10s"], ["2/1s", "30/1m"]]))
@settings(deadline=None, max_examples=25)
def test_no_limit_is_exceeded_over_restarts_at_any_moment(seed: int, limits: list[str]) -> None:
    """Each life is cut off while requests are under way; what arrives at the host is counted over all of them."""
    chance, disk, arrivals, now = random.Random(seed), Disk(), [], 0.0

    async def life(clock: VirtualClock) -> None:
        one, host = budget(clock, *limits, disk=disk), Host(clock, seed=seed, slow=0.2)

        async def ask(asker: str) -> None:
            while True:
                await fetch(one, host, asker)

        async def live() -> None:
            async with anyio.create_task_group() as group:
                for asker in "abc":
                    group.start_soon(ask, asker)
                await clock.sleep(chance.uniform(0.3, 6))
                group.cancel_scope.cancel()

        await clock.run(live)
        arrivals.extend(host.arrivals)

    for _ in range(4):
        clock = VirtualClock(now)
        anyio.run(life, clock)
        now = clock.elapsed + chance.uniform(0, 1)
    assert arrivals
    for limit in map(Rate.parse, limits):
        assert most_in_a_window(arrivals, limit.per) <= limit.count


async def test_what_is_allowed_is_used() -> None:
    clock = VirtualClock()
    one, host = budget(clock, "20/1s", disk=Disk()), Host(clock, slow=0.01)

    async def main() -> None:
        for _ in range(200):
            await fetch(one, host)

    await clock.run(main)
    assert 9.0 <= clock.elapsed <= 11.0, "two hundred at twenty a second take ten seconds"


async def test_a_lease_is_kept_before_it_is_used_and_serves_several() -> None:
    clock, disk = VirtualClock(), Disk()
    one = budget(clock, "100/1m", disk=disk)
    seen: list[int] = []

    async def host() -> httpx.Response:
        assert disk.saved is not None
        seen.append(sum(count for _, count in msgspec.msgpack.decode(disk.saved, type=Saved).marks))
        return httpx.Response(200)

    async def main() -> None:
        for _ in range(20):
            await fetch(one, host)

    await clock.run(main)
    assert all(promised >= place for place, promised in enumerate(seen, 1))
    assert disk.writes <= 5


async def test_a_pause_and_a_lowered_rate_survive_a_restart() -> None:
    clock, disk = VirtualClock(), Disk()
    host = Host(clock, slow=0.0)
    host.answers = [httpx.Response(429), httpx.Response(429, headers={"Retry-After": "600"})]

    async def first() -> None:
        one = budget(clock, "10/1s", disk=disk)
        await fetch(one, host)
        await fetch(one, host)

    await clock.run(first)
    later = VirtualClock(clock.elapsed + 5)
    one = budget(later, "10/1s", disk=disk)
    at, why = one.next_at()
    assert at is not None
    assert at >= clock.elapsed + 600
    assert "Retry-After" in why
    assert one._budget.share(later.elapsed) < 0.6


async def test_a_clock_that_was_set_back_blocks_nobody_for_ever() -> None:
    clock, disk = VirtualClock(10 * 86_400.0), Disk()
    host = Host(clock)
    host.answers = [httpx.Response(429, headers={"Retry-After": "60"})]

    async def first() -> None:
        await fetch(budget(clock, "1/1m", disk=disk), host)

    await clock.run(first)
    back = VirtualClock(0.0)
    at, _ = budget(back, "1/1m", disk=disk).next_at()
    assert at is not None
    assert at <= 86_400.0


async def test_while_the_disk_refuses_nothing_is_sent_and_it_goes_on_afterwards() -> None:
    clock, disk = VirtualClock(), Disk()
    one, host = budget(clock, "10/1s", disk=disk), Host(clock)
    disk.failing = True

    async def main() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(fetch, one, host)
            await clock.sleep(20)
            assert host.arrivals == []
            assert "disk" in one.next_at()[1]
            disk.failing = False

    await clock.run(main)
    assert len(host.arrivals) == 1


async def test_a_push_fetch_passes_nightly_pages_that_wait() -> None:
    clock = VirtualClock()
    one, order = budget(clock, "1/10s"), []

    async def ask(asker: str, priority: int) -> None:
        async with one.turn(asker, priority=priority) as turn:
            order.append(asker)
            await turn.send(Host(clock, slow=0.0))

    async def main() -> None:
        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(ask, "night", SCHEDULED)
            await clock.sleep(1)
            group.start_soon(ask, "push", NOTIFIED)

    await clock.run(main)
    assert order == ["night", "push", "night", "night"]


async def test_who_gives_up_waiting_and_a_turn_without_a_request_cost_nothing() -> None:
    clock = VirtualClock()
    one, host = budget(clock, "1/1h"), Host(clock, slow=0.0)

    async def main() -> None:
        async with one.turn("a"):
            with anyio.move_on_after(0.01):
                await fetch(one, host)
        assert one.waiting == 0
        await fetch(one, host)

    with anyio.fail_after(30):
        await clock.run(main)
    assert len(host.arrivals) == 1


async def test_a_request_that_fails_or_is_cut_off_counts_all_the_same() -> None:
    clock = VirtualClock()
    one = budget(clock, "2/1h")

    async def fails() -> httpx.Response:
        raise RequestFailed("the other side cannot be reached")

    async def main() -> None:
        with pytest.raises(RequestFailed):
            await fetch(one, fails)
        with anyio.move_on_after(0.01):
            await fetch(one, Host(clock, slow=100))
        at, _ = one.next_at()
        assert at is not None
        assert at >= 3600

    with anyio.fail_after(30):
        await clock.run(main)


async def test_a_turn_is_for_one_request() -> None:
    clock = VirtualClock()
    one, host = budget(clock), Host(clock, slow=0.0)
    async with one.turn("a") as turn:
        await turn.send(host)
        with pytest.raises(RuntimeError):
            await turn.send(host)


async def test_limits_that_change_are_obeyed_at_once() -> None:
    clock = VirtualClock()
    one, host = budget(clock, "1/1h", disk=Disk()), Host(clock, slow=0.0)

    async def main() -> None:
        await fetch(one, host)
        async with anyio.create_task_group() as group:
            group.start_soon(fetch, one, host)
            await clock.sleep(1)
            one.configure([Rate.parse("5/1s")])

    await clock.run(main)
    assert clock.elapsed < 5
    assert one.limits == (Rate.parse("5/1s"),)


async def test_many_leases_are_remembered_in_a_bounded_list() -> None:
    clock, disk = VirtualClock(), Disk()
    one, host = budget(clock, "1000/1d", "7/1s", disk=disk), Host(clock, slow=0.0)

    async def main() -> None:
        for _ in range(300):
            await fetch(one, host)

    await clock.run(main)
    assert disk.saved is not None
    marks = msgspec.msgpack.decode(disk.saved, type=Saved).marks
    assert len(marks) <= 64
    assert sum(count for _, count in marks) >= 300


async def test_looks_are_planned_within_what_notifications_and_a_429_leave() -> None:
    clock = VirtualClock()
    one, host = budget(clock, "3600/1h"), Host(clock, slow=0.01)
    wanted = Claim(arrivals=1.0, cost=1.0, least=1e-6, most=5.0)

    async def main() -> None:
        assert one.plan("crm.orders", wanted) == pytest.approx(0.8, rel=1e-6)
        assert one.plan("crm.contacts", wanted) == pytest.approx(0.4, rel=1e-6)
        for _ in range(3000):
            await fetch(one, host, "survey", NOTIFIED)
            await clock.sleep(1.0)
        left = one.plan("crm.orders", wanted)
        assert 0.1 < left < 0.25, "more than a fifth went to notifications"
        host.answers = [httpx.Response(429)]
        await fetch(one, host, "crm.orders", SCHEDULED)
        assert one.plan("crm.orders", wanted) < 0.7 * left

    await clock.run(main)


async def test_where_nothing_is_limited_everybody_plans_as_wanted() -> None:
    assert budget(VirtualClock()).plan("a", Claim(arrivals=1.0, cost=1.0, least=1e-6, most=5.0)) == 5.0


async def test_a_thousand_that_wait_do_not_look_up_at_every_step() -> None:
    clock = VirtualClock()
    one, host = budget(clock, "1000/1s", disk=Disk()), Host(clock, slow=0.01)
    first, asked = one._turns.first, 0

    def counted() -> object:
        nonlocal asked
        asked += 1
        return first()

    one._turns.first = counted

    async def main() -> None:
        async with anyio.create_task_group() as group:
            for place in range(1000):
                group.start_soon(fetch, one, host, f"crm_{place}")

    await clock.run(main)
    assert len(host.arrivals) == 1000
    assert asked < 20_000, "each of them looks up a few times, not at every step of all others"
