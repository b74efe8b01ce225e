"""How a file ends, seen while it is read: a register that lacks its last line's end may be cut."""

import io
from typing import Any, BinaryIO

from typing_extensions import override


class Ending(io.RawIOBase):
    """Passes a stream on (closing this one leaves it open) and remembers whether what came last is the end of a line."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self.whole = stream, True

    @override
    def readable(self) -> bool:
        return True

    @override
    def readinto(self, buffer: Any) -> int:
        piece = self._stream.read(len(buffer))
        if piece:
            self.whole = piece.endswith((b"\n", b"\r", b"\0"))
            buffer[: len(piece)] = piece
        return len(piece)
