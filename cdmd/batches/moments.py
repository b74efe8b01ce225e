"""When an event counts as having happened."""

from typing import Final

from cdmd.models import Event, Micros, to_micros

CLOCK_AHEAD: Final = 5 * 60 * 1_000_000


def effective_time(event: Event, received: Micros) -> tuple[Micros, bool]:
    """When the event counts as having happened, and whether its sender's clock is more than five minutes ahead of ours."""
    if event.time is None:
        return received, False
    said = to_micros(event.time)
    return (received, True) if said > received + CLOCK_AHEAD else (said, False)
