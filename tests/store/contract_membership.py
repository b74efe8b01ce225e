"""What any store must do about audiences and about profiles one after the other; see ``contract_store``."""

from collections.abc import Mapping

from cdmd.kit.conditions import Failures
from cdmd.models import (
    Activity,
    Changes,
    Merge,
    Micros,
    Notice,
    ProfileKey,
    ProfileState,
    Regrouped,
    Seq,
    Wanted,
)
from tests.store.contract_store import NOW, Reopen, activity, applied, give, profile


def keys(*numbers: int) -> list[ProfileKey]:
    return [ProfileKey(number) for number in numbers]


def notice(number: int, audience: str = "gold", *, entered: bool = True, at: int = NOW) -> Notice:
    return Notice(
        id=f"{audience}-{number}-{entered}-{at}",
        audience=audience,
        profile=ProfileKey(number),
        public=f"public-{number}",
        entered=entered,
        at=Micros(at),
        reason="event order.paid",
    )


def waiting(**due: int | None) -> Changes:
    """Profiles ``p1``, ``p2``, ... that are due then."""
    states = {ProfileKey(int(name[1:])): profile(int(name[1:]), due=at) for name, at in due.items()}
    return Changes(profiles=states, due={key: (None, state.due) for key, state in states.items()})


def chained(*seqs: int, key: int | None) -> Changes:
    people = {} if key is None else {ProfileKey(key): profile(key)}
    return Changes(profiles=people, activities=[activity(seq, key) for seq in seqs])


def owning(people: Mapping[ProfileKey, ProfileState]) -> dict[tuple[str, str], ProfileKey]:
    return {(one.kind, one.value): key for key, state in people.items() for one in state.identifiers}


def merged(seq: int, *, loser: int) -> Merge:
    """Into the profile 1."""
    key, winner = ProfileKey(loser), ProfileKey(1)
    return Merge(seq=Seq(seq), time=Micros(NOW), winner=winner, loser=key, identifiers=[], rule="merged", before=profile(loser))


class MembershipContract:
    """Each test opens the same store as often as it likes through ``reopen``."""

    async def test_nobody_is_in_anything_at_first(self, reopen: Reopen) -> None:
        async with reopen() as store:
            people = store.membership
            assert await people.audiences() == []
            assert await people.members("gold", after=ProfileKey(0), limit=9) == []
            assert await people.notices(limit=9) == []
            assert await people.overdue(Micros(NOW * 2), limit=9) == []
            assert await people.first_due_profile() is None
            assert await people.profiles(after=ProfileKey(0), limit=9) == []
            assert await people.newest(keys(1)) == {}

    async def test_profiles_are_overdue_in_the_order_of_their_moments(self, reopen: Reopen) -> None:
        async with reopen() as store:
            await give(store, waiting(p1=NOW + 2, p2=NOW, p3=NOW + 1, p4=None))
        async with reopen() as store:
            people = store.membership
            assert await people.overdue(Micros(NOW + 1), limit=9) == [2, 3]
            assert await people.overdue(Micros(NOW + 9), limit=2) == [2, 3]
            assert await people.first_due_profile() == NOW

    async def test_a_moment_that_moves_or_goes_leaves_nothing_behind(self, reopen: Reopen) -> None:
        async with reopen() as store:
            await give(store, waiting(p1=NOW, p2=NOW))
            moved = {ProfileKey(1): profile(1, due=NOW + 5), ProfileKey(2): profile(2, due=None)}
            await give(
                store,
                Changes(profiles=moved, owners=owning(moved), due={key: (NOW, state.due) for key, state in moved.items()}),
                Wanted([], [], profiles=keys(1, 2)),
            )
            assert await store.membership.overdue(Micros(NOW + 9), limit=9) == [1]
            assert await store.membership.first_due_profile() == NOW + 5
            assert await store.verify() == []

    async def test_members_are_counted_paged_and_shown_with_their_profiles(self, reopen: Reopen) -> None:
        async with reopen() as store:
            people = {ProfileKey(number): profile(number) for number in (1, 2, 3)}
            await give(store, Changes(profiles=people, notices=[notice(3), notice(1), notice(2), notice(2, "vip")]))
        async with reopen() as store:
            first = await store.membership.members("gold", after=ProfileKey(0), limit=2)
            assert [(one.key, one.since, one.state) for one in first] == [(1, NOW, profile(1)), (2, NOW, profile(2))]
            assert [one.key for one in await store.membership.members("gold", after=ProfileKey(2), limit=2)] == [3]
            assert [(one.name, one.members) for one in await store.membership.audiences()] == [("gold", 3), ("vip", 1)]

    async def test_who_moved_twice_in_a_batch_is_where_it_ended_and_a_repeat_counts_once(self, reopen: Reopen) -> None:
        async with reopen() as store:
            people = {ProfileKey(number): profile(number) for number in (1, 2)}
            moves = [notice(1), notice(1, entered=False), notice(2, entered=False), notice(2, at=NOW + 1)]
            for _ in range(2):
                changes = Changes(profiles=people, owners=owning(people), notices=moves)
                await give(store, changes, Wanted([], [], profiles=keys(1, 2)))
            (total,) = await store.membership.audiences()
            (member,) = await store.membership.members("gold", after=ProfileKey(0), limit=9)
            assert (total.members, member.key, member.since) == (1, 2, NOW + 1)
            assert await store.verify() == []

    async def test_the_last_moves_are_told_newest_first(self, reopen: Reopen) -> None:
        moves = [notice(1), notice(2), notice(2, "vip"), notice(1, entered=False), notice(2, entered=False)]
        async with reopen() as store:
            for move in moves:
                await give(store, Changes(profiles={move.profile: profile(move.profile)}, notices=[move]))
            assert await store.membership.notices(limit=9) == moves[::-1]
            assert await store.membership.notices(audience="vip", limit=9) == [moves[2]]
            assert await store.membership.notices(limit=1) == [moves[4]]

    async def test_failures_add_up_and_the_last_fault_stays(self, reopen: Reopen) -> None:
        async with reopen() as store:
            for one in (Failures(2, 1, "gold: no number"), Failures(1)):
                await give(store, Changes(failures={"gold": one}))
            (total,) = await store.membership.audiences()
            assert (total.missing, total.failed, total.fault) == (3, 1, "gold: no number")

    async def test_an_audience_is_forgotten_once_nobody_is_in(self, reopen: Reopen) -> None:
        async with reopen() as store:
            await give(store, Changes(profiles={ProfileKey(1): profile(1)}, notices=[notice(1)]))
            await store.membership.drop_audience("gold")
            assert len(await store.membership.audiences()) == 1
            await give(store, Changes(notices=[notice(1, entered=False)]))
            await store.membership.drop_audience("gold")
            assert await store.membership.audiences() == []
            assert len(await store.membership.notices(audience="gold", limit=9)) == 2

    async def test_profiles_come_one_after_the_other_merged_ones_too(self, reopen: Reopen) -> None:
        async with reopen() as store:
            people = {ProfileKey(1): profile(1), ProfileKey(2): profile(2, merged_into=1), ProfileKey(5): profile(5)}
            await give(store, Changes(profiles=people))
            found = await store.membership.profiles(after=ProfileKey(1), limit=9)
            assert found == [(2, people[ProfileKey(2)]), (5, people[ProfileKey(5)])]
            known = await give(store, Changes(), Wanted([], [], profiles=keys(2, 5, 9)))
            assert known.profiles == dict(found)

    async def test_what_is_known_says_which_activity_is_the_newest(self, reopen: Reopen) -> None:
        async with reopen() as store:
            await give(store, applied(1, 2, 3, profile_of=lambda _: 1))
            await give(store, chained(4, key=7))
            assert await store.membership.newest(keys(1, 7, 9)) == {1: 3, 7: 4}
            known = await give(store, Changes(), Wanted([], [], profiles=keys(1, 7)))
            assert known.newest == {1: 3, 7: 4}

    async def test_a_history_is_read_in_pages_and_up_to_what_is_known_already(self, reopen: Reopen) -> None:
        async with reopen() as store:
            for seqs, key in (((1, 3), 1), ((2, 4), 2), ((5, 7), 1), ((6,), None), ((8,), 1)):
                wanted = Wanted([], [], profiles=[] if key is None else keys(key))
                await give(store, chained(*seqs, key=key), wanted)
            seen: list[tuple[Seq, ProfileKey | None]] = []
            rest = list((await store.membership.newest(keys(1, 2))).values())
            while rest:
                page = await store.membership.history(rest, each=2)
                assert len(page.activities) <= 2 * len(rest)
                seen += [(one.seq, one.profile) for one in page.activities]
                rest = list(page.rest)
            assert sorted(seen) == [(1, 1), (2, 2), (3, 1), (4, 2), (5, 1), (7, 1), (8, 1)]
            page = await store.membership.history([Seq(8)], until=[Seq(5)], each=9)
            assert (sorted(one.seq for one in page.activities), page.rest) == ([7, 8], [])
            page = await store.membership.history([Seq(8)], until=[Seq(5)], each=2)
            assert (sorted(one.seq for one in page.activities), page.rest) == ([7, 8], [])

    async def test_the_history_of_a_merged_profile_is_still_under_its_own_key(self, reopen: Reopen) -> None:
        async with reopen() as store:
            await give(store, chained(1, key=1))
            await give(store, chained(2, key=2))
            states = {ProfileKey(1): profile(1, members=[2]), ProfileKey(2): ProfileState("public-2", 0, 0, merged_into=1)}
            joined = merged(3, loser=2)
            third: list[Activity] = [activity(3, 1)]
            await give(store, Changes(profiles=states, merges=[joined], activities=third), Wanted([], [], profiles=keys(1, 2)))
            assert await store.membership.merges(keys(1, 9)) == [joined]
            assert await store.membership.merges(keys(2)) == []
            heads = await store.membership.newest(keys(1, 2))
            assert heads == {1: 3, 2: 2}

    async def test_profiles_made_anew_have_the_activities_that_are_there_and_the_merges_that_are_not_undone(
        self, reopen: Reopen
    ) -> None:
        one, two, three = keys(1, 2, 3)
        wanted = Wanted([], [], profiles=[one, two, three], alone=True)
        shells = {key: ProfileState(f"public-{key}", NOW, NOW, merged_into=1) for key in (two, three)}
        async with reopen() as store:
            await give(store, applied(1, 2, 3))
            whole = profile(1, members=[2, 3])
            whole.identifiers += profile(2).identifiers + profile(3).identifiers
            joined = Changes(profiles={one: whole, **shells}, merges=[merged(4, loser=2), merged(5, loser=3)])
            joined.owners = owning({one: whole})
            joined.activities = [activity(seq, 1) for seq in (4, 5, 6)]
            await give(store, joined, wanted)
            await store.forgetting.drop_activities([Seq(4)])
            parted = Changes(profiles={one: profile(1, members=[3]), two: profile(2)}, owners=owning({two: profile(2)}))
            parted.regrouped = Regrouped(
                chains={one: [Seq(1), Seq(6)], two: [Seq(2), Seq(4), Seq(5)], three: [Seq(3)]},
                rules={Seq(5): "matched anew"},
                disowned=[("email", "user3@example.com")],
                parted=[(one, two)],
            )
            await give(store, parted, wanted)
        async with reopen() as store:
            heads = await store.membership.newest([one, two, three])
            assert heads == {one: 6, two: 5, three: 3}
            page = await store.membership.history(list(heads.values()), each=9)
            found = sorted((seen.profile or 0, seen.seq, seen.rule) for seen in page.activities)
            usual, anew = "matched email", "matched anew"
            assert found == [(1, 1, usual), (1, 6, usual), (2, 2, usual), (2, 5, anew), (3, 3, usual)]
            assert await store.membership.merges([one, two]) == [merged(5, loser=3)]
            assert await store.known([("email", f"user{number}@example.com") for number in (2, 3)]) == {
                ("email", "user2@example.com")
            }
            assert await store.verify() == []
