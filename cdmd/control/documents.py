"""How a shape becomes JSON on the control socket: as msgspec writes it, with times as everywhere else (``show_time``)."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

from cdmd.models import show_time

_ENCODE: Final = msgspec.json.Encoder().encode


def encoded(shape: Any) -> bytes:
    """The shape as JSON; a time has no more decimals than it needs."""
    return msgspec.json.encode(_timed(msgspec.to_builtins(shape, builtin_types=(datetime,))))


def _timed(value: Any) -> Any:
    match value:
        case datetime():
            return show_time(value)
        case dict():
            return {key: _timed(one) for key, one in value.items()}
        case list() | tuple():
            return [_timed(one) for one in value]
        case _:
            return value


def told(line: Mapping[str, Any]) -> bytes:
    """A line of a stream as JSON: a document whose times are texts already. It runs for every event that somebody watches."""
    return _ENCODE(line)
