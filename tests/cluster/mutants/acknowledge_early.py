"""Acknowledges what was published and not yet acknowledged by a server."""

from collections.abc import Mapping
from typing import Any, Final

from cdmd.cluster.connection import Link

_EXPECTED: Final = "Nats-Expected-Last-Sequence"
_publish = Link.publish


async def _published(self: Link, subject: str, payload: bytes, *, headers: Mapping[str, str], hasty: bool = False) -> Any:
    if _EXPECTED not in headers:
        return await _publish(self, subject, payload, headers=headers, hasty=hasty)
    await self._client.publish(subject, payload, headers={key: value for key, value in headers.items() if key != _EXPECTED})
    return int(headers[_EXPECTED]) + 1


Link.publish = _published  # type: ignore[method-assign]
