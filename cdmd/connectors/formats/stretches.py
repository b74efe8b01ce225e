"""Whole lines of a binary stream, many at once or one by one: what is asked of each line by itself costs more than parsing it.

Not here: what a record is.
"""

from typing import BinaryIO, Final

_AT_ONCE: Final = 2**16


class Stretches:
    """``stretch`` shows the next lines and ``take`` goes on behind them; ``readline`` takes one, as a stream does.

    ``passed`` are the bytes that were taken, ``number`` the lines.
    """

    def __init__(self, stream: BinaryIO, *, size: int = _AT_ONCE) -> None:
        self._stream, self._size = stream, size
        self._held, self._at = b"", 0
        self.passed = self.number = 0

    def stretch(self) -> bytes:
        """The next lines with their ends, some ten thousand bytes of them; nothing where the next one has no end nearby."""
        if self._at:
            self._held, self._at = self._held[self._at :], 0
        if len(self._held) < self._size:
            self._held += self._stream.read(self._size - len(self._held))
        return self._held[: self._held.rfind(b"\n") + 1]

    def take(self, shown: bytes) -> None:
        """Go on behind what was shown."""
        self._at += len(shown)
        self.passed += len(shown)
        self.number += shown.count(b"\n")

    def readline(self, limit: int) -> bytes:
        """The next line with its end, or its first ``limit`` bytes; nothing at the end."""
        held, at = self._held, self._at
        end = held.find(b"\n", at, at + limit) + 1 or min(len(held), at + limit)
        line, self._at = held[at:end], end
        if end == len(held):
            self._held, self._at = b"", 0
            if not line.endswith(b"\n") and len(line) < limit:
                line += self._stream.readline(limit - len(line))
        self.passed += len(line)
        self.number += line.endswith(b"\n")
        return line
