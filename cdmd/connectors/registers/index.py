"""The last applied register in memory: which row has a line's digest, or a key's; 25 bytes a row, and no text of anybody.

With numpy a search costs a fifth of what it costs without; both give the same. Sorted probes keep to the processor's caches.
"""

import importlib.util
from array import array
from bisect import bisect_left
from collections.abc import Sequence
from importlib import import_module
from typing import Any, Final, Protocol

from cdmd.connectors.registers.rows import GONE, WIDTH, Block

_SORTED_FROM: Final = 256
NOBODY: Final = -1


class Sorted(Protocol):
    """Digests that can be searched."""

    def find(self, probes: bytes) -> list[int]:
        """The place of each probe (8 bytes each) among the digests; ``NOBODY`` where there is none."""
        ...


def sorted_digests(digests: bytes | bytearray, *, numpy: Any = None) -> Sorted:
    """Digests (8 bytes each) to be searched; with ``numpy`` where that module is handed in. They are not copied first."""
    return _WithNumpy(digests, numpy) if numpy is not None else _Without(digests)


def installed_numpy() -> Any:
    """The module, or None where it is not installed: imported only where a register is compared."""
    return import_module("numpy") if importlib.util.find_spec("numpy") else None


class _WithNumpy:
    def __init__(self, digests: bytes | bytearray, numpy: Any) -> None:
        self._numpy = numpy
        plain = numpy.frombuffer(digests, dtype="<u8")
        self._order = numpy.argsort(plain).astype(numpy.uint32)
        self._sorted = plain[self._order]

    def find(self, probes: bytes) -> list[int]:
        numpy = self._numpy
        wanted = numpy.frombuffer(probes, dtype="<u8")
        if not len(self._sorted) or not len(wanted):
            return [NOBODY] * len(wanted)
        if len(wanted) >= _SORTED_FROM:
            turn = numpy.argsort(wanted)
            found = numpy.empty(len(wanted), dtype=numpy.int64)
            found[turn] = self._find(wanted[turn])
        else:
            found = self._find(wanted)
        places: list[int] = found.tolist()
        return places

    def _find(self, wanted: Any) -> Any:
        numpy = self._numpy
        at = numpy.minimum(numpy.searchsorted(self._sorted, wanted), len(self._sorted) - 1)
        return numpy.where(self._sorted[at] == wanted, self._order[at].astype(numpy.int64), NOBODY)


class _Without:
    def __init__(self, digests: bytes | bytearray) -> None:
        plain = array("Q", digests)
        self._order = array("L", sorted(range(len(plain)), key=plain.__getitem__))
        self._sorted = array("Q", (plain[place] for place in self._order))

    def find(self, probes: bytes) -> list[int]:
        digests, order, end = self._sorted, self._order, len(self._sorted)
        found = []
        for probe in array("Q", probes):
            at = bisect_left(digests, probe)
            found.append(order[at] if at < end and digests[at] == probe else NOBODY)
        return found


class Index:
    """The rows of a register by place: filled block by block, then sealed, then searched.

    ``status`` has a byte for each row, ``sizes`` the rows of each block. ``live`` counts those that are not gone.
    """

    def __init__(self) -> None:
        self._lines, self._keys, self.status = bytearray(), bytearray(), bytearray()
        self.sizes: list[int] = []
        self._by_line: Sorted = _Without(b"")
        self._by_key: Sorted = _Without(b"")

    def __len__(self) -> int:
        return len(self.status)

    @property
    def live(self) -> int:
        """Rows that are not gone."""
        return len(self.status) - self.status.count(GONE)

    def add(self, block: Block) -> None:
        """The next rows."""
        lines = bytearray(block.lines)
        place = block.status.find(GONE)
        while place >= 0:  # a row that is gone is known by its key only
            lines[place * WIDTH : (place + 1) * WIDTH] = bytes(WIDTH)
            place = block.status.find(GONE, place + 1)
        self._lines += lines
        self._keys += block.keys
        self.status += block.status
        self.sizes.append(len(block.status))

    def seal(self, *, lines: bool, numpy: Any = None) -> None:
        """No more rows come. Lines are searched only where they mean the same as then."""
        taken, self._lines = self._lines, bytearray()
        self._by_line = sorted_digests(taken if lines else b"", numpy=numpy)
        del taken
        taken, self._keys = self._keys, bytearray()
        self._by_key = sorted_digests(taken, numpy=numpy)

    def forget(self) -> None:
        """Nothing is searched any more."""
        self._by_line = self._by_key = _Without(b"")

    def lines(self, probes: bytes) -> list[int]:
        """The row of each line's digest."""
        return self._by_line.find(probes)

    def keys(self, probes: bytes) -> Sequence[int]:
        """The row of each key's digest."""
        return self._by_key.find(probes)
