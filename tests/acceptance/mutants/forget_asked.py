"""Keeps what was asked to be erased in memory only until it is done."""

from collections.abc import Mapping
from typing import Any

from cdmd.daemon.erasing import ASKED
from cdmd.daemon.suppressing import SuppressionList

_add = SuppressionList.add


async def _without(
    self: SuppressionList, pairs: Any, naming: Any, *, erased: bool = False, beside: Mapping[bytes, bytes | None] = {}
) -> int:
    kept = {key: value for key, value in beside.items() if not key.startswith(ASKED)}
    return await _add(self, pairs, naming, erased=erased, beside=kept)


SuppressionList.add = _without  # type: ignore[method-assign]
