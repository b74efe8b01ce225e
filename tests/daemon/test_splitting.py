"""One profile becomes two people, and they are what they would have been."""

import sqlite3
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from cdmd.config.schema import IdentifierSettings
from cdmd.daemon.running import Running
from cdmd.errors import BadArguments, CdmdError, Damaged, NotFound
from cdmd.identity.identifiers import Pair
from cdmd.models import Event, Merge, ProfileKey, Record, Seq, to_micros
from tests.daemon.doubles import Fetcher, World, applied, until
from tests.daemon.people import KINDS, START, groups, happened, town

pytestmark = pytest.mark.anyio

ANN, JOE, TV = ("email", "ann@example.com"), ("email", "joe@example.com"), ("anonymous_id", "tv")


async def test_a_merge_is_undone_with_everything_that_it_brought_together(tmp_path: Path) -> None:
    async with town(tmp_path / "store.db") as here:
        await here.take(
            happened("a1", 1, [ANN], traits={"name": "Ann", "city": "Lund"}, source="crm"),
            happened("a2", 2, [ANN, TV]),
            happened("j1", 3, [JOE], traits={"name": "Joe", "city": "Umea"}),
            happened("j2", 4, [JOE], traits={"vip": True}),
        )
        before = await here.people()
        await here.take(happened("both", 5, [JOE, TV], traits={"city": "Kiruna"}), happened("tv", 6, [TV]))
        await here.assert_whole()
        merged = await here.people()
        (public,) = merged
        assert public in before
        await here.split(ANN, JOE)
        await here.assert_whole()
        after = await here.people()
        assert set(after) == set(before), "both have the ids again that they had"
        ann, joe = sorted(after.values(), key=lambda one: one["identifiers"])
        assert (ann["identifiers"], joe["identifiers"]) == (
            ["anonymous_id:tv", "email:ann@example.com"],
            ["email:joe@example.com"],
        )
        assert (ann["events"], joe["events"]) == (["a1", "a2", "tv"], ["both", "j1", "j2"])
        assert ann["traits"]["city"][0] == "Lund"
        assert joe["traits"]["city"][0] == "Kiruna"
        assert (ann["audiences"], joe["audiences"]) == (["lately", "named", "often"], ["lately", "named", "often"])


async def test_what_was_split_is_not_joined_again_whatever_arrives(tmp_path: Path) -> None:
    async with town(tmp_path / "store.db") as here:
        await here.take(happened("a1", 1, [ANN, TV]), happened("j1", 2, [JOE]), happened("both", 3, [JOE, TV]))
        assert len(await here.people()) == 1
        await here.split(ANN, JOE)
        await here.take(
            happened("again", 4, [JOE, TV]),
            happened("named", 5, [("user_id", "u1"), ANN]),
            happened("worse", 6, [("user_id", "u1"), JOE, ("anonymous_id", "new")]),
        )
        people = await here.people()
        assert groups(people) == {
            frozenset({"email:ann@example.com", "anonymous_id:tv", "user_id:u1", "anonymous_id:new"}),
            frozenset({"email:joe@example.com"}),
        }
        assert (await here.store.counts())["shop", "kept_apart"] == 2
        found = await here.store.profile(*JOE, activities=9)
        assert found is not None
        rules = {one.event.id: one.rule for one in found.activities}
        assert rules["again"] == "matched email; anonymous_id given up: kept apart by a split"
        assert rules["both"] == "matched email; anonymous_id given up: kept apart by a split"
        await here.assert_whole()


async def test_a_split_can_be_lifted_and_then_the_next_event_joins(tmp_path: Path) -> None:
    async with town(tmp_path / "store.db") as here:
        await here.take(happened("a1", 1, [ANN, TV]), happened("both", 3, [JOE, TV]))
        await here.split(ANN, JOE)
        assert (await here.splitting.lift(TV, JOE)).applied
        assert len(await here.people()) == 2
        with pytest.raises(BadArguments, match="not kept apart"):
            await here.splitting.lift(ANN, JOE)
        await here.take(happened("again", 4, [JOE, TV]))
        assert len(await here.people()) == 1
        await here.assert_whole()


async def test_two_who_are_two_already_can_be_told_to_stay_so(tmp_path: Path) -> None:
    async with town(tmp_path / "store.db") as here:
        await here.take(happened("a1", 1, [ANN, TV]), happened("j1", 2, [JOE]))
        shown = await here.splitting.split(ANN, JOE, apply=False)
        assert (shown.applied, "would stay so" in shown.summary) == (False, True)
        assert (await here.splitting.split(ANN, JOE, apply=True)).applied
        await here.take(happened("both", 3, [JOE, TV]))
        assert len(await here.people()) == 2
        await here.assert_whole()


async def test_a_split_says_what_cannot_be_split(tmp_path: Path) -> None:
    async with town(tmp_path / "store.db") as here:
        await here.take(happened("a1", 1, [ANN, TV]))
        with pytest.raises(NotFound, match="nobody is known by that email"):
            await here.splitting.split(ANN, JOE, apply=False)
        with pytest.raises(BadArguments, match="the same identifier"):
            await here.splitting.split(ANN, ANN, apply=True)
        assert (await here.people()).keys() == {(await here.store.profile(*ANN, activities=0)).state.public}  # type: ignore[union-attr]


async def test_an_event_that_comes_in_between_is_not_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with town(tmp_path / "store.db") as here:
        await here.take(happened("a1", 1, [ANN, TV]), happened("both", 3, [JOE, TV]))
        apply, late = here.store.apply, [happened("late", 4, [JOE])]

        async def interrupted(*arguments: Any) -> Any:
            monkeypatch.setattr(here.store, "apply", apply)
            await here.take(*late)
            return await apply(*arguments)

        monkeypatch.setattr(here.store, "apply", interrupted)
        report = await here.splitting.split(ANN, JOE, apply=True)
        assert [side.events for side in report.sides] == [1, 2]
        await here.assert_whole()


async def test_a_restriction_that_comes_in_between_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with town(tmp_path / "store.db") as here:
        await here.take(happened("a1", 1, [ANN, TV]), happened("both", 3, [JOE, TV]))
        here.before_the_next_is_written(partial(here.restrict, ANN), monkeypatch)
        assert (await here.splitting.split(ANN, JOE, apply=True)).applied
        states = (await here.living()).values()
        assert [one.restricted is not None and one.restricted.value for one in states] == [True, True], (
            "unknown whose word: both"
        )


async def test_digests_that_are_derived_in_between_are_somebodys_still(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with town(tmp_path / "store.db") as here:
        await here.take(happened("a1", 1, [ANN, TV]), happened("both", 3, [JOE, TV]))
        here.kinds = here.by({**KINDS, "email_sha256": IdentifierSettings(priority=3)})
        derive = partial(here.store.derive, here.kinds.underived, after=ProfileKey(0), limit=100)
        here.before_the_next_is_written(derive, monkeypatch)
        assert (await here.splitting.split(ANN, JOE, apply=True)).applied
        await here.take(happened("hashed", 5, [here.kinds.digests(ANN)[0]]))
        await here.assert_whole()
        assert sorted(one["events"] for one in (await here.people()).values()) == [["a1", "hashed"], ["both"]]


async def test_a_merge_that_stays_says_nothing_more_of_who_is_erased_in_between(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsaid(merge: Merge) -> Merge:
        return msgspec.structs.replace(merge, identifiers=[])

    async with town(tmp_path / "store.db") as here:
        await here.take(happened("a1", 1, [ANN]), happened("t1", 2, [TV]), happened("at", 3, [ANN, TV]))
        await here.take(happened("j1", 4, [JOE]), happened("both", 5, [JOE, TV]))
        erasing = partial(here.store.forgetting.revise_merges, unsaid, after=0, limit=100)
        here.before_the_next_is_written(erasing, monkeypatch)
        assert (await here.splitting.split(ANN, JOE, apply=True)).applied
        (merge,) = await here.store.membership.merges(sorted(await here.living()))
        assert list(merge.identifiers) == []
        await here.assert_whole()


async def test_what_retention_takes_in_between_is_in_no_history_and_counted_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with town(tmp_path / "store.db") as here:
        await here.take(*(happened(f"a{n}", n, [ANN, TV]) for n in range(6)), happened("both", 9, [JOE, TV]))
        retaining = partial(here.store.forgetting.drop_activities, [Seq(1), Seq(4)])
        here.before_the_next_is_written(retaining, monkeypatch)
        assert (await here.splitting.split(ANN, JOE, apply=True)).applied
        assert await here.store.verify() == []
        people = sorted((await here.people()).values(), key=lambda one: one["events"])
        assert [one["events"] for one in people] == [["a1", "a2", "a4", "a5"], ["both"]]
        assert [one["indicators"]["seen"] for one in people] == [6, 1]


async def test_a_batch_that_is_looked_up_beside_a_split_goes_on_from_what_the_split_wrote(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with town(tmp_path / "store.db") as here:
        await here.take(
            *(happened(f"a{n}", n, [ANN, TV]) for n in range(3)), *(happened(f"j{n}", 3 + n, [JOE]) for n in range(3))
        )
        await here.take(happened("both", 6, [JOE, TV]), happened("a3", 7, [ANN]))
        apply = here.store.apply

        async def crowded(*split: Any) -> Any:
            monkeypatch.setattr(here.store, "apply", apply)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(here.take, happened("z", 1, [("email", "zoe@example.com")]))
                tasks.start_soon(apply, *split)
                tasks.start_soon(here.take, happened("late", 12, [JOE]))

        monkeypatch.setattr(here.store, "apply", crowded)
        await here.splitting.split(ANN, JOE, apply=True)
        await here.assert_whole()
        events = [one["events"] for one in (await here.people()).values()]
        assert sorted(events) == [["a0", "a1", "a2", "a3"], ["both", "j0", "j1", "j2", "late"], ["z"]]


async def test_a_profile_that_never_holds_still_is_not_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with town(tmp_path / "store.db") as here:
        await here.take(happened("a1", 1, [ANN, TV]), happened("both", 3, [JOE, TV]))
        apply = here.store.apply

        async def interrupted(*arguments: Any) -> Any:
            with monkeypatch.context() as calm:
                calm.setattr(here.store, "apply", apply)
                await here.take(happened(f"late{here.seq}", 4, [JOE]))
            return await apply(*arguments)

        monkeypatch.setattr(here.store, "apply", interrupted)
        with pytest.raises(CdmdError, match="changes faster than it can be split"):
            await here.splitting.split(ANN, JOE, apply=True)
        monkeypatch.undo()
        assert len(await here.people()) == 1
        await here.assert_whole()


@pytest.mark.parametrize("times", [1, 9], ids=["made anew in between", "damaged"])
async def test_a_chain_that_is_made_anew_in_between_is_no_damage_and_one_that_is_damaged_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    async with town(tmp_path / "store.db") as here:
        await here.take(happened("a1", 1, [ANN, TV]), happened("both", 3, [JOE, TV]))
        history, left = here.store.membership.history, times

        async def circle(heads: list[Seq], *, each: int) -> object:
            nonlocal left
            left -= 1
            page = await history(heads, each=each)
            return type(page)(page.activities, heads) if left >= 0 else page

        monkeypatch.setattr(here.store.membership, "history", circle)
        if times > 1:
            with pytest.raises(Damaged, match="in a circle"):
                await here.splitting.split(ANN, JOE, apply=True)
            return
        assert (await here.splitting.split(ANN, JOE, apply=True)).applied
        await here.assert_whole()


async def test_two_of_whom_one_was_split_meanwhile_are_looked_at_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with town(tmp_path / "store.db") as here:
        await here.take(happened("a1", 1, [ANN, TV]), happened("j1", 3, [JOE]))
        apply = here.store.apply

        async def interrupted(*arguments: Any) -> Any:
            monkeypatch.setattr(here.store, "apply", apply)
            await here.take(happened("both", 4, [JOE, TV]))
            return await apply(*arguments)

        monkeypatch.setattr(here.store, "apply", interrupted)
        assert (await here.splitting.split(ANN, JOE, apply=True)).summary == "one person became two"
        await here.assert_whole()


async def test_a_profile_of_too_many_events_is_not_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdmd.daemon.splitting.MOST_EVENTS", 1)
    async with town(tmp_path / "store.db") as here:
        await here.take(happened("a1", 1, [ANN, TV]), happened("both", 3, [JOE, TV]))
        with pytest.raises(BadArguments, match="more than 1 events"):
            await here.splitting.split(ANN, JOE, apply=False)


async def test_a_long_history_is_split_some_of_it_at_a_time(tmp_path: Path) -> None:
    async with town(tmp_path / "store.db") as here:
        await here.take(*(happened(f"a{n}", n / 100, [ANN, TV]) for n in range(700)))
        await here.take(*(happened(f"j{n}", 8 + n / 100, [JOE] if n % 2 else [JOE, TV]) for n in range(900)))
        (one,) = (await here.people()).values()
        assert len(one["events"]) == 1600
        await here.split(JOE, ANN)
        assert sorted(len(each["events"]) for each in (await here.people()).values()) == [700, 900]
        await here.assert_whole()


async def test_the_running_daemon_splits_by_what_is_configured_now(tmp_path: Path) -> None:
    world = World(tmp_path, '[connectors.shop]\ntype = "fetcher"\n')
    async with world.parts() as parts:
        await until(parts, "shop", "running")
        source = Fetcher.made["shop"].source
        assert source is not None
        sights = [{"email": "ann@x.se", "user_id": "u"}, {"email": "joe@x.se", "user_id": "u"}]
        values = [{"id": str(number), "type": "seen", "identifiers": one} for number, one in enumerate(sights)]
        await source.emit([Record(value=one, received=parts.clock.now(), fallback_id=one["id"]) for one in values])
        await applied(parts)
        running = Running(parts)
        assert len((await running.split(("email", "ann@x.se"), ("email", "joe@x.se"), apply=True)).sides) == 2
        assert (await running.lift(("email", "ann@x.se"), ("email", "joe@x.se"))).applied
        assert await parts.store.verify() == []


# ---- where events are no longer kept ---------------------------------------------------------------------------------


def forget(path: Path, *, before: int) -> None:
    """As retention does: the oldest events go, what they added to their profiles stays."""
    database = sqlite3.connect(path)
    with database:
        database.execute("UPDATE profiles SET newest = NULL WHERE newest < ?", (before,))
        database.execute("UPDATE activities SET before = NULL WHERE before < ?", (before,))
        gone = database.execute("DELETE FROM activities WHERE seq < ?", (before,)).rowcount
        database.execute("UPDATE totals SET value = value - ? WHERE name = 'activities'", (gone,))
    database.close()


async def test_what_is_left_of_events_that_are_gone_stays_with_whom_it_was_before_the_merge(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    async with town(path) as here:
        await here.take(
            happened("a1", 1, [ANN], traits={"city": "Lund"}),
            happened("a2", 2, [ANN, TV], traits={"size": 38}),
            happened("j1", 3, [("user_id", "joe")], traits={"vip": True}),
            happened("j2", 4, [("user_id", "joe"), JOE]),
            happened("j3", 5, [("user_id", "joe"), ("anonymous_id", "tablet")]),
            happened("both", 6, [JOE, TV]),
            happened("last", 7, [TV]),
        )
        before = await here.people()
    forget(path, before=7)
    async with town(path) as here:
        here.seq = 7
        await here.split(ANN, JOE)
        assert await here.store.verify() == []
        people = await here.people()
        assert set(before) < set(people)
        joe, ann = sorted(people.values(), key=lambda one: one["identifiers"])
        found = await here.store.profile(*JOE, activities=0)
        assert found is not None
        assert found.state.created == to_micros(START) + 3 * 3_600_000_000, "who was heard of before what is kept of him"
        assert ann["identifiers"] == ["anonymous_id:tv", "email:ann@example.com"]
        assert joe["identifiers"] == ["anonymous_id:tablet", "email:joe@example.com", "user_id:joe"]
        assert (ann["traits"].keys(), joe["traits"].keys()) == ({"city", "size"}, {"vip"})


async def test_who_was_joined_by_what_is_gone_stays_joined(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    async with town(path) as here:
        await here.take(happened("a1", 1, [ANN]), happened("a2", 2, [ANN, ("anonymous_id", "phone")]))
        await here.take(happened("a3", 3, [("anonymous_id", "phone")]), happened("a4", 4, [ANN]))
        await here.take(happened("both", 5, [JOE, ("user_id", "u1")]), happened("too", 6, [ANN, ("user_id", "u1")]))
    forget(path, before=3)
    async with town(path) as here:
        here.seq = 6
        await here.split(ANN, JOE)
        assert groups(await here.people()) == {
            frozenset({"email:ann@example.com", "anonymous_id:phone"}),
            frozenset({"email:joe@example.com", "user_id:u1"}),
        }


async def test_who_belonged_to_the_other_before_the_merge_goes_with_them(tmp_path: Path) -> None:
    path, tablet = tmp_path / "store.db", ("anonymous_id", "tablet")
    async with town(path) as here:
        await here.take(happened("a1", 1, [ANN, TV]), happened("j1", 2, [("user_id", "joe"), tablet]))
        await here.take(happened("j2", 3, [("user_id", "joe"), JOE]), happened("both", 4, [JOE, TV]))
        await here.take(happened("t", 5, [tablet]), happened("a", 6, [ANN]), happened("j", 7, [JOE]))
    forget(path, before=5)
    async with town(path) as here:
        here.seq = 7
        await here.split(ANN, JOE)
        found = {frozenset(one["identifiers"]): one["events"] for one in (await here.people()).values()}
        assert found == {
            frozenset({"email:ann@example.com", "anonymous_id:tv"}): ["a"],
            frozenset({"email:joe@example.com", "user_id:joe", "anonymous_id:tablet"}): ["j", "t"],
        }


async def test_counts_of_events_that_are_gone_stay_with_the_id_and_nobody_is_counted_twice(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    async with town(path) as here:
        await here.take(*(happened(f"a{n}", n, [ANN, TV], traits={"size": n}) for n in range(4)))
        await here.take(happened("j1", 5, [JOE]), happened("both", 6, [JOE, TV]), happened("a9", 7, [ANN]))
        ((before),) = (await here.people()).values()
    forget(path, before=4)
    async with town(path) as here:
        here.seq = 7
        await here.split(ANN, JOE)
        joe, ann = sorted((await here.people()).values(), key=lambda one: one["events"], reverse=True)
        assert (ann["events"], joe["events"]) == (["a3", "a9"], ["both", "j1"])
        assert (ann["indicators"]["seen"], joe["indicators"]["seen"], before["indicators"]["seen"]) == (5, 2, 7)
        both = ann["indicators"]["spent"] + joe["indicators"]["spent"]
        assert both == pytest.approx(before["indicators"]["spent"])
        assert joe["indicators"]["latest"] == "both"


def consenting(name: str, hours: float, identifiers: list[Pair], *, kind: str) -> Event:
    return msgspec.structs.replace(happened(name, hours, identifiers), type=kind, data={"purpose": "mail"})


@pytest.mark.parametrize("gone", [False, True])
async def test_a_split_takes_no_restriction_away_and_grants_nothing_to_the_other(tmp_path: Path, *, gone: bool) -> None:
    path = tmp_path / "store.db"
    async with town(path) as here:
        await here.take(
            consenting("a1", 1, [ANN, TV], kind="privacy.restricted"), consenting("a2", 2, [ANN], kind="consent.granted")
        )
        await here.take(happened("a3", 3, [ANN]), happened("j1", 4, [JOE]), happened("both", 5, [JOE, TV]))
    if gone:
        forget(path, before=3)
    async with town(path) as here:
        here.seq = 5
        await here.split(ANN, JOE)
        ann, joe = [await here.store.profile(*pair, activities=0) for pair in (ANN, JOE)]
        assert ann is not None
        assert joe is not None
        assert (ann.state.restricted is not None, joe.state.restricted is not None) == (True, gone), "unknown whose word: both"
        assert (list(ann.state.purposes), list(joe.state.purposes)) == (["mail"], [])
