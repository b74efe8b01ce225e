"""A connector's big tables: the state that an emit makes durable says which generation is current."""

import pytest

from cdmd.errors import Damaged, Followed
from cdmd.intake.tables import SourceTable
from cdmd.testing import RecordingSource
from cdmd.testing.tables import MemoryFeeds

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


async def test_whoever_finds_another_node_at_its_table_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(_: object) -> dict[bytes, bytes]:
        return {}

    async def refused(*_: object, **__: object) -> None:
        raise Followed({"supplier": 2})

    feeds, told = MemoryFeeds(), list[Followed]()
    table = SourceTable("supplier", "register", state=nothing, feeds=feeds, followed=told.append)
    writer = await table.write()
    for name in ("begin", "tidy", "put", "finish"):
        monkeypatch.setattr(feeds, name, refused)
    for attempt in (table.write, table.tidy, lambda: writer.put([b"a"]), writer.finish):
        with pytest.raises(Followed):
            await attempt()
    assert [one.tokens for one in told] == [{"supplier": 2}] * 4
