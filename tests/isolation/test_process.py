"""The daemon's end of a process, whose other end is the test: who is accused of what, and what waits meanwhile."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from socket import socketpair
from types import SimpleNamespace
from typing import Any

import anyio
import pytest
from structlog.testing import capture_logs

from cdmd.contracts import Extension
from cdmd.errors import RetryLater
from cdmd.extensions.performing import Failure, Limits, NotCalled
from cdmd.isolation import Isolated, describe, process
from cdmd.isolation.messages import Answer, Begin, Call, Frames, Line, Noticed, Ready, Told, decode_to_child, encode, framed
from cdmd.isolation.process import Ended, Process
from cdmd.kit.clock import SystemClock
from cdmd.models import Event
from cdmd.plugins.described import Described, Isolation
from cdmd.supervisor import Supervisor
from cdmd.testing import make_event

pytestmark = [pytest.mark.anyio]

EVENT = make_event("order.paid")
BEGIN = Begin(plugin="it", value="it", event_bytes=1000)


def declared(timeout: float = 5.0, on_failure: str = "hold") -> Extension:
    return Extension(name="it", on=("*",), function=None, timeout=timeout, on_failure=on_failure)


class Wire(asyncio.Transport):
    """What was written, as messages."""

    def __init__(self) -> None:
        super().__init__()
        self._frames = Frames(100_000)
        self.calls: list[Call] = []

    def write(self, data: Any) -> None:
        found = [decode_to_child(one) for one in self._frames.take(bytes(data))]
        self.calls += [one for one in found if isinstance(one, Call)]

    def is_closing(self) -> bool:
        return False

    def abort(self) -> None:
        pass


class Ears:
    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []

    def line(self, said: Line) -> None:
        self.lines.append(said.line)

    def noticed(self, said: Noticed) -> None:
        self.lines.append({"noticed": said.text})


def connected(extension: Extension, *, plain: bool = False) -> tuple[Process, Wire, Ears]:
    wire, ears = Wire(), Ears()
    made = Process(BEGIN, [extension], ears)
    made.connection_made(wire)
    made.data_received(framed(Ready("enabled", None, ("it",), True, True, plain=(0,) if plain else ())))
    return made, wire, ears


def begun(made: Process) -> "asyncio.Task[Event | None]":
    return asyncio.get_running_loop().create_task(made.call(0, EVENT, {}))


async def until(holds: Callable[[], bool]) -> None:
    with anyio.fail_after(30):
        while True:
            if holds():
                return
            await anyio.sleep(0.01)


@pytest.mark.parametrize("plain", [False, True])
async def test_an_event_that_is_more_than_the_process_takes_fails_alone(plain: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "LARGEST", 1000)
    made, wire, _ = connected(declared(), plain=plain)
    large = make_event("order.paid", data={"text": "x" * 1000})
    for _ in range(Limits().threads + 1):
        with pytest.raises(Failure, match=r"larger than the .* that an isolated plugin is told at once"):
            await made.call(0, large, {})
    call = begun(made)
    await until(lambda: bool(wire.calls))
    made.data_received(framed(Answer(wire.calls[0].number, "unchanged")))
    assert await call is None
    assert not made.fault.done()


async def test_a_line_for_the_log_may_have_any_keys() -> None:
    async with Supervisor(clock=SystemClock(), random=lambda: 0.5) as supervisor:
        it = Isolated(BEGIN, [declared()], supervisor=supervisor, started=lambda _: None, blame=lambda *_: None)
        with capture_logs() as lines:
            it.line(Line("info", {"event": "asked", "self": 1, "method_name": 2, "plugin": "other", "status": 200}))
    assert lines == [{"event": "asked", "log_level": "info", "plugin": "it", "status": 200}]


def test_junk_of_any_depth_is_the_plugins_fault_when_it_is_asked_what_it_brings(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = socketpair()
    told = encode(Told(Described(defaults={"url": "deep"})))
    junk = told.replace(b"\xa4deep", b"\x91" * 100_000 + b"\xc0")  # lists within lists
    theirs.sendall(len(junk).to_bytes(4, "big") + junk)

    @contextmanager
    def spawned(*_: Any, **__: Any) -> Iterator[Any]:
        with ours, theirs:
            yield SimpleNamespace(socket=ours)

    monkeypatch.setattr("cdmd.isolation.describing.spawn", spawned)
    assert describe(Isolation(name="it", value="it"), {}).error == "its process answered junk when it was loaded"


async def test_of_a_plain_function_no_more_calls_are_out_than_it_has_threads_for() -> None:
    made, wire, _ = connected(declared(), plain=True)
    most = Limits().threads
    calls = [begun(made) for _ in range(most + 2)]
    await until(lambda: len(wire.calls) >= most)
    await anyio.wait_all_tasks_blocked()
    assert len(wire.calls) == most
    calls[-1].cancel()  # its deadline passed before it began
    made.data_received(framed(Answer(1, "unchanged")))
    await until(lambda: len(wire.calls) == most + 1)
    assert await calls[0] is None
    made.close(Ended("gone"))
    results = await asyncio.gather(*calls[1:], return_exceptions=True)
    assert [type(one) for one in results] == [Failure] * most + [asyncio.CancelledError]


async def test_a_call_that_waits_for_a_thread_is_not_failed_by_the_end_of_the_process() -> None:
    made, wire, _ = connected(declared(), plain=True)
    most = Limits().threads
    calls = [begun(made) for _ in range(most + 2)]
    await until(lambda: len(wire.calls) == most)
    made.close(Ended("gone"))
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(one) for one in results] == [Failure] * most + [NotCalled] * 2


async def test_a_call_that_was_let_go_of_has_its_whole_deadline_before_it_is_taken_for_one_that_hangs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(process, "OVERDUE", 0.05)
    patient, wire, _ = connected(declared(timeout=600.0))
    call = begun(patient)
    await until(lambda: len(wire.calls) == 1)
    call.cancel()
    await anyio.sleep(0.2)
    assert not patient.fault.done()
    hasty, wire, _ = connected(declared(timeout=0.05))
    call = begun(hasty)
    await until(lambda: len(wire.calls) == 1)
    call.cancel()
    with anyio.fail_after(30):
        assert "did not end" in (await asyncio.shield(hasty.fault)).reason
    for one in (patient, hasty):
        one.close(Ended("gone"))


@pytest.mark.parametrize(("on_failure", "raised"), [("hold", NotCalled), ("reject", NotCalled), ("store", Failure)])
async def test_events_wait_for_a_process_that_is_let_alone_unless_they_may_pass_without_it(
    on_failure: str, raised: type[Exception]
) -> None:
    supervisor = Supervisor(clock=SystemClock(), random=lambda: 0.5)
    kept = Isolated(
        BEGIN, [declared(on_failure=on_failure)], supervisor=supervisor, started=lambda _: None, blame=lambda *_: None
    )
    (extension,) = kept.extensions()
    function: Any = extension.function
    supervisor.mark("it", "failed", "x", kind="isolated")
    with pytest.raises(raised, match="its process does not run") as found:
        await function(EVENT, object())
    assert not isinstance(found.value, RetryLater) or found.value.seconds > 10
    supervisor.mark("it", "starting", kind="isolated")
    with pytest.raises(NotCalled, match="is being started"):
        await function(EVENT, object())


async def test_lines_beyond_what_may_be_said_are_counted_in_the_log() -> None:
    made, _, ears = connected(declared())
    said = framed(Line("info", {"event": "busy"}))
    made.data_received(said * 130)
    assert len(ears.lines) == 100
    made._second -= 1.0
    made.data_received(said)
    assert ears.lines[100:] == [{"event": "isolated_lines_left_out", "lines": 30}, {"event": "busy"}]
    made.close(Ended("gone"))
