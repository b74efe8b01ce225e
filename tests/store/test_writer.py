import weakref

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
