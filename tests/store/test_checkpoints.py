"""Checkpoints run beside the store's writer, and nothing that becomes of one stops the next."""

import asyncio
import sqlite3

import pytest

from cdmd.store.checkpoints import STEP, Checkpoints

pytestmark = pytest.mark.anyio


async def test_one_that_is_given_up_does_not_keep_the_next_from_running() -> None:
    steps: list[int] = []
    async with Checkpoints(lambda: sqlite3.connect(":memory:"), lambda _: steps.append(1)) as checkpoints:
        given_up: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        given_up.cancel()
        checkpoints._ended(given_up)
        checkpoints.grown(STEP)
        await checkpoints.run(lambda _: None)
    assert steps == [1]
