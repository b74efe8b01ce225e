from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import pytest

from cdmd.config.schema import ConnectorFrame, EventSettings
from cdmd.contracts import Source
from cdmd.errors import AddressRefused
from cdmd.models import Accepted, Filtered, Record, Rejected
from cdmd.testing import ManualClock, RecordingSource, extension_context

pytestmark = pytest.mark.anyio
NOW = datetime(2026, 11, 23, tzinfo=UTC)
FRAME = ConnectorFrame(
    type="test",
    accept=("order.*",),
    event=EventSettings(id="{id}", type="{type}", identifiers={"email": "{email}"}, data={"total": "{total}"}),
)


def record(**value: Any) -> Record:
    return Record(value={"id": "1", "type": "order.paid", "email": "joe@example.com", **value}, received=NOW, fallback_id="f")


async def test_what_a_connector_emits_is_mapped_as_the_daemon_would_and_kept() -> None:
    source = RecordingSource("shop", frame=FRAME)
    wanted, other, broken = record(total=99.5, card="4111"), record(type="refund"), record(id=None)
    verdicts = await source.emit([wanted, other, broken])
    assert [type(one) for one in verdicts] == [Accepted, Filtered, Rejected]
    (event,) = source.events
    assert (event.id, event.source, event.type, event.data) == ("1", "shop", "order.paid", {"total": 99.5})
    assert len(source.filtered) == 1
    ((place, fault),) = source.faults
    assert place == 3
    assert fault.message == verdicts[2].message  # type: ignore[union-attr]


async def test_what_no_daemon_takes_is_not_taken() -> None:
    source = RecordingSource("shop", frame=FRAME)
    with pytest.raises(TypeError, match="time zone"):
        await source.emit([record(), Record(value={}, received=datetime(2026, 11, 23), fallback_id="g")])  # noqa: DTZ001
    with pytest.raises(TypeError, match="maps bytes"):
        await source.emit([record()], state={"at": b"1"})  # type: ignore[dict-item]
    assert (source.events, source.state) == ([], {})


async def test_places_of_faults_count_over_several_batches() -> None:
    source = RecordingSource(frame=FRAME)
    await source.emit([record(), record()])
    await source.emit([record(id=None)])
    assert [place for place, _ in source.faults] == [3]


async def test_state_is_stored_with_the_records_and_none_removes_it() -> None:
    source = RecordingSource()
    await source.emit([], state={b"a": b"1", b"b": b"2", b"c/2": b"4", b"c/1": b"3"})
    await source.emit([], state={b"a": None, b"b": b"5", b"never": None})
    assert await source.get([b"a", b"b", b"x"]) == {b"b": b"5"}
    assert [pair async for pair in source.scan(b"c/")] == [(b"c/1", b"3"), (b"c/2", b"4")]


async def test_refusals_are_counted_by_their_word() -> None:
    source = RecordingSource("shop")
    source.refuse(2, "signature_wrong")
    source.refuse(1, "signature_wrong")
    assert source.refused == {"signature_wrong": 3}
    assert source.name == "shop"


async def test_without_a_client_nothing_can_be_reached_and_with_one_it_is_handed_out() -> None:
    with pytest.raises(AddressRefused):
        _ = RecordingSource().http
    async with extension_context({}) as context:
        assert RecordingSource(http=context.http).http is context.http


async def test_idling_sleeps_on_the_clock_that_was_handed_in() -> None:
    clock = ManualClock(NOW)
    source: Source = RecordingSource(clock=clock)
    with anyio.fail_after(30):
        await source.idle(NOW - timedelta(seconds=1), "past")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(source.idle, NOW + timedelta(seconds=60), "quiet hours")
            await anyio.wait_all_tasks_blocked()
            clock.advance(60)
    assert source.clock is clock


async def test_an_extensions_context_has_its_settings_time_and_reach() -> None:
    clock = ManualClock(NOW)
    async with extension_context({"url": "http://127.0.0.1:1/x", "limit": 3}, clock=clock) as context:
        assert (context.settings["limit"], context.now) == (3, NOW)
        with pytest.raises(AddressRefused):
            await context.http.get("http://127.0.0.1:2/x")
