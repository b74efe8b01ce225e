"""Parts of the running daemon that commands ask for more than data (see ``protocol.Runtime``)."""

from collections.abc import AsyncGenerator, Mapping
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


class Governance(Protocol):
    """What is done with people's data (``Governing`` fulfils it). Raises ``NotDurable`` where it cannot be kept."""

    def suppressed(self) -> int:
        """How many digests are on the suppression list."""
        ...

    async def suppress(self, pair: tuple[str, str]) -> bool:
        """Keep nothing any more of whoever has this identifier; False where it was so already."""
        ...

    async def unsuppress(self, pair: tuple[str, str]) -> bool:
        """Take it back; False where it was not on the list."""
        ...

    def suppression_rows(self) -> AsyncGenerator[dict[str, Any], None]:
        """The list as a file keeps it."""
        ...
