"""Thin keys on the disk: the newest are loaded as far as memory goes, the rest in its turn, and none is forgotten."""

import msgspec
import pytest

from cdmd.connectors.thin_disk import scan
from cdmd.connectors.thin_keys import Keys, Mark, Trouble, mark_row, trouble_row
from cdmd.testing import ManualClock, RecordingSource

pytestmark = pytest.mark.anyio


def written(source: RecordingSource, number: int, *stamps: int) -> bytes:
    digest = number.to_bytes(16, "big")
    for generation, stamp in enumerate(stamps):
        source.state[mark_row(digest, generation)] = msgspec.msgpack.encode(Mark(f"k{number}", f"/k{number}", stamp))
    return digest


async def test_the_newest_are_loaded_and_the_rest_once_there_is_room() -> None:
    source, keys = RecordingSource(clock=ManualClock()), Keys(settle=0, most=10)
    for number in range(35):
        written(source, number, number)
    fetched = []
    await scan(keys, source)
    assert (keys.pending, keys.overflow) == (10, True)
    assert {mark.stamp for mark in keys.marks} == set(range(25, 35))
    while keys.pending:
        flight = keys.take(100)
        assert flight is not None
        fetched.append(flight.waiting.mark.key)
        for generation in flight.waiting.generations:
            del source.state[mark_row(flight.waiting.digest, generation)]
        keys.delivered(flight)
        if keys.wants_scan:
            await scan(keys, source)
    assert sorted(fetched) == sorted(f"k{number}" for number in range(35))
    assert not keys.overflow
    assert source.state == {}


async def test_all_generations_of_a_key_are_one_with_its_newest_mark_and_its_failed_tries() -> None:
    source, keys = RecordingSource(clock=ManualClock()), Keys(settle=0)
    digest = written(source, 1, 5, 9, 7)
    source.state[trouble_row(digest)] = msgspec.msgpack.encode(Trouble(attempts=4, due=3))
    await scan(keys, source)
    flight = keys.take(10)
    assert flight is not None
    assert flight.waiting.generations == {0, 1, 2}
    assert flight.waiting.mark.stamp == 9
    assert flight.waiting.trouble.attempts == 4
