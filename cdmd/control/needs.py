"""Parts of the running daemon that commands ask for more than data (see ``protocol.Runtime``)."""

from collections.abc import Mapping
from typing import Any, Protocol

from cdmd.models import Micros, ProfileState


class Shown(Protocol):
    """A profile's values as users see them (``Projection`` fulfils it)."""

    def shown_traits(self, state: ProfileState) -> dict[str, Any]:
        """The traits that have a value, by name."""
        ...

    def shown_indicators(self, state: ProfileState, now: Micros) -> dict[str, Any]:
        """The value at ``now`` of every configured indicator that has one, by name."""
        ...

    def estimated(self, state: ProfileState, now: Micros) -> list[str]:
        """Which of these are estimates."""
        ...


class Counted(Protocol):
    """How far the stored past is counted (``Counting`` fulfils it)."""

    pending: frozenset[str]
    share: float

    @property
    def since(self) -> Mapping[str, int]:
        """When each audience was first configured (microseconds)."""
        ...
