"""An extension that asks another system about each event, as ``test_tracing`` wants it."""

import cdmd


@cdmd.extension(on="*")
async def ask(event: cdmd.Event, context: cdmd.Context) -> cdmd.Event:
    """What it is answered is added."""
    answer = await context.http.get(f"{context.settings['url']}/asked", headers={"x-own": "1"})
    return event.enriched(asked=answer.status_code)


@cdmd.hookimpl
def cdmd_extensions() -> list[object]:
    """The one that asks."""
    return [ask]
