"""Who is who, resolved anew over the whole history: shown first, then carried out while events are taken."""

import itertools
import sqlite3
from contextlib import suppress
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from cdmd.batches.histories import pages
from cdmd.config.schema import IdentifierSettings
from cdmd.daemon import rebuilding
from cdmd.errors import BadArguments, CdmdError, Damaged
from cdmd.identity.identifiers import Pair
from cdmd.models import Seq
from cdmd.store.rehearsal import SqliteRehearsal
from tests.daemon.older import written_before
from tests.daemon.people import KINDS, Town, groups, happened, identified, town
from tests.daemon.test_splitting import forget

pytestmark = pytest.mark.anyio

ANN, JOE, TV = ("email", "ann@example.com"), ("email", "joe@example.com"), ("anonymous_id", "tv")
U1, U2, U3 = ("user_id", "u1"), ("user_id", "u2"), ("user_id", "u3")
CONTESTED = (
    happened("e1", 1, [U1, ANN]),
    happened("e2", 2, [U2, ANN], traits={"name": "Ann"}),
    happened("e3", 3, [U2, TV]),
    happened("e4", 4, [TV, JOE]),
    happened("e5", 5, [U3, JOE]),
)


def kept(people: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Everybody but for the ids, which the order of arrival has a say in."""
    return sorted(people.values(), key=lambda one: (one["events"], one["identifiers"]))


async def test_any_order_of_arrival_ends_in_the_same_people_once_they_are_rebuilt(tmp_path: Path) -> None:
    found = []
    for number, arrived in enumerate(Random(5).sample(list(itertools.permutations(CONTESTED)), 8)):
        async with town(tmp_path / f"{number}.db") as here:
            for one in arrived:
                await here.take(one)
            job = await here.job("rebuild")
            assert (job.state, job.left, job.problem) == ("done", 0, None)
            await here.assert_whole()
            found.append(kept(await here.people()))
            assert job.report is not None
            assert job.report.changed == job.applied
            again = await here.job("rebuild")
            assert again.report is not None
            assert (again.report.changed, again.applied) == (0, 0), "what was rebuilt is as a rebuild would make it"
    assert all(one == found[0] for one in found)
    assert [one["identifiers"] for one in found[0]] == [
        ["email:ann@example.com", "user_id:u1"],
        ["anonymous_id:tv", "email:joe@example.com", "user_id:u2"],
        ["user_id:u3"],
    ]


async def test_a_trial_says_what_other_rules_would_do_and_changes_nothing(tmp_path: Path) -> None:
    async with town(tmp_path / "store.db") as here:
        await here.take(*CONTESTED)
        before, untouched = await here.people(), await rows(here)
        looser = {**KINDS, "user_id": IdentifierSettings(priority=1, limit=9)}
        job = await here.job("try", looser)
        assert job.report is not None
        report = msgspec.to_builtins(job.report)
        assert (report["profiles_before"], report["profiles_after"], report["events"]) == (3, 1, 5)
        assert (report["joined"], report["into"], report["split"]) == (3, 1, 0)
        (join,) = report["largest_joins"]
        assert set(join["profiles"]) == set(before)
        assert (join["people"], join["events"]) == (1, 5)
        stricter = {**KINDS, "anonymous_id": IdentifierSettings(priority=9, blocked=("tv",), shared=False)}
        job = await here.job("try", stricter)
        assert job.report is not None
        report = msgspec.to_builtins(job.report)
        assert (report["profiles_before"], report["profiles_after"]) == (3, 3)
        assert (report["split"], report["parts"], report["joined"], report["into"]) == (1, 2, 2, 1)
        assert report["largest_splits"][0]["people"] == 2
        assert await here.people() == before
        assert await rows(here) == untouched


async def rows(here: Town) -> list[Any]:
    database = sqlite3.connect(here.store.path)
    found = [database.execute(f"SELECT * FROM {table}").fetchall() for table in ("profiles", "activities", "identifiers")]
    database.close()
    return found


async def test_changed_rules_are_applied_to_the_history_and_everybody_is_what_their_events_come_to(tmp_path: Path) -> None:
    async with town(tmp_path / "store.db") as here:
        await here.take(*CONTESTED)
        before = await here.people()
        here.kinds = here.by(identity(user_id=IdentifierSettings(priority=1, limit=9)))
        assert (await here.job("rebuild")).applied == 3
        await here.assert_whole()
        (public,) = await here.people()
        assert public in before, "the oldest keeps its id"
        for one in before:
            person = await here.store.directory.named(one)
            assert person is not None
            assert person.state.public == public, "and the others' ids lead there"
        here.kinds = here.by(identity())
        assert (await here.job("rebuild")).applied == 1
        await here.assert_whole()
        assert await here.people() == before, "back under the rules from before everybody has the id that they had"


def identity(**changed: IdentifierSettings) -> dict[str, IdentifierSettings]:
    return {**KINDS, **changed}


async def test_a_split_outlives_a_rebuild(tmp_path: Path) -> None:
    async with town(tmp_path / "store.db") as here:
        await here.take(happened("a1", 1, [ANN, TV]), happened("both", 3, [JOE, TV]), happened("x", 4, [TV]))
        await here.split(ANN, JOE)
        before = await here.people()
        job = await here.job("rebuild")
        assert job.report is not None
        assert job.report.changed == 0
        assert await here.people() == before


async def test_a_split_outlives_rules_under_which_neither_side_is_anybody(tmp_path: Path) -> None:
    async with town(tmp_path / "store.db") as here:
        await here.take(happened("a1", 1, [ANN, TV]), happened("both", 3, [JOE, TV]), happened("x", 4, [TV]))
        await here.split(ANN, JOE)
        before, kinds = await here.people(), here.kinds
        blocked = IdentifierSettings(priority=2, limit=5, blocked=(ANN[1], JOE[1]))
        here.kinds = here.by(identity(email=blocked))
        assert (await here.job("rebuild")).left == 0
        assert groups(await here.people()) == {frozenset({"anonymous_id:tv"})}
        here.kinds = kinds
        for _ in range(2):
            assert (await here.job("rebuild")).left == 0
            assert groups(await here.people()) == groups(before)
            await here.assert_whole()


@pytest.mark.parametrize("lift", [False, True])
async def test_a_split_counts_again_from_the_next_rebuild_on_until_it_is_lifted(tmp_path: Path, lift: bool) -> None:
    async with town(tmp_path / "store.db") as here:
        await here.take(happened("a1", 1, [ANN, TV]), happened("both", 3, [JOE, TV]), happened("x", 4, [TV]))
        await here.split(ANN, JOE)
        kinds = here.kinds
        blocked = IdentifierSettings(priority=2, limit=5, blocked=(ANN[1], JOE[1]))
        here.kinds = here.by(identity(email=blocked))
        assert (await here.job("rebuild")).left == 0
        here.kinds = kinds
        await here.take(happened("n1", 5, [U1, ANN]), happened("n2", 6, [U1, JOE]))
        if lift:
            await here.splitting.lift(ANN, JOE)
            with pytest.raises(BadArguments, match="not kept apart"):
                await here.splitting.lift(ANN, JOE)
        assert (await here.job("rebuild")).left == 0
        owners = [await here.store.profile(*one, activities=0) for one in (ANN, JOE)]
        assert (len({one.key for one in owners if one is not None}) == 1) is lift
        await here.assert_whole()


VALUES = {"user_id": ("u1", "u2", "u3"), "email": ("a@x.se", "b@x.se", "c@x.se"), "anonymous_id": ("t1", "t2")}
PAIRS = [(kind, value) for kind, values in VALUES.items() for value in values]


@pytest.mark.parametrize("before", [False, True], ids=["keyed", "plain"])
@pytest.mark.parametrize("seed", [10, 20, 22, 33])
async def test_splits_hold_through_rebuilds_by_whatever_rules(tmp_path: Path, seed: int, *, before: bool) -> None:
    random, apart = Random(seed), list[tuple[Pair, Pair]]()
    async with town(tmp_path / "store.db") as here:
        for number in range(5):
            for name in range(random.randint(1, 5)):
                mine = {kind: random.choice(values) for kind, values in VALUES.items() if random.random() < 0.6}
                await here.take(happened(f"r{number}n{name}", random.randint(0, 300), mine))
            both = tuple(random.sample(PAIRS, 2))
            with suppress(CdmdError):  # one of them is nobody's
                await here.splitting.split(*both, apply=True)
                apart.append(both)
            if before:
                await written_before(here.store, here.kinds.splits, PAIRS)
            for kinds in (drawn(random), {kind: IdentifierSettings(limit=9, shared=False) for kind in VALUES}):
                here.kinds = here.by(kinds)
                assert (await here.job("rebuild")).left == 0
                await here.assert_whole()
                people = [one["identifiers"] for one in (await here.people()).values()]
                assert not [both for both in apart for one in people if identified(both) <= set(one)]


def drawn(random: Random) -> dict[str, IdentifierSettings]:
    """Rules by which some identifiers are nobody's and others too many."""
    return {
        kind: IdentifierSettings(
            priority=place,
            limit=random.choice((1, 9)),
            blocked=tuple(random.sample(values, random.randint(0, len(values)))),
            shared=False,
        )
        for place, (kind, values) in enumerate(VALUES.items(), 1)
    }


async def test_events_that_arrive_while_it_runs_are_their_peoples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with town(tmp_path / "store.db") as here:
        for one in reversed(CONTESTED):
            await here.take(one)
        compare = rebuilding.SqliteRehearsal.compare

        async def slowly(tables: Any) -> None:
            await compare(tables)
            await here.take(happened("late", 9, [U2, ANN]), happened("new", 10, [("user_id", "u9")]))

        monkeypatch.setattr(rebuilding.SqliteRehearsal, "compare", slowly)
        job = await here.job("rebuild")
        assert (job.state, job.left) == ("done", 0)
        await here.assert_whole()
        people = await here.people()
        (mine,) = [one for one in people.values() if "late" in one["events"]]
        assert "user_id:u2" in mine["identifiers"]
        assert ["new"] in [one["events"] for one in people.values()]


async def test_a_restriction_while_it_runs_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with town(tmp_path / "store.db") as here:
        await here.take(happened("a1", 1, [ANN, TV]), happened("both", 3, [JOE, TV]))
        here.kinds = here.by(identity(email=IdentifierSettings(priority=2, limit=1)))
        here.before_the_next_is_written(partial(here.restrict, ANN), monkeypatch)
        assert (await here.job("rebuild")).applied == 1
        states = (await here.living()).values()
        assert [one.restricted is not None and one.restricted.value for one in states] == [True, True]


async def test_profiles_that_were_joined_meanwhile_are_left_for_the_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with town(tmp_path / "store.db") as here:
        for one in reversed(CONTESTED):
            await here.take(one)
        compare = rebuilding.SqliteRehearsal.compare

        async def slowly(tables: Any) -> None:
            await compare(tables)
            await here.take(happened("p", 9, [("anonymous_id", "p")]), happened("q", 10, [("anonymous_id", "p"), JOE]))

        with monkeypatch.context() as patched:
            patched.setattr(rebuilding.SqliteRehearsal, "compare", slowly)
            job = await here.job("rebuild")
        assert (job.state, job.left > 0) == ("done", True)
        await here.assert_whole()
        assert (await here.job("rebuild")).left == 0
        await here.assert_whole()


@pytest.mark.parametrize(("bound", "value"), [("MOST_TOGETHER", 0), ("MOST_EVENTS", 0), ("_ATTEMPTS", 0)])
async def test_what_is_too_much_at_once_is_left_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bound: str, value: int
) -> None:
    monkeypatch.setattr(rebuilding, bound, value)
    async with town(tmp_path / "store.db") as here:
        for one in reversed(CONTESTED):
            await here.take(one)
        before = await here.people()
        job = await here.job("rebuild")
        assert (job.state, job.applied, job.left > 0) == ("done", 0, True)
        assert await here.people() == before


async def test_nobody_falls_apart_because_what_joined_them_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    async with town(path) as here:
        await here.take(happened("a1", 1, [ANN, TV]), happened("a2", 2, [TV, U1]), happened("a3", 3, [ANN]))
        await here.take(happened("a4", 4, [U1]), happened("a5", 5, [TV]))
        before = await here.people()
    forget(path, before=3)
    async with town(path) as here:
        here.seq = 5
        job = await here.job("rebuild")
        assert job.report is not None
        assert (job.report.changed, job.report.remembered) == (0, 1)
        assert groups(await here.people()) == groups(before)


@pytest.mark.parametrize("how", ["a split is lifted", "a limit is raised"])
async def test_who_has_no_events_left_is_part_of_whoever_has_the_identifier(tmp_path: Path, how: str) -> None:
    split, phone, other = how == "a split is lifted", ("anonymous_id", "phone"), ("anonymous_id", "other")
    only = IdentifierSettings(priority=9, limit=1, shared=False)
    async with town(tmp_path / "store.db", KINDS if split else identity(anonymous_id=only)) as here:
        await here.take(
            happened("p", 200, [phone], traits={"name": "Ann"}), happened("j", 50, [JOE] if split else [JOE, other])
        )
        if split:
            await here.splitting.split(JOE, phone, apply=True)
        await here.take(happened("given up", 100, [JOE, phone]))
        assert len(await here.people()) == 2
        assert await here.store.forgetting.drop_activities([Seq(1)]) == 1
        if split:
            await here.splitting.lift(JOE, phone)
        here.kinds = here.by(identity())
        assert (await here.job("rebuild")).left == 0
        assert await here.store.verify() == []
        (one,) = (await here.people()).values()
        assert {"email:joe@example.com", "anonymous_id:phone"} <= set(one["identifiers"])
        assert (one["events"], one["indicators"]["seen"]) == (["given up", "j"], 3)
        assert one["traits"]["name"][0] == "Ann"


async def test_who_loses_the_last_identifier_to_another_is_made_anew_in_turn(tmp_path: Path) -> None:
    mail = IdentifierSettings(priority=2, limit=1)
    async with town(tmp_path / "store.db", identity(email=mail)) as here:
        await here.take(happened("j", 3, [U1, ANN]), happened("k", 5, [("email", "kim@example.com"), TV]))
        await here.take(happened("p", 10, [JOE, TV]), happened("late", 2, [U1, JOE]))
        assert [one["events"] for one in (await here.people()).values()] == [["j", "late"], ["k"], ["p"]]
        here.kinds = here.by(identity(email=mail, anonymous_id=IdentifierSettings(priority=1, shared=False)))
        assert (await here.job("rebuild")).left == 0
        await here.assert_whole()
        assert groups(await here.people(), "events") == {frozenset({"j", "late"}), frozenset({"k", "p"})}


async def test_a_rebuild_that_was_cut_off_begins_again_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "store.db"
    async with town(path) as here:
        for one in reversed(CONTESTED):
            await here.take(one)
        await here.rebuilding.rebuild()
        assert here.rebuilding.progress == "identities are rebuilt: beginning"
        with pytest.raises(BadArguments, match="an identity rebuild is under way"):
            await here.rebuilding.attempt(None)
    async with town(path) as here:
        await here.rebuilding.load()
        assert (await here.finished()).applied == 3
        assert here.rebuilding.progress is None
        assert not (tmp_path / "scratch-rehearsal").exists()
        await here.assert_whole()
    async with town(path) as here:
        await here.rebuilding.load()
        assert here.rebuilding.job.state == "idle"


async def test_a_trial_that_fails_says_why_and_a_rebuild_tries_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with town(tmp_path / "store.db") as here:
        await here.take(*CONTESTED)
        compare, failures = rebuilding.SqliteRehearsal.compare, [1]

        async def failing(tables: Any) -> None:
            if failures:
                failures.pop()
                raise CdmdError("the disk is full")
            await compare(tables)

        monkeypatch.setattr(rebuilding.SqliteRehearsal, "compare", failing)
        job = await here.job("try")
        assert (job.state, job.problem) == ("failed", "the disk is full")
        failures.append(1)
        job = await here.job("rebuild")
        assert (job.state, job.problem) == ("done", None)


async def test_a_fault_of_ours_fails_a_trial_and_a_rebuild_is_begun_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def breaks(_: object) -> None:
        raise LookupError("joe@example.com")

    async with town(tmp_path / "store.db") as here:
        await here.take(*CONTESTED)
        with monkeypatch.context() as broken:
            broken.setattr(rebuilding.Rehearsing, "run", breaks)
            await here.rebuilding.attempt(None)
            with pytest.raises(LookupError):
                await here.rebuilding.run()
            assert here.rebuilding.now().state == "failed"
            await here.rebuilding.rebuild()
            with pytest.raises(LookupError):
                await here.rebuilding.run()
        assert here.rebuilding.now().state == "running"
        assert (await here.finished()).state == "done"


async def test_an_event_that_nothing_names_any_more_stays_where_it_was(tmp_path: Path) -> None:
    async with town(tmp_path / "store.db") as here:
        await here.take(
            happened("a1", 1, [U1, TV]), happened("a2", 2, [TV]), happened("a3", 3, [JOE, TV]), happened("a4", 4, [U2])
        )
        here.kinds = here.by(identity(anonymous_id=IdentifierSettings(priority=9, blocked=("tv",), shared=False)))
        job = await here.job("rebuild")
        assert job.left == 0
        await here.assert_whole()
        found = {frozenset(one["identifiers"]): one["events"] for one in (await here.people()).values()}
        assert found == {
            frozenset({"user_id:u1"}): ["a1", "a2"],
            frozenset({"email:joe@example.com"}): ["a3"],
            frozenset({"user_id:u2"}): ["a4"],
        }
        assert await here.store.profile(*TV, activities=0) is None, "a blocked value is nobody's"


async def test_what_a_rebuild_joined_is_explained_by_the_event_that_joined_it(tmp_path: Path) -> None:
    async with town(tmp_path / "store.db") as here:
        await here.take(happened("e1", 1, [U1, ANN]), happened("e2", 2, [U2, JOE]), happened("e3", 3, [U1, JOE]))
        here.kinds = here.by(identity(user_id=IdentifierSettings(priority=1, limit=2)))
        assert (await here.job("rebuild")).applied == 2
        found = await here.store.profile(*U2, activities=9)
        assert found is not None
        assert [(one.seq, one.rule, one.before.identifiers[0].value) for one in found.merges] == [
            (3, "merged on user_id, email", "u2")
        ]
        assert {one.event.id: one.rule for one in found.activities}["e3"] == "merged on user_id, email"
        await here.assert_whole()


async def test_a_rehearsal_whose_disk_fails_says_so(tmp_path: Path) -> None:
    async with SqliteRehearsal.open(tmp_path / "no such folder" / "rehearsal.db") as tables:
        with pytest.raises(CdmdError, match="the rehearsal cannot go on: unable to open"):
            await tables.figures()


async def test_activities_that_stand_before_each_other_are_damage(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    async with town(path) as here:
        await here.take(*(happened(f"a{n}", n, [ANN, TV]) for n in range(3)))
    database = sqlite3.connect(path)
    with database:
        database.execute("UPDATE activities SET before = 3 WHERE seq = 1")
    database.close()
    async with town(path) as here:
        with pytest.raises(Damaged, match="stand before each other in a circle"):
            [page async for page in pages(here.store, [Seq(3)], at_once=3)]


async def test_an_erasure_in_between_throws_away_what_is_known_and_begins_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with town(tmp_path / "store.db") as here:
        for one in reversed(CONTESTED):
            await here.take(one)
        answers: list[int | None] = [None, 1, 1, 2]
        asked: list[int | None] = []

        def settled() -> int | None:
            asked.append(answers.pop(0) if len(answers) > 1 else answers[0])
            return asked[-1]

        here.rebuilding = rebuilding.Rebuilding(here, tmp_path / "scratch-rehearsal", journal_id="one", settled=settled)
        job = await here.job("rebuild")
        assert (job.state, job.applied, asked[:4]) == ("done", 3, [None, 1, 1, 2])
        await here.assert_whole()
