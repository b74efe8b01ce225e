"""What an extension is and what it is called with."""

import sys
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Protocol, TypeAlias

import msgspec

from cdmd.contracts.http import Http
from cdmd.errors import PluginFault
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


ON_FAILURE: Final = ("hold", "store", "reject")
_LONGEST: Final = sys.float_info.max


class Extension(msgspec.Struct, frozen=True, kw_only=True):
    """A registered extension (``cdmd.extension`` makes it): which types, how long (seconds), what on failure.

    Raises ``PluginFault`` where it is made of what cannot work: whoever makes one is not held to the types of its fields.
    """

    name: str
    on: Sequence[str]
    function: Any
    timeout: float = 5.0
    on_failure: str = "hold"

    def __post_init__(self) -> None:
        """Refuse it."""
        given: Any = self
        if not (isinstance(given.name, str) and given.name):
            raise PluginFault("an extension needs a name, which is text")
        listed = isinstance(given.on, Collection) and not isinstance(given.on, str) and bool(given.on)
        if not listed or not all(isinstance(glob, str) and glob for glob in given.on):
            raise PluginFault('an extension needs on="EVENT TYPE" or a list of them')
        if given.on_failure not in ON_FAILURE:
            raise PluginFault(f"on_failure={given.on_failure!r} does not exist: write one of {', '.join(ON_FAILURE)}")
        seconds = given.timeout
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds <= _LONGEST:
            raise PluginFault(f"timeout={seconds!r} is not a number of seconds above 0")


# ---- journal and store ---------------------------------------------------------------------------------------------


class Remap(Protocol):
    """Maps a dead letter's raw record again with today's configuration (handed to the pipeline)."""

    def __call__(self, entry: Entry) -> Event | Fault | None:
        """The event, the fault that remains, or None where it is filtered now."""
        ...
