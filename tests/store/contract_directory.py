"""What any store must do to find people and what is kept of one; see ``contract_store``."""

from cdmd.contracts import Audit
from cdmd.models import Changes, Micros, ProfileKey, ProfileState, Seq
from tests.store.contract_membership import keys, notice
from tests.store.contract_store import NOW, Reopen, burying, dead, give, parked, profile


def person(number: int) -> Changes:
    state = profile(number)
    owners = {(one.kind, one.value): ProfileKey(number) for one in state.identifiers}
    return Changes(profiles={ProfileKey(number): state}, owners=owners)


def audit(number: int, arguments: str) -> Audit:
    return Audit(
        time=Micros(NOW + number), uid=0, user="root", role="admin", command="profile show", arguments=arguments, outcome="done"
    )


class DirectoryContract:
    """Each test opens the same store as often as it likes through ``reopen``."""

    async def test_a_public_id_names_a_profile_as_it_is_after_its_merges(self, reopen: Reopen) -> None:
        async with reopen() as store:
            await give(store, person(1))
            await give(store, Changes(profiles={ProfileKey(2): ProfileState("public-2", NOW, NOW, merged_into=1)}))
            for public in ("public-1", "public-2"):
                found = await store.directory.named(public)
                assert found is not None
                assert (found.key, found.state.public) == (1, "public-1")
            assert await store.directory.named("public-3") is None

    async def test_identifiers_that_begin_so_come_in_pages_in_their_order(self, reopen: Reopen) -> None:
        async with reopen() as store:
            for number in (10, 12, 11, 2):
                await give(store, person(number))
            first = await store.directory.starting("email", "user1", limit=2)
            assert [(value, owner.key) for value, owner in first] == [("user10@example.com", 10), ("user11@example.com", 11)]
            (last,) = await store.directory.starting("email", "user1", after="user11@example.com", limit=2)
            assert last[1].state.public == "public-12"
            assert len(await store.directory.starting("email", "", limit=9)) == 4
            assert await store.directory.starting("phone", "user1", limit=9) == []
            assert await store.directory.starting("email", "user3", limit=9) == []

    async def test_what_waits_comes_in_pages_in_order_of_sequence(self, reopen: Reopen) -> None:
        async with reopen() as store:
            await give(store, burying(dead(1), dead(3), dead(5)))
            await give(store, Changes(parked=[parked(2), parked(4), parked(6)]))
            assert [one.seq for one in await store.directory.letters(after=Seq(1), limit=1)] == [3]
            assert [one.seq for one in await store.directory.letters(after=Seq(1), limit=9)] == [3, 5]
            assert [one.seq for one in await store.directory.parked(after=Seq(2), limit=1)] == [4]
            assert [one.seq for one in await store.directory.parked(after=Seq(2), limit=9)] == [4, 6]

    async def test_moves_of_somebody_are_told_the_oldest_first(self, reopen: Reopen) -> None:
        async with reopen() as store:
            people = {ProfileKey(number): profile(number) for number in (1, 2)}
            await give(store, Changes(profiles=people, notices=[notice(2), notice(1), notice(2, entered=False)]))
            assert await store.directory.moves(keys(2, 3)) == [notice(2), notice(2, entered=False)]

    async def test_audit_rows_about_somebody_are_told_the_oldest_first(self, reopen: Reopen) -> None:
        async with reopen() as store:
            rows = [audit(1, '{"profile": "p1"}'), audit(2, '{"profile": "p2"}'), audit(3, '{"profiles": ["p1", null]}')]
            for row in rows:
                await store.audit(row)
            assert await store.directory.audits('"p1"') == [rows[0], rows[2]]
