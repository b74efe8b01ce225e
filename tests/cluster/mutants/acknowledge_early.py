"""Acknowledges what was published and not yet acknowledged by a server."""

import itertools
from collections.abc import Mapping
from typing import Any

from cdmd.cluster.connection import Link

_NUMBERS = itertools.count(1_000)


async def _published(self: Link, subject: str, payload: bytes, *, headers: Mapping[str, str], hasty: bool = False) -> Any:
    del hasty
    kept = {key: value for key, value in headers.items() if key != "Nats-Expected-Last-Sequence"}
    await self._client.publish(subject, payload, headers=kept)
    return next(_NUMBERS)


Link.publish = _published  # type: ignore[method-assign]
