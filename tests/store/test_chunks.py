"""Many values in few statements: whatever their number, each comes back once and whole."""

import random
import sqlite3
from collections.abc import Iterator

import msgspec
import pytest

from cdmd.store.chunks import gather, gather_bodies, in_chunks, select_in

_ROWS = msgspec.json.Decoder(list[tuple[int, int]])
_IDS = msgspec.json.Decoder(list[int])
_SQL = "SELECT json_group_array(json_array(id, length(body))), CAST(group_concat(body, '') AS BLOB) FROM t WHERE id IN ({})"
NUMBERS = [0, 1, 2, 8, 9, 33, 65, 129, 257, 500, 501, 1_300]


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    chance = random.Random(7)
    made = sqlite3.connect(":memory:")
    made.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, body BLOB NOT NULL)")
    made.executemany("INSERT INTO t VALUES (?, ?)", [(n, chance.randbytes(chance.randrange(0, 40))) for n in range(1_300)])
    yield made
    made.close()


@pytest.mark.parametrize("number", NUMBERS)
def test_bodies_come_as_they_lie_whatever_bytes_they_are(connection: sqlite3.Connection, number: int) -> None:
    rows, bodies = gather_bodies(connection, _SQL, range(number), _ROWS)
    found, begin = {}, 0
    for key, length in rows:
        found[key] = bodies[begin : begin + length]
        begin += length
    assert begin == len(bodies)
    assert found == dict(connection.execute("SELECT id, body FROM t WHERE id < ?", (number,)))


@pytest.mark.parametrize("number", NUMBERS)
def test_every_value_is_asked_for_and_few_statements_differ(connection: sqlite3.Connection, number: int) -> None:
    wanted = list(range(number))
    assert sorted(gather(connection, "SELECT json_group_array(id) FROM t WHERE id IN ({})", wanted, _IDS)) == wanted
    assert sorted(key for (key,) in select_in(connection, "SELECT id FROM t WHERE id IN ({})", wanted)) == wanted
    for chunk, marks in in_chunks(wanted):
        assert len(chunk) == marks.count("?") <= 500
        assert len(chunk) < 8 * len(set(chunk)), "padding costs a look-up each"
    assert {marks.count("?") for _, marks in in_chunks(wanted)} <= {1, 8, 32, 64, 128, 256, 500}
