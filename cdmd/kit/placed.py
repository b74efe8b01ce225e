"""A file of a known size that is read from any place, whatever its bytes come from."""

import io
from abc import ABC

from typing_extensions import override


class Placed(io.RawIOBase, ABC):
    """A subclass reads from ``place`` on (``readinto``) and moves it; ``size`` in bytes."""

    def __init__(self, size: int) -> None:
        self.place, self.size = 0, size

    @override
    def readable(self) -> bool:
        return True

    @override
    def seekable(self) -> bool:
        return True

    @override
    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self.place, io.SEEK_END: self.size}[whence]
        self.place = max(0, base + offset)
        return self.place
