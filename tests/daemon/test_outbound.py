"""Targets as parts of the daemon: what commands do to them, what is shown, and telling a target once more."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest
from structlog.testing import capture_logs

from cdmd.contracts import DELIVER, Holder
from cdmd.control.target_shapes import TargetRow
from cdmd.daemon.metrics import render
from cdmd.daemon.parts import Parts
from cdmd.daemon.running import Running
from cdmd.deliveries.replaying import Replaying
from cdmd.errors import BadArguments, ConfigInvalid, NotDurable, NotFound
from cdmd.kit.globs import Globs
from cdmd.kit.quantities import Rate
from cdmd.models import Delivered, Micros, Record, TargetNote, to_micros
from cdmd.supervisor import UNSTOPPABLE, Policy
from tests.daemon.dividing import Divided, divided
from tests.daemon.doubles import Fetcher, World, applied, hooks, until, verdicts
from tests.deliveries.receiving import SECRET, Endpoint, endpoint, eventually
from tests.deliveries.test_sending import Nightly

pytestmark = pytest.mark.anyio

SHOP = """
[connectors.shop]
type = "fetcher"
[indicators.orders]
on = "order.*"
thresholds = [2.0]
[audiences.two]
where = "indicators.orders >= 2"
"""


class NightlyTarget(Nightly):
    """The same as a type of a plugin."""

    class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
        """An audience, where it is for one."""

        audience: str | None = None

    def __init__(self, name: str, settings: Any) -> None:
        super().__init__()


class Stubborn(NightlyTarget):
    """One that does not end when it is told to."""

    type = "nightly"
    running = False
    free = anyio.Event()

    async def run(self, outlet: Any) -> None:
        Stubborn.running, Stubborn.free = True, anyio.Event()
        while not Stubborn.free.is_set():
            try:
                await Stubborn.free.wait()
            except anyio.get_cancelled_exc_class():
                continue  # it does not hear


def quiet(name: str, *more: str) -> str:
    keys = "\n".join(more)
    return f'[targets.{name}]\ntype = "nightly"\nevents = ["never.*"]\n{keys}\n'


NIGHTLY = {"nightly": hooks(cdmd_targets=lambda: [NightlyTarget])}


def crm(one: Endpoint, *more: str) -> str:
    keys = "\n".join(more) or 'events = ["*"]'
    return f'{SHOP}[targets.crm]\ntype = "webhook"\nurl = "{one.url}"\nsecret = "{SECRET}"\nretry = ["0s", "0s"]\n{keys}\n'


async def take(parts: Parts, *names: str, kind: str = "order.paid", email: str = "joe@example.com") -> None:
    await until(parts, "shop", "running")
    source = Fetcher.made["shop"].source
    assert source is not None
    values = [{"id": name, "type": kind, "identifiers": {"email": email}, "traits": {"n": name}} for name in names]
    await source.emit([Record(value=one, received=parts.clock.now(), fallback_id=one["id"]) for one in values])  # type: ignore[arg-type]
    await applied(parts)


async def row(parts: Parts, name: str = "crm") -> TargetRow:
    return next(one for one in await parts.outbound.rows() if one.name == name)


async def sent(parts: Parts, count: int, *, to: str = "crm") -> TargetRow:
    """Its row once so much was delivered; it is looked at every few milliseconds."""
    with anyio.fail_after(30):
        while True:
            found = await row(parts, to)
            if found.delivered >= count:
                return found
            await anyio.sleep(0.005)


async def test_what_is_applied_goes_out_and_is_shown_in_status_and_metrics(tmp_path: Path) -> None:
    async with endpoint() as one, World(tmp_path, crm(one)).parts() as parts:
        await take(parts, "e1", "e2")
        found = await sent(parts, 7)
        assert (found.state, found.type, found.waiting, found.reason) == ("active", "webhook", 0, None)
        kinds = sorted(msgspec.json.decode(got.body)["type"] for got in one.got)
        assert kinds == [
            *("audience.entered", "indicator.crossed", "order.paid", "order.paid"),
            *("profile.created", "profile.updated", "profile.updated"),
        ]
        status = await Running(parts).status()
        assert (status.totals.deliveries_pending, [each.name for each in status.targets]) == (0, ["crm"])
        text = (await render(status, parts)).decode()
        assert 'cdmd_deliveries_total{result="delivered",target="crm"} 7.0' in text
        assert 'cdmd_target_state{state="active",target="crm"} 1.0' in text


async def test_a_target_that_fails_makes_the_daemon_degraded_and_one_that_somebody_disabled_does_not(tmp_path: Path) -> None:
    async with endpoint(500) as one, World(tmp_path, crm(one)).parts() as parts:
        await take(parts, "e1", "e2")
        await eventually(lambda: parts.outbound.dispatcher.note("crm").state == "failing")
        found = await row(parts)
        assert (found.state, found.reason) == ("failing", "it answers with status 500")
        assert found.next is not None
        assert (await Running(parts).status()).state == "degraded"
        await parts.outbound.disable("crm")
        found = await row(parts)
        assert (found.state, found.reason) == ("disabled", "by an administrator")
        one.answers = [200]
        assert await parts.outbound.enable("crm") is None
        parts.outbound.hurry("crm")
        await sent(parts, 1)


async def test_a_sample_is_sent_at_once_and_judges_nothing(tmp_path: Path) -> None:
    async with endpoint(500, 200) as one, World(tmp_path, crm(one)).parts() as parts:
        failed, taken = await parts.outbound.attempt("crm"), await parts.outbound.attempt("crm")
        assert (failed.outcome, failed.status, failed.reason) == ("later", 500, "it answers with status 500")
        assert (taken.outcome, taken.status, taken.reason) == ("delivered", 200, None)
        assert msgspec.json.decode(one.got[0].body)["type"] == "cdmd.test"
        assert parts.outbound.dispatcher.note("crm").failures == 0


@pytest.mark.parametrize("how", ["reload", "test"])
async def test_a_target_that_was_to_be_let_alone_is_tried_once_it_is_changed_or_a_sample_arrives(
    tmp_path: Path, how: str
) -> None:
    async with endpoint(429, 200) as one:
        world = World(tmp_path, crm(one, 'events = ["order.*"]'))
        async with world.parts() as parts:
            await take(parts, "e1")
            await eventually(lambda: parts.outbound.dispatcher.note("crm").state == "paused")
            if how == "test":
                assert (await parts.outbound.attempt("crm")).outcome == "delivered"
            else:
                world.configure(crm(one, 'events = ["order.*"]', "max_waiting = 9"))
                assert verdicts((await Running(parts).reload()).targets) == {"crm": "restarted"}
            assert (await sent(parts, 1)).state == "active"


async def test_a_target_that_waits_for_a_time_is_woken_and_takes_no_sample(tmp_path: Path) -> None:
    text = SHOP + '[targets.file]\ntype = "nightly"\nevents = ["order.*"]\n'
    async with World(tmp_path, text, extra=NIGHTLY).parts() as parts:
        await take(parts, "e1", "e2")
        await eventually(lambda: parts.outbound.dispatcher.get("file").outlet.detail is not None)
        found = await row(parts, "file")
        assert (found.detail, found.waiting, found.next is not None) == ("next file tonight", 2, True)
        with pytest.raises(BadArguments, match="not sent to at once"):
            await parts.outbound.attempt("file")
        await parts.outbound.send("file")
        await sent(parts, 2, to="file")


async def test_what_there_is_no_target_for_is_not_found_and_what_left_can_be_forgotten(tmp_path: Path) -> None:
    async with endpoint(500) as one, World(tmp_path, crm(one)).parts() as parts:
        await take(parts, "e1")
        for command in (parts.outbound.enable, parts.outbound.disable, parts.outbound.attempt, parts.outbound.send):
            with pytest.raises(NotFound, match="configured are: crm"):
                await command("other")
        with pytest.raises(BadArguments, match="as soon as there is something"):
            await parts.outbound.send("crm")
        with pytest.raises(BadArguments, match="is configured"):
            await parts.outbound.forget("crm")
        parts.outbound.take({}, parts.audiences, parts.config)
        await parts.outbound.carry_out({})
        assert (await row(parts)).state == "gone"
        assert await parts.outbound.forget("crm") > 0
        assert await parts.outbound.rows() == []
        with pytest.raises(NotFound, match="nothing waits"):
            await parts.outbound.forget("crm")


async def test_one_that_is_not_enabled_says_so_when_it_is_enabled(tmp_path: Path) -> None:
    async with endpoint() as one, World(tmp_path, crm(one, 'events = ["*"]', "enabled = false")).parts() as parts:
        warning = await parts.outbound.enable("crm")
        assert warning is not None
        assert "enabled is false" in warning
        found = await row(parts)
        assert (found.state, found.reason) == ("disabled", "in the configuration")


async def test_what_a_type_refuses_is_told_with_its_file(tmp_path: Path) -> None:
    world = World(tmp_path)
    async with World(tmp_path).parts() as parts:
        world.configure('[targets.crm]\ntype = "webhook"\nurl = "nowhere"\nevents = ["*"]\n')
        world.checked = False
        config = await anyio.to_thread.run_sync(world.read)
        with pytest.raises(ConfigInvalid, match=r"cdmd.toml: targets.crm.url: is not an http or https URL"):
            parts.outbound.plan(config)


async def test_a_reload_says_of_each_target_what_became_of_it(tmp_path: Path) -> None:
    async with endpoint() as one:
        world = World(tmp_path, crm(one) + quiet("going") + quiet("changing"), extra=NIGHTLY)
        async with world.parts() as parts:
            world.configure(crm(one) + quiet("changing", "max_waiting = 5") + quiet("coming"))
            report = await Running(parts).reload()
            assert verdicts(report.targets) == {
                "crm": "unchanged", "going": "stopped", "changing": "restarted", "coming": "started",
            }  # fmt: skip
            assert report.problems == []
            world.configure(crm(one, 'events = ["*"]', "timeout = 3") + quiet("coming"))
            with pytest.raises(ConfigInvalid, match=r"targets\.crm\.timeout"):
                await Running(parts).reload()
            assert parts.outbound.dispatcher.get("changing")


async def test_a_reload_says_that_a_target_of_a_plugin_did_not_end(tmp_path: Path) -> None:
    stubborn = {"nightly": hooks(cdmd_targets=lambda: [Stubborn])}
    world = World(tmp_path, SHOP + quiet("one"), extra=stubborn)
    async with world.parts() as parts:
        dispatcher = parts.outbound.dispatcher
        dispatcher.supervisor._policy = Policy(stop=0.05)
        await eventually(lambda: Stubborn.running)
        world.configure(SHOP)
        report = await Running(parts).reload()
        assert [(row.name, row.verdict, row.problem) for row in report.targets] == [("one", "failed", UNSTOPPABLE)]
        assert report.problems == [f"targets.one: {UNSTOPPABLE}"]
        Stubborn.free.set()


# ---- once more -------------------------------------------------------------------------------------------------------


async def again(parts: Parts, since: Micros, until_: Micros, *, types: str | None = None, rate: str | None = None) -> None:
    outbound, before = parts.outbound, parts.logs
    await outbound.replay(
        "crm",
        since=since,
        until=until_,
        types=None if types is None else Globs([types]),
        rate=None if rate is None else Rate.parse(rate),
    )
    await eventually(lambda: not outbound.replays.going)
    assert before is parts.logs


async def test_a_replay_tells_again_what_was_received_then_under_the_same_ids(tmp_path: Path) -> None:
    world = World(tmp_path)
    async with endpoint() as one:
        world.configure(crm(one))
        async with world.parts() as parts:
            await take(parts, "e1")
            await take(parts, "e2")
            await sent(parts, 7)
            world.clock.shift = timedelta(hours=2)
            middle = to_micros(parts.clock.now()) - Micros(3_600_000_000)
            await take(parts, "e3", kind="page.viewed")
            total = (await sent(parts, 9)).delivered
            first = {got.headers["webhook-id"]: got.body for got in one.got}
            del one.got[:]
            await again(parts, Micros(0), Micros(middle))
            await sent(parts, total + 6)
            replayed = {got.headers["webhook-id"]: msgspec.json.decode(got.body) for got in one.got}
            assert replayed.keys() <= first.keys()
            assert sorted(body["type"] for body in replayed.values()) == [
                *("audience.entered", "order.paid", "order.paid", "profile.created", "profile.updated", "profile.updated"),
            ]
            assert all(body["data"]["profile"]["traits"] == {"n": "e3"} for body in replayed.values())
            del one.got[:]
            await again(parts, Micros(middle), to_micros(parts.clock.now()) + Micros(1), types="page.*", rate="100/1s")
            await sent(parts, total + 7)
            assert [msgspec.json.decode(got.body)["type"] for got in one.got] == ["page.viewed"]
            with pytest.raises(NotFound):
                await parts.outbound.replay("other", since=Micros(0), until=Micros(1), types=None, rate=None)


async def test_a_replay_goes_on_alone_makes_way_and_says_when_it_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with endpoint() as one, World(tmp_path, crm(one, 'events = ["order.*"]', "max_waiting = 2")).parts() as parts:
        await take(parts, "e1")
        await sent(parts, 1)
        await parts.outbound.disable("crm")
        await take(parts, "e2")
        outbound = parts.outbound
        await outbound.replay("crm", since=Micros(0), until=to_micros(parts.clock.now()) + Micros(1), types=None, rate=None)
        with pytest.raises(BadArguments, match="another replay"):
            await outbound.replay("crm", since=Micros(0), until=Micros(1), types=None, rate=None)
        found = await row(parts)
        assert found.detail is not None
        assert "a replay goes on: 0 told again" in found.detail
        assert found.waiting == 1
        await outbound.enable("crm")
        await sent(parts, 4)
        await eventually(lambda: not outbound.replays.going)

        async def broken(*_: object, **__: object) -> None:
            raise NotDurable("the disk is full")

        monkeypatch.setattr(parts.store.outbox, "applied", broken)
        await again(parts, Micros(0), to_micros(parts.clock.now()))


@asynccontextmanager
async def held_replay(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *, events: str = '"order.*"', types: str = "*"
) -> AsyncIterator[tuple[World, Parts, Endpoint]]:
    """A replay of six events has told two of them, which wait: for the others there is no room yet."""
    monkeypatch.setattr("cdmd.deliveries.replaying._FULL_REST", 0.01)
    async with endpoint() as one:
        world = World(folder, crm(one, f"events = [{events}]", "max_waiting = 4"))
        async with world.parts() as parts:
            await take(parts, *[f"e{number}" for number in range(6)])
            await sent(parts, 4)
            await parts.outbound.disable("crm")
            del one.got[:]
            until_ = to_micros(parts.clock.now()) + Micros(1)
            await parts.outbound.replay("crm", since=Micros(0), until=until_, types=Globs([types]), rate=None)
            replay = parts.outbound.replays.going["crm"]
            await eventually(lambda: replay.done == 2)
            yield world, parts, one


async def test_a_replay_tells_nothing_of_whoever_is_erased_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with held_replay(tmp_path, monkeypatch) as (_, parts, one):
        await Running(parts).governance.erase(("email", "joe@example.com"), by="ada")
        await eventually(lambda: not parts.outbound.replays.going and not parts.privacy.erasures.pending)
        assert (await row(parts)).waiting == 0
        assert one.got == []


async def test_a_replay_goes_by_the_configuration_of_the_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with held_replay(tmp_path, monkeypatch) as (world, parts, one):
        world.configure(crm(one, 'events = ["order.*"]', "max_waiting = 4", 'fields = ["traits"]'))
        await Running(parts).reload()
        await parts.outbound.enable("crm")
        await one.wait(6)
        assert sorted(b"joe@example.com" in got.body for got in one.got) == [False] * 4 + [True] * 2


async def test_a_replay_ends_with_its_target_and_says_how_far_it_came(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with capture_logs() as lines:
        async with held_replay(tmp_path, monkeypatch) as (world, parts, _):
            world.configure(SHOP)
            await Running(parts).reload()
            await eventually(lambda: not parts.outbound.replays.going)
    assert [line["count"] for line in lines if line["event"] == "replay_stopped"] == [2]


async def test_a_replay_that_the_daemon_stops_says_how_far_it_came(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with capture_logs() as lines:
        async with held_replay(tmp_path, monkeypatch):
            pass
    assert [line["count"] for line in lines if line["event"] == "replay_stopped"] == [2]


@pytest.mark.parametrize("killed", [False, True])
async def test_a_replay_goes_on_after_a_restart_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, killed: bool
) -> None:
    monkeypatch.setattr("cdmd.deliveries.replaying._KEPT_EVERY", 0.0)
    async with held_replay(tmp_path, monkeypatch) as (world, parts, _):
        if killed:  # with what it noted by itself
            await eventually(lambda: parts.outbound.replays.going["crm"]._after == 2)
            monkeypatch.setattr(Replaying, "keep", nothing)
    monkeypatch.undo()
    async with endpoint() as other:
        world.configure(crm(other, 'events = ["order.*"]'))
        with capture_logs() as lines:
            async with world.parts() as parts:
                await parts.outbound.enable("crm")
                await other.wait(6)
                await eventually(lambda: not parts.outbound.replays.going)
        assert sorted({msgspec.json.decode(got.body)["data"]["event"]["id"] for got in other.got}) == [
            f"e{n}" for n in range(6)
        ]
        assert len(other.got) == 6, "two of them waited from before"
        assert [line["count"] for line in lines if line["event"] == "replay_ended"] == [6]
        with capture_logs() as lines:
            async with world.parts() as parts:
                assert not parts.outbound.replays.going, "what came to its end is not begun anew"


async def test_a_replay_is_ended_and_does_not_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with held_replay(tmp_path, monkeypatch) as (world, parts, _):
        assert await parts.outbound.stop_replay("crm") == 2
        with pytest.raises(BadArguments, match="no replay to crm"):
            await parts.outbound.stop_replay("crm")
    async with world.parts() as parts:
        assert not parts.outbound.replays.going


async def test_a_replay_that_would_go_on_after_a_restart_is_not_said_to_be_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise NotDurable("the disk is full")

    async with held_replay(tmp_path, monkeypatch) as (_, parts, __):
        with monkeypatch.context() as patched:
            patched.setattr(parts.store, "note", broken)
            with pytest.raises(NotDurable):
                await parts.outbound.stop_replay("crm")
        assert not parts.outbound.replays.going
        assert await parts.outbound.stop_replay("crm") == 0, "what was noted at its beginning"
        with pytest.raises(BadArguments, match="no replay to crm"):
            await parts.outbound.stop_replay("crm")


async def test_a_replay_to_a_target_that_left_is_not_told_to_one_of_its_name_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with held_replay(tmp_path, monkeypatch) as (world, _, one):
        pass
    world.configure(SHOP)
    async with world.parts():
        pass
    world.configure(crm(one, 'events = ["order.*"]'))
    async with world.parts() as parts:
        assert not parts.outbound.replays.going


async def test_a_replay_is_not_taken_up_where_its_target_is_just_leaving(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with held_replay(tmp_path, monkeypatch) as (_, parts, __):
        outbound = parts.outbound
        outbound._divided, outbound._here = True, frozenset(["crm"])
        async with anyio.create_task_group() as tasks, outbound.dispatcher.changing.change():  # a reload, say
            tasks.start_soon(outbound.end, "crm")
            await anyio.wait_all_tasks_blocked()
            await outbound.replays.take_up()
        assert not outbound.replays.going


async def test_a_replay_goes_with_its_target_to_another_node_and_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with held_replay(tmp_path, monkeypatch) as (_, parts, __):
        outbound = parts.outbound
        outbound._divided, outbound._here = True, frozenset(["crm"])
        await outbound.end("crm")
        assert not outbound.replays.going
        await outbound.begin("crm", 2)
        await eventually(lambda: outbound.replays.going["crm"].done == 2)

        async def broken(*_: object, **__: object) -> None:
            raise NotDurable("the disk is full")

        await outbound.end("crm")
        with capture_logs() as lines:
            monkeypatch.setattr(parts.store, "noted", broken)
            await outbound.begin("crm", 3)
        assert [line["target"] for line in lines if line["event"] == "replay_not_taken_up"] == ["crm"]


async def nothing(*_: object) -> None:
    """What a process that is killed does not come to."""


@pytest.mark.parametrize(("types", "came_on"), [("*", False), ("order.*", True)])
async def test_a_replay_that_tells_audience_changes_after_the_events_came_nowhere_before_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, types: str, *, came_on: bool
) -> None:
    with capture_logs() as lines:
        async with held_replay(tmp_path, monkeypatch, events='"order.*", "audience.*"', types=types):
            pass
    (until_,) = [line["until"] for line in lines if line["event"] == "replay_stopped"]
    assert (until_ > "1970-01-02") is came_on


async def test_who_is_told_of_no_events_is_told_nothing_again(tmp_path: Path) -> None:
    async with World(tmp_path, SHOP + '[targets.file]\ntype = "nightly"\naudience = "two"\n', extra=NIGHTLY).parts() as parts:
        with pytest.raises(BadArguments, match="of no events"):
            await parts.outbound.replay("file", since=Micros(0), until=Micros(1), types=None, rate=None)


async def test_attempts_are_forgotten_in_time(tmp_path: Path) -> None:
    async with endpoint() as one, World(tmp_path, crm(one)).parts() as parts:
        await take(parts, "e1")
        await sent(parts, 3)
        assert await parts.outbound.expire(to_micros(parts.clock.now()) + Micros(1)) == 3
        assert (await sent(parts, 3)).delivered == 3


async def test_members_are_handed_to_a_target_as_far_as_it_may_see_them(tmp_path: Path) -> None:
    text = SHOP + '[targets.file]\ntype = "nightly"\naudience = "two"\nfields = ["identifiers"]\n'
    text += '[targets.news]\ntype = "nightly"\naudience = "two"\nrequired_purposes = ["news"]\n'
    async with World(tmp_path, text, extra=NIGHTLY).parts() as parts:
        for person in ("joe@example.com", "ann@example.com"):
            await take(parts, f"{person}1", f"{person}2", email=person)
        outlet = parts.outbound.dispatcher.get("file").outlet
        first, rest = await outlet.members("two", after=0, limit=1)
        assert rest is not None
        second, end = await outlet.members("two", after=rest, limit=2)
        assert end is None
        assert [set(one.profile) for one in (*first, *second)] == [{"id", "identifiers"}] * 2
        assert await parts.outbound.dispatcher.get("news").outlet.members("two", after=0, limit=9) == ([], None)
        outlet.unwell("the disk is full")
        found = await row(parts, "file")
        assert (found.state, found.reason) == ("failing", "the disk is full")
        assert Delivered().status is None


async def test_whoever_is_erased_is_told_of_and_nothing_read_ahead_about_them_is_sent(tmp_path: Path) -> None:
    async with endpoint(500) as one, World(tmp_path, crm(one)).parts() as parts:
        await take(parts, "e1", "e2", "e3")
        await eventually(lambda: parts.outbound.dispatcher.note("crm").state == "failing")
        await Running(parts).governance.erase(("email", "joe@example.com"), by="ada")
        assert (await row(parts)).waiting == 0
        del one.got[:]
        one.answers = [200]
        parts.outbound.hurry("crm")
        await sent(parts, 1)
        (only,) = one.got
        said = msgspec.json.decode(only.body)
        assert (said["type"], set(said["data"]["profile"])) == ("profile.erased", {"id"})
        assert b"joe" not in only.body


async def test_of_targets_that_nodes_divide_only_those_of_this_one_are_sent_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    duties = Divided()
    divided(monkeypatch, duties)
    async with (
        endpoint() as one,
        World(tmp_path, crm(one, 'events = ["order.*"]') + quiet("night"), extra=NIGHTLY).parts() as parts,
    ):
        outbound, node = parts.outbound, parts.dividing
        assert node is not None
        assert (sorted(outbound.names), list(outbound.here)) == (["crm", "night"], [])
        duties.has(DELIVER, "crm", "b")
        await duties.take(DELIVER, "night")
        duties.rows[DELIVER, "crm"] = Holder("b", "its disk is full")
        await node.look(DELIVER, outbound)
        await take(parts, "e1")
        found = await row(parts)
        assert (found.node, found.state, found.reason, found.waiting) == ("b", "failing", "its disk is full", 1)
        assert ((await row(parts, "night")).node, (await row(parts, "night")).state) == ("a", "active")
        for refused in (outbound.disable("crm"), outbound.send("crm"), outbound.forget("crm")):
            with pytest.raises(BadArguments, match=r"the node b: give the command there|crm is configured"):
                await refused
        later = Micros(to_micros(parts.clock.now()) + 600_000_000)  # nothing is sent before it is looked at
        await parts.store.outbox.note("crm", TargetNote(state="paused", reason="as the other node left it", until=later))
        duties.has(DELIVER, "crm", None)
        outbound.seen({})
        with pytest.raises(BadArguments, match="by no node now: start one with the role deliver"):
            await outbound.attempt("crm")
        await node.look(DELIVER, outbound)
        assert outbound.dispatcher.note("crm").reason == "as the other node left it"
        outbound.hurry("crm")
        await sent(parts, 1)
        await node.look(DELIVER, outbound)
        assert (await row(parts)).node == "a"
        duties.over = True
        await take(parts, "e2")
        await eventually(lambda: not outbound.dispatcher.get("crm").sender._buffer)
        assert len(one.got) == 1, "whoever may have lost it sends nothing"
        await outbound.end("crm")
        assert (list(outbound.here), (await row(parts)).waiting) == (["night"], 1)


async def test_a_target_that_could_not_be_begun_here_is_begun_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails(built: object) -> None:
        raise NotDurable("the disk")

    divided(monkeypatch, Divided())
    async with World(tmp_path, quiet("night"), extra=NIGHTLY).parts() as parts:
        outbound, node = parts.outbound, parts.dividing
        assert node is not None
        with monkeypatch.context() as failing:
            failing.setattr(outbound.dispatcher, "carry_out", fails)
            await node.look(DELIVER, outbound)
        assert (list(outbound.here), node.problem) == ([], "this node cannot begin with night yet: the disk")
        await outbound.begin("night", 1)
        assert list(outbound.here) == ["night"]


async def test_a_target_of_its_own_time_stays_where_it_was_when_it_may_be_another_nodes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    duties = Divided()
    divided(monkeypatch, duties)
    async with World(tmp_path, quiet("night"), extra=NIGHTLY).parts() as parts:
        assert parts.dividing is not None
        await parts.dividing.look(DELIVER, parts.outbound)
        outlet, woken = parts.outbound.dispatcher.get("night").outlet, anyio.Event()
        duties.over = True
        with pytest.raises(NotDurable, match="another node may send"):
            await outlet.waiting(limit=1)

        async def idle() -> None:
            await outlet.idle(parts.clock.now(), "for a moment")
            woken.set()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(idle)
            await anyio.wait_all_tasks_blocked()
            assert not woken.is_set()
            duties.over = False
            parts.clock.shift += timedelta(seconds=1)  # type: ignore[attr-defined]
            with anyio.fail_after(10):
                await woken.wait()
