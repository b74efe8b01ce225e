"""What a part of the demo is: a neighbour of the daemon, with its configuration, its scene and what must have arrived.

Not here: the parts themselves, one module each; which there are (``parts``).
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

from cdmd.cli.demo.telling import Telling

EMAIL: Final = "joe@example.com"
CUSTOMER: Final = "4711"
SERIAL: Final = "TV-2041"


class Delivery(NamedTuple):
    """One HTTP request: where to, which body, which headers."""

    path: str
    body: bytes
    headers: dict[str, str]


class Answered(NamedTuple):
    """What a sender was told, after how many seconds."""

    document: Any
    seconds: float


class Expected(NamedTuple):
    """What one part leads to: so many events, and what they say of who Joe is (kind, value)."""

    events: int
    identifiers: frozenset[tuple[str, str]] = frozenset()


class Stage(Protocol):
    """What a part sees of the sandbox."""

    @property
    def telling(self) -> Telling:
        """Who tells the story."""

    @property
    def url(self) -> str:
        """Where the daemon listens."""

    def deliver(self, delivery: Delivery) -> Answered:
        """Send it; raises CdmdError unless the daemon took it."""

    def settle(self) -> None:
        """Return once all that was taken is stored and no part waits for anything; raises CdmdError."""

    def customer(self) -> Any:
        """Joe's profile as ``cdmctl profile show --json`` prints it; None while nobody knows him."""

    def status(self) -> Any:
        """The daemon's status as ``cdmctl status --json`` prints it."""

    def poll(self, connector: str) -> None:
        """Let a connector that fetches look now, as ``cdmctl poll`` does."""

    def send(self, target: str) -> None:
        """Let a target that waits for a set time go now, as ``cdmctl targets send`` does."""

    def shelf(self, kind: str) -> list[Any]:
        """What connectors show of that kind: files, snapshots."""


class Part(ABC):
    """A neighbour of the daemon. What it needs of secrets and servers exists while it is ``opened``."""

    @abstractmethod
    def opened(self, folder: Path) -> AbstractContextManager[str]:
        """Put its files into ``folder``, run its servers; inside is its part of the configuration, in TOML."""

    @abstractmethod
    def play(self, stage: Stage) -> None:
        """Its scene: do it, and tell it. Raises CdmdError."""

    @property
    @abstractmethod
    def expected(self) -> Expected:
        """What must be there once its scene is over."""

    @property
    def facts(self) -> Mapping[str, str]:
        """What runs beside the daemon, by name."""
        return {}

    def waits(self, status: Any) -> bool:
        """Whether something of it is still on its way that neither the journal's backlog nor held events show."""
        return False

    def lacking(self, customer: Any, status: Any) -> list[str]:
        """A sentence for everything else of it that is not as it must be."""
        return []


class Sender(Part):
    """A part that only sends: deliveries that are told with what was known before and after each."""

    def deliver(self, stage: Stage, delivery: Delivery) -> None:
        """Send it, and tell what it changed."""
        stage.telling.known("known before", stage.customer())
        answered = stage.deliver(delivery)
        stage.telling.taken(answered.seconds)
        stage.settle()
        stage.telling.known("known now", stage.customer())


def secret_file(folder: Path, name: str, text: str) -> None:
    """A file that only its owner can read."""
    file = folder / name
    file.touch(mode=0o600)
    file.write_text(text)
