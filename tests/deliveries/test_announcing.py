"""How a target is, told to the targets that ask for it: by name, signed as everything is, and never of itself."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cdmd.config.outbound import TargetFrame
from cdmd.contracts import Outlet
from cdmd.deliveries.dispatching import Built
from cdmd.errors import NotDurable
from tests.deliveries.receiving import Endpoint, built, endpoint, eventually, sending, webhook

pytestmark = pytest.mark.anyio


def asking(*events: str, **keys: Any) -> TargetFrame:
    return TargetFrame(type="webhook", events=events, **keys)


def told(one: Endpoint) -> list[tuple[str, dict[str, Any]]]:
    documents = [msgspec.json.decode(got.body) for got in one.got]
    return [(found["type"], found["data"]["target"]) for found in documents]


async def test_whoever_asks_is_told_that_a_target_is_no_more_and_that_it_is_there_again(tmp_path: Path) -> None:
    async with endpoint(410) as crm, endpoint() as ops:
        targets = webhook("crm", crm.url, asking("*")) | webhook("ops", ops.url, asking("target.*"))
        async with sending(tmp_path, **targets) as it:
            await it.put("crm")
            (got,) = await ops.wait(1)
            assert got.headers["webhook-id"]
            assert got.headers["webhook-signature"].startswith("v1,")
            reason = "it answers that it is gone (status 410)"
            said = {"name": "crm", "type": "webhook", "state": "disabled", "before": "active", "reason": reason}
            assert told(ops) == [("target.disabled", said)]
            crm.answers = [204]
            await it.dispatcher.enable("crm")
            await ops.wait(2)
            assert told(ops)[1] == (
                "target.active", {"name": "crm", "type": "webhook", "state": "active", "before": "disabled", "reason": None},
            )  # fmt: skip
            assert all(b"order.paid" in got.body for got in crm.got), "it is never told of itself, nor by *"


async def test_each_state_is_told_under_its_name_and_a_condition_chooses(tmp_path: Path) -> None:
    where = "event.data.target.name == 'crm'"
    async with endpoint(*[429] * 1, 500) as crm, endpoint(500) as erp, endpoint() as ops:
        targets = webhook("crm", crm.url) | webhook("erp", erp.url)
        targets |= webhook("ops", ops.url, asking("target.paused", "target.failing", where=where))
        async with sending(tmp_path, **targets) as it:
            await it.put("erp", 9)
            await it.put("crm", 9)
            await it.state("paused")
            await ops.wait(1)
            for _ in range(5):
                it.dispatcher.hurry("crm")
                await eventually(lambda: it.dispatcher.note("crm").until > 0)
            await it.state("failing")
            await ops.wait(2)
            assert [(kind, said["name"], said["before"]) for kind, said in told(ops)] == [
                ("target.paused", "crm", "active"), ("target.failing", "crm", "paused"),
            ]  # fmt: skip


async def test_while_a_target_is_exchanged_all_are_shown_and_hurried_all_the_same(tmp_path: Path) -> None:
    """Seen to fail when its task was asked for, which is gone by then: nothing was shown of any target until all was noted."""
    async with endpoint(429) as crm, sending(tmp_path, **webhook("crm", crm.url)) as it:
        await it.put("crm")
        await it.state("paused")
        await it.dispatcher.supervisor.stop("crm")
        assert it.dispatcher.standing("crm").state == "paused"
        it.dispatcher.hurry(None)
        assert it.dispatcher.note("crm").until == 0


class Filing:
    """A target that works by itself, and cannot."""

    Settings: Any = None
    type = "filing"

    async def run(self, outlet: Outlet) -> None:
        outlet.unwell("the folder does not exist")
        await outlet.idle(outlet.clock.now() + timedelta(hours=1), "tries again")
        outlet.unwell(None)
        await outlet.idle(outlet.clock.now() + timedelta(hours=1), "next file tonight")


async def test_what_a_target_says_of_itself_is_told_too(tmp_path: Path) -> None:
    async with endpoint() as ops:
        targets: dict[str, Built] = built("file", Filing()) | webhook("ops", ops.url, asking("target.*"))
        async with sending(tmp_path, **targets) as it:
            await ops.wait(1)
            live = it.dispatcher.get("file")
            await eventually(lambda: live.outlet.detail == "tries again")
            live.outlet.wake()
            await ops.wait(2)
            assert [(kind, said["reason"]) for kind, said in told(ops)] == [
                ("target.failing", "the folder does not exist"), ("target.active", None),
            ]  # fmt: skip


async def test_what_a_start_and_a_reload_find_is_no_news(tmp_path: Path) -> None:
    async with endpoint(410) as crm, endpoint() as ops:
        targets = webhook("crm", crm.url, asking("*")) | webhook("ops", ops.url, asking("target.*"))
        async with sending(tmp_path, **targets) as it:
            await it.put("crm")
            await ops.wait(1)
        async with sending(tmp_path, **targets) as it:
            assert it.dispatcher.standing("crm").state == "disabled"
            await it.use(**webhook("ops", ops.url, asking("target.*")))
            await it.use(**targets)
            await it.dispatcher.enable("crm")
            await ops.wait(2)
            assert [kind for kind, _ in told(ops)] == ["target.disabled", "target.active"]


async def test_news_that_the_store_does_not_take_are_told_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with endpoint() as crm, endpoint() as ops:
        targets = webhook("crm", crm.url, asking("*")) | webhook("ops", ops.url, asking("target.*"))
        async with sending(tmp_path, **targets) as it:
            put, refused = it.store.outbox.put, 0

            async def failing(*given: Any, **named: Any) -> int:
                nonlocal refused
                refused += 1
                if refused == 1:
                    raise NotDurable("the disk is full")
                return await put(*given, **named)

            monkeypatch.setattr(it.store.outbox, "put", failing)
            await it.dispatcher.disable("crm")
            await eventually(lambda: refused == 1)
            await it.dispatcher.enable("crm")
            await eventually(lambda: len(ops.got) >= 2)
            kinds = [msgspec.json.decode(got.body)["type"] for got in ops.got]
            assert kinds == ["target.disabled", "target.active"]
