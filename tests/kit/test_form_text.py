from collections.abc import Callable
from urllib.parse import parse_qsl

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cdmd.kit.form_text import fields

PARTS = st.sampled_from(
    ["%41", "%", "%%", "%4", "%zz", "%c3%a9", "%C3%A9", "+", "=", "&", ";", "a", "é", "=3D", "=\n", "\r", "_", " ", "%0A", "\0"]
)


Read = list[tuple[str, str]]


def read(how: Callable[[], Read]) -> Read | str:
    try:
        return how()
    except UnicodeDecodeError:
        return "no UTF-8"


@given(st.lists(PARTS, max_size=12).map("".join))
@example("a=1&a=2&b=&=c&d&&")
@example("a=%3D%26%25&b=x=y")
@example("%aa")
def test_a_form_reads_as_the_standard_library_reads_it(text: str) -> None:
    theirs = read(lambda: parse_qsl(text, keep_blank_values=True, errors="strict"))
    assert read(lambda: fields(text.encode(), most=100)) == theirs


@pytest.mark.parametrize("text", [b"a=%ff", b"\xff=1", b"a=%c3&b=%a9"])
def test_what_is_no_utf_8_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match="utf-8"):
        fields(text, most=10)


def test_more_fields_than_may_be_are_refused() -> None:
    assert len(fields(b"a=1&a=2", most=2)) == 2
    with pytest.raises(ValueError, match="more than 2 fields"):
        fields(b"a=1&a=2&a=3", most=2)


def test_a_mebibyte_of_percent_signs_is_read() -> None:
    assert fields(b"a=" + b"%41" * 349_000, most=2) == [("a", "A" * 349_000)]
