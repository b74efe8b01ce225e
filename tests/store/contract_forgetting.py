"""What any store must do to take people out for good; see ``contract_store``."""

from typing import Any

import msgspec

from cdmd.contracts import AttemptFilter, Holding, Store
from cdmd.models import Activity, Changes, Count, Entry, Merge, Micros, ProfileKey, ProfileState, SeenVerdict, Seq, Wanted
from tests.store.contract_membership import notice
from tests.store.contract_outbox import delivery, ended, ready, sending
from tests.store.contract_store import (
    NOW,
    Reopen,
    activity,
    applied,
    burying,
    dead,
    digest,
    give,
    look,
    parked,
    profile,
)

ALL = Holding(None)


def owner(number: int) -> tuple[str, str]:
    return "email", f"user{number}@example.com"


async def orphans(store: Store) -> list[Seq]:
    return [one.seq for one in (await store.forgetting.activities(Holding([]), after=Seq(0), limit=99)).orphans]


class ForgettingContract:
    """Each test opens the same store as often as it likes through ``reopen``."""

    async def test_whoever_is_hidden_is_found_by_nothing_and_their_number_is_never_given_again(self, reopen: Reopen) -> None:
        async with reopen() as store:
            changes = applied(1, 2, 3)
            changes.profiles[ProfileKey(3)].due = NOW + 5
            changes.profiles[ProfileKey(3)].audiences = {"vip": NOW}
            changes.due = {ProfileKey(3): (None, changes.profiles[ProfileKey(3)].due)}
            changes.notices = [notice(1)]
            await give(store, changes)
            hidden = await store.forgetting.hide([owner(3), owner(9)])
            assert (hidden.keys, hidden.pairs, hidden.counts) == (
                [3],
                [owner(3)],
                {"profiles": 1, "identifiers": 1, "deliveries and attempts": 0},
            )
            assert await store.profile(*owner(3), activities=1) is None
            assert await store.directory.named("public-3") is None
            assert await store.known([owner(2), owner(3)]) == {owner(2)}
            assert await store.membership.overdue(Micros(NOW + 9), limit=9) == []
            assert (await store.totals()).profiles == 2
            assert await orphans(store) == [3]
            assert await store.verify() == []
            again = await store.forgetting.hide([owner(3)])
            assert (again.keys, set(again.counts.values())) == ([], {0})
        async with reopen() as store:
            assert (await look(store)).next_profile == 4

    async def test_with_somebody_go_those_who_were_merged_into_them_their_audiences_and_their_moves(
        self, reopen: Reopen
    ) -> None:
        async with reopen() as store:
            changes = applied(1, 2)
            changes.notices = [notice(1), notice(2)]
            await give(store, changes)
            joined = Changes(
                profiles={ProfileKey(1): profile(1, members=[2]), ProfileKey(2): profile(2, merged_into=1)},
                owners={owner(2): ProfileKey(1)},
                merges=[
                    Merge(
                        seq=Seq(3), time=Micros(NOW), winner=ProfileKey(1), loser=ProfileKey(2), identifiers=[], rule="merged",
                        before=profile(2),
                    )
                ],
            )  # fmt: skip
            joined.profiles[ProfileKey(1)].identifiers += profile(2).identifiers
            await give(store, joined, Wanted([], [owner(1), owner(2)]))
            hidden = await store.forgetting.hide([owner(2)])
            assert hidden.keys == [1, 2]
            assert set(hidden.pairs) == {owner(1), owner(2)}
            assert await store.membership.notices(limit=9) == []
            assert [one.members for one in await store.membership.audiences()] == [0]
            assert await store.verify() == []
            assert (await store.totals()).profiles == 0
            assert await orphans(store) == [1, 2]

    async def test_some_are_hidden_by_their_numbers_as_they_are_then(self, reopen: Reopen) -> None:
        asked: list[str] = []

        def which(state: ProfileState) -> bool:
            asked.append(state.public)
            return state.public == "public-3"

        async with reopen() as store:
            await give(store, applied(1, 2, 3))
            joined = {ProfileKey(1): profile(1, members=[2]), ProfileKey(2): profile(2, merged_into=1)}
            await give(store, Changes(profiles=joined), Wanted([], [owner(1), owner(2)]))
            hidden = await store.forgetting.hide_some([ProfileKey(n) for n in (9, 3, 2, 1)], which)
            assert (asked, hidden.keys, hidden.pairs) == (["public-1", "public-3"], [3], [owner(3)])
            assert (hidden.counts["profiles"], hidden.counts["identifiers"]) == (1, 1)
            assert (await store.forgetting.hide_some([ProfileKey(1)], which)).keys == []
            hidden = await store.forgetting.hide_some([ProfileKey(1)], lambda state: True)
            assert hidden.keys == [1, 2], "with whoever was merged into it"
            assert await orphans(store) == [1, 2, 3]

    async def test_activities_are_looked_through_in_pages_by_what_is_in_them(self, reopen: Reopen) -> None:
        async with reopen() as store:
            await give(store, applied(*range(1, 6)))
            page = await store.forgetting.activities(Holding([b"user2@", b"user4@"]), after=Seq(0), limit=3)
            assert ([one.seq for one in page.held], page.last) == ([2], 3)
            page = await store.forgetting.activities(ALL, after=Seq(3), limit=9)
            assert ([one.seq for one in page.held], page.last) == ([4, 5], 5)
            assert (await store.forgetting.activities(ALL, after=Seq(5), limit=9)).last is None

    async def test_what_profiles_and_merges_say_of_somebody_is_found_and_taken_out(self, reopen: Reopen) -> None:
        def revise(one: Merge) -> Merge:
            return one if one.loser == 4 else msgspec.structs.replace(one, before=profile(one.loser))

        async with reopen() as store:
            changes = applied(*range(1, 5))
            changes.profiles[ProfileKey(2)].apart = [(7, 2**64 - 1)]
            changes.profiles[ProfileKey(3)].apart = [(-8, -(2**63))]
            merged = [(2, profile(2, apart=[(7, 9)])), (4, profile(4))]
            changes.merges = [
                Merge(
                    seq=Seq(3), time=Micros(NOW), winner=ProfileKey(1), loser=ProfileKey(key), identifiers=[], rule="merged",
                    before=before,
                )
                for key, before in merged
            ]  # fmt: skip
            await give(store, changes)
            page = await store.forgetting.splits(after=ProfileKey(0), limit=3)
            assert (page.said, page.last) == ({2: [(7, 2**64 - 1)], 3: [(-8, -(2**63))]}, 3)
            page = await store.forgetting.splits(after=ProfileKey(2), limit=9)
            assert (list(page.said), page.last) == ([3], 4)
            assert (await store.forgetting.splits(after=ProfileKey(4), limit=9)).last is None
            first = await store.forgetting.revise_merges(revise, after=0, limit=1)
            assert (first.changed, first.last is None) == (1, False)
            second = await store.forgetting.revise_merges(revise, after=first.last or 0, limit=9)
            assert (second.changed, (await store.forgetting.revise_merges(revise, after=second.last or 0, limit=9)).last) == (
                0,
                None,
            )
            found = await store.profile(*owner(1), activities=0)
            assert found is not None
            assert [one.before.apart for one in found.merges] == [[], []]
            assert await store.verify() == []

    async def test_an_activity_goes_or_becomes_what_is_left_of_it(self, reopen: Reopen) -> None:
        async with reopen() as store:
            await give(store, applied(*range(1, 7), profile_of=lambda seq: 1))

            def revise(one: Activity) -> Activity | None:
                if one.seq == 2:
                    return msgspec.structs.replace(one, event=msgspec.structs.replace(one.event, identifiers={}))
                return None if one.seq in {3, 4, 6} else one

            assert await store.forgetting.revise_activities([Seq(n) for n in (1, 2, 3, 4, 6, 99)], revise) == 4
            found = await store.profile(*owner(1), activities=9)
            assert found is not None
            assert [one.seq for one in found.activities] == [5, 2, 1], "the chain goes on over what went"
            assert found.activities[1].event.identifiers == {}
            assert (await store.totals()).activities == 3
            assert (await store.seen([digest(3)]))[digest(3)].verdict == SeenVerdict.SUPPRESSED
            assert (await store.seen([digest(1)]))[digest(1)].verdict == SeenVerdict.APPLIED
            assert await store.verify() == []
            await give(store, Changes(activities=[activity(7, 1)], profiles={ProfileKey(1): profile(1)}))
            assert await store.forgetting.revise_activities([Seq(7), Seq(1)], lambda one: None) == 2
            assert await store.verify() == []

    async def test_activities_of_nobody_and_of_those_who_are_hidden_go_too(self, reopen: Reopen) -> None:
        async with reopen() as store:
            await give(store, applied(1))
            await give(store, Changes(activities=[activity(2, None)]))
            await store.forgetting.hide([owner(1)])
            assert await store.forgetting.revise_activities([Seq(1), Seq(2)], lambda one: None) == 2
            assert (await store.totals()).activities == 0
            assert await store.verify() == []

    async def test_an_erasure_that_is_under_way_is_no_damage(self, reopen: Reopen) -> None:
        """Somebody's profile goes first, and what they did after it."""
        async with reopen() as store:
            await give(store, applied(1, 2, 3, profile_of=lambda seq: 1))
            await store.forgetting.hide([owner(1)])
            assert await store.verify() == []

    async def test_what_waits_goes_and_counts_as_suppressed_or_becomes_what_is_left_of_it(self, reopen: Reopen) -> None:
        async with reopen() as store:
            await give(store, burying(dead(1), dead(2), dead(3)))
            await give(store, Changes(parked=[parked(4), parked(5), parked(6)], counts={("shop", Count.PARKED): 3}))
            assert await store.forgetting.waiting() == {4, 5, 6}

            def revise(entry: Entry) -> Entry | None:
                number = int(entry.event.id.removeprefix("evt-"))
                if number in {2, 5}:
                    return None
                bare = msgspec.structs.replace(entry.event, identifiers={}, data={})
                return msgspec.structs.replace(entry, event=bare) if number in {3, 6} else entry

            assert await store.forgetting.revise_waiting([Seq(n) for n in range(1, 7)], revise) == 4
            letters = await store.directory.letters(after=Seq(0), limit=9)
            left = await store.directory.parked(after=Seq(0), limit=9)
            assert [(one.seq, bool(one.entry.event.identifiers)) for one in (*letters, *left)] == [
                (1, True),
                (3, False),
                (4, True),
                (6, False),
            ]
            counts: dict[Any, int] = dict(await store.counts())
            assert [counts["shop", one] for one in (Count.DEAD, Count.PARKED, Count.SUPPRESSED)] == [2, 2, 2]
            assert (await store.seen([digest(2)]))[digest(2)].verdict == SeenVerdict.SUPPRESSED
            assert await store.verify() == []

    async def test_identifiers_come_in_pages(self, reopen: Reopen) -> None:
        async with reopen() as store:
            await give(store, applied(1, 2, 3))
            first = await store.forgetting.identifiers(after=(0, ""), limit=2)
            assert [pair for _, pair in first] == [owner(1), owner(2)]
            rest = await store.forgetting.identifiers(after=first[-1][0], limit=9)
            assert [pair for _, pair in rest] == [owner(3)]

    async def test_nothing_about_somebody_hidden_waits_for_a_target_or_was_attempted(self, reopen: Reopen) -> None:
        async with reopen() as store:
            await give(store, applied(1, 2))
            some = [delivery(1, lane=7), delivery(2, lane=7), delivery(1, target="mail"), delivery(2, target="mail")]
            for place, one in enumerate(some):
                await store.outbox.put(sending(msgspec.structs.replace(one, id=f"{one.id}{place}")), now=Micros(NOW))
            ((failing, _),) = [await store.outbox.ready("mail", Micros(NOW), limit=9)]
            await store.outbox.settle([ended(failing, "never", failed=True)])
            assert await ready(store) == [1], "the second waits behind the first of its lane"
            hidden = await store.forgetting.hide([owner(1)])
            assert hidden.counts["deliveries and attempts"] == 3
            assert await ready(store) == [2]
            assert await ready(store, target="mail") == [2]
            assert [(one.waiting, one.failed) for one in await store.outbox.totals()] == [(1, 0), (1, 0)]
            (attempt,) = await store.outbox.attempts(AttemptFilter())
            assert (attempt.id, attempt.profile, attempt.seq, attempt.outcome) == ("", None, None, "never")
            assert await store.verify() == []
            assert await store.forgetting.forget_deliveries() == 0
            body = msgspec.structs.replace(ended(failing).attempt, body=b"joe", answer=b"joe")
            await store.outbox.settle([msgspec.structs.replace(ended(failing), attempt=body)])
            late = (await store.outbox.attempts(AttemptFilter(limit=1)))[0]
            assert (late.outcome, late.id, late.profile, late.seq, late.body, late.answer) == ("delivered", "", *[None] * 4)
            await store.outbox.put(sending(delivery(1)), now=Micros(NOW))
            assert await store.forgetting.forget_deliveries() == 1, "one that was told again meanwhile"

    async def test_what_waits_and_what_was_attempted_goes_by_what_it_says(self, reopen: Reopen) -> None:
        async with reopen() as store:
            await give(store, applied(1, 2, 3))
            some = [delivery(1, lane=7), delivery(2, lane=7), delivery(3, target="mail"), delivery(1, target="mail")]
            for place, one in enumerate(some):
                await store.outbox.put(sending(msgspec.structs.replace(one, id=f"{one.id}{place}")), now=Micros(NOW))
            first, second = await store.outbox.ready("mail", Micros(NOW), limit=9)
            for one in (first, second):
                await store.outbox.settle([ended(one, "never", failed=True)])
            count, after = 0, 0
            for changed in (1, 1, 0):
                page = await store.forgetting.drop_deliveries(lambda one: one.seq == 1, after=after, limit=2)
                count, after = count + page.changed, page.last or 0
                assert (page.changed, page.last is None) == (changed, not changed)
            assert await ready(store) == [2], "the next of its lane is due"
            assert [(one.waiting, one.failed) for one in await store.outbox.totals()] == [(1, 0), (0, 1)]
            page = await store.forgetting.blank_attempts(lambda one: one.profile == 1, after=0, limit=9)
            assert (page.changed, page.last is None) == (1, False)
            assert (await store.forgetting.blank_attempts(lambda one: True, after=page.last or 0, limit=9)).last is None
            gone, stays = await store.outbox.attempts(AttemptFilter())
            assert (gone.id, gone.profile, gone.seq, gone.outcome, stays.seq) == ("", None, None, "never", 3)
            assert await store.verify() == []
