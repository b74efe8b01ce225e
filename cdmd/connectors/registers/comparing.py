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
from itertools import count, islice, pairwise
from typing import Any, BinaryIO, Final, NamedTuple, Protocol

import msgspec

from cdmd.connectors.registers.ending import Ending
from cdmd.connectors.registers.index import NOBODY, Index
from cdmd.connectors.registers.rows import GONE, WIDTH, Digests
from cdmd.contracts import ChosenFormat
from cdmd.models import Fault, Row

STEP: Final = 20_000
_PIECE: Final = 2**16
_KEPT_BYTES: Final = 16 * 2**20
_VERSION: Final = b"1"
_PARTS: Final = 256
_ZERO: Final = bytes(WIDTH)
_ENCODE: Final = msgspec.msgpack.Encoder(order="deterministic").encode


class Kind(IntEnum):
    """What a record that is not as it was turned out to be; ``TWICE``: its key came before in the same register."""

    FAULTY = 0
    TWICE = 1
    ADDED = 2
    CHANGED = 3
    RESTORED = 4


class Candidate(NamedTuple):
    """A record that is not as it was, and the row of the last register that it belongs to (``NOBODY``: none)."""

    kind: Kind
    row: Row
    place: int
    line: bytes
    key: bytes
    text: bytes
    fields: bytes


class Items(Protocol):
    """A file's records on their way, whatever they are before they are rows."""

    names: Sequence[str]

    def take(self, count: int) -> Sequence[Any]:
        """The next ones; none at the end."""
        ...

    def skip(self, count: int) -> None:
        """Pass over so many."""
        ...

    def digests(self, items: Sequence[Any], digests: Digests) -> list[bytes | None]:
        """8 bytes of each; None of one that cannot be read. Empty for a blank line, which is no record."""
        ...

    def row(self, item: Any, number: int) -> Row | None:
        """The row with that number; None for what turns out to be no record."""
        ...

    def check_end(self) -> None:
        """Raises ``FormatFault`` where the end is not one."""
        ...

    def again(self) -> None:
        """Records that were taken are made rows once more."""
        ...


class _Raw:
    """Records as bytes, from a format that can tell them apart unread (it has ``reading``)."""

    def __init__(self, reading: Any) -> None:
        self._reading = reading
        self.names: Sequence[str] = [name for name in reading.names if name]
        self.about = repr((list(reading.names), reading.encoding))

    def take(self, count: int) -> Sequence[Any]:
        return list(islice(self._reading.records, count))

    def skip(self, count: int) -> None:
        next(islice(self._reading.records, count, count), None)

    def digests(self, items: Sequence[Any], digests: Digests) -> list[bytes | None]:
        line = digests.line
        return [None if raw is None else line(raw) if raw and not raw.isspace() else b"" for _, raw in items]

    def row(self, item: Any, number: int) -> Row | None:
        self._reading.number = number - 1
        found: Row | None = self._reading.row(*item)
        return found

    def check_end(self) -> None:
        self._reading.check_end()

    def again(self) -> None:
        self._reading.trailed = None


class _Rows:
    """Rows, from any format; columns to ``ignore`` do not count."""

    names: Sequence[str] = ()
    about = ""

    def __init__(self, rows: Iterator[Row], ignore: Sequence[str]) -> None:
        self._rows, self._ignore = rows, frozenset(ignore)

    def take(self, count: int) -> Sequence[Any]:
        return list(islice(self._rows, count))

    def skip(self, count: int) -> None:
        next(islice(self._rows, count, count), None)

    def digests(self, items: Sequence[Any], digests: Digests) -> list[bytes | None]:
        return [None if item.value is None else digests.line(_ENCODE(self._counted(item.value))) for item in items]

    def _counted(self, value: Mapping[str, Any]) -> Mapping[str, Any]:
        return {name: one for name, one in value.items() if name not in self._ignore} if self._ignore else value

    def row(self, item: Any, number: int) -> Row | None:
        found: Row = item
        return found

    def check_end(self) -> None:
        pass

    def again(self) -> None:
        pass


class Comparing:
    """A register being compared with ``index``, the last one.

    ``open`` it, ``look`` until that says False, ``settle``; then ``candidates`` gives the records that are not as they were.
    ``close`` it in the end.
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
        self._ordinals, self._numbers, self._keys, self._kinds = array("L"), array("L"), bytearray(), bytearray()
        self._kept: list[Any] | None = []
        self._kept_bytes = 0
        self.places: Sequence[int] = ()
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
    def columns(self) -> list[str]:
        """The columns that count; complete once all of it was looked at."""
        return [name for name in (self._items.names or self._names) if name not in self._ignore]

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
        self.places = index.keys(bytes(self._keys))
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
        """The places of rows that the register lacks; to be asked once, when it is settled."""
        found = [
            place
            for place, (status, first) in enumerate(zip(index.status, self.first, strict=True))
            if not first and status != GONE
        ]
        self.first = array("I")
        return found

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
        kind, place = Kind(self._kinds[at]), self.places[at]
        key = bytes(self._keys[at * WIDTH : (at + 1) * WIDTH])
        if kind == Kind.FAULTY or row.value is None:
            fault = row.fault or Fault("no_key", f"the record lacks a key column ({', '.join(digests.key)})")
            return Candidate(Kind.FAULTY, msgspec.structs.replace(row, fault=fault), NOBODY, b"", b"", b"", b"")
        if kind == Kind.TWICE:
            fault = Fault("duplicate_key", "the record's key came before in this register; only the first one counts")
            return Candidate(kind, msgspec.structs.replace(row, fault=fault), NOBODY, b"", b"", b"", b"")
        (line,) = self._items.digests([item], digests)
        text = digests.text(row.value) or b""
        return Candidate(kind, row, place, line or _ZERO, key, text, digests.fields(row.value))

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
        reading = getattr(self._format, "reading", None)
        if reading is not None and not self._ignore:
            self._items = _Raw(reading(watched))
        else:
            self._items = _Rows(self._format.rows(watched), self._ignore)


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
