"""Audiences in the daemon's rooms: the clock's sweep, and the stored past counted for what is new or changed."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from cdmd.daemon import counting, expiring
from cdmd.daemon.parts import Parts
from cdmd.daemon.running import Running
from cdmd.errors import CdmdError, Damaged, NotDurable
from cdmd.models import Micros, Notice, ProfileKey, Record, Seq, to_micros
from tests.daemon.doubles import Fetcher, World, applied, record, until

pytestmark = pytest.mark.anyio

SHOP = '[connectors.shop]\ntype = "fetcher"\n'
ORDERS = '[indicators.orders]\non = "seen"\n[indicators.recent]\non = "seen"\nwindow = "2m"\n'
BUSY = '[audiences.busy]\nwhere = "indicators.recent >= 2"\n'
MANY = '[audiences.many]\nwhere = "indicators.orders >= 2"\n'


async def take(parts: Parts, *records: Record) -> None:
    await until(parts, "shop", "running")
    source = Fetcher.made["shop"].source
    assert source is not None
    await source.emit(records)
    await applied(parts)


def seen(name: str, parts: Parts, identifiers: dict[str, str]) -> Record:
    value = {"id": name, "type": "seen", "identifiers": identifiers}
    return Record(value=value, received=parts.clock.now(), fallback_id=name)


async def told(parts: Parts) -> list[tuple[str, bool, str]]:
    found: list[Notice] = await parts.store.membership.notices(limit=100)
    return [(one.audience, one.entered, one.reason) for one in found[::-1]]


async def members(parts: Parts, name: str) -> list[str]:
    found = await parts.store.membership.members(name, after=ProfileKey(0), limit=1000)
    return sorted(one.state.identifiers[0].value for one in found)


async def eventually(holds: Callable[[], bool]) -> None:
    with anyio.fail_after(30):
        while True:
            if holds():
                return
            await anyio.sleep(0.01)


# ---- by the clock ----------------------------------------------------------------------------------------------------


async def test_members_leave_when_time_passes_without_any_event(tmp_path: Path) -> None:
    world = World(tmp_path, SHOP + ORDERS + BUSY)
    async with world.parts() as parts:
        await take(parts, record("1"), record("2"))
        assert await members(parts, "busy") == ["joe@example.com"]
        assert await parts.expiry.sweep() == 0
        world.clock.shift = timedelta(minutes=4)
        assert await parts.expiry.lag() > 60
        assert await parts.expiry.sweep() == 1
        assert await parts.expiry.lag() == 0
        assert await told(parts) == [("busy", True, "event seen"), ("busy", False, "time passed")]
        assert await members(parts, "busy") == []
        assert await parts.store.verify() == []


async def test_the_sweep_goes_on_by_itself_slice_after_slice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expiring, "SLICE", 3)
    world = World(tmp_path, SHOP + ORDERS + BUSY)
    async with world.parts() as parts:
        await take(parts, *(record(str(number), f"u{number // 2}@example.com") for number in range(20)))
        assert len(await members(parts, "busy")) == 10
        world.clock.shift = timedelta(minutes=4)
        async with anyio.create_task_group() as tasks:
            await tasks.start(parts.expiry.run)
            for _ in range(1000):
                if not await members(parts, "busy"):
                    break
                await anyio.sleep(0.01)
            assert await members(parts, "busy") == []
            tasks.cancel_scope.cancel()
        assert parts.expiry.problem is None


async def test_a_sweep_is_never_ahead_of_what_has_arrived(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(tmp_path, SHOP + ORDERS + BUSY)
    async with world.parts() as parts:
        await take(parts, record("1"), record("2"))
        world.clock.shift = timedelta(minutes=4)
        # As if the last of them were journaled and not applied.
        monkeypatch.setattr(parts.store, "_position", Seq(parts.store.position - 1))
        assert await parts.expiry.sweep() == 0


async def test_a_clock_that_leapt_lets_nobody_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(tmp_path, SHOP + ORDERS + BUSY)
    async with world.parts() as parts:
        await take(parts, record("1"), record("2"))
        assert await parts.expiry.sweep() == 0
        steady = world.clock.monotonic()
        monkeypatch.setattr(world.clock, "monotonic", lambda: steady)
        world.clock.shift = timedelta(days=365)
        assert await parts.expiry.sweep() == 0
        assert await members(parts, "busy") == ["joe@example.com"]


async def test_a_store_that_cannot_be_read_is_a_problem_until_it_can(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expiring, "_AFTER_FAILURE", 0.01)
    world = World(tmp_path, SHOP + ORDERS + BUSY)
    async with world.parts() as parts:
        overdue, failing = parts.store.membership.overdue, True

        async def broken(upto: Micros, *, limit: int) -> list[ProfileKey]:
            if failing:
                raise NotDurable("the store cannot be read now")
            return await overdue(upto, limit=limit)

        monkeypatch.setattr(parts.store.membership, "overdue", broken)
        async with anyio.create_task_group() as tasks:
            await tasks.start(parts.expiry.run)
            await eventually(lambda: parts.expiry.problem is not None)
            assert parts.expiry.problem == "audiences do not follow the clock: the store cannot be read now"
            failing = False
            await eventually(lambda: parts.expiry.problem is None)
            tasks.cancel_scope.cancel()


# ---- the stored past -------------------------------------------------------------------------------------------------


async def test_a_new_indicator_and_a_new_audience_count_the_stored_past(tmp_path: Path) -> None:
    world = World(tmp_path, SHOP)
    async with world.parts() as parts:
        await take(parts, *(record(str(number), f"u{number % 5}@example.com") for number in range(8)))
        await parts.counting.complete()
    world.configure(SHOP + ORDERS + MANY)
    async with world.parts() as parts:
        await parts.counting.load()
        await parts.counting.complete()
        assert await members(parts, "many") == ["u0@example.com", "u1@example.com", "u2@example.com"]
        assert {reason for *_, reason in await told(parts)} == {"computed from what is stored"}
        assert (parts.counting.progress, parts.counting.share) == (None, parts.counting.share)
        assert set(parts.counting.since) == {"many"}
        await parts.counting.complete()
        assert len(await told(parts)) == 3


async def test_a_changed_indicator_is_counted_anew_whatever_came_meanwhile(tmp_path: Path) -> None:
    world = World(tmp_path, SHOP + ORDERS)
    async with world.parts() as parts:
        await take(parts, *(record(str(number)) for number in range(7)))
        await parts.counting.complete()
    world.configure(SHOP + '[indicators.orders]\non = "seen"\nwhere = "event.data.n > 0"\n')
    async with world.parts() as parts:
        await take(parts, record("late"))
        found = await parts.store.profile("email", "joe@example.com", activities=0)
        assert found is not None
        assert parts.projection.shown_indicators(found.state, to_micros(parts.clock.now())) == {"orders": 1}
        await parts.counting.load()
        await parts.counting.complete()
        found = await parts.store.profile("email", "joe@example.com", activities=0)
        assert found is not None
        assert parts.projection.shown_indicators(found.state, to_micros(parts.clock.now())) == {"orders": 8}


async def test_merged_customers_are_counted_together_and_long_histories_in_pages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counting, "_EACH", 3)
    monkeypatch.setattr(counting, "_COUNTED", 2)
    world = World(tmp_path, SHOP)
    async with world.parts() as parts:
        await take(parts, *(record(str(number), "a@example.com") for number in range(10)))
        await take(parts, *(record(f"b{number}", "b@example.com") for number in range(4)))
        both = {"email": "a@example.com", "phone": "+46701234567"}
        await take(
            parts, Record(value={"id": "p", "type": "seen", "identifiers": both}, received=parts.clock.now(), fallback_id="p")
        )
        join = {"email": "b@example.com", "phone": "+46701234567"}
        await take(
            parts, Record(value={"id": "j", "type": "seen", "identifiers": join}, received=parts.clock.now(), fallback_id="j")
        )
    world.configure(SHOP + ORDERS + MANY)
    async with world.parts() as parts:
        await parts.counting.complete()
        found = await parts.store.profile("email", "a@example.com", activities=0)
        assert found is not None
        assert found.merges
        assert parts.projection.shown_indicators(found.state, to_micros(parts.clock.now()))["orders"] == 16


async def test_who_moves_on_while_being_counted_is_counted_up_to_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(tmp_path, SHOP)
    async with world.parts() as parts:
        await take(parts, *(record(str(number)) for number in range(5)))
    world.configure(SHOP + ORDERS + MANY)
    async with world.parts() as parts:
        history, more = parts.store.membership.history, ["6", "7"]

        async def slow(*given: object, **named: object) -> object:
            page = await history(*given, **named)  # type: ignore[arg-type]
            if more:
                await take(parts, record(more.pop()))
            return page

        monkeypatch.setattr(parts.store.membership, "history", slow)
        await parts.counting.complete()
        found = await parts.store.profile("email", "joe@example.com", activities=0)
        assert found is not None
        assert parts.projection.shown_indicators(found.state, to_micros(parts.clock.now()))["orders"] == 7
        assert not more


async def test_who_is_split_while_being_counted_is_counted_from_the_beginning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, ann, joe = World(tmp_path, SHOP), {"email": "ann@example.com"}, {"email": "joe@example.com"}
    async with world.parts() as parts:
        sights = [ann, joe, joe, {**ann, "user_id": "u"}, {**joe, "user_id": "u"}, joe, ann]
        await take(parts, *(seen(str(number), parts, one) for number, one in enumerate(sights)))
    world.configure(SHOP + ORDERS)
    async with world.parts() as parts:
        history = parts.store.membership.history

        async def split(*given: object, **named: object) -> object:
            page = await history(*given, **named)  # type: ignore[arg-type]
            monkeypatch.setattr(parts.store.membership, "history", history)
            await Running(parts).split(*ann.items(), *joe.items(), apply=True)
            return page

        monkeypatch.setattr(parts.store.membership, "history", split)
        await parts.counting.complete()
        assert await totals(parts, "ann", "joe") == [4, 3]


async def test_who_never_stands_still_is_left_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "_ATTEMPTS", 2)
    world = World(tmp_path, SHOP)
    async with world.parts() as parts:
        await take(parts, record("0"))
    world.configure(SHOP + ORDERS)
    async with world.parts() as parts:
        newest = parts.store.membership.newest

        async def never(keys: list[ProfileKey]) -> dict[ProfileKey, Seq]:
            return {key: Seq(seq) for key, seq in (await newest(keys)).items() if seq < 0}

        monkeypatch.setattr(parts.store.membership, "newest", never)
        await parts.counting.complete()
        assert any(b"profiles_counted_late" in line for line in world.logged) or parts.counting.progress is None


@pytest.mark.parametrize("others", [0, 1])
async def test_who_is_erased_while_being_counted_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, others: int
) -> None:
    world = World(tmp_path, SHOP)
    async with world.parts() as parts:
        early, late = parts.clock.now() - timedelta(days=5), parts.clock.now()
        sights = [
            ({"email": "ann@example.com"}, late),
            ({"user_id": "u"}, early),
            ({"user_id": "u", "email": "ann@example.com"}, late),
        ]
        values = [
            {"id": str(n), "type": "seen", "time": at.isoformat(), "identifiers": one} for n, (one, at) in enumerate(sights)
        ]
        await take(parts, *(Record(value=one, received=late, fallback_id=one["id"]) for one in values))
        await take(parts, *(record(f"other{number}") for number in range(others)))
    world.configure(SHOP + ORDERS)
    async with world.parts() as parts:
        profiles = parts.store.membership.profiles

        async def erased(*, after: ProfileKey, limit: int) -> object:
            if after:
                monkeypatch.setattr(parts.store.membership, "profiles", profiles)
                await parts.store.forgetting.hide([("user_id", "u")])
            return await profiles(after=after, limit=limit)

        monkeypatch.setattr(parts.store.membership, "profiles", erased)
        await parts.counting.complete()
        assert parts.counting.progress is None
        assert await totals(parts, "ann", "joe") == [1] * others


async def test_a_stop_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "_COUNTED", 2)
    monkeypatch.setattr(counting, "_NOTE_EVERY", 0.0)
    world = World(tmp_path, SHOP)
    async with world.parts() as parts:
        await take(parts, *(record(str(number), f"u{number}@example.com") for number in range(10)))
        await parts.counting.complete()
    world.configure(SHOP + ORDERS + MANY.replace("2", "1"))
    async with world.parts() as parts:
        await parts.counting.load()
        looked: list[int] = []
        profiles = parts.store.membership.profiles

        async def until_six(*, after: ProfileKey, limit: int) -> object:
            looked.append(after)
            if after >= 6:
                raise NotDurable("the power went")
            return await profiles(after=after, limit=limit)

        monkeypatch.setattr(parts.store.membership, "profiles", until_six)
        with pytest.raises(CdmdError, match="the power went"):
            await parts.counting.complete()
        assert looked == [0, 2, 4, 6]
    async with world.parts() as parts:
        await parts.counting.load()
        looked.clear()
        profiles = parts.store.membership.profiles

        async def watched(*, after: ProfileKey, limit: int) -> object:
            looked.append(after)
            return await profiles(after=after, limit=limit)

        monkeypatch.setattr(parts.store.membership, "profiles", watched)
        await parts.counting.complete()
        assert looked == [6, 8, 10]
        assert len(await members(parts, "many")) == 10


async def test_members_of_an_audience_that_left_the_configuration_leave_it(tmp_path: Path) -> None:
    world = World(tmp_path, SHOP + ORDERS + MANY)
    async with world.parts() as parts:
        await take(parts, record("1"), record("2"))
        assert await members(parts, "many") == ["joe@example.com"]
        await parts.counting.complete()
    world.configure(SHOP + ORDERS)
    async with world.parts() as parts:
        await parts.counting.load()
        await parts.counting.complete()
        assert (await told(parts))[-1] == ("many", False, "no longer configured")
        assert await parts.store.membership.audiences() == []
        assert await parts.store.verify() == []


async def test_a_changed_condition_is_asked_of_everybody(tmp_path: Path) -> None:
    world = World(tmp_path, SHOP + ORDERS + MANY)
    async with world.parts() as parts:
        await take(parts, record("1"), record("2"), record("3", "eve@example.com"))
        await parts.counting.complete()
        since = dict(parts.counting.since)
    world.configure(SHOP + ORDERS + MANY.replace(">= 2", "== 1"))
    async with world.parts() as parts:
        await parts.counting.load()
        await parts.counting.complete()
        assert await members(parts, "many") == ["eve@example.com"]
        assert parts.counting.since == since


async def test_conditions_that_read_the_clock_are_asked_again(tmp_path: Path) -> None:
    world = World(tmp_path, SHOP + "[audiences.new]\nwhere = \"now - profile.created < duration('10m')\"\n")
    async with world.parts() as parts:
        assert parts.counting.lag() is not None
        await take(parts, record("1"))
        assert await members(parts, "new") == ["joe@example.com"]
        await parts.counting.ask_again()
        assert await members(parts, "new") == ["joe@example.com"]
        world.clock.shift = timedelta(minutes=20)
        assert parts.counting.lag() == pytest.approx(1200, abs=60)
        await parts.counting.ask_again()
        assert await members(parts, "new") == []
        assert parts.counting.lag() == pytest.approx(0, abs=60)


async def test_it_counts_by_itself_when_it_is_configured_and_tells_what_stops_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counting, "_AFTER_FAILURE", 0.01)
    monkeypatch.setattr(counting, "_OFTEN", 0.01)
    world = World(tmp_path, SHOP + ORDERS + '[audiences.new]\nwhere = "now > profile.created"\n')
    async with world.parts() as parts:
        noted, failing = parts.store.note, True

        async def note(name: str, value: str) -> None:
            if failing:
                raise Damaged("the store is damaged")
            await noted(name, value)

        monkeypatch.setattr(parts.store, "note", note)
        async with anyio.create_task_group() as tasks:
            await tasks.start(parts.counting.run)
            await eventually(lambda: parts.counting.problem is not None)
            assert parts.counting.problem == "the stored past is not counted: the store is damaged"
            failing = False
            await eventually(lambda: parts.counting.problem is None and parts.counting._asked is not None)
            before = parts.counting._asked
            await eventually(lambda: parts.counting._asked != before)
            tasks.cancel_scope.cancel()


@pytest.mark.parametrize("times", [1, 9], ids=["made anew in between", "damaged"])
async def test_activities_that_stand_before_each_other_in_a_circle_are_damage_where_it_shows_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    world = World(tmp_path, SHOP)
    async with world.parts() as parts:
        await take(parts, record("1"))
    world.configure(SHOP + ORDERS)
    async with world.parts() as parts:
        history, left = parts.store.membership.history, times

        async def circle(heads: list[Seq], *, until: list[Seq], each: int) -> object:
            nonlocal left
            left -= 1
            page = await history(heads, until=until, each=each)
            return type(page)(page.activities, heads) if left >= 0 else page

        monkeypatch.setattr(parts.store.membership, "history", circle)
        if times > 1:
            with pytest.raises(Damaged, match="in a circle"):
                await parts.counting.complete()
            return
        await parts.counting.complete()
        found = await parts.store.profile("email", "joe@example.com", activities=0)
        assert found is not None
        assert parts.projection.shown_indicators(found.state, to_micros(parts.clock.now()))["orders"] == 1


async def test_status_tells_how_far_behind_the_clock_it_is_and_what_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path, SHOP)
    async with world.parts() as parts:
        await take(parts, record("1"), record("2"))
        shown = (await Running(parts).status()).audiences
        assert (shown.expiry_lag_seconds, shown.clock_lag_seconds, shown.counting) == (0.0, None, None)
    world.configure(SHOP + ORDERS + BUSY)
    async with world.parts() as parts:
        profiles, seen = parts.store.membership.profiles, []

        async def watched(*, after: ProfileKey, limit: int) -> object:
            seen.append((await Running(parts).status()).store.working)
            return await profiles(after=after, limit=limit)

        monkeypatch.setattr(parts.store.membership, "profiles", watched)
        await parts.counting.complete()
        await parts.counting.ask_again()
        assert seen[0] == "audience busy, indicator orders, indicator recent: 0% of the stored profiles are counted"
        world.clock.shift = timedelta(minutes=4)
        shown = (await Running(parts).status()).audiences
        assert shown.expiry_lag_seconds > 60
        assert shown.counting is None
        assert b"cdmd_expiry_lag_seconds" in await Running(parts).metrics()


async def test_a_reload_while_it_counts_begins_with_what_is_configured_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path, SHOP)
    async with world.parts() as parts:
        await take(parts, *(record(str(number)) for number in range(3)))
    world.configure(SHOP + ORDERS + MANY)
    async with world.parts() as parts:
        profiles, reloaded = parts.store.membership.profiles, False

        async def reload(*, after: ProfileKey, limit: int) -> object:
            nonlocal reloaded
            if not reloaded:
                reloaded = True
                await anyio.to_thread.run_sync(world.configure, SHOP + ORDERS + MANY.replace("many", "few"))
                await Running(parts).reload()
            return await profiles(after=after, limit=limit)

        monkeypatch.setattr(parts.store.membership, "profiles", reload)
        async with anyio.create_task_group() as tasks:
            await tasks.start(parts.counting.run)
            await eventually(lambda: set(parts.counting.since) == {"few"} and parts.counting.progress is None)
            tasks.cancel_scope.cancel()
        assert await members(parts, "few") == ["joe@example.com"]
        assert [one.name for one in await parts.store.membership.audiences()] == ["few"]


async def reload(world: World, parts: Parts, text: str) -> None:
    await anyio.to_thread.run_sync(world.configure, text)
    await Running(parts).reload()


async def totals(parts: Parts, *names: str) -> list[object]:
    found = [await parts.store.profile("email", f"{name}@example.com", activities=0) for name in names]
    now = to_micros(parts.clock.now())
    return [parts.projection.shown_indicators(one.state, now).get("orders") for one in found if one is not None]


OTHERS = '[indicators.orders]\non = "order.*"\n[indicators.recent]\non = "seen"\nwindow = "2m"\n'


@pytest.mark.parametrize("other", [OTHERS + MANY, ORDERS + MANY.replace("2", "20")])
async def test_what_is_changed_back_before_all_are_counted_is_what_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: str
) -> None:
    monkeypatch.setattr(counting, "_COUNTED", 1)
    monkeypatch.setattr(counting, "_SLICE", 1)
    world, names = World(tmp_path, SHOP + ORDERS + MANY), ("ann", "eve", "joe")
    async with world.parts() as parts:
        await take(parts, *(seen(f"{one}{n}", parts, {"email": f"{one}@example.com"}) for one in names for n in range(2)))
        await parts.counting.complete()
        assert len(await members(parts, "many")) == 3
        profiles = parts.store.membership.profiles

        async def changed_back(*, after: ProfileKey, limit: int) -> object:
            if after:
                monkeypatch.setattr(parts.store.membership, "profiles", profiles)
                await reload(world, parts, SHOP + ORDERS + MANY)
            return await profiles(after=after, limit=limit)

        monkeypatch.setattr(parts.store.membership, "profiles", changed_back)
        await reload(world, parts, SHOP + other)
        await parts.counting.complete()
        assert await totals(parts, *names) != [2, 2, 2] or len(await members(parts, "many")) < 3, "one of them was counted"
    async with world.parts() as parts:
        await parts.counting.load()
        await parts.counting.complete()
        assert await totals(parts, *names) == [2, 2, 2]
        assert len(await members(parts, "many")) == 3


async def test_what_arrived_before_anything_was_counted_anew_is_counted_again_after_a_change_back(tmp_path: Path) -> None:
    world = World(tmp_path, SHOP + ORDERS + MANY)
    async with world.parts() as parts:
        await take(parts, record("1"), record("2"))
        await parts.counting.complete()
        await reload(world, parts, SHOP + OTHERS)
        await take(parts, record("3"))
        await reload(world, parts, SHOP + ORDERS + MANY)
        await parts.counting.complete()
        assert await totals(parts, "joe") == [3]
        assert await members(parts, "many") == ["joe@example.com"]
