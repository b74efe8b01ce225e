"""A plugin's format held to its promise: what it raises, and what it yields that is no row, is a fault of the file it reads.

Else one file would end the connector that reads it, again and again, and all that lies behind it would wait. What is our own
trouble (memory, the disk, another side) is passed on: it is none of the file's, which is read again. A value that nothing could
keep is its record's fault. Not here: our own formats, which are held to it by their tests.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, BinaryIO, Final, TypeAlias, cast

import msgspec

from cdmd.contracts import Format
from cdmd.errors import FormatFault, SourceUnavailable
from cdmd.kit.frames import sentence
from cdmd.models import Fault, Row

_OURS: Final = "cdmd"
_ENCODE: Final = msgspec.msgpack.Encoder().encode


def held(form: type[Format]) -> type[Format]:
    """The same format, of which ``rows`` (and ``examined``, where it has that) raise what ``Format`` says and nothing else."""
    if form.__module__.partition(".")[0] == _OURS:
        return form
    own: Any = form
    methods = {name: _held(getattr(own, name), check) for name, check in _CHECKS.items() if hasattr(own, name)}
    return cast("type[Format]", type(form.__name__, (form,), {"__module__": form.__module__, **methods}))


def _held(read: Callable[[Any, BinaryIO], Any], check: "_Check") -> Callable[[Any, BinaryIO], Iterator[Row]]:
    def rows(self: Format, stream: BinaryIO) -> Iterator[Row]:
        try:
            for row in read(self, stream):
                yield check(self.name, row)
        except (FormatFault, SourceUnavailable, MemoryError):
            raise
        except (Exception, SystemExit, KeyboardInterrupt) as error:
            if isinstance(error, OSError) and error.errno is not None:  # the disk's; a library's own has none
                raise
            raise FormatFault("format_failed", f"the format {self.name} fails with it: {sentence(error)}") from error

    return rows


def _row(name: str, row: Any) -> Row:
    if (_numbered(name, row).value is None) == (row.fault is None):
        raise FormatFault("format_failed", f"the format {name} yields what is no row with a value or a fault")
    fault = None if row.value is None else _fault(row.value)
    return row if fault is None else Row(row.number, row.line, None, fault, row.raw)


def _numbered(name: str, row: Any) -> Row:
    """Of a row that is only examined nothing more is said: a sound one may have any value, or none."""
    if not (isinstance(row, Row) and type(row.number) is int):
        raise FormatFault("format_failed", f"the format {name} yields what is no row with a value or a fault")
    return row


def _fault(value: Any) -> Fault | None:
    try:
        _ENCODE(value)
    except (OverflowError, TypeError, ValueError, RecursionError) as error:
        return Fault("not_storable", f"the record holds a value that cannot be kept ({type(error).__name__})")
    return None if isinstance(value, dict) else Fault("not_an_object", "the record is no object")


_Check: TypeAlias = Callable[[str, Any], Row]
_CHECKS: Final[Mapping[str, _Check]] = {"rows": _row, "examined": _numbered}
