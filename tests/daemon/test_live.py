from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import msgspec
import pytest

from cdmd.contracts import Append, Source
from cdmd.daemon.gate import PushGate
from cdmd.daemon.live import OWNER, LiveConnectors
from cdmd.daemon.parts import Parts
from cdmd.daemon.running import Running
from cdmd.errors import BadArguments, ConfigInvalid, Ending, NotDurable, NotFound, Overloaded, Paused
from cdmd.models import Answer, Entry, Event, Fault, Request, Route, Seq
from cdmd.supervisor import UNSTOPPABLE
from tests.daemon.doubles import Fetcher, World, applied, asked, fetched, record, until, verdicts

pytestmark = pytest.mark.anyio

PULL = '[connectors.crm]\ntype = "fetcher"\n'
PUSH = '[connectors.shop]\ntype = "told"\n'


async def change(world: World, parts: Parts, text: str) -> dict[str, str]:
    world.configure(text)
    return verdicts((await Running(parts).reload()).connectors)


async def test_a_change_starts_stops_and_exchanges_only_what_it_names(tmp_path: Path) -> None:
    world = World(tmp_path, PULL + PUSH)
    async with world.parts() as parts, asked(parts) as http:
        first = Fetcher.made["crm"]
        assert await change(world, parts, PULL + '[connectors.new]\ntype = "told"\n') == {
            "crm": "unchanged", "new": "started", "shop": "stopped",
        }  # fmt: skip
        assert Fetcher.made["crm"].source is first.source
        assert (await http.post("/told/shop")).status_code == 404
        assert (await http.post("/told/new")).status_code == 200
        assert await change(world, parts, PULL + 'note = "x"\n') == {"crm": "restarted", "new": "stopped"}
        assert Fetcher.made["crm"] is not first


async def test_while_many_are_exchanged_others_have_their_turn_after_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen to fail without the turns between them: a thousand would hold everybody up for seconds."""
    world, turns, seen = World(tmp_path, PULL), 0, dict[str, list[int]]()
    build, start = LiveConnectors._build, LiveConnectors._start

    def building(self: Any, one: Any, **named: Any) -> Any:
        seen.setdefault("built", []).append(turns)
        return build(self, one, **named)

    async def starting(self: Any, *given: Any) -> Any:
        seen.setdefault("started", []).append(turns)
        return await start(self, *given)

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await anyio.lowlevel.checkpoint()

    async with world.parts() as parts, anyio.create_task_group() as group:
        monkeypatch.setattr(LiveConnectors, "_build", building)
        monkeypatch.setattr(LiveConnectors, "_start", starting)
        group.start_soon(others)
        many = "".join(f'[connectors.crm_{number}]\ntype = "fetcher"\n' for number in range(20))
        await change(world, parts, PULL + many)
        group.cancel_scope.cancel()
    assert {name: len(set(found)) for name, found in seen.items()} == {"built": 20, "started": 20}


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ('[connectors.a]\ntype = "fetcher"\nmode = "impossible"\n', "connectors.a.mode: is impossible"),
        ('[connectors.a]\ntype = "fetcher"\nmode = "broken"\n', "connectors.a: its type fetcher cannot make it: it raised Key"),
        ('[connectors.a]\ntype = "told"\npath = "/told/shop"\n', "/told/shop is already answered by"),
        ('[connectors.a]\ntype = "told"\npath = "/livez"\n', "/livez is already answered by the daemon"),
    ],
)  # fmt: skip
async def test_a_mistake_leaves_everything_as_it_was(tmp_path: Path, text: str, mistake: str) -> None:
    world = World(tmp_path, PULL + PUSH)
    async with world.parts() as parts, asked(parts) as http:
        before, running = parts.config, Fetcher.made["crm"]
        with pytest.raises(ConfigInvalid, match=mistake) as found:
            await change(world, parts, PUSH + text)
        assert "joe@" not in str(found.value)
        assert parts.config is before
        assert Fetcher.made["crm"] is running
        assert parts.supervisor.state("crm").state == "running"
        assert (await http.post("/told/shop")).status_code == 200


async def test_all_mistakes_of_all_connectors_are_told_with_their_file(tmp_path: Path) -> None:
    world = World(tmp_path)
    async with world.parts() as parts:
        text = "".join(f'[connectors.{name}]\ntype = "fetcher"\nmode = "impossible"\n' for name in "ab")
        with pytest.raises(ConfigInvalid) as found:
            await change(world, parts, text)
        assert [problem.endswith(": is impossible") for problem in found.value.problems] == [True, True]
        assert all(problem.startswith(f"{world.file}: ") for problem in found.value.problems)


async def test_one_that_fails_to_start_is_a_verdict_and_the_others_are_applied(tmp_path: Path) -> None:
    world = World(tmp_path)
    async with world.parts() as parts:
        world.configure(PULL + '[connectors.bad]\ntype = "fetcher"\nmode = "dies"\n')
        report = await Running(parts).reload()
        assert verdicts(report.connectors) == {"bad": "failed", "crm": "started"}
        assert report.problems == [
            "connectors.bad: it raised RuntimeError in daemon/doubles.py:" + report.problems[0].split(":")[-1]
        ]
        await until(parts, "bad", "degraded", "failed")


async def test_one_that_does_not_stop_is_a_verdict_and_what_it_brings_later_is_not_taken(tmp_path: Path) -> None:
    world = World(tmp_path, PULL + 'mode = "stuck"\n')
    async with world.parts() as parts:
        stuck = Fetcher.made["crm"]
        await until(parts, "crm", "running")
        world.configure(PULL)
        report = await Running(parts).reload()
        assert [(row.verdict, row.problem) for row in report.connectors] == [("failed", UNSTOPPABLE)]
        with pytest.raises(Overloaded, match="was stopped"):
            await stuck.bring()
        assert parts.supervisor.abandoned() == ["crm"]
        stuck.release.set()


@pytest.mark.parametrize("pause", [False, True])
async def test_one_that_exchanges_what_cannot_be_had_again_is_given_time_to_keep_it(tmp_path: Path, *, pause: bool) -> None:
    """Seen to be cut off after three seconds, its source and its client closed under it."""
    world = World(tmp_path, PULL + 'mode = "stuck"\n')
    async with world.parts() as parts:
        stuck = Fetcher.made["crm"]
        stuck.exchanging = True
        await until(parts, "crm", "running")
        if pause:
            await parts.connectors.pause("crm")
        else:
            world.configure(PULL)
            assert verdicts((await Running(parts).reload()).connectors) == {"crm": "restarted"}
        assert parts.supervisor.abandoned() == []
        assert stuck.source is not None
        assert await stuck.source.get([b"cursor"]) == {b"cursor": b"1"}


async def test_a_pause_outlives_a_restart_for_push_and_pull(tmp_path: Path) -> None:
    world = World(tmp_path, PULL + PUSH)
    async with world.parts() as parts:
        assert await parts.connectors.pause("crm") is None
        assert await parts.connectors.pause("shop") is None
    async with world.parts() as parts, asked(parts) as http:
        await until(parts, "crm", "paused")
        assert parts.supervisor.state("shop").state == "paused"
        answer = await http.post("/told/shop")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "60")
        assert parts.tally.of("shop", "refused") == parts.tally.of("shop", "received") == 1
        with pytest.raises(BadArguments, match="cdmctl resume crm"):
            await parts.connectors.poll("crm")
        await parts.connectors.resume("crm")
        await parts.connectors.resume("shop")
        await until(parts, "crm", "running")
        await fetched(parts, "crm")
        assert (await http.post("/told/shop")).status_code == 200
    async with world.parts() as parts:
        await until(parts, "crm", "running")


async def test_a_paused_pull_connector_that_did_not_stop_brings_nothing(tmp_path: Path) -> None:
    world = World(tmp_path, PULL + 'mode = "stuck"\n')
    async with world.parts() as parts:
        await until(parts, "crm", "running")
        await parts.connectors.pause("crm")
        with pytest.raises(Overloaded, match="was stopped"):
            await Fetcher.made["crm"].bring()
        await parts.connectors.resume("crm")
        await Fetcher.made["crm"].bring()


@pytest.mark.parametrize("pausing", [True, False])
async def test_a_pause_or_its_end_during_a_reload_is_that_of_the_successor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, pausing: bool
) -> None:
    world = World(tmp_path, PUSH)
    async with world.parts() as parts, asked(parts) as http:
        running = Running(parts)
        if not pausing:
            await running.pause("shop")
        keep, asking, go = parts.connectors._kept.pause, anyio.Event(), anyio.Event()

        async def slow(name: str, *, paused: bool) -> None:
            asking.set()
            await go.wait()
            await keep(name, paused=paused)

        carry_out, carrying = parts.connectors.carry_out, anyio.Event()

        async def carried_out(*plan: Any, **wait: Any) -> Any:
            carrying.set()
            return await carry_out(*plan, **wait)

        monkeypatch.setattr(parts.connectors._kept, "pause", slow)
        monkeypatch.setattr(parts.connectors, "carry_out", carried_out)
        async with anyio.create_task_group() as group:
            group.start_soon(running.pause if pausing else running.resume, "shop")
            await asking.wait()
            world.configure(PUSH + 'freshness = "9s"\n')
            group.start_soon(running.reload)
            await carrying.wait()
            await anyio.wait_all_tasks_blocked()
            go.set()
        assert parts.connectors.get("shop").config.frame.freshness is not None
        assert parts.supervisor.state("shop").state == ("paused" if pausing else "running")
        assert (await http.post("/told/shop")).status_code == (503 if pausing else 200)


async def test_once_they_are_closed_nothing_is_started_any_more(tmp_path: Path) -> None:
    async with World(tmp_path, PULL).parts() as parts:
        await until(parts, "crm", "running")
        plan = await parts.connectors.plan(msgspec.structs.replace(parts.config, connectors={}))
        await parts.connectors.close()
        for asked_for in (
            partial(parts.connectors.carry_out, plan),
            partial(parts.connectors.pause, "crm"),
            partial(parts.connectors.resume, "crm"),
            partial(parts.connectors.renew, ["crm"]),
            partial(parts.connectors.forget, "crm"),
        ):
            with pytest.raises(Ending):
                await asked_for()
        await parts.outbound.close()
        with pytest.raises(Ending):
            await parts.outbound.carry_out({})


async def test_who_waits_for_what_was_exchanged_is_told_when_it_is_closed(tmp_path: Path) -> None:
    world = World(tmp_path, PUSH)
    async with world.parts() as parts:
        world.configure(PUSH + PULL + 'mode = "silent"\n')
        failed: list[Exception] = []

        async def reload() -> None:
            try:
                await Running(parts).reload()
            except Ending as error:
                failed.append(error)

        async with anyio.create_task_group() as group:
            group.start_soon(reload)
            await until(parts, "shop", "running")
            while "crm" not in Fetcher.made or not Fetcher.made["crm"].runs:
                await anyio.lowlevel.checkpoint()
            await parts.connectors.close()
        assert len(failed) == 1


async def test_pausing_warns_where_the_sender_never_tries_again(tmp_path: Path) -> None:
    world = World(tmp_path, PUSH + 'verify = "github"\n')
    async with world.parts() as parts:
        assert "redelivered there by hand" in str(await parts.connectors.pause("shop"))


async def test_a_failed_pull_connector_is_tried_at_once_by_resume_and_by_poll(tmp_path: Path) -> None:
    world = World(tmp_path, PULL + 'mode = "dies"\n')
    async with world.parts() as parts:
        for ask in (parts.connectors.resume, parts.connectors.poll):
            await until(parts, "crm", "degraded", "failed")
            Fetcher.made["crm"].mode = "works"
            await ask("crm")
            await until(parts, "crm", "running")
            Fetcher.made["crm"].mode = "dies"
            await parts.supervisor.pause("crm")
            parts.supervisor.resume("crm")


async def test_what_is_asked_of_the_wrong_connector_is_said(tmp_path: Path) -> None:
    world = World(tmp_path, PULL + PUSH)
    async with world.parts() as parts:
        with pytest.raises(BadArguments, match="told by its sender"):
            await parts.connectors.poll("shop")
        with pytest.raises(NotFound, match="configured are: crm, shop"):
            await parts.connectors.pause("nobody")
        with pytest.raises(BadArguments, match="take it out of the configuration"):
            await parts.connectors.forget("crm")
        for unknown in ("nobody", OWNER):
            with pytest.raises(NotFound, match="nothing is kept"):
                await parts.connectors.forget(unknown)


async def test_what_left_can_be_forgotten_with_its_pause(tmp_path: Path) -> None:
    world = World(tmp_path, PULL)
    async with world.parts() as parts:
        await fetched(parts, "crm")
        await parts.connectors.pause("crm")
        assert await parts.connectors.gone() == []
        assert await change(world, parts, "") == {"crm": "stopped"}
        assert await parts.connectors.gone() == ["crm"]
        assert await parts.connectors.forget("crm") == 2
        assert await parts.connectors.gone() == []
        assert await change(world, parts, PULL) == {"crm": "started"}
        await until(parts, "crm", "running")


async def test_a_renamed_connector_goes_on_with_its_position_its_pause_and_its_ids(tmp_path: Path) -> None:
    world = World(tmp_path, PULL)
    async with world.parts() as parts:
        await fetched(parts, "crm")
        await applied(parts)
        assert Fetcher.made["crm"].source is not None
        writer = await Fetcher.made["crm"].source.table("register").write()
        await writer.put([b"a row"])
        await Fetcher.made["crm"].source.emit([], state=await writer.finish())
        secret = Fetcher.made["crm"].source.secret("rows")
        await parts.connectors.pause("crm")
    world.configure('[connectors.sales]\ntype = "fetcher"\nwas = ["crm"]\n')
    async with world.parts() as parts:
        await until(parts, "sales", "paused")
    async with world.parts() as parts:
        await until(parts, "sales", "paused")
        assert await parts.journal.get("crm", [b"cursor"]) == {}
        await parts.connectors.resume("sales")
        await until(parts, "sales", "running")
        source = Fetcher.made["sales"].source
        assert source is not None
        assert await source.table("register").get([0]) == [b"a row"]
        assert source.secret("rows") == secret
        await source.emit([record("e1")])
        await fetched(parts, "sales")
        await applied(parts)
        assert (await parts.store.totals()).events == 2
        assert [one.source for one in await parts.store.trace("e2")] == ["sales"]
        entry = Entry(Event(id="", source="crm", type="", received=world.clock.now()), Fault("x", "y"))
        assert parts.connectors.again(entry) == entry.fault
        gone = Entry(Event(id="", source="other", type="", received=world.clock.now()), Fault("x", "y"))
        assert "no longer configured" in str(parts.connectors.again(gone))


async def test_one_whose_position_cannot_be_taken_over_does_not_start_until_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path, PULL + PUSH)
    async with world.parts() as parts, asked(parts) as http:
        await fetched(parts, "crm")
        append = parts.journal.append

        async def full(appends: list[Append]) -> Seq:
            raise NotDurable("the disk is full")

        for name in ("crm", "shop"):
            await append([Append(connector=f"old-{name}", state={b"cursor": b"7"})])
        monkeypatch.setattr(parts.journal, "append", full)
        moved = PULL + 'was = ["old-crm"]\n' + PUSH + 'was = ["old-shop"]\n'
        assert await change(world, parts, moved) == {"crm": "failed", "shop": "failed"}
        assert parts.supervisor.state("crm").error == "the disk is full"
        answer = await http.post("/told/shop")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "60")
        monkeypatch.setattr(parts.journal, "append", append)
        await parts.connectors.resume("crm")
        await until(parts, "crm", "running")
        assert await parts.journal.get("crm", [b"cursor"]) == {b"cursor": b"7"}
        assert await change(world, parts, moved) == {"crm": "unchanged", "shop": "restarted"}
        assert (await http.post("/told/shop")).status_code == 200


async def test_a_push_connector_that_fails_is_degraded_until_it_answers_again(tmp_path: Path) -> None:
    world = World(tmp_path, PUSH + PULL)
    async with world.parts() as parts, asked(parts) as http:
        assert (await http.post("/told/shop", content=b"fail")).status_code == 500
        state = parts.supervisor.state("shop")
        assert (state.state, state.error) == ("degraded", "it failed to answer a request (KeyError)")
        assert (await http.post("/told/shop", content=b"fine")).status_code == 200
        assert parts.supervisor.state("shop").state == "running"
        parts.connectors.degraded("crm", "KeyError")
        parts.connectors.degraded("nobody", "KeyError")
        gate = parts.connectors.get("shop").gate
        assert gate is not None
        gate.retired = True
        gate.failed("KeyError")
        assert parts.supervisor.state("shop").state == "running"


async def test_a_pull_connector_counts_as_running_once_it_idles_or_brings_something(tmp_path: Path) -> None:
    world = World(tmp_path, PULL + '[connectors.quiet]\ntype = "fetcher"\nmode = "silent"\n')
    async with world.parts() as parts:
        await until(parts, "crm", "running")
        assert parts.supervisor.state("quiet").state == "starting"
        quiet = Fetcher.made["quiet"]
        while quiet.source is None:
            await anyio.lowlevel.checkpoint()
        await quiet.bring()
        assert parts.supervisor.state("quiet").state == "running"


class _Deciding:
    """A push connector that decides at once."""

    routes = (Route(path="/x"),)

    async def answer(self, request: Request, source: Source) -> Answer:
        raise AssertionError("it decided")

    def decide(self, request: Request, source: Source) -> Answer:
        return Answer(status=204)


async def test_a_connector_that_decides_at_once_is_paused_and_well_again_like_any_other(tmp_path: Path) -> None:
    world = World(tmp_path, PUSH)
    async with world.parts() as parts:
        source = parts.connectors.get("shop").source
        gate = PushGate("shop", _Deciding(), parts.supervisor)
        request = Request(method="POST", path="/x", query="", headers=(), body=b"", peer="", received=world.clock.now())
        gate.failed("KeyError")
        assert parts.supervisor.state("shop").state == "degraded"
        assert gate.decide(request, source) == Answer(status=204)
        assert parts.supervisor.state("shop").state == "running"
        gate.paused = True
        with pytest.raises(Paused):
            gate.decide(request, source)
        gate.paused, gate.unstarted = False, True
        with pytest.raises(Overloaded):
            gate.decide(request, source)
        assert parts.tally.refusals("shop") == {"paused": 1, "unstarted": 1}


async def test_a_page_may_ask_whether_it_may_send_while_the_connector_is_paused(tmp_path: Path) -> None:
    """Without that answer its browser would not show it the 503 that says when to come again."""
    world = World(tmp_path, PUSH)
    async with world.parts() as parts:
        source = parts.connectors.get("shop").source
        asked = Request(method="OPTIONS", path="/x", query="", headers=(), body=b"", peer="", received=world.clock.now())
        for origins, let_through in ((("https://shop.example",), True), ((), False)):
            connector = _Deciding()
            connector.routes = (Route(path="/x", methods=("POST", "OPTIONS"), origins=origins),)
            gate = PushGate("shop", connector, parts.supervisor)
            gate.paused = True
            if let_through:
                assert gate.decide(asked, source) == Answer(status=204)
            for request in (msgspec.structs.replace(asked, method="POST"), *([] if let_through else [asked])):
                with pytest.raises(Paused):
                    gate.decide(request, source)
