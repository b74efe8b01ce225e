"""An extension that lets some orders wait when it first sees them, so that events are parked whatever befalls a node."""

import cdmd

_seen: set[str] = set()


@cdmd.extension(on="order.*")
async def now_and_then(event: cdmd.Event, context: cdmd.Context) -> cdmd.Event | None:
    """A node that takes over has not seen them."""
    if event.data["n"] % 5 == 2 and event.id not in _seen:
        _seen.add(event.id)
        raise cdmd.RetryLater(1.0)
    return event


@cdmd.hookimpl
def cdmd_extensions() -> list[object]:
    return [now_and_then]
