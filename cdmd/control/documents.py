"""How a shape becomes JSON on the control socket: as msgspec writes it, with times as everywhere else (``show_time``)."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

from cdmd.models import show_time

_ENCODE: Final = msgspec.json.Encoder().encode
_PLAIN: Final = frozenset((str, int, float, bool, type(None)))


def encoded(shape: Any) -> bytes:
    """The shape as JSON; a time has no more decimals than it needs."""
    document = [msgspec.to_builtins(shape, builtin_types=(datetime,))]
    _show_times(document)
    return _ENCODE(document[0])


def _show_times(found: Any) -> None:
    """Write out every time in a document that was made here, in its place: a status has 40,000 values and hardly any times."""
    for place, one in found.items() if type(found) is dict else enumerate(found):
        kind = type(one)
        if kind in _PLAIN:
            continue
        if kind is datetime:
            found[place] = show_time(one)
        elif kind is tuple:
            found[place] = list(one)
            _show_times(found[place])
        else:
            _show_times(one)


def told(line: Mapping[str, Any]) -> bytes:
    """A line of a stream as JSON: a document whose times are texts already. It runs for every event that somebody watches."""
    return _ENCODE(line)
