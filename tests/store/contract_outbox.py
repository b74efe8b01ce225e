"""What any store must do about what waits for targets; see ``contract_store``."""

import pytest

from cdmd.contracts import AttemptFilter, Store
from cdmd.models import (
    Attempt,
    Bound,
    Changes,
    Delivery,
    Micros,
    Outgoing,
    ProfileKey,
    Seq,
    Settled,
    TargetNote,
    TargetTotals,
)
from tests.store.contract_store import NOW, Reopen, activity, applied, give, profile

SECOND = 1_000_000


def delivery(number: int, *, target: str = "crm", lane: int | None = None, size: int = 10) -> Delivery:
    return Delivery(
        id=f"0{number:025d}",
        target=target,
        type="order.paid",
        at=Micros(NOW),
        body=b"x" * size,
        profile=ProfileKey(number),
        seq=Seq(number),
        lane=lane,
    )


def sending(*deliveries: Delivery, **bounds: Bound) -> Outgoing:
    return Outgoing(deliveries=deliveries, bounds=bounds)


def ended(one: Delivery, outcome: str = "delivered", *, at: int = NOW, due: int | None = None, failed: bool = False) -> Settled:
    attempt = Attempt(
        at=Micros(at),
        target=one.target,
        id=one.id,
        type=one.type,
        attempt=one.attempts + 1,
        outcome=outcome,
        profile=one.profile,
        seq=one.seq,
        seconds=0.25,
        status=200,
        reason="it answers with status 500" if outcome != "delivered" else "",
    )
    return Settled(delivery=one, attempt=attempt, due=None if due is None else Micros(due), failed=failed)


async def total(store: Store, name: str = "crm") -> TargetTotals:
    (found,) = [one for one in await store.outbox.totals() if one.name == name]
    return found


async def ready(store: Store, *, target: str = "crm", later: int = 0, limit: int = 9) -> list[int | None]:
    return [one.seq for one in await store.outbox.ready(target, Micros(NOW + later), limit=limit)]


class OutboxContract:
    """Each test opens the same store as often as it likes through ``reopen``."""

    async def test_nothing_waits_at_first(self, reopen: Reopen) -> None:
        async with reopen() as store:
            assert await store.outbox.totals() == []
            assert await ready(store) == []
            assert await store.outbox.next_due("crm") is None
            assert await store.outbox.notes() == {}
            assert await store.outbox.attempts(AttemptFilter()) == []

    async def test_a_batch_and_what_it_sends_are_written_together_and_survive(self, reopen: Reopen) -> None:
        async with reopen() as store:
            changes = applied(1)
            changes.outgoing = sending(delivery(1), delivery(2, target="mail"))
            await give(store, changes)
        async with reopen() as store:
            (one,) = await store.outbox.ready("crm", Micros(NOW), limit=9)
            expected = delivery(1)
            assert (one.id, one.type, one.at, one.body) == (expected.id, expected.type, expected.at, expected.body)
            assert (one.target, one.profile, one.seq, one.attempts, one.since) == ("crm", 1, 1, 0, NOW)
            assert await ready(store, target="mail") == [2]
            assert (await total(store)).waiting == 1
            assert (await total(store)).bytes > len(one.body)
            assert await store.verify() == []

    async def test_a_batch_that_cannot_be_decided_sends_nothing(self, reopen: Reopen) -> None:
        async with reopen() as store:
            changes = applied(1)
            changes.activities *= 2
            changes.outgoing = sending(delivery(1))
            with pytest.raises(ValueError, match="do not fit"):
                await give(store, changes)
            assert await ready(store) == []

    async def test_what_is_due_comes_in_its_order_without_what_is_taken_and_within_the_limit(self, reopen: Reopen) -> None:
        async with reopen() as store:
            await store.outbox.put(sending(*(delivery(number) for number in range(1, 6))), now=Micros(NOW))
            assert await ready(store, limit=3) == [1, 2, 3]
            taken = [one.n for one in await store.outbox.ready("crm", Micros(NOW), limit=2)]
            assert [one.seq for one in await store.outbox.ready("crm", Micros(NOW), limit=2, without=taken)] == [3, 4]
            assert await ready(store, later=-1) == []
            assert await store.outbox.next_due("crm") == NOW

    async def test_what_is_read_at_once_is_bounded_in_bytes(self, reopen: Reopen) -> None:
        async with reopen() as store:
            large = [delivery(number, size=3 * 2**20) for number in (1, 2, 3)]
            await store.outbox.put(sending(*large), now=Micros(NOW))
            assert await ready(store) == [1, 2]

    async def test_what_is_delivered_leaves_and_is_counted(self, reopen: Reopen) -> None:
        async with reopen() as store:
            await store.outbox.put(sending(delivery(1), delivery(2)), now=Micros(NOW))
            first, second = await store.outbox.ready("crm", Micros(NOW), limit=9)
            await store.outbox.settle([ended(first), ended(second, "later", due=NOW + SECOND)])
            assert await ready(store) == []
            (again,) = await store.outbox.ready("crm", Micros(NOW + SECOND), limit=9)
            assert (again.seq, again.attempts) == (2, 1)
            kept = await total(store)
            assert (kept.waiting, kept.delivered, kept.attempts, kept.failed) == (1, 1, 2, 0)
            await store.outbox.settle([ended(first)])
            assert (await total(store)).waiting == 1
            assert await store.verify() == []

    async def test_what_is_set_aside_stands_in_nobodys_way_and_can_be_tried_again(self, reopen: Reopen) -> None:
        async with reopen() as store:
            await store.outbox.put(sending(delivery(1, lane=0), delivery(2, lane=0)), now=Micros(NOW))
            (head,) = await store.outbox.ready("crm", Micros(NOW), limit=9)
            await store.outbox.settle([ended(head, "never", failed=True)])
            assert await ready(store) == [2]
            (aside,) = await store.outbox.listed(target="crm", failed=True, limit=9)
            assert (aside.delivery.seq, aside.failed, aside.reason) == (1, NOW, "it answers with status 500")
            kept = await total(store)
            assert (kept.waiting, kept.failed) == (1, 1)
            assert await store.outbox.retry(target="crm", id=head.id, limit=9, now=Micros(NOW)) == 1
            (_, again) = await store.outbox.ready("crm", Micros(NOW), limit=9)
            assert (again.seq, again.attempts, again.id) == (1, 0, head.id)
            kept = await total(store)
            assert (kept.waiting, kept.failed) == (2, 0)
            assert await store.verify() == []

    async def test_what_waits_for_a_later_attempt_can_go_now(self, reopen: Reopen) -> None:
        async with reopen() as store:
            await store.outbox.put(sending(delivery(1), delivery(2, target="mail")), now=Micros(NOW))
            (one,) = await store.outbox.ready("crm", Micros(NOW), limit=9)
            await store.outbox.settle([ended(one, "later", due=NOW + SECOND)])
            assert await store.outbox.retry(target=None, id=None, limit=9, now=Micros(NOW)) == 1
            assert await ready(store) == [1]

    async def test_of_a_lane_only_the_first_is_due(self, reopen: Reopen) -> None:
        async with reopen() as store:
            await store.outbox.put(sending(delivery(1, lane=7), delivery(2, lane=7), delivery(3, lane=8)), now=Micros(NOW))
            await store.outbox.put(sending(delivery(4, lane=7), delivery(5)), now=Micros(NOW))
            assert await ready(store) == [1, 3, 5]
            first = (await store.outbox.ready("crm", Micros(NOW), limit=1))[0]
            await store.outbox.settle([ended(first, "later", due=NOW + SECOND)])
            assert await ready(store) == [3, 5]
            await store.outbox.settle([ended(first)])
            assert await ready(store) == [2, 3, 5]
            assert [one.seq for one in await store.outbox.lane("crm", 7, limit=9)] == [2, 4]
            assert [one.seq for one in await store.outbox.lane("crm", 7, limit=9, after=2)] == [4]

    async def test_what_waits_in_order_is_read_on_behind_a_place(self, reopen: Reopen) -> None:
        async with reopen() as store:
            await store.outbox.put(sending(*(delivery(number, lane=0) for number in (1, 2, 3))), now=Micros(NOW))
            (first, second) = await store.outbox.waiting("crm", limit=2)
            assert [one.seq for one in await store.outbox.waiting("crm", limit=9, after=second.n)] == [3]
            await store.outbox.settle([ended(first), ended(second)])
            assert [one.seq for one in await store.outbox.waiting("crm", limit=9)] == [3]
            assert await ready(store) == [3]

    async def test_what_is_retried_or_was_in_other_lanes_waits_with_the_rest(self, reopen: Reopen) -> None:
        async with reopen() as store:
            some = [delivery(1, lane=0), delivery(2, lane=7), delivery(3), delivery(4, lane=0), delivery(5, target="mail")]
            await store.outbox.put(sending(*some), now=Micros(NOW))
            (first, *_, last) = await store.outbox.waiting("crm", limit=9)
            await store.outbox.settle([ended(first, "never", failed=True)])
            assert [one.seq for one in await store.outbox.waiting("crm", limit=9)] == [2, 3, 4]
            assert await store.outbox.retry(target="crm", id=None, limit=9, now=Micros(NOW)) == 1
            assert [one.seq for one in await store.outbox.waiting("crm", limit=9)] == [2, 3, 4, 1]
            assert [one.seq for one in await store.outbox.waiting("crm", limit=2)] == [2, 3]
            assert [one.seq for one in await store.outbox.waiting("crm", limit=9, after=last.n)] == [1], "behind the rest"
            assert (await total(store)).waiting == 4
            assert await store.verify() == []

    async def test_what_has_no_room_is_dropped_and_counted_since_when(self, reopen: Reopen) -> None:
        async with reopen() as store:
            bound = Bound(2, 2**30)
            some = [delivery(number) for number in (1, 2, 3)]
            assert await store.outbox.put(sending(*some, crm=bound), now=Micros(NOW)) == 2
            assert await store.outbox.put(sending(delivery(4), crm=bound), now=Micros(NOW + SECOND)) == 0
            kept = await total(store)
            assert (kept.waiting, kept.dropped, kept.full_since) == (2, 2, NOW)
            (first, _) = await store.outbox.ready("crm", Micros(NOW), limit=9)
            await store.outbox.settle([ended(first)])
            assert (await total(store)).full_since is None
            assert await store.outbox.put(sending(delivery(5), crm=bound), now=Micros(NOW)) == 1
            assert await ready(store) == [2, 5]

    async def test_a_first_wait_is_waited(self, reopen: Reopen) -> None:
        async with reopen() as store:
            await store.outbox.put(sending(delivery(1), crm=Bound(9, 2**30, 3 * SECOND)), now=Micros(NOW))
            assert await ready(store, later=3 * SECOND - 1) == []
            assert await ready(store, later=3 * SECOND) == [1]

    async def test_what_is_too_large_together_is_dropped(self, reopen: Reopen) -> None:
        async with reopen() as store:
            some = [delivery(1, size=600), delivery(2, size=600), delivery(3, size=1)]
            assert await store.outbox.put(sending(*some, crm=Bound(9, 1000)), now=Micros(NOW)) == 1
            assert (await total(store)).dropped == 2

    async def test_what_was_not_sent_is_counted_with_its_reason(self, reopen: Reopen) -> None:
        async with reopen() as store:
            await give(store, Changes(outgoing=Outgoing(untold={"crm": (2, "a value is missing")})))
            await give(store, Changes(outgoing=Outgoing(untold={"crm": (1, "it divides by zero")})))
            kept = await total(store)
            assert (kept.untold, kept.fault, kept.waiting) == (3, "it divides by zero", 0)

    async def test_attempts_are_kept_newest_first_and_found_by_target_id_and_outcome(self, reopen: Reopen) -> None:
        async with reopen() as store:
            await store.outbox.put(sending(delivery(1), delivery(2, target="mail")), now=Micros(NOW))
            (one,) = await store.outbox.ready("crm", Micros(NOW), limit=9)
            (two,) = await store.outbox.ready("mail", Micros(NOW), limit=9)
            await store.outbox.settle([ended(one, "later", due=NOW), ended(two)])
            await store.outbox.settle([ended(one)])

            async def found(**which: object) -> list[tuple[str, str]]:
                rows = await store.outbox.attempts(AttemptFilter(**which))  # type: ignore[arg-type]
                return [(row.id, row.outcome) for row in rows]

            assert await found() == [(one.id, "delivered"), (two.id, "delivered"), (one.id, "later")]
            assert await found(limit=1) == [(one.id, "delivered")]
            assert await found(target="mail") == [(two.id, "delivered")]
            assert await found(ids=(one.id, one.id)) == [(one.id, "delivered"), (one.id, "later")]
            assert await found(ids=(one.id, two.id), target="mail", outcome="later") == []
            (last,) = await store.outbox.attempts(AttemptFilter(limit=1))
            assert (last.seconds, last.status, last.profile, last.seq, last.body) == (0.25, 200, 1, 1, None)

    async def test_deliveries_are_found_by_their_ids(self, reopen: Reopen) -> None:
        async with reopen() as store:
            await store.outbox.put(sending(delivery(1), delivery(2), delivery(3)), now=Micros(NOW))
            found = await store.outbox.find(delivery(2).id, delivery(3).id)
            assert [one.delivery.seq for one in found] == [2, 3]
            assert [one.delivery.seq for one in await store.outbox.listed(target=None, failed=None, limit=2)] == [1, 2]
            assert await store.outbox.listed(target="crm", failed=True, limit=2) == []

    async def test_stored_activities_are_told_in_order_with_whoever_they_are_of_now(self, reopen: Reopen) -> None:
        async with reopen() as store:
            changes = applied(1, 2)
            changes.activities.append(activity(3, None))
            await give(store, changes)
            await give(store, Changes(profiles={ProfileKey(2): profile(2, merged_into=1)}))
            found = await store.outbox.applied(Seq(0), limit=9)
            assert [(one.seq, None if state is None else state.public) for one, state in found] == [
                *((1, "public-1"), (2, "public-1"), (3, None)),
            ]
            assert [one.seq for one, _ in await store.outbox.applied(Seq(1), limit=1)] == [2]

    async def test_the_old_is_forgotten(self, reopen: Reopen) -> None:
        async with reopen() as store:
            await store.outbox.put(sending(delivery(1), delivery(2), delivery(3)), now=Micros(NOW))
            one, two, three = await store.outbox.ready("crm", Micros(NOW), limit=9)
            await store.outbox.settle([ended(one), ended(two, "never", failed=True)])
            await store.outbox.settle([ended(three, at=NOW + SECOND)])
            assert await store.outbox.expire(before=Micros(NOW + SECOND)) == 3
            assert [row.id for row in await store.outbox.attempts(AttemptFilter())] == [three.id]
            kept = await total(store)
            assert (kept.failed, kept.delivered) == (0, 2)
            assert await store.outbox.expire(before=Micros(NOW + SECOND)) == 0

    async def test_what_is_remembered_of_an_endpoint_survives(self, reopen: Reopen) -> None:
        note = TargetNote(state="disabled", reason="it answers that it is gone", since=NOW, failing_since=3)
        async with reopen() as store:
            await store.outbox.note("crm", TargetNote())
            await store.outbox.note("crm", note)
        async with reopen() as store:
            assert await store.outbox.notes() == {"crm": note}

    async def test_a_target_is_forgotten_with_all_that_waits_for_it(self, reopen: Reopen) -> None:
        async with reopen() as store:
            await store.outbox.put(sending(delivery(1), delivery(2), delivery(3, target="mail")), now=Micros(NOW))
            await store.outbox.settle([ended(delivery(1))])
            assert await store.outbox.forget("crm") == 2
            assert [one.name for one in await store.outbox.totals()] == ["mail"]
            assert await store.outbox.attempts(AttemptFilter()) == []
            assert await store.verify() == []

    async def test_what_was_sent_twice_before_it_could_be_noted_leaves_once(self, reopen: Reopen) -> None:
        """By a target that began anew while the store was away."""
        async with reopen() as store:
            await store.outbox.put(sending(delivery(1, lane=7), delivery(2, lane=7), delivery(3)), now=Micros(NOW))
            (one, three) = await store.outbox.ready("crm", Micros(NOW), limit=9)
            await store.outbox.settle([ended(one), ended(one), ended(three, "never", failed=True), ended(three)])
            kept = await total(store)
            assert (kept.waiting, kept.failed, kept.attempts) == (1, 1, 4)
            assert await ready(store) == [2]
            assert await store.verify() == []
