import os
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdmd.connectors.registers.index import NOBODY, Index, installed_numpy, sorted_digests
from cdmd.connectors.registers.rows import GONE, Block, Digests, changed, rearranged

NUMPY = installed_numpy()
NUMBERS = st.lists(st.integers(0, 2**64 - 1), unique=True, max_size=60)


@pytest.mark.parametrize("numpy", [None, pytest.param(NUMPY, marks=pytest.mark.skipif(NUMPY is None, reason="needs numpy"))])
@given(NUMBERS, NUMBERS)
def test_every_digest_is_found_at_its_place_and_no_other(numpy: object, known: list[int], others: list[int]) -> None:
    index = sorted_digests(array("Q", known).tobytes(), numpy=numpy)
    probes = [*known, *others]
    wanted = [known.index(probe) if probe in known else NOBODY for probe in probes]
    assert index.find(array("Q", probes).tobytes()) == wanted


@pytest.mark.skipif(NUMPY is None, reason="needs numpy")
def test_both_ways_of_searching_find_the_same() -> None:
    known, probes = os.urandom(8 * 20_000), os.urandom(8 * 5_000)
    probes += known[: 8 * 5_000]
    assert sorted_digests(known, numpy=NUMPY).find(probes) == sorted_digests(known).find(probes)


def test_a_row_that_is_gone_is_found_by_its_key_only() -> None:
    index = Index()
    index.add(Block(lines=b"A" * 8 + b"B" * 8, keys=b"a" * 8 + b"b" * 8, status=bytes([0, GONE]), fields=b"", texts=[b"", b""]))
    index.seal(lines=True)
    assert index.lines(b"A" * 8 + b"B" * 8) == [0, NOBODY]
    assert index.keys(b"a" * 8 + b"b" * 8) == [0, 1]
    assert (len(index), index.live) == (2, 1)


def test_fields_move_with_their_columns() -> None:
    digests = {columns: Digests(bytes(32), key=["a"], columns=columns) for columns in ("abc", "cad")}
    rows = [{"a": "1", "b": "2", "c": "3", "d": None}, {"a": "4", "b": None, "c": 6, "d": "7"}]
    before = b"".join(digests["abc"].fields(row) for row in rows)
    after = rearranged(before, 2, before="abc", after="cad")
    wanted = b"".join(digests["cad"].fields(row | {"d": None}) for row in rows)
    assert after == wanted
    assert changed(wanted[6:], digests["cad"].fields(rows[1]), "cad") == ["d"]


def test_digests_need_the_secret() -> None:
    one, other = (Digests(secret, key=["a"], columns=["a"]) for secret in (bytes(32), b"x" * 32))
    value = {"a": "1"}
    assert one.line(b"x") != other.line(b"x")
    assert one.fields(value) != other.fields(value)
    assert one.of_key(b"x") != other.of_key(b"x")
    assert one.record(value) == one.record(dict(value))
