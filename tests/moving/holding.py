"""A plugin that waits for a service that is away for long."""

import cdmd


@cdmd.extension(on="order.held", timeout=2.0)
async def waits(event: cdmd.Event, context: cdmd.Context) -> cdmd.Event | None:
    raise cdmd.RetryLater(36_000)


@cdmd.hookimpl
def cdmd_extensions() -> list[object]:
    return [waits]
