"""Says that an erasure is complete before what was deleted has gone from the write-ahead logs."""

from typing import Any

from cdmd.daemon.removing import Removing


async def _at_once(_self: Removing, _asked: Any) -> None:
    pass


Removing._settle = _at_once  # type: ignore[method-assign]
