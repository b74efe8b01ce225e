"""What an extension is and what it is called with."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol, TypeAlias

import msgspec

from cdmd.contracts.http import Http
from cdmd.models import (
    Entry,
    Event,
    Fault,
)


class Context(Protocol):
    """What an extension is handed beside the event."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """The plugin's own table of the configuration, secrets resolved."""
        ...

    @property
    def http(self) -> Http:
        """The guarded client; it reaches the hosts named in the plugin's own settings."""
        ...

    @property
    def now(self) -> datetime:
        """The daemon's wall clock in UTC."""
        ...


ExtensionFunction: TypeAlias = Callable[[Event, Context], Awaitable[Event | None] | Event | None]


class Extension(msgspec.Struct, frozen=True, kw_only=True):
    """A registered extension (``cdmd.extension`` makes it): which types, how long (seconds), what on failure."""

    name: str
    on: Sequence[str]
    function: Any
    timeout: float = 5.0
    on_failure: str = "hold"


# ---- journal and store ---------------------------------------------------------------------------------------------


class Remap(Protocol):
    """Maps a dead letter's raw record again with today's configuration (handed to the pipeline)."""

    def __call__(self, entry: Entry) -> Event | Fault | None:
        """The event, the fault that remains, or None where it is filtered now."""
        ...
