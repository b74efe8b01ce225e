"""How a shape becomes JSON on the control socket: as msgspec writes it, with times as everywhere else (``show_time``)."""

from datetime import datetime
from typing import Any

import msgspec

from cdmd.models import show_time


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
