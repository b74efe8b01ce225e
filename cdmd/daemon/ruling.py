"""What people are resolved and told by at the moment: the configuration may change while something works."""

from typing import Protocol

from cdmd.contracts import Clock, Store
from cdmd.deliveries.subscribing import Subscriptions
from cdmd.identity.identifiers import Kinds
from cdmd.profiles.audiences import Audiences


class Ruled(Protocol):
    """The daemon's parts, as far as they are needed for it (``Parts`` fulfils it)."""

    @property
    def store(self) -> Store:
        """The open store."""
        ...

    @property
    def clock(self) -> Clock:
        """The daemon's clock."""
        ...

    @property
    def kinds(self) -> Kinds:
        """The configured kinds of identifiers."""
        ...

    @property
    def audiences(self) -> Audiences:
        """The configured audiences, with the indicators."""
        ...

    def subscriptions(self) -> Subscriptions | None:
        """What is sent to whom; None where nothing is."""
        ...
