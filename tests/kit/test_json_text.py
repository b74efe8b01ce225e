import sqlite3
from contextlib import closing

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdmd.kit.json_text import NotJson, decode_json


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "invalid_json"),
        (b"   ", "invalid_json"),
        (b"{", "invalid_json"),
        (b'{"a":1} {"b":2}', "invalid_json"),
        (b"NaN", "invalid_json"),
        (b'{"a":NaN}', "invalid_json"),
        (b'{"a":-Infinity}', "invalid_json"),
        (b'"a\nb"', "invalid_json"),
        (b'"raw \x00 nul"', "invalid_json"),
        (rb'"\ud800"', "invalid_json"),
        (rb'"\udc00 tail"', "invalid_json"),
        (rb'"\ud800\ud800"', "invalid_json"),
        (rb'{"\ud800":1}', "invalid_json"),
        (b'"\xff"', "invalid_utf8"),
        (b'"\xed\xa0\x80"', "invalid_utf8"),
        ('{"a":1}'.encode("utf-16"), "invalid_json"),
        (b"9" * 5000, "number_out_of_range"),
        (b"-" + b"9" * 5000, "number_out_of_range"),
        (b'{"a":[18446744073709551616]}', "number_out_of_range"),
        (b"-9223372036854775809", "number_out_of_range"),
        (b"1e999999", "number_out_of_range"),
        (b"[" * 100_000 + b"]" * 100_000, "too_deep"),
        (b"[" * 100_000, "too_deep"),
        (b'{"a":' * 5000 + b"1" + b"}" * 5000, "too_deep"),
        (b"[" * 101 + b"]" * 101, "too_deep"),
        (b'[{"a":' * 51 + b"1" + b"}]" * 51, "too_deep"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_what_cannot_be_taken_is_refused_with_a_fixed_word(body: bytes, code: str) -> None:
    with pytest.raises(NotJson) as refused:
        decode_json(body)
    assert refused.value.code == code
    assert str(refused.value) == refused.value.message


def test_nesting_up_to_the_limit_is_taken_however_many_containers_there_are() -> None:
    assert decode_json(b"[" * 100 + b"]" * 100) is not None
    wide = b"[" + b",".join([b'{"a":[]}'] * 500) + b"]"
    assert len(decode_json(wide)) == 500


def test_brackets_inside_text_do_not_hide_depth() -> None:
    with pytest.raises(NotJson, match="nested"):
        decode_json(b'["]",' * 150 + b"1" + b"]" * 150)
    assert decode_json(b'"' + b"[" * 500 + b'"') == "[" * 500


def test_integers_of_64_bits_are_kept_exactly() -> None:
    assert decode_json(b"[18446744073709551615,-9223372036854775808]") == [2**64 - 1, -(2**63)]
    assert decode_json(b'"12345678901234567890123"') == "12345678901234567890123"


def test_of_duplicate_keys_the_last_wins() -> None:
    assert decode_json(b'{"a":1,"a":2}') == {"a": 2}


def test_a_byte_order_mark_is_skipped() -> None:
    assert decode_json(b'\xef\xbb\xbf{"a":1}') == {"a": 1}


def test_nul_and_pairs_of_surrogates_survive_into_sqlite() -> None:
    value = decode_json(rb'"a\u0000b\ud83d\ude00"')
    assert value == "a\x00b\U0001f600"
    with closing(sqlite3.connect(":memory:")) as database, database:
        assert database.execute("SELECT ?", (value,)).fetchone() == (value,)


@given(st.binary(max_size=60) | st.text(alphabet='[]{}",:\\ud8019eE-+.ntf', max_size=60).map(str.encode))
def test_whatever_is_decoded_can_be_written_as_messagepack(body: bytes) -> None:
    try:
        value = decode_json(body)
    except NotJson:
        return
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(value), strict=False) == value
