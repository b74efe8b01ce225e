"""The extension of these tests: it holds some events at first, drops some and rejects some.

Under ``CDMD_HOLDS_NOTHING`` it answers at once what it held before, as a service does that is well again.
"""

import os
from typing import Final

import cdmd

_HOLD_SECONDS: Final = 0.05
_HOLDS: Final = "CDMD_HOLDS_NOTHING" not in os.environ
_held: set[str] = set()


@cdmd.extension(on="order.*", timeout=2.0)
async def sometimes(event: cdmd.Event, context: cdmd.Context) -> cdmd.Event | None:
    """By the event's type; what is held is let go with the second call in the same process."""
    if event.type == "order.dropped":
        raise cdmd.Drop("not wanted")
    if event.type == "order.rejected":
        raise cdmd.Reject("not good")
    if _HOLDS and event.type == "order.held" and event.id not in _held:
        _held.add(event.id)
        raise cdmd.RetryLater(_HOLD_SECONDS)
    return event.enriched(checked=True)


@cdmd.hookimpl
def cdmd_extensions() -> list[object]:
    """The one."""
    return [sometimes]
