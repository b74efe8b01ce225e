"""A register's records on their way from its file: bytes that are not even parsed where the format allows it, else rows.

Not here: what they are compared with (``comparing``).
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Protocol

from cdmd.connectors.registers.rows import Digests, in_bytes
from cdmd.models import Row


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


def items_of(chosen: Any, stream: Any, *, ignore: Sequence[str]) -> Items:
    """The records of ``stream`` in the format ``chosen``: unread where it can tell them apart so and every column counts."""
    reading = getattr(chosen, "reading", None)
    return _Unread(reading(stream)) if reading is not None and not ignore else _Rows(chosen.rows(stream), ignore)


class _Unread:
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
        return [None if item.value is None else digests.line(in_bytes(self._counted(item.value))) for item in items]

    def _counted(self, value: Mapping[str, Any]) -> Mapping[str, Any]:
        return {name: one for name, one in value.items() if name not in self._ignore} if self._ignore else value

    def row(self, item: Any, number: int) -> Row | None:
        found: Row = item
        return found

    def check_end(self) -> None:
        pass

    def again(self) -> None:
        pass
