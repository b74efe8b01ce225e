"""An extension that never answers for events of one kind: they wait."""

import cdmd


@cdmd.extension(on="held.*", timeout=1.0, on_failure="hold")
async def slow(event: cdmd.Event, context: cdmd.Context) -> cdmd.Event:
    """It asks to be called in an hour."""
    raise cdmd.RetryLater(3600)


@cdmd.hookimpl
def cdmd_extensions() -> list[object]:
    """The one that is slow."""
    return [slow]
