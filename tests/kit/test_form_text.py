import time
from urllib.parse import parse_qsl

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cdmd.kit.form_text import fields

PARTS = st.sampled_from(
    ["%41", "%", "%%", "%4", "%zz", "%c3%a9", "%C3%A9", "+", "=", "&", ";", "a", "é", "=3D", "=\n", "\r", "_", " ", "%0A", "\0"]
)


@given(st.lists(PARTS, max_size=12).map("".join))
@example("a=1&a=2&b=&=c&d&&")
@example("a=%3D%26%25&b=x=y")
def test_a_form_reads_as_the_standard_library_reads_it(text: str) -> None:
    assert fields(text.encode(), most=100) == parse_qsl(text, keep_blank_values=True, errors="strict")


@pytest.mark.parametrize("text", [b"a=%ff", b"\xff=1", b"a=%c3&b=%a9"])
def test_what_is_no_utf_8_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match="utf-8"):
        fields(text, most=10)


def test_more_fields_than_may_be_are_refused() -> None:
    assert len(fields(b"a=1&a=2", most=2)) == 2
    with pytest.raises(ValueError, match="more than 2 fields"):
        fields(b"a=1&a=2&a=3", most=2)


def test_a_mebibyte_of_percent_signs_takes_no_longer_than_to_copy_it_some_times() -> None:
    text = b"a=" + b"%41" * 349_000
    began = time.process_time()
    assert fields(text, most=2) == [("a", "A" * 349_000)]
    took = time.process_time() - began
    began = time.process_time()
    parse_qsl(text.decode())
    assert took < (time.process_time() - began) / 5
