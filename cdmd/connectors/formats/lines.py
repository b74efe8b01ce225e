"""Lines of a binary stream, each bounded: a file without line ends is not read whole into memory. Not for: CSV records."""

from collections.abc import Iterator
from typing import Protocol

BOM = b"\xef\xbb\xbf"


class Lines(Protocol):
    """What lines are read from: any stream."""

    def readline(self, limit: int, /) -> bytes:
        """The next one with its end, or its first ``limit`` bytes; nothing at the end."""
        ...


def bounded_lines(stream: Lines, *, limit: int) -> Iterator[tuple[int, bytes | None]]:
    """(line number from 1, line with its end); None instead of a line of more than ``limit`` bytes, which is passed over."""
    number, most = 0, limit + len(BOM) + 3  # room for the mark, the line's end, and one byte that is too many
    while piece := stream.readline(most):
        number += 1
        line = piece.removeprefix(BOM) if number == 1 else piece
        while len(piece) == most and not piece.endswith(b"\n"):
            piece = stream.readline(most)
        yield number, line if len(line) <= limit or len(without_end(line)) <= limit else None


def without_end(line: bytes) -> bytes:
    r"""The line without its ``\n`` or ``\r\n``."""
    return line.removesuffix(b"\n").removesuffix(b"\r")
