"""Deliveries that are really sent: answered in every way, in order, within bounds, and none of them lost."""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest

from cdmd.contracts import AttemptFilter, Outlet
from cdmd.errors import NotDurable, NotFound
from cdmd.kit.quantities import Duration, Rate
from cdmd.models import Delivered, Delivery, DeliveryVerdict, Later, Never
from tests.deliveries.receiving import SECRET, built, endpoint, eventually, numbers, quick, sending, webhook

pytestmark = pytest.mark.anyio


async def test_what_waits_is_sent_and_leaves(tmp_path: Path) -> None:
    async with endpoint() as one, sending(tmp_path, **webhook("crm", one.url)) as it:
        ids = await it.put("crm", 3)
        total = await it.until(lambda total: total.waiting == 0)
        assert (total.delivered, total.attempts) == (3, 3)
        assert sorted(got.headers["webhook-id"] for got in one.got) == ids
        assert {got.path for got in one.got} == {"/hooks/cdmd"}
        assert it.dispatcher.note("crm").last_success


async def test_what_waited_before_the_start_is_sent(tmp_path: Path) -> None:
    async with sending(tmp_path) as it:
        await it.put("crm", 2)
    async with endpoint() as one, sending(tmp_path, **webhook("crm", one.url)) as it:
        await it.until(lambda total: total.delivered == 2)
        assert numbers(one.got) == [1, 2]


@pytest.mark.parametrize("status", [500, 404, 302, 503])
async def test_a_failure_is_tried_again_under_the_same_id(tmp_path: Path, status: int) -> None:
    async with endpoint(status, 200) as one, sending(tmp_path, **webhook("crm", one.url)) as it:
        (sent,) = await it.put("crm")
        await it.until(lambda total: total.delivered == 1)
        assert [got.headers["webhook-id"] for got in one.got] == [sent, sent]
        last, first = await it.store.outbox.attempts(AttemptFilter())
        assert (first.outcome, first.status, first.attempt) == ("later", status, 1)
        assert (last.outcome, last.status, last.attempt) == ("delivered", 200, 2)
        assert (first.body, first.answer) == (None, None)


async def test_after_the_last_attempt_it_is_set_aside_and_can_be_sent_again(tmp_path: Path) -> None:
    frame = quick(retry=["0s", "0s"])
    async with endpoint(500, 500, 200) as one, sending(tmp_path, **webhook("crm", one.url, frame)) as it:
        (sent,) = await it.put("crm")
        total = await it.until(lambda total: total.failed == 1)
        assert (total.waiting, total.attempts) == (0, 2)
        await it.store.outbox.retry(target="crm", id=sent, limit=9, now=0)  # type: ignore[arg-type]
        await it.until(lambda total: total.delivered == 1)
        assert len(one.got) == 3


async def test_an_endpoint_that_is_gone_is_disabled_and_loses_nothing(tmp_path: Path) -> None:
    async with endpoint(410, 200) as one, sending(tmp_path, **webhook("crm", one.url)) as it:
        await it.put("crm", 2, lane=lambda number: 0)
        note = await it.state("disabled")
        assert "410" in note.reason
        await it.until(lambda total: total.attempts == 1)
        assert (await it.until(lambda total: True)).waiting == 2
        await it.dispatcher.enable("crm")
        await it.until(lambda total: total.delivered == 2)
    async with sending(tmp_path) as it:
        assert it.dispatcher.note("crm").state == "active"


async def test_what_was_answered_before_a_stop_is_not_sent_again_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with endpoint() as one:
        async with sending(tmp_path, **webhook("crm", one.url)) as it:
            settle = it.store.outbox.settle

            async def slowly(settled: Any) -> None:
                await anyio.sleep(0.2)
                await settle(settled)

            monkeypatch.setattr(it.store.outbox, "settle", slowly)
            await it.put("crm", 3)
            await one.wait(3)
            await anyio.wait_all_tasks_blocked()
        async with sending(tmp_path, **webhook("crm", one.url)) as it:
            assert (await it.until(lambda total: total.waiting == 0)).delivered == 3
            assert len(one.got) == 3


async def test_who_is_disabled_stays_so_over_restarts(tmp_path: Path) -> None:
    async with endpoint() as one, sending(tmp_path, **webhook("crm", one.url)) as it:
        await it.dispatcher.disable("crm")
        await it.put("crm")
    async with endpoint() as one, sending(tmp_path, **webhook("crm", one.url)) as it:
        assert it.dispatcher.note("crm").reason == "by an administrator"
        await it.dispatcher.enable("crm")
        await it.until(lambda total: total.delivered == 1)
        with pytest.raises(NotFound, match="configured are: crm"):
            await it.dispatcher.disable("other")


async def test_one_that_asks_for_a_pause_is_let_alone_and_then_tried_once(tmp_path: Path) -> None:
    wait = b"HTTP/1.1 429 X\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n"
    async with endpoint(wait, 200) as one, sending(tmp_path, **webhook("crm", one.url, quick(concurrency=1))) as it:
        await it.put("crm", 5)
        await it.state("paused")
        assert len(one.got) == 1
        await it.until(lambda total: total.delivered == 5)
        assert it.dispatcher.note("crm").state == "active"


async def test_one_that_fails_again_and_again_is_only_probed(tmp_path: Path) -> None:
    async with endpoint(500) as one, sending(tmp_path, **webhook("crm", one.url)) as it:
        await it.put("crm", 50)
        note = await it.state("failing")
        await it.until(lambda total: total.attempts == len(one.got))
        assert 5 <= len(one.got) <= 9
        assert note.until > note.since
        assert (await it.until(lambda total: True)).waiting == 50
        one.answers = [200]
        it.dispatcher.hurry("crm")
        await it.until(lambda total: total.delivered == 50)
        assert it.dispatcher.note("crm").state == "active"


async def hang(writer: asyncio.StreamWriter) -> bool:
    await anyio.sleep(30)
    return False


async def half(writer: asyncio.StreamWriter) -> bool:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-le")
    await writer.drain()
    return False


async def gigabyte(writer: asyncio.StreamWriter) -> bool:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1073741824\r\n\r\n")
    for _ in range(64):
        writer.write(b"x" * 2**16)
        await writer.drain()
    return False


async def nonsense(writer: asyncio.StreamWriter) -> bool:
    writer.write(b"SSH-2.0-OpenSSH\r\n\r\n")
    await writer.drain()
    return False


@pytest.mark.parametrize(("answer", "reason"), [(hang, "within"), (half, "broke off"), (nonsense, "broke off")])
async def test_an_endpoint_that_misbehaves_delays_nobody_else(tmp_path: Path, answer: Any, reason: str) -> None:
    frame = quick(timeout=Duration.parse("200ms"))
    async with endpoint(answer) as bad, endpoint() as good:
        targets = webhook("crm", bad.url, frame) | webhook("mail", good.url)
        async with sending(tmp_path, **targets) as it:
            await it.put("crm", 20)
            await it.put("mail", 20)
            with anyio.fail_after(30):
                await it.until(lambda total: total.delivered == 20, target="mail")
            await it.until(lambda total: total.attempts > 0)
            (first, *_) = await it.store.outbox.attempts(AttemptFilter(target="crm"))
            assert reason in first.reason
            assert (await it.until(lambda total: True)).waiting == 20


async def test_an_endless_answer_is_not_read_and_what_it_said_counts(tmp_path: Path) -> None:
    async with endpoint(gigabyte) as one, sending(tmp_path, **webhook("crm", one.url)) as it:
        await it.put("crm")
        await it.until(lambda total: total.delivered == 1)
        (attempt,) = await it.store.outbox.attempts(AttemptFilter())
        assert (attempt.outcome, attempt.status) == ("delivered", 200)


async def test_nobody_there_is_a_failure_like_any_other(tmp_path: Path) -> None:
    async with sending(tmp_path, **webhook("crm", "http://127.0.0.1:9/x")) as it:
        await it.put("crm")
        await it.until(lambda total: total.attempts > 0)
        (first, *_) = await it.store.outbox.attempts(AttemptFilter())
        assert first.reason == "127.0.0.1 cannot be reached: Connection refused"


async def test_in_strict_order_nobody_passes_the_one_that_fails(tmp_path: Path) -> None:
    async with endpoint(200, 500, 200) as one, sending(tmp_path, **webhook("crm", one.url, quick(order="strict"))) as it:
        await it.put("crm", 6, lane=lambda number: 0)
        await it.until(lambda total: total.delivered == 6)
        assert numbers(one.got) == [1, 2, 2, 3, 4, 5, 6]
        assert one.most == 1


async def test_of_one_profile_they_come_in_order_and_of_others_meanwhile(tmp_path: Path) -> None:
    frame = quick(order="per_profile", retry=["0s", "300ms"])
    async with endpoint(500, 200) as one, sending(tmp_path, **webhook("crm", one.url, frame)) as it:
        await it.put("crm", 8, lane=lambda number: number % 2)
        await it.until(lambda total: total.delivered == 8)
        found = numbers(one.got)
        first = found[0] % 2
        assert [number for number in found if number % 2 != first] == sorted(number for number in found if number % 2 != first)
        mine = [number for number in found if number % 2 == first]
        assert mine == sorted(mine)
        assert len(mine) == 5
        assert mine[0] == mine[1]


async def test_no_more_at_once_than_allowed(tmp_path: Path) -> None:
    async def slowly(writer: asyncio.StreamWriter) -> bool:
        await anyio.sleep(0.02)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        return True

    async with endpoint(slowly) as one, sending(tmp_path, **webhook("crm", one.url, quick(concurrency=3))) as it:
        await it.put("crm", 20)
        await it.until(lambda total: total.delivered == 20)
        assert 2 <= one.most <= 3


async def test_no_faster_than_the_rate_that_is_configured(tmp_path: Path) -> None:
    frame = quick(rate=Rate.parse("2/60s"))
    async with endpoint() as one, sending(tmp_path, **webhook("crm", one.url, frame)) as it:
        await it.put("crm", 5)
        await it.until(lambda total: total.delivered == 2)
        await anyio.wait_all_tasks_blocked()
        assert len(one.got) == 2


class Derived(Delivered, frozen=True):
    """A verdict of a plugin's own."""


class Noting:
    """A target of a plugin: says what ``verdicts`` hold, or raises it."""

    Settings: Any = None
    type = "noting"

    def __init__(self, *said: Any, batch: int = 4) -> None:
        self.said, self.batch = list(said), batch
        self.got: list[list[int]] = []

    async def deliver(self, deliveries: Sequence[Delivery], outlet: Outlet) -> Sequence[DeliveryVerdict]:
        self.got.append([one.document["data"]["number"] for one in deliveries])
        said = self.said.pop(0) if self.said else Delivered()
        if isinstance(said, BaseException):
            raise said
        return said if isinstance(said, list) else [said] * len(deliveries)


async def test_a_target_takes_several_at_once_and_says_what_became_of_each(tmp_path: Path) -> None:
    mixed = [Delivered(), Later(reason="not now"), Never(reason="malformed"), Delivered()]
    target = Noting(mixed)
    async with sending(tmp_path, **built("crm", target, quick(concurrency=1, keep_bodies=True))) as it:
        await it.put("crm", 4)
        total = await it.until(lambda total: total.delivered == 3 and total.failed == 1)
        assert target.got == [[1, 2, 3, 4], [2]]
        assert total.waiting == 0
        (aside,) = await it.store.outbox.listed(target="crm", failed=True, limit=9)
        assert aside.reason == "malformed"
        assert all(row.body for row in await it.store.outbox.attempts(AttemptFilter()))


async def test_what_is_said_of_several_at_once_is_one_failure_of_the_endpoint(tmp_path: Path) -> None:
    target = Noting([Later(reason="not now")] * 8, batch=8)
    async with sending(tmp_path, **built("crm", target, quick(concurrency=1, retry=["0s", "1h"]))) as it:
        await it.put("crm", 8)
        await it.until(lambda total: total.attempts == 8)
        assert target.got == [[*range(1, 9)]]
        assert (it.dispatcher.note("crm").state, it.dispatcher.note("crm").failures) == ("active", 1)


async def test_what_is_dropped_while_it_is_read_is_not_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with endpoint() as one, sending(tmp_path, **webhook("crm", one.url)) as it:
        ready, held, go = it.store.outbox.ready, anyio.Event(), anyio.Event()

        async def slowly(*which: Any, **more: Any) -> list[Delivery]:
            found = await ready(*which, **more)
            if found:
                held.set()
                await go.wait()
            return found

        monkeypatch.setattr(it.store.outbox, "ready", slowly)
        await it.put("crm")
        await held.wait()
        assert await it.store.outbox.forget("crm") == 1
        it.dispatcher.refresh()
        go.set()
        await it.put("crm")
        await it.until(lambda total: total.delivered == 1)
        assert numbers(one.got) == [2]


@pytest.mark.parametrize(
    "said",
    [
        ValueError("joe@example.com"),
        SystemExit(1),
        [Delivered()],
        Delivered(200, bytearray(b"taken")),  # type: ignore[arg-type] - as a plugin may
        Later(reason={"why": "joe"}),  # type: ignore[arg-type]
        Never(reason="malformed", status="400"),  # type: ignore[arg-type]
        Later(reason="not now", at=60),  # type: ignore[arg-type]
        Later(reason="not now", at=datetime(2026, 11, 23)),  # noqa: DTZ001 - likewise
        Later(reason="not now", status=10**30),
        Derived(200),
    ],
)
async def test_a_target_whose_code_fails_harms_nobody_and_is_tried_again(tmp_path: Path, said: Any) -> None:
    target = Noting(said)
    async with sending(tmp_path, **built("crm", target, quick(concurrency=1))) as it:
        await it.put("crm", 2)
        await it.until(lambda total: total.delivered == 2)
        first = (await it.store.outbox.attempts(AttemptFilter()))[-1]
        assert "own code failed" in first.reason
        assert "joe" not in first.reason


async def test_one_that_begins_anew_sends_what_was_on_its_way(tmp_path: Path) -> None:
    begun = anyio.Event()

    class Stuck(Noting):
        async def deliver(self, deliveries: Sequence[Delivery], outlet: Outlet) -> Sequence[DeliveryVerdict]:
            if not begun.is_set():
                begun.set()
                await anyio.sleep_forever()
            return await super().deliver(deliveries, outlet)

    target = Stuck(batch=1)
    async with sending(tmp_path, **built("crm", target, quick(concurrency=1))) as it:
        await it.put("crm", 3)
        await begun.wait()
        await it.dispatcher.supervisor.pause("crm")
        it.dispatcher.supervisor.resume("crm")
        await it.until(lambda total: total.delivered == 3)
        assert target.got == [[1], [2], [3]]


async def test_what_does_not_count_uses_up_no_attempt(tmp_path: Path) -> None:
    target = Noting(*[Later(reason="its disk is full", counts=False)] * 3)
    async with sending(tmp_path, **built("crm", target, quick(retry=["0s", "0s"]))) as it:
        await it.put("crm")
        await it.until(lambda total: total.delivered == 1)
        assert (await it.store.outbox.attempts(AttemptFilter()))[0].attempt == 1


async def test_one_that_is_exchanged_by_a_reload_goes_on_where_it_was(tmp_path: Path) -> None:
    async with endpoint(500) as old, endpoint() as new, sending(tmp_path, **webhook("crm", old.url)) as it:
        await it.put("crm", 3)
        await old.wait(1)
        await it.use(**webhook("crm", new.url))
        it.dispatcher.hurry(None)
        await it.until(lambda total: total.delivered == 3)
        assert len(new.got) == 3
        await it.use()
        await it.put("crm")
        assert (await it.until(lambda total: True)).waiting == 1


async def test_one_that_is_not_enabled_in_the_configuration_gets_nothing(tmp_path: Path) -> None:
    async with endpoint() as one, sending(tmp_path, **webhook("crm", one.url, quick(enabled=False))) as it:
        await it.put("crm")
        await anyio.wait_all_tasks_blocked()
        assert one.got == []
        assert it.dispatcher.supervisor.state("crm").state == "paused"


async def test_one_whose_plugin_is_missing_waits(tmp_path: Path) -> None:
    async with sending(tmp_path, **built("crm", None)) as it:
        await it.put("crm")
        assert it.dispatcher.supervisor.state("crm").error == "its plugin is missing"


async def test_what_cannot_be_noted_is_told_and_noted_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with endpoint() as one, sending(tmp_path, **webhook("crm", one.url)) as it:
        settle, broken = it.store.outbox.settle, True

        async def failing(settled: Any) -> None:
            if broken:
                raise NotDurable("the disk is full")
            await settle(settled)

        monkeypatch.setattr(it.store.outbox, "settle", failing)
        await it.put("crm")
        await one.wait(1)
        await eventually(lambda: it.dispatcher.settling.problem is not None)
        assert "the disk is full" in it.dispatcher.settling.problem
        broken = False
        await it.until(lambda total: total.delivered == 1)
        assert it.dispatcher.settling.problem is None
        assert len(one.got) == 1


class Nightly:
    """A target that takes what waits when it is told to."""

    Settings: Any = None
    type = "nightly"

    def __init__(self) -> None:
        self.files: list[list[int]] = []
        self.rested = anyio.Event()

    async def run(self, outlet: Outlet) -> None:
        while True:
            self.rested.set()
            await outlet.idle(outlet.clock.now() + timedelta(hours=1), "next file tonight")
            rows = await outlet.waiting(limit=2)
            rows += await outlet.waiting(limit=2, after=rows[-1].n) if rows else []
            self.files.append([one.seq for one in rows])
            await outlet.put("last", str(len(rows)))
            await outlet.settle(rows, Delivered(), seconds=0.1)
            self.rested = anyio.Event()


async def test_a_target_that_works_by_itself_takes_what_waits_in_order_when_it_is_woken(tmp_path: Path) -> None:
    target = Nightly()
    async with sending(tmp_path, **built("crm", target)) as it:
        await it.put("crm", 3, lane=lambda number: 0)
        await target.rested.wait()
        live = it.dispatcher.get("crm")
        await eventually(lambda: live.outlet.detail is not None)
        assert live.outlet.detail == "next file tonight"
        live.outlet.wake()
        await it.until(lambda total: total.delivered == 3)
        assert target.files == [[1, 2, 3]]
        assert await live.outlet.get("last") == "3"
        await it.dispatcher.disable("crm")
        assert it.dispatcher.supervisor.state("crm").state == "paused"
        await it.dispatcher.enable("crm")
        assert SECRET not in repr(live)


@pytest.mark.parametrize("verdict", [Derived(), Delivered(status=object()), Later(reason=5), "taken"])  # type: ignore[arg-type]
async def test_a_target_that_works_by_itself_and_says_what_is_no_verdict_hears_so_and_nothing_is_noted(
    tmp_path: Path, verdict: Any
) -> None:
    async with sending(tmp_path, **built("crm", Nightly())) as it:
        await it.put("crm", 2)
        outlet = it.dispatcher.get("crm").outlet
        rows = await outlet.waiting(limit=2)
        with pytest.raises(TypeError, match="no sound verdict"):
            await outlet.settle(rows, verdict)
        await outlet.settle(rows, Later(reason="lone \ud800"))
        assert (await it.until(lambda total: total.attempts == 2)).waiting == 2
        assert it.dispatcher.note("crm").reason == "lone \\xd800"


async def test_a_target_that_sleeps_is_woken_by_a_clock_that_is_set_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cdmd.deliveries.outlets._LONGEST_SLEEP", 0.01)
    async with sending(tmp_path, **built("crm", Nightly())) as it:
        outlet = it.dispatcher.get("crm").outlet
        right = outlet.clock.now
        monkeypatch.setattr(outlet.clock, "now", lambda: right() + timedelta(days=60))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(outlet.idle, outlet.clock.now() + timedelta(hours=1), "next file in an hour")
            await anyio.wait_all_tasks_blocked()
            monkeypatch.setattr(outlet.clock, "now", right)
