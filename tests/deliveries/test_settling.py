"""When what became of deliveries is written: at once, then together, and never later than somebody waits for."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from cdmd.deliveries import settling
from cdmd.deliveries.sending import _pause
from cdmd.deliveries.settling import Settling
from cdmd.kit.clock import SystemClock
from cdmd.models import Attempt, Delivery, Micros, Settled

pytestmark = pytest.mark.anyio


class Outbox:
    """Remembers what is written together."""

    def __init__(self) -> None:
        self.written: list[list[int]] = []
        self.changed = anyio.Event()

    async def settle(self, settled: Sequence[Settled]) -> None:
        self.written.append([one.delivery.n for one in settled])
        self.changed.set()
        self.changed = anyio.Event()

    async def until(self, count: int) -> None:
        with anyio.fail_after(30):
            while len(self.written) < count:
                await self.changed.wait()


@asynccontextmanager
async def resting(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Settling, Outbox]]:
    """One whose rest does not end by itself."""
    monkeypatch.setattr(settling, "_REST", 3600.0)
    outbox: Any = Outbox()
    one = Settling(outbox, clock=SystemClock(), done=lambda settled: None)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(one.run)
        yield one, outbox
        tasks.cancel_scope.cancel()


def settled(n: int, *, lane: int | None = None) -> Settled:
    one = Delivery(id=f"d{n}", target="crm", type="order.paid", at=Micros(n), body=b"{}", n=n, lane=lane)
    attempt = Attempt(at=Micros(n), target="crm", id=one.id, type=one.type, attempt=1, outcome="delivered")
    return Settled(delivery=one, attempt=attempt)


async def test_the_first_is_written_at_once_and_what_follows_together(monkeypatch: pytest.MonkeyPatch) -> None:
    async with resting(monkeypatch) as (one, outbox):
        one.put([settled(1)])
        await outbox.until(1)
        for n in (2, 3):
            one.put([settled(n)])
            await anyio.wait_all_tasks_blocked()
        assert outbox.written == [[1]]
        await one.flush(5.0)
        assert outbox.written == [[1], [2, 3]]


async def test_nobody_who_waits_is_kept_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    async with resting(monkeypatch) as (one, outbox):
        one.put([settled(1)])
        await outbox.until(1)
        one.put([settled(2)])
        one.put([settled(3, lane=7)])  # the next of its lane may go when it is written
        await outbox.until(2)
        with anyio.fail_after(30):
            await one.wait([settled(4)])
        one.put([settled(n) for n in range(10, 10 + settling._MOST)])
        await outbox.until(4)
        assert [len(some) for some in outbox.written] == [1, 2, 1, settling._MOST]


@pytest.mark.parametrize(
    ("due", "seconds"),
    [(None, 30.0), (900, 0.5), (1_000, 0.5), (1_500, 0.0), (3_000_000, 2.998), (90_000_000, 30.0)],
    ids=["nothing waits", "on its way", "on its way since now", "due meanwhile", "due later", "due much later"],
)
def test_how_long_nobody_looks(due: int | None, seconds: float) -> None:
    found = _pause(None if due is None else Micros(due), Micros(1_000), Micros(2_000))
    assert found == pytest.approx(seconds)
