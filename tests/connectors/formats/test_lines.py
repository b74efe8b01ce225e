import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdmd.connectors.formats.lines import BOM, bounded_lines, without_end


@given(st.lists(st.binary(max_size=40).filter(lambda line: b"\n" not in line and not line.endswith(b"\r")), max_size=6))
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("mark", [b"", BOM])
def test_every_line_has_its_number_and_is_there_unless_it_is_longer_than_the_limit(
    mark: bytes, end: bytes, lines: list[bytes]
) -> None:
    lines = [line.replace(BOM, b"") for line in lines]
    found = list(bounded_lines(io.BytesIO(mark + b"".join(line + end for line in lines)), limit=16))
    wanted = [(number, line if len(line) <= 16 else None) for number, line in enumerate(lines, 1)]
    if mark and not lines:
        wanted = [(1, b"")]
    assert [(number, None if line is None else without_end(line)) for number, line in found] == wanted
