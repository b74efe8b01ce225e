"""Parts of the running daemon that commands ask for more than data (see ``protocol.Runtime``)."""

from collections.abc import AsyncGenerator, Mapping
from typing import Any, Protocol

from cdmd.control.privacy_shapes import ErasureRow, HoldingsRow, MinimisedRow, Restriction, RetentionReport, SimulationPage
from cdmd.control.profile_shapes import IdentityJob
from cdmd.control.target_shapes import TargetRow, Tried
from cdmd.identity.identifiers import Kinds
from cdmd.kit.globs import Globs
from cdmd.kit.quantities import Rate
from cdmd.models import Entry, Micros, ProfileState


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

    async def restrict(self, pair: tuple[str, str], *, restricted: bool) -> Restriction:
        """Store whoever has this identifier and use nothing of them, or use them again. Raises ``NotFound``."""
        ...

    def suppression_rows(self) -> AsyncGenerator[dict[str, Any], None]:
        """The list as a file keeps it."""
        ...

    async def erase(self, pair: tuple[str, str], *, by: str) -> ErasureRow:
        """Erase whoever has this identifier; in force when it returns."""
        ...

    async def erasures(self) -> list[ErasureRow]:
        """Those that are under way, then those that are done, the newest first."""
        ...

    async def holdings(self, pair: tuple[str, str]) -> HoldingsRow:
        """What an erasure would remove."""
        ...

    async def simulate(self, after: tuple[int, int] | None) -> SimulationPage:
        """What retention would take away of some of what is stored."""
        ...

    async def sweep(self, *, trust_clock: bool) -> RetentionReport:
        """Take away what is due now. Raises ``ClockDisturbed``."""
        ...

    def minimised(self) -> list[MinimisedRow]:
        """What arrived and was not kept, by connector."""
        ...

    def conceals(self, entry: Entry) -> bool:
        """Whether nobody may see the entry, because its customer is being erased."""
        ...


class Targets(Protocol):
    """The targets and what may be done to them. Names are those of the configuration; ``NotFound`` is raised for any other."""

    async def rows(self) -> list[TargetRow]:
        """Each one, configured or gone."""
        ...

    async def enable(self, name: str) -> str | None:
        """Send to it again; a warning where the configuration says otherwise."""
        ...

    async def disable(self, name: str) -> None:
        """Send nothing to it."""
        ...

    async def attempt(self, name: str) -> Tried:
        """Send it a sample. Raises ``BadArguments`` where nothing is sent to it at once."""
        ...

    def hurry(self, name: str | None) -> None:
        """Try it (None: any) now, although it was to be let alone for a while; no ``NotFound`` here."""
        ...

    async def send(self, name: str) -> None:
        """Wake one that waits for a set time. Raises ``BadArguments`` where there is none."""
        ...

    async def forget(self, name: str) -> int:
        """Drop what waits for one that is gone; how many. Raises ``BadArguments`` while it is configured."""
        ...

    async def replay(self, name: str, *, since: Micros, until: Micros, types: Globs | None, rate: Rate | None) -> None:
        """Begin to tell it once more what was received then. Raises ``BadArguments`` while another replay to it goes on."""
        ...

    async def stop_replay(self, name: str) -> int:
        """End the one that goes on; how much it told. Raises ``BadArguments`` where none does, ``NotFound``."""
        ...

    async def would_replay(self, name: str, *, since: Micros, until: Micros, types: Globs | None, rate: Rate | None) -> int:
        """How many messages that would be."""
        ...


class Identities(Protocol):
    """The one job about who is who (``Rebuilding`` fulfils it). Both begin it; they raise ``BadArguments`` while one runs."""

    def now(self) -> IdentityJob:
        """How far it is, and what it came to."""
        ...

    async def attempt(self, kinds: Kinds | None) -> None:
        """Find out what resolving everything by ``kinds`` (None: those configured) would change."""
        ...

    async def rebuild(self) -> None:
        """Make all profiles what the configured kinds come to."""
        ...
