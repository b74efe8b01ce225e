"""What any ``Store`` must do. A second implementation subclasses ``StoreContract`` with its own ``reopen`` fixture."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeAlias

import msgspec
import pytest
from anyio import from_thread

from cdmd.contracts import Audit, DeadLetterFilter, Store
from cdmd.models import (
    Activity,
    Changes,
    Count,
    DeadLetter,
    Digest,
    Entry,
    Extended,
    Fault,
    IdentifierState,
    Known,
    Merge,
    Micros,
    Parked,
    ProfileKey,
    ProfileState,
    Seen,
    SeenVerdict,
    Seq,
    TraitState,
    Wanted,
    to_micros,
)
from cdmd.store import checking
from cdmd.store.keys import Digester
from cdmd.store.tables import Row, Tables
from tests.store.samples import START, HandClock, event

Reopen: TypeAlias = Callable[[], AbstractAsyncContextManager[Store]]
NOW = to_micros(START)
DAY = 86_400_000_000
EVERYTHING = DeadLetterFilter()
DIGESTER = Digester(b"k" * 32)
NOTHING = Wanted([], [])


def digest(number: int, source: str = "shop") -> Digest:
    return DIGESTER.occurrence(source, f"evt-{number}")


def profile(number: int, **fields: Any) -> ProfileState:
    kept = [IdentifierState("email", f"user{number}@example.com", NOW, NOW, "shop")]
    return ProfileState(f"public-{number}", NOW, NOW, kept, {"name": TraitState("Joe", NOW, 1)}, **fields)


def activity(seq: int, key: int | None, *, time: int | None = None) -> Activity:
    trace = [Extended("warranty", 0.25, "extended", ["valid"])]
    moment = Micros(NOW + seq if time is None else time)
    return Activity(
        seq=Seq(seq),
        profile=None if key is None else ProfileKey(key),
        time=moment,
        event=event(seq),
        rule="matched email",
        trace=trace,
        clock_ahead=seq % 2 == 0,
    )


def applied(*seqs: int, profile_of: Callable[[int], int] = lambda seq: seq) -> Changes:
    """Every event its own person."""
    people = {ProfileKey(profile_of(seq)): profile(profile_of(seq)) for seq in seqs}
    return Changes(
        position=Seq(max(seqs)),
        seen={digest(seq): Seen(Seq(seq), SeenVerdict.APPLIED, seq) for seq in seqs},
        profiles=people,
        owners={("email", f"user{key}@example.com"): key for key in people},
        activities=[activity(seq, profile_of(seq)) for seq in seqs],
        counts={("shop", Count.APPLIED): len(seqs)},
    )


def dead(seq: int, *, code: str = "rejected", since: int = NOW, **fields: Any) -> DeadLetter:
    return DeadLetter(
        seq=Seq(seq),
        entry=Entry(event(seq, **fields), raw=b"{}"),
        fault=Fault(code, "no"),
        stage="extend",
        since=Micros(since),
        attempts=2,
    )


def burying(*letters: DeadLetter) -> Changes:
    seen = {
        DIGESTER.occurrence(one.entry.event.source, one.entry.event.id): Seen(one.seq, SeenVerdict.DEAD, 7) for one in letters
    }
    counts: dict[tuple[str, str], int] = {}
    for one in letters:
        key = (one.entry.event.connector, Count.DEAD)
        counts[key] = counts.get(key, 0) + 1
    return Changes(dead=list(letters), seen=seen, counts=counts)


def parked(seq: int, *, due: int = NOW) -> Parked:
    return Parked(
        seq=Seq(seq),
        entry=Entry(event(seq)),
        extension="warranty",
        attempts=1,
        due=Micros(due),
        since=Micros(NOW),
        reason="timed out",
        trace=(Extended("terms", 0.5, "extended", ["terms"]), Extended("warranty", 1.0, "failed: no answer within 1 s", [])),
    )


async def give(store: Store, changes: Changes, wanted: Wanted = NOTHING) -> Known:
    """Apply ``changes`` and return what was known before."""
    known: list[Known] = []

    def decide(found: Known) -> Changes:
        known.append(found)
        return changes

    assert await store.apply(wanted, decide) is changes
    return known[0]


async def look(store: Store, *, digests: Any = (), identifiers: Any = ()) -> Known:
    return await give(store, Changes(), Wanted(list(digests), list(identifiers)))


class StoreContract:
    """Each test opens the same store as often as it likes through ``reopen``."""

    @pytest.fixture
    def clock(self) -> HandClock:
        return HandClock()

    @pytest.fixture
    def reopen(self) -> Reopen:
        raise NotImplementedError

    async def test_an_empty_store_knows_nothing(self, reopen: Reopen) -> None:
        async with reopen() as store:
            assert store.position == 0
            known = await look(store, digests=[digest(1)], identifiers=[("email", "a@example.com")])
            assert known == Known({}, {}, {}, ProfileKey(1), frozenset())
            assert await store.seen([digest(1)]) == {}
            assert await store.known([("email", "a@example.com")]) == set()
            assert await store.profile("email", "a@example.com", activities=1) is None
            assert await store.trace("evt-1") == []
            assert await store.next_due() is None
            assert await store.verify() == []

    async def test_a_batch_is_there_with_its_position_after_reopening(self, reopen: Reopen) -> None:
        async with reopen() as store:
            await give(store, applied(*range(1, 301)))
            assert store.position == 300
        async with reopen() as store:
            assert store.position == 300
            assert await store.verify() == []
            found = await store.profile("email", "user7@example.com", activities=5)
            assert found is not None
            assert (found.key, found.state, list(found.activities), list(found.merges)) == (7, profile(7), [activity(7, 7)], [])

    async def test_what_is_applied_while_it_is_looked_through_is_no_damage(
        self, reopen: Reopen, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def meanwhile(tables: Tables) -> list[str]:
            def rows(name: str) -> list[Row]:
                if name == "real_totals":
                    from_thread.run(give, store, applied(3, 4))
                return read(name)

            read = tables.rows
            monkeypatch.setattr(tables, "rows", rows)
            return totals(tables)

        totals = checking._examine_totals
        monkeypatch.setattr(checking, "_examine_totals", meanwhile)
        async with reopen() as store:
            await give(store, applied(1, 2))
            assert await store.verify() == []
            assert store.position == 4

    async def test_decide_is_handed_all_that_was_wanted_and_nothing_else(self, reopen: Reopen) -> None:
        async with reopen() as store:
            await give(store, applied(*range(1, 1_201)))
            wanted = [("email", f"user{n}@example.com") for n in range(600, 1_300)]
            known = await look(store, digests=[digest(n) for n in range(600, 1_300)], identifiers=[*wanted, ("other", "x")])
        assert known.seen == {digest(n): Seen(Seq(n), 1, n) for n in range(600, 1_201)}
        assert known.owners == {("email", f"user{n}@example.com"): n for n in range(600, 1_201)}
        assert known.profiles == {n: profile(n) for n in range(600, 1_201)}
        assert known.next_profile == 1_201

    async def test_profiles_are_given_what_follows_from_what_they_have_some_at_a_time(self, reopen: Reopen) -> None:
        def more(state: ProfileState) -> list[IdentifierState]:
            return [
                IdentifierState("hash", one.value.upper(), one.first_seen, one.last_seen, one.source, derived=True)
                for one in state.identifiers
                if one.kind == "email" and one.value != "user2@example.com"
            ]

        async with reopen() as store:
            changes = applied(1, 2, 3, 4)
            changes.owners["hash", "USER3@EXAMPLE.COM"] = ProfileKey(2)
            changes.profiles[ProfileKey(2)].identifiers.append(IdentifierState("hash", "USER3@EXAMPLE.COM", NOW, NOW, "shop"))
            changes.profiles[ProfileKey(4)].merged_into = ProfileKey(1)
            del changes.owners["email", "user4@example.com"]
            await give(store, changes)
            assert await store.derive(more, after=ProfileKey(0), limit=3) == 3
            assert await store.derive(more, after=ProfileKey(3), limit=3) == 4
            assert await store.derive(more, after=ProfileKey(4), limit=3) is None
        async with reopen() as store:
            known = await look(store, identifiers=[("hash", f"USER{number}@EXAMPLE.COM") for number in range(1, 5)])
            assert known.owners == {("hash", "USER1@EXAMPLE.COM"): 1, ("hash", "USER3@EXAMPLE.COM"): 2}, "what is owned stays"
            found = await store.profile("hash", "USER1@EXAMPLE.COM", activities=5)
            assert found is not None
            assert found.state.identifiers[1:] == [IdentifierState("hash", "USER1@EXAMPLE.COM", NOW, NOW, "shop", derived=True)]
            assert list(found.activities) == [activity(1, 1)], "the rest of a profile is as it was"
            assert await store.verify() == []

    async def test_a_noted_fact_is_kept_and_replaced(self, reopen: Reopen) -> None:
        async with reopen() as store:
            assert await store.noted("done") is None
            await store.note("done", "one")
            await store.note("done", "two")
        async with reopen() as store:
            assert await store.noted("done") == "two"

    async def test_a_decision_that_fails_leaves_nothing_behind(self, reopen: Reopen) -> None:
        def decide(_: Known) -> Changes:
            raise ZeroDivisionError

        async with reopen() as store:
            await give(store, applied(1))
            with pytest.raises(ZeroDivisionError):
                await store.apply(NOTHING, decide)
            await give(store, applied(2))
            assert (store.position, (await store.totals()).events) == (2, 2)

    async def test_a_batch_that_cannot_be_written_whole_is_not_written_at_all(self, reopen: Reopen) -> None:
        async with reopen() as store:
            await give(store, applied(1))
            broken = applied(2, 3)
            broken.counts = {("shop", "x"): 2**70}
            with pytest.raises(ValueError, match="do not fit"):
                await give(store, broken)
            assert store.position == 1
            assert await store.seen([digest(2)]) == {}
            assert (await look(store, identifiers=[("email", "user2@example.com")])).owners == {}

    async def test_the_position_never_goes_back_and_stays_where_none_is_given(self, reopen: Reopen) -> None:
        async with reopen() as store:
            await give(store, Changes(position=Seq(9)))
            await give(store, Changes(position=Seq(4)))
            await give(store, Changes())
            assert store.position == 9
        async with reopen() as store:
            assert store.position == 9

    async def test_sync_tells_what_is_safe_on_the_disk(self, reopen: Reopen) -> None:
        async with reopen() as store:
            assert await store.sync() == 0
            await give(store, applied(*range(1, 50)))
            assert await store.sync() == 49

    async def test_a_later_verdict_takes_the_place_of_the_first(self, reopen: Reopen, clock: HandClock) -> None:
        first = Changes(seen={digest(1): Seen(Seq(1), SeenVerdict.PARKED, 5)})
        second = Changes(
            seen={digest(1): Seen(Seq(1), SeenVerdict.APPLIED, 5), digest(2): Seen(Seq(2), SeenVerdict.APPLIED, 6)}
        )
        async with reopen() as store:
            await give(store, first)
            clock.moment = clock.moment.replace(month=12)
            await give(store, second, Wanted([digest(1), digest(2)], []))
            assert await store.seen([digest(1), digest(2)]) == second.seen
            await give(store, first)
            assert (await look(store, digests=[digest(1)])).seen == first.seen

    async def test_occurrences_are_remembered_for_longer_than_asked_and_forgotten_in_time(
        self, reopen: Reopen, clock: HandClock
    ) -> None:
        async with reopen() as store:
            for month in range(1, 13):
                clock.moment = START.replace(month=month, day=1)
                await give(store, Changes(seen={digest(month): Seen(Seq(month), SeenVerdict.FILTERED, -(2**63))}))
            every = {digest(month): Seen(Seq(month), 2, -(2**63)) for month in range(1, 13)}
            assert await store.seen(list(every)) == (await look(store, digests=list(every))).seen == every
            assert await store.expire(dead_before=Micros(0), seen_before=to_micros(START.replace(month=3, day=31))) == 0
            later = to_micros(START.replace(month=4, day=1))
            forgotten = await store.expire(dead_before=Micros(0), seen_before=later)
            assert forgotten == 3
            assert sorted(one.seq for one in (await store.seen(list(every))).values()) == list(range(4, 13))
            assert await store.expire(dead_before=Micros(0), seen_before=later) == 0
            assert await store.expire(dead_before=Micros(0), seen_before=to_micros(START.replace(year=2028))) == 9
            assert await store.seen(list(every)) == {}
            await give(store, Changes(seen={digest(1): every[digest(1)]}))
            assert len(await store.seen(list(every))) == 1

    async def test_an_event_is_recognised_for_as_long_as_it_is_kept(self, reopen: Reopen) -> None:
        waiting = Changes(parked=[parked(3)], seen={digest(3): Seen(Seq(3), SeenVerdict.PARKED, 3)})
        letter = burying(dead(4, since=NOW + 9 * 365 * DAY))
        for changes, number in ((applied(2), 2), (waiting, 3), (letter, 4)):
            async with reopen() as store:
                await give(store, changes)
                await store.expire(dead_before=Micros(0), seen_before=Micros(NOW + 3 * 365 * DAY))
                assert len(await store.seen([digest(number)])) == 1

    async def test_a_clock_set_back_does_not_shorten_the_memory(self, reopen: Reopen, clock: HandClock) -> None:
        async with reopen() as store:
            await give(store, Changes(seen={digest(1): Seen(Seq(1), 1, 1)}))
            clock.moment = START.replace(year=2020)
            await give(store, Changes(seen={digest(2): Seen(Seq(2), 1, 1)}))
            await store.expire(dead_before=Micros(0), seen_before=to_micros(START.replace(day=1)))
            assert len(await store.seen([digest(1), digest(2)])) == 2

    async def test_known_tells_identifiers_that_belong_to_somebody(self, reopen: Reopen) -> None:
        async with reopen() as store:
            await give(store, applied(1, 2))
            asked = [("email", "user1@example.com"), ("email", "nobody@example.com"), ("phone", "user1@example.com")]
            assert await store.known(asked) == {("email", "user1@example.com")}

    async def test_after_a_merge_identifiers_and_activities_lead_to_the_winner(self, reopen: Reopen) -> None:
        joined = profile(1, members=[2])
        lost = profile(2, merged_into=1)
        merge = Merge(
            seq=Seq(3),
            time=Micros(NOW),
            winner=ProfileKey(1),
            loser=ProfileKey(2),
            identifiers=[("email", "user1@example.com")],
            rule="merged on email",
            before=profile(2),
        )
        changes = Changes(
            position=Seq(3),
            profiles={ProfileKey(1): joined, ProfileKey(2): lost},
            merges=[merge],
            activities=[activity(3, 1, time=5)],
            seen={digest(3): Seen(Seq(3), 1, 3)},
        )
        async with reopen() as store:
            await give(store, applied(1, 2))
            await give(store, changes, Wanted([], [("email", f"user{n}@example.com") for n in (1, 2)]))
            assert (await store.totals()).profiles == 1
            known = await look(store, identifiers=[("email", "user2@example.com")])
            assert (known.owners, known.profiles) == ({("email", "user2@example.com"): 1}, {1: joined})
            found = await store.profile("email", "user2@example.com", activities=10)
            assert found is not None
            assert (found.key, found.state, list(found.merges)) == (1, joined, [merge])
            assert [one.seq for one in found.activities] == [2, 1, 3]
            assert [one.seq for one in (await store.profile("email", "user1@example.com", activities=2)).activities] == [2, 1]  # type: ignore[union-attr]
            assert [one.public for one in await store.trace("evt-2")] == ["public-1"]

    async def test_an_identifier_can_move(self, reopen: Reopen) -> None:
        async with reopen() as store:
            await give(store, applied(1, 2))
            moved = Changes(owners={("email", "user2@example.com"): ProfileKey(1)})
            moved.profiles = {ProfileKey(1): profile(1), ProfileKey(2): profile(2)}
            moved.profiles[ProfileKey(1)].identifiers += profile(2).identifiers
            moved.profiles[ProfileKey(2)].identifiers = []
            await give(store, moved, Wanted([], [("email", f"user{number}@example.com") for number in (1, 2)]))
            assert (await look(store, identifiers=[("email", "user2@example.com")])).owners == {
                ("email", "user2@example.com"): 1
            }
            assert await store.verify() == []

    async def test_parked_events_come_back_when_they_are_due(self, reopen: Reopen) -> None:
        waiting = [parked(1, due=NOW + 3), parked(2, due=NOW + 1), parked(3, due=NOW + 9)]
        async with reopen() as store:
            await give(store, Changes(parked=waiting))
        async with reopen() as store:
            assert await store.next_due() == NOW + 1
            assert await store.due(Micros(NOW + 5), limit=10) == [waiting[1], waiting[0]]
            assert await store.due(Micros(NOW + 5), limit=1) == [waiting[1]]
            assert await store.parked(limit=2) == waiting[:2]
            assert await store.waiting_for() == {waiting[0].extension: 3}
            totals = await store.totals()
            assert (totals.parked, totals.parked_bytes > 300) == (3, True)
            again = msgspec.structs.replace(waiting[2], due=Micros(NOW + 99), attempts=2)
            await give(store, Changes(unparked=[Seq(1), Seq(2), Seq(3), Seq(77)], parked=[again]))
            assert await store.parked(limit=9) == [again]
            assert await store.verify() == []
            await give(store, Changes(unparked=[Seq(3)]))
            totals = await store.totals()
            assert (totals.parked, totals.parked_bytes, await store.next_due()) == (0, 0, None)

    async def test_dead_letters_are_found_by_filter(self, reopen: Reopen) -> None:
        letters = [
            dead(1, kind="order.paid"),
            dead(2, kind="order.[x]?", source="crm.contacts"),
            dead(3, kind="page.viewed", code="id_length"),
        ]
        async with reopen() as store:
            await give(store, burying(*letters))
            for which, found in [
                (EVERYTHING, [1, 2, 3]),
                (DeadLetterFilter(connector="crm"), [2]),
                (DeadLetterFilter(type="order.*"), [1, 2]),
                (DeadLetterFilter(type="order.[x]?"), [2]),
                (DeadLetterFilter(type="order.?aid"), []),
                (DeadLetterFilter(code="id_length", connector="shop"), [3]),
                (DeadLetterFilter(seqs=[Seq(3), Seq(1), Seq(9)]), [1, 3]),
                (DeadLetterFilter(seqs=[]), []),
                (DeadLetterFilter(limit=2), [1, 2]),
            ]:
                assert [one.seq for one in await store.dead_letters(which)] == found
            assert await store.dead_letters(EVERYTHING) == letters

    async def test_dead_letters_are_counted_by_connector_type_and_code(self, reopen: Reopen) -> None:
        letters = [
            dead(1, kind="b"),
            dead(2, kind="a"),
            dead(3, kind="a"),
            dead(4, kind="a", code="id_length"),
            dead(5, kind=""),
        ]
        async with reopen() as store:
            assert await store.dead_letter_causes(limit=9) == []
            await give(store, burying(*letters))
            found = await store.dead_letter_causes(limit=9)
            code = letters[0].fault.code
            assert [(one.type, one.code, one.count, one.newest) for one in found] == [
                ("a", code, 2, 3),
                ("", code, 1, 5),
                ("a", "id_length", 1, 4),
                ("b", code, 1, 1),
            ]
            assert (found[0].connector, found[0].first, found[0].last) == ("shop", letters[1].since, letters[2].since)
            assert [one.count for one in await store.dead_letter_causes(limit=1)] == [2]
            assert [one.seq for one in await store.dead_letters(DeadLetterFilter(type=""))] == [5]

    async def test_each_extension_has_its_turn_however_many_wait_for_another(self, reopen: Reopen) -> None:
        slow = [parked(n, due=NOW + n) for n in range(1, 9)]
        other = [msgspec.structs.replace(parked(n, due=NOW + n), extension="terms") for n in (20, 21)]
        later = Micros(NOW + DAY)
        async with reopen() as store:
            await give(store, Changes(parked=[*slow, *other]))
            assert [one.seq for one in await store.due(later, limit=5)] == [20, 1, 21, 2, 3]
            assert [one.seq for one in await store.due(later, limit=3, without=[Seq(20), Seq(1)])] == [21, 2, 3]
            assert await store.due(Micros(NOW), limit=3) == []

    async def test_which_of_the_events_asked_for_are_still_parked_is_known(self, reopen: Reopen) -> None:
        async with reopen() as store:
            await give(store, Changes(parked=[parked(1), parked(3)]))
            known = await give(store, Changes(unparked=[Seq(1)]), Wanted([], [], [Seq(1), Seq(2), Seq(3)]))
            assert known.parked == {1, 3}
            known = await give(store, Changes(), Wanted([], [], [Seq(1)]))
            assert known.parked == frozenset()

    async def test_a_revived_dead_letter_is_parked_and_due_and_counted_as_such(self, reopen: Reopen) -> None:
        nameless = dead(4)
        nameless = msgspec.structs.replace(nameless, entry=Entry(msgspec.structs.replace(nameless.entry.event, id="")))
        async with reopen() as store:
            await give(store, burying(dead(1), dead(2, source="crm")))
            await give(store, Changes(dead=[nameless], counts={("shop", Count.DEAD): 1}))
            later = Micros(NOW + DAY)
            assert await store.revive(DeadLetterFilter(connector="shop"), now=later) == 2
            assert [one.seq for one in await store.dead_letters(EVERYTHING)] == [2]
            one, _ = await store.due(later, limit=9)
            assert (one.seq, one.entry, one.retry, one.due, one.since, one.attempts) == (
                1,
                dead(1).entry,
                True,
                later,
                later,
                2,
            )
            assert await store.counts() == {
                ("shop", Count.DEAD): 0,
                ("shop", Count.PARKED): 2,
                ("crm", Count.DEAD): 1,
            }
            totals = await store.totals()
            assert (totals.dead_letters, totals.parked) == (1, 2)
            (trace,) = await store.trace("evt-1")
            assert (trace.seen.verdict, trace.parked) == (SeenVerdict.PARKED, one)
            assert await store.verify() == []

    async def test_a_discarded_dead_letter_counts_as_filtered(self, reopen: Reopen) -> None:
        async with reopen() as store:
            await give(store, burying(dead(1), dead(2)))
            assert await store.discard(DeadLetterFilter(seqs=[Seq(1)]), now=NOW) == 1
            assert await store.counts() == {("shop", Count.DEAD): 1, ("shop", Count.FILTERED): 1}
            assert (await store.totals()).dead_letters == 1
            (trace,) = await store.trace("evt-1")
            assert (trace.seen.verdict, trace.activity, trace.dead, trace.parked) == (SeenVerdict.FILTERED, None, None, None)

    async def test_a_record_that_could_not_be_mapped_leaves_the_event_of_the_same_id_alone(self, reopen: Reopen) -> None:
        unmapped = msgspec.structs.replace(dead(2), entry=Entry(event(1), fault=Fault("null", "no"), raw=b"{}"))
        elder = msgspec.structs.replace(dead(3), entry=Entry(event(1)))
        async with reopen() as store:
            await give(store, burying(dead(1)))
            await give(store, Changes(dead=[unmapped, elder], counts={("shop", Count.DEAD): 2}))
            assert await store.discard(DeadLetterFilter(seqs=[Seq(2), Seq(3)]), now=NOW) == 2
            (trace,) = await store.trace("evt-1")
            assert (trace.seen.verdict, trace.dead) == (SeenVerdict.DEAD, dead(1))

    async def test_old_dead_letters_expire(self, reopen: Reopen) -> None:
        async with reopen() as store:
            await give(store, burying(*(dead(n, since=NOW - n * DAY) for n in range(1, 6))))
            assert await store.expire(dead_before=Micros(NOW - 2 * DAY), seen_before=Micros(0)) == 3
            assert [one.seq for one in await store.dead_letters(EVERYTHING)] == [1, 2]
            assert await store.counts() == {("shop", Count.DEAD): 2, ("shop", Count.FILTERED): 3}

    async def test_an_event_that_fails_again_replaces_its_dead_letter(self, reopen: Reopen) -> None:
        async with reopen() as store:
            await give(store, burying(dead(1)))
            await give(store, burying(dead(1, code="again")))
            assert [one.fault.code for one in await store.dead_letters(EVERYTHING)] == ["again"]
            assert (await store.totals()).dead_letters == 1

    async def test_a_trace_shows_what_became_of_an_id_in_every_source(self, reopen: Reopen) -> None:
        letter, waiting = dead(2, source="crm.contacts"), parked(3)
        filtered = Changes(
            seen={digest(5, "supplier"): Seen(Seq(5), SeenVerdict.FILTERED, 1)}, counts={("supplier", Count.FILTERED): 1}
        )
        async with reopen() as store:
            await give(store, applied(1))
            await give(store, Changes(seen={digest(4): Seen(Seq(4), 1, 1)}, activities=[activity(4, None)]))
            await give(store, burying(letter))
            await give(store, Changes(parked=[waiting], seen={digest(3): Seen(Seq(3), SeenVerdict.PARKED, 1)}))
            await give(store, filtered)
            (one,) = await store.trace("evt-1")
            assert (one.source, one.activity, one.public) == ("shop", activity(1, 1), "public-1")
            (one,) = await store.trace("evt-2")
            assert (one.source, one.dead) == ("crm.contacts", letter)
            (one,) = await store.trace("evt-3", source="shop")
            assert one.parked == waiting
            (one,) = await store.trace("evt-4")
            assert (one.activity, one.public) == (activity(4, None), None)
            (one,) = await store.trace("evt-5")
            assert (one.source, one.seen.verdict, one.activity) == ("supplier", SeenVerdict.FILTERED, None)
            assert await store.trace("evt-1", source="crm.contacts") == []

    async def test_what_was_seen_but_is_no_longer_kept_is_still_traced(self, reopen: Reopen) -> None:
        async with reopen() as store:
            gone = {digest(n): Seen(Seq(n), n, 1) for n in (1, 3, 4)}
            await give(store, Changes(seen=gone, counts={("shop", Count.APPLIED): 1}))
            for n in (1, 3, 4):
                (one,) = await store.trace(f"evt-{n}")
                assert (one.seen, one.activity, one.dead, one.parked) == (gone[digest(n)], None, None, None)

    async def test_totals_follow_what_is_applied(self, reopen: Reopen) -> None:
        async with reopen() as store:
            await give(store, applied(1, 2, 3, profile_of=lambda _: 1))
            await give(
                store,
                applied(4, profile_of=lambda _: 1),
                Wanted([], [("email", "user1@example.com")]),
            )
            totals = await store.totals()
            assert (totals.events, totals.profiles, totals.activities, totals.dead_letters, totals.parked) == (4, 1, 4, 0, 0)
            assert totals.bytes > 0
            assert await store.counts() == {("shop", Count.APPLIED): 4}

    async def test_audit_rows_are_kept_newest_first(self, reopen: Reopen) -> None:
        rows = [
            Audit(time=Micros(n), uid=0, user="root", role="admin", command="pause", arguments="shop", outcome="done")
            for n in range(3)
        ]
        async with reopen() as store:
            for row in rows:
                await store.audit(row)
        async with reopen() as store:
            assert await store.audits(limit=2) == [rows[2], rows[1]]
