"""Budgets that go with a connector from node to node."""

from typing import ClassVar

import pytest

from cdmd.daemon.budgets import Budgets
from cdmd.kit.quantities import Rate
from cdmd.testing import ManualClock
from tests.intake.doubles import Digests, MemoryJournal

pytestmark = pytest.mark.anyio
RATES = [Rate.parse("2/1h")]


class Well:
    """An answer that says nothing about limits."""

    status_code = 200
    headers: ClassVar[dict[str, str]] = {}


async def sends(budgets: Budgets) -> None:
    async def answered() -> Well:
        return Well()

    async with budgets.of("crm", "https://crm.example", "key", RATES).turn("crm") as turn:
        await turn.send(answered)


async def test_what_another_node_sent_meanwhile_counts_where_a_connector_comes_back() -> None:
    clock, journal = ManualClock(), MemoryJournal()
    first, other = (Budgets(journal, digests=Digests(), clock=clock) for _ in range(2))  # type: ignore[arg-type]
    await sends(first)
    clock.advance(4_000)
    await other.load()
    await sends(other)
    await sends(other)
    budget = first.of("crm", "https://crm.example", "key", RATES)
    assert budget.next_at()[0] == clock.monotonic(), "it cannot know"
    await first.load()
    assert (budget.next_at()[0] or 0.0) > clock.monotonic() + 3_500
    clock.advance(1_000)
    at = budget.next_at()
    await first.load()
    assert budget.next_at() == at, "what it kept itself is nothing new"
