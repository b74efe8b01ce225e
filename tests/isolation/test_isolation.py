"""Extensions in a process of their own, a real one for each test: the same inside and apart, and what only apart is survived.

They are the hostile ones of the acceptance tests (``cdmd_apart``).
"""

import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
import structlog

from cdmd.contracts import Extension
from cdmd.errors import SourceUnavailable
from cdmd.extensions import Extensions, Limits, Registered
from cdmd.isolation import Isolated, describe, keeping
from cdmd.isolation.messages import Begin
from cdmd.kit.backoff import Backoff, Budget
from cdmd.kit.children import Child, spawn
from cdmd.kit.clock import SystemClock
from cdmd.models import Apply, Bury, Discard, Event, Hold, Outcome
from cdmd.plugins.described import Apart, Isolation
from cdmd.supervisor import Policy, Supervisor
from cdmd.testing import FakeApi, extension_context, make_event

pytestmark = [pytest.mark.anyio]

HOSTILE = Path(__file__).parents[1] / "acceptance" / "hostile"
SOON = Policy(backoff=Backoff(first=0.01, cap=0.02), budget=Budget(failures=100), settle=30.0)


@pytest.fixture(autouse=True)
def hostile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(HOSTILE))


@pytest.fixture
def api() -> Iterator[FakeApi]:
    with FakeApi() as made:
        made.answers("/tier", {"tier": "gold"})
        yield made


class Daemon:
    """As much of one as calls extensions."""

    def __init__(self, isolated: Isolated, extensions: Extensions) -> None:
        self.isolated, self.extensions = isolated, extensions
        self.seen: list[tuple[str | None, str]] = []

    async def call(self, name: str, **data: Any) -> tuple[Event, Outcome, str]:
        """The event ``apart.NAME`` after its extension, what becomes of it, and what came of the call."""
        with anyio.fail_after(30):
            event, outcome, visits = await self.extensions.run(make_event(f"apart.{name}", data=data))
        return event, outcome, visits[0].outcome

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait for what has to come."""
        with anyio.fail_after(30):
            while True:
                if holds():
                    return
                await anyio.sleep(0.02)

    async def again(self) -> None:
        """Until its next process is ready."""
        await self.until(lambda: self.isolated.state().state == "running")


@cache
def declared() -> Sequence[Extension]:
    return Apart(Isolation(name="apart", value="cdmd_apart"), {}, describe).brought().extensions


@asynccontextmanager
async def daemon(
    settings: Mapping[str, Any] | None = None, *, policy: Policy = SOON, max_memory: int | None = None, **given: Any
) -> AsyncIterator[Daemon]:
    table = dict(settings or {})
    extensions = await anyio.to_thread.run_sync(declared)
    begin = Begin(
        plugin="apart",
        value="cdmd_apart",
        settings=table,
        max_memory=max_memory,
        event_bytes=Limits().event_bytes,
        **given,
    )
    clock = SystemClock()
    supervisor = Supervisor(clock=clock, random=lambda: 0.5, policy=policy)
    seen: list[tuple[str | None, str]] = []
    isolated = Isolated(
        begin,
        extensions,
        supervisor=supervisor,
        started=lambda ready: None,
        blame=lambda extension, text: seen.append((extension, text)),
    )
    async with supervisor, extension_context({}) as context:
        supervisor.start("apart", isolated.live, kind="isolated")
        await isolated.settled.wait()
        registered = [Registered("apart", one, context) for one in isolated.extensions()]
        async with Extensions(registered, clock=clock) as extensions:
            made = Daemon(isolated, extensions)
            made.seen = seen
            yield made


async def test_what_an_extension_does_inside_it_does_apart(monkeypatch: pytest.MonkeyPatch, api: FakeApi) -> None:
    monkeypatch.setenv("APART_SECRET", "hush")
    with structlog.testing.capture_logs() as lines:
        async with daemon({"url": api.url, "token": "hush"}) as one:
            pid = one.isolated.state().pid
            event, outcome, came = await one.call("works")
            assert (event.data, outcome, came) == ({"tier": "gold", "secret": True, "pid": pid}, Apply(), "extended")
            assert pid != os.getpid()
            event, outcome, _ = await one.call("plain")
            assert (event.data["pid"], "APART_SECRET" in event.data["seen"]) == (pid, False)
            assert (await one.call("drops"))[1] == Discard("not wanted")
            assert (await one.call("elsewhere"))[2].startswith("failed: AddressRefused (no address that its settings name")
            _, outcome, came = await one.call("rejects")
            assert (isinstance(outcome, Bury), came) == (True, "rejected")
            _, outcome, came = await one.call("waits", again="1")
            assert (isinstance(outcome, Hold), came) == (True, "later")
            assert (await one.call("waits", again="1"))[2] == "unchanged"
            assert one.isolated.state().restarts == 0
    said = next(line for line in lines if line["event"] == "tier_asked")
    assert (said["plugin"], said["status"], "joe@example.com" in str(lines)) == ("apart", 200, False)


@pytest.mark.parametrize(
    ("name", "came", "reason"),
    [
        ("dies", "failed: its process was ended by SIGSEGV", "its process was ended by SIGSEGV"),
        ("leaves", "failed: its process ended by itself with status 0", "its process ended by itself with status 0"),
        ("spins", "failed: no answer within 0.3 s", "its process was ended: spins did not end 2 s after its deadline"),
        ("stays", "failed: no answer within 0.3 s", "its process was ended: stays did not end 2 s after its deadline"),
        ("babbles", "failed: its process was ended: it answered junk", "its process was ended: it answered junk"),
        ("answers_others", "failed: its process was ended: it answered junk", "its process was ended: it answered junk"),
        ("floods", "failed: its process was ended: it floods the log", "its process was ended: it floods the log"),
    ],
)
async def test_a_process_that_ends_or_has_to_be_ended_is_named_and_another_goes_on(name: str, came: str, reason: str) -> None:
    async with daemon() as one:
        first = one.isolated.state().pid
        assert (await one.call(name))[1:] == (Apply(), came)
        await one.until(lambda: one.isolated.state().restarts == 1)
        await one.again()
        state = one.isolated.state()
        assert (state.reason, state.restarts) == (reason, 1)
        assert state.pid not in {first, None}
        assert (await one.call("plain"))[0].data["pid"] == state.pid
        if name == "spins":
            assert any(extension == "spins" and "blocked the event loop" in text for extension, text in one.seen)
    assert first is not None
    with pytest.raises(ProcessLookupError):
        os.kill(first, 0)


async def test_who_only_waited_beside_the_one_that_hangs_is_called_again() -> None:
    async with daemon() as one, anyio.create_task_group() as tasks:
        tasks.start_soon(one.call, "spins")
        await anyio.wait_all_tasks_blocked()
        _, outcome, came = await one.call("plain")
        assert isinstance(outcome, Hold)
        assert came == "later"


async def test_one_that_takes_too_much_memory_is_kept_within_it() -> None:
    async with daemon(max_memory=300 * 2**20) as one:
        assert (await one.call("grabs"))[2].startswith("failed: MemoryError at cdmd_apart.py:")
        assert one.isolated.state().restarts == 0
        for _ in range(12):
            _, outcome, came = await one.call("leaks")
            assert isinstance(outcome, Apply | Hold)
            if came.startswith("failed: MemoryError") or one.isolated.state().restarts:
                break
        else:
            pytest.fail("768 MiB were taken")


async def test_one_that_dies_again_and_again_is_left_alone_for_a_while() -> None:
    policy = Policy(backoff=Backoff(first=0.01, cap=0.02), budget=Budget(failures=2, seconds=60), retry=60.0, settle=30.0)
    async with daemon(policy=policy) as one:
        for _ in range(2):
            await one.call("dies")
            await one.until(lambda: one.isolated.state().state in {"running", "failed"})
        assert one.isolated.state().state == "failed"
        _, outcome, came = await one.call("plain")
        assert (outcome, came) == (Apply(), "failed: its process does not run: its process was ended by SIGSEGV")


async def test_one_whose_process_cannot_be_started_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    await anyio.to_thread.run_sync(declared)
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    async with daemon() as one:
        state = one.isolated.state()
        assert (state.pid, state.reason) == (None, "its process cannot be started: No such file or directory")
        _, outcome, came = await one.call("plain")
        assert isinstance(outcome, Hold | Apply)
        assert came == "later" or came.startswith("failed: its process does not run")


async def test_a_process_that_ended_as_it_was_told_is_not_started_again() -> None:
    async with daemon() as one:
        await one.isolated.stop()
        await one.until(lambda: one.isolated.state().pid is None)
        await anyio.sleep(0.2)  # its supervisor would start it after 0.02 s
        assert (one.isolated.state().pid, one.isolated.state().restarts) == (None, 0)


async def test_one_that_is_being_loaded_is_not_waited_for_when_the_daemon_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "ENDING", 60.0)
    isolated = alone()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(loads, isolated)
        with anyio.fail_after(30):
            while True:
                if (pid := isolated.state().pid) is not None:
                    break
                await anyio.sleep(0.001)
        with anyio.fail_after(30):
            await isolated.stop()
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
        tasks.cancel_scope.cancel()


async def test_a_start_that_is_given_up_leaves_no_process_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Child] = []

    def spawned(*arguments: Any, **given: Any) -> Child:
        made.append(spawn(*arguments, **given))
        scope.cancel()
        return made[0]

    monkeypatch.setattr(keeping, "spawn", spawned)
    with anyio.CancelScope() as scope:
        await alone().live()
    with pytest.raises(ProcessLookupError):
        os.kill(made[0].pid, 0)


def alone() -> Isolated:
    supervisor = Supervisor(clock=SystemClock(), random=lambda: 0.5, policy=SOON)
    begin = Begin(plugin="apart", value="cdmd_apart", event_bytes=1000)
    return Isolated(begin, declared(), supervisor=supervisor, started=lambda _: None, blame=lambda *_: None)


async def loads(isolated: Isolated) -> None:
    with pytest.raises(SourceUnavailable):
        await isolated.live()


async def test_what_is_the_daemons_is_out_of_reach_by_whatever_way(tmp_path: Path) -> None:
    (tmp_path / "store.db").write_bytes(b"private")
    async with daemon({"state": str(tmp_path)}, private=(str(tmp_path),)) as one:
        event, *_ = await one.call("reads")
        state = one.isolated.state()
        assert (state.kernel, state.signals) == (True, True), "this machine's kernel has no Landlock, or is older than 6.12"
        refused = {"python": "Forbidden", "sqlite": "Forbidden", "program": "CalledProcessError", "native": "ZeroDivisionError"}
        assert event.data == {**refused, "memory": "PermissionError", "signal": "ZeroDivisionError"}
        assert any(
            "tried to reach store.db, which belongs to the daemon alone, at cdmd_apart.py:" in text for _, text in one.seen
        )


async def test_it_has_no_local_socket_to_reach_the_daemon_by(tmp_path: Path) -> None:
    async with daemon({"control": str(tmp_path / "control.sock")}) as one:
        assert (await one.call("connects"))[0].data == {"refused": True}
