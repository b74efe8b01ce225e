"""Whether the ways of events are told to an OpenTelemetry collector; nothing of that is loaded where they are not."""

from contextlib import AbstractAsyncContextManager
from importlib import import_module
from typing import Any, Protocol

from cdmd import __version__
from cdmd.config.telemetry import OpenTelemetrySettings
from cdmd.contracts import Clock, Witness


class Tracing(Protocol):
    """Who hears of the steps, and how many spans arrived and were dropped (``cdmd.telemetry.opening``)."""

    witness: Witness

    @property
    def sent(self) -> int:
        """Spans that arrived."""
        ...

    @property
    def dropped(self) -> int:
        """Spans that there was no room for, or that did not arrive."""
        ...

    def running(self) -> AbstractAsyncContextManager[None]:
        """The context in which they are sent."""
        ...


def tracing(settings: OpenTelemetrySettings, *, journal_id: str, clock: Clock) -> Tracing | None:
    """What tells it; None where nothing is told."""
    if not settings.enabled:
        return None
    telemetry: Any = import_module("cdmd.telemetry.opening")
    found: Tracing = telemetry.Tracing(settings, journal_id=journal_id, version=__version__, clock=clock)
    return found
