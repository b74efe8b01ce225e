"""A connector's big tables: the state that an emit makes durable says which generation is current."""

import pytest

from cdmd.errors import Damaged
from cdmd.testing import RecordingSource

pytestmark = pytest.mark.anyio


async def test_a_generation_is_current_from_the_emit_on_that_its_state_goes_with() -> None:
    source = RecordingSource("supplier")
    table = source.table("register")
    assert await table.size() is None
    assert await table.get([0]) == []
    assert [block async for block in table.blocks()] == []
    writer = await table.write()
    await writer.put([b"a", b"b"])
    await writer.put([b"c"])
    state = await writer.finish()
    assert await table.size() is None
    await source.emit([], state=state)
    assert await table.size() == 3
    assert await table.get([2, 0]) == [b"c", b"a"]
    assert [block async for block in source.table("register").blocks()] == [b"a", b"b", b"c"]


async def test_an_interrupted_generation_leaves_the_old_one_and_goes_with_the_next() -> None:
    source = RecordingSource("supplier")
    table = source.table("register")
    for content in (b"first", b"interrupted", b"second"):
        writer = await table.write()
        await writer.put([content])
        if content != b"interrupted":
            await source.emit([], state=await writer.finish())
            assert await table.get([0]) == [content]
        else:
            assert await table.get([0]) == [b"first"]
    assert [blocks for _, _, blocks in source.feeds.generations.values()] == [[b"first"], [b"second"]]
    await table.tidy()
    assert [blocks for _, _, blocks in source.feeds.generations.values()] == [[b"second"]]
    await source.table("other").tidy()
    assert await table.get([0]) == [b"second"]


async def test_a_long_table_is_read_in_pieces() -> None:
    source = RecordingSource("supplier")
    writer = await source.table("register").write()
    blocks = [b"%d" % number for number in range(100)]
    await writer.put(blocks)
    await source.emit([], state=await writer.finish())
    assert [block async for block in source.table("register").blocks()] == blocks


async def test_a_table_that_is_gone_is_damage_and_not_an_empty_one() -> None:
    source = RecordingSource("supplier")
    writer = await source.table("register").write()
    await writer.put([b"a"])
    await source.emit([], state=await writer.finish())
    await source.feeds.forget("supplier")
    with pytest.raises(Damaged, match="register of supplier is missing or not whole"):
        await source.table("register").size()
    with pytest.raises(Damaged):
        [block async for block in source.table("register").blocks()]


@pytest.mark.parametrize("name", ["", "a/b", "a b", "x" * 65])
def test_a_tables_name_is_a_word(name: str) -> None:
    with pytest.raises(ValueError, match="letters, digits"):
        RecordingSource("supplier").table(name)


def test_each_purpose_has_its_own_secret() -> None:
    source = RecordingSource("supplier")
    assert source.secret("a") == source.secret("a") != source.secret("b")
