"""What is older than it may be kept goes, once a day and on demand, and never by a clock that leapt."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from cdmd.contracts import Hidden
from cdmd.daemon.governing import Governing
from cdmd.daemon.mentions import merges
from cdmd.daemon.running import Running
from cdmd.daemon.splitting import Splitting
from cdmd.errors import ClockDisturbed, NotDurable
from cdmd.identity.identifiers import Pair
from cdmd.models import Merge, ProfileKey, ProfileState, Record, to_micros
from tests.daemon.doubles import World, applied, record
from tests.daemon.older import files_with

pytestmark = pytest.mark.anyio
JOE = ("email", "joe@example.com")
CONFIG = """
[privacy]
retention = [{ events = ["page.*"], keep = "30d" }]
idle_profiles = "100d"
[indicators.pages]
on = "page.*"
[connectors.shop]
type = "told"
"""


async def test_what_is_too_old_goes_what_was_counted_stays_and_idle_customers_go_with_all(tmp_path: Path) -> None:
    world = World(tmp_path, CONFIG)
    async with world.parts() as parts:
        source, governing = parts.connectors.get("shop").source, Governing(parts)
        await source.emit([record("1", type="page.seen"), record("2", type="order.paid"), record("3", type="page.seen")])
        await source.emit([record("4", email="ann@example.com")])
        await applied(parts)
        simulated = await governing.simulate(None)
        assert (sum(simulated.activities.values()), simulated.next is not None) == (2, True)
        assert (await governing.simulate(simulated.next)).next is None
        assert (await governing.sweep(trust_clock=False)).activities == 0
        world.clock.shift += timedelta(days=40)
        await source.emit([msgspec.structs.replace(record("5", type="order.paid"), received=world.clock.now())])
        await applied(parts)
        assert (await governing.simulate(None)).activities == {"now": 2}
        with pytest.raises(ClockDisturbed, match="ran last 40 days ago; where it is right, say so with: cdmctl retention run"):
            await governing.sweep(trust_clock=False)
        report = await governing.sweep(trust_clock=True)
        assert (report.activities, report.profiles) == (2, 0)
        found = await parts.store.profile(*JOE, activities=9)
        assert found is not None
        assert [one.event.type for one in found.activities] == ["order.paid", "order.paid"]
        assert parts.projection.shown_indicators(found.state, to_micros(world.clock.now())) == {"pages": 2}
        assert await parts.store.verify() == []
        world.clock.shift += timedelta(days=80)
        report = await governing.sweep(trust_clock=True)
        assert report.profiles == 1, "of Joe something was heard 80 days ago, of Ann 120"
        assert await parts.store.profile("email", "ann@example.com", activities=1) is None
        assert report.activities == 1


@pytest.mark.parametrize("stopped", [False, True], ids=["at once", "after a stop"])
async def test_what_splits_said_of_idle_customers_goes_with_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, stopped: bool
) -> None:
    world, ann, eve = World(tmp_path, CONFIG), ("email", "ann@example.com"), ("email", "eve@example.com")
    async with world.parts() as parts:
        source, governing = parts.connectors.get("shop").source, Governing(parts)
        people = [record(str(number), email=one[1]) for number, one in enumerate((JOE, ann, eve))]
        await source.emit(people)
        await applied(parts)
        splitting = Splitting(parts, journal_id=parts.journal.id)
        for other in (JOE, eve):
            await splitting.split(ann, other, apply=True)
        world.clock.shift += timedelta(days=120)
        later = world.clock.now()
        await source.emit([msgspec.structs.replace(record(one[1], email=one[1]), received=later) for one in (ann, eve)])
        await applied(parts)
        state = tmp_path / "state"
        joe, others = parts.kinds.splits.digest(JOE), parts.kinds.splits.digest(eve)
        assert files_with(joe, state)
        if stopped:
            with monkeypatch.context() as failing:
                failing.setattr("cdmd.daemon.retaining.unname", unable)
                with pytest.raises(NotDurable):
                    await governing.sweep(trust_clock=True)
            assert await parts.store.profile(*JOE, activities=0) is None
        assert (await governing.sweep(trust_clock=True)).profiles == (not stopped)
        await parts.store.forgetting.settled()
        assert files_with(joe, state) == []
        assert files_with(others, state), "what is said of those who stay is kept"
        assert (await parts.store.forgetting.splits(after=ProfileKey(0), limit=9)).said.keys() == {2, 3}
        assert await parts.store.verify() == []


@pytest.mark.parametrize("others", [{}, {"user_id": "vip"}], ids=["heard of again", "merged into somebody"])
async def test_whoever_is_not_idle_any_more_when_they_would_go_stays_with_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, others: dict[str, str]
) -> None:
    world, ann = World(tmp_path, CONFIG), ("email", "ann@example.com")
    async with world.parts() as parts:
        hide, source = parts.store.forgetting.hide_some, parts.connectors.get("shop").source

        async def come(name: str, **identifiers: str) -> None:
            value = {"id": name, "type": "order.paid", "identifiers": identifiers}
            await source.emit([Record(value=value, received=world.clock.now(), fallback_id=name)])
            await applied(parts)

        async def hiding(keys: Sequence[ProfileKey], which: Callable[[ProfileState], bool]) -> Hidden:
            await come("meanwhile", email=JOE[1], **others)
            return await hide(keys, which)

        await come("1", user_id="vip")
        await come("2", email=JOE[1])
        await come("3", email=ann[1])
        await Splitting(parts, journal_id=parts.journal.id).split(ann, JOE, apply=True)
        world.clock.shift += timedelta(days=120)
        await come("4", user_id="vip")
        await come("5", email=ann[1])
        monkeypatch.setattr(parts.store.forgetting, "hide_some", hiding)
        assert (await Governing(parts).sweep(trust_clock=True)).profiles == 0
        found = await parts.store.profile(*JOE, activities=9)
        assert found is not None
        assert len(found.activities) == 2 + 2 * len(others)
        said = (await parts.store.forgetting.splits(after=ProfileKey(0), limit=9)).said
        assert len(said) == 2, "and so does what splits say of them"
        assert await parts.store.verify() == []


async def test_whoever_goes_for_their_age_goes_from_merges_with_all_that_they_had_then(tmp_path: Path) -> None:
    world, number = World(tmp_path, CONFIG), "+46701234567"
    async with world.parts() as parts:
        source, left = parts.connectors.get("shop").source, set[Pair]()

        async def come(name: str, **identifiers: str) -> None:
            value = {"id": name, "type": "order.paid", "identifiers": identifiers}
            await source.emit([Record(value=value, received=world.clock.now(), fallback_id=name)])
            await applied(parts)

        def heed(one: Merge) -> Merge:
            left.update([*one.identifiers, *((had.kind, had.value) for had in one.before.identifiers)])
            return one

        await come("1", user_id="ann")
        await come("2", phone=number)
        await come("3", phone=number, email=JOE[1])
        await come("4", email=JOE[1], anonymous_id="joes")
        await come("5", user_id="ann", phone=number)
        assert (await Splitting(parts, journal_id=parts.journal.id).split(("phone", number), JOE, apply=True)).applied
        await merges(parts.store, heed, world.clock)
        assert {JOE, ("anonymous_id", "joes")} <= left, "the number's profile had them when it became Ann's"
        world.clock.shift += timedelta(days=120)
        await come("6", user_id="ann")
        assert (await Governing(parts).sweep(trust_clock=True)).profiles == 1
        left.clear()
        await merges(parts.store, heed, world.clock)
        assert left == {("phone", number), ("user_id", "ann")}


async def test_answers_to_idle_customers_go_with_them(tmp_path: Path) -> None:
    world = World(tmp_path, CONFIG.replace("[privacy]", '[privacy]\nrequests_from = ["shop"]'))
    async with world.parts() as parts:
        source, answers = parts.connectors.get("shop").source, tmp_path / "state" / "exports"
        for number, email in enumerate((JOE[1], "ann@example.com")):
            asked = record(f"asked-{number}", email=email, type="privacy.access_requested")
            await source.emit([record(f"{number}", email=email), asked])
        await applied(parts)
        await parts.privacy.requests(Running(parts)).look()
        assert len(list(answers.iterdir())) == 2
        own = {"joes-list.jsonl", "notes-1.jsonl"}
        for name in own:
            (answers / name).touch()
        world.clock.shift += timedelta(days=120)
        later = record("2", email="ann@example.com")
        await source.emit([msgspec.structs.replace(later, received=world.clock.now())])
        await applied(parts)
        assert (await Governing(parts).sweep(trust_clock=True)).profiles == 1
        ann = await parts.store.profile("email", "ann@example.com", activities=0)
        assert ann is not None
        (kept,) = (path for path in answers.iterdir() if path.name not in own)
        assert {path.name for path in answers.iterdir()} == {kept.name, *own}, "what somebody put there stays"
        assert kept.name.startswith(f"{ann.state.public}-")


async def unable(*_: object) -> int:
    raise NotDurable("the disk does not answer")


async def test_it_runs_once_a_day_and_says_why_it_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(tmp_path, CONFIG)
    async with world.parts() as parts:
        retaining, slept = parts.privacy.retaining, list[float]()

        class Enough(Exception):
            pass

        async def sleep(seconds: float) -> None:
            if seconds >= 60:
                slept.append(seconds)
                raise Enough

        monkeypatch.setattr(world.clock, "sleep", sleep)

        async def turn() -> str | None:
            with pytest.raises(Enough):
                await retaining.run()
            return retaining.problem

        assert await turn() is None
        noted = await parts.store.noted("retention")
        assert noted is not None
        assert await turn() is None
        assert await parts.store.noted("retention") == noted, "not twice a day"
        world.clock.shift += timedelta(days=2)
        assert await turn() is None
        assert await parts.store.noted("retention") != noted
        world.clock.shift += timedelta(days=2)
        monkeypatch.setattr(world.clock, "monotonic", lambda: 0.0)
        problem = await turn()
        assert problem is not None
        assert "the wall clock leapt by" in problem
        assert problem in (await Running(parts).status()).warnings
        assert "page" not in problem

        async def fail(name: str) -> None:
            raise NotDurable("no disk")

        monkeypatch.setattr(parts.store, "noted", fail)
        assert await turn() == "nothing goes for its age: no disk"
        assert slept[-1] == 60.0
