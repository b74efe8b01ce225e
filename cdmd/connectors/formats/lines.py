"""Lines of a binary stream, each bounded: a file without line ends is not read whole into memory. Not for: CSV records."""

from collections.abc import Iterator
from typing import BinaryIO

BOM = b"\xef\xbb\xbf"


def bounded_lines(stream: BinaryIO, *, limit: int) -> Iterator[tuple[int, bytes | None]]:
    """(line number from 1, line without its end); None instead of a line of more than ``limit`` bytes, which is passed over."""
    number, most = 0, limit + 2  # room for the line's end
    while line := stream.readline(most):
        number += 1
        if not line.endswith(b"\n") and len(line) == most:
            while (rest := stream.readline(most)) and not rest.endswith(b"\n"):
                pass
            yield number, None
            continue
        line = line.rstrip(b"\r\n")
        yield number, (line.removeprefix(BOM) if number == 1 else line) if len(line) <= limit else None
