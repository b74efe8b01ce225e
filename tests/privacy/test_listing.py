"""The suppression list as a file: what was written is read, and what is none is refused with the line that is wrong."""

import pytest

from cdmd.errors import BadArguments
from cdmd.privacy.listing import read_list
from cdmd.privacy.suppressions import Suppression

HEAD = b'{"type":"suppressions","format":1,"key":"abc"}'
ROW = b'{"type":"suppression","digest":"' + b"0f" * 16 + b'","since":"1970-01-01T00:00:01Z","erased":true}'


def test_a_list_is_read_as_it_was_written() -> None:
    assert read_list([HEAD, b"", ROW]) == ("abc", {b"\x0f" * 16: Suppression(1_000_000, erased=True)})


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        ([], "no suppression list"),
        ([ROW], "no suppression list"),
        ([HEAD, b"joe"], "line 2"),
        ([HEAD.replace(b"1", b"2")], "line 1"),
        ([HEAD, ROW.replace(b"0f", b"0x", 1)], "line 2"),
        ([HEAD, ROW.replace(b"0f0f", b"0f", 1)], "16 bytes"),
        ([HEAD, ROW.replace(b"01Z", b"01")], "a time a zone"),
    ],
)
def test_what_is_none_is_refused(lines: list[bytes], why: str) -> None:
    with pytest.raises(BadArguments, match=why):
        read_list(lines)
