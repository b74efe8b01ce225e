"""The extension of ``isolated``: it adds a value and waits for nobody."""

import cdmd


@cdmd.extension(on="order.*")
async def enriches(event: cdmd.Event, context: cdmd.Context) -> cdmd.Event:
    """Adds a value."""
    return event.enriched(tier="gold")


@cdmd.hookimpl
def cdmd_extensions() -> list[cdmd.Extension]:
    """One."""
    return [enriches]
