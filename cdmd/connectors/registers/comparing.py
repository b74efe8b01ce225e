"""One register against the last one: read once to its end, then once more for the rows that are not as they were.

A record whose bytes are known is not even parsed (nine of ten, as a rule). Everything here blocks: for a worker thread, in
steps of a fraction of a second, so that it can be given up between two. Not here: what may be removed (``deciding``).
"""

import io
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from enum import IntEnum
from hashlib import blake2b
from heapq import nlargest
from itertools import count, pairwise
from typing import Any, BinaryIO, Final, NamedTuple

import msgspec

from cdmd.connectors.registers.ending import Ending
from cdmd.connectors.registers.index import NOBODY, Index
from cdmd.connectors.registers.items import Items, items_of
from cdmd.connectors.registers.rows import GONE, WIDTH, Digests
from cdmd.contracts import ChosenFormat
from cdmd.models import Fault, Row

STEP: Final = 20_000
_PIECE: Final = 2**16
_KEPT_BYTES: Final = 16 * 2**20
_VERSION: Final = b"1"
_PARTS: Final = 256
_ZERO: Final = bytes(WIDTH)
LAST: Final = 3
"""So many of a register's last rows are remembered as such."""


class Kind(IntEnum):
    """What a record that is not as it was turned out to be; ``TWICE``: its key came before in the same register."""

    FAULTY = 0
    TWICE = 1
    ADDED = 2
    CHANGED = 3
    RESTORED = 4


class Candidate(NamedTuple):
    """A record that is not as it was, and the row of the last register that it belongs to (``NOBODY``: none).

    ``ordinal`` says where in its register it is.
    """

    kind: Kind
    row: Row
    place: int
    ordinal: int
    line: bytes
    key: bytes
    text: bytes
    fields: bytes
    values: bytes


class Comparing:
    """A register being compared with ``index``, the last one.

    ``open`` it, ``look`` until that says False, ``settle``; then ``candidates`` gives the records that are not as they were.
    ``close`` it in the end. ``last`` are ordinals and places of the last known rows in it, the last one first.
    """

    def __init__(self, chosen: ChosenFormat, opened: Callable[[ExitStack], BinaryIO], *, ignore: Sequence[str]) -> None:
        self._chosen, self._opened, self._ignore = chosen, opened, tuple(ignore)
        self._format = chosen.make()
        self._stack = ExitStack()
        self._items: Items
        self._ending: Ending
        self.records = self.unreadable = self.repeated = 0
        self.identity = b""
        self._names: dict[str, None] = {}
        self._ordinal = 0
        self._ordinals, self._numbers, self._keys, self._kinds = array("I"), array("I"), bytearray(), bytearray()
        self._kept: list[Any] | None = []
        self._kept_bytes = 0
        self.places: Sequence[int] = ()
        self.last: list[tuple[int, int]] = []
        self.first = array("I")

    def open(self) -> None:
        """Begin to read: ``identity`` says what the bytes of a record mean. Raises ``FormatFault``."""
        self._begin()
        about = getattr(self._items, "about", "")
        said = repr((self._format.name, self._chosen.settings, self._ignore, about)).encode()
        self.identity = blake2b(_VERSION + said, digest_size=16).digest()

    def close(self) -> None:
        """Let go of the file."""
        self._stack.close()

    @property
    def whole(self) -> bool:
        """Whether the file ends with the end of a line (or is of a format that has none)."""
        return self._ending.whole

    @property
    def has_lines(self) -> bool:
        """Whether records are lines, so that one without an end may be cut."""
        return bool(getattr(self._format, "lines", False))

    @property
    def uncounted(self) -> bool:
        """Whether it looks whole when it is cut between two records: nothing stands behind the last one and counts them."""
        one_by_one = getattr(self._format, "lines", None) is not None
        return one_by_one and getattr(self._chosen.settings, "trailer", None) is None

    @property
    def columns(self) -> list[str]:
        """The columns that count of the records that are not as they were (where the file names its columns, all)."""
        return [name for name in (self._items.names or self._names) if name not in self._ignore]

    @property
    def ragged(self) -> bool:
        """Whether records need not have the same columns, so that one which ``columns`` lack may be there all the same."""
        return bool(getattr(self._format, "ragged", False))

    # ---- the first reading ----------------------------------------------------------------------------------------------

    def look(self, index: Index, digests: Digests) -> bool:
        """Read on for a step; False at the end. Raises ``FormatFault``."""
        if not self.first:
            self.first = array("I", bytes(array("I").itemsize * len(index)))
        items = self._items.take(STEP)
        if not items:
            self._items.check_end()
            return False
        found = self._items.digests(items, digests)
        places = index.lines(b"".join(one or _ZERO for one in found))
        status, first, before = index.status, self.first, self._ordinal
        for ordinal, digest, place in zip(count(before + 1), found, places):
            if digest and place != NOBODY and status[place] != GONE:
                self.records += 1
                if first[place]:
                    self.repeated += 1
                else:
                    first[place] = ordinal
            elif digest != b"":
                self._ordinal = ordinal
                self._other(items[ordinal - before - 1], digests)
        self._ordinal = before + len(items)
        return True

    def _other(self, item: Any, digests: Digests) -> None:
        row = self._items.row(item, self.records + 1)
        if row is None:
            return
        self.records += 1
        text = None
        if row.value is not None:
            text = digests.text(row.value)
            if not self._items.names:
                self._names.update(dict.fromkeys(row.value))
        if text is None:
            self.unreadable += 1
        self._ordinals.append(self._ordinal)
        self._numbers.append(row.number)
        self._keys += _ZERO if text is None else digests.of_key(text)
        self._kinds.append(Kind.FAULTY if text is None else Kind.ADDED)
        self._keep(item)

    def _keep(self, item: Any) -> None:
        """A few records stay in memory, so that the file need not be read again for them."""
        if self._kept is None:
            return
        self._kept.append(item)
        self._kept_bytes += len(item[1] or b"") if isinstance(item, tuple) else 500 + len(item.raw)
        if self._kept_bytes > _KEPT_BYTES:
            self._kept = None

    # ---- between ------------------------------------------------------------------------------------------------------

    def settle(self, index: Index) -> None:
        """Say of each record that is not as it was what it is; of several with one key the first counts."""
        self.places = array("i", index.keys(bytes(self._keys)))
        twice = _twice(array("Q", bytes(self._keys)))
        for at, place in enumerate(self.places):
            if self._kinds[at] == Kind.FAULTY:
                continue
            if at in twice or (place != NOBODY and 0 < self.first[place] < self._ordinals[at]):
                self._kinds[at] = Kind.TWICE
                self.repeated += 1
            elif place != NOBODY:
                self.repeated += 1 if self.first[place] else 0
                self.first[place] = self._ordinals[at]
                self._kinds[at] = Kind.RESTORED if index.status[place] == GONE else Kind.CHANGED

    def missing(self, index: Index) -> list[int]:
        """The places of rows that the register lacks; to be asked once, when it is settled: afterwards ``last`` stands."""
        found = [
            place
            for place, (status, first) in enumerate(zip(index.status, self.first, strict=True))
            if not first and status != GONE
        ]
        self.last = [(ordinal, self.first.index(ordinal)) for ordinal in nlargest(LAST, self.first) if ordinal]
        self.first = array("I")
        return found

    @property
    def grew_behind(self) -> bool:
        """Whether it goes on behind the rows that it had before. Where most records are new to us that says nothing."""
        if not self._ordinals or self._kinds[-1] != Kind.ADDED or self._kinds.count(Kind.ADDED) * 2 > self.records:
            return False
        return not self.last or self._ordinals[-1] > self.last[0][0]

    def changing(self) -> Iterable[int]:
        """The places of rows that may have changed."""
        return (place for at, place in enumerate(self.places) if self._kinds[at] == Kind.CHANGED)

    def counts(self) -> Mapping[Kind, int]:
        """How many records of each kind there are."""
        return {kind: self._kinds.count(kind) for kind in Kind}

    # ---- the second reading -------------------------------------------------------------------------------------------

    def candidates(self, digests: Digests) -> Iterator[Candidate]:
        """Every record that is not as it was, in the file's order. Raises ``FormatFault`` where it reads otherwise now."""
        self._items.again()
        for at, item in enumerate(self._kept if self._kept is not None else self._reread()):
            row = self._items.row(item, self._numbers[at])
            if row is None:
                continue
            yield self._candidate(at, item, row, digests)

    def _candidate(self, at: int, item: Any, row: Row, digests: Digests) -> Candidate:
        kind, place, ordinal = Kind(self._kinds[at]), self.places[at], self._ordinals[at]
        key = bytes(self._keys[at * WIDTH : (at + 1) * WIDTH])
        if kind == Kind.FAULTY or row.value is None:
            fault = row.fault or Fault("no_key", f"the record has no key that can be kept ({', '.join(digests.key)})")
            return Candidate(Kind.FAULTY, msgspec.structs.replace(row, fault=fault), NOBODY, ordinal, b"", b"", b"", b"", b"")
        if kind == Kind.TWICE:
            fault = Fault("duplicate_key", "the record's key came before in this register; only the first one counts")
            return Candidate(kind, msgspec.structs.replace(row, fault=fault), NOBODY, ordinal, b"", b"", b"", b"", b"")
        (line,) = self._items.digests([item], digests)
        text = digests.text(row.value) or b""
        fields, values = digests.fields(row.value), digests.record(row.value)
        return Candidate(kind, row, place, ordinal, line or _ZERO, key, text, fields, values)

    def _reread(self) -> Iterator[Any]:
        self._stack.close()
        self._begin()
        passed = 0
        for ordinal in self._ordinals:
            self._items.skip(ordinal - passed - 1)
            passed = ordinal
            yield from self._items.take(1)

    def _begin(self) -> None:
        stream = self._opened(self._stack)
        self._ending = Ending(stream)
        watched: Any = io.BufferedReader(self._ending, _PIECE) if self.has_lines else stream
        self._items = items_of(self._format, watched, ignore=self._ignore)


def _twice(keys: "array[int]") -> set[int]:
    """Which of these came before; those of records without a key are all zero and do not count.

    Sorted by parts: nobody else has the interpreter while a list is sorted.
    """
    parts = [array("L") for _ in range(_PARTS)]
    for place, key in enumerate(keys):
        parts[key % _PARTS].append(place)
    found: set[int] = set()
    for part in parts:
        order = sorted(part, key=keys.__getitem__)
        found.update(after for before, after in pairwise(order) if keys[before] == keys[after] != 0)
    return found
