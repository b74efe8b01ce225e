import anyio
import pytest

from cdmd.batches.tail import Tail
from tests.batches.doubles import event

pytestmark = pytest.mark.anyio


async def test_nothing_is_kept_while_nobody_looks():
    tail = Tail()
    tail.publish("applied", event("1"))
    assert not tail.watched
    with tail.subscribe() as subscriber:
        tail.publish("applied", event("2"), "new")
        async for passing in subscriber:
            assert (passing.stage, passing.event.id, passing.detail) == ("applied", "2", "new")
            break
    assert not tail.watched


async def test_a_slow_subscriber_misses_events_and_is_told_how_many_while_others_see_them_all():
    tail = Tail()
    with tail.subscribe(buffer=2) as slow, tail.subscribe() as quick:
        for number in range(5):
            tail.publish("applied", event(str(number)))
        assert (slow.dropped, quick.dropped) == (3, 0)
        seen = []
        async for passing in slow:
            seen.append((passing.event.id, passing.lost))
            if len(seen) == 2:
                tail.publish("applied", event("5"))
            if len(seen) == 3:
                break
    assert seen == [("0", 0), ("1", 0), ("5", 3)]


async def test_a_subscriber_waits_for_what_comes():
    tail, seen = Tail(), []

    async def look(subscriber):
        async for passing in subscriber:
            seen.append(passing.event.id)
            if len(seen) == 2:
                return

    with tail.subscribe() as subscriber, anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(look, subscriber)
            await anyio.lowlevel.checkpoint()
            tail.publish("applied", event("1"))
            await anyio.lowlevel.checkpoint()
            tail.publish("applied", event("2"))
    assert seen == ["1", "2"]
