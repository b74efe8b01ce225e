"""What any ``Feeds`` must do. Another implementation subclasses ``FeedsContract`` with its own ``reopen`` fixture."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import TypeAlias

import pytest
from anyio import from_thread

from cdmd.contracts import Feeds
from cdmd.errors import Damaged
from cdmd.store.feeds import sum_of

Reopen: TypeAlias = Callable[[], AbstractAsyncContextManager[Feeds]]


async def written(
    feeds: Feeds, *blocks: bytes, connector: str = "supplier", table: str = "register", keep: int | None = None
) -> int:
    generation = await feeds.begin(connector, table, keep=keep)
    await feeds.put(generation, 0, blocks)
    assert await feeds.finish(generation) == len(blocks)
    return generation


class FeedsContract:
    """Each test opens the same feeds as often as it likes through ``reopen``."""

    @pytest.fixture
    def reopen(self) -> Reopen:
        raise NotImplementedError

    async def test_what_was_finished_is_there_block_by_block(self, reopen: Reopen) -> None:
        async with reopen() as feeds:
            generation = await feeds.begin("supplier", "register", keep=None)
            await feeds.put(generation, 0, [b"zero", b"one"])
            await feeds.put(generation, 2, [b"", b"three" * 100_000])
            assert await feeds.size(generation) is None
            assert await feeds.finish(generation) == 4
        async with reopen() as feeds:
            assert await feeds.size(generation) == 4
            assert await feeds.get(generation, [3, 0, 2]) == [b"three" * 100_000, b"zero", b""]
            assert await feeds.get(generation, []) == []
            assert await feeds.verify() == []

    async def test_what_is_removed_while_they_are_looked_through_is_no_damage(
        self, reopen: Reopen, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def meanwhile(number: int, body: bytes) -> bytes:
            if others:
                from_thread.run(feeds.forget, others.pop())
            return sum_of(number, body)

        others = ["shop"]
        async with reopen() as feeds:
            for connector in ("supplier", "shop"):
                await written(feeds, b"one", connector=connector)
            monkeypatch.setattr("cdmd.store.feeds.sum_of", meanwhile)
            assert await feeds.verify() == []

    async def test_an_empty_generation_is_one(self, reopen: Reopen) -> None:
        async with reopen() as feeds:
            generation = await written(feeds)
        async with reopen() as feeds:
            assert await feeds.size(generation) == 0

    async def test_the_old_generation_stays_until_another_is_begun_that_does_not_keep_it(self, reopen: Reopen) -> None:
        async with reopen() as feeds:
            first = await written(feeds, b"first")
            interrupted = await feeds.begin("supplier", "register", keep=first)
            await feeds.put(interrupted, 0, [b"half"])
        async with reopen() as feeds:
            assert await feeds.size(interrupted) is None
            second = await written(feeds, b"second", keep=first)
            assert [await feeds.size(one) for one in (first, interrupted, second)] == [1, None, 1]
            third = await written(feeds, b"third", keep=second)
            assert [await feeds.size(one) for one in (first, second, third)] == [None, 1, 1]
            assert len({first, interrupted, second, third}) == 4
            with pytest.raises(Damaged):
                await feeds.get(first, [0])

    async def test_a_number_is_never_given_twice(self, reopen: Reopen) -> None:
        async with reopen() as feeds:
            first = await written(feeds, b"first")
            await feeds.forget("supplier")
        async with reopen() as feeds:
            assert await feeds.begin("supplier", "register", keep=None) > first

    async def test_tables_and_connectors_do_not_touch_each_other(self, reopen: Reopen) -> None:
        async with reopen() as feeds:
            mine = await written(feeds, b"mine")
            other = await written(feeds, b"other", table="other")
            theirs = await written(feeds, b"theirs", connector="shop")
            assert [await feeds.get(one, [0]) for one in (mine, other, theirs)] == [[b"mine"], [b"other"], [b"theirs"]]
            assert await feeds.forget("supplier") == 2
            assert await feeds.forget("supplier") == 0
            assert [await feeds.size(one) for one in (mine, other, theirs)] == [None, None, 1]

    async def test_a_renamed_connector_keeps_its_tables(self, reopen: Reopen) -> None:
        async with reopen() as feeds:
            generation = await written(feeds, b"mine")
            await feeds.rename("supplier", "acme")
            await feeds.rename("supplier", "acme")
            assert await feeds.get(generation, [0]) == [b"mine"]
            assert await feeds.forget("supplier") == 0
            assert await feeds.forget("acme") == 1

    async def test_a_missing_block_is_damage(self, reopen: Reopen) -> None:
        async with reopen() as feeds:
            generation = await written(feeds, b"zero")
            with pytest.raises(Damaged):
                await feeds.get(generation, [0, 1])
