"""A plugin's format held to its promise: what it raises, and what it yields that is no row, is a fault of the file it reads.

Else one file would end the connector that reads it, again and again, and all that lies behind it would wait. A value that
nothing could keep is its record's fault. Not here: our own formats, which are held to it by their tests.
"""

from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, Final, cast

import msgspec

from cdmd.contracts import Format
from cdmd.errors import FormatFault
from cdmd.kit.frames import sentence
from cdmd.models import Fault, Row

_OURS: Final = "cdmd"
_ENCODE: Final = msgspec.msgpack.Encoder().encode


def held(form: type[Format]) -> type[Format]:
    """The same format, of which ``rows`` (and ``examined``, where it has that) raise nothing but ``FormatFault``."""
    if form.__module__.partition(".")[0] == _OURS:
        return form
    own: Any = form
    methods = {name: _held(getattr(own, name)) for name in ("rows", "examined") if hasattr(own, name)}
    return cast("type[Format]", type(form.__name__, (form,), {"__module__": form.__module__, **methods}))


def _held(read: Callable[[Any, BinaryIO], Any]) -> Callable[[Any, BinaryIO], Iterator[Row]]:
    def rows(self: Format, stream: BinaryIO) -> Iterator[Row]:
        try:
            for row in read(self, stream):
                yield _checked(self.name, row)
        except FormatFault:
            raise
        except (Exception, SystemExit, KeyboardInterrupt) as error:
            raise FormatFault("format_failed", f"the format {self.name} fails with it: {sentence(error)}") from error

    return rows


def _checked(name: str, row: Any) -> Row:
    if not (isinstance(row, Row) and type(row.number) is int and (row.value is None) != (row.fault is None)):
        raise FormatFault("format_failed", f"the format {name} yields what is no row with a value or a fault")
    fault = None if row.value is None else _fault(row.value)
    return row if fault is None else Row(row.number, row.line, None, fault, row.raw)


def _fault(value: Any) -> Fault | None:
    try:
        _ENCODE(value)
    except (OverflowError, TypeError, ValueError, RecursionError) as error:
        return Fault("not_storable", f"the record holds a value that cannot be kept ({type(error).__name__})")
    return None if isinstance(value, dict) else Fault("not_an_object", "the record is no object")
