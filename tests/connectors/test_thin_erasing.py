"""Keys that name somebody who is to be forgotten are fetched no more."""

import msgspec
import pytest

from cdmd.connectors.thin_disk import scan
from cdmd.connectors.thin_erasing import erase
from cdmd.connectors.thin_keys import Keys, Mark, Trouble, mark_row, trouble_row
from cdmd.testing import ManualClock, RecordingSource

pytestmark = pytest.mark.anyio


async def test_keys_that_name_somebody_go_from_memory_and_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdmd.connectors.thin_erasing._AT_ONCE", 1)
    source, keys = RecordingSource(clock=ManualClock()), Keys(settle=0)
    for number, (key, target) in enumerate(
        (("Joe@Example.com", "/a"), ("k2", "/b?mail=joe%40example.com"), ("joe@example.community", "/c"), ("ann", "/d"))
    ):
        digest = number.to_bytes(16, "big")
        source.state[mark_row(digest, 0)] = msgspec.msgpack.encode(Mark(key, target, number))
        source.state[trouble_row(digest)] = msgspec.msgpack.encode(Trouble())
    await scan(keys, source)
    assert await erase(["joe@example.com", " "], keys, source) == 2
    assert [mark.key for mark in keys.marks] == ["joe@example.community", "ann"]
    left = [msgspec.msgpack.decode(source.state[row], type=Mark).key for row in source.state if row.startswith(b"thin/due/")]
    assert sorted(left) == ["ann", "joe@example.community"]
    assert len(source.state) == 4
    assert await erase([" "], keys, source) == 0
