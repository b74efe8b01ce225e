import io
from typing import Any

import pytest

from cdmd.connectors.formats.jsonl import Jsonl, JsonlSettings
from cdmd.kit.quantities import Size
from cdmd.models import Row


def rows(text: bytes, **settings: Any) -> list[Row]:
    return list(Jsonl(JsonlSettings(**settings)).rows(io.BytesIO(text)))


def test_every_line_is_a_record_with_its_number_and_its_line() -> None:
    found = rows(b'\xef\xbb\xbf{"a": 1}\r\n\n   \n{"a": 2}')
    assert [(row.number, row.line, row.value) for row in found] == [(1, 1, {"a": 1}), (2, 4, {"a": 2})]


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"[1]", "not_an_object"),
        (b'{"a": ', "invalid_json"),
        (b'{"a": "\xff"}', "invalid_utf8"),
        (b'{"a":' * 100_000, "too_deep"),
        (b'{"a":' + b"[" * 300 + b"]" * 300 + b"}", "too_deep"),
        (b'{"a": 1e400}', "number_out_of_range"),
        (b'{"a": ' + b"9" * 5000 + b"}", "number_out_of_range"),
    ],
)
def test_a_line_that_is_no_object_is_a_row_with_a_fault_and_the_rest_goes_on(line: bytes, code: str) -> None:
    bad, good = rows(line + b'\n{"a": 1}\n')
    assert bad.fault is not None
    assert (bad.number, bad.value, bad.fault.code, bad.raw) == (1, None, code, line)
    assert (good.number, good.line, good.value) == (2, 2, {"a": 1})


def test_a_line_of_any_length_is_passed_over_in_bounded_memory() -> None:
    class Endless(io.RawIOBase):
        """300 MB without a line's end, made as it is read; ``most`` is the largest piece that was asked for."""

        left, most = 300 * 2**20, 0

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            size = min(len(buffer), self.left)
            self.most, self.left = max(self.most, size), self.left - size
            buffer[:size] = b"x" * size
            return size

    stream = Endless()
    settings = JsonlSettings(max_record=Size.parse("1KiB"))
    (row,) = Jsonl(settings).rows(io.BufferedReader(stream))
    assert row.fault is not None
    assert (row.fault.code, row.raw) == ("record_too_large", b"")
    assert stream.most < 2**20


def test_the_limit_counts_the_line_without_its_end() -> None:
    exact = b'{"a":1}'
    for end in (b"", b"\n", b"\r\n"):
        assert [row.fault for row in rows(exact + end, max_record=Size(7))] == [None]
        assert [row.fault and row.fault.code for row in rows(exact + b" " + end, max_record=Size(7))] == ["record_too_large"]


def test_a_whole_number_beyond_64_bits_is_no_fault_of_the_line() -> None:
    deep = b'{"a": ' + b"[" * 90 + b"99999999999999999999" + b"]" * 90 + b', "b": {}}'
    assert [row.fault for row in rows(b'{"a": 99999999999999999999}\n' + deep)] == [None, None]
    assert rows(b'{"a": 99999999999999999999}')[0].value == {"a": 99999999999999999999}
