"""What any ``Leases`` must do, for one daemon and between several."""

from collections.abc import Awaitable, Callable
from typing import TypeAlias

import pytest

from cdmd.contracts import Clock, Leases
from tests.store.samples import HandClock

Joining: TypeAlias = Callable[[str, Clock], Awaitable[Leases]]
"""A daemon of that name, with its own clock."""


class LeasesContract:
    """Each test has a bucket of its own."""

    @pytest.fixture
    def joining(self) -> Joining:
        raise NotImplementedError

    async def test_a_lease_is_held_for_its_length_by_its_holders_clock(self, joining: Joining) -> None:
        clock = HandClock()
        leases = await joining("a", clock)
        lease = await leases.take("crm", seconds=10)
        assert lease is not None
        assert leases.holds(lease)
        await clock.sleep(8)
        assert leases.holds(lease)
        await clock.sleep(2)
        assert not leases.holds(lease)

    async def test_it_is_renewed_for_as_long_again_with_the_same_token(self, joining: Joining) -> None:
        clock = HandClock()
        leases = await joining("a", clock)
        lease = await leases.take("crm", seconds=10)
        assert lease is not None
        for _ in range(3):
            await clock.sleep(7)
            assert await leases.renew(lease) == lease
            assert leases.holds(lease)
        await clock.sleep(60)
        assert await leases.renew(lease) == lease, "nobody took it meanwhile"
        assert leases.holds(lease)

    async def test_what_is_released_is_not_held_and_the_next_token_is_greater(self, joining: Joining) -> None:
        leases = await joining("a", HandClock())
        tokens = []
        for _ in range(3):
            lease = await leases.take("crm", seconds=10)
            assert lease is not None
            tokens.append(lease.token)
            await leases.release(lease)
            await leases.release(lease)
            assert not leases.holds(lease)
            assert await leases.renew(lease) is None
        assert tokens == sorted(set(tokens))
        assert await leases.holders() == {}

    async def test_whoever_takes_it_again_holds_only_the_new_one(self, joining: Joining) -> None:
        leases = await joining("a", HandClock())
        first, second = await leases.take("crm", seconds=10), await leases.take("crm", seconds=10)
        assert first is not None
        assert second is not None
        assert second.token > first.token
        assert (leases.holds(first), leases.holds(second)) == (False, True)
        assert await leases.renew(first) is None
        await leases.release(first)
        assert leases.holds(second)

    async def test_names_of_any_letters_are_leases_of_their_own(self, joining: Joining) -> None:
        leases = await joining("a", HandClock())
        names = ["crm", "crm.contacts", "sm\u00f6rg\u00e5s *>", "partition/7"]
        held = [await leases.take(name, seconds=10) for name in names]
        assert all(lease is not None and leases.holds(lease) for lease in held)
        assert await leases.holders() == dict.fromkeys(names, "a")

    # ---- several daemons -----------------------------------------------------------------------------------------------

    async def test_while_it_is_renewed_nobody_else_has_it(self, joining: Joining) -> None:
        clock, other = HandClock(), HandClock()
        first, second = await joining("a", clock), await joining("b", other)
        lease = await first.take("crm", seconds=10)
        assert lease is not None
        for _ in range(8):
            await clock.sleep(5)
            await other.sleep(5)
            assert await first.renew(lease) == lease
            assert await second.take("crm", seconds=10) is None
            assert first.holds(lease)
        assert await second.holders() == {"crm": "a"}

    async def test_of_who_is_gone_it_is_had_after_its_length_and_never_before_they_know_that_it_ended(
        self, joining: Joining
    ) -> None:
        clock, other = HandClock(), HandClock()
        first, second = await joining("a", clock), await joining("b", other)
        lease = await first.take("crm", seconds=10)
        assert lease is not None
        await clock.sleep(9.5)
        await other.sleep(3600)  # what the other clock showed before it looked says nothing
        assert await second.take("crm", seconds=10) is None
        await other.sleep(9.9)
        assert await second.take("crm", seconds=10) is None
        await clock.sleep(0.5)
        assert not first.holds(lease)
        await other.sleep(0.2)
        taken = await second.take("crm", seconds=10)
        assert taken is not None
        assert taken.token > lease.token
        assert await first.renew(lease) is None
        assert not first.holds(lease)
        assert await first.take("crm", seconds=10) is None

    async def test_what_is_released_is_had_at_once(self, joining: Joining) -> None:
        first, second = await joining("a", HandClock()), await joining("b", HandClock())
        lease = await first.take("crm", seconds=3600)
        assert lease is not None
        assert await second.take("crm", seconds=10) is None
        await first.release(lease)
        taken = await second.take("crm", seconds=10)
        assert taken is not None
        assert taken.token > lease.token

    async def test_of_several_that_want_it_at_once_one_gets_it(self, joining: Joining) -> None:
        clocks = [HandClock() for _ in range(4)]
        rivals = [await joining(f"r{number}", clock) for number, clock in enumerate(clocks)]
        lease = await rivals[0].take("crm", seconds=10)
        assert lease is not None
        for clock in clocks:
            await clock.sleep(1)
        assert [await one.take("crm", seconds=10) for one in rivals[1:]] == [None] * 3
        for clock in clocks:
            await clock.sleep(11)
        got = [await one.take("crm", seconds=10) for one in rivals[1:]]
        assert [lease is not None for lease in got] == [True, False, False]

    async def test_whoever_comes_back_under_its_name_has_it_at_once_and_its_former_self_no_more(self, joining: Joining) -> None:
        clock = HandClock()
        before = await joining("a", clock)
        lease = await before.take("crm", seconds=3600)
        assert lease is not None
        after = await joining("a", HandClock())
        again = await after.take("crm", seconds=10)
        assert again is not None
        assert again.token > lease.token
        assert await before.renew(lease) is None
        assert not before.holds(lease)
