import asyncio
import weakref
from typing import Any

import anyio
import pytest

from cdmd.store.writer import Writer

pytestmark = pytest.mark.anyio


class Connection:
    def close(self) -> None: ...


class Thing:
    pass


async def test_the_thread_holds_nothing_of_what_it_ran_while_it_waits() -> None:
    async with Writer(Connection, name="held") as writer:
        thing = Thing()
        kept = weakref.ref(thing)
        await writer.run(lambda _, thing=thing: thing)
        del thing
        with anyio.fail_after(30):
            while kept() is not None:  # noqa: ASYNC110 - nothing tells of it
                await anyio.sleep(0.01)


async def test_a_callback_that_raises_is_told_to_whoever_waits_and_else_to_the_loop() -> None:
    """Seen to fail when nothing caught it: whoever asked waited for ever."""
    told = list[dict[str, Any]]()
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context))

    def broken(said: object) -> None:
        raise LookupError(said)

    async with Writer(Connection, name="broken") as writer:
        with pytest.raises(LookupError), anyio.fail_after(30):
            await writer.run(type, then=broken)
        assert await writer.run(type) is Connection
        writer.start(type, then=broken).cancel()
        assert await writer.run(type) is Connection
    assert [type(context["exception"]) for context in told] == [LookupError]
